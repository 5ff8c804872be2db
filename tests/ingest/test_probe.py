"""A file on which HDF5 crashes or hangs fails by itself; the others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from lab_files import sound

from usid_tasks import probe as library
from usid_tasks.errors import NotHDF5Error
from usid_tasks.model import Outcome, Severity
from usid_tasks.settings import load_settings
from usid_tasks.validate import validate_paths


@pytest.fixture(autouse=True)
def no_children_but_ours():
    library._end_all()
    yield
    library._end_all()


def children():
    return [child.process.pid for child in library._idle]


def test_a_child_is_kept_for_the_next_file(lab):
    for number in range(3):
        library.probe(sound(lab / f"{number}.h5"), timeout_s=60)
    assert len(children()) == 1


def test_what_hdf5_refuses_in_order_is_left_to_the_caller(lab):
    (lab / "no.h5").write_bytes(b"no HDF5 at all")
    library.probe(lab / "no.h5", timeout_s=60)
    assert len(children()) == 1


def test_a_file_that_never_comes_back_is_told(lab):
    library.probe(sound(lab / "warm.h5"), timeout_s=60)
    os.mkfifo(lab / "stuck.h5")
    with pytest.raises(NotHDF5Error, match=r"did not come to an end in 0\.5 s"):
        library.probe(lab / "stuck.h5", timeout_s=0.5)
    assert children() == []
    library.probe(sound(lab / "next.h5"), timeout_s=60)


def kill_soon(pid, after=0.3, how=signal.SIGSEGV):
    def kill():
        time.sleep(after)
        os.kill(pid, how)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_crash_is_told_with_its_signal(lab):
    library.probe(sound(lab / "warm.h5"), timeout_s=60)
    (pid,) = children()
    os.mkfifo(lab / "stuck.h5")
    thread = kill_soon(pid)
    with pytest.raises(NotHDF5Error, match="SIGSEGV"):
        library.probe(lab / "stuck.h5", timeout_s=60)
    thread.join()


def test_a_child_that_is_stopped_is_no_fault_of_the_file(lab):
    from usid_tasks.errors import UsidError

    library.probe(sound(lab / "warm.h5"), timeout_s=60)
    (pid,) = children()
    os.mkfifo(lab / "stuck.h5")
    thread = kill_soon(pid, how=signal.SIGTERM)
    with pytest.raises(UsidError, match="has ended \\(SIGTERM") as caught:
        library.probe(lab / "stuck.h5", timeout_s=60)
    assert not isinstance(caught.value, NotHDF5Error)
    thread.join()


def test_a_crash_in_an_ingest_fails_one_file(lab, dest, run, monkeypatch):
    sound(lab / "bad.h5")
    sound(lab / "good.h5", start=9)
    plain = library._Child.ask

    def ask(child, question, timeout_s):
        if Path(question["path"]).name == "bad.h5":
            child.process.send_signal(signal.SIGSEGV)
            child.process.wait()
        return plain(child, question, timeout_s)

    monkeypatch.setattr(library._Child, "ask", ask)
    summary = run()
    told = {record.key: record for record in summary.files}
    assert told["good.h5"].outcome is Outcome.DONE
    assert told["bad.h5"].outcome is Outcome.FAILED
    assert "HDF5 crashed on it (SIGSEGV)" in told["bad.h5"].reason
    found = dict(validate_paths([lab]))
    assert [finding.id for finding in found[lab / "bad.h5"]] == ["F1"]
    assert all(finding.severity is not Severity.ERROR for finding in found[lab / "good.h5"])


def test_the_limit_is_a_setting(lab, dest, run):
    sound(lab / "scan.h5")
    hasty = load_settings(env={}, overrides={"ingest": {"probe_timeout_s": 0.001}})
    (record,) = run(settings=hasty).files
    assert record.outcome is Outcome.FAILED
    assert "did not come to an end" in record.reason
