"""A trial as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from usid_tasks.printable import printable
from usid_tasks.process.trying import Trial
from usid_tasks.sizes import format_size


def trial_lines(trial: Trial) -> Iterator[str]:
    """Yield what came of a few positions, and what all of them would take."""
    yield printable(trial.dataset)
    rows = ", ".join(map(str, trial.rows))
    for name, array in trial.arrays.items():
        shown = np.array2string(array, threshold=12, edgeitems=3, precision=6, max_line_width=88)
        yield f"  {printable(name)}  {array.dtype}, {' x '.join(map(str, array.shape))}"
        yield from (f"    {printable(line)}" for line in shown.splitlines())
    yield f"  tried     positions {rows} of {trial.n_positions:,}"
    yield (
        f"  all       about {trial.seconds:,.1f} s, {trial.positions_per_second:,.0f} positions/s"
        + (f" in {trial.passes} passes" if trial.passes > 1 else "")
    )
    yield f"  memory    {format_size(trial.memory_bytes)}"
    yield f"  results   {format_size(trial.results_bytes)}"
