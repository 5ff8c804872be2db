"""Conformance cases 30 to 34 and 36: names, sizes of one, strings in every legacy spelling."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from urllib.parse import unquote

import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, main_nodes, open_main
from usid_files import MAIN, ONE_SPECTRUM_POINT, Side, channel, line, write_file, write_main

RASTER = it.grid({"Y": 3, "X": 4})
FORBIDDEN = set('/\\:*?"<>|') | {chr(k) for k in range(32)} | {chr(127)}


@pytest.mark.parametrize(
    ("position", "spectral", "dims"),
    [
        (["X", "Y"], ["X", "Bias"], ("Y", "X", "Bias", "X_2")),
        (["X", "X"], ["V", "W"], ("X_2", "X", "W", "V")),
        (["X", "Y"], ["arb", "arb"], ("Y", "X", "arb_2", "arb")),
        (["X", "x"], ["V", "v"], ("x_2", "X", "v_2", "V")),
        (["A", "A"], ["A", "A"], ("A_2", "A", "A_4", "A_3")),
        ([" X", "X "], ["V", "W"], ("X_2", "X", "W", "V")),
    ],
    ids=["across", "position", "arb", "case", "all", "stripped"],
)
def test_case_30_duplicate_names(
    path: Path, position: list[str], spectral: list[str], dims: tuple[str, ...]
) -> None:
    side = Side(it.grid({"W": 2, "V": 2}), spectral, ["V", "T"])
    assert_file_agrees(write_file(path, Side(RASTER, position, ["m", "um"]), side))
    assert open_main(path, MAIN)["Raw_Data"].dims == dims


def test_case_30_two_arbitrary_dims_of_size_one(path: Path) -> None:
    position = Side(np.zeros((1, 1), int), ["arb"], ["a.u."], np.full((1, 1), 5))
    assert_file_agrees(write_file(path, position, ONE_SPECTRUM_POINT))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].shape == ()
    assert float(ds["arb"]) == 5
    assert float(ds["arb_2"]) == 1


@pytest.mark.parametrize("first_taken", ["X_2", "x_2"])
def test_case_30_a_label_that_looks_like_a_disambiguated_one(path: Path, first_taken: str) -> None:
    side = Side(it.grid({"W": 2, "V": 2}), ["X", "W"], ["V", "T"])
    write_file(path, Side(RASTER, [first_taken, "X"], ["m", "um"]), side)
    ds = open_main(path, MAIN)
    assert len({name.casefold() for name in map(str, ds.variables)}) == len(ds.variables) == 5


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(1, 3, 4), (1, 1, 4)], ids=str)
def test_case_31_dims_of_size_one(path: Path, place: int, sizes: tuple[int, ...]) -> None:
    names = ["Z", "Y", "X"]
    turned = sizes[-place:] + sizes[:-place]
    loops = dict(zip(names, turned, strict=True))
    units = ["um", "nm", "m"]
    side = Side(it.grid(loops, columns=["X", "Y", "Z"]), ["X", "Y", "Z"], units)
    assert_file_agrees(write_file(path, side, line("Bias", np.arange(2.0))))
    ds = open_main(path, MAIN)
    for name, size in loops.items():
        assert ds[name].ndim == (size > 1)
        assert ds[name].attrs["units"] == units["XYZ".index(name)]
    assert ds["Raw_Data"].dims == (*(n for n in names if loops[n] > 1), "Bias")


def test_case_31_one_cell(path: Path) -> None:
    position = Side(np.zeros((1, 2), int), ["X", "Y"], ["m", "um"], np.array([[3, 4]]))
    assert_file_agrees(write_file(path, position, line("Bias", np.array([0.5]))))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].shape == ()
    assert (float(ds["X"]), float(ds["Y"]), float(ds["Bias"])) == (3, 4, 0.5)


def test_case_31_one_point_of_two_dims_and_three_spectral(path: Path) -> None:
    position = Side(np.zeros((1, 2), int), ["X", "Y"])
    spectral = Side(it.grid({"C": 2, "B": 3, "A": 4}), ["A", "B", "C"])
    assert_file_agrees(write_file(path, position, spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("C", "B", "A")


def test_case_31_one_spectral_point_of_two_dims(path: Path) -> None:
    spectral = Side(np.zeros((1, 2), int), ["A", "B"])
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))


@pytest.mark.parametrize("columns", ["AB", "BA"])
def test_case_31_square_tables(path: Path, columns: str) -> None:
    """Two points of two dims: the table's orientation cannot be told from its shape."""
    spectral = Side(it.grid({"B": 1, "A": 2}, columns=list(columns)), list(columns))
    position = Side(it.grid({"Y": 2, "X": 1}, columns=["X", "Y"]), ["X", "Y"])
    assert_file_agrees(write_file(path, position, spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "A")


def test_case_32_more_dims_than_points(path: Path) -> None:
    table = np.array([[0, 0, 0], [0, 0, 1]])
    assert_file_agrees(write_file(path, Side(table, ["X", "Y", "Z"]), line("V", np.arange(2.0))))
    assert open_main(path, MAIN).sizes == {"Z": 2, "V": 2}


@pytest.mark.parametrize("strings", ["S", "vlen", "latin-1"])
@pytest.mark.parametrize("text", ["vlen", "S", "one-element", "latin-1"])
def test_case_33_kinds_of_strings(path: Path, strings: str, text: str) -> None:
    side = Side(RASTER, ["X", "Größe"], ["µm", "°"])
    write_file(path, side, quantity="Höhe", units="µV", strings=strings, text=text)
    assert_file_agrees(path)
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Größe", "X")
    assert ds["X"].attrs["units"] == "µm"
    assert ds["Raw_Data"].attrs["quantity"] == "Höhe"
    assert ds["Raw_Data"].attrs["units"] == "µV"


@pytest.mark.parametrize("strings", ["scalar", "scalar-bytes", "S", "vlen"])
def test_case_33_a_lone_label(path: Path, strings: str) -> None:
    position = line("X", np.arange(3.0), "µm")
    assert_file_agrees(write_file(path, position, line("Bias", np.arange(2.0)), strings=strings))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("X", "Bias")
    assert ds["X"].attrs["units"] == "µm"


@pytest.mark.parametrize("padded", [" m\n", "m ", "m"])
def test_case_33_whitespace(path: Path, padded: str) -> None:
    side = Side(RASTER, ["X ", "\tY"], [padded, "m"])
    assert_file_agrees(write_file(path, side))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "X")
    assert ds["X"].attrs["units"] == ds["Y"].attrs["units"] == "m"


