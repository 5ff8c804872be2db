"""The file that HDF5 writes: where the disk fails, HDF5 does not notice, and we do.

HDF5 cannot be left once a write has failed: what it could not flush it tries to flush again while
objects are closed, where errors are lost, and ends the process. So an error is kept here, HDF5 goes
on, and whoever asks :meth:`Sink.check` is told.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from usid_tasks import durable


class Sink:
    """A new file, open for HDF5's driver of Python files.

    Parameters
    ----------
    path
        Not there yet.

    Raises
    ------
    UsidError
        If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._error: OSError | None = None
        self._at = 0
        with durable.writing(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def check(self) -> None:
        """Return if all that was written is in the file.

        Raises
        ------
        UsidError
            If the disk did not take something.
        """
        if self._error is not None:
            with durable.writing(self.path):
                raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._fd).st_size if base is None else base)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer; what is not in the file reads as zeros."""
        data = memoryview(buffer).cast("B")
        done = 0
        while done < len(data):
            got = os.preadv(self._fd, [data[done:]], self._at + done)
            if not got:
                data[done:] = bytes(len(data) - done)
                break
            done += got
        self._at += len(data)
        return len(data)

    def read(self, size: int) -> bytes:
        """Return bytes from the place on; by this method h5py knows a file."""
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def write(self, buffer: memoryview) -> int:
        """Write all of a buffer; an error is kept for :meth:`check`."""
        data = memoryview(buffer).cast("B")
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._at + done)
        except OSError as error:
            self._error = self._error or error
        self._at += len(data)
        return len(data)

    def truncate(self, size: int) -> int:
        """Let the file end at a place; an error is kept for :meth:`check`."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self._error = self._error or error
        return size

    def flush(self) -> None:
        """Do nothing: there is no buffer."""
