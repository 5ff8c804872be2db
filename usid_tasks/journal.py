"""What of a conversion or rechunking is done: a folder beside the staged store, outliving a kill.

``<n>.<stage>.done`` has a byte for every task of a stage, set when what the task wrote is durable;
``<n>.<part>.tiles`` has the digests of all tiles of an array, C order. Intermediate arrays are not
flushed: they count only within the boot of the machine in which they were written, whose number
is in the name.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.digests import ARRAY_ALGORITHM, DIGEST_BYTES, tile_shape
from usid_tasks.errors import VerificationError
from usid_tasks.model import JSON

JOURNAL = "journal"
"""Name of the folder, beside the staged store."""

_PIECE_BYTES = 2**20


class DoneFile:
    """Which tasks of a stage are done; each is marked after what it wrote.

    Parameters
    ----------
    path
        Made where it is not there.
    n_tasks
        Tasks of the stage.
    is_durable
        Whether a mark outlives a power cut.
    """

    def __init__(self, path: Path, n_tasks: int, *, is_durable: bool) -> None:
        self.path = path
        self.n_tasks = n_tasks
        self._is_durable = is_durable
        with durable.writing(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if os.fstat(self._fd).st_size != n_tasks:
                os.ftruncate(self._fd, 0)
                os.ftruncate(self._fd, n_tasks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def is_done(self, number: int) -> bool:
        """Return whether a task is done."""
        return os.pread(self._fd, 1, number) == b"\1"

    @property
    def n_done(self) -> int:
        """How many tasks are done."""
        told = np.fromfile(self.path, np.uint8)
        return int(np.count_nonzero(told == 1))

    def numbers(self) -> list[int]:
        """Return the tasks that are done."""
        return np.flatnonzero(np.fromfile(self.path, np.uint8) == 1).tolist()

    def mark(self, numbers: Sequence[int]) -> None:
        """Note that tasks are done."""
        with durable.writing(self.path):
            for number in numbers:
                os.pwrite(self._fd, b"\1", number)
            if self._is_durable:
                os.fsync(self._fd)

    def clear(self) -> None:
        """Forget that tasks are done."""
        with durable.writing(self.path):
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, self.n_tasks)


class TileFile:
    """The digests of an array's tiles, on disk: memory does not grow with the array.

    Several processes may add to one; what they hold is opened anew in each.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.dtype = dtype
        self.tile = tile_shape(shape)
        self.counts = tuple(-(-n // edge) for n, edge in zip(self.shape, self.tile, strict=True))
        size = math.prod(self.counts) * DIGEST_BYTES
        with durable.writing(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            self.is_new = os.fstat(self._fd).st_size != size
            if self.is_new:
                os.ftruncate(self._fd, 0)
                os.ftruncate(self._fd, size)

    def __reduce__(self) -> tuple[Any, ...]:
        return TileFile, (self.path, self.shape, self.dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; may be called again."""
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            os.close(fd)

    def add_digests(self, digests: NDArray[np.uint8], offset: Sequence[int]) -> None:
        """Keep what :func:`usid_tasks.digests.tile_digests` gave for the block at a cell."""
        first = [at // edge for at, edge in zip(offset, self.tile, strict=True)]
        *slow, last = digests.shape[:-1] or (1,)
        rows = np.ascontiguousarray(digests).reshape(-1, last * DIGEST_BYTES)
        with durable.writing(self.path):
            for row, index in zip(rows, np.ndindex(*slow), strict=True):
                at = 0
                steps = zip((*index, 0), first, self.counts, strict=True) if self.counts else ()
                for step, start, count in steps:
                    at = at * count + start + step
                os.pwrite(self._fd, row.data, at * DIGEST_BYTES)

    def flush(self) -> None:
        """Make what was added durable."""
        with durable.writing(self.path):
            os.fsync(self._fd)

    def result(self) -> str:
        """Return the digest of the array.

        Raises
        ------
        VerificationError
            If the digest of a tile was never added.
        """
        name = self.dtype.newbyteorder("<").str
        header = json.dumps({"dtype": name, "shape": list(self.shape)}, sort_keys=True)
        root = blake3(f"{ARRAY_ALGORITHM} {header}\n".encode())
        at, end = 0, os.fstat(self._fd).st_size
        while at < end:
            piece = os.pread(self._fd, _PIECE_BYTES, at)
            tiles = np.frombuffer(piece, np.uint8).reshape(-1, DIGEST_BYTES)
            if not piece or not tiles.any(axis=1).all():
                raise VerificationError(
                    self.path, "the digest of a tile is missing", "Run the same command again."
                )
            root.update(piece)
            at += len(piece)
        return f"{ARRAY_ALGORITHM}:{root.hexdigest()}"


class Journal:
    """The folder of these files, for one staged store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        durable.make_folders(folder)
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:  # no such kernel: intermediate arrays do not outlive the process
            boot = f"process-{os.getpid()}"
        self._boot = boot

    def done(self, array: int, stage: int, n_tasks: int, *, is_kept: bool) -> DoneFile:
        """Return the marks of a stage; ``is_kept`` where it writes the store itself."""
        name = f"{array}.{stage}.done" if is_kept else f"{array}.{stage}.{self._boot}.done"
        return DoneFile(self.folder / name, n_tasks, is_durable=is_kept)

    def tiles(self, array: int, part: int, shape: Sequence[int], dtype: np.dtype[Any]) -> TileFile:
        """Return the digests of an array's tiles; several arrays of one number are its parts."""
        return TileFile(self.folder / f"{array}.{part}.tiles", shape, dtype)

    def between(self, array: int, stage: int) -> Path:
        """Return the folder of the intermediate arrays that a stage writes."""
        return self.folder / f"{array}.{stage}.{self._boot}.zarr"

    def note(self, name: str) -> JSON:
        """Return what an earlier run noted under a name; None if it did not."""
        try:
            return json.loads((self.folder / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None

    def keep_note(self, name: str, value: JSON) -> None:
        """Note something that the same work has to find again."""
        durable.write_file(self.folder / f"{name}.json", json.dumps(value).encode())

    def clear(self, array: int, stage: int) -> None:
        """Remove an intermediate array that is no longer needed."""
        self._remove(self.between(array, stage))

    def forget_other_boots(self) -> None:
        """Remove intermediate arrays that may be lost in part, and their marks."""
        for path in self.folder.iterdir():
            is_between = len(path.name.split(".")) == 4
            if is_between and path.name.split(".")[2] != self._boot:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        with durable.writing(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
