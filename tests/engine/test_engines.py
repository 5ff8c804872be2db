"""The same plan on threads, on processes, and on any Dask scheduler: the same store, bit by bit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import pytest
from convert_files import assert_holds, made_file, small
from rechunk_stores import MAIN
from typer.testing import CliRunner

from usid_tasks.cli import app
from usid_tasks.convert import convert_file
from usid_tasks.engines import DaskEngine, open_engine
from usid_tasks.errors import RefusedError, UnreadableDataError, UsidError, VerificationError
from usid_tasks.shards import ShardedArray
from usid_tasks.workers import Work


def files(store: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in store.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def processes():
    with open_engine("processes", workers=2) as engine:
        yield engine


@pytest.fixture
def path(tmp_path):
    return made_file(tmp_path / "scan.h5", "snake", "tiles", n=610)


@pytest.mark.slow
def test_processes_make_the_store_that_threads_make(tmp_path, path, processes):
    by_threads = convert_file(path, tmp_path / "threads.zarr", settings=small())
    made = convert_file(path, tmp_path / "made.zarr", settings=small(), engine=processes)
    assert files(made.store) == files(by_threads.store)
    assert made.counted == by_threads.counted
    arrays = [json.loads(one.receipt.read_bytes())["arrays"] for one in (made, by_threads)]
    assert arrays[0] == arrays[1]
    assert_holds(made.store, path)


@pytest.mark.slow
def test_a_scheduler_is_given_by_its_address(tmp_path, path, processes):
    address = processes.client.scheduler.address
    dest = tmp_path / "made.zarr"
    told = CliRunner().invoke(
        app, ["convert", str(path), str(dest), "--scheduler", address, "--json"]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["outcome"] == "done"
    assert_holds(dest, path)


@pytest.mark.slow
def test_no_two_tasks_write_one_shard_and_nothing_large_is_sent(
    tmp_path, path, processes, monkeypatch
):
    written: list[Path] = []
    plain = DaskEngine.run

    def run(engine, work, numbers, **options):
        for number in numbers:
            written.extend(work.files(number))
        assert len(pickle.dumps(work)) < 100_000
        return plain(engine, work, numbers, **options)

    monkeypatch.setattr(DaskEngine, "run", run)
    made = convert_file(path, tmp_path / "made.zarr", settings=small(), engine=processes)
    assert len(written) == len(set(written)) > 10
    names = {str(file).partition("store.zarr/")[2] for file in written}
    shards = {name for name in files(made.store) if name.startswith(f"{MAIN.strip('/')}/c/")}
    assert names == shards


@pytest.mark.slow
def test_what_goes_wrong_on_a_worker_is_told_as_here(tmp_path, path, processes):
    broken = made_file(
        tmp_path / "broken.h5", "snake", "tiles", n=610, filters={"fletcher32": True}
    )

    with h5py.File(broken) as file:
        chunk = file["/Measurement_000/Channel_000/Raw_Data"].id.get_chunk_info(40)
    with broken.open("r+b") as stream:
        stream.seek(chunk.byte_offset + 5)
        stream.write(b"\xff\x00\xff")
    made = convert_file(broken, tmp_path / "made.zarr", settings=small(), engine=processes)
    assert made.outcome == "failed"
    assert "checksum" in made.findings[-1].found


ERRORS = [
    UnreadableDataError("f:/d", "b", "c", "/d"),
    VerificationError("a", "b", "c"),
    UsidError("a", "b", "c"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_travel(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_work_travels(tmp_path, path, monkeypatch):
    seen: list[Work] = []
    from usid_tasks.workers import Threads

    plain = Threads.run

    def run(engine, work, numbers, **options):
        seen.append(pickle.loads(pickle.dumps(work)))
        return plain(engine, pickle.loads(pickle.dumps(work)), numbers, **options)

    monkeypatch.setattr(Threads, "run", run)
    made = convert_file(path, tmp_path / "made.zarr", settings=small(resume_from="0 B"))
    assert_holds(made.store, path)
    assert all(isinstance(target, ShardedArray) for work in seen for target in work.targets)


@pytest.mark.parametrize("where", ["thread", "dask"])
def test_what_is_no_scheduler_is_refused(where):
    with (
        pytest.raises(RefusedError, match="threads, processes or an address"),
        open_engine(where, workers=1),
    ):
        pass


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr("usid_tasks.engines._WAIT_S", 1)
    with pytest.raises(UsidError, match="answers"), open_engine("tcp://127.0.0.1:9", workers=1):
        pass
