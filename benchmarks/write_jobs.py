"""What the children of ``write`` do: ``python -m benchmarks.write_jobs NAME ARGUMENTS REPORT``.

As in :mod:`benchmarks.jobs`, what is prepared is not timed: imports, arrays, worker processes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import MAIN, Recipe
from benchmarks.jobs import Told, Work
from benchmarks.measure import pss_bytes

_BLOCK_BYTES = 8 * 2**20


def command_of(job: Callable[..., Work], recipe: Recipe, **arguments: Any) -> list[str]:
    """Return the command that runs a job on what a recipe says, and has it report."""
    made = [recipe.position, recipe.spectroscopic, recipe.values, recipe.seed]
    told = json.dumps({"made": made, **arguments})
    return [sys.executable, "-m", "benchmarks.write_jobs", job.__name__, told, "{report}"]


def array_by_h5py(made: list[Any], dest: str) -> Work:
    """Prepare writing an array in memory through HDF5, by one thread; flushed to disk."""
    import h5py

    recipe = _recipe(made)
    table = _array(recipe).reshape(recipe.n_rows, recipe.n_columns)

    def work() -> Told:
        with h5py.File(dest, "w") as file:
            file.create_dataset(MAIN, data=table)
        _flush(dest)
        return {}

    return work


def array_by_writer(made: list[Any], dest: str, *, is_verified: bool = True) -> Work:
    """Prepare ``file_writer`` of an array in memory, or all of it but the verification."""
    signal = _signal(_recipe(made), _array(_recipe(made)))

    def work() -> Told:
        _write(dest, signal, is_verified=is_verified)
        return {}

    return work


def blocks_by_h5py(made: list[Any], dest: str) -> Work:
    """Prepare a Dask array stored by Dask through HDF5, one block at a time; flushed to disk."""
    import dask
    import dask.array as da
    import h5py

    recipe = _recipe(made)
    lazy = _lazy(recipe)

    def work() -> Told:
        table = lazy.reshape(recipe.n_rows, recipe.n_columns)
        with h5py.File(dest, "w") as file, dask.config.set(scheduler="threads", num_workers=2):
            dataset = file.create_dataset(MAIN, table.shape, table.dtype)
            da.store(table, dataset, lock=True)
        _flush(dest)
        return {}

    return work


def blocks_by_writer(
    made: list[Any], dest: str, *, scheduler: str = "threads", is_verified: bool = True
) -> Work:
    """Prepare ``file_writer`` of a Dask array on two ``threads``, or two ``processes``.

    The work alone begins when the processes are there.
    """
    import dask
    from distributed import Client, LocalCluster

    signal = _signal(_recipe(made), _lazy(_recipe(made)))

    def write(**scheduling: Any) -> float:
        began = time.perf_counter()
        with dask.config.set(**scheduling):
            _write(dest, signal, is_verified=is_verified)
        return time.perf_counter() - began

    def work() -> Told:
        if scheduler == "threads":
            return {"seconds": write(scheduler="threads", num_workers=2)}
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            after_imports = client.run(_import_writer)
            seconds = write(scheduler=client)
        return {"seconds": seconds, "workers_after_imports": list(after_imports.values())}

    return work


def _recipe(made: list[Any]) -> Recipe:
    position, spectroscopic, values, seed = made
    sides = [tuple((name, size) for name, size in side) for side in (position, spectroscopic)]
    return Recipe(sides[0], sides[1], values, seed)


def _array(recipe: Recipe) -> NDArray[np.float32]:
    """Return all cells, made in two threads."""
    found = np.empty(recipe.shape, np.float32)
    whole = tuple(slice(0, size) for size in recipe.shape[1:])

    def fill(line: int) -> None:
        found[line] = recipe.cells((slice(line, line + 1), *whole))[0]

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(fill, range(recipe.shape[0])):
            pass
    return found


def _lazy(recipe: Recipe) -> Any:
    """Return the cells as a Dask array of blocks that hold whole lines where these are small."""
    import dask.array as da

    chunks: list[int] = []
    left = max(1, _BLOCK_BYTES // 4)
    for size in reversed(recipe.shape):
        chunks.insert(0, min(size, max(left, 1)))
        left //= size
    empty = np.empty((0,) * len(recipe.shape), np.float32)
    shape = da.core.normalize_chunks(tuple(chunks), recipe.shape)
    return da.map_blocks(_block, recipe, chunks=shape, dtype=np.float32, meta=empty)


def _block(recipe: Recipe, block_info: Any = None) -> NDArray[np.float32]:
    return recipe.cells(tuple(slice(*ends) for ends in block_info[None]["array-location"]))


def _signal(recipe: Recipe, data: Any) -> dict[str, Any]:
    axes = [
        {"name": name, "units": "um", "offset": 0.0, "scale": 0.5, "navigate": is_position}
        for name, is_position in zip(recipe.dims, recipe.is_position, strict=True)
    ]
    return {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}


def _write(dest: str, signal: dict[str, Any], *, is_verified: bool) -> None:
    from usid_tasks import file_writer

    if is_verified:
        file_writer(dest, signal)
        return
    from usid_tasks.writing.contents import contents_of
    from usid_tasks.writing.opening import open_to_write
    from usid_tasks.writing.options import Options
    from usid_tasks.writing.replacing import staged
    from usid_tasks.writing.storing import write_values
    from usid_tasks.writing.structure import write_structure

    contents = contents_of(signal, Options.of({}), None)
    with staged(Path(dest)) as place:
        with open_to_write(place.file, is_new=True) as file:
            made = write_structure(file, contents, is_new=True)
        write_values(place.file, made, contents, scratch=place.scratch)
        place.publish()


def _import_writer() -> int:
    """Import what a worker needs to write its blocks, and return the bytes that it holds then."""
    import usid_tasks.writing.cells  # noqa: F401

    return pss_bytes()


def _flush(path: str) -> None:
    with Path(path).open("rb") as stream:
        os.fsync(stream.fileno())


JOBS = {
    job.__name__: job for job in (array_by_h5py, array_by_writer, blocks_by_h5py, blocks_by_writer)
}


def main() -> None:
    """Do the job that the command line names, and write what is to be told of it."""
    name, arguments, report = sys.argv[1:]
    import usid_tasks.rosetta.writer  # noqa: F401 - the writer is loaded late

    work = JOBS[name](**json.loads(arguments))
    after_imports = pss_bytes()
    began = time.perf_counter()
    told = work()
    seconds = time.perf_counter() - began
    record = {"seconds": seconds, "after_imports": after_imports, **told}
    Path(report).write_text(json.dumps(record), "utf-8")


if __name__ == "__main__":
    main()
