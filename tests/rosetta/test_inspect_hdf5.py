"""``usid_tasks.inspect`` on any HDF5 file, as RosettaSciIO's utilities tell it."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_cases import CASES

from usid_tasks.errors import NotHDF5Error
from usid_tasks.inspect import list_datasets_in_file, read_metadata_from_file


@pytest.fixture
def nexus(path: Path) -> Path:
    """A file that is no USID, with links of every kind."""
    with h5py.File(path.with_name("detector.h5"), "w") as other:
        other["frames"] = np.arange(6.0)
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts"})
        data["counts"] = np.arange(12).reshape(3, 4)
        plain = entry.create_group("instrument")
        plain["exposure"] = 0.5
        plain["exposure"].attrs["units"] = "s"
        plain["name"] = "detector one"
        plain["gains"] = [1.0, 2.0]
        plain["one"] = [7]
        plain["keys"] = 3
        plain["notes"] = ["a", "µ"]
        plain["none"] = h5py.Empty("f4")
        file["alias"] = h5py.SoftLink("/entry/instrument")
        file["elsewhere"] = h5py.ExternalLink("detector.h5", "/frames")
        file["gone"] = h5py.SoftLink("/nowhere")
        entry["loop"] = h5py.SoftLink("/entry")
        entry["again"] = entry
    return path


def test_datasets_and_nxdata_are_listed(nexus: Path) -> None:
    groups, datasets = list_datasets_in_file(nexus, verbose=False)
    assert groups == ["/entry/data"]
    assert datasets == [
        "/alias/gains",
        "/elsewhere",
        "/entry/data/counts",
        "/entry/instrument/gains",
    ]


def test_links_can_be_passed_over(nexus: Path) -> None:
    groups, datasets = list_datasets_in_file(nexus, hardlinks_only=True, verbose=False)
    assert groups == ["/entry/data"]
    assert datasets == ["/entry/data/counts", "/entry/instrument/gains"]


@pytest.mark.parametrize("key", ["gain", ["gain", "nothing"], ("gain",)])
def test_a_key_picks_paths(nexus: Path, key: Any) -> None:
    assert list_datasets_in_file(nexus, key, verbose=False) == (
        [],
        ["/alias/gains", "/entry/instrument/gains"],
    )
    assert list_datasets_in_file(nexus, "xyz", verbose=False) == ([], [])


def test_the_list_is_printed_unless_told_otherwise(
    nexus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_datasets_in_file(nexus)
    assert "/entry/data/counts (3, 4)\n" in capsys.readouterr().out
    list_datasets_in_file(nexus, verbose=False)
    assert capsys.readouterr().out == ""
    list_datasets_in_file(nexus, "xyz")
    assert capsys.readouterr().out == "no datasets found\n"


@pytest.mark.parametrize("key", [3, [3], b"x", {"a": 1}])
def test_a_key_is_text(nexus: Path, key: Any) -> None:
    with pytest.raises(ValueError, match="a text or a list of texts"):
        list_datasets_in_file(nexus, key)
    with pytest.raises(ValueError, match="a text or a list of texts"):
        read_metadata_from_file(nexus, metadata_key=key)


def test_metadata_are_nested_dictionaries(nexus: Path) -> None:
    found = read_metadata_from_file(nexus)
    assert found["attrs"] == {"default": "entry"}
    instrument = found["entry"]["instrument"]
    assert instrument["exposure"] == {"value": 0.5, "attrs": {"units": "s"}}
    assert instrument["name"] == "detector one"
    assert instrument["gains"].tolist() == [1, 2]
    assert instrument["one"] == 7
    assert instrument["notes"] == ["a", "µ"]
    assert instrument["none"] is None
    assert instrument["fix_keys"] == 3
    assert "data" not in found["entry"]
    assert found["alias"]["exposure"]["attrs"]["units"] == "s"
    assert found["elsewhere"].tolist() == list(range(6))
    assert "gone" not in found
    assert found["entry"]["loop"] == found["entry"]["again"] == {}


def test_a_key_picks_metadata(nexus: Path) -> None:
    found = read_metadata_from_file(nexus, metadata_key="exposure")
    told = {"value": 0.5, "attrs": {"units": "s"}}
    assert found == {
        "alias": {"exposure": told},
        "entry": {"instrument": {"exposure": told}},
    }
    whole = read_metadata_from_file(nexus, metadata_key=["instrument"])
    assert whole["entry"]["instrument"].keys() == found["entry"]["instrument"].keys() | {
        "name", "gains", "one", "fix_keys", "notes", "none",
    }  # fmt: skip
    assert read_metadata_from_file(nexus, metadata_key="xyz") == {}


def test_arrays_can_be_left_out(nexus: Path) -> None:
    instrument = read_metadata_from_file(nexus, skip_array_metadata=True)["entry"]["instrument"]
    assert "gains" not in instrument
    assert instrument["exposure"]["value"] == 0.5


def test_metadata_are_printed_on_request(nexus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_metadata_from_file(nexus)
    assert capsys.readouterr().out == ""
    read_metadata_from_file(nexus, verbose=True)
    assert "'units': 's'" in capsys.readouterr().out


def test_lazy_arrays_hold_no_file_open(nexus: Path) -> None:
    found = read_metadata_from_file(nexus, lazy=True)
    gains = found["entry"]["instrument"]["gains"]
    with h5py.File(nexus, "r+"):
        pass
    assert pickle.loads(pickle.dumps(gains)).compute().tolist() == [1, 2]
    assert found["elsewhere"].compute().tolist() == list(range(6))
    assert found["entry"]["instrument"]["exposure"]["value"] == 0.5


def test_nothing_large_is_read(path: Path) -> None:
    """An attribute of 64 MB, a dataset of 8 GB and a text of 3 MB; two small ones beside them."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["large"] = np.zeros(2**23)
        file.attrs["long"] = "x" * 3_000_000
        file.attrs["small"] = np.arange(3)
        file.create_dataset("huge", shape=(2**15, 2**15), dtype="f8")
        file["huge"].attrs["units"] = "V"
    tracemalloc.start()
    found = read_metadata_from_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["attrs"]["large"] == {
        "shape": [2**23], "dtype": "float64", "size_bytes": 2**26,
    }  # fmt: skip
    assert found["attrs"]["long"]["size_bytes"] >= 3_000_000
    assert found["attrs"]["small"].tolist() == [0, 1, 2]
    assert found["huge"]["value"]["shape"] == [2**15, 2**15]
    assert found["huge"]["attrs"] == {"units": "V"}
    assert peak < 2**24
    lazy = read_metadata_from_file(path, lazy=True)["huge"]["value"]
    assert lazy[:2, :2].compute().tolist() == [[0, 0], [0, 0]]
    whole = read_metadata_from_file(path, metadata_key="attrs", largest=2**26)
    assert whole["attrs"]["large"].shape == (2**23,)


