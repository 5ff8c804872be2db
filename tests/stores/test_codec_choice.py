"""`auto` measures and chooses: made data on which different codecs win."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usid_tasks.codec_choice import (
    CANDIDATES,
    FAST_CANDIDATES,
    READ_SPEED,
    WRITE_SPEED,
    Choice,
    Measured,
    best_of,
    choose_codec,
)
from usid_tasks.codec_names import OBJECTIVES
from usid_tasks.codecs import parse_codec

MIB = 2**20
N_CELLS = 2**18


def noise():
    """Return noise in every bit: nothing can be stored in less."""
    return np.random.default_rng(1).integers(0, 2**32, N_CELLS, dtype="u4").view("f4")


def ramp():
    """Return a slow ramp: neighbours share the upper bytes."""
    return np.linspace(0, 1, N_CELLS, dtype="f4")


def rough_image():
    """Return integers of a smooth image with noise: the upper bytes are smooth, the lower not."""
    y, x = np.mgrid[0:512, 0:512]
    noise = np.random.default_rng(2).normal(0, 30, (512, 512))
    return np.round(1e4 * (np.sin(y / 170) + np.cos(x / 100)) + noise).astype("i4")


def counts():
    """Return counts of few of their 16 bits."""
    return np.random.default_rng(3).poisson(3, 2 * N_CELLS).astype("u2")


def sparse_counts():
    """Return electrons counted: zero nearly everywhere."""
    return np.random.default_rng(4).poisson(0.02, 2 * N_CELLS).astype("u2")


def few_values():
    """Return numbers of which there are 200, in no order: whole numbers repeat, bytes do not."""
    rng = np.random.default_rng(5)
    return rng.choice(rng.standard_normal(200), N_CELLS // 2)


def text():
    """Return a line of text again and again."""
    line = b"spectrum 001; bias 1.50 V; setpoint 2.0 nA; "
    return np.resize(np.frombuffer(line, "u1"), 4 * N_CELLS)


def constant():
    """Return one number everywhere."""
    return np.full(N_CELLS, 1.5, "f4")


SLOW = 100e6
LZ4, LZ4_BITS = "blosc-lz4", "blosc-lz4-bitshuffle"
ZSTD_BYTES, ZSTD_BITS = "blosc-zstd", "blosc-zstd-bitshuffle"


@pytest.mark.parametrize(
    ("dataset", "winner"),
    [
        (noise, "none"),
        (ramp, ZSTD_BITS),
        (rough_image, ZSTD_BYTES),
        (sparse_counts, ZSTD_BITS),
        (few_values, "zstd"),
        (text, "zstd"),
        (constant, "zstd"),
    ],
)
def test_the_smallest_wins(dataset, winner):
    choice = choose_codec([dataset()], objective="small")
    assert choice.codec.name == winner
    ratios = {row.codec: row.ratio for row in choice.measured}
    assert choice.ratio == ratios[choice.codec] >= max(ratios.values()) / 1.02
    others = [ratio for codec, ratio in ratios.items() if codec.name != winner]
    assert winner == "none" or choice.ratio > 1.05 * max(others), "else it is no clear winner"


@pytest.mark.parametrize(
    ("dataset", "write_speed", "winner"),
    [
        (noise, WRITE_SPEED, "none"),
        (noise, SLOW, "none"),
        (ramp, SLOW, LZ4),
        (counts, SLOW, LZ4_BITS),
    ],
)
def test_the_fastest_wins(dataset, write_speed, winner):
    candidates = [
        parse_codec(name, 5) for name in ("none", LZ4, LZ4_BITS, "zstd", ZSTD_BYTES, ZSTD_BITS)
    ]
    choice = choose_codec([dataset()], write_speed=write_speed, candidates=candidates)
    assert choice.codec.name == winner
    assert choice.objective == "fast"


@pytest.mark.parametrize(
    ("dataset", "winners"),
    [
        (noise, {"none"}),
        (counts, {LZ4_BITS}),
        (sparse_counts, {ZSTD_BITS}),
        (few_values, {"zstd"}),
    ],
)
def test_the_balanced_one_lies_between(dataset, winners):
    samples = [dataset()]
    choice = choose_codec(samples, objective="balanced")
    assert choice.codec.name in winners
    by_time = sorted(choice.measured, key=lambda row: row.seconds(WRITE_SPEED))
    by_size = sorted(choice.measured, key=lambda row: row.stored_bytes)
    chosen = next(row for row in choice.measured if row.codec == choice.codec)
    assert chosen.stored_bytes <= by_time[0].stored_bytes
    assert chosen.seconds(WRITE_SPEED) <= by_size[0].seconds(WRITE_SPEED) * 1.5


def test_bits_are_shuffled_where_few_are_used_and_bytes_where_they_run_smoothly():
    pair = [parse_codec(LZ4), parse_codec(LZ4_BITS)]
    ratios = {
        dataset.__name__: [row.ratio for row in choose_codec([dataset()], candidates=pair).measured]
        for dataset in (counts, ramp)
    }
    assert ratios["counts"][1] > 1.5 * ratios["counts"][0]
    assert ratios["ramp"][0] > 1.5 * ratios["ramp"][1]


def row(codec, size, seconds):
    return Measured(codec, 1000, size, seconds * 0.75, seconds * 0.25)


ROWS = st.lists(
    st.tuples(st.integers(1, 1200), st.floats(1e-6, 1e-2)), min_size=1, max_size=len(CANDIDATES)
).map(
    lambda drawn: [
        row(codec, size, seconds) for codec, (size, seconds) in zip(CANDIDATES, drawn, strict=False)
    ]
)


@given(rows=ROWS, objective=st.sampled_from(OBJECTIVES), write_speed=st.floats(1e5, 1e10))
def test_what_is_chosen_is_best_within_the_limits_of_a_tie(rows, objective, write_speed):
    chosen = best_of(rows, objective, write_speed)
    times = [row.seconds(write_speed) for row in rows]
    time, size = chosen.seconds(write_speed), chosen.stored_bytes
    if objective == "fast":
        assert time <= 1.05 * min(times)
    elif objective == "small":
        assert size <= 1.02 * min(row.stored_bytes for row in rows)
    else:
        products = [row.stored_bytes * row.seconds(write_speed) ** (1 / 3) for row in rows]
        assert size * time ** (1 / 3) <= 1.0201 * min(products)
    assert not any(
        row.stored_bytes * 1.03 < size and row.seconds(write_speed) * 1.06 < time for row in rows
    ), "another one is smaller and faster"


@given(
    rows=ROWS,
    objective=st.sampled_from(OBJECTIVES),
    jitter=st.lists(st.floats(0.995, 1.005), min_size=9, max_size=9),
)
def test_a_measurement_that_is_a_little_off_changes_nothing_where_all_are_alike(
    rows, objective, jitter
):
    alike = [replace(rows[0], codec=row.codec) for row in rows]
    again = [
        replace(row, encode_s=row.encode_s * off, decode_s=row.decode_s * off)
        for row, off in zip(alike, jitter, strict=False)
    ]
    assert best_of(again, objective, WRITE_SPEED).codec == rows[0].codec


def test_time_is_that_of_all_four_steps():
    one = Measured(parse_codec("zstd"), 4000, 1000, 3.0, 0.5)
    assert one.seconds(100.0) == pytest.approx(3 + 0.5 + 10 + 1000 / READ_SPEED)
    assert one.ratio == 4


def test_as_much_is_taken_as_time_allows_and_the_same_of_each():
    hard = [parse_codec("blosc-zstd", 9), parse_codec("blosc-lz4")]
    taken = itertools.count()
    rng = np.random.default_rng(6)
    samples = (rng.standard_normal(N_CELLS, "f4") for _ in taken)  # there is no end of them
    choice = choose_codec(samples, objective="small", candidates=hard)
    assert next(taken) == 8
    sampled = {row.sampled_bytes for row in choice.measured}
    assert len(sampled) == 1
    assert MIB <= sampled.pop() < 8 * MIB


def test_large_samples_are_cut_and_gaps_closed():
    whole = np.arange(4 * N_CELLS, dtype="f4").reshape(2048, -1)
    choice = choose_codec(
        [whole.T, np.zeros((0, 3), "f4"), whole[:4, ::2]], candidates=CANDIDATES[:2]
    )
    assert {row.sampled_bytes for row in choice.measured} == {MIB + whole[:4, ::2].nbytes}


@pytest.mark.parametrize("samples", [[], [np.zeros((0, 5), "f4")]])
def test_an_array_without_values_gets_the_first_candidate(samples):
    choice = choose_codec(samples)
    assert choice.codec == CANDIDATES[0]
    assert choice.ratio == 1
    assert Choice.from_json(choice.to_json()) == choice


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_choice_goes_through_json(objective):
    choice = choose_codec([counts()[:1000]], objective=objective, write_speed=2.5e8)
    told = json.loads(json.dumps(choice.to_json(), allow_nan=False))
    assert told == choice.to_json()
    again = Choice.from_json(told)
    assert (again.codec, again.objective) == (choice.codec, choice.objective)
    assert again.ratio == choice.ratio
    assert again.to_json() == told
    tried = FAST_CANDIDATES if objective == "fast" else CANDIDATES
    assert [row["name"] for row in told["candidates"]] == [codec.name for codec in tried]
    none = told["candidates"][0]
    assert (none["ratio"], none["encode_mb_per_s"], none["decode_mb_per_s"]) == (1.0, None, None)
