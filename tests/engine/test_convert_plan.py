"""The plan of a conversion is what is done: tasks, bytes and chunks, in every order and layout."""

from __future__ import annotations

import json
import time
import tracemalloc

import h5py
import numpy as np
import pytest
import zarr
from convert_files import LAYOUTS, ORDERS, assert_holds, made_file, position, small, snake
from hypothesis import given, settings
from hypothesis import strategies as st
from rechunk_stores import MAIN, inner_chunk
from typer.testing import CliRunner
from usid_files import Side, write_file

from usid_tasks.cli import app
from usid_tasks.convert import convert_file, plan_file
from usid_tasks.convert_plan import plan_convert
from usid_tasks.errors import RefusedError
from usid_tasks.grid import Placement, in_order
from usid_tasks.intents import parse_intent
from usid_tasks.origins import MainOrigin
from usid_tasks.plans import Subject
from usid_tasks.stages import MIB, WORKER_BYTES, Layout

GIB = 2**30


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_planned_is_what_is_done(tmp_path, order, layout):
    path = made_file(tmp_path / "scan.h5", order, layout)
    planned = plan_file(path, tmp_path / "made.zarr", settings=small())
    made = convert_file(path, tmp_path / "made.zarr", settings=small())
    assert made.plan.identity == planned.identity
    assert made.counted.n_tasks == planned.n_tasks
    assert made.counted.bytes_read == planned.bytes_read
    assert made.counted.bytes_written == planned.bytes_written
    assert_holds(made.store, path)


@pytest.mark.parametrize("memory", [2 * (WORKER_BYTES + 7 * MIB), "1 GiB"])
@pytest.mark.parametrize(
    ("intent", "chunk"),
    [
        ("spectra", (4, 4, 61)),
        ("images", (23, 19, 2)),
        ("Y=5,X=7,Bias=-1", (5, 7, 61)),
        ("Bias=3", (16, 19, 3)),
    ],
)
@pytest.mark.parametrize("order", ["C order", "snake"])
def test_intents_shape_the_chunks(tmp_path, order, intent, chunk, memory):
    path = made_file(tmp_path / "scan.h5", order, "tiles")
    settings = small(intent=intent, memory=memory)
    made = convert_file(path, tmp_path / "made.zarr", settings=settings)
    assert inner_chunk(made.store, MAIN) == chunk
    assert_holds(made.store, path)


def test_little_memory_takes_several_stages(tmp_path):
    n = 2**16
    path = tmp_path / "scan.h5"
    spectra = Side(np.arange(n)[:, None], ["Bias"], ["V"])
    write_file(path, position(snake(16, 16)), spectra, dtype="f4", chunks=(1, n))
    memory = {"memory": WORKER_BYTES + 8 * MIB, "threads": 1}
    settings = small(intent="images", chunk="64 KiB", shard_max="1 MiB", **memory)
    made = convert_file(path, tmp_path / "made.zarr", settings=settings)
    (main,) = (a for a in made.plan.arrays if a.subject.is_position is not None)
    assert len(main.stages) == 2
    assert made.counted.bytes_read == made.plan.bytes_read
    assert made.counted.bytes_written == made.plan.bytes_written
    assert not list(tmp_path.glob(".usid/staging/*"))
    # the brute-force oracle would take minutes for so many cells
    with h5py.File(path) as file:
        rows = file["/Measurement_000/Channel_000/Raw_Data"][...]
    table = snake(16, 16)
    expected = np.empty((16, 16, n), "f4")
    expected[table[:, 1], table[:, 0]] = rows
    np.testing.assert_array_equal(zarr.open_array(made.store / MAIN.strip("/"))[...], expected)


