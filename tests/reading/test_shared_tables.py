"""Equal tables are worked out once, and no Main dataset ever shows another one's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, open_main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usid_files import LINKS, Side, channel, line, write_main, write_tables

from usid_tasks import mains, tables, usid
from usid_tasks.axes import along_own, depends_on
from usid_tasks.grid import arrange
from usid_tasks.usid import read_usid

POSITION = Side(it.grid({"Y": 13, "X": 17}), ["X", "Y"])
BIAS = line("Bias", np.arange(5, dtype="f4"))
N_CHANNELS = 4


def write_channels(path: Path, sides: list[Side], *, is_shared: bool = False) -> Path:
    """Write a Main for each Position side, with tables of its own or those of the first."""
    with h5py.File(path, "w") as file:
        held = write_tables(file, sides[0], BIAS) if is_shared else None
        for number, side in enumerate(sides):
            group = channel(file, 0, number)
            write_main(group, position=side, spectroscopic=BIAS, tables=held)
    return path


class Counter:
    """Counts the calls of a function that it stands for."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls = 0
        self._plain = getattr(module, name)
        patch.setattr(module, name, self)

    def __call__(self, *given: Any, **options: Any) -> Any:
        self.calls += 1
        return self._plain(*given, **options)


@pytest.mark.parametrize(("is_shared", "n_read"), [(True, 4), (False, 4 * N_CHANNELS)])
def test_equal_tables_are_read_and_worked_out_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool, n_read: int
) -> None:
    write_channels(path, [POSITION] * N_CHANNELS, is_shared=is_shared)
    read = Counter(monkeypatch, usid, "_read_whole")
    sides = Counter(monkeypatch, tables, "build_side")
    orders = Counter(monkeypatch, mains, "arrange")
    assert len(read_usid(path).mains) == N_CHANNELS
    assert (read.calls, sides.calls, orders.calls) == (n_read, 2, 2)


