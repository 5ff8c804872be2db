"""``read``: point spectra and images from stores made for them, for the other, and for both."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks import jobs
from benchmarks.compare import REMEDY
from benchmarks.contest import Bench, Contestant, Measured, Outcome, alternate, refuse_space
from benchmarks.data import ITEMSIZE, MAIN, Recipe, Region, recipe_for, write_file
from benchmarks.results import Figures, Ratio, Section, measured_figures, spread
from usid_tasks.convert import convert_file
from usid_tasks.errors import VerificationError
from usid_tasks.intents import INTENTS, Touch, reads
from usid_tasks.rechunk import rechunk_store
from usid_tasks.sizes import format_size

SPECTRUM = (("A", 128), ("B", 64))
READINGS = {"spectrum": "images", "image": "spectra"}
"""What is read, and the intent that it is worst served by."""

_N_REGIONS = 3
_FASTER = 8.0


def run(bench: Bench) -> Section:
    """Return what readings take from stores of each intent, beside what the plan says.

    Parameters
    ----------
    bench
        Its size is that of the array.

    Raises
    ------
    RefusedError
        If the disk is too small.
    VerificationError
        If what is read is not what was written.
    UsidError
        If a contestant fails.
    """
    refuse_space(bench.folder, 5 * bench.size_bytes)
    recipe = recipe_for(bench.size_bytes, SPECTRUM, values="counts", seed=bench.seed)
    title = f"{format_size(recipe.size_bytes)} of {recipe.values}, {_extent(recipe.shape)}"
    bench.tell(title)
    file = write_file(bench.folder / "source.h5", recipe)
    converted = convert_file(file, bench.folder / "source.zarr").store
    file.unlink()
    stores = {
        intent: rechunk_store(converted, bench.folder / f"{intent}.zarr", intent=intent).store
        for intent in INTENTS
    }
    match = Match(recipe, _regions(recipe, bench.seed))
    contestants = [match.reader(intent, store) for intent, store in stores.items()]
    measured = alternate(bench, contestants, sources=list(stores.values()))
    rows = [
        row
        for intent, store in stores.items()
        for row in _rows(intent, _chunk(store), recipe, measured[intent])
    ]
    headings = (
        "store", "chunk", "reading", "chunks predicted", "chunks touched", "decoded, MiB",
        "fetched, MiB", "cold, s", "warm, s",
    )  # fmt: skip
    figures = [
        Figures(f"{title}, by plain zarr-python", headings, rows),
        measured_figures("the processes that read", list(measured.values())),
    ]
    return Section("read", figures, list(_ratios(measured)), list(_notes(measured, stores, recipe)))


def _regions(recipe: Recipe, seed: int) -> dict[str, list[Region]]:
    """Return seeded point spectra and images."""
    random = np.random.default_rng(seed)
    found: dict[str, list[Region]] = {}
    for reading in READINGS:
        found[reading] = []
        for _ in range(_N_REGIONS):
            picks = [int(random.integers(size)) for size in recipe.shape]
            is_whole = [of_position == (reading == "image") for of_position in recipe.is_position]
            found[reading].append(
                tuple(
                    slice(0, size) if whole else slice(pick, pick + 1)
                    for size, pick, whole in zip(recipe.shape, picks, is_whole, strict=True)
                )
            )
    return found


@dataclass(frozen=True)
class Match:
    """Readers of stores, made as a recipe says."""

    recipe: Recipe
    regions: Mapping[str, Sequence[Region]]

    def reader(self, intent: str, store: Path) -> Contestant:
        """Return the reader of one store."""
        readings = {
            name: [[[part.start, part.stop] for part in region] for region in regions]
            for name, regions in self.regions.items()
        }
        return Contestant(
            name=intent,
            command=lambda _: jobs.command_of(
                jobs.read_array, array=str(_array(store)), readings=readings
            ),
            check=lambda outcome: self._check(intent, outcome),
        )

    def _check(self, intent: str, outcome: Outcome) -> None:
        for name, regions in self.regions.items():
            for region, found in zip(regions, outcome.run.report[name]["digests"], strict=True):
                expected = hashlib.sha256(self.recipe.cells(region).tobytes()).hexdigest()
                if set(found) != {expected}:
                    where = [part.start for part in region]
                    what = f"the {name} at {where} is not that of the source"
                    raise VerificationError(intent, what, REMEDY)


def _array(store: Path) -> Path:
    return store / MAIN / "Raw_Data"


def _chunk(store: Path) -> tuple[int, ...]:
    return tuple(zarr.open_array(_array(store), mode="r").chunks)


def _extent(edges: Sequence[int]) -> str:
    return " x ".join(map(str, edges))


def _predicted(recipe: Recipe, chunk: Sequence[int]) -> dict[str, Touch]:
    touches = reads(recipe.shape, chunk, recipe.is_position, itemsize=ITEMSIZE)
    return dict(zip(READINGS, touches, strict=True))


def _touched(measured: Measured, reading: str) -> dict[str, Any]:
    """Return what readings took; it must be the same for each, wherever they lie."""
    touches = [touch for report in measured.reports for touch in report[reading]["touches"]]
    return {
        "chunks": sorted({touch["chunks"] for touch in touches}),
        "bytes": statistics.median(touch["bytes"] for touch in touches),
    }


def _seconds(measured: Measured, reading: str, state: str) -> list[float]:
    return [value for report in measured.reports for value in report[reading][state]]


def _rows(
    intent: str, chunk: Sequence[int], recipe: Recipe, measured: Measured
) -> Iterator[tuple[str, ...]]:
    for reading, predicted in _predicted(recipe, chunk).items():
        touched = _touched(measured, reading)
        yield (
            intent,
            _extent(chunk),
            reading,
            str(predicted.chunks),
            " or ".join(map(str, touched["chunks"])),
            f"{predicted.size_bytes / 2**20:.1f}",
            f"{touched['bytes'] / 2**20:.1f}",
            spread(_seconds(measured, reading, "cold")),
            spread(_seconds(measured, reading, "warm")),
        )


def _ratios(measured: Mapping[str, Measured]) -> Iterator[Ratio]:
    for reading, other in READINGS.items():
        for state in ("cold", "warm"):
            slow, fast = (
                statistics.median(_seconds(measured[intent], reading, state))
                for intent in (other, "balanced")
            )
            yield Ratio(f"{reading}, {state}: {other} / balanced", slow / fast, _FASTER)


def _notes(
    measured: Mapping[str, Measured], stores: Mapping[str, Path], recipe: Recipe
) -> Iterator[str]:
    yield (
        "Cold: the page cache was asked to forget the files; the disk, or the host below it, may "
        "not have. Warm: the same region at once again."
    )
    for intent, store in stores.items():
        for reading, predicted in _predicted(recipe, _chunk(store)).items():
            if _touched(measured[intent], reading)["chunks"] != [predicted.chunks]:
                yield f"{intent}, {reading}: the plan predicts other chunks than are touched."
