"""What says done is done: shards, bytes, attributes and receipts are checked, never assumed."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest
import zarr
from store_cases import CASES, all_zero
from typer.testing import CliRunner
from usid_files import MAIN

from usid_tasks import conversion, shards
from usid_tasks.cli import app
from usid_tasks.errors import NoMainDatasetError, RefusedError, VerificationError
from usid_tasks.model import Outcome
from usid_tasks.readback import check_cells
from usid_tasks.verify import verify_paths

DATA = "Measurement_000/Channel_000/Raw_Data/Raw_Data"


def shard_of(store):
    return next(file for file in (store / DATA / "c").rglob("*") if file.is_file())


def problems(path):
    return [problem for found in verify_paths([path]) for problem in found.problems]


def test_an_untouched_store_is_verified(path, convert):
    CASES["several Mains"](path)
    result = convert(path)
    (found,) = verify_paths([result.store.parent])
    assert found.problems == ()
    assert found.n_arrays == len(result.arrays)


def test_text_alone_and_in_lists_is_verified(path, convert):
    CASES["extras"](path)
    assert problems(convert(path).store) == []


def test_a_missing_shard_is_an_error_also_where_zeros_were(path, convert):
    all_zero(path)
    result = convert(path)
    shard_of(result.store).unlink()
    assert np.all(zarr.open_array(result.store / DATA)[...] == 0)
    (problem,) = problems(result.store)
    assert "shard is missing" in problem
    assert CliRunner().invoke(app, ["verify", str(result.store)]).exit_code == 1


def test_a_changed_value_is_an_error(path, convert):
    CASES["a raster"](path)
    result = convert(path)
    zarr.open_array(result.store / DATA, mode="r+")[0, 0, 0] = -5
    (problem,) = problems(result.store)
    assert "digest" in problem
    assert DATA in problem


def test_a_changed_attribute_is_an_error(path, convert):
    CASES["a raster"](path)
    result = convert(path)
    zarr.open_array(result.store / DATA, mode="r+").attrs["units"] = "mA"
    (problem,) = problems(result.store)
    assert "metadata" in problem


def test_a_store_without_its_receipt_is_not_there(path, convert):
    CASES["a raster"](path)
    result = convert(path)
    result.receipt.unlink()
    (problem,) = problems(result.store)
    assert "no receipt" in problem


def test_what_reads_back_otherwise_is_refused_and_leaves_nothing(path, convert, monkeypatch):
    CASES["a raster"](path)
    monkeypatch.setattr(shards, "is_as_written", lambda writer, cells, n_bytes: False)
    with pytest.raises(VerificationError, match="read back"):
        convert(path)
    assert not (path.parent / "store.zarr").exists()
    assert not list(path.parent.glob(".usid/staging/*/*"))


def test_misplaced_cells_are_found_by_their_indices(path, convert):
    CASES["random order"](path)
    result = convert(path)
    node = "/Measurement_000/Channel_000/Raw_Data"
    assert check_cells(path, MAIN, result.store, node, n_cells=500, seed=1) == 500
    array = zarr.open_array(result.store / DATA, mode="r+")
    array[...] = array[...][::-1]
    with pytest.raises(VerificationError, match="Raw_Data is"):
        check_cells(path, MAIN, result.store, node, n_cells=500, seed=1)


def test_a_misplaced_axis_is_found_by_its_indices(path, convert):
    CASES["dependent values"](path)
    result = convert(path)
    node = "/Measurement_000/Channel_000/Raw_Data"
    array = zarr.open_array(
        result.store / "Measurement_000/Channel_000/Raw_Data/Bias_values", mode="r+"
    )
    array[...] = array[...][::-1]
    with pytest.raises(VerificationError, match="Bias"):
        check_cells(path, MAIN, result.store, node, n_cells=200, seed=1)


def test_a_main_that_cannot_be_decoded_is_a_finding_and_the_others_are_stored(path, convert):
    CASES["several Mains"](path)
    with h5py.File(path, "r+") as file:
        tables = {name: file[MAIN].attrs[name] for name in file[MAIN].attrs}
        data = file[MAIN][()]
        del file[MAIN]
        again = file.create_dataset(MAIN, data=data, chunks=data.shape, compression="gzip")
        for name, value in tables.items():
            again.attrs[name] = value
        chunk = again.id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(os.urandom(chunk.size))
    result = convert(path)
    assert result.outcome is Outcome.PARTIAL
    assert any(f.id == "F2" and f.path == MAIN for f in result.findings)
    assert any("Channel_001" in array for array in result.arrays)
    assert not any(array.startswith(MAIN + "/") for array in result.arrays)


def test_one_main_alone_with_its_tables(path, convert):
    CASES["several Mains"](path)
    main = "/Measurement_000/Channel_001/Raw_Data"
    result = convert(path, dataset=main)
    nodes = {array.rsplit("/", 1)[0] for array in result.arrays}
    assert main in nodes
    assert "/Measurement_000/Position_Indices" in nodes
    assert MAIN not in nodes
    with pytest.raises(NoMainDatasetError, match="no sound Main dataset"):
        convert(path, dataset="/nowhere", overwrite=True)


def test_a_store_that_is_there_is_refused_and_moved_whole_when_asked(path, convert):
    CASES["a raster"](path)
    first = convert(path)
    with pytest.raises(RefusedError, match="there already"):
        convert(path)
    convert(path, overwrite=True)
    former = list(first.store.parent.glob(".usid/superseded/store/*/*"))
    assert {entry.suffix for entry in former} == {".zarr", ".json"}
    assert problems(first.store) == []


def test_a_foreign_folder_is_never_touched(path, convert):
    CASES["a raster"](path)
    foreign = path.parent / "store.zarr"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    with pytest.raises(RefusedError):
        convert(path, overwrite=True)
    assert (foreign / "mine.txt").read_text() == "mine"


def test_the_receipt_says_what_was_done(path, convert):
    CASES["a raster"](path)
    result = convert(path)
    receipt = json.loads(result.receipt.read_text("utf-8"))
    assert receipt["outcome"] == "done"
    assert receipt["source"]["size"] == path.stat().st_size
    assert receipt["source"]["digest"].split(":")[0].startswith("blake3")
    assert receipt["finished"].endswith("Z")
    assert receipt["layout_version"] == 1
    assert set(receipt["arrays"]) == set(result.arrays)
    for array in receipt["arrays"].values():
        assert ":" in array["digest"]


def test_digests_do_not_depend_on_chunks_codec_or_threads(path, tmp_path):
    from usid_tasks.convert import convert_file
    from usid_tasks.settings import load_settings

    CASES["a snake"](path)
    told = []
    for number, convert in enumerate(
        [{}, {"codec": "none", "chunk": "64 KiB"}, {"codec": "blosc-lz4", "threads": 1}]
    ):
        settings = load_settings(env={}, overrides={"convert": convert})
        result = convert_file(path, tmp_path / f"{number}.zarr", settings=settings)
        arrays = json.loads(result.receipt.read_text("utf-8"))["arrays"]
        told.append({name: array["digest"] for name, array in arrays.items()})
    assert told[0] == told[1] == told[2]


def test_modes_follow_the_umask_or_the_setting(path, tmp_path):
    from usid_tasks.convert import convert_file
    from usid_tasks.settings import load_settings

    CASES["a raster"](path)
    former = os.umask(0o027)
    try:
        plain = convert_file(path, tmp_path / "plain.zarr", settings=load_settings(env={}))
    finally:
        os.umask(former)
    for file in (plain.receipt, *plain.store.rglob("*")):
        assert file.stat().st_mode & 0o777 == (0o750 if file.is_dir() else 0o640), file
    modes = {"convert": {"file_mode": "0664", "dir_mode": "0775"}}
    shared = convert_file(
        path, tmp_path / "shared.zarr", settings=load_settings(env={}, overrides=modes)
    )
    for file in (shared.receipt, *shared.store.rglob("*")):
        assert file.stat().st_mode & 0o777 == (0o775 if file.is_dir() else 0o664), file


def test_the_source_is_never_written(path, convert):
    CASES["extras"](path)
    path.chmod(0o444)
    before = path.read_bytes(), path.stat().st_mtime_ns
    convert(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_file_that_changes_while_it_is_read_is_not_published(path, convert, monkeypatch):
    from usid_tasks.errors import FileBusyError

    CASES["a raster"](path)
    plain = conversion.write_store

    def slow(tree, folder, **options):
        done = plain(tree, folder, **options)
        with path.open("ab") as raw:
            raw.write(b"more")
        return done

    monkeypatch.setattr(conversion, "write_store", slow)
    with pytest.raises(FileBusyError, match="changed"):
        convert(path)
    assert not (path.parent / "store.zarr").exists()
