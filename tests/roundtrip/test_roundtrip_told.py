"""What ``docs/roundtrip.md`` says of what differs: each line of its lists, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import return_cases
from cases import external, undecodable, virtual
from coming_back import assert_told, there_and_back
from hdf5_alike import assert_alike
from rechunk_stores import small_settings
from store_cases import BIAS, raster
from usid_files import MAIN, channel, write_main

from usid_tasks.back import datasets
from usid_tasks.back.stored import STORAGE, VALUES
from usid_tasks.convert import convert_file
from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import load_settings
from usid_tasks.stores.usid import UsidResult, write_usid

CHANNEL = "/Measurement_000/Channel_000"
SECOND = "/Measurement_001/Channel_000/Raw_Data"


def two_mains(path: Path) -> h5py.File:
    """Return a new file with two sound Main datasets, the second in chunks."""
    file = h5py.File(path, "w")
    write_main(channel(file, 0), position=raster(), spectroscopic=BIAS)
    write_main(channel(file, 1), position=raster(), spectroscopic=BIAS, chunks=(4, 5))
    return file


def told(made: UsidResult) -> set[tuple[str, str]]:
    return {(each.path, each.part) for each in made.differences}


@pytest.fixture(params=["converted", "rechunked"])
def back(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], UsidResult]:
    """Return what brings a file back, from its store or from one in other chunks."""

    def bring(path: Path, dataset: str | None = None) -> UsidResult:
        settings = small_settings()
        store = convert_file(path, tmp_path / "one.zarr", dataset=dataset, settings=settings).store
        if request.param == "rechunked":
            store = rechunk_store(
                store, tmp_path / "two.zarr", intent="spectra", settings=settings
            ).store
        return write_usid(store, tmp_path / "back" / path.name, settings=settings)

    return bring


# what is told


@pytest.mark.parametrize(
    "edit",
    [virtual("Raw_Data", "p.h5"), external("Raw_Data", "p.raw", 240)],
    ids=["virtual", "external"],
)
def test_values_from_other_files_are_in_the_file_itself(
    path: Path, back, edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)  # HDF5 looks for external storage there
    with two_mains(path) as file:
        values = file[MAIN][()]
        edit(file)
    made = back(path)
    assert told(made) == {(MAIN, STORAGE)}
    assert_told(path, made)
    with h5py.File(made.out) as file:
        assert file[MAIN].chunks is None
        assert file[MAIN].external is None
        assert not file[MAIN].is_virtual
        assert file[MAIN][()].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "edit",
    [virtual("Raw_Data", "gone.h5", is_there=False), external("Raw_Data", "p.raw", 100)],
    ids=["virtual", "external"],
)
def test_values_of_a_missing_file_are_left_out(path: Path, back, edit) -> None:
    with two_mains(path) as file:
        edit(file)
        file.attrs["main"] = file[MAIN].ref
    made = back(path)
    assert told(made) == {(MAIN, VALUES), ("/", "main")}
    with h5py.File(made.out) as file:
        assert MAIN not in file
        assert not file.attrs["main"]
        assert file[SECOND].shape == (12, 5)


def test_what_hdf5_cannot_read_is_left_out(path: Path, back) -> None:
    with two_mains(path) as file:
        undecodable("Raw_Data")(file)
        file.attrs["rows"] = file[MAIN].regionref[2:4]
        file["also"] = file[MAIN]
        file.create_dataset("list", data=np.array([file[SECOND].ref, file[MAIN].ref], "O"),
                            dtype=h5py.ref_dtype)  # fmt: skip
    made = back(path)
    lost = {(each.path, each.part) for each in made.differences if each.part == VALUES}
    assert (MAIN, VALUES) in lost
    assert ("/", "rows") in told(made)
    assert ("/list", VALUES) in told(made)
    assert all(each.what for each in made.differences)
    with h5py.File(made.out) as file:
        assert MAIN not in file
        assert "also" not in file
        assert not file.attrs["rows"]
        assert file[file["list"][0]] == file[SECOND]
        assert not file["list"][1]


def test_what_was_not_chosen_is_left_out(path: Path, back) -> None:
    with two_mains(path) as file:
        file.attrs["other"] = file[MAIN].ref
        first = file[SECOND][()]
    made = back(path, SECOND)
    assert ("/", VALUES) in told(made)
    assert ("/", "other") in told(made)
    assert any(SECOND in each.what for each in made.differences)
    with h5py.File(made.out) as file:
        assert MAIN not in file
        assert not file.attrs["other"]
        assert file[SECOND][()].tobytes() == first.tobytes()


def test_filters_that_hdf5_lacks_here_are_left_out(
    path: Path, back, monkeypatch: pytest.MonkeyPatch
) -> None:
    return_cases.CASES["lzf"](path)
    monkeypatch.setattr(datasets, "_can_encode", lambda number: number != h5py.h5z.FILTER_LZF)
    made = back(path)
    assert told(made) == {(MAIN, STORAGE), (f"{CHANNEL}/cube", STORAGE)}
    assert all("lzf" in each.what for each in made.differences)
    assert_told(path, made)
    with h5py.File(made.out) as file:
        assert file[MAIN].compression is None
        assert file[MAIN].chunks == (5, 3)


def test_attributes_that_were_not_read_are_left_out(path: Path, back) -> None:
    """No store has a name for bytes that are no UTF-8; plain values are kept all the same."""
    with two_mains(path) as file:
        for name, value, kind in ((b"\xb5", "text", h5py.string_dtype()), (b"\xb6", 3, "i2")):
            space, made = h5py.h5s.create(h5py.h5s.SCALAR), np.array(value, kind)
            held = h5py.h5a.create(
                file.id, name, h5py.h5t.py_create(np.dtype(kind), logical=True), space
            )
            held.write(made)
    made = back(path)
    assert told(made) == {("/", "\udcb5")}
    assert_told(path, made)


def test_several_encodings_in_one_compound_attribute_are_left_out(path: Path, back) -> None:
    record = np.dtype([("one", h5py.string_dtype()), ("two", h5py.string_dtype())])
    with two_mains(path) as file:
        file.attrs.create("record", np.array((b"\xb5", "µ".encode()), record), dtype=record)
        file.attrs.create("same", np.array((b"\xb5", b"\xb6"), record), dtype=record)
    made = back(path)
    assert told(made) == {("/", "record")}
    assert_told(path, made)


# what is not told, as no value or type differs


def test_the_user_block_is_not_kept(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "w", userblock_size=1024) as file:
        write_main(channel(file), position=raster(), spectroscopic=BIAS)
    with path.open("r+b") as stream:
        stream.write(b"whatever")
    made = there_and_back(path, tmp_path)
    assert made.differences == ()
    with h5py.File(made.out) as file:
        assert file.userblock_size == 0


@pytest.mark.parametrize(("case", "version"), [("references", 0), ("large attributes", 2)])
def test_the_format_is_the_earliest_that_holds_it(
    path: Path, tmp_path: Path, case: str, version: int
) -> None:
    made = there_and_back(return_cases.CASES[case](path), tmp_path)
    assert made.out.read_bytes()[8] == version


def test_the_order_of_creation_and_the_times_are_not_kept(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "w", track_order=True, track_times=True) as file:
        group = file.create_group("zz", track_order=True)
        for name in "cab":
            group.create_dataset(name, data=1, track_times=True)
        write_main(channel(file), position=raster(), spectroscopic=BIAS)
    made = there_and_back(path, tmp_path)
    with h5py.File(path) as one, h5py.File(made.out) as two:
        assert [list(one["zz"]), list(two["zz"])] == [["c", "a", "b"], ["a", "b", "c"]]
        times = [h5py.h5o.get_info(file["zz/a"].id).ctime for file in (one, two)]
        assert times[0] > 0
        assert times[1] == 0


def test_a_nan_keeps_its_bits_in_arrays_not_in_attributes(path: Path, tmp_path: Path) -> None:
    odd = np.array([0x7FF8_0000_0000_0BAD, 0xFFF8_0000_0000_0001], "u8").view("f8")
    with h5py.File(path, "w") as file:
        write_main(
            channel(file),
            position=raster(),
            spectroscopic=BIAS,
            data=np.tile(odd, 30).reshape(12, 5),
        )
        file["extra"] = odd
        file.attrs["odd"] = odd
    store = convert_file(path, tmp_path / "there.zarr", settings=small_settings()).store
    made = write_usid(store, tmp_path / "back.h5", settings=small_settings())
    assert made.differences == ()
    assert_alike(path, made.out, but=[("/", "odd")])
    with h5py.File(made.out) as file:
        assert np.isnan(file.attrs["odd"]).all()


def test_bytes_between_fields_and_behind_texts_are_no_values(path: Path, tmp_path: Path) -> None:
    return_cases.CASES["a padded compound"](path)
    text = h5py.h5t.C_S1.copy()
    text.set_size(8)
    with h5py.File(path, "r+") as file:
        return_cases.attribute(file, b"text", text, np.array([b"ab\0junk!"], "S8"))
    assert there_and_back(path, tmp_path).differences == ()


# where stores come from


def test_a_store_of_an_ingest_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "data/day/scan.h5"
    source.parent.mkdir(parents=True)
    two_mains(source).close()
    settings = load_settings(env={})
    request = IngestRequest(
        sources=[str(tmp_path / "data")], dest=tmp_path / "stores", settle_s=0.0
    )
    ingest(request, settings)
    (store,) = (path.parent for path in (tmp_path / "stores").rglob("*.zarr/zarr.json"))
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    keep = source.rename(tmp_path / "keep.h5")
    made = write_usid(store, tmp_path / "back.h5", settings=settings)
    assert made.differences == ()
    assert_told(keep, made)
    assert made.mains == (MAIN, SECOND)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
