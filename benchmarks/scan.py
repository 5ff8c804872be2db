"""``scan``: many small files judged, and opened, against RosettaSciIO's opening."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from benchmarks import jobs
from benchmarks.compare import REMEDY
from benchmarks.contest import (
    Bench,
    Contestant,
    Measured,
    Outcome,
    alternate,
    refuse_space,
    refuse_without,
)
from benchmarks.data import MAIN, Recipe, recipe_for, write_file
from benchmarks.measure import run_timed
from benchmarks.results import Figures, Ratio, Section, measured_figures, spread
from usid_tasks.errors import VerificationError
from usid_tasks.sizes import format_size

SPECTRUM = (("A", 16),)
N_CHANNELS = 4

COMMAND = "usid validate"
TODAY = "RosettaSciIO, file_reader"
TREE = "open_tree"
XARRAY = "xarray.open_datatree"

_N_XARRAY = 100
_WRONG = 1


def run(bench: Bench, *, n_files: int) -> Section:
    """Return what judging and opening files of four channels took.

    Parameters
    ----------
    bench
        Its size is that of all values of one file.
    n_files
        How many files there are.

    Raises
    ------
    RefusedError
        If RosettaSciIO is not installed, or the disk is too small.
    VerificationError
        If ``usid validate`` finds an error in a sound file, or none in a broken one, or if
        somebody opens other Main datasets than were written.
    UsidError
        If a contestant fails.
    """
    refuse_without("rsciio")
    refuse_space(bench.folder, n_files * (bench.size_bytes + 2**20))
    recipe = recipe_for(bench.size_bytes // N_CHANNELS, SPECTRUM, values="counts", seed=bench.seed)
    size = format_size(N_CHANNELS * recipe.size_bytes)
    raster = " x ".join(str(n) for _, n in recipe.position)
    title = f"{n_files:,} files of {N_CHANNELS} channels of {raster} positions, {size} each"
    bench.tell(title)
    folder = bench.folder / "files"
    folder.mkdir()
    files = [folder / f"scan_{number:05d}.h5" for number in range(n_files)]
    for file in files:
        write_file(file, recipe, n_channels=N_CHANNELS)
    _check_that_breakage_is_found(bench.folder, recipe)
    match = Match(folder, files, recipe)
    few = match.first(_N_XARRAY)
    contestants = [
        match.opened(TODAY, jobs.open_by_rosettasciio),
        match.judged(),
        match.opened(TREE, jobs.open_by_tree),
        few.opened(f"{XARRAY}, the first {len(few.files)}", jobs.open_by_xarray),
    ]
    measured = alternate(bench, contestants, sources=[folder])
    figures = [measured_figures(title, list(measured.values())), _each_figures(measured, n_files)]
    return Section("scan", figures, list(_ratios(measured)))


@dataclass(frozen=True)
class Match:
    """Everyone who looks at the files of a folder, made as a recipe says."""

    folder: Path
    files: Sequence[Path]
    recipe: Recipe

    def first(self, n_files: int) -> Match:
        """Return the same for the first files alone."""
        return replace(self, files=self.files[:n_files])

    def judged(self) -> Contestant:
        """Return our command, on the folder."""
        return Contestant(
            name=COMMAND,
            command=lambda _: jobs.usid_command("validate", str(self.folder)),
            check=self._check_judged,
        )

    def opened(self, name: str, job: Callable[..., jobs.Work]) -> Contestant:
        """Return a job that opens each file in turn, in one process."""
        return Contestant(
            name=name,
            command=lambda _: jobs.command_of(job, files=[str(file) for file in self.files]),
            check=lambda outcome: self._check_opened(name, outcome),
        )

    def _check_judged(self, outcome: Outcome) -> None:
        n = len(self.files)
        told = f"{n:,} file{'' if n == 1 else 's'}, {n} sound"
        if told not in outcome.run.told:
            raise VerificationError(COMMAND, f"expected {told!r}:\n{outcome.run.told}", REMEDY)

    def _check_opened(self, name: str, outcome: Outcome) -> None:
        # RosettaSciIO puts the fastest dimension of each side first
        expected = [sorted(self.recipe.shape)] * N_CHANNELS
        for file, shapes in zip(self.files, outcome.run.report["shapes"], strict=True):
            if [sorted(shape) for shape in shapes] != expected:
                what = f"{name} found {shapes}, expected {expected} in any order"
                raise VerificationError(file.name, what, REMEDY)


def _check_that_breakage_is_found(folder: Path, recipe: Recipe) -> None:
    """Raise UsidError where a file whose Main dataset has lost its tables passes as sound."""
    broken = write_file(folder / "broken.h5", recipe)
    with h5py.File(broken, "r+") as file:
        del file[MAIN].attrs["Position_Indices"]
    run_timed(jobs.usid_command("validate", str(broken)), status=_WRONG)
    broken.unlink()


def _each_figures(measured: Mapping[str, Measured], n_files: int) -> Figures:
    rows = []
    for name, each in measured.items():
        if name == COMMAND:
            whole = [1e3 * seconds / n_files for seconds in each.whole]
            rows.append((f"{name}, whole process / files", spread(whole)))
        else:
            rows.append((f"{name}, median", spread([1e3 * s for s in _medians(each)])))
    return Figures("one file", ("", "ms"), rows)


def _medians(each: Measured) -> list[float]:
    return [statistics.median(report["each"]) for report in each.reports]


def _ratios(measured: Mapping[str, Measured]) -> Iterator[Ratio]:
    today = measured[TODAY]
    yield Ratio(
        f"{TODAY} / {COMMAND}, whole process", today.whole_s / measured[COMMAND].whole_s, 20
    )
    opened = statistics.median(_medians(today))
    yield Ratio(
        f"{TODAY} / {TREE}, one file", opened / statistics.median(_medians(measured[TREE])), 20
    )
