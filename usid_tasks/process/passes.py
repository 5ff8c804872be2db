"""The work itself: every position once, or pass after pass in the order of blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usid_tasks.process.blocks import BlockPlan
from usid_tasks.process.layout import Layout
from usid_tasks.process.partial import Completed, Saved, States
from usid_tasks.process.pools import Pool
from usid_tasks.process.steps import Block, Recipe, Step, put_rows
from usid_tasks.tools import Staged, State
from usid_tasks.tools.declaration import Note

SAVE_EVERY_S = 5.0
"""Seconds between two states saved within a pass."""


def is_due(elapsed_s: float, took_s: float) -> bool:
    """Return whether to save within a pass: seldom where it took long the last time."""
    return elapsed_s > max(SAVE_EVERY_S, 20 * took_s)


Advance = Callable[[str, int], None]
"""Told of positions done, and in which step."""


@dataclass(frozen=True)
class Run:
    """One run over one Main dataset.

    ``places`` are those of all positions, ``(n_positions, n_dims)``. ``check`` is called after
    every block, and raises where the work has to end.
    """

    recipe: Recipe
    layout: Layout
    plan: BlockPlan
    places: NDArray[np.intp]
    completed: Completed
    pool: Pool
    check: Callable[[], None]
    advance: Advance

    def every_row(self, kind: str, state: State | None = None) -> None:
        """Make the results of all positions that are not done."""
        step = Step(self.recipe, "rows" if state is None else "block results", state)
        blocks = self._blocks(self.completed.left(self.plan.size))
        for block, _ in self.pool.as_done(step, blocks):
            self.completed.mark(block.first, block.last)
            self.advance(kind, block.n_positions)
            self.check()

    def _blocks(self, ranges: Iterator[tuple[int, int]]) -> Iterator[Block]:
        for number, (first, last) in enumerate(ranges):
            yield Block(number, first, last, self.places[first:last])

    def one_pass(self, step: Step, first: int) -> Iterator[tuple[int, State]]:
        """Yield block numbers and what came of each block, in order."""
        ranges = (self.plan.rows(number) for number in range(first, self.plan.n_blocks))
        for block, part in self.pool.in_order(step, self._blocks(ranges)):
            assert part is not None
            yield first + block.number, part
            self.check()


def run_staged(run: Run, work: Staged, states: States) -> tuple[dict[str, Note], bool]:
    """Make all passes that are not made, and all results.

    Returns
    -------
    notes, is_resumed
        What the tool tells beside its results, and whether a state was taken up.
    """
    found = states.load()
    saved = found or Saved(0, work.begin())
    while work.next_stage(saved.state) is not None:
        saved = _make_pass(run, work, states, saved)
        states.save(saved)
    _write_whole(run, work.results(saved.state))
    if work.block_results is not None:
        run.every_row("results", saved.state)
    else:
        run.completed.mark(0, run.plan.n_positions)
    return work.notes(saved.state), found is not None


def _make_pass(run: Run, work: Staged, states: States, saved: Saved) -> Saved:
    stage = work.next_stage(saved.state)
    assert stage is not None
    combined = saved.combined
    step, last_save, took = Step(run.recipe, "partial", saved.state), time.monotonic(), 0.0
    for number, part in run.one_pass(step, saved.n_blocks):
        combined = part if combined is None else stage.combine(combined, part)
        first, last = run.plan.rows(number)
        run.advance(stage.name, last - first)
        started = time.monotonic()
        if number + 1 < run.plan.n_blocks and is_due(started - last_save, took):
            states.save(Saved(saved.n_stages, saved.state, number + 1, combined))
            last_save = time.monotonic()
            took = last_save - started
    assert combined is not None
    return Saved(saved.n_stages + 1, stage.finish(saved.state, combined))


def _write_whole(run: Run, results: dict[str, NDArray]) -> None:
    """Write the results that positions do not make, even where each of those has a row."""
    shape = tuple(dim.size for dim in run.recipe.header.side("position"))
    for main in run.layout.mains:
        if main.name not in results:
            continue
        array = results[main.name].astype(main.output.dtype, copy=False)
        if main.is_by_row:
            array = array.reshape(*shape, -1)[tuple(run.places.T)]
        put_rows(run.recipe.tables[main.name], array.reshape(main.shape))