def test_case_33_empty_units(path: Path) -> None:
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"], ["", ""]), units=""))
    assert open_main(path, MAIN)["X"].attrs["units"] == ""


def test_case_33_empty_label(path: Path) -> None:
    assert_file_agrees(write_file(path, Side(RASTER, ["X", ""])))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("%", "X")


def test_case_33_null_padded_strings(path: Path) -> None:
    write_file(path, Side(RASTER, ["X", "Y"]))
    with h5py.File(path, "r+") as file:
        for name in ("Position_Indices", "Position_Values"):
            table = file[MAIN].parent[name]
            table.attrs["labels"] = np.array([b"X\0\0\0\0", b"Long"], dtype="S8")
    assert_file_agrees(path)


def ptir(path: Path, position: Side, unit: str) -> Path:
    """Write a file as PTIR Studio does."""
    spectral = line("Z", np.linspace(800, 1800, 5, dtype="f4"), "cm-1")
    write_file(path, position, spectral, unit_strings="characters", text="S", units=unit)
    with h5py.File(path, "r+") as file:
        for group in (file["Measurement_000"], channel(file), file[MAIN]):
            group.attrs["pyUSID_version"] = np.bytes_(b"0.0.4")
            group.attrs["platform"] = np.bytes_(b"Windows 10 64-bit")
        file["Measurement_000"].attrs["SoftwareVersion"] = np.bytes_(b"PTIR Studio 4.3.7523.29022")
    return path