def test_the_order_is_worked_out_once_where_only_values_differ(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [
        Side(POSITION.indices, ["X", "Y"], values=POSITION.value_table() + number)
        for number in range(N_CHANNELS)
    ]
    write_channels(path, moved)
    sides = Counter(monkeypatch, tables, "build_side")
    orders = Counter(monkeypatch, mains, "arrange")
    assert len(read_usid(path).mains) == N_CHANNELS
    assert (sides.calls, orders.calls) == (N_CHANNELS + 1, 2)


def test_every_object_and_every_attribute_is_opened_once_or_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_channels(path, [POSITION] * N_CHANNELS)
    n_groups, n_datasets = 2 + N_CHANNELS, 5 * N_CHANNELS
    n_attributes = N_CHANNELS * (6 + 4 * 2)  # of the Mains, and labels and units of the tables
    attributes = Counter(monkeypatch, h5py.h5a, "open")
    objects = Counter(monkeypatch, h5py.h5o, "open")
    read_usid(path)
    assert attributes.calls == n_attributes
    assert objects.calls == 2 * n_groups + n_datasets  # groups: for their links, for the rest


def test_sides_are_the_same_object_only_where_the_tables_are(path: Path) -> None:
    first, second = read_usid(write_channels(path, [POSITION] * 2)).mains.values()
    assert first.position is not second.position
    assert first.position.indices_path != second.position.indices_path
    assert first.position.grid is second.position.grid
    path.unlink()
    shared = read_usid(write_channels(path, [POSITION] * 2, is_shared=True)).mains.values()
    assert len({id(main.position) for main in shared}) == 1


def changed_cell(side: Side, which: int) -> Side:
    values = side.value_table()
    values.flat[which] += 1
    return Side(side.indices, side.labels, values=values)


OTHERS = {
    "labels": Side(POSITION.indices, ["Col", "Row"]),
    "swapped labels": Side(POSITION.indices, ["Y", "X"]),
    "units": Side(POSITION.indices, ["X", "Y"], ["nm", "nm"]),
    "type of the same bytes": Side(POSITION.indices, ["X", "Y"], index_dtype="i4"),
    "byte order": Side(POSITION.indices, ["X", "Y"], index_dtype=">u4"),
    "zeros with a sign": Side(POSITION.indices, ["X", "Y"], values=-0.0 * POSITION.indices),
    "zeros": Side(POSITION.indices, ["X", "Y"], values=0.0 * POSITION.indices),
    "undefined": Side(POSITION.indices, ["X", "Y"], values=np.nan * POSITION.indices),
    "columns": Side(POSITION.indices[:, ::-1], ["X", "Y"]),
    "order": Side(it.shuffled(POSITION.indices), ["X", "Y"]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_tables_that_differ_are_not_taken_for_each_other(path: Path, what: str) -> None:
    assert_file_agrees(write_channels(path, [POSITION, OTHERS[what], POSITION]), ways=[None])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mixture_of_equal_and_other_tables_reads_as_rebuilt(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    cell = st.integers(0, POSITION.indices.size - 1)
    pool = st.one_of(
        st.just(POSITION),
        st.builds(changed_cell, st.just(POSITION), cell),
        st.sampled_from(list(OTHERS.values())),
    )
    sides = data.draw(st.lists(pool, min_size=2, max_size=4))
    path = tmp_path_factory.mktemp("mixture") / "scan.h5"
    assert_file_agrees(write_channels(path, sides), ways=[None])


def test_the_same_bytes_mean_something_else_in_another_type(path: Path) -> None:
    zeros = [
        Side(POSITION.indices, ["X", "Y"], values=0 * POSITION.indices, value_dtype=dtype)
        for dtype in ("f4", "i4", ">f4", "u4")
    ]
    assert_file_agrees(write_channels(path, zeros), ways=[None])


def test_the_same_bytes_mean_something_else_in_another_shape(path: Path) -> None:
    wide, tall = it.grid({"Y": 3, "X": 2}), it.grid({"X": 12})
    write_channels(
        path, [Side(wide, ["X", "Y"], values=0 * wide), Side(tall, ["X"], values=0 * tall)]
    )
    assert_file_agrees(path, ways=[None])


def test_the_same_bytes_mean_something_else_on_the_other_side(path: Path) -> None:
    """A square table is read by rows on one side, by columns on the other."""
    table, values = np.array([[0, 0], [1, 0]]), np.array([[3.0, 5.0], [4.0, 5.0]])
    position = Side(table, ["A", "B"], values=values)
    spectroscopic = Side(table.T, ["A", "B"], values=values.T)
    with h5py.File(path, "w") as file:
        write_main(channel(file), position=position, spectroscopic=spectroscopic)
        group = file["Measurement_000/Channel_000"]
        for name in ("Indices", "Values"):
            assert np.all(group[f"Position_{name}"][()] == group[f"Spectroscopic_{name}"][()])
    (main,) = read_usid(path).mains.values()
    assert (main.position.name, main.spectroscopic.name) == ("position", "spectroscopic")
    assert (main.position.grid.sizes, main.spectroscopic.grid.sizes) == ((2, 1), (1, 2))
    assert_file_agrees(path)


def test_one_may_write_into_what_one_opened(path: Path) -> None:
    table = it.sparse(6, 2)
    first, second = (f"/Measurement_000/Channel_00{number}/Raw_Data" for number in range(2))
    write_channels(path, [Side(table, ["X", "Y"])] * 2)
    with xr.open_datatree(path, engine="usid") as tree:
        tree[first].coords["X"].values[:] = -1
        with open_main(path, second) as alone:
            xr.testing.assert_identical(tree[second].to_dataset().coords, alone.coords)


def test_a_piece_is_read_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(bytes(range(100)))
    plain = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: plain(fd, [into[0][:7]], at))
    values = np.empty((5, 4), "<u2")
    with path.open("rb") as file:
        tables.read_piece(file.fileno(), values, 60)
        assert values.tobytes() == bytes(range(60, 100))
        with pytest.raises(OSError, match="the file ends at byte 100, 2 bytes short"):
            tables.read_piece(file.fileno(), values, 62)


def test_a_table_cut_off_after_the_file_was_opened_is_a_finding(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_channels(path, [POSITION])
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    parsed = read_usid(path)
    assert not parsed.mains
    assert [finding.id for finding in parsed.findings] == ["F2"] * 4
    assert all("the file ends at byte" in finding.found for finding in parsed.findings)


@pytest.mark.parametrize("how", ["contiguous", "chunked", "compact", "big", "user block", "unset"])
def test_tables_are_read_whatever_their_storage(path: Path, how: str) -> None:
    block = 1024 if how == "user block" else 0
    with h5py.File(path, "w", userblock_size=block) as file:
        main = write_main(channel(file), position=POSITION, spectroscopic=BIAS)
        for name in LINKS:
            old = file[main.attrs[name]]
            attrs, values, place = dict(old.attrs), old[()], old.name
            del file[place]
            new = rewritten(file, place, values, how)
            new.attrs.update(attrs)
            main.attrs[name] = new.ref
    assert_file_agrees(path, ways=[None])


def rewritten(file: h5py.File, place: str, values: np.ndarray, how: str) -> h5py.Dataset:
    if how == "chunked":
        return file.create_dataset(place, data=values, chunks=(1, 1), compression="gzip")
    if how == "big":
        return file.create_dataset(place, data=values.astype(values.dtype.newbyteorder(">")))
    if how == "unset" and place.endswith("Values"):
        return file.create_dataset(place, shape=values.shape, dtype=values.dtype, fillvalue=7)
    if how == "compact" and values.nbytes < 60000:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        made = h5py.h5d.create(
            file.id, place.encode(), h5py.h5t.py_create(values.dtype),
            h5py.h5s.create_simple(values.shape), plist,
        )  # fmt: skip
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values))
        return h5py.Dataset(made)
    return file.create_dataset(place, data=values)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_values_on_a_grid_depend_on_what_their_rows_tell(data: st.DataObject) -> None:
    """Without the ranks of the rows, the same answer, bit for bit, or none."""
    sizes = {name: data.draw(st.integers(1, 4)) for name in "ABC"[: data.draw(st.integers(1, 3))]}
    backwards = data.draw(st.lists(st.sampled_from(sorted(sizes)), unique=True))
    columns = data.draw(st.permutations(sorted(sizes)))
    table = it.grid(sizes, columns=columns, backwards=backwards)
    grid = arrange(table, may_pad=True)
    own = data.draw(st.integers(0, len(columns) - 1))
    by_rank = np.array(data.draw(st.permutations([0.0, -0.0, np.nan, 2.5])), "f4")
    values = by_rank[grid.ranks[:, own]]
    signs = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    values = np.where(values == 0, np.where(signs, 0.0, -0.0).astype("f4"), values)
    if data.draw(st.booleans()):
        values[data.draw(st.integers(0, len(values) - 1))] = data.draw(
            st.sampled_from([0.0, np.nan, 9.0])
        )
    order = list(grid.columns)
    sizes_in_order = [grid.sizes[column] for column in order]
    want = depends_on(values, grid.ranks[:, order], sizes_in_order, order.index(own))
    got = mains._dependence(grid, values, order, order.index(own))
    assert got.dims == want.dims
    assert got.values.tobytes() == want.values.tobytes()
    assert got.measured.tobytes() == want.measured.tobytes()


def test_values_that_change_along_another_dimension_have_no_answer() -> None:
    cells = np.array([[1.0, 2.0], [1.0, 3.0]])
    assert along_own(cells, 1) is None
    assert along_own(cells, 0) is None
    found = along_own(np.array([[1.0, np.nan], [1.0, np.nan]]), 1)
    assert found is not None
    assert found.tobytes() == np.array([1.0, np.nan]).tobytes()
