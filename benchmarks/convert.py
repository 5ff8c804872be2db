"""``convert``: a file to a Zarr store, against RosettaSciIO with Dask and against ``cp``."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import jobs
from benchmarks.compare import REMEDY, check_array
from benchmarks.contest import (
    Bench,
    Contestant,
    Measured,
    Outcome,
    alternate,
    refuse_space,
    refuse_without,
)
from benchmarks.data import CHUNKS, MAIN, Recipe, Values, recipe_for, write_file
from benchmarks.measure import run_timed
from benchmarks.results import Figures, Ratio, Section, measured_figures
from usid_tasks.errors import VerificationError
from usid_tasks.sizes import format_size

SPECTRUM = (("A", 128), ("B", 128))
"""Spectroscopic dimensions: as many columns as a chunk has."""

TODAY = "RosettaSciIO + Dask"
COMMAND = "usid convert"
FUNCTION = "convert_file"
BARE = "copy alone, no verification or digests"
COPY = "cp, then sync"
KINDS = {"threads": "thread", "processes": "process"}


@dataclass(frozen=True)
class Variant:
    """One kind of file; ``share`` of the size asked for, since inflating takes its time."""

    name: str
    chunks: tuple[int, int] | None
    compression: str | None
    share: float
    values: Values
    whole: float
    alone: float


VARIANTS = (
    Variant("contiguous", None, None, 1, "noise", 5, 4),
    Variant("chunked", CHUNKS, None, 1, "noise", 5, 5),
    Variant("gzip", CHUNKS, "gzip", 0.25, "counts", 5, 4),
)
"""Each with the promised ratios: of whole processes, and of the copies alone."""


def run(bench: Bench, variants: Sequence[str], values: Values | None) -> Section:
    """Return what conversions of the named variants took.

    Parameters
    ----------
    bench
        Its size is that of the contiguous and the chunked file; the gzip file has a quarter.
    variants
        Names of :data:`VARIANTS`.
    values
        What the files hold; as each variant says if None.

    Raises
    ------
    RefusedError
        If RosettaSciIO is not installed, or the disk is too small.
    VerificationError
        If a store does not hold what its file was made from.
    UsidError
        If a contestant fails.
    """
    refuse_without("rsciio")
    refuse_space(bench.folder, 4 * bench.size_bytes)
    options = Options.found()
    figures: list[Figures] = []
    ratios: list[Ratio] = []
    for variant in VARIANTS:
        if variant.name in variants:
            recipe = recipe_for(
                int(bench.size_bytes * variant.share),
                SPECTRUM,
                values=values or variant.values,
                seed=bench.seed,
            )
            title = f"{variant.name}, {format_size(recipe.size_bytes)} of {recipe.values}"
            bench.tell(title)
            measured = _measure(bench, variant, recipe, options)
            figures.append(measured_figures(title, list(measured.values())))
            ratios += _ratios(variant, measured)
    return Section("convert", figures, ratios, list(options.notes()))


@dataclass(frozen=True)
class Options:
    """What the converter of this checkout can be told."""

    has_engines: bool

    @classmethod
    def found(cls) -> Options:
        """Return what there is: options that choose workers."""
        told = run_timed(jobs.usid_command("convert", "--help")).told
        has_engines = "--workers" in told and "--scheduler" in told
        return cls(has_engines)

    def notes(self) -> Iterator[str]:
        """Yield what is not measured, and why."""
        if not self.has_engines:
            yield (
                "Two workers are not held against one: usid convert lacks --workers or --scheduler."
            )


def _measure(
    bench: Bench, variant: Variant, recipe: Recipe, options: Options
) -> Mapping[str, Measured]:
    source = bench.folder / f"{variant.name}.h5"
    write_file(source, recipe, chunks=variant.chunks, compression=variant.compression)
    match = Match(source, recipe)
    contestants = [match.today(), match.command_line(COMMAND)]
    contestants += [match.function(FUNCTION), match.bare()]
    if variant.name == "contiguous":
        contestants.append(match.copy())
    if variant.name != "contiguous" and options.has_engines:
        contestants += [match.workers(kind, n) for kind in KINDS for n in (1, 2)]
    try:
        return alternate(bench, contestants, sources=[source])
    finally:
        source.unlink()


@dataclass(frozen=True)
class Match:
    """Everyone who converts one file, made as a recipe says."""

    source: Path
    recipe: Recipe

    def today(self) -> Contestant:
        """Return RosettaSciIO and Dask: the array lies at the root of the store."""
        return Contestant(
            name=TODAY,
            command=lambda dest: jobs.command_of(
                jobs.rosettasciio_to_zarr, source=str(self.source), dest=str(dest)
            ),
            check=lambda outcome: check_array(
                outcome.place,
                self.recipe,
                is_whole=outcome.is_whole,
                dims=outcome.run.report["dims"],
            ),
        )

    def command_line(self, name: str, *options: str) -> Contestant:
        """Return our command with options."""
        return Contestant(
            name=name,
            command=lambda dest: jobs.usid_command(
                "convert", str(self.source), str(dest), *options
            ),
            check=self._check,
        )

    def function(self, name: str, **overrides: dict[str, str]) -> Contestant:
        """Return our function under settings that differ from the defaults."""
        return Contestant(
            name=name,
            command=lambda dest: jobs.command_of(
                jobs.convert, source=str(self.source), dest=str(dest), overrides=overrides
            ),
            check=self._check,
        )

    def bare(self) -> Contestant:
        """Return our copy without verification and digests, as RosettaSciIO has none."""
        return Contestant(
            name=BARE,
            command=lambda dest: jobs.command_of(
                jobs.copy_alone, source=str(self.source), dest=str(dest)
            ),
            check=self._check,
        )

    def workers(self, kind: str, n_workers: int) -> Contestant:
        """Return our function on threads or processes of a number."""
        return Contestant(
            name=_on(kind, n_workers),
            command=lambda dest: jobs.command_of(
                jobs.convert_with,
                source=str(self.source),
                dest=str(dest),
                scheduler=kind,
                workers=n_workers,
            ),
            check=self._check,
        )

    def copy(self) -> Contestant:
        """Return the yardstick: the bytes copied and flushed by the system's own commands."""
        script = 'cp "$1" "$2" && sync "$2"'
        return Contestant(
            name=COPY,
            command=lambda dest: ["sh", "-c", script, "sh", str(self.source), str(dest)],
            check=self._check_copy,
        )

    def _check(self, outcome: Outcome) -> None:
        became = outcome.run.report.get("outcome", "done")
        if became != "done":
            raise VerificationError(self.source.name, f"is {became}, expected done", REMEDY)
        array = outcome.place / MAIN / "Raw_Data"
        check_array(array, self.recipe, is_whole=outcome.is_whole)

    def _check_copy(self, outcome: Outcome) -> None:
        if not filecmp.cmp(self.source, outcome.place, shallow=False):
            raise VerificationError(outcome.place.name, "is not its source", REMEDY)


def _ratios(variant: Variant, measured: Mapping[str, Measured]) -> Iterator[Ratio]:
    today = measured[TODAY]
    bare = measured[BARE]
    name = variant.name
    yield Ratio(
        f"{name}: {TODAY} / {COMMAND}, whole process",
        today.whole_s / measured[COMMAND].whole_s,
        variant.whole,
    )
    yield Ratio(
        f"{name}: {TODAY} / {bare.name}, work alone", today.work_s / bare.work_s, variant.alone
    )
    if COPY in measured:
        yield Ratio(
            f"{name}: {bare.name} / {COPY}", bare.work_s / measured[COPY].whole_s, 1.2,
            is_at_least=False,
        )  # fmt: skip
    yield Ratio(
        f"{name}: what verification and digests add to {BARE}",
        measured[FUNCTION].work_s / bare.work_s - 1,
        1 / 3,
        is_at_least=False,
    )
    if _on("processes", 2) in measured:
        one, two = (measured[_on("processes", n)].work_s for n in (1, 2))
        yield Ratio(f"{name}: one worker process / two, work alone", one / two, 1.7)


def _on(kind: str, n_workers: int) -> str:
    return f"{FUNCTION}, {n_workers} {kind if n_workers > 1 else KINDS[kind]}"
