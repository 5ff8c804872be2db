"""HDF5 files open for writing, closed in good order even on a full disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from usid_tasks.durable import writing

LIBVER = ("v108", "latest")
"""HDF5 1.8 (2008) is the first that holds attributes beyond 64 kB, and many of them."""


@contextmanager
def open_to_write(file: Path, *, is_new: bool) -> Iterator[h5py.File]:
    """Open a file that nobody else knows yet, and flush it in the end.

    Where that fails, the file is emptied: HDF5 crashes if it cannot write what it still holds
    when it closes a file. So that this is little, chunks are not kept but written at once.

    Raises
    ------
    UsidError
        If it cannot be written.
    """
    with writing(file):
        mode = "w" if is_new else "r+"
        opened = h5py.File(file, mode, libver=LIBVER, locking=False, rdcc_nbytes=0)
        try:
            yield opened
            opened.flush()
        except BaseException:
            os.truncate(file, 0)
            raise
        finally:
            opened.close()
