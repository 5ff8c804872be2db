"""Stores in other chunks come back the same, in little memory and by several workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import store_cases
from coming_back import assert_told, there_and_back
from index_tables import grid, shuffled, truncated
from rechunk_stores import made_store, raster, small_settings
from usid_files import MAIN, Side, line, write_file

from usid_tasks.back import reordering
from usid_tasks.back.placing import Cells
from usid_tasks.convert import convert_file
from usid_tasks.errors import RefusedError, VerificationError
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import load_settings
from usid_tasks.stores.usid import write_usid

EVEN_FIRST = [*range(0, 24, 2), *range(1, 24, 2)]
ORDERS: dict[str, Callable[[], np.ndarray]] = {
    "raster": lambda: grid({"Y": 24, "X": 20}),
    "snake": lambda: grid({"Y": 24, "X": 20}, snake=["X"]),
    "interlaced": lambda: grid({"Y": 24, "X": 20}, visits={"Y": EVEN_FIRST}),
    "backwards": lambda: grid({"Y": 24, "X": 20}, backwards=["X", "Y"]),
    "slow first": lambda: grid({"X": 20, "Y": 24}, columns=["X", "Y"]),
    "aborted": lambda: truncated(grid({"Y": 24, "X": 20}, snake=["X"]), 450),
    "random": lambda: shuffled(grid({"Y": 24, "X": 20})),
}  # fmt: skip
STORAGE = {
    "contiguous": {},
    "rows in chunks": {"chunks": (7, 50), "compression": "gzip", "filters": {"shuffle": True}},
    "columns in chunks": {"chunks": (480, 3), "compression": "lzf"},
    "tiles": {"chunks": (33, 13)},
}


INTENTS = ["spectra", "images", "Y=5,X=7,Bias=11"]
EVERY = list(itertools.product(ORDERS, STORAGE, INTENTS))
MIXED = [
    (order, list(STORAGE)[k % len(STORAGE)], INTENTS[k % len(INTENTS)])
    for k, order in enumerate([*ORDERS, *ORDERS][:12])
]
"""Every order, and every storage with every intent."""


@pytest.mark.parametrize(
    ("order", "storage", "intent"),
    [pytest.param(*case, marks=() if case in MIXED else pytest.mark.slow) for case in EVERY],
)
def test_rechunked_stores_come_back(tmp_path: Path, order: str, storage: str, intent: str) -> None:
    table = ORDERS[order]()
    how = dict(STORAGE[storage])
    if "chunks" in how:
        how["chunks"] = (min(how["chunks"][0], len(table)), how["chunks"][1])
    path = write_file(
        tmp_path / "scan.h5", Side(table, ["X", "Y"]), line("Bias", np.linspace(-1, 1, 50)),
        dtype="f4", **how,
    )  # fmt: skip
    store = convert_file(path, tmp_path / "scan.zarr", settings=small_settings()).store
    other = rechunk_store(
        store, tmp_path / "other.zarr", intent=intent, settings=small_settings()
    ).store
    made = write_usid(other, tmp_path / "back/scan.h5", settings=small_settings())
    assert made.differences == ()
    assert_told(path, made)


@pytest.mark.parametrize("name", ["several Mains", "extras", "an aborted raster"])
def test_a_rechunked_store_of_everything_comes_back(tmp_path: Path, name: str) -> None:
    path = store_cases.CASES[name](tmp_path / "scan.h5")
    store = convert_file(path, tmp_path / "scan.zarr", settings=small_settings()).store
    other = rechunk_store(store, tmp_path / "x.zarr", intent="spectra", settings=small_settings())
    assert_told(path, write_usid(other.store, tmp_path / "back.h5", settings=small_settings()))


def large(folder: Path, **how: object) -> Path:
    """Write a file of 8 MiB: 64 x 64 positions, 512 steps."""
    spectra = line("Bias", np.linspace(-1, 1, 512))
    data = np.random.default_rng(3).standard_normal((64 * 64, 512), dtype="f4")
    return write_file(folder / "scan.h5", raster(64, 64), spectra, data=data, **how)


@pytest.mark.parametrize(
    ("intent", "how"),
    [
        ("images", {}),
        ("images", {"chunks": (16, 512), "compression": "gzip", "filters": {"shuffle": True}}),
        ("spectra", {"chunks": (4096, 1)}),
    ],
    ids=["contiguous", "rows in chunks", "columns in chunks"],
)
def test_chunks_that_do_not_suit_are_rechunked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, intent: str, how: dict[str, object]
) -> None:
    """Of a memory much smaller than the array, no chunk is decoded again and again."""
    path = large(tmp_path, **how)
    settings = load_settings(
        env={}, overrides={"convert": {"chunk": "256 KiB", "shard_max": "1 MiB"}}
    )
    store = convert_file(path, tmp_path / "scan.zarr", settings=settings).store
    other = rechunk_store(store, tmp_path / "other.zarr", intent=intent, settings=settings).store
    used = []
    plain = reordering._rechunked

    def told(*arguments: object) -> object:
        used.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(reordering, "_rechunked", told)
    little = load_settings(env={}, overrides={"convert": {"memory": "20 MiB", "threads": 2}})
    assert_told(path, write_usid(other, tmp_path / "little.h5", settings=little))
    assert len(used) == 1
    assert not (tmp_path / ".usid/back").exists() or not any((tmp_path / ".usid/back").iterdir())
    assert_told(path, write_usid(other, tmp_path / "much.h5", settings=load_settings(env={})))
    assert len(used) == 1


def test_too_little_memory_is_refused_with_what_would_do(tmp_path: Path) -> None:
    path = large(tmp_path, chunks=(4096, 512), compression="gzip")
    store = convert_file(path, tmp_path / "scan.zarr", settings=load_settings(env={})).store
    little = load_settings(env={}, overrides={"convert": {"memory": "24 MiB", "threads": 1}})
    with pytest.raises(RefusedError, match="smallest box") as refused:
        write_usid(store, tmp_path / "back.h5", settings=little)
    assert not (tmp_path / "back.h5").exists()
    told = refused.value.remedy.removeprefix("Give --memory ").removesuffix(".")
    enough = load_settings(env={}, overrides={"convert": {"memory": told, "threads": 1}})
    assert_told(path, write_usid(store, tmp_path / "back.h5", settings=enough))


def test_a_damaged_store_is_told_and_makes_no_file(tmp_path: Path) -> None:
    store = made_store(tmp_path, settings=small_settings(codec="none"))
    shard = next(iter(sorted((store / f"{MAIN}/Raw_Data".strip("/")).glob("c/*/*/*"))))
    data = bytearray(shard.read_bytes())
    data[17] ^= 1
    shard.write_bytes(data)
    with pytest.raises(VerificationError, match="digest"):
        write_usid(store, tmp_path / "back.h5", settings=small_settings())
    shard.unlink()
    with pytest.raises(VerificationError, match="a shard is missing"):
        write_usid(store, tmp_path / "back.h5", settings=small_settings())
    assert not (tmp_path / "back.h5").exists()
    assert not list((tmp_path / ".usid/back").glob("*/*"))


@pytest.mark.parametrize("workers", [1, 5])
def test_the_number_of_workers_makes_no_difference(tmp_path: Path, workers: int) -> None:
    data = np.random.default_rng(3).standard_normal((32 * 32, 512), dtype="f4")
    path = write_file(
        tmp_path / "scan.h5", raster(32, 32), line("Bias", np.linspace(-1, 1, 512)),
        data=data, chunks=(100, 100), compression="gzip",
    )  # fmt: skip
    settings = load_settings(env={}, overrides={"convert": {"threads": workers}})
    there_and_back(path, tmp_path, settings=settings)


def test_places_of_rows_are_those_of_the_index_table() -> None:
    table = shuffled(grid({"Y": 7, "X": 5}))
    cells = Cells.of(table, may_pad=True)
    assert cells.shape == (7, 5)
    logical = np.arange(35).reshape(7, 5)
    wanted = np.full(20, -1)
    for piece in cells.pieces(slice(10, 30), (3, 2)):
        wanted[piece.wanted] = logical[piece.region].ravel()[piece.inside]
    assert wanted.tolist() == [5 * y + x for x, y in table[10:30].tolist()]
