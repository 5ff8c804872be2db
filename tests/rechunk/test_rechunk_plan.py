"""Plans without data: whole, within memory, and with the counts that brute force finds."""

from __future__ import annotations

import itertools
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usid_tasks.errors import RefusedError
from usid_tasks.intents import parse_intent
from usid_tasks.passage import Passage, digest_stage
from usid_tasks.plans import Speeds, Subject, refuse_space
from usid_tasks.rechunk_plan import plan_rechunk
from usid_tasks.stages import MIB, WORKER_BYTES, Copying, Layout, Stage

DIMS = ("Y", "X", "Cycle", "Bias", "Time")


def subject(shape, chunk, *, itemsize=4, n_position=2, path="/main", copies=3, stored=None):
    return Subject(
        path,
        tuple(shape),
        {1: "uint8", 2: "int16", 4: "float32", 8: "float64", 16: "complex128"}[itemsize],
        itemsize,
        DIMS[: len(shape)],
        tuple(dim < n_position for dim in range(len(shape))),
        Layout(tuple(chunk), tuple(chunk)),
        math.prod(shape) * itemsize if stored is None else stored,
        Copying(copies),
    )


def plan(subjects, intent, *, memory=1024 * MIB, workers=2, chunk=MIB, shard=128 * MIB):
    return plan_rechunk(
        subjects if isinstance(subjects, list) else [subjects],
        parse_intent(intent),
        memory_bytes=memory,
        workers=workers,
        chunk_bytes=chunk,
        shard_bytes=shard,
    )


@st.composite
def passages(draw, largest=40, most_dims=4):
    n_dims = draw(st.integers(1, most_dims))
    shape = [draw(st.integers(1, largest)) for _ in range(n_dims)]
    source, chunk = ([draw(st.integers(1, n)) for n in shape] for _ in range(2))
    return Passage(
        tuple(shape),
        draw(st.sampled_from([1, 2, 4, 8, 16])),
        tuple(source),
        tuple(chunk),
        Copying(draw(st.sampled_from([0, 3]))),
    )


def check_stages(passage, stages, worker_bytes):
    """Assert what holds for every plan, by arithmetic on its edges."""
    read = passage.source
    writing = [stage for stage in stages if stage.target]
    assert writing[-1].target.chunk == passage.chunk
    assert sum(stage.is_hashing for stage in stages) == 1
    assert stages[-1].is_hashing
    for stage in stages:
        assert stage.source == read
        assert stage.memory_bytes <= worker_bytes
        if stage.target is None:
            continue
        chunk, shard = stage.target.chunk, stage.target.shard
        for n, block, c, s in zip(stage.shape, stage.block, chunk, shard, strict=True):
            assert s % c == 0
            assert block >= n or block % s == 0
        read = chunk


