"""Columns that change equally often: the order is found without trying all permutations."""

from __future__ import annotations

import index_tables as it
import numpy as np
import oracle_order
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usid_tasks.grid import Acquisition, GridKind, arrange

N_BITS = 12


def de_bruijn() -> np.ndarray:
    """Return all numbers of 12 bits, each the one before shifted on by a bit: (4096, 12)."""
    seen, register = {0}, 0
    rows = [[0] * N_BITS]
    for _ in range(2**N_BITS - 1):
        shifted = (register << 1) & (2**N_BITS - 1)
        register = shifted | 1 if shifted | 1 not in seen else shifted
        seen.add(register)
        rows.append([register >> bit & 1 for bit in range(N_BITS)])
    return np.array(rows)


@pytest.mark.timeout(20)
def test_twelve_columns_that_change_equally_often_but_are_no_loops():
    table = de_bruijn()
    assert len(np.unique(table, axis=0)) == 2**N_BITS
    changes = np.count_nonzero(np.diff(table, axis=0), axis=0)
    assert np.bincount(changes).max() == 11
    grid = arrange(table, may_pad=True)
    assert grid.kind is GridKind.FULL
    assert grid.acquisition is Acquisition.UNORDERED
    assert grid.columns == tuple(range(N_BITS))[::-1]


@pytest.mark.timeout(20)
def test_twelve_tied_columns_of_size_one_stay_in_order():
    loops = it.grid({"Y": 5, "X": 4}, snake=["X"])
    table = np.column_stack([loops[:, :1], np.full((20, 12), 7), loops[:, 1:]])
    grid = arrange(table, may_pad=True)
    assert grid.acquisition is Acquisition.NESTED
    assert grid.columns == (*range(12, 0, -1), 13, 0)
    assert grid.placement.shape == (5, 4)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_of_tied_columns_the_order_is_that_of_the_oracle(data):
    """Binary loops cut short: many columns change equally often."""
    n_dims = data.draw(st.integers(1, 5))
    names = "ABCDE"[:n_dims]
    table = it.grid(
        {name: data.draw(st.integers(1, 3)) for name in data.draw(st.permutations(names))},
        columns=data.draw(st.permutations(names)),
        snake=data.draw(st.lists(st.sampled_from(names), unique=True)),
        backwards=data.draw(st.lists(st.sampled_from(names), unique=True)),
    )
    table = it.truncated(table, data.draw(st.integers(1, len(table))))
    if data.draw(st.booleans()):
        rows = data.draw(st.tuples(*[st.integers(0, len(table) - 1)] * 2))
        table[list(rows)] = table[list(rows[::-1])]
    points = [tuple(row) for row in table.tolist()]
    sizes = [len(set(column)) for column in zip(*points, strict=True)]
    wide = [column for column, size in enumerate(sizes) if size > 1]
    want, kind = oracle_order.array_order(points, wide, sizes)
    grid = arrange(table, may_pad=True)
    assert {"full": GridKind.FULL, "aborted": GridKind.ABORTED, "none": GridKind.FLAT}[
        kind
    ] is grid.kind
    if kind != "none":
        assert [column for column in grid.columns if sizes[column] > 1] == list(want)
