"""Stores that are rechunked: the same but for their chunks, proven, and refused where they must."""

from __future__ import annotations

import errno
import json
import os

import h5py
import numpy as np
import pytest
import zarr
from rechunk_stores import (
    MAIN,
    assert_same,
    document,
    inner_chunk,
    made_store,
    raster,
    read,
    small_settings,
)
from store_cases import CASES
from typer.testing import CliRunner

from usid_tasks import shards
from usid_tasks.cli import app
from usid_tasks.convert import convert_file
from usid_tasks.digests import array_digest
from usid_tasks.errors import RefusedError, UsidError, VerificationError
from usid_tasks.journal import Journal
from usid_tasks.rechunk import plan_store, rechunk_store
from usid_tasks.stages import WORKER_BYTES

LITTLE = 2 * WORKER_BYTES + 2 * 200 * 1024


@pytest.mark.parametrize(
    ("intent", "chunk", "memory"),
    [
        ("spectra", (4, 4, 50), LITTLE),
        ("images", (24, 20, 2), "1 GiB"),
        ("balanced", None, "1 GiB"),
        ("Y=7,X=3,Bias=11", (7, 3, 11), LITTLE),
        ("Y=8,X=8,Bias=-1", (8, 8, 50), "1 GiB"),
    ],
)
def test_the_store_made_is_the_same_but_for_its_chunks(tmp_path, intent, chunk, memory):
    store = made_store(tmp_path, settings=small_settings(intent="Y=5,X=6,Bias=25"))
    settings = small_settings()
    made = rechunk_store(
        store, tmp_path / "made.zarr", intent=intent, memory=memory, settings=settings
    )
    assert_same(store, made.store)
    assert chunk is None or inner_chunk(made.store) == chunk
    assert inner_chunk(made.store) != inner_chunk(store)
    assert made.counted.n_tasks == made.plan.n_tasks
    assert made.counted.bytes_read == made.plan.bytes_read
    assert made.counted.bytes_written == made.plan.bytes_written
    assert not list(tmp_path.glob(".usid/staging/*"))
    back = rechunk_store(made.store, tmp_path / "back.zarr", intent="balanced", settings=settings)
    assert_same(store, back.store)


def test_little_memory_takes_an_intermediate_store_that_is_removed(tmp_path, monkeypatch):
    settings = small_settings()
    former = made_store(tmp_path, rows=16, columns=16, n=1024)
    spectra = rechunk_store(former, tmp_path / "spectra.zarr", intent="spectra", settings=settings)
    store = spectra.store
    seen = []
    clear = Journal.clear
    monkeypatch.setattr(
        Journal,
        "clear",
        lambda journal, array, stage: (
            seen.append(list(journal.between(array, stage).rglob("c/*"))),
            clear(journal, array, stage),
        ),
    )
    made = rechunk_store(
        store, tmp_path / "made.zarr", intent="images", memory=WORKER_BYTES + 260 * 1024, workers=1,
        settings=settings,
    )  # fmt: skip
    assert_same(store, made.store)
    (main,) = (array for array in made.plan.arrays if array.subject.path == MAIN)
    assert main.last >= 1
    assert seen
    assert all(seen)
    assert not list(tmp_path.rglob("*.zarr/c"))


KINDS = (
    *("a raster", "an aborted raster", "sparse positions", "several Mains", "dependent values"),
    *("extras", "attributes", "odd names", "names in bytes", "times", "float16 axes", "no rows"),
)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_store(tmp_path, name):
    path = tmp_path / "scan.h5"
    CASES[name](path)
    settings = small_settings(chunk="64 B", shard_max="1 KiB")
    store = convert_file(path, tmp_path / "scan.zarr", settings=small_settings()).store
    made = rechunk_store(store, tmp_path / "made.zarr", intent="spectra", settings=settings)
    # `usid verify` stumbles over a single text
    assert_same(store, made.store, is_verified=name != "extras")


@pytest.mark.parametrize(
    ("codec", "dtype"),
    [("none", "c16"), ("zstd", "?"), ("blosc-zstd", "i2"), ("blosc-lz4", "f8")],
)
def test_every_codec_is_kept_and_opens_with_plain_zarr(tmp_path, codec, dtype):
    settings = small_settings(codec=codec)
    store = made_store(tmp_path, dtype=dtype, settings=settings)
    made = rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=settings)
    assert_same(store, made.store)
    assert (
        zarr.open_array(made.store / MAIN.strip("/")).compressors
        == zarr.open_array(store / MAIN.strip("/")).compressors
    )


def test_stopped_rasters_and_wide_coordinates_are_rechunked_too(tmp_path):
    side = raster(40, 50)
    cut = type(side)(side.indices[:-30], side.labels, side.units, side.values[:-30])
    path = tmp_path / "scan.h5"
    from usid_files import line, write_file

    write_file(path, cut, line("Bias", np.arange(6.0)))
    store = convert_file(path, tmp_path / "scan.zarr", settings=small_settings()).store
    settings = small_settings(chunk="256 B")
    made = rechunk_store(store, tmp_path / "made.zarr", intent="Y=4,X=4,Bias=-1", settings=settings)
    assert_same(store, made.store)
    node = MAIN.rpartition("/")[0]
    assert inner_chunk(made.store, f"{node}/valid") == (4, 4)


