"""A store opens as the tree that the engine shows on its source: names, axes, attributes, bits."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from store_cases import CASES, all_zero

from usid_tasks.model import Outcome


def open_both(path, store, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not options:
            opened = xr.open_datatree(store, engine="zarr")
        else:
            opened = xr.open_datatree(store, engine="zarr", **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no sound Main dataset")
        return xr.open_datatree(path, engine="usid"), opened


def assert_equal_trees(source, opened):
    paths = [sorted(node.path for node in tree.subtree) for tree in (source, opened)]
    assert paths[0] == paths[1]
    xr.testing.assert_identical(source, opened)
    for node in source.subtree:
        other = opened[node.path]
        assert dict(node.attrs) == dict(other.attrs)
        for name in node.variables:
            left, right = node[name], other[name]
            assert left.dtype == right.dtype, (node.path, name)
            assert dict(left.attrs) == dict(right.attrs), (node.path, name)
            if left.dtype.kind != "T":
                assert left.values.tobytes() == right.values.tobytes(), (node.path, name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"consolidated": False}], ids=["defaults", "plain"])
def test_a_store_opens_as_the_engines_tree(name, options, path, tmp_path, convert):
    CASES[name](path)
    result = convert(path)
    assert result.outcome in (Outcome.DONE, Outcome.PARTIAL)
    source, opened = open_both(path, result.store, **options)
    assert_equal_trees(source, opened)


def test_real_files_open_as_the_engines_tree(shared_data, tmp_path, convert):
    from usid_tasks.convert import convert_file
    from usid_tasks.settings import Settings

    files = sorted(file for file in shared_data.iterdir() if file.suffix in (".h5", ".ptir"))
    assert files
    for file in files:
        result = convert_file(file, tmp_path / f"{file.name}.zarr", settings=Settings())
        assert result.outcome is Outcome.DONE
        assert_equal_trees(*open_both(file, result.store, consolidated=False))


def test_how_hdf5_stored_a_dataset_is_kept(path, convert):
    import h5py
    from usid_files import line, write_file

    write_file(path, line("X", np.arange(8.0)), line("E", np.arange(6.0)))
    with h5py.File(path, "r+") as file:
        file.create_dataset(
            "counter",
            data=np.arange(5, dtype=">i2"),
            maxshape=(None,),
            chunks=(4,),
            compression="gzip",
            compression_opts=7,
            shuffle=True,
            fillvalue=-3,
        )
    store = zarr.open_group(convert(path).store, mode="r")
    kept = store["counter"].attrs["usid_storage"]
    assert kept["chunks"] == [4]
    assert kept["maxshape"] == [None]
    assert [(each["number"], each["values"]) for each in kept["filter_options"]] == [
        (2, [2]),
        (1, [7]),
    ]
    assert np.frombuffer(bytes.fromhex(kept["fill"]), ">i2") == [-3]
    assert store["Measurement_000/Channel_000/Raw_Data"].attrs["usid_storage"]["fill"] == ""


def test_metadata_is_strict_json_and_nothing_is_foreign(path, convert):
    CASES["attributes"](path)
    result = convert(path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for file in result.store.rglob("*"):
        if file.is_dir():
            continue
        if file.name == "zarr.json":
            json.loads(file.read_text("utf-8"), parse_constant=refuse)
        else:
            assert "c" in file.relative_to(result.store).parts, file


def test_every_shard_is_written_also_of_zeros(path, convert):
    all_zero(path)
    result = convert(path)
    for array in result.arrays:
        folder = result.store / array.strip("/")
        stored = zarr.open_array(folder, mode="r")
        edges = stored.shards or stored.chunks
        expected = np.prod([-(-n // edge) for n, edge in zip(stored.shape, edges, strict=True)])
        written = sum(file.is_file() and file.name != "zarr.json" for file in folder.rglob("*"))
        assert written == expected, array


def test_main_arrays_are_sharded_where_a_chunk_does_not_hold_them(path, convert):
    from usid_files import line, write_file

    from usid_tasks.settings import load_settings

    write_file(path, line("X", np.arange(300.0)), line("E", np.arange(400.0)), dtype="f8")
    small = load_settings(
        env={}, overrides={"convert": {"chunk": "64 KiB", "shard_max": "256 KiB"}}
    )
    result = convert(path, settings=small)
    array = zarr.open_array(
        result.store / "Measurement_000/Channel_000/Raw_Data/Raw_Data", mode="r"
    )
    assert array.shards is not None
    assert np.prod(array.chunks) * 8 <= 64 * 1024
    assert 64 * 1024 < np.prod(array.shards) * 8 <= 2 * 256 * 1024
    source, opened = open_both(path, result.store)
    assert_equal_trees(source, opened)


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc-zstd", "blosc-lz4"])
def test_every_codec_opens_with_plain_zarr(codec, path, convert):
    from usid_tasks.settings import load_settings

    CASES["a raster"](path)
    settings = load_settings(env={}, overrides={"convert": {"codec": codec}})
    result = convert(path, settings=settings)
    assert_equal_trees(*open_both(path, result.store))
