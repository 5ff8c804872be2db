"""Random orders, types, storage and attributes: whatever they are, they come back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from coming_back import assert_told, there_and_back
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rechunk_stores import small_settings
from usid_files import Side, channel, distinct, write_file, write_main

from usid_tasks.back.boxes import box_shape, boxes
from usid_tasks.back.encoding import ChunkEncoder
from usid_tasks.back.placing import Cells
from usid_tasks.convert import convert_file
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import Settings
from usid_tasks.stores.usid import write_usid

quick = settings(
    max_examples=8, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
many = settings(quick, max_examples=100)
thorough = settings(quick, max_examples=100)

NUMBERS = ["?", "i1", ">i2", "u4", "<i8", "u8", "f2", ">f4", "f8", "c8", ">c16"]
COMPOUNDS: list[Any] = [
    [("a", "f4"), ("b", ">i2")],
    [("pair", ">f8", (2,)), ("ok", "?"), ("c", "c8")],
]


@st.composite
def sides(draw: st.DrawFn, labels: str, *, is_position: bool) -> Side:
    """One side: nested loops, or the same points in any order, cut, repeated or sparse."""
    names = list(labels[: draw(st.integers(1, 3))])
    sizes = {name: draw(st.integers(1, 6)) for name in draw(st.permutations(names))}
    how = {
        "columns": draw(st.permutations(names)),
        "snake": draw(st.lists(st.sampled_from(names), unique=True)),
        "backwards": draw(st.lists(st.sampled_from(names), unique=True)),
    }
    table = it.grid(sizes, **how)
    way = draw(st.sampled_from(["as it is", "shuffled", "cut", "gone", "twice", "sparse"]))
    if way == "shuffled":
        table = it.shuffled(table, draw(st.integers(0, 99)))
    elif way == "cut" and is_position:
        table = table[: draw(st.integers(1, len(table)))]
    elif way == "gone":
        keep = draw(hnp.arrays(bool, len(table)))
        keep[draw(st.integers(0, len(table) - 1))] = True
        table = table[keep]
    elif way == "twice":
        table = table[
            draw(hnp.arrays(np.int64, len(table), elements=st.integers(0, len(table) - 1)))
        ]
    elif way == "sparse":
        table = it.sparse(draw(st.integers(1, 12)), len(names))
    dtype = draw(st.sampled_from(["u4", "u2", "i8", ">i4"]))
    values = draw(st.sampled_from(["f4", "f8", ">f4", "f2"]))
    return Side(table, how["columns"], index_dtype=dtype, value_dtype=values)


@st.composite
def storage(draw: st.DrawFn, shape: tuple[int, int]) -> dict[str, Any]:
    """How a Main dataset is stored."""
    if draw(st.booleans()):
        return {}
    chunks = tuple(draw(st.integers(1, max(n, 1))) for n in shape)
    compression = draw(st.sampled_from([None, "gzip", "lzf"]))
    filters = {"shuffle": draw(st.booleans()), "fletcher32": draw(st.booleans())}
    if draw(st.booleans()):
        filters["maxshape"] = (None, draw(st.sampled_from([None, shape[1], shape[1] + 3])))
    return {"chunks": chunks, "compression": compression, "filters": filters}


def any_file_comes_back(data: st.DataObject) -> None:
    position = data.draw(sides("XYZ", is_position=True))
    spectroscopic = data.draw(sides("ABC", is_position=False))
    shape = (len(position.indices), len(spectroscopic.indices))
    dtype = np.dtype(data.draw(st.sampled_from(NUMBERS + COMPOUNDS)))
    how = data.draw(storage(shape))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = write_file(
            place / "scan.h5", position, spectroscopic, data=distinct(shape, dtype), **how
        )
        store = convert_file(path, place / "one.zarr", settings=small_settings()).store
        made = write_usid(store, place / "back/one.h5", settings=small_settings())
        assert made.differences == ()
        assert_told(path, made)
        intent = data.draw(st.sampled_from(["spectra", "images", "balanced"]))
        other = rechunk_store(
            store, place / "two.zarr", intent=intent, settings=small_settings(chunk="64 B")
        )
        assert_told(path, write_usid(other.store, place / "back/two.h5", settings=Settings()))


@quick
@given(st.data())
def test_any_order_type_and_storage_comes_back(data: st.DataObject) -> None:
    any_file_comes_back(data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(st.data())
def test_any_order_type_and_storage_comes_back_more(data: st.DataObject) -> None:
    any_file_comes_back(data)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
FINITE_OR_NOT = {"allow_nan": False}


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Numbers and truth values of any type, shape and byte order."""
    dtype = draw(
        st.one_of(
            hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(),
            hnp.floating_dtypes(), hnp.complex_number_dtypes(sizes=(64, 128)),
        )
    )  # fmt: skip
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    found = draw(hnp.arrays(dtype, shape, elements=FINITE_OR_NOT if dtype.kind in "fc" else None))
    return np.asarray(found)