def test_a_compound_is_read_once_for_all_its_fields(tmp_path):
    dtype = np.dtype([("a", "<f4"), ("b", ">i2"), ("c", "<f8", (3,))])
    data = np.zeros((23 * 19, 61), dtype)
    chosen = np.random.default_rng(0)
    data["a"], data["b"] = chosen.random(data.shape), chosen.integers(0, 99, data.shape)
    data["c"] = chosen.random((*data.shape, 3))
    path = made_file(tmp_path / "scan.h5", "snake", "tiles", data=data, dtype=dtype)
    made = convert_file(path, tmp_path / "made.zarr", settings=small())
    (main,) = (a for a in made.plan.arrays if a.subject.is_position is not None)
    assert main.subject.n_parts == 3
    assert made.counted.bytes_read == made.plan.bytes_read
    assert made.counted.bytes_written == made.plan.bytes_written
    assert_holds(made.store, path)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_workers_changes_no_bit(tmp_path, threads):
    path = made_file(tmp_path / "scan.h5", "random", "tiles")
    stores = []
    for n in (1, threads):
        settings = small(threads=n, memory=n * 64 * MIB)
        stores.append(convert_file(path, tmp_path / f"{n}.zarr", settings=settings, overwrite=True))
    files = [
        {file.relative_to(made.store): file.read_bytes() for file in made.store.rglob("*")
         if file.is_file()}
        for made in stores
    ]  # fmt: skip
    assert files[0] == files[-1]


def test_too_little_memory_is_refused_with_what_would_do(tmp_path):
    path = made_file(tmp_path / "scan.h5", "C order", "contiguous")
    with pytest.raises(RefusedError, match="--memory") as refused:
        plan_file(path, tmp_path / "made.zarr", settings=small(memory="1 MiB"))
    enough = refused.value.remedy.split()[2].rstrip(",.")
    made = convert_file(path, tmp_path / "made.zarr", settings=small(memory=enough))
    assert made.plan.memory_bytes <= made.plan.allowed_bytes


def test_too_little_space_is_refused_with_what_would_do(tmp_path, monkeypatch):
    from usid_tasks import convert, estimates

    path = made_file(tmp_path / "scan.h5", "C order", "contiguous")
    for module in (convert, estimates):
        monkeypatch.setattr(module, "free_bytes", lambda place: 10_000)
    for go in (plan_file, convert_file):
        with pytest.raises(RefusedError, match=r"9\.8 KiB free, expected"):
            go(path, tmp_path / "made.zarr", settings=small())
    assert not list(tmp_path.glob("*.zarr"))
    assert not list(tmp_path.glob(".usid/staging/*"))


