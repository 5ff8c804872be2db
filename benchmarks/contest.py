"""Contestants in turn: A, B, A, B, each in a fresh process, each outcome checked."""

from __future__ import annotations

import os
import random
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from benchmarks.measure import Memory, Run, run_timed, run_watched
from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.sizes import format_size

_CACHED_BYTES = 2**22
_WIDTH = 60


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every command is told: where data goes, how much, how often, and whom to tell."""

    folder: Path
    size_bytes: int
    repeats: int
    seed: int
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run has made, to be checked: all of it if ``is_whole``, otherwise some cells."""

    place: Path
    run: Run
    is_whole: bool


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something that is measured.

    ``command`` is given the place of its outcome; ``check`` raises VerificationError where that
    is wrong. ``may_fail`` is for a baseline that is known to fail in some places: it is told,
    and not run again. ``status`` is the exit status that is right.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    check: Callable[[Outcome], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    may_fail: bool = False
    status: int = 0


@dataclass(frozen=True)
class Measured:
    """What became of a contestant: ``whole`` processes and the ``work`` alone, in seconds.

    ``after_imports`` is the memory of its processes before the work, if they told it. Where it
    failed, ``failure`` says how, and there are no figures.
    """

    name: str
    whole: tuple[float, ...] = ()
    work: tuple[float, ...] = ()
    memory: Memory = field(default_factory=lambda: Memory(0, 0))
    after_imports: int | None = None
    reports: tuple[Mapping[str, Any], ...] = ()
    failure: str | None = None

    @property
    def whole_s(self) -> float:
        """Median of the whole process, in seconds."""
        return statistics.median(self.whole)

    @property
    def work_s(self) -> float:
        """Median of the work alone, in seconds."""
        return statistics.median(self.work)


def alternate(
    bench: Bench, contestants: Sequence[Contestant], *, sources: Sequence[Path] = ()
) -> dict[str, Measured]:
    """Run all contestants in turn, as often as asked, and once more to look at their memory.

    Before each run the former outcome is removed, what is to be written is written, and the
    sources are read once, so that all find the same page cache. Their order is another in each
    round: what a run leaves behind in the machine would always meet the same one.

    Returns
    -------
    dict
        What became of each contestant, by name.

    Raises
    ------
    VerificationError
        If an outcome is wrong.
    UsidError
        If a contestant fails.
    """
    place = bench.folder / "outcome" / "made.zarr"
    runs: dict[str, list[Run]] = {each.name: [] for each in contestants}
    memory: dict[str, Memory] = {}
    failures: dict[str, str] = {}
    for number in range(bench.repeats + 1):
        is_last = number == bench.repeats
        about = "memory" if is_last else f"{number + 1} of {bench.repeats}"
        order = random.Random(bench.seed + number).sample(contestants, len(contestants))
        for each in order:
            if each.name in failures:
                continue
            _prepare(place.parent, sources)
            try:
                run, held = _run(each, place, is_watched=is_last)
            except UsidError as error:
                if not each.may_fail:
                    raise
                failures[each.name] = _last_words(error)
                bench.tell(f"  {each.name}: failed")
                continue
            each.check(Outcome(place, run, is_last))
            bench.tell(f"  {each.name}, {about}: {run.seconds:.2f} s")
            if held is None:
                runs[each.name].append(run)
            else:
                memory[each.name] = held
    shutil.rmtree(place.parent)
    return {
        each.name: Measured(each.name, failure=failures[each.name])
        if each.name in failures
        else _measured(each.name, runs[each.name], memory[each.name])
        for each in contestants
    }


def _last_words(error: UsidError) -> str:
    """Return the last line that a child printed, cut to the width of a table."""
    return shorten(error.what.strip().splitlines()[-1], _WIDTH, placeholder="…")


def _run(each: Contestant, place: Path, *, is_watched: bool) -> tuple[Run, Memory | None]:
    command = each.command(place)
    if is_watched:
        return run_watched(command, environment=each.environment, status=each.status)
    return run_timed(command, environment=each.environment, status=each.status), None


def _measured(name: str, runs: Sequence[Run], memory: Memory) -> Measured:
    reports = tuple(run.report for run in runs)
    work = tuple(float(report["seconds"]) for report in reports if "seconds" in report)
    after_imports = None
    if reports[0]:
        told = reports[0]
        after_imports = int(told["after_imports"]) + sum(told.get("workers_after_imports", ()))
    whole = tuple(run.seconds for run in runs)
    return Measured(name, whole, work, memory, after_imports, reports)


def _prepare(folder: Path, sources: Sequence[Path]) -> None:
    """Empty the folder of outcomes, and read the sources into the page cache."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    os.sync()
    for source in sources:
        for file in [source] if source.is_file() else source.rglob("*"):
            if file.is_file():
                with file.open("rb", buffering=0) as stream:
                    while stream.read(_CACHED_BYTES):
                        pass


def refuse_without(*packages: str) -> None:
    """Raise RefusedError where a package that only benchmarks need is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise RefusedError(
                package, "is not installed", 'Install what is compared: pip install ".[bench]"'
            )


def refuse_space(folder: Path, needed_bytes: int) -> None:
    """Raise RefusedError where a folder has too little space for the data and the outcomes."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RefusedError(
            "--folder",
            f"has {format_size(free)} free, expected {format_size(needed_bytes)}",
            "Name a folder on another disk, or a smaller --size.",
        )
