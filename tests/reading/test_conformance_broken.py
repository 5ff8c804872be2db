"""Conformance cases 19 and 35: a broken Main is one precise finding, the others still load."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_agrees, assert_file_agrees, main_nodes, open_main
from oracle import LINKS, rebuild
from usid_files import MAIN, Side, channel, distinct, line, write_main

from usid_tasks.errors import UsidError
from usid_tasks.model import Finding, Severity

POSITION = Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"])
BIAS = line("Bias", np.arange(5.0))
pytestmark = pytest.mark.filterwarnings("ignore:.*no sound Main dataset.*:UserWarning")

GOOD, BAD = MAIN, "/Measurement_000/Channel_001/Raw_Data"


def write_both(path: Path, position: Side = POSITION, spectral: Side = BIAS, **how: Any) -> Path:
    """Write a sound Main and, in its own Channel, one made as told."""
    with h5py.File(path, "w") as file:
        write_main(channel(file), position=POSITION, spectroscopic=BIAS)
        write_main(channel(file, 0, 1), position=position, spectroscopic=spectral, **how)
    return path


def findings_of(path: Path) -> list[Finding]:
    from usid_tasks.validate import validate_file

    return validate_file(path)


def new_findings(path: Path, twin: Path) -> list[Finding]:
    """Return the findings that the sound twin does not draw."""

    def key(finding: Finding) -> tuple[str, str]:
        return finding.id, finding.path

    write_both(twin)
    known = {key(finding) for finding in findings_of(twin)}
    return [finding for finding in findings_of(path) if key(finding) not in known]


def assert_good_loads(path: Path) -> None:
    with xr.open_datatree(path, engine="usid") as tree:
        assert_agrees(tree[GOOD].to_dataset(), rebuild(path, GOOD))
    with open_main(path, GOOD) as ds:
        assert_agrees(ds, rebuild(path, GOOD))


DEFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "no-quantity": ({"missing": ["quantity"]}, "quantity"),
    "no-units": ({"missing": ["units"]}, "units"),
    "no-position-labels": ({"missing": ["Position_Values.labels"]}, "labels"),
    "no-position-index-labels": ({"missing": ["Position_Indices.labels"]}, "labels"),
    "no-position-units": ({"missing": ["Position_Values.units"]}, "units"),
    "no-spectral-labels": ({"missing": ["Spectroscopic_Values.labels"]}, "labels"),
    "no-spectral-units": ({"missing": ["Spectroscopic_Indices.units"]}, "units"),
    "too-many-labels": (
        {"table_attrs": {
            name: {"labels": np.array([b"X", b"Y", b"Z"]), "units": np.array([b"mm"] * 3)}
            for name in ("Position_Indices", "Position_Values")
        }},
        "3",
    ),
    "too-few-units": (
        {"table_attrs": {
            name: {"units": np.array([b"um", b"um", b"mm"])}
            for name in ("Position_Indices", "Position_Values")
        }},
        "3",
    ),
    "other-labels": ({"table_attrs": {"Position_Values": {"labels": np.array([b"A", b"B"])}}}, "A"),
    "other-units": ({"table_attrs": {"Position_Values": {"units": np.array([b"A", b"s"])}}}, "A"),
    "transposed-positions": (
        {"transposed": ["Position_Indices", "Position_Values"]}, "(2, 12)"
    ),
    "transposed-spectra": (
        {"transposed": ["Spectroscopic_Indices", "Spectroscopic_Values"]}, "(5, 1)"
    ),
    "one-table-transposed": ({"transposed": ["Position_Values"]}, "(2, 12)"),
    "flat-spectra": ({"flattened": ["Spectroscopic_Indices", "Spectroscopic_Values"]}, "(5,)"),
}  # fmt: skip
for attribute in LINKS:
    for kind in (
        "missing",
        "null",
        "group",
        "dangling",
        "dangling-path",
        "array",
        "number",
        "path",
    ):
        DEFECTS[f"{kind}-{attribute}"] = ({"links": {attribute: kind}}, attribute)


@pytest.mark.parametrize("defect", DEFECTS)
def test_case_35_one_precise_finding(path: Path, defect: str) -> None:
    how, word = DEFECTS[defect]
    write_both(path, **how)
    new = new_findings(path, path.with_name("twin.h5"))
    assert len(new) == 1, [(f.id, f.path, f.found) for f in new]
    (finding,) = new
    assert finding.path.startswith(BAD.rsplit("/", 1)[0])
    assert word in finding.found + finding.expected + finding.path, finding
    assert finding.remedy
    assert_good_loads(path)


@pytest.mark.parametrize("defect", DEFECTS)
def test_case_35_sound_or_not_in_the_tree(path: Path, defect: str) -> None:
    """A Main without finding of severity error is in the tree, any other is not."""
    write_both(path, **DEFECTS[defect][0])
    is_sound = not any(
        f.severity is Severity.ERROR and f.path.startswith(BAD.rsplit("/", 1)[0])
        for f in findings_of(path)
    )
    with xr.open_datatree(path, engine="usid") as tree:
        assert main_nodes(tree) == ({GOOD, BAD} if is_sound else {GOOD})


@pytest.mark.parametrize("defect", ["no-quantity", "null-Position_Values", "transposed-spectra"])
def test_case_35_an_unsound_main_never_opens_silently(path: Path, defect: str) -> None:
    """Asked for by name it is refused, or given as stored with a warning that tells the rule."""
    write_both(path, **DEFECTS[defect][0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            ds, refusal = open_main(path, BAD), ""
        except UsidError as error:
            ds, refusal = None, str(error)
    assert any(BAD in text for text in [refusal, *(str(warning.message) for warning in told)])
    if ds is None:
        return
    assert "usid_parents" not in ds.attrs
    np.testing.assert_array_equal(ds["Raw_Data"].values, distinct((12, 5)))


@pytest.mark.parametrize("attribute", LINKS)
def test_case_35_paths_as_links_load(path: Path, attribute: str) -> None:
    write_both(path, links={attribute: "path"})
    assert_file_agrees(path, ways=(None,))


@pytest.mark.parametrize("kind", ["null", "group", "dangling", "dangling-path", "number"])
def test_case_35_a_link_to_nothing_is_an_error(path: Path, kind: str) -> None:
    write_both(path, links={"Spectroscopic_Values": kind})
    (finding,) = new_findings(path, path.with_name("twin.h5"))
    assert finding.severity is Severity.ERROR
    assert finding.id == "R2"


def cube(main: h5py.Dataset) -> None:
    parent, links = main.parent, {name: main.attrs[name] for name in LINKS}
    del parent["Raw_Data"]
    main = parent.create_dataset("Raw_Data", data=distinct((12, 5, 2)))
    for name, value in {**links, "quantity": "Q", "units": "V"}.items():
        main.attrs[name] = value


def text_main(main: h5py.Dataset) -> None:
    parent, links = main.parent, {name: main.attrs[name] for name in LINKS}
    del parent["Raw_Data"]
    main = parent.create_dataset("Raw_Data", data=np.full((12, 5), b"text"))
    for name, value in {**links, "quantity": "Q", "units": "V"}.items():
        main.attrs[name] = value


@pytest.mark.parametrize(("spoil", "rule"), [(cube, "R1"), (text_main, "R4")])
def test_case_35_not_a_table_of_numbers(
    path: Path, spoil: Callable[[h5py.Dataset], None], rule: str
) -> None:
    write_both(path)
    with h5py.File(path, "r+") as file:
        spoil(file[BAD])
    new = new_findings(path, path.with_name("twin.h5"))
    assert [finding.id for finding in new] == [rule]
    assert_good_loads(path)


def test_case_35_more_positions_than_the_tables_tell(path: Path) -> None:
    write_both(path, data=distinct((11, 5)))
    (finding,) = new_findings(path, path.with_name("twin.h5"))
    assert "11" in finding.found + finding.expected
    assert "12" in finding.found + finding.expected
    assert_good_loads(path)


def test_case_35_indices_that_are_no_numbers(path: Path) -> None:
    write_both(path)
    with h5py.File(path, "r+") as file:
        group = file[BAD].parent
        del group["Position_Indices"]
        table = group.create_dataset("Position_Indices", data=np.full((12, 2), b"a"))
        table.attrs["labels"] = table.attrs["units"] = np.array([b"X", b"Y"])
        file[BAD].attrs["Position_Indices"] = table.ref
    assert any(f.severity is Severity.ERROR for f in findings_of(path))
    assert_good_loads(path)


def test_case_35_undefined_indices(path: Path) -> None:
    table = POSITION.indices.astype("f4")
    table[3, 0] = np.nan
    write_both(path, Side(table, ["X", "Y"], values=np.zeros((12, 2)), index_dtype="f4"))
    assert any(f.path.startswith("/Measurement_000/Channel_001") for f in findings_of(path))
    assert_good_loads(path)


def test_case_35_a_dataset_without_links_is_no_main(path: Path) -> None:
    write_both(path, links="missing")
    with xr.open_datatree(path, engine="usid") as tree:
        assert main_nodes(tree) == {GOOD}


def test_case_19_good_sparse_and_broken_in_one_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0), position=POSITION, spectroscopic=BIAS)
        sparse = Side(it.sparse(6, 2), ["X", "Y"])
        write_main(channel(file, 0, 1), position=sparse, spectroscopic=BIAS)
        write_main(
            channel(file, 0, 2),
            position=POSITION,
            spectroscopic=BIAS,
            links={"Position_Values": "dangling"},
        )
    assert_file_agrees(path, [GOOD, BAD])
    errors = [f for f in findings_of(path) if f.severity is Severity.ERROR]
    assert [f.path for f in errors] == ["/Measurement_000/Channel_002/Raw_Data"]


def test_a_file_without_main_is_an_empty_tree_and_no_crash(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("picture", data=np.zeros((3, 4)))
    with xr.open_datatree(path, engine="usid") as tree:
        assert main_nodes(tree) == set()


def test_a_path_that_is_no_main_says_so(path: Path) -> None:
    write_both(path)
    for wrong in ("/nowhere", f"{GOOD}/below", "/Measurement_000/Channel_000/Raw_Dat"):
        with pytest.raises(UsidError, match=wrong):
            open_main(path, wrong)


def test_a_file_that_is_no_hdf5_says_so(path: Path) -> None:
    path.write_text("not HDF5")
    with pytest.raises(UsidError, match=r"scan\.h5"):
        xr.open_datatree(path, engine="usid")


def test_a_truncated_file_says_so(path: Path) -> None:
    write_both(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UsidError, match=r"scan\.h5"):
        xr.open_datatree(path, engine="usid")


def test_a_missing_file_says_so(path: Path) -> None:
    with pytest.raises((UsidError, FileNotFoundError), match=r"scan\.h5"):
        xr.open_datatree(path, engine="usid")
