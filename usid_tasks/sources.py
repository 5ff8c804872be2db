"""The sources of a run: ``PATH`` or ``NAME=PATH``, and the place each has in DEST.

A source is a folder, searched whole, or one file. Stores go to ``DEST/NAME/<relative>.zarr``
for ``NAME=PATH``, to ``DEST/<relative>.zarr`` for a folder without a name that is the only
source, and for files without a name. One of *several* folders without a name takes the name of
its last component (``/data/afm`` becomes ``afm=/data/afm``); give names where that may change.
What stands before the first ``=`` is a name unless it holds a ``/`` or the whole is a path that
exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from usid_tasks.durable import CONTROL
from usid_tasks.errors import RefusedError
from usid_tasks.places import RECEIPT_SUFFIX, STORE_SUFFIX, receipt_path, store_path

_BAD_IN_NAMES = frozenset('/\\:*?"<>|')


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of a run.

    ``folder`` is absolute, as given; ``resolved`` is the source itself (the folder, or the one
    file) with links followed; ``file_name`` is empty for a folder.
    """

    name: str
    folder: Path
    resolved: Path
    file_name: str = ""

    @property
    def is_file(self) -> bool:
        """True where the source is one file."""
        return bool(self.file_name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One HDF5 file as it was found; ``relative`` is its ``/``-path below ``root``."""

    root_name: str
    root: Path
    relative: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.root / self.relative

    @property
    def key(self) -> str:
        """The ``/``-path that names the source in DEST: ``[NAME/]<relative>``."""
        return f"{self.root_name}/{self.relative}" if self.root_name else self.relative

    def store_path(self, dest: Path) -> Path:
        """Return where the file's store lies: ``DEST/[NAME/]<relative>.zarr``."""
        return store_path(dest, self.key)

    def receipt_path(self, dest: Path) -> Path:
        """Return where the file's receipt lies: ``DEST/[NAME/]<relative>.receipt.json``."""
        return receipt_path(dest, self.key)


def parse_sources(sources: Iterable[str | Path], dest: Path) -> tuple[Source, ...]:
    """Return the sources of a run with their names, looking only at folders.

    Raises
    ------
    RefusedError
        If there is none, one does not exist or cannot be read, two are nested or the same, DEST
        is one of them or lies where its stores cannot, or a name is unusable or given twice.
    """
    given = [_parse(one) for one in sources]
    if not given:
        raise RefusedError("sources", "there is none", "Name at least one folder or file.")
    n_folders = sum(not source.is_file for source in given)
    named = tuple(
        source
        if source.name or source.is_file or (n_folders == 1 and len(given) == 1)
        else replace(source, name=source.folder.name)
        for source in given
    )
    _refuse_names(named)
    _refuse_nesting(named)
    _refuse_dest(named, dest)
    return named


def _parse(given: str | Path) -> Source:
    text = os.fspath(given)
    name, has_name, rest = text.partition("=")
    has_name = has_name if isinstance(given, str) and "/" not in name else ""
    if not has_name or os.path.lexists(text):
        name, rest = "", text
    elif not name:
        raise RefusedError(text, "the name before '=' is empty", "Write NAME=PATH or PATH.")
    if not rest:
        raise RefusedError(text, "there is no path", "Write NAME=PATH or PATH.")
    path = Path(os.path.abspath(Path(rest).expanduser()))  # noqa: PTH100 - keeps links as given
    try:
        resolved = path.resolve(strict=True)
        if path.is_dir():
            with os.scandir(path):
                return Source(name=name, folder=path, resolved=resolved)
        if path.is_file():
            return Source(name=name, folder=path.parent, resolved=resolved, file_name=path.name)
    except FileNotFoundError:
        raise RefusedError(
            path, "the source does not exist", "Correct the path, or mount the storage."
        ) from None
    except (OSError, RuntimeError) as error:
        raise RefusedError(
            path, f"the source cannot be read ({error})", "Check the storage and its permissions."
        ) from error
    raise RefusedError(path, "is neither a folder nor a file", "Name a folder or an HDF5 file.")


def _refuse_names(sources: tuple[Source, ...]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        name = source.name
        if not name and source.is_file:
            continue
        if name and (
            name in (".", "..", CONTROL)
            or name.endswith((".", " ", STORE_SUFFIX, RECEIPT_SUFFIX))
            or name.startswith(" ")
            or not name.isprintable()
            or _BAD_IN_NAMES & set(name)
        ):
            raise RefusedError(
                f"{name!r}={source.folder}",
                "the name cannot be a folder in DEST on every file system",
                "Choose a NAME of letters, digits, '-', '_' and inner dots: NAME=PATH.",
            )
        if not name and len(sources) > 1:
            raise RefusedError(source.folder, "has no name of its own", "Write NAME=PATH.")
        other = seen.setdefault(name.casefold(), source)
        if other is not source and not (source.is_file and other.is_file):
            raise RefusedError(
                source.folder,
                f"has the same name {name!r} in DEST as {other.folder}",
                "Give each source a name of its own: NAME=PATH.",
            )


def _refuse_nesting(sources: tuple[Source, ...]) -> None:
    ids = [_identity(source.resolved) for source in sources]
    for at, source in enumerate(sources):
        above = {_identity(folder) for folder in (source.resolved, *source.resolved.parents)}
        for other_at, other in enumerate(sources):
            if at != other_at and ids[other_at] in above:
                raise RefusedError(
                    source.folder / source.file_name,
                    f"lies inside the source {other.folder / other.file_name}",
                    "Name only the outer one.",
                )


def _refuse_dest(sources: tuple[Source, ...], dest: Path) -> None:
    if dest.exists() and not dest.is_dir():
        raise RefusedError(dest, "DEST is not a folder", "Choose another DEST.")
    for source in sources:
        if source.is_file:
            continue
        if dest.exists() and _identity(dest) == _identity(source.resolved):
            raise RefusedError(
                dest, "DEST is a source, and sources are never written to", "Choose another DEST."
            )
        if source.resolved.is_relative_to(dest.resolve() / CONTROL):
            raise RefusedError(
                source.folder,
                f"lies in the {CONTROL} folder of DEST, which is not data",
                "Copy what you need out of it first.",
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