def test_names_that_are_no_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs[b"\xff"] = 1
        file[b"\xfe/x"] = [1, 2]
        file[b"\xfe/x"].attrs[b"\xfd"] = 2
    found = read_metadata_from_file(path)
    assert found["attrs"] == {"\udcff": 1}
    assert found["\udcfe"]["x"]["attrs"] == {"\udcfd": 2}
    assert list_datasets_in_file(path, verbose=False)[1] == ["/\udcfe/x"]


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_file_is_read(path: Path, name: str) -> None:
    CASES[name](path)
    _, datasets = list_datasets_in_file(path, verbose=False)
    found = read_metadata_from_file(path)
    with h5py.File(path) as file:
        assert all(file[place.encode("utf-8", "surrogateescape")].size >= 2 for place in datasets)
        names = {name if isinstance(name, str) else "\udc81\udcff" for name in file}
        assert set(found) - {"attrs"} == names
        assert set(found.get("attrs", {})) == set(file.attrs)


def test_rosettasciio_tells_the_same_of_real_files(shared_data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rsciio.utils import hdf5 as theirs
    for path in sorted([*shared_data.glob("*.h5"), *shared_data.glob("*.ptir")]):
        ours = list_datasets_in_file(path, verbose=False)
        assert ours == theirs.list_datasets_in_file(path, verbose=False)
        assert_same_tree(read_metadata_from_file(path), theirs.read_metadata_from_file(path))


def assert_same_tree(ours: Any, theirs: Any) -> None:
    """Fail unless both are the same, but for references (paths here) and lists of texts."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_same_tree(ours[key], value)
    elif isinstance(theirs, np.ndarray) and theirs.dtype.kind == "S":
        assert ours == [text.decode() for text in theirs]
    elif not isinstance(theirs, (h5py.Reference, h5py.RegionReference)):
        np.testing.assert_equal(ours, theirs)


def test_what_is_no_hdf5_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    for function in (list_datasets_in_file, read_metadata_from_file):
        with pytest.raises(NotHDF5Error):
            function(tmp_path / "text.h5")
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "gone.h5")