def simulated(stage):
    """Return chunks read, chunks written and the tasks of every shard, counted one by one."""
    n_read = n_written = 0
    shards: dict[tuple[int, ...], list[int]] = {}
    covered = np.zeros(stage.shape, np.int64)
    for number, region in enumerate(stage.regions()):
        covered[region] += 1
        for edges, is_read in ((stage.source, True), (stage.target and stage.target.chunk, False)):
            if edges:
                spans = [
                    len({cell // e for cell in range(part.start, part.stop)})
                    for part, e in zip(region, edges, strict=True)
                ]
                n_read += math.prod(spans) * is_read
                n_written += math.prod(spans) * (not is_read)
        if stage.target:
            held = [
                sorted({cell // e for cell in range(part.start, part.stop)})
                for part, e in zip(region, stage.target.shard, strict=True)
            ]
            for shard in itertools.product(*held):
                shards.setdefault(shard, []).append(number)
    assert (covered == 1).all()
    return n_read, n_written, shards


@settings(max_examples=150, deadline=None)
@given(passages(largest=14, most_dims=3), st.integers(0, 3000))
def test_every_shard_is_written_once_and_the_bytes_are_those_counted(passage, extra):
    worker_bytes = passage.least_bytes() + extra
    stages = passage.stages(worker_bytes=worker_bytes, shard_bytes=4096)
    check_stages(passage, stages, worker_bytes)
    for stage in stages:
        n_read, n_written, shards = simulated(stage)
        assert (stage.chunks_read, stage.chunks_written) == (n_read, n_written)
        assert stage.bytes_read == n_read * math.prod(stage.source) * stage.itemsize
        if stage.target:
            counts = [-(-n // s) for n, s in zip(stage.shape, stage.target.shard, strict=True)]
            assert len(shards) == math.prod(counts)
            assert all(len(tasks) == 1 for tasks in shards.values())
            assert n_written == math.prod(
                -(-n // c) for n, c in zip(stage.shape, stage.target.chunk, strict=True)
            )


@settings(max_examples=200, deadline=None)
@given(passages(largest=20000), st.integers(0, 300 * MIB), st.sampled_from([2**16, 128 * MIB]))
def test_plans_of_large_arrays_keep_to_their_memory(passage, extra, shard_bytes):
    worker_bytes = passage.least_bytes() + extra
    stages = passage.stages(worker_bytes=worker_bytes, shard_bytes=shard_bytes)
    check_stages(passage, stages, worker_bytes)


@settings(max_examples=50, deadline=None)
@given(passages(largest=300), st.integers(1, 4))
def test_all_ways_of_several_stages_are_sound(passage, n_dims):
    """Also those that are not the cheapest: pieces divide the shards that hold them."""
    worker_bytes = passage.least_bytes() + 64 * 2**10 * n_dims
    held = passage.chunk
    for n_stages in (2, 3, 4):
        for way in passage._staged(n_stages, held, held, worker_bytes, 2**20):
            assert len(way) == n_stages
            for stage in way:
                for block, c, s, n in zip(
                    stage.block, stage.target.chunk, stage.target.shard, stage.shape, strict=True
                ):
                    assert s % c == 0
                    assert block >= n or block % s == 0


def test_one_pass_where_a_block_holds_whole_chunks_of_both():
    planned = plan(subject((512, 512, 1, 4096), (8, 8, 1, 4096)), "balanced")
    (stage,) = planned.arrays[0].stages
    assert stage.repeats == 1
    assert stage.bytes_read == stage.bytes_written == 2**32


def test_two_stages_where_one_would_read_all_again_and_again():
    of = subject((128, 128, 512, 64), (4, 32, 512, 64))
    planned = plan(of, "Y=128,X=128,Cycle=16,Bias=8", memory=256 * MIB)
    first, second = planned.arrays[0].stages
    assert first.repeats == second.repeats == 1
    assert not first.encoder.is_compressed
    assert not second.is_decoding
    assert planned.bytes_read == planned.bytes_written == 2 * 2**31
    assert planned.arrays[0].intermediate_bytes == 2**31
    assert planned.memory_bytes <= 256 * MIB
    assert planned.n_tasks == first.n_tasks + second.n_tasks


def test_three_stages_where_pieces_of_two_would_be_tiny():
    of = subject((2**20, 2**20), (1, 2**20), n_position=1)
    planned = plan(of, "images", memory=64 * MIB, workers=1, chunk=2**17, shard=2**20)
    assert len(planned.arrays[0].stages) >= 3
    assert planned.arrays[0].intermediate_bytes == 2 * 2**42


@pytest.mark.parametrize("intent", ["spectra", "images", "balanced"])
@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((4096, 4096, 4, 4096), (8, 8, 4, 1024)),
        ((2**15, 2**15, 2**6, 2**12), (8, 8, 1, 4096)),
        ((100003, 10007, 3, 49999), (7, 11, 1, 3001)),
    ],
    ids=["1 TiB", "1 PiB", "primes"],
)
def test_the_largest_arrays_are_planned_at_once(shape, chunk, intent):
    began = time.perf_counter()
    planned = plan(subject(shape, chunk), intent)
    assert time.perf_counter() - began < 5
    assert planned.memory_bytes <= 1024 * MIB
    assert planned.bytes_read < 8 * planned.arrays[0].subject.size_bytes


def test_the_shape_of_tasks_decides_who_a_plan_is():
    of = subject((64, 64, 4, 512), (8, 8, 4, 512))
    one, two = plan(of, "images"), plan(of, "images", memory=2048 * MIB)
    assert one.identity == two.identity
    assert plan(of, "spectra", chunk=2**16).identity != one.identity


def test_small_arrays_and_those_without_a_role_are_copied_and_hashed():
    tables = subject((400, 2), (400, 2), path="/table", n_position=0)
    other = Subject("/log", (2**20,), "float32", 4, ("n",), None, Layout((2**18,), (2**18,)), 9)
    text = Subject("/text", (3,), "string", 0, ("n",), None, Layout((3,), (3,)), 30)
    empty = subject((0, 5), (1, 5), path="/empty")
    main = subject((64, 64, 4, 512), (8, 8, 4, 512))
    planned = plan([tables, other, text, empty, main], "images")
    assert [array.is_copied for array in planned.arrays] == [True] * 4 + [False]
    assert [len(array.stages) for array in planned.arrays[:4]] == [1, 1, 0, 0]
    assert all(stage.target is None for array in planned.arrays[:4] for stage in array.stages)


def test_too_little_memory_is_refused_with_the_number_that_would_do():
    of = subject((128, 128, 512, 64), (4, 32, 512, 64))
    with pytest.raises(RefusedError, match=r"--memory \d+MiB") as caught:
        plan(of, "images", memory=16 * MIB)
    numbers = [
        int(part) for part in caught.value.remedy.replace("MiB", " ").split() if part.isdigit()
    ]
    assert "2 workers" in caught.value.what
    assert plan(of, "images", memory=numbers[0] * MIB).memory_bytes <= numbers[0] * MIB
    with pytest.raises(RefusedError):
        plan(of, "images", memory=(numbers[0] - 2) * MIB)
    alone = int(float(caught.value.remedy.split("with ")[1].split(" ")[0]))
    assert plan(of, "images", memory=alone * MIB, workers=1).workers == 1


def test_too_little_space_is_refused_with_the_number_that_would_do():
    from dataclasses import replace

    of = subject((128, 128, 512, 64), (4, 32, 512, 64), stored=2**30)
    planned = plan(of, "Y=128,X=128,Cycle=16,Bias=8", memory=256 * MIB)
    needed = 2**30 + 2**30 // 10 + 2**31
    assert planned.space_bytes == needed
    refuse_space(replace(planned, free_bytes=needed), "/dest")
    refuse_space(replace(planned, free_bytes=needed - 2**30), "/dest", there_bytes=2**30)
    with pytest.raises(RefusedError, match=r"expected 3\.1 GiB") as caught:
        refuse_space(replace(planned, free_bytes=needed - 1), "/dest")
    assert "intermediate" in caught.value.remedy


def test_dimensions_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(RefusedError, match="Bias, Cycle, X, Y"):
        plan(subject((64, 64, 4, 512), (8, 8, 4, 512)), "Z=4")


def test_a_plan_prints_aligned_with_units_and_is_json():
    from dataclasses import replace

    of = subject((128, 128, 512, 64), (4, 32, 512, 64))
    planned = plan(of, "Y=128,X=128,Cycle=16,Bias=8", memory=256 * MIB)
    planned = replace(planned, speeds=Speeds(5e8, 2e8, 2e9, 1e9), free_bytes=2**40)
    lines = list(planned.lines())
    assert lines[0] == "/main"
    assert "  stage 2   " in "\n".join(lines)
    assert any(line.startswith("memory    ") and "of 256.0 MiB allowed" in line for line in lines)
    assert any(
        line == "  image     128 chunks of 16.0 MiB before, 1 chunk of 8.0 MiB after"
        for line in lines
    )
    told = json.loads(json.dumps(planned.to_json()))
    assert told["tasks"] == planned.n_tasks
    assert told["arrays"][0]["after"]["image"] == {"chunks": 1, "bytes": 8 * MIB}
    assert told["seconds"] > 1
    assert told["memory_bytes"] == planned.memory_bytes


def test_memory_counts_every_copy():
    stage = Stage((4096, 4096), 4, (16, 4096), (512, 4096), Layout((512, 1024), (512, 4096)),
                  encoder=Copying(3), is_hashing=True)  # fmt: skip
    target, block = 512 * 1024 * 4, 512 * 4096 * 4
    encoded = target + target // 128 + 4096
    # a quarter MiB of what the codec works in is that of every worker
    assert stage.memory_bytes == WORKER_BYTES + block + target + 3 * encoded - 2**18


def test_hashing_alone_reads_blocks_of_whole_tiles():
    stage = digest_stage((300, 300, 300), 4, (7, 7, 300), is_decoding=True, worker_bytes=2**26)
    assert stage.is_hashing
    assert stage.bytes_written == 0
    assert stage.memory_bytes <= 2**26
