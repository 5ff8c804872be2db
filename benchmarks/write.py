"""``write``: h5USID files made by ``file_writer``, against a single writer through h5py."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import write_jobs as jobs
from benchmarks.compare import REMEDY, WHOLE_BYTES
from benchmarks.contest import Bench, Contestant, Measured, alternate, refuse_space
from benchmarks.data import MAIN, Recipe, recipe_for
from benchmarks.jobs import Work
from benchmarks.results import Figures, Section, measured_figures
from usid_tasks.errors import VerificationError
from usid_tasks.sizes import format_size

SPECTRUM = (("A", 128), ("B", 128))
H5PY = "h5py, one writer"
OURS = "file_writer"
BARE = "no verification"
THREADS = "file_writer, 2 threads"
PROCESSES = "file_writer, 2 processes"
NOTES = (
    "h5py's file is flushed. file_writer's is flushed, read back and compared, unless told.",
    "Most file systems let one thread at a time write to a file: several gain by computing.",
)

_N_ROWS = 16
_BAND_BYTES = 2**24


def run(bench: Bench) -> Section:
    """Return what writing one Main dataset took: from memory, and from blocks that Dask computes.

    Parameters
    ----------
    bench
        Its size is that of the values.

    Raises
    ------
    RefusedError
        If the disk is too small.
    VerificationError
        If a file does not hold what it was made from.
    UsidError
        If a contestant fails.
    """
    refuse_space(bench.folder, 2 * bench.size_bytes)
    recipe = recipe_for(bench.size_bytes, SPECTRUM, seed=bench.seed)
    match = Match(recipe)
    figures: list[Figures] = []
    rows: list[Sequence[str]] = []
    for source, contestants in match.contests().items():
        title = f"{source}, {format_size(recipe.size_bytes)}, contiguous"
        bench.tell(title)
        measured = alternate(bench, contestants)
        figures.append(measured_figures(title, list(measured.values())))
        rows += _ratios(source, measured)
    figures.append(Figures(f"{H5PY} / others, work alone", ("", "ratio"), rows))
    return Section("write", figures, notes=NOTES)


@dataclass(frozen=True)
class Match:
    """Everyone who writes what a recipe says."""

    recipe: Recipe

    def contests(self) -> Mapping[str, list[Contestant]]:
        """Return who is held against whom, by where the values come from."""
        return {
            "an array in memory": [
                self._does(H5PY, jobs.array_by_h5py),
                self._does(f"{OURS}, {BARE}", jobs.array_by_writer, is_verified=False),
                self._does(OURS, jobs.array_by_writer),
            ],
            "blocks computed by Dask": [
                self._does(H5PY, jobs.blocks_by_h5py),
                self._does(f"{THREADS}, {BARE}", jobs.blocks_by_writer, is_verified=False),
                self._does(THREADS, jobs.blocks_by_writer),
                self._does(PROCESSES, jobs.blocks_by_writer, scheduler="processes"),
            ],
        }

    def _does(self, name: str, job: Callable[..., Work], **arguments: Any) -> Contestant:
        return Contestant(
            name=name,
            command=lambda dest: jobs.command_of(
                job, self.recipe, dest=str(_file(dest)), **arguments
            ),
            check=lambda outcome: check_file(
                _file(outcome.place), self.recipe, is_whole=outcome.is_whole
            ),
        )


def _file(dest: Path) -> Path:
    return dest.with_suffix(".h5")


def check_file(path: Path, recipe: Recipe, *, is_whole: bool) -> None:
    """Compare the Main dataset of a file with its recipe, by plain h5py: all rows, or 16.

    Raises
    ------
    VerificationError
        If shape, type or a value is another.
    """
    columns = slice(0, recipe.n_columns)
    with h5py.File(path) as file:
        main = file[MAIN]
        if main.shape != (recipe.n_rows, recipe.n_columns) or main.dtype != np.float32:
            what = f"{main.dtype} {main.shape}, expected float32 {recipe.n_rows, recipe.n_columns}"
            raise VerificationError(path.name, what, REMEDY)
        is_small = recipe.size_bytes <= WHOLE_BYTES
        for rows in _all_rows(recipe) if is_whole or is_small else _some_rows(recipe):
            if not np.array_equal(main[rows], recipe.table(rows, columns)):
                what = f"rows {rows.start} to {rows.stop} are not those of the source"
                raise VerificationError(path.name, what, REMEDY)


def _all_rows(recipe: Recipe) -> Iterator[slice]:
    step = max(1, _BAND_BYTES // (4 * recipe.n_columns))
    for start in range(0, recipe.n_rows, step):
        yield slice(start, min(start + step, recipe.n_rows))


def _some_rows(recipe: Recipe) -> Iterator[slice]:
    random = np.random.default_rng(recipe.seed)
    for row in random.integers(recipe.n_rows, size=_N_ROWS).tolist():
        yield slice(row, row + 1)


def _ratios(source: str, measured: Mapping[str, Measured]) -> Iterator[Sequence[str]]:
    one = statistics.median(measured[H5PY].work)
    for name, each in measured.items():
        if name != H5PY:
            yield f"{source}: {name}", f"{one / statistics.median(each.work):.2f}"
