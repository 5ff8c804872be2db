"""What reading costs is told before it is read: equal to the counted sums, on paper at any size."""

from __future__ import annotations

import os
import subprocess
import sys
from math import prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placements import (
    LAYOUTS,
    blocks,
    by_strides,
    empty_blocks,
    placements,
    rows_in,
    write_source,
)  # fmt: skip

from usid_tasks import chunked, reading_cost, regions
from usid_tasks.chunks import decodings
from usid_tasks.grid import in_order
from usid_tasks.reading_cost import ReadCount, bands_touched

quick = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def runs_of(entries, gap):
    """Return the runs of sorted entries, gaps of at most so many passed over."""
    found = []
    for entry in sorted(entries):
        if found and entry - found[-1][1] - 1 <= gap:
            found[-1][1] = entry
        else:
            found.append([entry, entry])
    return found


def counted(position, spectroscopic, itemsize, chunks, block, gap_bytes, page_bytes):
    """Return the sum over all blocks, each taken row by row."""
    n_position, width = len(position.shape), spectroscopic.n_rows
    pieces = size_bytes = 0
    for region in blocks(position.shape + spectroscopic.shape, block):
        rows = {row for row in rows_in(position, region[:n_position]) if row >= 0}
        columns = {column for column in rows_in(spectroscopic, region[n_position:]) if column >= 0}
        if not rows or not columns:
            continue
        if chunks:
            n_chunks = len({r // chunks[0] for r in rows}) * len({c // chunks[1] for c in columns})
            pieces, size_bytes = pieces + n_chunks, size_bytes + n_chunks * prod(chunks) * itemsize
            continue
        along = runs_of(columns, (gap_bytes - 1) // itemsize)
        left_out = width - (along[-1][1] - along[0][0] + 1)
        if len(along) == 1 and left_out * itemsize < gap_bytes:
            down = runs_of(rows, (page_bytes - 1) // (itemsize * width))
            pieces += len(down)
            size_bytes += sum(last - first + 1 for first, last in down) * width * itemsize
        else:
            pieces += len(rows) * len(along)
            size_bytes += len(rows) * sum(last - first + 1 for first, last in along) * itemsize
    return ReadCount(pieces, size_bytes)


def cost(position, spectroscopic, itemsize, chunks, block):
    return reading_cost.reading_cost(
        position,
        spectroscopic,
        shape2d=(position.n_rows, spectroscopic.n_rows),
        itemsize=itemsize,
        chunks=chunks,
        block=block,
    )


def draw_block(data, shape):
    return tuple(data.draw(st.integers(1, max(size, 1) + 1)) for size in shape)


@given(data=st.data())
@quick
def test_the_cost_is_the_counted_sum(data):
    position = data.draw(placements(200), "position")
    spectroscopic = data.draw(placements(100), "spectroscopic")
    itemsize = data.draw(st.sampled_from([1, 4, 12]))
    chunks = data.draw(st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)), "chunks")
    block = draw_block(data, position.shape + spectroscopic.shape)
    with pytest.MonkeyPatch.context() as patch:
        gap = data.draw(st.sampled_from([1, 9, 40, 200, 1024]), "gap")
        page = data.draw(st.sampled_from([1, 99, 1000, 4096]), "page")
        patch.setattr(reading_cost, "GAP_BYTES", gap)
        patch.setattr(reading_cost, "PAGE_BYTES", page)
        want = counted(position, spectroscopic, itemsize, chunks, block, gap, page)
        assert cost(position, spectroscopic, itemsize, chunks, block) == want


@given(data=st.data())
@quick
def test_the_cost_is_what_reading_all_blocks_counts(tmp_path_factory, data):
    position = data.draw(placements(60), "position")
    spectroscopic = data.draw(placements(40), "spectroscopic")
    shape = position.n_rows, spectroscopic.n_rows
    if 0 in shape:
        return
    how = dict(LAYOUTS[data.draw(st.sampled_from(["contiguous", "chunks", "gzip"]))])
    if "chunks" in how:
        how["chunks"] = tuple(data.draw(st.integers(1, n)) for n in shape)
    path = tmp_path_factory.getbasetemp() / "cost.h5"
    source, _ = write_source(path, position, spectroscopic, "<f4", **how)
    block = draw_block(data, source.shape)
    decoded, n_bytes = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_cost, "GAP_BYTES", data.draw(st.sampled_from([1, 16, 1024])))
        patch.setattr(reading_cost, "PAGE_BYTES", data.draw(st.sampled_from([1, 100, 4096])))
        patch.setattr(regions, "LISTED_ENTRIES", data.draw(st.sampled_from([1, 7, 2**18])))
        patch.setattr(chunked, "decode", recorded(chunked.decode, decoded))
        patch.setattr(os, "preadv", recorded(os.preadv, n_bytes))
        total = ReadCount(0, 0)
        for region in blocks(source.shape, block):
            out = empty_blocks(source, region)
            total += source.read_into(region, source.components, out)
        assert cost(position, spectroscopic, 4, how.get("chunks"), block) == total
    if "compression" in how:
        assert len(decoded) == total.pieces
    else:
        assert sum(n_bytes) <= total.size_bytes


def recorded(function, results):
    """Return the function, with what it returns written down."""

    def call(*args):
        results.append(function(*args))
        return results[-1]

    return call


def test_nothing_costs_nothing():
    nothing = by_strides((0, 3), (0, 1), ())
    assert cost(nothing, in_order((5,)), 4, None, (1, 1, 5)) == ReadCount(0, 0)
    assert cost(nothing, in_order((5,)), 4, (2, 2), (1, 1, 5)) == ReadCount(0, 0)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_decodings_is_how_often_a_chunk_is_decoded(data):
    side = data.draw(placements(150))
    block = draw_block(data, side.shape)
    chunk = data.draw(st.integers(1, 160))
    touched = [
        {row // chunk for row in rows_in(side, region) if row >= 0}
        for region in blocks(side.shape, block)
    ]
    assert bands_touched(side, block, chunk) == sum(map(len, touched))
    if chunk > 1 and side.n_rows:
        n_chunks = len(set().union(*touched))
        assert decodings(side, block, chunk) == sum(map(len, touched)) / n_chunks


ON_PAPER = """
import resource, sys, time
sys.path[:0] = sys.argv[1].split(":")
from placements import snake
from usid_tasks.grid import in_order
from usid_tasks.reading_cost import reading_cost

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

edge, kind = 2**12, sys.argv[2]
position = in_order((edge, edge)) if kind == "affine" else snake((edge, edge))
spectroscopic = in_order((edge, edge) if kind == "affine" else (edge,))
before, slowest = peak(), 0.0
for down in [(1, edge), (edge, 1), (16, 16), (100, 33), (edge - 1, edge - 1)]:
    for across in [(1, edge), (77, 5)] if kind == "affine" else [(edge,)]:
        for chunks in [None, (16, 16384), (5000, 3)]:
            start = time.process_time()
            found = reading_cost(
                position, spectroscopic, shape2d=(position.n_rows, spectroscopic.n_rows),
                itemsize=4, chunks=chunks, block=down + across,
            )
            slowest = max(slowest, time.process_time() - start)
            assert found.size_bytes >= position.n_rows * spectroscopic.n_rows * 4
sys.stdout.write(f"{slowest} {peak() - before}")
"""


@pytest.mark.parametrize(("kind", "seconds", "mib"), [("affine", 0.1, 8), ("snake", 1.5, 200)])
def test_a_main_of_a_pebibyte_is_told_at_once(kind, seconds, mib):
    folders = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", ON_PAPER, folders, kind],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    slowest, took = map(float, done.stdout.split())
    assert slowest < seconds
    assert took < mib * 2**20
