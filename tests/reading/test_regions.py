"""Every way to take one side of a block apart gives each wanted entry once, with its target."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placements import placements, rows_in

from usid_tasks import listed, loops, regions
from usid_tasks.listed import Listed
from usid_tasks.regions import sides


def pairs(side):
    """Return the entries of a side with their targets, sorted."""
    if isinstance(side, Listed):
        return sorted(zip(side.entries.tolist(), side.targets.tolist(), strict=True))
    found = []
    for steps in itertools.product(*(range(digit.size) for digit in side.digits)):
        entry = sum(n * digit.stride for n, digit in zip(steps, side.digits, strict=True))
        target = sum(n * digit.target_stride for n, digit in zip(steps, side.digits, strict=True))
        found.append((side.start + entry, side.target + target))
    return sorted(found)


@st.composite
def side_with_pairs(draw):
    """One side of a block, and its entries and targets as the placement defines them."""
    placement = draw(placements(120))
    region = []
    for size in placement.shape:
        first = draw(st.integers(0, size - 1))
        region.append(slice(first, draw(st.integers(first + 1, size))))
    wanted = [(row, target) for target, row in enumerate(rows_in(placement, region)) if row >= 0]
    return list(sides(placement, region)), sorted(wanted)


def runs_of(entries, gap):
    found = []
    for entry in entries:
        if found and entry - found[-1][-1] - 1 <= gap:
            found[-1].append(entry)
        else:
            found.append([entry])
    return [(run[0], run[-1] - run[0] + 1) for run in found]


@given(found=side_with_pairs(), loop=st.sampled_from([1, 2, 16]))
@settings(max_examples=300, deadline=None)
def test_a_side_holds_what_its_placement_says(found, loop):
    some, wanted = found
    assert sorted(pair for side in some for pair in pairs(side)) == wanted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listed, "_LONG_LOOP", loop)
        parts = [part for side in some for part in side.parts()]
    assert sorted(pair for part in parts for pair in pairs(part)) == wanted


@given(found=side_with_pairs(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_windows_are_runs_laid_end_to_end(found, data):
    (side, *_), wanted = found[0] or [None], found[1]
    if side is None:
        return
    gap, most = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 130))
    entries = [entry for entry, _ in wanted]
    uncut, got, last = [], [], -1
    for window in side.windows(gap, 10**6):
        uncut += [(first, length) for first, _, length in window.runs()]
    assert uncut == runs_of(entries, gap)
    assert side.run_totals(gap) == (len(uncut), sum(length for _, length in uncut))
    for window in side.windows(gap, most):
        assert window.n_entries <= most
        laid = []
        for first, place, length in window.runs():
            assert first > last
            assert place == len(laid)
            laid += range(first, first + length)
            last = first + length - 1
        assert len(laid) == window.n_entries
        got += [(laid[place], target) for place, target in pairs(window.side)]
    assert sorted(got) == wanted


@given(found=side_with_pairs(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_bands_and_what_lies_within_them(found, data):
    some, wanted = found
    edge, low = data.draw(st.integers(1, 130)), data.draw(st.integers(0, 130))
    high = data.draw(st.integers(low, 130))
    for side in some:
        numbers = side.bands(edge).tolist()
        assert numbers == sorted({entry // edge for entry, _ in wanted})
        found_in = side.stretches_in(side.bands(edge), edge)
        if found_in is not None:
            starts = [number * edge for number in numbers]
            assert wanted == [
                (start + first + step, target + step)
                for start, first, target, length in zip(starts, *found_in.lists(), strict=True)
                for step in range(length)
            ]
        else:
            assert edge > 1
        inside = [pair for part in side.within(low, high) for pair in pairs(part)]
        assert sorted((entry + low, target) for entry, target in inside) == [
            pair for pair in wanted if low <= pair[0] < high
        ]


@given(found=side_with_pairs(), batch=st.sampled_from([1, 5, 1024]))
@settings(max_examples=300, deadline=None)
def test_stretches_stay_together_in_file_and_block(found, batch):
    some, wanted = found
    for side in some:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loops, "STRETCHES_AT_ONCE", batch)
            patch.setattr(listed, "STRETCHES_AT_ONCE", batch)
            stretches = [
                each for found in side.stretches() for each in zip(*found.lists(), strict=True)
            ]
        got = [
            (first + number, target + number)
            for first, target, length in stretches
            for number in range(length)
        ]
        assert got == wanted
        assert side.stretch == len(wanted) / len(stretches)
        hull = (wanted[0][0], wanted[-1][0] + 1)
        assert side.hull == hull
        assert side.n_entries == len(wanted)
        assert side.is_straight == (
            wanted == [(hull[0] + n, wanted[0][1] + n) for n in range(len(wanted))]
        )
        assert side.is_straight is False or side.target == wanted[0][1]


def test_a_long_list_is_taken_in_passes_of_whole_lines(monkeypatch):
    monkeypatch.setattr(regions, "LISTED_ENTRIES", 10)
    assert list(regions.passes((5, 4))) == [(0, 8), (8, 16), (16, 20)]
    assert list(regions.passes((2, 13))) == [(0, 10), (10, 13), (13, 23), (23, 26)]
    assert list(regions.passes(())) == [(0, 1)]