def test_case_34_units_of_single_characters(path: Path) -> None:
    assert_file_agrees(ptir(path, line("X", np.ones(1, "f4"), "m"), "mV"))
    ds = open_main(path, MAIN)
    assert ds["Z"].attrs["units"] == "cm-1"
    assert ds["X"].attrs["units"] == "m"
    assert ds["Raw_Data"].attrs["units"] == "mV"


def test_case_34_as_many_characters_as_labels(path: Path) -> None:
    assert_file_agrees(ptir(path, Side(RASTER, ["X", "Y"], ["um"]), ""))
    ds = open_main(path, MAIN)
    assert ds["X"].attrs["units"] == ds["Y"].attrs["units"] == "um"
    assert ds["Raw_Data"].dims == ("Y", "X", "Z")


@pytest.mark.parametrize("units", [["m", "m"], ["V", "s"], ["s", "m"]], ids=str)
def test_case_34_single_characters_of_others_are_units(path: Path, units: list[str]) -> None:
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"], units)))
    ds = open_main(path, MAIN)
    assert [ds["X"].attrs["units"], ds["Y"].attrs["units"]] == units


def test_case_34_positions_shared_across_measurements(path: Path) -> None:
    position = Side(RASTER, ["X", "Y"])
    with h5py.File(path, "w") as file:
        write_main(channel(file), position=position, spectroscopic=line("Z", np.arange(3.0)))
        shared = {n: file[MAIN].parent[n] for n in ("Position_Indices", "Position_Values")}
        other = channel(file, 1)
        main = write_main(other, position=position, spectroscopic=line("Z", np.arange(7.0)))
        for name, table in shared.items():
            del other[name]
            main.attrs[name] = table.ref
    assert_file_agrees(path)


@pytest.mark.parametrize("text", ["C/(V s)", "nA [rms]", "", " ", "a.u.", "cm⁻¹", "10^3 Ω·m"])
def test_case_36_quantity_and_units_verbatim(path: Path, text: str) -> None:
    write_file(path, Side(RASTER, ["X", "Y"]), quantity=text, units=text)
    assert_file_agrees(path)
    attrs = open_main(path, MAIN)["Raw_Data"].attrs
    assert attrs["quantity"] == attrs["units"] == text


def assert_holds(name: str, original: str) -> None:
    """Fail unless the name is one that stores hold, and tells the original."""
    assert unquote(name) == original
    assert not set(name) & FORBIDDEN
    assert name not in {"", ".", "..", "zarr.json"}
    assert not name.endswith((".", " "))
    assert not name.startswith("__")


AWKWARD = [
    "X/Y", "a\\b", "C:", "what?", "a*b", '"q"', "<x>", "p|q", "tab\there", "%", "%41", "100%",
    "end.", ".", "..", "zarr.json", "__private", "bell\a",
]  # fmt: skip
TAME = ["[V]", "(rad)", "a.b", "DC Offset", "Größe", "50% duty", "_x", "valid2", "電圧", "é"]


@pytest.mark.parametrize("label", AWKWARD)
def test_awkward_labels_are_mapped_and_kept(path: Path, label: str) -> None:
    write_file(path, Side(RASTER, ["X", label]))
    ds = open_main(path, MAIN)
    dim = str(ds["Raw_Data"].dims[0])
    if label != "100%":
        assert dim != label
        assert ds[dim].attrs["usid_name"] == label
    assert_holds(dim, label)
    assert ds[dim].attrs["long_name"] == label


@pytest.mark.parametrize("label", TAME)
def test_tame_labels_stay(path: Path, label: str) -> None:
    assert_file_agrees(write_file(path, Side(RASTER, ["X", label])))
    assert open_main(path, MAIN)["Raw_Data"].dims == (label, "X")


