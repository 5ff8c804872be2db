"""Chunks through the filters of HDF5, outside its lock: shuffle, deflate, Fletcher-32."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import Fletcher32
from numpy.typing import NDArray

from usid_tasks.shards import Region
from usid_tasks.storage import DEFLATE, FLETCHER32, SHUFFLE

Encoded = tuple[tuple[int, ...], bytes]
"""Offset of a chunk in the dataset, and its bytes as they are stored."""


@dataclass(frozen=True, eq=False)
class ChunkEncoder:
    """Encodes the chunks of a dataset.

    Parameters
    ----------
    chunk
        Shape of a chunk.
    filters
        Number and parameters of each, in order.
    fill
        A cell: what stands where a chunk hangs over the end of the dataset.
    leaves_out
        Given the first row and the cells of a chunk, whether it is not to be written.
    """

    chunk: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...]
    fill: Any
    leaves_out: Callable[[int, NDArray[Any]], bool]

    @staticmethod
    def knows(numbers: Sequence[int]) -> bool:
        """Return whether all filters, by their registered numbers, can be applied here."""
        return set(numbers) <= {DEFLATE, SHUFFLE, FLETCHER32}

    def encode(self, box: Region, cells: NDArray[Any]) -> Iterator[Encoded]:
        """Yield the chunks of a box that begins on the edge of a chunk."""
        spans = [
            range(part.start, part.stop, edge) for part, edge in zip(box, self.chunk, strict=True)
        ]
        for offset in itertools.product(*spans):
            inside = tuple(
                slice(at - part.start, at - part.start + edge)
                for at, part, edge in zip(offset, box, self.chunk, strict=True)
            )
            chunk = cells[inside]
            if not self.leaves_out(offset[0], chunk):
                yield offset, self._encoded(chunk)

    def _encoded(self, cells: NDArray[Any]) -> bytes:
        chunk = cells
        if cells.shape != self.chunk:
            chunk = np.full(self.chunk, self.fill, cells.dtype)
            chunk[tuple(slice(0, n) for n in cells.shape)] = cells
        data = chunk.tobytes()
        for number, values in self.filters:
            if number == SHUFFLE:
                data = _shuffled(data, values[0])
            elif number == DEFLATE:
                data = zlib.compress(data, values[0])
            else:
                data = bytes(Fletcher32().encode(data))
        return data


def _shuffled(data: bytes, itemsize: int) -> bytes:
    """Return all first bytes of the elements, then all second bytes, and so on."""
    whole = len(data) // itemsize * itemsize
    planes = np.frombuffer(data, np.uint8, whole).reshape(-1, itemsize).T
    return planes.tobytes() + data[whole:]
