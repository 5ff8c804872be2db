"""A file or a folder made beside its place, flushed, and renamed when it is right."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from usid_tasks import durable
from usid_tasks.claims import Claim
from usid_tasks.errors import FileBusyError, RefusedError
from usid_tasks.settings import Settings
from usid_tasks.settle import lock_state
from usid_tasks.sizes import format_size
from usid_tasks.speeds import free_bytes

_BEGUN = "formats"
"""Folder below ``.usid`` in which files are made."""

_FORMER = "former"
_SLACK_BYTES = 2**20


@dataclass(frozen=True)
class Beside:
    """What is being made: ``path`` is where, ``place`` where it will be; ``check`` the claim."""

    path: Path
    place: Path
    check: Callable[[], None]


def refuse_place(
    place: Path, source: Path, *, overwrite: bool, may_replace: Callable[[Path], bool]
) -> None:
    """Raise unless something may be made at a place.

    Parameters
    ----------
    place, source
        Where, and of what.
    overwrite
        Whether what is there gives way.
    may_replace
        Whether what is there is of a kind that gives way.

    Raises
    ------
    RefusedError
        If it is there already, the source itself, or of another kind.
    FileBusyError
        If the file that is there is being written.
    """
    if not os.path.lexists(place):
        return
    if source.exists() and place.exists() and place.samefile(source):
        raise RefusedError(place, "is the source itself", "Name another file.")
    if not overwrite:
        raise RefusedError(place, "is there already", "Name another, or add --overwrite.")
    if not may_replace(place):
        raise RefusedError(
            place, "is something else than is to be made, and is not replaced", "Name another."
        )
    if place.is_file() and (lock := lock_state(place)).is_busy:
        raise FileBusyError(place, lock.value, "Try again when the writer is done.")


def refuse_space(place: Path, size_bytes: int) -> None:
    """Raise RefusedError where a folder has less room than ``size_bytes``, not compressed."""
    needed, free = size_bytes + _SLACK_BYTES, free_bytes(place.parent)
    if needed > free:
        raise RefusedError(
            place.parent,
            f"has {format_size(free)} free, expected {format_size(needed)} at least",
            "Free space there, or choose another place.",
        )


@contextmanager
def made_beside(place: Path, settings: Settings, *, overwrite: bool) -> Iterator[Beside]:
    """Give the path at which something is made; when all went well, it takes its place.

    What a killed run left is removed first, and what it had moved aside is put back.

    Raises
    ------
    ClaimedError
        If another process is making the same.
    RefusedError
        If something came to be at the place meanwhile.
    UsidError
        If the disk fails.
    """
    durable.make_folders(place.parent, mode=settings.convert.dir_mode)
    name = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]
    folder = place.parent / durable.CONTROL / _BEGUN / name
    claims = settings.claims
    with Claim(
        place.parent, f"{place.name} of a file", run_id=f"format-{os.getpid()}",
        renew_s=claims.renew_s, dead_after_s=claims.dead_after_s,
    ) as claim:  # fmt: skip
        _clear(folder, place)
        durable.make_folders(folder)
        path = folder / f"made{place.suffix}"
        try:
            yield Beside(path, place, claim.check)
            _settle(path, settings)
            claim.check()
            with durable.writing(place):
                _put(path, place, folder / _FORMER, overwrite=overwrite)
                durable.fsync_folder(place.parent)
        finally:
            _clear(folder, place)


def _clear(folder: Path, place: Path) -> None:
    """Remove what is left, but for what was at the place and has no other now."""
    former = folder / _FORMER
    if former.exists() and not os.path.lexists(place):
        former.rename(place)
    shutil.rmtree(folder, ignore_errors=True)


def _settle(path: Path, settings: Settings) -> None:
    convert = settings.convert
    if path.is_dir():
        durable.settle_tree(path, file_mode=convert.file_mode, dir_mode=convert.dir_mode)
        return
    with durable.writing(path):
        if convert.file_mode is not None:
            path.chmod(convert.file_mode)
        durable.fsync_file(path)


def _put(path: Path, place: Path, former: Path, *, overwrite: bool) -> None:
    """Rename what is finished to its place, over what is there only where that is asked for."""
    if overwrite and path.is_dir() and os.path.lexists(place):
        place.rename(former)
    elif overwrite:
        path.replace(place)
        return
    if path.is_dir():
        _refuse_meanwhile(place)
        path.rename(place)
        return
    try:
        os.link(path, place)  # unlike a rename, never over a file that is there
    except OSError:  # it is there, or there are no hard links here
        _refuse_meanwhile(place)
        path.rename(place)


def _refuse_meanwhile(place: Path) -> None:
    if os.path.lexists(place):
        raise RefusedError(place, "came to be there meanwhile", "Name another, or add --overwrite.")
