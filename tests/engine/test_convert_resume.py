"""A conversion that was killed is taken up where it was: finished shards are not written again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from convert_files import assert_holds, made_file, small
from rechunk_stores import MAIN

from usid_tasks.claims import Claim
from usid_tasks.convert import convert_file, plan_file
from usid_tasks.errors import UsidError
from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.journal import JOURNAL, DoneFile
from usid_tasks.model import Outcome
from usid_tasks.shards import ShardedArray
from usid_tasks.staging import Slot, slots


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


def stop_after(n: int, monkeypatch) -> None:
    plain, marked = DoneFile.mark, []

    def mark(done, numbers):
        plain(done, numbers)
        marked.extend(numbers)
        if len(marked) >= n:
            raise Killed

    monkeypatch.setattr(DoneFile, "mark", mark)


def looks(store: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of the shards of the Main array."""
    folder = store / MAIN.strip("/") / "c"
    return {
        str(file.relative_to(store)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def n_marked(dest: Path) -> int:
    count = 0
    for slot in slots(dest):
        with contextlib.suppress(FileNotFoundError):  # the run has just taken it over
            for file in slot.folder.glob(f"{JOURNAL}/*.done"):
                count += file.read_bytes().count(b"\1")
    return count


@pytest.fixture
def path(tmp_path):
    return made_file(tmp_path / "scan.h5", "snake", "tiles", n=610)


@pytest.fixture
def settings():
    return small(threads=4)


def killed(path, dest, settings, monkeypatch, n):
    with monkeypatch.context() as patched:
        stop_after(n, patched)
        with pytest.raises(Killed):
            convert_file(path, dest, settings=settings)


@pytest.mark.parametrize("n", [1, 5, 10])
def test_what_is_finished_is_not_done_again(tmp_path, path, settings, monkeypatch, n):
    dest = tmp_path / "made.zarr"
    killed(path, dest, settings, monkeypatch, n)
    assert not dest.exists()
    (slot,) = slots(tmp_path)
    before, n_done = looks(slot.store), n_marked(tmp_path)
    assert n_done >= n
    made = convert_file(path, dest, settings=settings)
    assert made.counted.n_kept == n_done
    after = looks(made.store)
    assert sum(after[name] == was for name, was in before.items()) >= n_done
    assert_holds(dest, path)
    assert not list(slots(tmp_path))


def test_the_same_store_comes_of_it(tmp_path, path, settings, monkeypatch):
    whole = convert_file(path, tmp_path / "whole.zarr", settings=settings)
    killed(path, tmp_path / "made.zarr", settings, monkeypatch, 6)
    made = convert_file(path, tmp_path / "made.zarr", settings=settings)
    files = [
        {file.relative_to(one.store): file.read_bytes() for file in one.store.rglob("*")
         if file.is_file()}
        for one in (whole, made)
    ]  # fmt: skip
    assert files[0] == files[1]
    receipts = [json.loads(one.receipt.read_bytes())["arrays"] for one in (whole, made)]
    assert receipts[0] == receipts[1]


def test_a_source_that_has_changed_is_converted_anew(tmp_path, path, settings, monkeypatch):
    dest = tmp_path / "made.zarr"
    killed(path, dest, settings, monkeypatch, 6)
    with h5py.File(path, "r+") as file:
        file["/Measurement_000/Channel_000/Raw_Data"][...] = 1
    made = convert_file(path, dest, settings=settings)
    assert made.counted.n_kept == 0
    assert_holds(dest, path)
    assert not list(slots(tmp_path))


def test_other_settings_begin_anew(tmp_path, path, settings, monkeypatch):
    dest = tmp_path / "made.zarr"
    killed(path, dest, settings, monkeypatch, 6)
    made = convert_file(path, dest, settings=small(threads=4, codec="zstd"))
    assert made.counted.n_kept == 0
    assert_holds(dest, path)


def test_lost_digests_are_made_again(tmp_path, path, settings, monkeypatch):
    dest = tmp_path / "made.zarr"
    killed(path, dest, settings, monkeypatch, 6)
    (slot,) = slots(tmp_path)
    for file in slot.folder.glob(f"{JOURNAL}/*.tiles"):
        file.unlink()
    made = convert_file(path, dest, settings=settings)
    assert made.counted.n_kept == 0
    whole = convert_file(path, tmp_path / "whole.zarr", settings=settings)
    arrays = [json.loads(one.receipt.read_bytes())["arrays"] for one in (whole, made)]
    assert arrays[0] == arrays[1]


def test_a_disk_that_fails_keeps_what_is_done(tmp_path, path, settings, monkeypatch):
    dest = tmp_path / "made.zarr"
    plain, written = ShardedArray.write, []

    def write(array, *arguments, **options):
        written.append(array)
        if len(written) > 16:
            raise UsidError("disk", "is full", "Free space.")
        return plain(array, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ShardedArray, "write", write)
        with pytest.raises(UsidError, match="is full"):
            convert_file(path, dest, settings=settings)
    assert convert_file(path, dest, settings=settings).counted.n_kept > 0


def test_a_run_that_lives_after_all_cannot_write_to_what_was_taken_over(
    tmp_path, path, settings, monkeypatch
):
    dest = tmp_path / "made.zarr"
    plain, written = ShardedArray.write, []

    def write(array, *arguments, **options):
        """Stand still half way, while another run takes the work over."""
        written.append(array)
        if len(written) == 16:
            with monkeypatch.context() as other:
                other.setattr(ShardedArray, "write", plain)
                for claim in tmp_path.glob(".usid/claims/**/*"):
                    if claim.is_file():
                        claim.unlink()
                made.append(convert_file(path, dest, settings=settings))
        return plain(array, *arguments, **options)

    made = []
    monkeypatch.setattr(ShardedArray, "write", write)
    monkeypatch.setattr(Claim, "check", lambda claim: None)
    with pytest.raises(UsidError):
        convert_file(path, dest, settings=settings)
    assert_holds(made[0].store, path)
    assert json.loads(made[0].receipt.read_bytes())["outcome"] == "done"


def test_an_ingest_takes_up_what_a_killed_one_left(tmp_path, settings, monkeypatch):
    (tmp_path / "lab").mkdir()
    path = made_file(tmp_path / "lab/scan.h5", "snake", "tiles", n=610)
    request = IngestRequest(sources=[str(path.parent)], dest=tmp_path / "stores", settle_s=0.0)
    from usid_tasks import ingest as library

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        stop_after(6, patched)
        with pytest.raises(Killed):
            ingest(request, settings)
    n_done = n_marked(tmp_path / "stores")
    assert n_done >= 6
    kept = []
    plain = library.convert_to

    def watched(*arguments, **options):
        converted = plain(*arguments, **options)
        kept.append(converted.counted.n_kept)
        return converted

    monkeypatch.setattr(library, "convert_to", watched)
    summary = ingest(request, settings)
    assert [record.outcome for record in summary.files] == [Outcome.DONE]
    assert kept == [n_done]
    assert_holds(tmp_path / "stores/scan.h5.zarr", path)
    assert not list(slots(tmp_path / "stores"))


def test_unfinished_work_is_mended_after_a_week(tmp_path, path, settings, monkeypatch):
    from usid_tasks.publish import Destination

    killed(path, tmp_path / "made.zarr", settings, monkeypatch, 3)
    assert Destination(tmp_path, dead_after_s=0).mend(run_id="one") == ()
    (slot,) = slots(tmp_path)
    then = time.time() - 8 * 24 * 3600
    for place in (slot.folder, *slot.folder.glob("*/*.done")):
        os.utime(place, (then, then))
    (mended,) = Destination(tmp_path, dead_after_s=0).mend(run_id="two")
    assert mended.what == "removed what was half written"
    assert not list(slots(tmp_path))


# each shard takes a moment longer: on a fast machine a run must not end before its kill
CODE = """
import sys, time
sys.path[:0] = sys.argv[3:]
from convert_files import small
from usid_tasks.convert import convert_file
from usid_tasks.shards import ShardedArray
plain = ShardedArray.write
def write(*arguments, **options):
    time.sleep(0.005)
    return plain(*arguments, **options)
ShardedArray.write = write
settings = small(chunk="16 KiB", shard_max="64 KiB", memory="32 MiB")
convert_file(sys.argv[1], sys.argv[2], settings=settings)
"""


def start(path: Path, dest: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(path), str(dest), *sys.path],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_seeded_moments_the_result_is_that_of_an_undisturbed_run(tmp_path):
    data = np.random.default_rng(0).standard_normal((23 * 19, 50_000), dtype="f4")
    path = made_file(tmp_path / "scan.h5", "snake", "tiles", n=50_000, data=data, chunks=(16, 2500))
    undisturbed = start(path, tmp_path / "undisturbed.zarr")
    _, told = undisturbed.communicate(timeout=200)
    assert undisturbed.returncode == 0, told.decode()
    whole = tmp_path / "undisturbed.zarr"
    settings = small(chunk="16 KiB", shard_max="64 KiB", memory="32 MiB")
    n_tasks = plan_file(path, tmp_path / "m.zarr", settings=settings).n_tasks
    dest = tmp_path / "killed/made.zarr"
    chosen = random.Random(20261122)
    for moment in sorted(chosen.sample(range(1, n_tasks * 2 // 3), 20)):
        run = start(path, dest)
        until = time.monotonic() + 60
        while n_marked(dest.parent) < moment and time.monotonic() < until:
            assert run.poll() is None, run.stderr.read().decode()
            time.sleep(0.001)
        time.sleep(chosen.uniform(0, 0.01))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        assert not dest.exists()
        (slot,) = slots(dest.parent)
        assert isinstance(slot, Slot)
    last = start(path, dest)
    _, told = last.communicate(timeout=200)
    assert last.returncode == 0, told.decode()
    names = {str(file.relative_to(whole)) for file in whole.rglob("*") if file.is_file()}
    assert {str(file.relative_to(dest)) for file in dest.rglob("*") if file.is_file()} == names
    assert all((dest / name).read_bytes() == (whole / name).read_bytes() for name in names)
    assert not list(slots(dest.parent))
