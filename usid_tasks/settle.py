"""Whether a file is still being written: its age, two looks at it, and the writer's lock."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from usid_tasks.discover import superblock_offset
from usid_tasks.sources import SourceFile

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
# superblock version 3: opened for writing, opened for single-writer/multiple-reader
_WRITING_FLAGS = 0x01 | 0x04


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """A file that is left for a later run, and why."""

    file: SourceFile
    reason: str


class Lock(StrEnum):
    """What a look at a file's lock tells."""

    FREE = "free"
    HELD = "another program holds its lock"
    OPEN = (
        "its header says that it is open for writing: a program is writing it, or died doing so "
        "(then `h5clear -s` on a copy helps)"
    )
    UNSUPPORTED = "its mount does not support locks"

    @property
    def is_busy(self) -> bool:
        """True where the file has to wait."""
        return self in (Lock.HELD, Lock.OPEN)


def lock_state(path: Path) -> Lock:
    """Return whether a program has the file open for writing, without opening it as HDF5.

    Takes and leaves the shared lock that HDF5 itself takes for reading (``flock``), and looks at
    the flags that a writer sets in a superblock of version 3 (also while SWMR writing, which
    holds no lock). h5py cannot open the file where this says busy. On a mount without locks the
    answer is UNSUPPORTED, and h5py has to be told ``locking=False``.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        lock = _flock(fd)
        if lock is Lock.HELD:
            return lock
        start = superblock_offset(fd, os.fstat(fd).st_size)
        head = b"" if start is None else os.pread(fd, 12, start)
        if len(head) == 12 and head[8] >= 3 and head[11] & _WRITING_FLAGS:
            return Lock.OPEN
        return lock
    finally:
        os.close(fd)  # leaves the lock too


def _flock(fd: int) -> Lock:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return Lock.HELD
        if error.errno in _NO_LOCKS:
            return Lock.UNSUPPORTED
        raise
    return Lock.FREE


def settled(
    files: Iterable[SourceFile],
    *,
    settle_s: float,
    storage_now_ns: int,
    look_s: float = 2.0,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[tuple[SourceFile, ...], tuple[Deferred, ...]]:
    """Return the files that no longer change, and the ones to leave for a later run.

    A file is young if it was written or its entry changed (mtime or ctime, the later) less than
    `settle_s` ago, or in the future. Young files must be as they were found in two looks
    `look_s` apart: one wait for all of them together, none where none is young.

    Parameters
    ----------
    files
        Files as :func:`usid_tasks.discover.discover` found them.
    settle_s
        Age in seconds from which a file is trusted; 0 trusts every file.
    storage_now_ns
        The storage's clock, from :func:`usid_tasks.durable.storage_now_ns`. Sources are never
        written to, so it is DEST's: exact where both lie on one server. A source's clock that
        runs ahead makes files young, which costs one wait; where it may run behind DEST's, by
        more than a few seconds, raise `settle_s` by as much.
    look_s, sleep
        Seconds between the looks, and what waits.
    """
    found = tuple(files)
    if settle_s <= 0:
        return found, ()
    limit_ns = storage_now_ns - int(settle_s * 1e9)
    young = [file for file in found if max(file.mtime_ns, file.ctime_ns) > limit_ns]
    if not young:
        return found, ()
    why: dict[str, str] = {}
    _look(young, why)
    sleep(look_s)
    _look([file for file in young if file.key not in why], why)
    return (
        tuple(file for file in found if file.key not in why),
        tuple(Deferred(file=file, reason=why[file.key]) for file in young if file.key in why),
    )


def _look(files: Iterable[SourceFile], why: dict[str, str]) -> None:
    for file in files:
        try:
            status = file.path.stat()
        except FileNotFoundError:
            why[file.key] = "it has gone since it was found"
            continue
        except OSError as error:
            why[file.key] = f"it cannot be looked at ({error.strerror or error})"
            continue
        if (status.st_size, status.st_mtime_ns, status.st_ino) != (
            file.size,
            file.mtime_ns,
            file.inode,
        ):
            why[file.key] = (
                f"it is being written ({file.size} bytes, then {status.st_size} bytes)"
                if status.st_size != file.size
                else "it is being written (its modification time moved)"
            )