def test_the_receipt_tells_where_the_values_come_from(tmp_path):
    store = made_store(tmp_path)
    made = rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    source, receipt = (read(one.with_suffix(".receipt.json")) for one in (store, made.store))
    told = receipt["extra"]["rechunked_from"]
    assert told["metadata_digest"] == source["extra"]["metadata_digest"]
    assert told["arrays"] == {path: one["digest"] for path, one in source["arrays"].items()}
    assert told["intent"] == "images"
    assert told["plan"]["tasks"] == made.plan.n_tasks
    assert receipt["source"]["digest"] == source["source"]["digest"]
    assert receipt["source"]["path"] == "made"
    assert receipt["mains"] == source["mains"]
    values = zarr.open_array(made.store / MAIN.strip("/"))[...]
    assert receipt["arrays"][MAIN]["digest"] == array_digest(values)


def test_documents_differ_in_nothing_but_chunks(tmp_path):
    store = made_store(tmp_path)
    made = rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    for file in store.rglob("zarr.json"):
        one, two = read(file), read(made.store / file.relative_to(store))
        for told in (one, two):
            members = told.pop("consolidated_metadata", {}).get("metadata", {})
            for each in (told, *members.values()):
                each.pop("chunk_grid", None), each.pop("codecs", None)
            told["members"] = members
        assert one == two


def test_a_store_can_take_the_place_of_its_source(tmp_path):
    store = made_store(tmp_path)
    before = zarr.open_array(store / MAIN.strip("/"))[...]
    made = rechunk_store(store, store, intent="images", overwrite=True, settings=small_settings())
    assert np.array_equal(zarr.open_array(made.store / MAIN.strip("/"))[...], before)
    (former,) = tmp_path.glob(".usid/superseded/scan/*/scan.zarr")
    assert_same(former, made.store)


# refusals


def test_no_receipt_is_refused(tmp_path):
    store = made_store(tmp_path)
    store.with_suffix(".receipt.json").unlink()
    with pytest.raises(RefusedError, match="no receipt"):
        rechunk_store(store, tmp_path / "made.zarr")
    with pytest.raises(RefusedError, match="no receipt"):
        rechunk_store(tmp_path / "absent.zarr", tmp_path / "made.zarr")
    assert not (tmp_path / "made.zarr").exists()


def test_changed_metadata_are_refused(tmp_path):
    store = made_store(tmp_path)
    zarr.open_array(store / MAIN.strip("/"), mode="r+").attrs["units"] = "mA"
    with pytest.raises(RefusedError, match="metadata"):
        rechunk_store(store, tmp_path / "made.zarr")


def test_a_place_that_is_taken_is_refused(tmp_path):
    store = made_store(tmp_path)
    made = rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    with pytest.raises(RefusedError, match="there already"):
        rechunk_store(store, made.store, settings=small_settings())
    rechunk_store(store, made.store, overwrite=True, settings=small_settings())
    assert len(list(tmp_path.glob(".usid/superseded/made/*"))) == 1
    made.receipt.unlink()
    with pytest.raises(RefusedError, match="without a receipt"):
        rechunk_store(store, made.store, overwrite=True)
    with pytest.raises(RefusedError, match="no name for a store"):
        rechunk_store(store, tmp_path / "made")


def test_too_little_memory_is_refused_with_what_would_do(tmp_path):
    store = made_store(tmp_path)
    with pytest.raises(RefusedError, match=r"--memory (\d+)MiB") as caught:
        rechunk_store(store, tmp_path / "made.zarr", memory="2 MiB")
    needed = caught.value.remedy.split()[2].rstrip(",.")
    rechunk_store(store, tmp_path / "made.zarr", memory=needed)
    with pytest.raises(RefusedError, match="memory"):
        rechunk_store(store, tmp_path / "other.zarr", memory="much")
    with pytest.raises(RefusedError, match="workers"):
        rechunk_store(store, tmp_path / "other.zarr", workers=0)


