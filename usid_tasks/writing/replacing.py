"""A file that becomes another at once: made beside, flushed, verified, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from usid_tasks.durable import CONTROL, fsync_file, fsync_folder, make_folders, writing
from usid_tasks.errors import FileBusyError, RefusedError
from usid_tasks.settle import Lock, lock_state
from usid_tasks.sizes import format_size

_FICLONE = 0x40049409
_PIECE_BYTES = 2**26
_SPARE_BYTES = 2**20
_NO_CLONE = {
    errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM,
    errno.EISDIR, errno.ETXTBSY, errno.EBADF,
}  # fmt: skip
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
_LATER = "Try again when the other program is done"

Identity = tuple[int, int, int, int]
"""Device, inode, size and time of modification: what tells that a file is the same as before."""


@dataclass(frozen=True)
class Staged:
    """A file in the making, in a place of its own.

    ``former`` is the identity of what it takes the place of, if any.
    """

    target: Path
    place: Path
    former: Identity | None

    @property
    def file(self) -> Path:
        """The file."""
        return self.place / "file"

    @property
    def scratch(self) -> Path:
        """A file beside it for values on their way."""
        return self.place / "values"

    @property
    def folder(self) -> Path:
        """Where the file becomes visible."""
        return self.target.parent

    def publish(self) -> None:
        """Flush it, and let it take its place in one step.

        Raises
        ------
        FileBusyError
            If what it takes the place of has changed since.
        UsidError
            If that cannot be written.
        """
        with writing(self.target):
            if self.former is not None:
                _own_alike(self.file, self.target.stat())
            fsync_file(self.file)
            if identity(self.target) != self.former:
                raise FileBusyError(self.target, "changed while it was added to", _LATER)
            os.rename(self.file, self.target)  # noqa: PTH104 - as everywhere in this project
            fsync_folder(self.folder)


def _own_alike(file: Path, other: os.stat_result) -> None:
    """Give a file the mode of another, and its owner and group where that is allowed."""
    for owner, group in ((-1, other.st_gid), (other.st_uid, -1)):
        with suppress(PermissionError):
            os.chown(file, owner, group)
    file.chmod(other.st_mode & 0o7777)


def identity(path: Path) -> Identity | None:
    """Return what tells whether a file is the same as before; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def staged(target: Path) -> Iterator[Staged]:
    """Give the place where a file is made; what is left there goes in the end.

    Parameters
    ----------
    target
        The file to be: it may be there, and is not written to.

    Raises
    ------
    FileBusyError
        If a program writes the file, or another one like this makes it.
    RefusedError
        If it is no file, may not be written, or its folder is not there.
    UsidError
        If its folder cannot be written to.
    """
    _refuse_place(target)
    place = target.parent / CONTROL / "writing" / target.name
    with _held(target), _turn(place, target):
        made = Staged(target, place, identity(target))
        leftovers = (made.file, made.scratch)
        for file in leftovers:  # of a run that was killed
            file.unlink(missing_ok=True)
        try:
            yield made
        finally:
            for file in leftovers:
                file.unlink(missing_ok=True)


def _refuse_place(target: Path) -> None:
    if not target.parent.is_dir():
        raise RefusedError(target.parent, "is no folder", "Make it, or choose another")
    if not target.exists():
        return
    if not target.is_file():
        raise RefusedError(target, "is no file", "Choose another name")
    if not os.access(target, os.W_OK):
        what = "may not be written to"
        raise RefusedError(target, what, "Choose another name, or change its permissions")


@contextmanager
def _held(target: Path) -> Iterator[None]:
    """Keep writers out of a file, as a reader does; refuse it where one is in."""
    import fcntl

    if not target.exists():
        yield
        return
    state = lock_state(target)
    if state.is_busy:
        raise FileBusyError(target, f"is being written: {state.value}", _LATER)
    with target.open("rb") as stream:
        if state is not Lock.UNSUPPORTED:
            try:
                fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                raise FileBusyError(target, f"is being written ({error})", _LATER) from error
        yield


@contextmanager
def _turn(place: Path, target: Path) -> Iterator[None]:
    """Let one of several writers of a file in at a time, and the next after one that died."""
    import fcntl

    path = place / "lock"
    while True:
        make_folders(place)
        with writing(path):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # another writer has just left and removed the folder
                continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                os.close(fd)
                what = "another program is about to replace it"
                raise FileBusyError(target, what, _LATER) from error
        found = identity(path)
        if found is not None and found[1] == os.fstat(fd).st_ino:
            break
        os.close(fd)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)
        with suppress(OSError):  # others are at work there
            for folder in (place, *place.parents[:2]):
                folder.rmdir()


def copy_file(source: Path, dest: Path, *, more_bytes: int) -> None:
    """Copy a file's bytes: as a reference to them where the file system can.

    Parameters
    ----------
    source, dest
        The files; ``dest`` is made.
    more_bytes
        What ``dest`` will grow by.

    Raises
    ------
    RefusedError
        If there is not the room, before anything is copied.
    UsidError
        If ``dest`` cannot be written.
    """
    with source.open("rb") as reading, writing(dest), dest.open("xb") as copied:
        if _clone(reading.fileno(), copied.fileno()):
            refuse_no_room(dest.parent, more_bytes)
            return
        size = os.fstat(reading.fileno()).st_size
        refuse_no_room(dest.parent, size + more_bytes)
        _copy(reading.fileno(), copied.fileno(), size)


def refuse_no_room(folder: Path, needed_bytes: int) -> None:
    """Raise RefusedError where a folder has less room than that and a little more."""
    free, needed = shutil.disk_usage(folder).free, needed_bytes + _SPARE_BYTES
    if free < needed:
        what = f"{format_size(free)} are free, expected {format_size(needed)}"
        remedy = f"Free {format_size(needed - free)} there, or write to another disk"
        raise RefusedError(folder, what, remedy)


def _clone(source: int, dest: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(dest, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _copy(source: int, dest: int, size: int) -> None:
    done = 0
    try:
        while done < size:
            n_bytes = os.copy_file_range(source, dest, min(_PIECE_BYTES, size - done))
            if not n_bytes:
                break
            done += n_bytes
    except OSError as error:
        if done or error.errno not in _NO_CLONE:
            raise
        with (
            os.fdopen(source, "rb", closefd=False) as reading,
            os.fdopen(dest, "wb", closefd=False) as copied,
        ):
            shutil.copyfileobj(reading, copied, _PIECE_BYTES)
