"""What the children do: ``python -m benchmarks.jobs NAME ARGUMENTS REPORT``.

A job imports what it needs and returns its work. The work alone is timed, so that imports can be
left out of a comparison; the memory of the process between the two is its baseline.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import pss_bytes

Told = dict[str, Any]
Work = Callable[[], Told]


def command_of(job: Callable[..., Work], **arguments: Any) -> list[str]:
    """Return the command that runs a job in a fresh process and has it report."""
    return [
        sys.executable, "-m", "benchmarks.jobs", job.__name__, json.dumps(arguments), "{report}",
    ]  # fmt: skip


def usid_command(*arguments: str) -> list[str]:
    """Return the command line ``usid ...`` of this very environment."""
    return [sys.executable, "-c", "from usid_tasks.cli import main; main()", *arguments]


def rosettasciio_to_zarr(source: str, dest: str) -> Work:
    """Prepare today's way: the file's first Main dataset, lazily read, stored by Dask."""
    import dask.array  # noqa: F401 - the reader loads it late
    import zarr  # noqa: F401 - and Dask this
    from rsciio.usid import file_reader

    def work() -> Told:
        signal = file_reader(source, lazy=True)[0]
        signal["data"].to_zarr(dest)
        return {"dims": [axis["name"] for axis in signal["axes"]]}

    return work


def convert(source: str, dest: str, overrides: dict[str, Any]) -> Work:
    """Prepare ``convert_file`` under settings that differ from the defaults in ``overrides``."""
    from usid_tasks.convert import convert_file
    from usid_tasks.settings import load_settings

    settings = load_settings(overrides=overrides)

    def work() -> Told:
        result = convert_file(source, dest, settings=settings)
        return {"outcome": result.outcome.value}

    return work


def copy_alone(source: str, dest: str) -> Work:
    """Prepare the copy without proof: not verified, not hashed; what is written is flushed."""
    from dataclasses import replace

    from usid_tasks.conversion import open_source, options_of
    from usid_tasks.durable import settle_tree
    from usid_tasks.settings import load_settings
    from usid_tasks.stores.zarr import plan_store, write_store

    settings = load_settings()
    options = replace(options_of(settings), is_verified=False, is_hashed=False)

    def work() -> Told:
        opened = open_source(Path(source), settings=settings)
        Path(dest).parent.mkdir(parents=True, exist_ok=True)
        journal = Path(f"{dest}.journal")  # with one, shards are flushed beside the next ones
        arrays, _ = write_store(plan_store(opened.tree, options), Path(dest), journal=journal)
        settle_tree(Path(dest))
        shutil.rmtree(journal)
        return {"arrays": len(arrays)}

    return work


def convert_with(source: str, dest: str, scheduler: str, workers: int) -> Work:
    """Prepare ``convert_file`` on a number of workers: ``threads``, or ``processes`` of Dask.

    The work alone begins when the processes are there.
    """
    from usid_tasks.convert import convert_file
    from usid_tasks.engines import open_engine
    from usid_tasks.settings import load_settings

    settings = load_settings(overrides={"convert": {"threads": workers}})

    def work() -> Told:
        with open_engine(scheduler, workers=workers) as engine:
            began = time.perf_counter()
            result = convert_file(source, dest, settings=settings, engine=engine)
            seconds = time.perf_counter() - began
        return {"seconds": seconds, "outcome": result.outcome.value}

    return work


def rechunk(store: str, dest: str, intent: str, memory: str) -> Work:
    """Prepare ``rechunk_store``."""
    from usid_tasks.rechunk import rechunk_store

    def work() -> Told:
        made = rechunk_store(store, dest, intent=intent, memory=memory)
        return {"planned_bytes": made.plan.memory_bytes}

    return work


def dask_in_memory(array: str, dest: str, chunks: list[int]) -> Work:
    """Prepare Dask's rechunking by tasks, on threads: everything is in memory at once."""
    import dask
    import dask.array as da
    import zarr

    def work() -> Told:
        source = zarr.open_array(array, mode="r")
        with dask.config.set({"scheduler": "threads", "array.rechunk.method": "tasks"}):
            da.from_zarr(source).rechunk(tuple(chunks)).to_zarr(dest)
        return {}

    return work


def dask_p2p(array: str, dest: str, chunks: list[int], worker_bytes: int, spill: str) -> Work:
    """Prepare Dask's P2P rechunking on a cluster of two processes.

    The work alone begins when the cluster is up. ``worker_bytes`` is each one's memory limit,
    ``spill`` the folder for what does not fit.
    """
    import dask
    import dask.array as da
    import zarr
    from distributed import Client, LocalCluster

    def work() -> Told:
        with (
            dask.config.set({"array.rechunk.method": "p2p"}),
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=worker_bytes,
                dashboard_address=None,
                local_directory=spill,
            ) as cluster,
            Client(cluster) as client,
        ):
            after_imports = client.run(pss_bytes)
            began = time.perf_counter()
            source = zarr.open_array(array, mode="r")
            da.from_zarr(source).rechunk(tuple(chunks)).to_zarr(dest)
            seconds = time.perf_counter() - began
        return {"seconds": seconds, "workers_after_imports": list(after_imports.values())}

    return work


