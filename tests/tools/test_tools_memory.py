"""The memory that a tool declares for a block is what it takes, not less and not far more."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tool_cases import scan

from usid_tasks.tools import ByPosition, Rows, Staged, find_tool

POSITIONS, POINTS = 1200, 256
FREQUENCIES = np.linspace(300e3, 400e3, POINTS)


def spectra(dtype, count=POSITIONS):
    random = np.random.default_rng(1)
    values = random.normal(size=(count, POINTS))
    if np.dtype(dtype).kind == "c":
        values = values + 1j * random.normal(size=values.shape)
    return values.astype(dtype)


def peak_of(work, array, state):
    """Return the most memory, in bytes, of one block: the block itself included."""
    rows = Rows(0, np.arange(len(array))[:, np.newaxis])
    tracemalloc.start()
    try:
        block = array.copy()
        if isinstance(work, ByPosition):
            made = work.function(block)
        elif (stage := work.next_stage(state)) is not None:
            made = stage.partial(block, rows, state)
        else:
            assert work.block_results is not None
            made = work.block_results(block, rows, state)
        assert made
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CASES = [
    ("reduce", "f4", {"dims": ["Frequency"], "statistics": ["mean", "std", "min"]}),
    ("reduce", "c8", {"dims": ["Frequency"], "nan": "omit"}),
    ("reduce", "f8", {"dims": ["Frequency"], "statistics": ["mean", "min"], "nan": "omit"}),
    ("reduce", "f4", {"dims": ["X"], "statistics": ["mean", "std", "min"]}),
    ("reduce", "i8", {"dims": ["X"], "statistics": ["sum"]}),
    ("background", "f4", {"dim": "Frequency", "degree": 3}),
    ("background", "f8", {"dim": "Frequency", "method": "median"}),
    ("background", "c8", {"dim": "Frequency", "method": "mean"}),
    ("fft_filter", "f4", {"dim": "Frequency", "highest": 1e-4, "noise_threshold": 2}),
    ("fft_filter", "c8", {"dim": "Frequency", "highest": 1e-4, "noise_threshold": 2}),
    ("sho_fit", "c8", {"iterations": 2}),  # noise: nothing converges, all of it is at work
    ("svd", "f4", {"n_components": 8, "method": "exact"}),
    ("svd", "f4", {"n_components": 8, "method": "randomised"}),
    ("svd", "c8", {"n_components": 8, "method": "randomised"}),
    ("kmeans", "f4", {"n_clusters": 5}),
]


@pytest.mark.parametrize(("name", "dtype", "params"), CASES, ids=str)
def test_a_block_takes_what_is_declared(name, dtype, params):
    array = spectra(dtype)
    header = scan(
        array, positions={"X": POSITIONS}, steps={"Frequency": FREQUENCIES},
        units={"Frequency": "Hz"},
    )  # fmt: skip
    job = find_tool(name).prepare(header, params)
    states = [{}]
    if isinstance(job.work, Staged):
        states = every_state(job.work, array)
    peaks = [peak_of(job.work, array, state) for state in states if not is_over(job.work, state)]
    declared = job.row_bytes * POSITIONS + job.fixed_bytes
    assert max(peaks) <= declared
    assert declared < 2.2 * max(peaks)


def every_state(work, array):
    rows = Rows(0, np.arange(len(array))[:, np.newaxis])
    states = [work.begin()]
    while (stage := work.next_stage(states[-1])) is not None and len(states) < 9:
        states.append(stage.finish(states[-1], stage.partial(array, rows, states[-1])))
    return states


def is_over(work, state):
    """Whether no pass is left: neither one over blocks nor one that writes positions."""
    if isinstance(work, ByPosition):
        return False
    return work.next_stage(state) is None and work.block_results is None
