"""Digests of files and arrays: one value, whatever the order, the blocks and the memory."""

from __future__ import annotations

import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from usid_tasks.digests import (
    TILE_CELLS,
    ArrayDigest,
    array_digest,
    tile_digests,
    tile_shape,
)
from usid_tasks.errors import FileBusyError, VerificationError
from usid_tasks.file_digests import PIECE_BYTES, SourceDigest, file_digest, looks_of

DTYPES = ["f4", "f8", "f2", "i1", "u2", "i8", "c8", "c16", "?", "S3", "U2"]


def plain_array_digest(array: np.ndarray) -> str:
    """The rule of the module's docstring, one tile after the other, written a second time."""
    tile = tile_shape(array.shape)
    counts = [math.ceil(n / edge) for n, edge in zip(array.shape, tile, strict=True)]
    name = array.dtype.newbyteorder("<").str
    shape = "[" + ", ".join(map(str, array.shape)) + "]"
    root = blake3(f'blake3-tiles {{"dtype": "{name}", "shape": {shape}}}\n'.encode())
    for at in np.ndindex(*counts):
        at_cells: list[Any] = [slice(i * e, (i + 1) * e) for i, e in zip(at, tile, strict=True)]
        cells = array[(*at_cells, ...)]
        root.update(blake3(cells.astype(array.dtype.newbyteorder("<")).tobytes()).digest())
    return "blake3-tiles:" + root.hexdigest()