@st.composite
def byte_strings(draw: st.DrawFn) -> np.ndarray:
    """Bytes of one fixed length: ASCII, UTF-8, Latin-1 or mixed."""
    encode = st.tuples(TEXTS, st.sampled_from(["utf-8", "latin-1"])).map(
        lambda pair: pair[0].encode(pair[1], "replace")
    )
    items = draw(st.lists(encode, min_size=1, max_size=4))
    found = np.array(items, dtype=f"S{max(1, *map(len, items))}" if len(items) > 1 else None)
    return found.astype("S1") if found.dtype.itemsize == 0 else found


VALUES = st.one_of(
    arrays(),
    byte_strings(),
    TEXTS,
    st.lists(TEXTS, max_size=4).map(lambda texts: np.array(texts, h5py.string_dtype())),
    st.sampled_from([h5py.Empty("f4"), h5py.Empty("S3"), h5py.Empty(h5py.string_dtype())]),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)


def attributes_come_back(on_group: dict[str, Any], on_main: dict[str, Any]) -> None:
    table = it.grid({"Y": 2, "X": 3})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        with h5py.File(path, "w") as file:
            group = channel(file)
            main = write_main(group, position=Side(table, ["X", "Y"]))
            for holder, attributes in ((group, on_group), (main, on_main)):
                for name, value in attributes.items():
                    if name not in holder.attrs:
                        holder.attrs[name] = value
        made = there_and_back(path, Path(folder))
        assert made.differences == ()


@quick
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_attributes_come_back(on_group: dict[str, Any], on_main: dict[str, Any]) -> None:
    attributes_come_back(on_group, on_main)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_attributes_come_back_more(on_group: dict[str, Any], on_main: dict[str, Any]) -> None:
    attributes_come_back(on_group, on_main)


def datasets_come_back(datasets: dict[str, Any]) -> None:
    table = it.grid({"Y": 2, "X": 3})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        with h5py.File(path, "w") as file:
            write_main(channel(file), position=Side(table, ["X", "Y"]))
            group = file.create_group("extra")
            for name, value in datasets.items():
                group[name] = value
        made = there_and_back(path, Path(folder))
        assert made.differences == ()


@quick
@given(st.dictionaries(NAMES.filter(lambda n: "/" not in n and n != "."), VALUES, max_size=5))
def test_any_datasets_come_back(datasets: dict[str, Any]) -> None:
    datasets_come_back(datasets)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(st.dictionaries(NAMES.filter(lambda n: "/" not in n and n != "."), VALUES, max_size=5))
def test_any_datasets_come_back_more(datasets: dict[str, Any]) -> None:
    datasets_come_back(datasets)


