"""The memory that a plan tells is the memory that is used: measured, of the whole process."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from rechunk_stores import assert_same, raster
from usid_files import Side, write_file

from usid_tasks.convert import convert_file
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import Settings
from usid_tasks.sizes import parse_size

CODE = """
import json, sys, threading, time
from pathlib import Path
import usid_tasks.rechunk as rechunk
from usid_tasks.settings import Settings

def used():
    total = 0
    for rollup in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            stat = rollup.with_name("stat").read_text().rpartition(")")[2].split()
            if rollup.parent.name != str(me) and stat[1] != str(me):
                continue
            lines = rollup.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total

import os
me = os.getpid()
baseline = peak = used()
stop = threading.Event()

def watch():
    global peak
    while not stop.wait(0.01):
        peak = max(peak, used())

threading.Thread(target=watch, daemon=True).start()
made = rechunk.rechunk_store(
    sys.argv[1], sys.argv[2], intent=sys.argv[4], memory=sys.argv[3], workers=2,
    settings=Settings(),
)
stop.set()
json.dump({"baseline": baseline, "peak": peak, "planned": made.plan.memory_bytes,
           "stages": [len(a.stages) for a in made.plan.arrays if not a.is_copied]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of 512 MiB in chunks of 4 x 32 x 128 x 64."""
    folder = tmp_path_factory.mktemp("large")
    path = folder / "scan.h5"
    table = np.indices((128, 64)).reshape(2, -1).T[:, ::-1]
    spectra = Side(table, ["B", "A"], ["V", "V"])
    data = np.random.default_rng(1).standard_normal((128 * 128, 128 * 64), dtype="f4")
    write_file(path, raster(128, 128), spectra, data=data, dtype="f4")
    del data
    former = convert_file(path, folder / "scan.zarr", settings=Settings()).store
    path.unlink()
    return rechunk_store(former, folder / "source.zarr", intent="Y=4,X=32,A=128,B=64").store


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("allowed", ["128 MiB", "256 MiB", "1 GiB"])
def test_peak_memory_stays_within_what_is_allowed(tmp_path, store, allowed):
    dest = tmp_path / "made.zarr"
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(store), str(dest), allowed, "Y=128,X=128,A=16,B=8"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    beyond = told["peak"] - told["baseline"]
    assert told["baseline"] < 350e6
    assert told["planned"] <= parse_size(allowed)
    assert 0.3 * told["planned"] < beyond <= parse_size(allowed), told
    if allowed == "128 MiB":
        assert told["stages"] == [2]
        assert_same(store, dest)
