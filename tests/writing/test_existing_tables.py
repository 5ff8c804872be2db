"""Tables that are there already are used again: each cell goes where its indices are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import index_tables as it
import numpy as np
import pytest
from agreement import assert_file_agrees
from usid_files import MAIN, ONE_SPECTRUM_POINT, Side, channel, distinct, line, write_file
from written_signals import axis

from usid_tasks import file_reader, file_writer
from usid_tasks.writing.refusals import UnwritableError

TABLES = "/Measurement_000/Channel_000"
SECOND = "/Measurement_001/Channel_000/Raw_Data"
GRID = {"Y": 3, "X": 4}
WAYS = {
    "x fastest": it.grid(GRID),
    "columns slow first": it.grid(GRID, columns=["Y", "X"]),
    "snake": it.grid(GRID, snake=["X"]),
    "upwards": it.grid(GRID, backwards=["Y"]),
    "interlaced": it.grid(GRID, visits={"Y": [0, 2, 1]}),
    "shuffled": it.shuffled(it.grid(GRID)),
    "from 7, in threes": it.grid(GRID, offset={"X": 7}, stride={"X": 3}),
}
SPECTRA = {"V": Side(it.shuffled(it.grid({"T": 2, "V": 5}), 3), ["V", "T"], ["V", "K"])}


def names(side: str, **by: Any) -> dict[str, Any]:
    short = {"Position": "pos", "Spectroscopic": "spec"}[side]
    kinds = {"inds": "Indices", "vals": "Values"}
    return {f"h5_{short}_{end}": f"{TABLES}/{side}_{kind}" for end, kind in kinds.items()} | by


def new_signal(start: int = 1000) -> dict[str, Any]:
    return {
        "data": distinct((3, 4, 2, 5), "i4", start),
        "axes": [axis("Y", 3, True), axis("X", 4, True), axis("T", 2), axis("V", 5)],
    }


def expected(path: Path, main: str, indices: dict[str, Any], data: np.ndarray) -> None:
    """Fail unless every row and column holds the cells that its indices name."""
    with h5py.File(path) as file:
        found = file[main][()]
        position = file[file[main].attrs["Position_Indices"]]
        spectra = file[file[main].attrs["Spectroscopic_Indices"]]
        labels = [
            [text.decode() for text in table.attrs["labels"]] for table in (position, spectra)
        ]
        for row, point in enumerate(position[()]):
            for column, step in enumerate(spectra[()].T):
                where = dict(zip(labels[0], point, strict=True)) | dict(
                    zip(labels[1], step, strict=True)
                )
                cell = tuple(int(indices[name].index(where[name])) for name in ("Y", "X", "T", "V"))
                assert found[row, column] == data[cell]


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("layout", [{}, {"chunks": (5, 3), "compression": "gzip"}], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_cells_go_where_their_indices_are(path, way, layout, is_lazy):
    table = WAYS[way]
    labels = ["Y", "X"] if way == "columns slow first" else ["X", "Y"]
    write_file(path, Side(table, labels), SPECTRA["V"], data=distinct((12, 10), "i4"))
    told = new_signal()
    data = told["data"]
    if is_lazy:
        told["data"] = da.from_array(data, chunks=(2, 3, 1, 2))
    file_writer(path, told, **names("Position"), **names("Spectroscopic"), **layout)
    with h5py.File(path) as file:
        main = file[SECOND]
        for kind in ("Position_Indices", "Spectroscopic_Values"):
            assert file[main.attrs[kind]] == file[f"{TABLES}/{kind}"]
        assert set(main.parent) == {"Raw_Data"}
    ranks = {"Y": sorted(set(table[:, labels.index("Y")].tolist())), "T": [0, 1]}
    ranks |= {"X": sorted(set(table[:, labels.index("X")].tolist())), "V": [0, 1, 2, 3, 4]}
    expected(path, SECOND, ranks, data)
    assert_file_agrees(path, ways=[None])


def test_what_was_read_can_be_written_beside_its_source(path):
    """The usual case: a result on the positions of the measurement, acquired as a snake."""
    write_file(path, Side(WAYS["snake"], ["X", "Y"]), line("Bias", np.linspace(-1, 1, 6)))
    (read,) = file_reader(path)
    height = read["data"].max(axis=-1)
    axes = [dict(one, navigate=True) for one in read["axes"][:2]]
    file_writer(
        path, {"data": height, "axes": axes}, **names("Position"), quantity="Height", units="nm"
    )
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[SECOND][:, 0], file[MAIN][()].max(axis=1))
    assert_file_agrees(path, ways=[None])


def test_points_without_a_grid_keep_their_order(path):
    sparse = Side(it.sparse(7, 2), ["X", "Y"], values=np.random.default_rng(1).random((7, 2)))
    write_file(path, sparse, ONE_SPECTRUM_POINT)
    told = {"data": distinct((7, 3), "f4", 50), "axes": [axis("position", 7, True), axis("V", 3)]}
    file_writer(path, told, **names("Position"))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[SECOND][()], told["data"])
    assert_file_agrees(path, ways=[None])


def test_tables_of_another_file_are_copied(path, tmp_path):
    other = tmp_path / "other.h5"
    side = Side(WAYS["snake"], ["X", "Y"], ["µm", "nm"], index_dtype="u2", value_dtype="f8")
    write_file(other, side, SPECTRA["V"])
    told = new_signal()
    with h5py.File(other) as file:
        pair = (file[f"{TABLES}/Position_Indices"], file[f"{TABLES}/Position_Values"])
        file_writer(path, told, **dict(zip(("h5_pos_inds", "h5_pos_vals"), pair, strict=True)))
        cells = [table[()] for table in pair]
    with h5py.File(path) as file:
        for kind, wanted in zip(("Indices", "Values"), cells, strict=True):
            table = file[f"{TABLES}/Position_{kind}"]
            assert table.dtype == wanted.dtype
            np.testing.assert_array_equal(table[()], wanted)
            assert [text.decode() for text in table.attrs["units"]] == ["µm", "nm"]
            np.testing.assert_array_equal(table[table.attrs["Y"]], wanted[:, [1]])
    ranks = {"Y": [0, 1, 2], "X": [0, 1, 2, 3], "T": [0, 1], "V": [0, 1, 2, 3, 4]}
    expected(path, MAIN, ranks, told["data"])
    assert_file_agrees(path, ways=[None])


@pytest.mark.parametrize("replace", [False, True])
def test_tables_of_the_file_itself_may_be_given_by_handle(path, replace):
    write_file(path, Side(WAYS["snake"], ["X", "Y"]), SPECTRA["V"])
    with h5py.File(path) as file:
        kinds = {"inds": "Indices", "vals": "Values"}
        pair = {f"h5_pos_{end}": file[f"{TABLES}/Position_{kind}"] for end, kind in kinds.items()}
        file_writer(path, new_signal(), replace=replace, **pair)
    with h5py.File(path) as file:
        main = file[MAIN if replace else SECOND]
        is_shared = file[main.attrs["Position_Values"]] == file[f"{TABLES}/Position_Values"]
        assert is_shared
        assert "Position_Values" not in main.parent or replace
    assert_file_agrees(path, ways=[None])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"h5_pos_inds": "/nowhere"}, "no dataset at '/nowhere'"),
        ({"h5_pos_inds": TABLES}, "no dataset at"),
        ({"h5_pos_inds": f"{TABLES}/Spectroscopic_Indices"}, "its labels: 2 for 10 dimensions"),
        ({"h5_pos_inds": f"{TABLES}/short"}, r"Indices \(11, 2\) .* are no pair"),
        ({"h5_pos_inds": f"{TABLES}/labels"}, "its labels: missing"),
        ({"h5_pos_inds": f"{TABLES}/line"}, "of two dimensions"),
    ],
)
def test_tables_that_are_none_are_refused(path, change, why):
    write_file(path, Side(WAYS["snake"], ["X", "Y"]), SPECTRA["V"])
    with h5py.File(path, "r+") as file:
        group = channel(file)
        group["labels"] = np.zeros((12, 2), "u4")
        group["short"] = np.zeros((11, 2), "u4")
        group["short"].attrs.update({"labels": ["X", "Y"], "units": ["m", "m"]})
        group["line"] = np.zeros(12, "u4")
    before = path.read_bytes()
    with pytest.raises(UnwritableError, match=why):
        file_writer(path, new_signal(), **names("Position", **change))
    assert path.read_bytes() == before


def test_tables_of_another_shape_are_refused(path):
    write_file(path, Side(it.grid({"Y": 4, "X": 3}), ["X", "Y"]), SPECTRA["V"])
    with pytest.raises(UnwritableError, match=r"an array of \(4, 3\), the signal has \(3, 4\)"):
        file_writer(path, new_signal(), **names("Position"))


def test_tables_with_other_labels_are_refused(path):
    write_file(path, Side(it.grid({"X": 3, "Y": 4}), ["Y", "X"]), SPECTRA["V"])
    with pytest.raises(UnwritableError, match="their dimension 'X' is 'Y' in the signal"):
        file_writer(path, new_signal(), **names("Position"))


def test_tables_of_an_aborted_raster_are_refused(path):
    aborted = Side(it.truncated(it.grid({"Y": 4, "X": 3}), 8), ["X", "Y"])
    write_file(path, aborted, SPECTRA["V"])
    told = new_signal()
    told["data"], told["axes"][1]["size"] = told["data"][:, :3], 3
    with pytest.raises(UnwritableError, match="8 points do not fill their grid"):
        file_writer(path, told, **names("Position"))