def test_too_little_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    store = made_store(tmp_path)
    monkeypatch.setattr("usid_tasks.rechunk.free_bytes", lambda place: 1000)
    for run in (plan_store, rechunk_store):
        with pytest.raises(RefusedError, match=r"1000 B free, expected .* at least"):
            run(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    assert not list(tmp_path.glob(".usid/staging/*"))


def test_a_dimension_that_is_not_there_is_refused(tmp_path):
    store = made_store(tmp_path)
    with pytest.raises(RefusedError, match="Bias, X, Y"):
        rechunk_store(store, tmp_path / "made.zarr", intent="Z=4")


# damage


def shard_of(store, path=MAIN):
    return next(
        file for file in sorted((store / path.strip("/") / "c").rglob("*")) if file.is_file()
    )


@pytest.mark.parametrize("path", [MAIN, "/Measurement_000/Channel_000/Raw_Data/Bias"])
def test_a_missing_shard_of_the_source_is_an_error(tmp_path, path):
    store = made_store(tmp_path)
    shard_of(store, path).unlink()
    with pytest.raises(VerificationError, match="shard is missing"):
        rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    assert not (tmp_path / "made.zarr").exists()
    assert not list(tmp_path.glob(".usid/staging/*"))


@pytest.mark.parametrize(
    ("codec", "at"),
    [("none", "first byte"), ("none", "index"), ("zstd", "cut"), ("blosc-lz4", "first byte")],
)
def test_a_damaged_shard_of_the_source_is_an_error(tmp_path, codec, at):
    settings = small_settings(codec=codec)
    store = made_store(tmp_path, settings=settings)
    shard = shard_of(store)
    data = bytearray(shard.read_bytes())
    if at == "cut":
        data = data[: len(data) // 3]
    else:
        where = 3 if at == "first byte" else len(data) - 20
        data[where] ^= 0x55
    shard.write_bytes(data)
    with pytest.raises(VerificationError):
        rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=settings)
    assert not (tmp_path / "made.zarr").exists()


def test_another_value_in_the_source_is_found_by_its_digest(tmp_path):
    store = made_store(tmp_path)
    zarr.open_array(store / MAIN.strip("/"), mode="r+")[3, 4, 5] = -7
    with pytest.raises(VerificationError, match=r"expected .* by the source's receipt"):
        rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    assert not (tmp_path / "made.zarr").exists()
    assert not list(tmp_path.glob(".usid/staging/*"))


def test_what_does_not_read_back_is_an_error(tmp_path, monkeypatch):
    store = made_store(tmp_path)
    plain = shards.ShardedArray._chunk

    def spoiled(array, cells, scratch):
        other = plain(array, cells, scratch).copy()
        other.reshape(-1)[0] += 1
        return other

    monkeypatch.setattr(shards.ShardedArray, "_chunk", spoiled)
    with pytest.raises(VerificationError, match="read back"):
        rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    assert not (tmp_path / "made.zarr").exists()


def test_a_full_disk_leaves_nothing_that_shows_and_is_taken_up_again(tmp_path, monkeypatch):
    store = made_store(tmp_path)
    plain, written = shards._ShardWriter.finish, []

    def full(writer):
        written.append(writer.file)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(writer.file))
        return plain(writer)

    monkeypatch.setattr(shards._ShardWriter, "finish", full)
    options = {"intent": "images", "workers": 1, "settings": small_settings()}
    with pytest.raises(UsidError, match="cannot be written") as caught:
        rechunk_store(store, tmp_path / "made.zarr", **options)
    assert "Free space" in caught.value.remedy
    assert not (tmp_path / "made.zarr").exists()
    assert not (tmp_path / "made.receipt.json").exists()
    monkeypatch.undo()
    made = rechunk_store(store, tmp_path / "made.zarr", **options)
    assert made.counted.n_kept >= 3
    assert_same(store, made.store)


# command line


def test_the_command_plans_makes_and_tells(tmp_path):
    store = made_store(tmp_path)
    run = CliRunner().invoke
    arguments = ["rechunk", str(store), str(tmp_path / "made.zarr"), "--intent", "Y=4,X=4,Bias=-1"]
    planned = run(app, [*arguments, "--plan"])
    assert planned.exit_code == 0, planned.output
    assert "stage 1" in planned.output
    assert "allowed" in planned.output
    assert not (tmp_path / "made.zarr").exists()
    told = json.loads(run(app, [*arguments, "--plan", "--json"]).output)
    assert told["intent"] == "Y=4,X=4,Bias=-1"
    assert told["tasks"] > 0
    made = run(app, [*arguments, "--memory", "256MiB", "--workers", "1"])
    assert made.exit_code == 0, made.output
    assert "chunks 4 x 4 x 50" in made.output
    again = run(app, [*arguments, "--overwrite", "--json"])
    assert json.loads(again.output)["store"] == str(tmp_path / "made.zarr")


def test_a_store_of_zarr_alone_without_shards_is_read_too(tmp_path):
    """A source whose chunks are files, as settings with equal chunk and shard make it."""
    settings = small_settings(chunk="8 KiB", shard_max="8 KiB")
    store = made_store(tmp_path, settings=settings)
    names = [codec["name"] for codec in document(store)["codecs"]]
    made = rechunk_store(store, tmp_path / "made.zarr", intent="spectra", settings=settings)
    assert_same(store, made.store)
    assert names


def test_the_source_is_only_read(tmp_path):
    store = made_store(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    rechunk_store(store, tmp_path / "made.zarr", intent="images", settings=small_settings())
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*")} == before


def test_text_that_is_not_there_any_more_is_found(tmp_path):
    path = tmp_path / "scan.h5"
    CASES["extras"](path)
    assert h5py.is_hdf5(path)
    store = convert_file(path, tmp_path / "scan.zarr", settings=small_settings()).store
    text = zarr.open_array(store / "extra" / "text" / "text", mode="r+")
    text[0] = "other"
    with pytest.raises(VerificationError, match="digest"):
        rechunk_store(store, tmp_path / "made.zarr", settings=small_settings())
