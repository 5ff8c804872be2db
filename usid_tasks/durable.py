"""Durable writes: files and folders that survive a power cut, and the storage's own clock.

Modes follow the umask unless a mode is given. Only the standard library is needed.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from usid_tasks.errors import UsidError

CONTROL = ".usid"
"""Name of the folder in a destination that holds claims, staging and superseded stores."""

_FSYNC_THREADS = 8
# what file systems without a fsync for folders answer (CIFS, some FUSE)
_NO_FOLDER_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR}


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder durable, where its file system knows how."""
    fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(fd)


def make_folders(folder: Path, *, mode: int | None = None) -> None:
    """Make a folder and the missing ones above it; only new ones get `mode`."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder == folder.parent:
            break
        folder = folder.parent
    for new in reversed(missing):
        with writing(new):
            try:
                new.mkdir()
            except FileExistsError:
                if not new.is_dir():
                    raise
                continue
            if mode is not None:
                new.chmod(mode)


def write_file(path: Path, data: bytes, *, mode: int | None = None, durable: bool = True) -> None:
    """Write a file whole or not at all: beside, fsync, rename, fsync of the folder."""
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with writing(path):
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                if mode is not None:
                    os.fchmod(fd, mode)
                if durable:
                    os.fsync(fd)
            os.rename(beside, path)  # noqa: PTH104 - the kill tests count os.rename
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        if durable:
            fsync_folder(path.parent)


def settle_tree(
    root: Path, *, file_mode: int | None = None, dir_mode: int | None = None, fsync: bool = True
) -> None:
    """Make a whole tree durable, files first and then folders; set its modes."""
    folders: list[Path] = []
    files: list[Path] = []
    for folder, _, names in os.walk(root, onerror=_raise):
        folders.append(Path(folder))
        files.extend(Path(folder, name) for name in names)
    with writing(root):
        for paths, mode in ((files, file_mode), (folders, dir_mode)):
            if mode is not None:
                for path in paths:
                    path.chmod(mode)
        if not fsync:
            return
        with ThreadPoolExecutor(max(1, min(_FSYNC_THREADS, len(files)))) as pool:
            # at once: the file system makes one commit of many
            for _ in pool.map(fsync_file, files):
                pass
            for _ in pool.map(fsync_folder, reversed(folders)):
                pass


def fsync_file(path: Path, *, is_kept: bool = True) -> None:
    """Make the content of a file durable.

    Where it is not ``is_kept``, the system is told to forget its copy in memory: the next pages
    written take its place, instead of memory that others could use.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        if not is_kept and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def storage_now_ns(folder: Path) -> int:
    """Return the time of the storage's clock: the mtime of a probe file written in `folder`.

    The writing host's own clock does not enter where the storage stamps writes itself, as
    local disks, NFS and SMB servers do.
    """
    make_folders(folder)
    probe = folder / f"clock-{secrets.token_hex(8)}"
    with writing(folder):
        try:
            fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                os.write(fd, b".")
                os.fsync(fd)
                return os.fstat(fd).st_mtime_ns
            finally:
                os.close(fd)
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a three-part error."""
    try:
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        remedy = {
            errno.ENOSPC: "Free space on the destination, then run the same command again.",
            errno.EDQUOT: "Free space in your quota, then run the same command again.",
            errno.EROFS: "Choose a destination that is not read-only.",
            errno.ENAMETOOLONG: "Shorten the name of the source, or choose a shorter DEST.",
        }.get(
            error.errno or 0,
            "Check that the destination is mounted and that you may write to it.",
        )
        raise UsidError(error.filename or path, what, remedy) from error


def _raise(error: OSError) -> None:
    raise error