def open_by_rosettasciio(files: list[str]) -> Work:
    """Prepare opening files one after the other, all Main datasets of each, lazily."""
    from rsciio.usid import file_reader

    def work() -> Told:
        seconds, shapes = [], []
        for file in files:
            began = time.perf_counter()
            signals = file_reader(file, lazy=True)
            seconds.append(time.perf_counter() - began)
            shapes.append([list(signal["data"].shape) for signal in signals])
        return {"each": seconds, "shapes": shapes}

    return work


def open_by_tree(files: list[str]) -> Work:
    """Prepare opening files one after the other with ``open_tree``: all that a store needs."""
    from usid_tasks.tree import open_tree

    def work() -> Told:
        seconds, shapes = [], []
        for file in files:
            began = time.perf_counter()
            tree = open_tree(file)
            seconds.append(time.perf_counter() - began)
            mains = [node.main for node in tree.nodes.values() if node.main is not None]
            shapes.append([list(main.shape) for main in mains])
        return {"each": seconds, "shapes": shapes}

    return work


def open_by_xarray(files: list[str]) -> Work:
    """Prepare opening files one after the other as trees of xarray."""
    import xarray as xr

    import usid_tasks.xarray_engine  # noqa: F401 - the entry point loads it late

    def work() -> Told:
        seconds, shapes = [], []
        for file in files:
            began = time.perf_counter()
            tree = xr.open_datatree(file, engine="usid", chunks=None)
            seconds.append(time.perf_counter() - began)
            mains = [
                array
                for node in tree.subtree
                for array in node.data_vars.values()
                if array.attrs.get("usid_role") == "main"
            ]
            shapes.append([list(main.shape) for main in mains])
        return {"each": seconds, "shapes": shapes}

    return work


def read_array(array: str, readings: dict[str, list[list[list[int]]]]) -> Work:
    """Prepare reading regions of an array by plain zarr-python.

    ``readings`` are lists of regions by name, a region being a start and a stop for each
    dimension. Each region is read from files that the page cache was asked to forget, at once
    again, and a third time with the store's requests counted.
    """
    import hashlib

    import numpy as np
    import zarr

    from benchmarks.touches import CountingStore, forget

    def work() -> Told:
        plain = zarr.open_array(array, mode="r")
        told: Told = {}
        for name, regions in readings.items():
            seconds: dict[str, list[float]] = {"cold": [], "warm": []}
            digests, touches = [], []
            for bounds in regions:
                region = tuple(slice(*each) for each in bounds)
                forget(Path(array))
                for state in seconds:
                    began = time.perf_counter()
                    cells = plain[region]
                    seconds[state].append(time.perf_counter() - began)
                counting = CountingStore.of(Path(array))
                again = zarr.open_array(counting, mode="r")
                counting.requests.clear()
                both = [np.ascontiguousarray(each).tobytes() for each in (cells, again[region])]
                digests.append([hashlib.sha256(content).hexdigest() for content in both])
                touches.append(counting.touched(again))
            told[name] = {**seconds, "digests": digests, "touches": touches}
        return told

    return work


def process(
    source: str, dest: str, tool: str, params: dict[str, Any], scheduler: str, workers: int,
    memory: str,
) -> Work:  # fmt: skip
    """Prepare a tool over the Main dataset of a file, on a number of threads or processes."""
    from usid_tasks.engines import open_engine
    from usid_tasks.process import process_file
    from usid_tasks.settings import load_settings

    settings = load_settings(overrides={"process": {"memory": memory, "workers": workers}})
    out = Path(dest).with_suffix(".h5")

    def work() -> Told:
        with open_engine(scheduler, workers=workers) as engine:
            began = time.perf_counter()
            (done,) = process_file(source, tool, params, out=out, settings=settings, engine=engine)
            seconds = time.perf_counter() - began
        return {"seconds": seconds, "outcome": done.outcome.value, "group": done.group}

    return work


def main() -> None:
    """Do the job that the command line names, and write what is to be told of it."""
    name, arguments, report = sys.argv[1:]
    job: Callable[..., Work] = globals()[name]
    work = job(**json.loads(arguments))
    after_imports = pss_bytes()
    began = time.perf_counter()
    told = work()
    seconds = time.perf_counter() - began
    record = {"seconds": seconds, "after_imports": after_imports, **told}
    Path(report).write_text(json.dumps(record), "utf-8")


if __name__ == "__main__":
    main()