def test_space_is_that_of_encoded_samples_where_the_raw_size_does_not_fit(tmp_path, monkeypatch):
    from usid_tasks import convert, estimates

    data = np.zeros((23 * 19, 610), "f4")
    path = made_file(tmp_path / "scan.h5", "C order", "contiguous", n=610, data=data)
    for module in (convert, estimates):
        monkeypatch.setattr(module, "free_bytes", lambda place: data.nbytes // 2)
    made = convert_file(path, tmp_path / "made.zarr", settings=small(codec="zstd"))
    assert made.outcome == "done"


def test_a_dimension_that_is_not_there_is_refused(tmp_path):
    path = made_file(tmp_path / "scan.h5", "C order", "contiguous")
    with pytest.raises(RefusedError, match=r"'Q'; there are Bias, X, Y"):
        convert_file(path, tmp_path / "made.zarr", settings=small(intent="Q=3"))


def test_the_command_prints_the_plan_and_makes_nothing(tmp_path):
    path = made_file(tmp_path / "scan.h5", "snake", "tiles")
    command = ["convert", str(path), str(tmp_path / "made.zarr"), "--plan", "--intent", "images"]
    told = CliRunner().invoke(app, [*command, "--memory", "64MiB", "--workers", "1"])
    assert told.exit_code == 0, told.output
    source = "437 x 61 in HDF5, chunks 7 x 11, shuffle, deflate; read by chunk index"
    words = (
        "memory",
        "of 64.0 MiB allowed",
        "needs to start",
        "spectrum",
        "image",
        "time",
        "space",
    )
    for part in (source, *words):
        assert part in told.output
    as_json = CliRunner().invoke(app, [*command, "--json"])
    record = json.loads(as_json.output)
    assert record["memory_bytes"] <= record["allowed_memory_bytes"]
    assert record["baseline_memory_bytes"] > 0
    assert record["tasks"] == sum(s["tasks"] for a in record["arrays"] for s in a["stages"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.h5"]


# on paper


def subject(position_side: Placement, n_columns: int, chunks: tuple[int, int] | None) -> Subject:
    spectroscopic = in_order((n_columns,))
    shape2d = (position_side.n_rows, n_columns)
    origin = MainOrigin(position_side, spectroscopic, shape2d, 4, chunks, scratch_bytes=16 * MIB)
    shape = position_side.shape + spectroscopic.shape
    names = ("Z", "Y", "X")[-len(position_side.shape) :]
    return Subject(
        "/main", shape, "float32", 4, (*names, "Bias"),
        (*(True for _ in names), False), Layout(origin.edges(), origin.edges()),
        4 * int(np.prod(shape, dtype=object)), origin=origin,
        is_coded=bool(chunks), told="made",
    )  # fmt: skip


def snake_placement(ny: int, nx: int, *, left_out: int = 0) -> Placement:
    rows = np.arange(ny * nx, dtype=np.int64).reshape(ny, nx)
    rows[1::2] = rows[1::2, ::-1].copy()
    flat = rows.ravel()
    if left_out:
        missing = np.random.default_rng(0).random(flat.size) < 1 / left_out
        flat[missing] = -1
        flat[~missing] = np.argsort(np.argsort(flat[~missing]))
    return Placement((ny, nx), int((flat >= 0).sum()), rows=flat)


LARGE = {
    "1 TiB in rows": (in_order((512, 512)), 2**20, (1, 2**20)),
    "1 TiB contiguous": (in_order((512, 512)), 2**20, None),
    "1 PiB in tiles": (in_order((4096, 4096)), 2**24, (64, 2**14)),
    "1 PiB contiguous": (in_order((4096, 4096)), 2**24, None),
    "1 PiB, primes": (in_order((4093, 4099)), 16777259, (61, 16381)),
    "1 TiB, snake": (snake_placement(1024, 1024), 2**18, (16, 2**14)),
    "1 PiB, snake": (snake_placement(4096, 4096), 2**24, (64, 2**14)),
    "1 PiB, sparse": (snake_placement(4096, 4096, left_out=7), 2**24, (64, 2**14)),
}


@pytest.mark.slow
@pytest.mark.parametrize("intent", ["balanced", "spectra", "images"])
@pytest.mark.parametrize("name", LARGE)
def test_a_large_main_is_planned_in_seconds(name, intent):
    main = subject(*LARGE[name])
    tracemalloc.start()
    began = time.process_time()
    plan = plan_convert(
        [main], parse_intent(intent), memory_bytes=16 * GIB, workers=8, chunk_bytes=MIB,
        shard_bytes=GIB,
    )  # fmt: skip
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 10
    assert peak < GIB
    (array,) = plan.arrays
    assert all(stage.memory_bytes <= 2 * GIB for stage in array.stages)
    cells = np.prod([min(a, b) for a, b in zip(array.target.shard, main.shape, strict=True)])
    assert 64 * MIB <= 4 * int(cells) <= GIB
    assert plan.bytes_read < 4 * main.size_bytes * len(array.stages)


sides = st.sampled_from(["C order", "slow first", "snake", "interlaced", "random", "sparse"])


@settings(max_examples=30, deadline=None)
@given(
    order=sides,
    chunks=st.one_of(st.none(), st.tuples(st.integers(1, 60), st.integers(1, 31))),
    n=st.sampled_from([1, 13, 31]),
    intent=st.sampled_from(["balanced", "spectra", "images"]),
    memory=st.sampled_from([2 * (WORKER_BYTES + 7 * MIB), GIB]),
)
def test_any_conversion_counts_what_its_plan_says(
    tmp_path_factory, order, chunks, n, intent, memory
):
    folder = tmp_path_factory.mktemp("any")
    table = ORDERS[order]()
    more = {} if chunks is None else {
        "chunks": (min(chunks[0], len(table)), min(chunks[1], n)), "compression": "gzip",
    }  # fmt: skip
    spectra = Side(np.arange(n)[:, None], ["Bias"], ["V"])
    path = write_file(folder / "scan.h5", position(table), spectra, dtype="i2", **more)
    settings = small(intent=intent, memory=memory, chunk="1 KiB", shard_max="8 KiB")
    made = convert_file(path, folder / "made.zarr", settings=settings)
    assert (made.counted.n_tasks, made.counted.bytes_read, made.counted.bytes_written) == (
        made.plan.n_tasks, made.plan.bytes_read, made.plan.bytes_written,
    )  # fmt: skip
    assert_holds(made.store, path)
