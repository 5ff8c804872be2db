"""Blocks become rows and come back, whatever dims are core and in whatever order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import scan

from usid_tasks.errors import UsidError
from usid_tasks.tools.rows import from_rows, rows_per_position, to_rows


@st.composite
def headers(draw):
    sizes = {f"S{at}": draw(st.integers(1, 4)) for at in range(draw(st.integers(1, 4)))}
    array = np.empty((draw(st.integers(0, 3)), *sizes.values()))
    array[...] = np.arange(array.size).reshape(array.shape)
    header = scan(array, positions={"X": len(array)}, steps=sizes)
    core = draw(st.permutations(list(sizes)))[: draw(st.integers(0, len(sizes)))]
    return array, header, [header.dim(name) for name in core]


@settings(max_examples=60)
@given(headers())
def test_rows_hold_what_numpy_indexes(case):
    array, header, core = case
    rows = to_rows(array, header, core)
    names = [dim.name for dim in header.side("spectroscopic")]
    chosen = [dim.name for dim in core]
    others = [name for name in names if name not in chosen]
    moved = np.einsum(
        array, range(array.ndim), [0, *(names.index(each) + 1 for each in (*others, *chosen))]
    )
    assert len(rows) == len(array) * rows_per_position(header, core)
    assert rows.tobytes() == np.ascontiguousarray(moved).tobytes()
    back = from_rows(rows, len(array), header, core, header.output("Same"))
    assert back.tobytes() == array.tobytes()
    assert back.shape == array.shape
    if core:
        less = header.output("Less", without=chosen)
        sums = rows.sum(axis=tuple(range(1, rows.ndim)))
        axes = tuple(names.index(name) + 1 for name in chosen)
        np.testing.assert_array_equal(
            from_rows(sums, len(array), header, core, less), array.sum(axis=axes)
        )


def test_a_result_of_another_shape_is_told():
    array = np.zeros((2, 3))
    header = scan(array, positions={"X": 2}, steps={"S": 3})
    with pytest.raises(UsidError, match=r"shape \(2, 4\) where \(2, 3\) is declared"):
        from_rows(np.zeros((2, 4)), 2, header, header.side("spectroscopic"), header.output("A"))
