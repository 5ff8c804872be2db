"""The way back keeps to the memory it is given: measured, of the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from coming_back import assert_told
from rechunk_stores import raster
from usid_files import line, write_file

from usid_tasks.convert import convert_file
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import load_settings
from usid_tasks.sizes import parse_size
from usid_tasks.stores.usid import UsidResult

CODE = """
import json, sys, threading
from pathlib import Path
from usid_tasks.settings import load_settings
from usid_tasks.stores.usid import write_usid

def used():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

settings = load_settings(
    env={}, overrides={"convert": {"memory": sys.argv[3], "threads": 2}}
)
baseline = peak = used()
stop = threading.Event()

def watch():
    global peak
    while not stop.wait(0.01):
        peak = max(peak, used())

threading.Thread(target=watch, daemon=True).start()
made = write_usid(sys.argv[1], sys.argv[2], settings=settings)
stop.set()
json.dump({"baseline": baseline, "peak": peak, "differences": len(made.differences)}, sys.stdout)
"""

WAYS = {
    "contiguous": {},
    "gzip": {"chunks": (64, 4096), "compression": "gzip", "filters": {"compression_opts": 1}},
    "columns": {"chunks": (16384, 8)},
}


@pytest.fixture(scope="module", params=WAYS)
def scan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 256 MiB: 128 x 128 positions, 4096 steps."""
    folder = tmp_path_factory.mktemp("large")
    data = np.random.default_rng(1).integers(0, 2**20, (128 * 128, 4096)).astype("f4")
    how = WAYS[request.param]
    return write_file(
        folder / "scan.h5",
        raster(128, 128),
        line("Bias", np.linspace(-1, 1, 4096)),
        data=data,
        **how,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("intent", [None, "images"])
@pytest.mark.parametrize("allowed", ["64 MiB", "256 MiB"])
def test_peak_memory_stays_within_what_is_allowed(
    tmp_path: Path, scan: Path, allowed: str, intent: str | None
) -> None:
    """From the store as it was converted, and from one of whole images."""
    settings = load_settings(env={})
    store = convert_file(scan, tmp_path / "one.zarr", settings=settings).store
    if intent:
        store = rechunk_store(store, tmp_path / "two.zarr", intent=intent, settings=settings).store
    out = tmp_path / "back.h5"
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(store), str(out), allowed],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["differences"] == 0
    assert told["baseline"] < 350e6
    assert told["peak"] - told["baseline"] <= parse_size(allowed), told
    made = UsidResult(store=store, out=out, size_bytes=0, datasets=(), mains=(), differences=())
    assert_told(scan, made)
