"""Random files: whatever the grid, the order, the layout and the type, engine equals oracle."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import index_tables as it
import numpy as np
import pytest
from agreement import assert_file_agrees
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from usid_files import Side, distinct, write_file

NUMBERS = ["?", "i1", "i4", "u2", "u8", "f2", "f4", "f8", ">i2", ">f4", ">f8", "c8", ">c16"]
VALUE_TYPES = ["f4", "f8", "f2", ">f4", ">f8", "i2", "u1", ">u4"]
INDEX_TYPES = ["u4", "u2", "i4", ">u4", "f4", "i8"]
TOTAL = 300
"""Most points of a side."""

quick = settings(
    max_examples=150, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@st.composite
def axes_values(draw: st.DrawFn, sizes: list[int], dtype: str) -> list[np.ndarray]:
    """Values by rank, one array per column: linear, constant, or anything."""
    found = []
    kind = np.dtype(dtype).kind
    for size in sizes:
        shape = draw(st.sampled_from(["linear", "descending", "constant", "any"]))
        if shape == "linear":
            values = np.arange(size) * 2.0 + 1
        elif shape == "descending":
            values = 100 - np.arange(size) * 4.0
        elif shape == "constant":
            values = np.full(size, 7.0)
        else:
            number = st.integers(0, 120) if kind in "iu" else st.sampled_from(
                [0.5, 1.5, -3.25, 1000.0, 1e-3, np.nan, 2.0, 7.125, -50.0]
            )  # fmt: skip
            values = np.array(draw(st.lists(number, min_size=size, max_size=size)), "f8")
        found.append(values.astype(dtype))
    return found


@st.composite
def sides(draw: st.DrawFn, labels: str, *, may_be_cut: bool) -> Side:
    """One side: nested loops in some order, then perhaps shuffled, cut, or with points gone."""
    n_dims = draw(st.integers(1, 4))
    names = list(labels[:n_dims])
    sizes: dict[str, int] = {}
    for name in draw(st.permutations(names)):
        used = int(np.prod(list(sizes.values()), dtype=int))
        sizes[name] = draw(st.integers(1, min(5, max(1, TOTAL // (used * 3)))))
    columns = list(draw(st.sampled_from(list(permutations(names)))))
    flags = st.lists(st.sampled_from(names), unique=True)
    table = it.grid(
        sizes,
        columns=columns,
        snake=draw(flags),
        backwards=draw(flags),
        visits={name: draw(st.permutations(range(sizes[name]))) for name in draw(flags)},
        offset={name: draw(st.integers(0, 9)) for name in draw(flags)},
        stride={name: draw(st.integers(1, 3)) for name in draw(flags)},
    )
    change = draw(
        st.sampled_from(["none", "none", "cut", "cut", "shuffle", "holes", "zeros", "same"])
    )
    if not may_be_cut and change == "cut":
        change = "none"
    n_points = len(table)
    if change == "cut" and n_points > 1:
        table = it.truncated(table, draw(st.integers(1, n_points)))
    elif change == "shuffle":
        table = it.shuffled(table, draw(st.integers(0, 99)))
    elif change == "zeros":
        table = it.preallocated(table, draw(st.integers(1, n_points)))
    elif change == "holes" and n_points > 2:
        gone = draw(st.lists(st.integers(0, n_points - 1), unique=True, max_size=n_points // 2))
        table = np.delete(table, gone, axis=0)
    elif change == "same":
        table = it.sparse(min(n_points, 20), n_dims)
    dtype = draw(st.sampled_from(VALUE_TYPES))
    if draw(st.booleans()) or draw(st.booleans()):
        uniques = [len(np.unique(column)) for column in table.T]
        values = it.values_at(table, *draw(axes_values(uniques, dtype)))
    else:
        noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 3, table.shape)
        values = table * 3 + noise * np.array(
            draw(st.lists(st.integers(0, 1), min_size=n_dims, max_size=n_dims))
        )
    units = draw(st.lists(st.sampled_from(["m", "nm", "", "°C"]), min_size=n_dims, max_size=n_dims))
    return Side(table, columns, units, values, draw(st.sampled_from(INDEX_TYPES)), dtype)


@st.composite
def dtypes(draw: st.DrawFn) -> Any:
    """A number type or a compound of them."""
    if draw(st.integers(0, 3)):
        return draw(st.sampled_from(NUMBERS))
    fields = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3))
    return [(f"field {k} [V]", number) for k, number in enumerate(fields)]


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, int]) -> dict[str, Any]:
    """Contiguous, chunked, or chunked and compressed."""
    if draw(st.booleans()):
        return {}
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    return {"chunks": chunks, "compression": draw(st.sampled_from([None, "gzip", "lzf"]))}


@quick
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Overflow:RuntimeWarning")
def test_engine_equals_oracle(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    position = data.draw(sides("XYZW", may_be_cut=True), "position")
    spectroscopic = data.draw(sides("ABCD", may_be_cut=False), "spectroscopic")
    shape = (len(position.indices), len(spectroscopic.indices))
    if shape[0] * shape[1] > 4000:
        spectroscopic = Side(it.grid({"A": 2}), ["A"])
        shape = (shape[0], 2)
    dtype = data.draw(dtypes(), "dtype")
    layout = data.draw(layouts(shape), "layout")
    folder: Path = tmp_path_factory.getbasetemp() / "properties"
    folder.mkdir(exist_ok=True)
    chunks = data.draw(st.sampled_from([None, {}, "auto"]), "chunks")
    path = write_file(
        folder / "scan.h5", position, spectroscopic, data=distinct(shape, dtype), **layout
    )
    assert_file_agrees(path, ways=(chunks,))


@settings(quick, max_examples=100)
@given(
    sizes=st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 4)),
    snake=st.lists(st.sampled_from("XYZ"), unique=True),
    backwards=st.lists(st.sampled_from("XYZ"), unique=True),
    columns=st.permutations("XYZ"),
    cut=st.floats(0.01, 0.99),
    number=st.sampled_from(NUMBERS),
)
def test_an_abort_anywhere_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, ...], snake: list[str],
    backwards: list[str], columns: list[str], cut: float, number: str,
) -> None:  # fmt: skip
    loops = dict(zip("ZYX", sizes, strict=True))
    table = it.grid(loops, columns=columns, snake=snake, backwards=backwards)
    table = it.truncated(table, max(1, int(cut * len(table))))
    folder: Path = tmp_path_factory.getbasetemp() / "properties"
    folder.mkdir(exist_ok=True)
    path = write_file(folder / "cut.h5", Side(table, columns), dtype=number)
    (want,) = assert_file_agrees(path, ways=({},)).values()
    assert want.flat == (False, False)
    stored = distinct((len(table), 1), number)
    cells = want.data["Raw_Data"]
    if want.valid is not None:
        cells = cells[want.valid]
    assert sorted(cells.ravel().tolist(), key=str) == sorted(
        stored.astype(cells.dtype).ravel().tolist(), key=str
    )