def filled(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Random bits of any dtype, NaNs with payloads among them; booleans and text are valid."""
    rng = np.random.default_rng(seed)
    n = math.prod(shape)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if kind.kind in "SU":
        return np.asarray(rng.integers(0, 100, shape)).astype(kind)
    return np.frombuffer(rng.bytes(n * kind.itemsize), kind).reshape(shape).copy()


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    n_dims = draw(st.integers(0, 4))
    # long enough that tiles have edges inside, small enough to be quick
    longest = {0: 1, 1: 70_000, 2: 300, 3: 60, 4: 24}[n_dims]
    return tuple(draw(st.integers(0, longest)) for _ in range(n_dims))


@st.composite
def cuts(draw: st.DrawFn, n: int, edge: int) -> list[tuple[int, int]]:
    """Any partition of `n` cells on tile edges."""
    inner = range(edge, n, edge)
    chosen = sorted(draw(st.sets(st.sampled_from(inner), max_size=5))) if inner else []
    bounds = [0, *chosen, n]
    return list(pairwise(bounds))


def laid_out(block: np.ndarray, order: list[int], step: int) -> np.ndarray:
    """An equal array in another memory layout: axes in any order, strided or reversed."""
    if not block.ndim:
        return block.copy()
    if step < 0:
        flipped = tuple(slice(None, None, -1) for _ in range(block.ndim))
        return np.ascontiguousarray(block[flipped])[flipped]
    back = np.argsort(order)
    out = np.ascontiguousarray(block.transpose(order)).transpose(back)
    if step > 1:
        spaced = np.zeros((*block.shape[:-1], block.shape[-1] * step), block.dtype)
        spaced[..., ::step] = block
        return spaced[..., ::step]
    return out


@settings(max_examples=80, deadline=None)
@given(data=st.data(), shape=shapes(), dtype=st.sampled_from(DTYPES))
def test_any_partition_order_and_layout_gives_one_digest(
    data: st.DataObject, shape: tuple[int, ...], dtype: str
) -> None:
    array = filled(shape, dtype)
    expected = plain_array_digest(array)
    assert array_digest(array) == expected
    digest = ArrayDigest(shape, dtype)
    edges = [data.draw(cuts(n, edge)) for n, edge in zip(shape, digest.tile, strict=True)]
    blocks = [
        tuple(edges[axis][i] for axis, i in enumerate(at))
        for at in np.ndindex(*(len(one) for one in edges))
    ]
    for block in data.draw(st.permutations(blocks)):
        index: list[Any] = [slice(*bounds) for bounds in block]
        cells = array[(*index, ...)]
        order = data.draw(st.permutations(range(len(shape))))
        step = data.draw(st.sampled_from([-1, 1, 3]))
        digest.add(laid_out(cells, list(order), step), [start for start, _ in block])
    assert digest.result() == expected


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=shapes().filter(lambda s: math.prod(s) > 0))
def test_one_changed_bit_changes_the_digest(data: st.DataObject, shape: tuple[int, ...]) -> None:
    array = filled(shape, "u2")
    before = array_digest(array)
    cell = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    array[cell] ^= 1 << data.draw(st.integers(0, 15))
    assert array_digest(array) != before


@given(shape=st.lists(st.integers(0, 10**7), max_size=6).map(tuple))
def test_tiles_are_powers_of_two_within_their_bounds(shape: tuple[int, ...]) -> None:
    tile = tile_shape(shape)
    assert math.prod(tile) <= TILE_CELLS
    for n, edge in zip(shape, tile, strict=True):
        assert edge & (edge - 1) == 0
        assert edge == 1 or edge < 2 * n
    covers = all(edge >= n for n, edge in zip(shape, tile, strict=True))
    assert covers or math.prod(tile) == TILE_CELLS


def test_tiles_grow_in_rounds_from_the_fastest_dimension() -> None:
    assert tile_shape(()) == ()
    assert tile_shape((10**6,)) == (16384,)
    assert tile_shape((4096, 4096)) == (128, 128)
    assert tile_shape((4096, 4096, 4096)) == (16, 32, 32)
    assert tile_shape((5, 10**6)) == (8, 2048)
    assert tile_shape((10**6, 1, 3)) == (4096, 1, 4)


def test_shape_and_dtype_are_part_of_the_digest() -> None:
    zeros = np.zeros(12, "u1")
    digests = {
        array_digest(array)
        for array in (
            zeros,
            zeros.reshape(3, 4),
            zeros.reshape(4, 3),
            zeros.view("i1"),
            zeros.view("u4"),
            zeros[:0],
            zeros[:1].reshape(()),
            np.zeros((0, 3), "u1"),
            np.zeros((3, 0), "u1"),
        )
    }
    assert len(digests) == 9


def test_digests_are_those_of_version_1() -> None:
    # these may never change: receipts of published stores hold them
    array = np.arange(40_000, dtype="<f4").reshape(200, 200)
    assert array_digest(array) == plain_array_digest(array)
    assert array_digest(array) == (
        "blake3-tiles:e213708e9e511048e610f05f01679af0ab6c7a7e5dd6774a127bb63ff312e977"
    )


def test_byte_order_does_not_matter() -> None:
    array = filled((300, 200), "f8")
    swapped = array.astype(">f8")
    assert swapped.dtype.byteorder == ">"
    assert array_digest(swapped) == array_digest(array)


def test_text_of_variable_length() -> None:
    texts = ["µm", "", "a\0b", "\udc80", "x" * 40_000]
    array = np.array(texts, object)
    strings = np.array(texts[:3], np.dtypes.StringDType())
    assert array_digest(array[:3]) == array_digest(strings)
    assert array_digest(array) != array_digest(array[::-1])
    assert array_digest(np.array("µm", object)) != array_digest(array[:1])
    # where one text ends and the next begins is told
    one, two = np.array(["ab", "c"], object), np.array(["a", "bc"], object)
    assert array_digest(one) != array_digest(two)


@pytest.mark.parametrize("array", [np.zeros(3, [("a", "f4")]), np.array([b"x"], object)])
def test_what_has_no_digest_is_an_error(array: np.ndarray) -> None:
    with pytest.raises(TypeError):
        array_digest(array)


def test_missing_and_repeated_tiles_are_noticed() -> None:
    array = filled((300, 300), "f4")
    digest = ArrayDigest(array.shape, array.dtype)
    digest.add(array[:128], (0, 0))
    with pytest.raises(VerificationError, match=r"6 of 9 tiles .* 0 came twice"):
        digest.result()
    digest.add(array[128:], (128, 0))
    digest.result()
    digest.add(array[256:, 256:], (256, 256))
    with pytest.raises(VerificationError, match="1 came twice"):
        digest.result()


@pytest.mark.parametrize(
    ("rows", "offset"),
    [(slice(0, 100), (0, 0)), (slice(0, 128), (1, 0)), (slice(0, 128), (256, 0))],
)
def test_blocks_off_the_tiles_are_refused(rows: slice, offset: tuple[int, int]) -> None:
    digest = ArrayDigest((300, 300), "f4")
    with pytest.raises(ValueError, match="does not lie on tiles"):
        digest.add(np.zeros((300, 300), "f4")[rows], offset)


def test_a_block_of_another_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match="a block of float64"):
        ArrayDigest((3,), "f4").add(np.zeros(3), (0,))


def test_blocks_from_several_threads_and_as_digests() -> None:
    array = filled((1024, 1024), "f4")
    digest = ArrayDigest(array.shape, array.dtype)

    def add(start: int) -> None:
        block = array[start : start + 128]
        if start % 256:
            digest.add(block, (start, 0))
        else:
            digest.add_digests(tile_digests(block, digest.tile), (start, 0))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(0, 1024, 128)))
    assert digest.result() == array_digest(array)


def plain_file_digest(data: bytes) -> str:
    root = blake3(f"blake3-tree-4MiB {len(data)}\n".encode())
    for start in range(0, len(data), 4 * 2**20):
        root.update(blake3(data[start : start + 4 * 2**20]).digest())
    return "blake3-tree-4MiB:" + root.hexdigest()


@pytest.mark.parametrize(
    "size", [0, 1, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17]
)
def test_file_digest_is_the_tree_of_its_pieces(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    expected = plain_file_digest(data)
    for threads in (None, 1, 3):
        done: list[int] = []
        assert file_digest(path, threads=threads, progress=done.append) == expected
        assert sum(done) == size


def test_file_digest_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"usid")
    assert file_digest(tmp_path / "file") == (
        "blake3-tree-4MiB:aedd8665fe9b81f6b6338569b2ac1dbb51d453efe0a2c554df53ad133fe1c191"
    )


def test_progress_is_called_from_the_calling_thread(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * PIECE_BYTES))
    threads: set[int] = set()
    file_digest(path, threads=3, progress=lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("change", ["grow", "truncate"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(20 * PIECE_BYTES))

    def spoil(_: int) -> None:
        if change == "grow":
            with path.open("ab") as stream:
                stream.write(b"more")
        else:
            with path.open("r+b") as stream:
                stream.truncate(5)

    with pytest.raises(FileBusyError, match="while it was read"):
        file_digest(path, threads=2, progress=spoil)


def test_a_source_digest_is_taken_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(5).randbytes(PIECE_BYTES + 1))
    with SourceDigest(path) as digest:
        assert digest.looks == looks_of(path)
        assert digest.result() == file_digest(path)
    with SourceDigest(path, "known") as digest:
        assert digest.result() == "known"


def test_a_source_digest_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(2000 * PIECE_BYTES)
    with pytest.raises(KeyboardInterrupt), SourceDigest(path):
        raise KeyboardInterrupt
    assert not [t for t in threading.enumerate() if t.name.startswith("usid-digest")]


def test_a_source_digest_tells_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SourceDigest(tmp_path / "nothing")
