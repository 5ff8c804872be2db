"""Boxes in which the values of a dataset are written: whole chunks, or one run of bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from usid_tasks.shards import Region, Scratch, ShardedArray, buffer_of


class Values(Protocol):
    """The values of a dataset, box by box, as the bytes that the file holds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dataset."""
        ...

    @property
    def itemsize(self) -> int:
        """Bytes of a cell in the file."""
        ...

    @property
    def beside_bytes(self) -> int:
        """What reading takes besides the box."""
        ...

    def steps(self, dim: int) -> list[int]:
        """Return extents of boxes along a dimension that cut few chunks of the store in two."""
        ...

    def read(self, box: Region) -> NDArray[Any]:
        """Return the cells of a box as opaque bytes, C-contiguous."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayValues:
    """The values of a dataset that the store holds as they are: numbers or raw bytes.

    ``number`` is the type of numbers in the file; None for raw bytes, which are the last
    dimension of ``array``.
    """

    array: ShardedArray
    number: np.dtype[Any] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dataset."""
        return self.array.shape[:-1] if self.number is None else self.array.shape

    @property
    def itemsize(self) -> int:
        """Bytes of a cell in the file."""
        return self.array.shape[-1] if self.number is None else self.number.itemsize

    @property
    def beside_bytes(self) -> int:
        """What reading takes besides the box: it once more, and a chunk twice."""
        return 2 * self.array.chunk_bytes

    def steps(self, dim: int) -> list[int]:
        """Return the extent of a chunk of the store."""
        edge = self.array.chunk[dim]
        return [edge] if edge < self.shape[dim] else []

    def read(self, box: Region) -> NDArray[Any]:
        """Return the cells of a box as opaque bytes.

        Raises
        ------
        VerificationError, UsidError
            If a shard is missing, damaged or cannot be read.
        """
        region = tuple(box)
        if self.number is None:
            region = (*box, slice(0, self.itemsize))
        extent = [part.stop - part.start for part in region]
        size = math.prod(extent) * self.array.dtype.itemsize
        block = buffer_of(size)[:size].view(self.array.dtype).reshape(extent)
        self.array.read(region, block, Scratch(self.array.chunk_bytes))
        if self.number is not None:
            block = block.astype(self.number, copy=False)
        return block.reshape(-1).view(f"V{self.itemsize}").reshape(extent[: len(box)])


def box_shape(
    values: Values, unit: Sequence[int], most_bytes: int, *, wanted_bytes: int
) -> tuple[int, ...]:
    """Return the shape of the boxes: whole in the last dimensions, as long as there is room.

    Parameters
    ----------
    values
        What is written.
    unit
        Chunk of the dataset, of which a box holds whole ones; ones where it has none.
    most_bytes, wanted_bytes
        Of a box. It has more than wanted where fewer chunks of the store are decoded twice then;
        more than the most only where a single chunk of the dataset has.
    """
    shape = values.shape
    box = [min(edge, n) for edge, n in zip(unit, shape, strict=True)]
    for dim in reversed(range(len(shape))):
        line_bytes = max(math.prod(box) // box[dim] * values.itemsize, 1)
        box[dim] = _extent(
            shape[dim],
            unit[dim],
            [min(step, shape[dim]) for step in values.steps(dim)],
            most=most_bytes // line_bytes,
            wanted=min(wanted_bytes, most_bytes) // line_bytes,
        )
        if box[dim] < shape[dim]:
            break
    return tuple(box)


def _extent(size: int, unit: int, steps: Sequence[int], *, most: int, wanted: int) -> int:
    """Return an extent of whole units, of whole steps too where they fit."""
    if size <= wanted:
        return size
    fitting = [min(math.lcm(step, unit), size) for step in steps]
    step = max((step for step in fitting if step <= max(most, unit)), default=unit)
    return min(max(wanted // step, 1) * step, size)


def boxes(shape: Sequence[int], box: Sequence[int]) -> Iterator[Region]:
    """Yield the boxes of a dataset, C order."""
    if not math.prod(shape):
        return
    spans = [
        [slice(start, min(start + edge, n)) for start in range(0, n, edge)]
        for n, edge in zip(shape, box, strict=True)
    ]
    yield from itertools.product(*spans)
