"""Where a source file lies now: as recorded, beside the results, or in folders to search."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath


def places(file: str, beside: Path, search: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield files that may be the one recorded, each once, and whether it is where it was.

    Parameters
    ----------
    file
        Its recorded path, relative to the folder ``beside`` or absolute, of any system.
    beside
        The folder of the results.
    search
        Folders in which it may be, at any depth: looked at last.
    """
    seen: set[tuple[int, int]] = set()
    if "/" not in file:
        file = PureWindowsPath(file).as_posix()
    recorded = Path(os.path.normpath(beside / file))
    for path, is_there in _candidates(recorded, beside, search):
        try:
            status = path.stat()
        except (OSError, ValueError):
            continue
        identity = (status.st_dev, status.st_ino)
        if path.is_file() and identity not in seen:
            seen.add(identity)
            yield path, is_there


def _candidates(
    recorded: Path, beside: Path, search: Sequence[Path]
) -> Iterator[tuple[Path, bool]]:
    yield recorded, True
    yield beside / recorded.name, False
    for folder in search:
        # the longest part of its path that is there tells it from others of the same name
        for above in range(len(recorded.parts) - 2, -1, -1):
            yield folder.joinpath(*recorded.parts[-above - 1 :]), False
    for folder in search:
        for root, folders, names in os.walk(folder):
            folders.sort()
            if recorded.name in names:
                yield Path(root, recorded.name), False
