"""Values that stream from signals to the arrays of a format, and are compared when read back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.back.encoding import ChunkEncoder
from usid_tasks.errors import UsidError, VerificationError
from usid_tasks.printable import printable
from usid_tasks.storage import DEFLATE, SHUFFLE
from usid_tasks.stores.signals import Passage, Region, Signal

if TYPE_CHECKING:
    import h5py

DEFLATE_LEVEL = 4
"""Of chunks in HDF5: that of HyperSpy."""

REMEDY = "Nothing was put in place. Keep the source and report it with this message."


class Target(Protocol):
    """An array of the format; its methods are called from several threads."""

    def write(self, region: Region, cells: NDArray[Any]) -> None:
        """Write a region of whole chunks."""
        ...

    def read(self, region: Region) -> NDArray[Any]:
        """Return what is stored there."""
        ...


@dataclass(frozen=True)
class Streamed:
    """The regions of a signal that were written, and the digest of each."""

    passage: Passage
    regions: Sequence[Region]
    digests: Sequence[bytes]


def stream(
    signal: Signal, target: Target, passage: Passage, advance: Callable[[int], None]
) -> Streamed:
    """Write all values of a signal and return the digests of what was read.

    Parameters
    ----------
    signal, target
        From where, and to where.
    passage
        In which regions, and by how many threads.
    advance
        Told the bytes of every region, from several threads; raises where the work has to end.

    Raises
    ------
    UsidError
        If the source cannot be read, or the disk fails.
    """

    def carry(region: Region) -> bytes:
        cells = _read(signal, region)
        target.write(region, cells)
        advance(cells.nbytes)
        return digest_of(cells)

    regions = list(passage.regions(signal.shape))
    with ThreadPoolExecutor(passage.workers) as pool:
        return Streamed(passage, regions, _results(pool, carry, regions))


def check_values(
    where: str, signal: Signal, target: Target, written: Streamed, advance: Callable[[int], None]
) -> None:
    """Compare all values as they are stored with what was read of the source.

    Raises
    ------
    VerificationError
        Naming the region that is not the same.
    """

    def look(numbered: tuple[Region, bytes]) -> None:
        region, expected = numbered
        cells = target.read(region)
        if cells.dtype != signal.dtype or digest_of(cells) != expected:
            corner = tuple(part.start for part in region)
            raise VerificationError(
                where,
                f"the {cells.shape} cells of {cells.dtype} from {corner} on are not those of "
                f"{printable(signal.dataset)} ({signal.dtype})",
                REMEDY,
            )
        advance(cells.nbytes)

    pairs = list(zip(written.regions, written.digests, strict=True))
    with ThreadPoolExecutor(written.passage.workers) as pool:
        _results(pool, look, pairs)


def digest_of(cells: NDArray[Any]) -> bytes:
    """Return the digest of an array's bytes in C order."""
    packed = np.ascontiguousarray(cells)
    return blake3(packed.reshape(-1).view(np.uint8).data).digest()


def _read(signal: Signal, region: Region) -> NDArray[Any]:
    try:
        return signal.read(region)
    except (OSError, RuntimeError) as error:
        raise UsidError(
            printable(signal.dataset), f"its values cannot be read: {error}", "See `usid validate`."
        ) from error


def _results(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Sequence[Any]
) -> list[Any]:
    """Return the results in order; after a failure nothing more is begun."""
    futures = [pool.submit(work, item) for item in items]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


_ONE_AT_A_TIME = threading.Lock()
"""HDF5 does one thing at a time, whatever the file."""


class ChunkedDataset:
    """A chunked HDF5 dataset: encoded by the threads that write, outside of HDF5.

    Parameters
    ----------
    dataset
        Made by :func:`create_chunked`, in a file that stays open.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        size = dataset.dtype.itemsize
        self._encoder = ChunkEncoder(
            dataset.chunks,
            ((SHUFFLE, (size,)), (DEFLATE, (DEFLATE_LEVEL,))),
            np.zeros((), dataset.dtype)[()],
            lambda _row, _cells: False,
        )

    def write(self, region: Region, cells: NDArray[Any]) -> None:
        """Write a region of whole chunks."""
        for offset, data in self._encoder.encode(region, cells):
            with _ONE_AT_A_TIME:
                self._dataset.id.write_direct_chunk(offset, data)

    def read(self, region: Region) -> NDArray[Any]:
        """Return what HDF5 reads there."""
        return np.asarray(self._dataset[region])


def create_chunked(group: h5py.Group, name: str, signal: Signal, chunk: Sequence[int]) -> None:
    """Make a dataset for the values of a signal, shuffled and deflated, that holds none yet.

    It has chunks even where there are no values: HyperSpy reads nothing else lazily.
    """
    group.create_dataset(
        name, shape=signal.shape, dtype=signal.dtype, chunks=tuple(chunk), shuffle=True,
        compression="gzip", compression_opts=DEFLATE_LEVEL,
        maxshape=None if signal.size_bytes else (None,) * len(signal.shape),
    )  # fmt: skip


@contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turn what HDF5 raises while it writes into a three-part error."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            with durable.writing(path):
                raise
        raise UsidError(
            os.fspath(path), f"HDF5 cannot write it: {error}", "Report this with the source."
        ) from error
