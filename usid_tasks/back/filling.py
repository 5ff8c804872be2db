"""The values of datasets as a store holds them: to be written box by box, or whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from h5py import h5d, h5s, h5t
from numpy.typing import NDArray

from usid_tasks.back.boxes import ArrayValues, Values, box_shape
from usid_tasks.back.means import Means
from usid_tasks.back.placing import Cells, MainValues
from usid_tasks.back.stored import StoredObject
from usid_tasks.back.types import bytes_dtype
from usid_tasks.back.values import Refer, array_of, text_bytes
from usid_tasks.errors import RefusedError
from usid_tasks.model import JSON
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.shards import Scratch, buffer_of
from usid_tasks.sizes import format_size
from usid_tasks.stages import WORKER_BYTES

BOX_BYTES = 64 * 2**20
"""Boxes become larger only where that saves decoding, so that there are some for every worker."""


@dataclass(frozen=True, eq=False)
class Filling:
    """The values of one dataset and how they get into the file.

    ``memory`` is the HDF5 type of the bytes; ``is_raw`` tells that they are those of the file.
    ``unwritten`` are rows of which not every value was ever written.
    """

    path: str
    values: Values
    memory: h5t.TypeID
    is_raw: bool
    unwritten: tuple[tuple[int, int], ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all cells."""
        return math.prod(self.values.shape) * self.values.itemsize

    def leaves_out(self, first_row: int, cells: NDArray[Any], fill: Any) -> bool:
        """Return whether cells were never written: nothing but fill values, where there were some.

        HDF5 tells of a chunk that is not there by its rows only, hence the look at the cells.
        """
        last = first_row + cells.shape[0]
        if not any(start <= first_row and last <= stop for start, stop in self.unwritten):
            return False
        return cells.tobytes() == np.full(cells.shape, fill, cells.dtype).tobytes()

    def box(self, unit: Sequence[int], means: Means, *, copies: int) -> tuple[int, ...]:
        """Return the shape of the boxes, of which every worker holds ``copies``.

        Raises
        ------
        RefusedError
            If the memory does not suffice for the smallest.
        """
        beside = WORKER_BYTES + self.values.beside_bytes
        room = (means.memory_bytes // means.workers - beside) // copies
        box = box_shape(self.values, unit, max(room, 1), wanted_bytes=BOX_BYTES)
        size = math.prod(box) * self.values.itemsize
        if size > max(room, 1):
            needed = means.workers * (beside + copies * size)
            raise RefusedError(
                self.path,
                f"its smallest box needs {format_size(beside + copies * size)} in each of "
                f"{means.workers} workers, expected {format_size(means.memory_bytes)} at most",
                f"Give --memory {-(-needed // 2**20)}MiB.",
            )
        return box


class Mains:
    """The values of Main datasets, placed by the index tables in the store.

    Each table is read once, however many Mains share it.
    """

    def __init__(self, store: SourceStore, objects: Mapping[str, StoredObject]) -> None:
        self._store = store
        self._objects = objects
        self._cells: dict[tuple[str, str], Cells] = {}

    def filling(self, stored: StoredObject, kind: h5t.TypeID) -> Filling:
        """Return the values of one Main dataset."""
        sides = stored.attrs["usid_sides"]
        position, spectroscopic = (
            self._places(name, sides[name]["indices"]) for name in ("position", "spectroscopic")
        )
        dtype = bytes_dtype(kind)
        components = tuple(
            (tuple(document["attributes"].get("usid_field", ())), self._store.array(place))
            for place, document in stored.arrays_of("main").items()
        )
        values = MainValues(position, spectroscopic, dtype or kind.dtype, components)
        return _filling(stored, values, kind, is_raw=dtype is not None)

    def _places(self, side: str, table: str) -> Cells:
        if (side, table) not in self._cells:
            ((place, _),) = self._objects[table].arrays.items()
            indices, is_position = whole(self._store, place), side == "position"
            points = indices if is_position else np.ascontiguousarray(indices.T)
            self._cells[(side, table)] = Cells.of(points, may_pad=is_position)
        return self._cells[(side, table)]


def whole(store: SourceStore, place: str) -> NDArray[Any]:
    """Return a whole array of the store: numbers by their shards, texts by zarr-python."""
    if store.is_text(place):
        texts = zarr.open_array(store.folder_of(place), mode="r")[...]
        return np.asarray(texts, np.dtypes.StringDType())
    array = store.array(place)
    size = math.prod(array.shape) * array.dtype.itemsize
    block = buffer_of(size)[:size].view(array.dtype).reshape(array.shape)
    if size:
        region = tuple(slice(0, n) for n in array.shape)
        array.read(region, block, Scratch(array.chunk_bytes))
    return block


def extra_filling(store: SourceStore, stored: StoredObject, kind: h5t.TypeID) -> Filling:
    """Return the values of a dataset that the store holds as numbers or as raw bytes."""
    ((place, _),) = stored.arrays.items()
    array = store.array(place)
    if stored.attrs["usid_encoding"] == "bytes":
        is_raw = kind.get_size() == array.shape[-1]
        return _filling(stored, ArrayValues(array, None), kind, is_raw=is_raw)
    raw = bytes_dtype(kind)
    values = ArrayValues(array, raw or kind.dtype)
    return _filling(stored, values, kind, is_raw=raw is not None)


def _filling(stored: StoredObject, values: Values, kind: h5t.TypeID, *, is_raw: bool) -> Filling:
    memory = kind if is_raw else h5t.py_create(kind.dtype)
    return Filling(stored.path, values, memory, is_raw, stored.unwritten)


def write_whole(
    store: SourceStore, stored: StoredObject, dataset: h5d.DatasetID, refer: Refer
) -> None:
    """Write texts, references and values of variable length, in one piece."""
    if stored.shape is None or not math.prod(stored.shape):
        return
    ((place, _),) = stored.arrays.items()
    kind, held = dataset.get_type(), whole(store, place)
    if stored.attrs["usid_encoding"] == "text":
        array = text_bytes(held.ravel().tolist(), kind).reshape(stored.shape)
        memory = kind if array.dtype.kind == "S" else h5t.py_create(kind.dtype)
    else:
        value, encodings = _from_json(held, stored.shape)
        array, memory = array_of(value, kind, stored.shape, refer=refer, encodings=encodings)
    dataset.write(h5s.ALL, h5s.ALL, array, mtype=memory)


def _from_json(held: NDArray[Any], shape: Sequence[int]) -> tuple[JSON, str | list[str]]:
    """Return the values of a dataset and the encoding of each text, from the bytes of a JSON."""
    value = json.loads(held.tobytes())
    if not isinstance(value, dict) or "values" not in value:
        return value, "utf-8"
    if "encoding" in value:
        return value["values"], value["encoding"]
    texts = [each["text"] for each in value["values"]]
    for size in reversed(shape):
        texts = [texts[at : at + size] for at in range(0, len(texts), size)]
    return texts[0], [each["encoding"] for each in value["values"]]
