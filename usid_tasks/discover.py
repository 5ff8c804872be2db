"""Find the HDF5 files in the folders that a facility points at, and where their stores go.

The plan of a sweep: everything here only reads. A file is a candidate by its content (the HDF5
signature at byte 0, 512, 1024, 2048, ...), never by its extension; others are counted.

Symbolic links below a source are not followed, unless asked for; they are listed in
:attr:`Discovery.links`. If asked for, a link is followed only where it leads out of every source
and of the destination, and of every folder that another link led to; whatever else it leads to
is found at its own place, and no loop can be entered.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome
from usid_tasks.places import STORE_SUFFIX, folded, refuse_clashes, unusable_name, utf8_name
from usid_tasks.sources import Source, SourceFile, parse_sources

DEFAULT_IGNORE = (".snapshot", "@eaDir", "#recycle", ".nfs*", ".usid")
"""Glob patterns of the file and folder names that no storage means as data."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_SUFFIXES = {".h5", ".hdf5", ".hdf", ".h5usid", ".ptir"}
_THREADS = 8
_BATCH = 64
# a Windows writer's share mode, seen through SMB, and files that a tier is fetching
_BUSY = {errno.EBUSY, errno.ETXTBSY, errno.EAGAIN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    r"""A folder or file that could not be examined, or whose name no store can have.

    ``relative`` is safe to print and to store: bytes that are no UTF-8 read ``\xff``.
    """

    root_name: str
    relative: str
    path: Path
    reason: str
    outcome: Outcome = Outcome.FAILED


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """What lies in the sources: files in the order of their keys."""

    sources: tuple[Source, ...]
    dest: Path
    files: tuple[SourceFile, ...]
    unreadable: tuple[Unreadable, ...] = ()
    links: tuple[str, ...] = ()
    misnamed: tuple[str, ...] = ()
    n_other: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all files found."""
        return sum(file.size for file in self.files)


def discover(
    sources: Iterable[str | Path],
    dest: Path,
    *,
    ignore: Sequence[str] = DEFAULT_IGNORE,
    follow_links: bool = False,
    is_known: Callable[[SourceFile], bool] | None = None,
) -> Discovery:
    """Return every HDF5 file of the sources, with nothing written.

    Parameters
    ----------
    sources
        ``PATH`` or ``NAME=PATH``, a folder or a file each; see :mod:`usid_tasks.sources`.
    dest
        Root of the stores; where it lies inside a source it is not searched.
    ignore
        Glob patterns of names; such files and folders are passed over. ``*.zarr`` folders
        always are.
    follow_links
        Also take files and folders that a symbolic link leads to, out of the sources.
    is_known
        True for a file that an earlier run has examined and that looks the same: it is taken
        as HDF5 without being opened.

    Raises
    ------
    RefusedError
        If a source is missing or unusable (see :func:`usid_tasks.sources.parse_sources`), or if
        two files would share one store, also after Unicode (NFC) and case folding.
    """
    roots = parse_sources(sources, dest)
    walk = _Walk(roots, dest, ignore=tuple(ignore), follow_links=follow_links)
    files: list[SourceFile] = []
    for root in roots:
        files.extend(walk.candidates(root, is_known))
    files.sort(key=lambda file: file.key)
    refuse_clashes([(file.key, file.path) for file in files])
    _refuse_stores_in_sources(files, roots, dest)
    return Discovery(
        sources=roots,
        dest=dest,
        files=tuple(files),
        unreadable=tuple(sorted(walk.unreadable, key=lambda one: (one.root_name, one.relative))),
        links=tuple(sorted(walk.links)),
        misnamed=tuple(sorted(walk.misnamed)),
        n_other=walk.n_other,
    )


def is_hdf5(path: Path, *, size: int | None = None) -> bool:
    """Return whether a file has the HDF5 signature where a superblock may begin."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return superblock_offset(fd, os.fstat(fd).st_size if size is None else size) is not None
    finally:
        os.close(fd)


def superblock_offset(fd: int, size: int) -> int | None:
    """Return the byte where the superblock begins, after a user block if there is one."""
    offset = 0
    while offset + len(HDF5_SIGNATURE) <= size:
        if os.pread(fd, len(HDF5_SIGNATURE), offset) == HDF5_SIGNATURE:
            return offset
        offset = max(512, 2 * offset)
    return None


class _Walk:
    """One pass over the sources; keeps what is reported beside the files."""

    def __init__(
        self,
        roots: tuple[Source, ...],
        dest: Path,
        *,
        ignore: tuple[str, ...],
        follow_links: bool,
    ) -> None:
        self._ignore = ignore
        self._follow_links = follow_links
        self._dest = dest.resolve()
        self._taken = [*(root.resolved for root in roots), self._dest]
        try:
            self._dest_id: tuple[int, int] | None = _identity(dest.stat())
        except FileNotFoundError:
            self._dest_id = None
        self.unreadable: list[Unreadable] = []
        self.links: list[str] = []
        self.misnamed: list[str] = []
        self.n_other = 0

    def candidates(
        self, root: Source, is_known: Callable[[SourceFile], bool] | None
    ) -> Iterator[SourceFile]:
        """Yield the HDF5 files of one source; signatures are read by a few threads."""

        def examine(batch: list[SourceFile]) -> list[bool | OSError]:
            answers: list[bool | OSError] = []
            for file in batch:
                try:
                    known = is_known is not None and is_known(file)
                    answers.append(known or is_hdf5(file.path, size=file.size))
                except OSError as error:
                    answers.append(error)
            return answers

        found = iter(self._files(root))
        with ThreadPoolExecutor(_THREADS) as pool:
            while batch := list(islice(found, _THREADS * _BATCH)):
                parts = [batch[at : at + _BATCH] for at in range(0, len(batch), _BATCH)]
                for part, answers in zip(parts, pool.map(examine, parts), strict=True):
                    for file, answer in zip(part, answers, strict=True):
                        if isinstance(answer, FileNotFoundError):
                            continue  # gone since the folder was listed: no source any more
                        if isinstance(answer, OSError):
                            self._report(root, file.relative, file.path, answer)
                        elif not answer:
                            self.n_other += 1
                            if Path(file.relative).suffix.lower() in _HDF5_SUFFIXES:
                                self.misnamed.append(utf8_name(file.relative))
                        elif reason := unusable_name(file.key):
                            self._report(root, file.relative, file.path, reason)
                        else:
                            yield file

    def _files(self, root: Source) -> Iterator[SourceFile]:
        if root.is_file:
            yield _source_file(root, root.file_name, (root.folder / root.file_name).stat())
            return
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                with os.scandir(root.folder / below) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._report(root, below or ".", root.folder / below, error)
                continue
            deeper = []
            for entry in entries:
                relative = f"{below}/{entry.name}" if below else entry.name
                try:
                    if self._is_passed_over(entry, relative):
                        continue
                    if entry.is_dir():
                        if self._is_searched(root, entry, relative):
                            deeper.append(relative)
                    elif entry.is_file():
                        yield _source_file(root, relative, Path(entry.path).stat())
                    else:  # a pipe, a socket or a device: never opened
                        self.n_other += 1
                except FileNotFoundError:  # gone, as above
                    continue
                except OSError as error:
                    self._report(root, relative, Path(entry.path), error)
            folders.extend(reversed(deeper))

    def _is_passed_over(self, entry: os.DirEntry[str], relative: str) -> bool:
        if any(fnmatchcase(entry.name, pattern) for pattern in self._ignore):
            return True
        return entry.is_symlink() and not self._is_followed(Path(entry.path), relative)

    def _is_searched(self, root: Source, entry: os.DirEntry[str], relative: str) -> bool:
        # by path, as a mount point's entry has another inode; by inode, as a mount has two paths
        if entry.name.endswith(STORE_SUFFIX) or root.resolved / relative == self._dest:
            return False
        if self._dest_id is None or entry.inode() != self._dest_id[1]:
            return True
        return _identity(entry.stat()) != self._dest_id

    def _is_followed(self, link: Path, relative: str) -> bool:
        """Return whether a link leads to what is not found at its own place; lists it if not."""
        try:
            target = link.resolve(strict=True) if self._follow_links else None
        except (OSError, RuntimeError):  # leads nowhere, or in a circle
            target = None
        if target is None or any(
            target.is_relative_to(one) or one.is_relative_to(target) for one in self._taken
        ):
            self.links.append(utf8_name(relative))
            return False
        if target.is_dir():
            self._taken.append(target)
        return True

    def _report(self, root: Source, relative: str, path: Path, reason: OSError | str) -> None:
        outcome = Outcome.FAILED
        if isinstance(reason, OSError):
            outcome = Outcome.DEFERRED if reason.errno in _BUSY else Outcome.FAILED
            reason = f"cannot be read ({reason.strerror or reason})"
        self.unreadable.append(
            Unreadable(
                root_name=root.name,
                relative=utf8_name(relative),
                path=path,
                reason=reason,
                outcome=outcome,
            )
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _source_file(root: Source, relative: str, status: os.stat_result) -> SourceFile:
    return SourceFile(
        root_name=root.name,
        root=root.folder,
        relative=relative,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )


def _refuse_stores_in_sources(
    files: list[SourceFile], roots: tuple[Source, ...], dest: Path
) -> None:
    """Raise where DEST holds a source and a store would be written into that source."""
    base = dest.resolve()
    for root in roots:
        if root.is_file or base not in root.resolved.parents:
            continue
        below = folded(root.resolved.relative_to(base).as_posix()) + "/"
        for file in files:
            if folded(file.key).startswith(below):
                raise RefusedError(
                    dest,
                    f"the store of {file.path} would be written into the source {root.folder}",
                    "Choose a DEST outside of the sources.",
                )
