"""What a conversion is allowed is what it takes: measured, of the whole tree of processes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from convert_files import position, snake
from usid_files import Side, write_file

from usid_tasks.sizes import parse_size

CODE = """
import json, os, sys, threading
from pathlib import Path
import usid_tasks.convert as convert
from usid_tasks.engines import open_engine
from usid_tasks.settings import load_settings

def processes():
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return ours

def used():
    total = {}
    for pid in processes():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total[pid] = sum(int(l.split()[1]) * 1024 for l in lines if l.startswith("Pss:"))
    return total

def go():
    global peak
    while not stop.wait(0.01):
        peak = max(peak, sum(used().values()))

source, dest, memory, intent, scheduler = sys.argv[1:]
settings = load_settings(env={}, overrides={"convert": {"memory": memory, "intent": intent}})
with open_engine(scheduler, workers=2) as engine:
    if scheduler != "threads":
        engine.client.run(__import__, "usid_tasks.convert")
    baseline = used()
    peak, stop = sum(baseline.values()), threading.Event()
    threading.Thread(target=go, daemon=True).start()
    made = convert.convert_file(source, dest, settings=settings, engine=engine)
    stop.set()
json.dump({"baseline": sum(baseline.values()), "largest": max(baseline.values()), "peak": peak,
           "planned": made.plan.memory_bytes}, sys.stdout)
"""

LAYOUTS = {
    "contiguous": {},
    "rows": {"chunks": (16, 8192)},
    "gzip": {
        "chunks": (64, 4096),
        "compression": "gzip",
        "filters": {"compression_opts": 1, "shuffle": True},
    },
    "big-endian": {"dtype": ">f4"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what makes a file of 256 MiB, once for each layout."""
    folder = tmp_path_factory.mktemp("large")
    known = {}

    def make(name):
        if name not in known:
            spectra = Side(np.arange(8192)[:, None], ["Bias"], ["V"])
            data = np.random.default_rng(1).standard_normal((8192, 8192), dtype="f4")
            more = dict(LAYOUTS[name])
            data = data.astype(more.pop("dtype", "f4"))
            known[name] = write_file(
                folder / f"{name}.h5", position(snake(64, 128)), spectra, data=data, **more
            )
        return known[name]

    return make


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("allowed", ["96 MiB", "512 MiB"])
@pytest.mark.parametrize(
    ("layout", "intent", "scheduler"),
    [
        *((layout, intent, "threads") for layout in LAYOUTS for intent in ("balanced", "images")),
        ("rows", "balanced", "processes"),  # processes hold what threads hold: one is enough
    ],
)
def test_peak_memory_stays_within_what_is_allowed(
    tmp_path, made, layout, intent, allowed, scheduler
):
    path, dest = made(layout), tmp_path / "made.zarr"
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(path), str(dest), allowed, intent, scheduler],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    beyond = told["peak"] - told["baseline"]
    assert told["largest"] < 350e6
    assert told["planned"] <= parse_size(allowed)
    assert 0.2 * told["planned"] < beyond <= parse_size(allowed), told
