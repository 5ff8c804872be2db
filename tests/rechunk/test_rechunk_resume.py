"""A rechunking that is stopped at any moment shows nothing, and is taken up where it was."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rechunk_stores import MAIN, assert_same, made_store, small_settings

from usid_tasks.errors import ClaimedError
from usid_tasks.journal import JOURNAL, DoneFile
from usid_tasks.plans import Plan
from usid_tasks.publish import Destination
from usid_tasks.rechunk import plan_store, rechunk_store
from usid_tasks.stages import WORKER_BYTES
from usid_tasks.staging import Slot, slots

SPECTRA = {"intent": "spectra", "workers": 1, "settings": small_settings()}
IMAGES = {
    "intent": "images",
    "workers": 1,
    "memory": WORKER_BYTES + 260 * 1024,
    "settings": small_settings(),
}


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.fixture
def store(tmp_path):
    """Return a store whose images take two stages."""
    former = made_store(tmp_path, rows=16, columns=16, n=1024)
    return rechunk_store(former, tmp_path / "spectra.zarr", **SPECTRA).store


def stop_after(n: int, monkeypatch) -> None:
    plain, marked = DoneFile.mark, []

    def mark(done, numbers):
        plain(done, numbers)
        marked.extend(numbers)
        if len(marked) >= n:
            raise Killed

    monkeypatch.setattr(DoneFile, "mark", mark)


def shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of all shards of the staged Main array and what lies between."""
    found = [*folder.glob(f"store.zarr{MAIN}/c/**/*"), *folder.glob(f"{JOURNAL}/*.zarr/**/c/**/*")]
    return {
        str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in found
        if file.is_file()
    }


def staged(dest: Path) -> Slot:
    (slot,) = slots(dest)
    return slot


@pytest.mark.parametrize("n", [1, 12, 19, 25])
def test_what_is_finished_is_not_done_again(tmp_path, store, monkeypatch, n):
    dest = tmp_path / "out" / "made.zarr"
    with monkeypatch.context() as patched:
        stop_after(n, patched)
        with pytest.raises(Killed):
            rechunk_store(store, dest, **IMAGES)
    assert not dest.exists()
    assert not dest.with_suffix(".receipt.json").exists()
    slot = staged(dest.parent)
    plan = plan_store(store, dest, **IMAGES)
    before = marked_shards(slot, plan)
    seen: dict[str, tuple[int, int]] = {}
    publish = Destination.publish

    def watched(destination, place, receipt, claim):
        seen.update(marked_shards(staged(dest.parent), plan))
        return publish(destination, place, receipt, claim)

    monkeypatch.setattr(Destination, "publish", watched)
    made = rechunk_store(store, dest, **IMAGES)
    assert made.counted.n_tasks < made.plan.n_tasks
    if made.counted.n_kept:
        assert made.counted.n_kept + made.counted.n_tasks <= made.plan.n_tasks
    assert all(seen[name] == looks for name, looks in before.items())
    assert_same(store, made.store)
    assert not list(slots(dest.parent))


def test_a_half_written_shard_is_done_again(tmp_path, store, monkeypatch):
    dest = tmp_path / "made.zarr"
    with monkeypatch.context() as patched:
        stop_after(24, patched)
        with pytest.raises(Killed):
            rechunk_store(store, dest, **IMAGES)
    slot = staged(tmp_path)
    names = sorted(name for name in shards(slot.folder) if name.startswith("store.zarr"))
    gone, empty = (slot.folder / name for name in names[:2])
    gone.unlink()
    empty.write_bytes(b"")
    made = rechunk_store(store, dest, **IMAGES)
    assert_same(store, made.store)


def test_another_plan_begins_anew_and_removes_what_was_left(tmp_path, store, monkeypatch):
    dest = tmp_path / "made.zarr"
    with monkeypatch.context() as patched:
        stop_after(5, patched)
        with pytest.raises(Killed):
            rechunk_store(store, dest, **IMAGES)
    former = staged(tmp_path)
    made = rechunk_store(store, dest, intent="Y=4,X=4,Bias=64", settings=small_settings())
    assert made.counted.n_tasks == made.plan.n_tasks
    assert not former.folder.exists()
    assert_same(store, made.store)