@many
@given(st.data())
def test_pieces_are_every_row_once_at_its_place(data: st.DataObject) -> None:
    side = data.draw(sides("XYZ", is_position=True))
    cells = Cells.of(np.asarray(side.index_table()), may_pad=True)
    n_rows = len(cells.ranks)
    first = data.draw(st.integers(0, n_rows - 1))
    last = data.draw(st.integers(first + 1, n_rows))
    edges = tuple(data.draw(st.integers(1, n)) for n in cells.shape)
    number = np.arange(int(np.prod(cells.shape))).reshape(cells.shape)
    found = np.full(last - first, -1)
    for piece in cells.pieces(slice(first, last), edges):
        extent = [part.stop - part.start for part in piece.region]
        assert all(n <= edge for n, edge in zip(extent, edges, strict=True))
        assert (found[piece.wanted] == -1).all()
        found[piece.wanted] = number[piece.region].ravel()[piece.inside]
    wanted = [int(number[tuple(ranks)]) for ranks in cells.ranks[first:last]]
    assert found.tolist() == wanted


class Counting:
    """Values of which only shape, type and steps are asked."""

    def __init__(self, shape: tuple[int, ...], itemsize: int, steps: list[list[int]]) -> None:
        self.shape, self.itemsize, self._steps = shape, itemsize, steps
        self.beside_bytes = 0

    def steps(self, dim: int) -> list[int]:
        return self._steps[dim]

    def read(self, box: object) -> np.ndarray:
        raise AssertionError("nothing is read")


@many
@given(st.data())
def test_boxes_are_whole_chunks_that_fit_and_cover_all(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 30), max_size=4)))
    unit = tuple(data.draw(st.integers(1, n)) for n in shape)
    itemsize = data.draw(st.integers(1, 16))
    steps = [data.draw(st.lists(st.integers(1, 40), max_size=3)) for _ in shape]
    most = data.draw(st.integers(1, 4000))
    wanted = data.draw(st.integers(1, 4000))
    box = box_shape(Counting(shape, itemsize, steps), unit, most, wanted_bytes=wanted)
    assert all(edge % u == 0 or edge == n for edge, u, n in zip(box, unit, shape, strict=True))
    size = int(np.prod(box)) * itemsize
    assert size <= max(most, int(np.prod(unit)) * itemsize)
    seen = np.zeros(shape, int)
    for region in boxes(shape, box):
        seen[region] += 1
    assert (seen == 1).all()
    # in C order each box is one run of bytes where a chunk is a cell
    if set(unit) <= {1} and seen.size:
        number = np.arange(seen.size).reshape(shape)
        for region in boxes(shape, box):
            run = number[region].ravel()
            assert (np.diff(run) == 1).all()


@many
@given(st.data())
def test_hdf5_decodes_the_chunks_that_are_encoded_here(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunk = tuple(data.draw(st.integers(1, n)) for n in shape)
    dtype = np.dtype(data.draw(st.sampled_from(["u1", ">i2", "f4", "f8", "c16", "V3"])))
    raw = np.random.default_rng(0).integers(0, 256, int(np.prod(shape)) * dtype.itemsize, "u1")
    cells = raw.view(dtype).reshape(shape)
    how = {
        "shuffle": data.draw(st.booleans()),
        "compression": data.draw(st.sampled_from([None, 0, 1, 9])),
        "fletcher32": data.draw(st.booleans()),
    }
    with h5py.File("chunks", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("x", shape, dtype, chunks=chunk, **how)
        plist = made.id.get_create_plist()
        told = [plist.get_filter(k) for k in range(plist.get_nfilters())]
        filters = tuple((int(f[0]), tuple(map(int, f[2]))) for f in told)
        assert ChunkEncoder.knows([number for number, _ in filters])
        zero = np.zeros((), dtype)[()]
        encoder = ChunkEncoder(chunk, filters, zero, lambda *_: False)
        for offset, encoded in encoder.encode(tuple(slice(0, n) for n in shape), cells):
            made.id.write_direct_chunk(offset, encoded, 0)
        assert made[()].tobytes() == cells.tobytes()
        if filters:
            again = file.create_dataset("y", data=cells, chunks=chunk, **how)
            pairs = [(each.id.read_direct_chunk((0,) * len(shape))) for each in (made, again)]
            assert pairs[0] == pairs[1]
