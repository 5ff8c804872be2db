"""Whether a file is still being written: age, two looks, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from usid_tasks.discover import discover
from usid_tasks.durable import storage_now_ns
from usid_tasks.settle import Lock, lock_state, settled
from usid_tasks.sources import SourceFile

HDF5 = b"\x89HDF\r\n\x1a\n"
HOUR_NS = 3600 * 10**9


def found(folder: Path) -> tuple[SourceFile, ...]:
    return discover([folder], folder.parent / "dest").files


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    for name in ("a.h5", "b.h5", "c.h5"):
        (folder / name).write_bytes(HDF5)
    return folder


class Waits:
    """A sleep that takes no time and does what happens meanwhile."""

    def __init__(self, meanwhile: object = None) -> None:
        self.seconds: list[float] = []
        self.meanwhile = meanwhile

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if callable(self.meanwhile):
            self.meanwhile()


def test_old_files_are_trusted_without_waiting(lab: Path) -> None:
    waits = Waits()
    files = found(lab)
    now = storage_now_ns(lab.parent / ".usid")
    good, deferred = settled(files, settle_s=60, storage_now_ns=now + HOUR_NS, sleep=waits)
    assert (good, deferred) == (files, ())
    assert waits.seconds == []


def test_young_files_that_stand_still_are_settled_after_one_wait(lab: Path) -> None:
    waits = Waits()
    files = found(lab)
    now = storage_now_ns(lab.parent / ".usid")
    good, deferred = settled(files, settle_s=60, storage_now_ns=now, sleep=waits)
    assert (good, deferred) == (files, ())
    assert waits.seconds == [2.0]


def test_a_growing_file_is_deferred(lab: Path) -> None:
    def grow() -> None:
        with (lab / "b.h5").open("ab") as stream:
            stream.write(b"more")

    files = found(lab)
    now = storage_now_ns(lab.parent / ".usid")
    good, deferred = settled(files, settle_s=60, storage_now_ns=now, sleep=Waits(grow))
    assert [file.key for file in good] == ["a.h5", "c.h5"]
    assert [(one.file.key, one.reason) for one in deferred] == [
        ("b.h5", "it is being written (8 bytes, then 12 bytes)")
    ]


def test_other_changes_defer_too(lab: Path) -> None:
    def change() -> None:
        os.utime(lab / "a.h5", ns=(1, 1))
        (lab / "b.h5").unlink()
        (lab / "new").write_bytes(HDF5)
        os.utime(lab / "new", ns=(files[2].mtime_ns, files[2].mtime_ns))
        (lab / "new").rename(lab / "c.h5")

    files = found(lab)
    now = storage_now_ns(lab.parent / ".usid")
    good, deferred = settled(files, settle_s=60, storage_now_ns=now, sleep=Waits(change))
    assert good == ()
    words = [next(w for w in ("time moved", "gone") if w in one.reason) for one in deferred]
    assert words == ["time moved", "gone", "time moved"]


def test_a_change_before_the_first_look_defers_without_hiding(lab: Path) -> None:
    files = found(lab)
    (lab / "a.h5").write_bytes(HDF5 * 2)
    now = storage_now_ns(lab.parent / ".usid")
    good, deferred = settled(files, settle_s=60, storage_now_ns=now, sleep=Waits())
    assert [one.file.key for one in deferred] == ["a.h5"]
    assert len(good) == 2


def test_a_future_time_counts_as_young(lab: Path) -> None:
    now = storage_now_ns(lab.parent / ".usid")
    os.utime(lab / "a.h5", ns=(now + 100 * HOUR_NS,) * 2)

    def touch() -> None:
        os.utime(lab / "a.h5", ns=(now + 101 * HOUR_NS,) * 2)

    waits = Waits(touch)
    good, deferred = settled(found(lab), settle_s=60, storage_now_ns=now + HOUR_NS, sleep=waits)
    assert waits.seconds == [2.0]
    assert [one.file.key for one in deferred] == ["a.h5"]
    assert len(good) == 2


def test_an_old_mtime_of_a_new_entry_counts_as_young(lab: Path) -> None:
    # copying tools set the former mtime, some before they are done
    os.utime(lab / "a.h5", ns=(10**18, 10**18))
    waits = Waits()
    settled(
        [file for file in found(lab) if file.key == "a.h5"],
        settle_s=60,
        storage_now_ns=storage_now_ns(lab.parent / ".usid"),
        sleep=waits,
    )
    assert waits.seconds == [2.0]


def test_settle_of_zero_trusts(lab: Path) -> None:
    waits = Waits()
    files = found(lab)
    (lab / "a.h5").unlink()
    assert settled(files, settle_s=0, storage_now_ns=0, sleep=waits) == (files, ())
    assert waits.seconds == []


def test_the_storage_clock_is_the_storages(tmp_path: Path) -> None:
    before = time.time_ns()
    now = storage_now_ns(tmp_path / "new" / ".usid")
    # the kernel stamps files with a coarser clock
    assert before - 10**8 <= now <= time.time_ns()
    assert list((tmp_path / "new" / ".usid").iterdir()) == []


WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "w", libver=sys.argv[2])
file["x"] = [1, 2]
if sys.argv[3] == "swmr":
    file.swmr_mode = True
file.flush()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.read()
if sys.argv[3] == "die":
    import os; os._exit(1)
file.close()
"""


@contextmanager
def writer(path: Path, libver: str, mode: str) -> Iterator[None]:
    """Hold a file open for writing in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, libver, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield


@pytest.mark.parametrize(
    ("libver", "mode", "during", "after"),
    [
        ("earliest", "close", Lock.HELD, Lock.FREE),
        ("latest", "close", Lock.HELD, Lock.FREE),
        ("latest", "swmr", Lock.OPEN, Lock.FREE),
        ("latest", "die", Lock.HELD, Lock.OPEN),
    ],
)
def test_a_writer_is_noticed_as_hdf5_itself_does(
    tmp_path: Path, libver: str, mode: str, during: Lock, after: Lock
) -> None:
    path = tmp_path / "scan.h5"
    with writer(path, libver, mode):
        assert lock_state(path) is during
        with pytest.raises(OSError, match=r"unable to lock|already open for write"):
            h5py.File(path, "r")
    assert lock_state(path) is after
    if after.is_busy:
        with pytest.raises(OSError, match="already open for write"):
            h5py.File(path, "r")
    else:
        h5py.File(path, "r").close()


def test_readers_do_not_disturb(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", userblock_size=512, libver="latest") as file:
        file["x"] = 1
    with h5py.File(path, "r"):
        assert lock_state(path) is Lock.FREE
    # and the lock is left: a writer may come
    h5py.File(path, "r+").close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_mount_without_locks_does_not_defer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "scan.h5"
    h5py.File(path, "w").close()
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock_state(path) is Lock.UNSUPPORTED
    assert not lock_state(path).is_busy
    with path.open("r+b") as stream:
        stream.write(b"\x89HDF\r\n\x1a\n\x03\x08\x08\x01")
    assert lock_state(path) is Lock.OPEN