def test_another_store_leaves_it_alone(tmp_path, store, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(5, patched)
        with pytest.raises(Killed):
            rechunk_store(store, tmp_path / "made.zarr", **IMAGES)
    former = staged(tmp_path)
    other = rechunk_store(store, tmp_path / "other.zarr", **IMAGES)
    assert other.counted.n_tasks == other.plan.n_tasks
    assert former.folder.exists()


def test_a_run_killed_while_publishing_is_finished_by_the_next(tmp_path, store, monkeypatch):
    dest = tmp_path / "made.zarr"
    for at in ("store", "receipt"):
        with monkeypatch.context() as patched:
            plain = os.rename

            def rename(here, there, at=at, plain=plain):
                name = "made.zarr" if at == "store" else "made.receipt.json"
                if Path(there).name == name:
                    raise Killed
                plain(here, there)

            patched.setattr(os, "rename", rename)
            with pytest.raises(Killed):
                rechunk_store(store, dest, **IMAGES)
        made = rechunk_store(store, dest, **IMAGES)
        assert made.counted.n_tasks == 0
        assert_same(store, made.store)
        for path in (dest, made.receipt):
            path.rename(tmp_path / f"{at}-{path.name}")


def test_two_runs_at_once_do_not_share_a_place(tmp_path, store):
    dest = tmp_path / "made.zarr"
    with Destination(tmp_path).claim("made", run_id="other"), pytest.raises(ClaimedError):
        rechunk_store(store, dest, **IMAGES)
    assert not dest.exists()


CODE = """
import sys
from usid_tasks.rechunk import plan_store, rechunk_store
from usid_tasks.settings import load_settings
rechunk_store(sys.argv[1], sys.argv[2], intent="images", memory=int(sys.argv[3]), workers=2,
              settings=load_settings(env={}, overrides={"convert": {"chunk": "64 KiB",
                                                                    "shard_max": "256 KiB"}}))
"""


def start(store, dest, memory):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(store), str(dest), str(memory)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def marked_shards(slot: Slot, plan: Plan) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of the store's shards that the journal vouches for."""
    number = next(at for at, array in enumerate(plan.arrays) if array.subject.path == MAIN)
    array = plan.arrays[number]
    stage = array.stages[array.last]
    done = slot.folder / JOURNAL / f"{number}.{array.last}.done"
    marks = done.read_bytes() if done.exists() else b""
    known = {}
    for region, mark in zip(stage.regions(), marks, strict=False):
        spans = [
            range(part.start // edge, -(-part.stop // edge))
            for part, edge in zip(region, array.target.shard, strict=True)
        ]
        for index in itertools.product(*spans) if mark else ():
            file = slot.store.joinpath(*MAIN.strip("/").split("/"), "c", *map(str, index))
            known[str(file.relative_to(slot.store))] = (file.stat().st_ino, file.stat().st_mtime_ns)
    return known


def n_marked(dest: Path) -> int:
    """Return how many tasks of all stages are marked in what is staged."""
    count = 0
    for path in dest.glob(f".usid/staging/*/*/{JOURNAL}/*.done"):
        with contextlib.suppress(FileNotFoundError):  # the run has just taken it over
            count += path.read_bytes().count(b"\1")
    return count


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_seeded_moments_finished_shards_stay(tmp_path):
    big = small_settings(chunk="64 KiB", shard_max="1 MiB")
    former = made_store(tmp_path, rows=64, columns=64, n=4096, settings=big)
    store = rechunk_store(former, tmp_path / "spectra.zarr", intent="spectra", settings=big).store
    memory = 2 * WORKER_BYTES + 6 * 2**20
    settings = small_settings(chunk="64 KiB", shard_max="256 KiB")
    plan = plan_store(
        store, tmp_path / "m.zarr", intent="images", memory=memory, workers=2, settings=settings
    )
    undisturbed = start(store, tmp_path / "undisturbed.zarr", memory)
    _, told = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, told.decode()
    dest = tmp_path / "killed" / "made.zarr"
    chosen = random.Random(20261122)
    n_watched, known = 0, {}
    for moment in sorted(chosen.sample(range(2, plan.n_tasks - 4), 10)):
        run = start(store, dest, memory)
        until = time.monotonic() + 60
        while n_marked(dest.parent) < moment and time.monotonic() < until:
            assert run.poll() is None, run.stderr.read().decode()
            time.sleep(0.001)
        time.sleep(chosen.uniform(0, 0.01))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        assert not dest.exists()
        now = marked_shards(staged(dest.parent), plan)
        for name, former in known.items():
            assert now[name] == former, f"{name} was written again"
        n_watched += len(known)
        known = now
    assert n_watched >= 20
    last = start(store, dest, memory)
    _, told = last.communicate(timeout=120)
    assert last.returncode == 0, told.decode()
    for name, former in known.items():
        place = dest / name
        assert (place.stat().st_ino, place.stat().st_mtime_ns) == former
    assert_same(store, dest)
    digests = [
        json.loads(path.with_suffix(".receipt.json").read_text("utf-8"))["extra"]["metadata_digest"]
        for path in (dest, tmp_path / "undisturbed.zarr")
    ]
    assert digests[0] == digests[1]
    assert not list(slots(dest.parent))


def test_what_is_marked_was_flushed_before(tmp_path, store, monkeypatch, flushed):
    plain = DoneFile.mark
    marked = []

    def mark(done, numbers):
        marked.append((done.path.name, tuple(numbers), len(flushed)))
        plain(done, numbers)

    monkeypatch.setattr(DoneFile, "mark", mark)
    made = rechunk_store(store, tmp_path / "made.zarr", **IMAGES)
    number, array = next(
        (at, array) for at, array in enumerate(made.plan.arrays) if array.subject.path == MAIN
    )
    of_main = [told for told in marked if told[0] == f"{number}.{array.last}.done"]
    assert sum(len(numbers) for _, numbers, _ in of_main) == array.stages[array.last].n_tasks
    folder = f"store.zarr{MAIN}/c/"
    for _, numbers, at in of_main:
        tiles = max(i for i, path in enumerate(flushed[:at]) if path.endswith(".tiles"))
        shards_flushed = {path for path in flushed[:tiles] if folder in path}
        assert len(shards_flushed) >= len(numbers)
    between = [path for path in flushed if ".zarr/" in path and f"/{JOURNAL}/" in path]
    assert between == []
