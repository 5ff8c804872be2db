"""The codec that is chosen for an array, in its receipt and in its store."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from convert_files import position, snake
from rechunk_stores import MAIN, document
from usid_files import Side, write_file

from usid_tasks.convert import convert_file
from usid_tasks.settings import load_settings

N = 2**13


def made(tmp_path, data, **convert):
    spectra = Side(np.arange(N)[:, None], ["Bias"], ["V"])
    path = write_file(tmp_path / "scan.h5", position(snake(16, 16)), spectra, data=data)
    settings = load_settings(env={}, overrides={"convert": convert})
    return convert_file(path, tmp_path / "made.zarr", settings=settings)


def codec_in(store):
    codecs = document(store)["codecs"][0]["configuration"]["codecs"]
    return (
        "none" if len(codecs) == 1 else codecs[1]["configuration"].get("cname", codecs[1]["name"])
    )


NOISE = np.random.default_rng(0).integers(0, 256, (256, 4 * N), dtype="u1").view("f4")
RAMP = np.tile(np.linspace(0, 1, N, dtype="f4"), (256, 1))
COUNTS = np.random.default_rng(0).poisson(3, (256, N)).astype("u4")


@pytest.mark.parametrize(
    ("data", "objective", "expected"),
    [
        (NOISE, "fast", {"none"}),
        (RAMP, "fast", {"lz4"}),
        (RAMP, "small", {"zstd"}),
        (COUNTS, "small", {"zstd"}),
    ],
    ids=["noise", "a ramp", "a ramp, small", "counts, small"],
)
def test_the_codec_is_that_of_the_data(tmp_path, data, objective, expected):
    result = made(tmp_path, data, objective=objective)
    assert codec_in(result.store) in expected
    told = json.loads(result.receipt.read_bytes())["extra"]["codecs"][MAIN]
    assert told["objective"] == objective
    assert (told["ratio"] > 2) is (data is not NOISE)
    np.testing.assert_array_equal(
        zarr.open_array(result.store / MAIN.strip("/"))[...].view("u4").sum(), data.view("u4").sum()
    )


def test_small_arrays_have_a_usual_codec_and_nothing_is_measured(tmp_path):
    result = made(tmp_path, np.ones((256, N), "u1"))
    told = json.loads(result.receipt.read_bytes())["extra"]
    assert "codecs" not in told
