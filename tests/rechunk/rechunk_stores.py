"""Small stores to rechunk, and what is asked of those that are made."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from usid_files import Side, line, write_file

from usid_tasks.convert import convert_file
from usid_tasks.settings import Settings, load_settings
from usid_tasks.verify import verify_paths

MAIN = "/Measurement_000/Channel_000/Raw_Data/Raw_Data"


def small_settings(**convert: object) -> Settings:
    """Return settings under which small arrays have many chunks and shards."""
    given = {"chunk": "4 KiB", "shard_max": "32 KiB", **convert}
    read = {"block_min": "4 KiB", "block_target": "16 KiB", "block_max": "32 KiB"}
    return load_settings(env={}, overrides={"convert": given, "read": read})


def raster(rows: int, columns: int) -> Side:
    """Return a raster of positions, X fastest."""
    y, x = (table.ravel() for table in np.indices((rows, columns)))
    return Side(np.c_[x, y], ["X", "Y"], ["um", "um"], np.c_[x * 0.5, y * 0.25])


def made_store(
    folder: Path, *, rows: int = 24, columns: int = 20, n: int = 50, **options: object
) -> Path:
    """Return a store ``folder/scan.zarr`` of a raster of spectra, made from a file."""
    settings = options.pop("settings", small_settings())
    path = folder / "scan.h5"
    spectra = line("Bias", np.linspace(-1, 1, n))
    write_file(path, raster(rows, columns), spectra, **{"dtype": "f4", **options})
    return convert_file(path, folder / "scan.zarr", settings=settings).store


def assert_same(one: Path, two: Path, *, is_verified: bool = True) -> None:
    """Assert that two stores open identically, and that receipts vouch for the same values."""
    for options in ({}, {"consolidated": False}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trees = [xr.open_datatree(store, engine="zarr", **options) for store in (one, two)]
        xr.testing.assert_identical(*trees)
        for node in trees[0].subtree:
            for name in node.variables:
                left, right = (tree[node.path][name] for tree in trees)
                assert dict(left.attrs) == dict(right.attrs)
                assert left.dtype == right.dtype
                if left.dtype.kind not in "OT":
                    assert left.values.tobytes() == right.values.tobytes()
    receipts = [read(store.with_suffix(".receipt.json")) for store in (one, two)]
    assert receipts[0]["arrays"] == receipts[1]["arrays"]
    if is_verified:
        (found,) = verify_paths([two])
        assert found.problems == ()


def read(path: Path) -> dict:
    """Return a JSON file."""
    return json.loads(path.read_text("utf-8"))


def document(store: Path, path: str = MAIN) -> dict:
    """Return the metadata of an array."""
    return read(store / path.strip("/") / "zarr.json")


def inner_chunk(store: Path, path: str = MAIN) -> tuple[int, ...]:
    """Return what of an array is decoded at once."""
    told = document(store, path)
    codec = told["codecs"][0]
    if codec["name"] == "sharding_indexed":
        return tuple(codec["configuration"]["chunk_shape"])
    return tuple(told["chunk_grid"]["configuration"]["chunk_shape"])
