"""Blocks of a dataset, read by path: picklable, no file held open between reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from h5py import h5f, h5p
from numpy.typing import NDArray

from usid_tasks.direct import located, open_direct
from usid_tasks.grid import Placement
from usid_tasks.loops import Window
from usid_tasks.mains import Component, Main
from usid_tasks.outputs import WINDOW_BYTES, Outputs
from usid_tasks.reading_cost import ReadCount, Stored
from usid_tasks.regions import LISTED_ENTRIES, Side, picked, sides
from usid_tasks.usid import open_object

_HDF5_BYTES = 16 * 2**20
_OBJECT_BYTES = 2 * 2**20
_BYTES_PER_LISTED = 96

Sides = Callable[[], Iterator[Side]]
"""Gives one side of a block, in one or several passes."""


def open_for_blocks(path: str) -> h5py.File:
    """Open read-only without HDF5's sieve buffer, which reads 64 KiB around every small piece."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_sieve_buf_size(1)
    return h5py.File(h5f.open(path.encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY, access))


@dataclass(frozen=True)
class ByHDF5:
    """An open 2-D dataset that only h5py can read."""

    dataset: h5py.Dataset

    @property
    def stored(self) -> Stored:
        """What the cost of reading follows from."""
        return Stored(self.dataset.shape, self.dataset.dtype.itemsize, self.dataset.chunks)

    def read(self, rows: Side, columns: Side, outputs: Outputs) -> ReadCount:
        """Fill the cells of some rows and columns, and return what was read.

        Raises
        ------
        OSError, RuntimeError
            If HDF5 cannot read or decode them.
        """
        dtype, stored = self.dataset.dtype, self.stored
        if stored.chunks is not None:
            return self._read_chunks(rows, columns, outputs, stored.chunks)

        def fill(data: NDArray[np.uint8], some_rows: Window, some_columns: Window) -> None:
            shape = (some_rows.n_entries, some_columns.n_entries)
            cells = np.ndarray((*shape, *dtype.shape), dtype.base, data)
            for (row, top, height), (column, left, width) in itertools.product(
                some_rows.runs(), some_columns.runs()
            ):
                cells[top : top + height, left : left + width] = self.dataset[
                    row : row + height, column : column + width
                ]

        return outputs.put_windows(stored, dtype, rows, columns, fill)

    def _read_chunks(
        self, rows: Side, columns: Side, outputs: Outputs, edges: tuple[int, int]
    ) -> ReadCount:
        down, along = rows.bands(edges[0]), columns.bands(edges[1])
        dtype = self.dataset.dtype
        for top, left in itertools.product(down.tolist(), along.tolist()):
            first, last = (top * edges[0], (top + 1) * edges[0])
            begin, end = (left * edges[1], (left + 1) * edges[1])
            cells = np.ascontiguousarray(self.dataset[first:last, begin:end])
            height, width = cells.shape[:2]
            row_parts = [part for side in rows.within(first, last) for part in side.parts()]
            column_parts = [part for side in columns.within(begin, end) for part in side.parts()]
            outputs.put(
                cells.data,
                dtype,
                outputs.rows(row_parts, width * dtype.itemsize, height),
                outputs.columns(column_parts, dtype.itemsize, width),
            )
        n_chunks = down.size * along.size
        return ReadCount(n_chunks, n_chunks * math.prod(edges) * self.dataset.dtype.itemsize)


