"""A run that is killed at any moment leaves nothing half done, and the next one finishes it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from lab_files import sound

from usid_tasks.model import Outcome
from usid_tasks.publish import Destination
from usid_tasks.verify import verify_paths

CODE = "import sys; from usid_tasks.cli import main; main()"


def start(lab, dest):
    arguments = ["ingest", str(lab), "--to", str(dest), "--settle", "0", "--no-prefect", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def entries(folder):
    """Return how much lies in a folder, however it moves about meanwhile."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def digests(dest):
    told = {}
    for path in dest.glob("*.receipt.json"):
        receipt = json.loads(path.read_text("utf-8"))
        arrays = {name: array["digest"] for name, array in receipt["arrays"].items()}
        told[path.name] = (receipt["outcome"], receipt["source"]["digest"], arrays)
    return told


def assert_nothing_is_half_done(dest):
    """Every receipt has its whole store; a store without one is not there and is mended later."""
    assert not any(found.problems for found in verify_paths([dest]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_seeded_moments_the_result_is_that_of_an_undisturbed_run(lab, tmp_path):
    for number in range(8):
        sound(lab / f"scan{number}.h5", start=number + 1)
    undisturbed = start(lab, tmp_path / "undisturbed")
    out, err = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, (out + err).decode()
    n_entries = entries(tmp_path / "undisturbed")
    chosen = random.Random(20261122)
    dest = tmp_path / "killed"
    n_killed = 0
    for turn in range(20):
        if turn % 2 == 0:  # the sources change: now former stores have to move, too
            for number in range(8):
                sound(lab / f"scan{number}.h5", start=100 * turn + number + 1)
        # a moment is so and so many entries later: how fast the machine is does not matter
        until = entries(dest) + int(n_entries * chosen.uniform(0.0, 0.9))
        run = start(lab, dest)
        while run.poll() is None and entries(dest) < until:
            time.sleep(chosen.uniform(0.0, 0.02))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            n_killed += 1
        run.communicate()
        if dest.exists():
            assert_nothing_is_half_done(dest)
    assert n_killed >= 8
    last = start(lab, dest)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, (out + err).decode()
    *files, _ = [json.loads(line) for line in out.splitlines()]
    assert {record["outcome"] for record in files} <= {Outcome.DONE.value, Outcome.CURRENT.value}
    changed = start(lab, tmp_path / "changed")
    changed.communicate(timeout=300)
    assert digests(dest) == digests(tmp_path / "changed")
    assert_nothing_is_half_done(dest)
    # a slot of a source that has changed since is nobody's, and goes after claims.dead_after_s
    Destination(dest, dead_after_s=0).mend(run_id="later")
    assert not any(item.is_file() for item in (dest / ".usid/staging").rglob("*"))
    superseded = list((dest / ".usid/superseded").rglob("*.receipt.json"))
    former = digests(tmp_path / "undisturbed")
    for receipt in superseded:
        (found,) = verify_paths([receipt])
        assert found.problems == ()
        assert json.loads(receipt.read_text("utf-8"))["outcome"] == "done"
    assert len(former) == 8


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_runs_at_once_never_work_on_one_source(lab, tmp_path):
    for number in range(10):
        sound(lab / f"scan{number}.h5", start=number + 1)
    dest = tmp_path / "stores"
    runs = [start(lab, dest), start(lab, dest)]
    told = []
    for run in runs:
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, (out + err).decode()
        told.append([json.loads(line) for line in out.splitlines()][:-1])
    done = [
        [record["path"] for record in records if record["outcome"] == "done"] for records in told
    ]
    assert len(done[0]) + len(done[1]) == 10
    assert not set(done[0]) & set(done[1])
    others = {record["outcome"] for records in told for record in records} - {"done"}
    assert others <= {"current", "deferred"}
    assert_nothing_is_half_done(dest)
    assert not (dest / ".usid/superseded").exists()
