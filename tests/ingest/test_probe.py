"""A file on which HDF5 crashes or hangs fails by itself; the others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
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
    plain = library._Child.tell

    def tell(child, question):
        if Path(question["path"]).name == "bad.h5":
            child.process.send_signal(signal.SIGSEGV)
            child.process.wait()
        plain(child, question)

    monkeypatch.setattr(library._Child, "tell", tell)
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


def findings(paths, timeout_s=60.0):
    return list(library.findings_from_children(paths, {}, timeout_s=timeout_s))


def ids(answer):
    return [finding.id for finding in answer]


@pytest.fixture
def talk(monkeypatch):
    """Record what is told to children and heard from them, and how many there are."""
    log: list[tuple[str, str]] = []
    tell, hear, start = library._Child.tell, library._Child.hear, library._Child.__init__

    def told(child, question):
        log.append(("tell", Path(question["path"]).name))
        tell(child, question)

    def heard(child, timeout_s):
        answer = hear(child, timeout_s)
        log.append(("hear", "" if answer is None else "answer"))
        return answer

    def started(child):
        log.append(("start", ""))
        start(child)

    monkeypatch.setattr(library._Child, "tell", told)
    monkeypatch.setattr(library._Child, "hear", heard)
    monkeypatch.setattr(library._Child, "__init__", started)
    return log


def count(log, what):
    return [name for kind, name in log if kind == what]


@pytest.mark.parametrize("n_children", [1, 2, 3])
def test_answers_come_in_the_order_of_the_files(lab, monkeypatch, talk, n_children):
    monkeypatch.setattr(os, "cpu_count", lambda: n_children)
    paths = []
    for number in range(7):
        path = lab / f"{number}.h5"
        if number % 3 == 2:
            path.write_bytes(b"no HDF5 at all")
        else:
            sound(path)
        paths.append(path)
    answers = findings(paths)
    assert ["F1" in ids(answer) for answer in answers] == [n % 3 == 2 for n in range(7)]
    assert [finding.file for finding in (answer[0] for answer in answers)] == list(map(str, paths))
    assert sorted(count(talk, "tell")) == [path.name for path in paths]
    assert len(count(talk, "hear")) == 7
    assert 1 <= len(count(talk, "start")) <= n_children
    assert len(children()) == len(count(talk, "start"))


def test_a_child_never_waits_for_the_next_file(lab, monkeypatch, talk):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    findings([sound(lab / f"{number}.h5", start=number) for number in range(4)])
    kinds = [kind for kind, _ in talk]
    assert kinds == ["start", "tell", "tell", "hear", "tell", "hear", "tell", "hear", "hear"]


def test_a_child_is_told_of_one_file_alone_where_others_may_take_the_next(lab, talk):
    files = deque(library._Asked(sound(lab / f"{n}.h5", start=n)) for n in range(3))
    library._ask({"do": "parse"}, files, 60, n_children=2)
    kinds = [kind for kind, _ in talk]
    assert kinds == ["start", "tell", "tell", "hear", "hear", "tell", "hear"]


def test_what_comes_after_a_file_that_is_a_childs_end_is_asked_again(lab, monkeypatch, talk):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    findings([sound(lab / "warm.h5")])
    (pid,) = children()
    talk.clear()
    paths = [lab / f"{number}.h5" for number in range(4)]
    for path in (paths[0], *paths[2:]):
        sound(path)
    os.mkfifo(paths[1])

    def crash():
        while not count(talk, "hear"):
            time.sleep(0.01)
        os.kill(pid, signal.SIGSEGV)  # it is at the next file, and does not come back from there

    thread = threading.Thread(target=crash)
    thread.start()
    first, crashed, third, last = findings(paths)
    thread.join()
    assert isinstance(crashed, NotHDF5Error)
    assert crashed.where == str(paths[1])
    assert "HDF5 crashed on it (SIGSEGV)" in crashed.what
    assert ids(first) == ids(third) == ids(last)
    assert sorted(count(talk, "tell")) == ["0.h5", "1.h5", "2.h5", "2.h5", "3.h5"]
    assert len(count(talk, "start")) == 1


def test_a_child_that_cannot_start_is_told_and_nobody_waits_for_it(lab, monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    paths = [sound(lab / f"{number}.h5", start=number) for number in range(5)]
    monkeypatch.setattr(library.subprocess, "Popen", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        findings(paths)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        library.probe(paths[0], timeout_s=60)


def test_whoever_wants_no_more_gets_no_more(lab, monkeypatch, talk):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    answers = library.findings_from_children(
        [sound(lab / f"{number}.h5", start=number) for number in range(50)], {}, timeout_s=60
    )
    next(answers)
    answers.close()
    assert len(count(talk, "tell")) < 50
    assert len(children()) == 1


def test_children_look_where_the_parent_is(lab, monkeypatch):
    for folder in ("one", "two"):
        (lab / folder).mkdir()
    sound(lab / "one" / "scan.h5")
    (lab / "two" / "scan.h5").write_bytes(b"no HDF5 at all")
    found = []
    for folder in ("one", "two"):
        monkeypatch.chdir(lab / folder)
        (answer,) = findings([Path("scan.h5")])
        found.append("F1" in ids(answer))
    assert found == [False, True]
    (gone := lab / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    (answer,) = findings([lab / "one" / "scan.h5"])
    assert "F1" not in ids(answer)