@pytest.mark.parametrize("name", [n for n in AWKWARD if "/" not in n and n not in (".", "..")])
def test_awkward_names_of_mains(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file), name, position=Side(RASTER, ["X", "Y"]))
    with xr.open_datatree(path, engine="usid") as tree:
        (node,) = main_nodes(tree)
        (variable,) = tree[node].data_vars
        last = node.rsplit("/", 1)[1]
        if last != name:
            assert tree[node][variable].attrs["usid_name"] == name
    assert_holds(str(variable), name)
    assert_holds(last, name)
    with open_main(path, f"/Measurement_000/Channel_000/{name}") as ds:
        assert list(ds.data_vars) == [variable]


@pytest.mark.parametrize("label", ["DC Offset", "a b c", "non\u00a0breaking"])
def test_whitespace_in_a_coordinate_that_is_no_dimension(path: Path, label: str) -> None:
    table = np.column_stack([RASTER, np.zeros(12, int)])
    assert_file_agrees(write_file(path, Side(table, ["X", "Y", label])))
    ds = open_main(path, MAIN)
    (name,) = set(map(str, ds.coords)) - {"X", "Y", "arb"}
    assert not any(c.isspace() for c in name)
    assert ds[name].attrs["usid_name"] == label


def test_whitespace_in_flat_coordinates_and_in_values(path: Path) -> None:
    values = RASTER + np.random.default_rng(0).random(RASTER.shape)
    assert_file_agrees(write_file(path, Side(RASTER, ["X pos", "Y pos"], values=values)))
    assert {"X%20pos_values", "Y%20pos_values"} < set(open_main(path, MAIN).coords)
    assert_file_agrees(write_file(path, Side(it.sparse(4, 2), ["X pos", "Y pos"])))
    assert {"X%20pos", "Y%20pos"} < set(open_main(path, MAIN).coords)


@pytest.mark.parametrize(
    "label", ["Raw_Data", "raw_data", "valid", "Valid", "position", "X_values"]
)
@pytest.mark.parametrize("n_points", [12, 7])
def test_labels_that_clash_with_our_own_names(path: Path, label: str, n_points: int) -> None:
    table = RASTER[:n_points]
    values = table + np.random.default_rng(0).random(table.shape)
    write_file(path, Side(table, ["X", label], values=values))
    ds = open_main(path, MAIN)
    folded = {unicodedata.normalize("NFC", str(name)).casefold() for name in ds.variables}
    assert len(folded) == len(ds.variables)
    originals = [var.attrs.get("usid_name", name) for name, var in ds.variables.items()]
    assert "Raw_Data" in originals
    assert label in originals
    assert (n_points == 7) == any(var.dtype == bool for var in ds.data_vars.values())


@pytest.mark.parametrize("label", ["position", "Position", "Raw_Data"])
def test_labels_that_clash_with_the_flat_dimension(path: Path, label: str) -> None:
    write_file(path, Side(it.sparse(5, 2), ["X", label]))
    ds = open_main(path, MAIN)
    assert len({str(name).casefold() for name in ds.variables}) == len(ds.variables) == 4
    assert label in [var.attrs.get("usid_name", name) for name, var in ds.variables.items()]
    assert dict(ds.sizes) == {ds["X"].dims[0]: 5}


def test_unicode_forms_clash(path: Path) -> None:
    side = Side(it.grid({"W": 2, "V": 2}), ["é", "W"])
    write_file(path, Side(RASTER, ["e\u0301", "Y"]), side)
    ds = open_main(path, MAIN)
    assert len({unicodedata.normalize("NFC", str(n)) for n in ds.variables}) == len(ds.variables)


def test_over_long_names(path: Path) -> None:
    label, name = "ü" * 200, "N" * 300
    dtype = [(name, "f4"), (name[:-1] + "M", "f4")]
    write_file(path, Side(RASTER, ["X", label]), dtype=dtype)
    ds = open_main(path, MAIN)
    assert all(len(str(n).encode()) <= 255 for n in ds.variables)
    assert {ds[n].attrs["usid_name"] for n in ds.data_vars} == {n for n, _ in dtype}
    assert ds[ds["X"].name].sizes == {"X": 4}
    assert label in [ds[n].attrs.get("usid_name") for n in ds.coords]
