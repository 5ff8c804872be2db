"""Intents: what a person writes, the chunks that come of it, and what readings then touch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usid_tasks.errors import RefusedError
from usid_tasks.intents import INTENTS, Intent, Touch, chunk_for, parse_intent, reads

DIMS = ("Y", "X", "Cycle", "Bias")
POSITION = (True, True, False, False)


def chunk(intent, shape, *, chunk_bytes=2**20, itemsize=4):
    return chunk_for(
        parse_intent(intent), shape, DIMS, POSITION, itemsize=itemsize, chunk_bytes=chunk_bytes
    )


def test_extents_are_read_as_they_stand():
    assert parse_intent("Y=16,X=16, Bias=-1") == Intent("", (("Y", 16), ("X", 16), ("Bias", -1)))
    assert parse_intent("a, b=3") == Intent("", (("a, b", 3),))
    assert parse_intent("a=b=3,c=4") == Intent("", (("a=b", 3), ("c", 4)))
    assert str(parse_intent("Y=16,Bias=-1")) == "Y=16,Bias=-1"
    assert [str(parse_intent(name)) for name in INTENTS] == list(INTENTS)


@pytest.mark.parametrize("text", ["", "spectrum", "Y", "Y=", "Y=1.5", "Y=0", "Y=-2", "Y=1,Y=2"])
def test_what_is_no_intent_is_refused(text):
    with pytest.raises(RefusedError, match="intent"):
        parse_intent(text)


def test_spectra_are_whole_and_few_positions_share_a_chunk():
    assert chunk("spectra", (256, 256, 4, 1024)) == (8, 8, 4, 1024)
    long = chunk("spectra", (256, 256, 16, 2**16))
    assert long[:2] == (1, 1)
    assert math.prod(long) * 4 == 2**20


def test_images_are_whole_and_few_spectral_points_share_a_chunk():
    assert chunk("images", (256, 256, 4, 1024)) == (256, 256, 2, 2)
    assert chunk("images", (4096, 4096, 4, 8))[2:] == (1, 1)


def test_extents_given_are_kept_and_others_filled_up():
    assert chunk("Y=16,X=10,Cycle=1,Bias=-1", (256, 256, 4, 1000)) == (16, 10, 1, 1000)
    assert chunk("Y=500,X=16", (256, 256, 4, 1024))[:2] == (256, 16)
    filled = chunk("Y=1,X=1", (256, 256, 4, 1024))
    assert filled == (1, 1, 4, 1024)


@given(
    st.lists(st.integers(1, 3000), min_size=4, max_size=4),
    st.sampled_from(INTENTS),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([2**10, 2**16, 2**20]),
)
def test_chunks_keep_to_their_size_and_to_powers_of_two(shape, intent, itemsize, chunk_bytes):
    edges = chunk(intent, shape, itemsize=itemsize, chunk_bytes=chunk_bytes)
    assert math.prod(edges) * itemsize <= max(chunk_bytes, itemsize)
    for edge, size in zip(edges, shape, strict=True):
        assert edge == size or (edge < size and edge & (edge - 1) == 0)
    if math.prod(edges) < math.prod(shape):  # nothing more fits
        smallest = min(
            math.prod(edges) // edge * min(2 * edge, size)
            for edge, size in zip(edges, shape, strict=True)
            if edge < size
        )
        assert smallest * itemsize > chunk_bytes
    spectrum, image = reads(shape, edges, POSITION, itemsize=itemsize)
    cells = math.prod(shape) * itemsize
    if intent == "balanced" and cells > 2**10 * chunk_bytes and min(shape) > 64:
        assert 1 / 4.5 <= spectrum.chunks / image.chunks <= 4.5


def test_what_is_touched_is_what_brute_force_counts():
    shape, edges = (9, 7, 5, 11), (4, 3, 2, 4)
    numbers = np.indices(shape).reshape(4, *shape)
    of = [numbers[d] // edges[d] for d in range(4)]
    flat = np.ravel_multi_index(of, (3, 3, 3, 3))
    spectrum, image = reads(shape, edges, POSITION, itemsize=2)
    for found, cells in ((spectrum, flat[3, 4]), (image, flat[:, :, 2, 7])):
        n = len(np.unique(cells))
        assert found == Touch(n, n * math.prod(edges) * 2)


def test_balanced_reads_less_than_the_wrong_intent():
    shape = (256, 256, 1, 16384)
    touched = {}
    for intent in INTENTS:
        edges = chunk(intent, shape)
        touched[intent] = reads(shape, edges, POSITION, itemsize=4)
    spectrum, image = touched["balanced"]
    assert touched["images"][0].chunks >= 8 * spectrum.chunks
    assert touched["spectra"][1].chunks >= 8 * image.chunks