@dataclass(frozen=True)
class MainSource:
    """The values of a Main dataset, read as blocks of its N-D form.

    ``position`` and ``spectroscopic`` place every cell; the array's dimensions are those of
    the first, then those of the second.
    """

    path: str
    dataset: str
    position: Placement
    spectroscopic: Placement
    components: tuple[Component, ...]

    @classmethod
    def of(cls, main: Main) -> MainSource:
        """Return the source of a sound Main dataset."""
        return cls(
            main.candidate.file,
            main.path,
            main.position.grid.placement,
            main.spectroscopic.grid.placement,
            main.components,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """N-D shape, without the shape of a single cell."""
        return self.position.shape + self.spectroscopic.shape

    def read_into(
        self,
        region: Sequence[slice],
        components: Sequence[Component],
        out: Sequence[NDArray],
    ) -> ReadCount:
        """Fill arrays with the cells of a region, and return what was read.

        Parameters
        ----------
        region
            One slice of step 1 for each dimension of :attr:`shape`.
        components
            Those wanted, all read in one pass.
        out
            For each component a C-contiguous array of its type, in native byte order, of the
            region's shape and the component's ``subshape``. Cells that were not measured get the
            padding value. Besides these it takes :meth:`read_memory`.

        Raises
        ------
        ValueError
            If an array does not fit, or a slice has another step.
        OSError, RuntimeError
            If the file ends before the values do, or a chunk is damaged.
        """
        whole = [slice(*part.indices(size)) for part, size in zip(region, self.shape, strict=True)]
        if any(part.step != 1 for part in whole):
            raise ValueError(f"slices of step 1 are read, not {region}")
        shape = tuple(max(part.stop - part.start, 0) for part in whole)
        for part, array in zip(components, out, strict=True):
            if array.shape != shape + part.subshape or array.dtype != part.dtype:
                raise ValueError(
                    f"an array of {array.dtype}, {array.shape}, for cells of {part.dtype}, "
                    f"{shape + part.subshape}"
                )
            if not array.flags.c_contiguous:
                raise ValueError("the array is not C-contiguous")
        n_position = len(self.position.shape)
        rows, columns = whole[:n_position], whole[n_position:]
        return self._fill(
            lambda: sides(self.position, rows),
            lambda: sides(self.spectroscopic, columns),
            components,
            out,
            (math.prod(shape[:n_position]), math.prod(shape[n_position:])),
            lacks_cells=_lacks_cells(self.position, rows)
            or _lacks_cells(self.spectroscopic, columns),
        )

    def _fill(
        self,
        rows: Sides,
        columns: Sides,
        components: Sequence[Component],
        out: Sequence[NDArray],
        shape: tuple[int, int],
        *,
        lacks_cells: bool,
    ) -> ReadCount:
        """Fill arrays of a shape, ``(rows, columns)``, with what the sides want."""
        count = ReadCount(0, 0)
        if not math.prod(shape):
            return count
        outputs = Outputs(out, components, shape)
        if lacks_cells:
            outputs.pad()
        with open_direct(self.path, self.dataset) as opened:
            if opened is not None:
                direct, fd = opened
                for row in rows():
                    for column in columns():
                        count += direct.read(fd, row, column, outputs)
                return count
        with open_for_blocks(self.path) as file:
            by_hdf5 = ByHDF5(open_object(file, self.dataset))
            for row in rows():
                for column in columns():
                    count += by_hdf5.read(row, column, outputs)
        return count

    def read_memory(self, components: Sequence[Component]) -> int:
        """Return the bytes that :meth:`read_into` takes besides the arrays, at most.

        For one thread; the buffers are kept for its next block. The chunk index, which all
        threads of a process share, is in it.
        """
        del components  # however many are copied, it is from the same buffers
        direct = located(self.path, self.dataset)
        listed = [side for side in (self.position, self.spectroscopic) if side.rows is not None]
        tables = sum(_BYTES_PER_LISTED * min(LISTED_ENTRIES, side.n_rows) for side in listed)
        if direct is not None:
            gathered = direct.window_bytes if listed else 0
            return _OBJECT_BYTES + tables + direct.memory_bytes + gathered
        with open_for_blocks(self.path) as file:
            stored = ByHDF5(open_object(file, self.dataset)).stored
        cells = math.prod(stored.chunks) if stored.chunks else 1
        return _OBJECT_BYTES + _HDF5_BYTES + tables + 4 * max(WINDOW_BYTES, cells * stored.itemsize)

    def read(
        self, indexers: Sequence[NDArray[np.int64]], components: Sequence[Component]
    ) -> list[NDArray]:
        """Return the outer product of ``indexers`` of each component, read in one pass.

        Parameters
        ----------
        indexers
            One 1-D integer array for each dimension of :attr:`shape`; none negative.
        components
            Those wanted.

        Returns
        -------
        list of NDArray
            For each component ``tuple(map(len, indexers)) + subshape``, native byte order.
            Cells that were not measured hold the padding value.
        """
        n_position = len(self.position.shape)
        lengths = [len(indexer) for indexer in indexers]
        out = [np.empty((*lengths, *part.subshape), part.dtype) for part in components]
        self._fill(
            lambda: _picked(self.position, indexers[:n_position]),
            lambda: _picked(self.spectroscopic, indexers[n_position:]),
            components,
            out,
            (math.prod(lengths[:n_position]), math.prod(lengths[n_position:])),
            lacks_cells=any(
                side.rows is not None and side.n_rows < side.rows.size
                for side in (self.position, self.spectroscopic)
            ),
        )
        return out

    def blocks(self, block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Yield the regions of a regular partition into blocks of this shape, in C order."""
        return partition(self.shape, block)


def _lacks_cells(placement: Placement, region: Sequence[slice]) -> bool:
    """Return True where not every cell of a region was measured."""
    if placement.rows is None or placement.n_rows == placement.rows.size:
        return False
    return int(placement.rows.reshape(placement.shape)[tuple(region)].min(initial=0)) < 0


def _picked(placement: Placement, indexers: Sequence[NDArray[np.int64]]) -> Iterator[Side]:
    """Yield one side of what indexers pick; ranges need no list of their entries."""
    if all(indexer.size and np.all(np.diff(indexer) == 1) for indexer in indexers):
        yield from sides(placement, [slice(int(each[0]), int(each[-1]) + 1) for each in indexers])
        return
    yield from picked(placement.rows_of(indexers).ravel())


def partition(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the regions of an array cut into blocks of one shape, in C order."""
    ranges = [
        [slice(start, min(start + edge, size)) for start in range(0, size, edge)]
        for size, edge in zip(shape, block, strict=True)
    ]
    yield from itertools.product(*ranges)
