"""``rechunk``: a store in other chunks, against Dask in memory and Dask's P2P on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import jobs
from benchmarks.compare import check_array
from benchmarks.contest import Bench, Contestant, Measured, Outcome, alternate, refuse_space
from benchmarks.data import MAIN, Recipe, recipe_for, write_file
from benchmarks.results import Figures, Ratio, Section, measured_figures
from usid_tasks.convert import convert_file
from usid_tasks.rechunk import rechunk_store
from usid_tasks.sizes import format_size

SPECTRUM = (("A", 512), ("B", 64))
SOURCE_EDGES = {"Y": 4, "X": 32, "A": 512, "B": 64}
TARGET_EDGES = {"Y": 128, "X": 128, "A": 16, "B": 8}

COMMAND = "usid rechunk"
FUNCTION = "rechunk_store"
IN_MEMORY = "Dask in memory"
P2P = "Dask P2P"

_IMPORTS_BYTES = 200 * 2**20


def run(bench: Bench, *, memory_bytes: int, cluster_bytes: int) -> Section:
    """Return what rechunking from (4, 32, 512, 64) to (128, 128, 16, 8) took.

    Parameters
    ----------
    bench
        Its size is that of the array; edges of chunks end at the array's.
    memory_bytes
        What we may hold beyond what the process needs to start, and a P2P cluster as well.
    cluster_bytes
        What a second P2P cluster may hold, of two workers, since the first one may be too small.

    Raises
    ------
    RefusedError
        If the disk is too small, or ``memory_bytes`` for our plan.
    VerificationError
        If a store made is not the source.
    UsidError
        If a contestant fails, other than P2P.
    """
    refuse_space(bench.folder, 5 * bench.size_bytes)
    recipe = recipe_for(bench.size_bytes, SPECTRUM, values="counts", seed=bench.seed)
    title = (
        f"{format_size(recipe.size_bytes)} of {recipe.values}, "
        f"{_told(recipe, SOURCE_EDGES)} to {_told(recipe, TARGET_EDGES)}"
    )
    bench.tell(title)
    match = Match(_source_store(bench, recipe), recipe, bench.folder / "spill")
    contestants = [
        match.dask(IN_MEMORY),
        *(match.p2p(size) for size in dict.fromkeys([memory_bytes, cluster_bytes])),
        match.command_line(memory_bytes),
        match.function(memory_bytes),
    ]
    measured = alternate(bench, contestants, sources=[match.store])
    figures: list[Figures] = [measured_figures(title, list(measured.values()))]
    note = (
        f"We may hold {format_size(memory_bytes)}. A P2P worker may hold half of what is told and "
        f"{format_size(_IMPORTS_BYTES)} for its imports; the start of the cluster is not in the "
        "work alone."
    )
    return Section("rechunk", figures, list(_ratios(measured)), [note])


def _edges(recipe: Recipe, wanted: Mapping[str, int]) -> list[int]:
    return [min(wanted[name], n) for name, n in zip(recipe.dims, recipe.shape, strict=True)]


def _told(recipe: Recipe, wanted: Mapping[str, int]) -> str:
    return " x ".join(map(str, _edges(recipe, wanted)))


def _intent(wanted: Mapping[str, int]) -> str:
    return ",".join(f"{name}={edge}" for name, edge in wanted.items())


def _source_store(bench: Bench, recipe: Recipe) -> Path:
    """Return a store with a receipt, in the chunks that the issue names."""
    made = bench.folder / "made"
    made.mkdir()
    file = write_file(made / "source.h5", recipe)
    converted = convert_file(file, made / "converted.zarr").store
    dest = bench.folder / "source.zarr"
    return rechunk_store(converted, dest, intent=_intent(SOURCE_EDGES)).store


@dataclass(frozen=True)
class Match:
    """Everyone who rechunks one store, made as a recipe says."""

    store: Path
    recipe: Recipe
    spill: Path

    def dask(self, name: str) -> Contestant:
        """Return Dask on threads, which holds the whole array."""
        return Contestant(
            name=name,
            command=lambda dest: jobs.command_of(
                jobs.dask_in_memory, array=self._array, dest=str(dest), chunks=self._chunks
            ),
            check=self._check_array,
        )

    def p2p(self, memory_bytes: int) -> Contestant:
        """Return Dask's P2P on two processes that may hold this much together."""
        worker_bytes = memory_bytes // 2 + _IMPORTS_BYTES
        return Contestant(
            name=f"{P2P}, 2 workers, {format_size(memory_bytes)}",
            command=lambda dest: jobs.command_of(
                jobs.dask_p2p,
                array=self._array,
                dest=str(dest),
                chunks=self._chunks,
                worker_bytes=worker_bytes,
                spill=str(self.spill),
            ),
            check=self._check_array,
            may_fail=True,
        )

    def command_line(self, memory_bytes: int) -> Contestant:
        """Return our command."""
        options = ("--intent", _intent(TARGET_EDGES), "--memory", str(memory_bytes))
        return Contestant(
            name=COMMAND,
            command=lambda dest: jobs.usid_command("rechunk", str(self.store), str(dest), *options),
            check=self._check_store,
        )

    def function(self, memory_bytes: int) -> Contestant:
        """Return our function."""
        return Contestant(
            name=FUNCTION,
            command=lambda dest: jobs.command_of(
                jobs.rechunk,
                store=str(self.store),
                dest=str(dest),
                intent=_intent(TARGET_EDGES),
                memory=str(memory_bytes),
            ),
            check=self._check_store,
        )

    @property
    def _array(self) -> str:
        return str(self.store / MAIN / "Raw_Data")

    @property
    def _chunks(self) -> list[int]:
        return _edges(self.recipe, TARGET_EDGES)

    def _check_array(self, outcome: Outcome) -> None:
        check_array(outcome.place, self.recipe, is_whole=outcome.is_whole, chunks=self._chunks)

    def _check_store(self, outcome: Outcome) -> None:
        array = outcome.place / MAIN / "Raw_Data"
        check_array(array, self.recipe, is_whole=outcome.is_whole, chunks=self._chunks)


def _ratios(measured: Mapping[str, Measured]) -> Iterator[Ratio]:
    ours, memory = measured[FUNCTION], measured[IN_MEMORY]
    for name, each in measured.items():
        if name.startswith(P2P) and each.failure is None:
            yield Ratio(f"{name} / {FUNCTION}, work alone", each.work_s / ours.work_s, 4)
    yield Ratio(f"{IN_MEMORY} / {FUNCTION}, work alone", memory.work_s / ours.work_s, 1)
    yield Ratio(
        f"{FUNCTION} / {IN_MEMORY}, peak memory",
        ours.memory.peak_bytes / memory.memory.peak_bytes,
        1 / 3,
        is_at_least=False,
    )
