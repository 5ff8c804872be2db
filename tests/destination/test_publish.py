"""Publishing: what is in place, what moved away, and that no kill loses or mixes anything."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import publishing
import pytest
from publishing import (
    KEY,
    SCENARIOS,
    content_of,
    digest_of,
    in_place,
    mend,
    prepare,
    publish,
    receipt_of,
    stage,
    staged,
    superseded,
)

from usid_tasks import durable
from usid_tasks.errors import ClaimedError, RefusedError, SettingsError, UsidError
from usid_tasks.model import Outcome
from usid_tasks.publish import Destination
from usid_tasks.receipts import read_receipt

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "dest")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one, for the hundreds of destinations of a kill test."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def killed(work: Path, *arguments: str) -> tuple[int, list[Path]]:
    """Publish in processes that are killed; return how many, and the destinations they left."""
    run = subprocess.run(
        [sys.executable, publishing.__file__, work, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout), sorted(path for path in work.iterdir() if path.name != "before")


def test_a_first_store(destination: Destination) -> None:
    published = publish(destination, "one")
    assert published.store == destination.dest / "day/scan.h5.zarr"
    assert published.receipt == destination.dest / "day/scan.h5.receipt.json"
    assert published.superseded is None
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    assert superseded(destination.dest) == {}
    assert staged(destination.dest) == []
    assert not list((destination.dest / ".usid" / "claims").iterdir())


def test_a_changed_source_moves_the_former_store_whole(destination: Destination) -> None:
    publish(destination, "one")
    published = publish(destination, "two")
    name = digest_of("one").replace(":", "-")
    assert published.superseded == destination.dest / ".usid/superseded/day/scan.h5" / name
    assert in_place(destination.dest) == ("two", receipt_of("two"))
    assert superseded(destination.dest) == {name: ("one", receipt_of("one"))}


def test_a_refresh_supersedes_and_no_entry_is_overwritten(destination: Destination) -> None:
    for _ in range(3):
        publish(destination, "one")
    publish(destination, "two")
    publish(destination, "one")
    publish(destination, "three")
    name, other = (digest_of(content).replace(":", "-") for content in ("one", "two"))
    assert superseded(destination.dest) == {
        name: ("one", receipt_of("one")),
        f"{name}-2": ("one", receipt_of("one")),
        f"{name}-3": ("one", receipt_of("one")),
        f"{name}-4": ("one", receipt_of("one")),
        other: ("two", receipt_of("two")),
    }


def test_an_outcome_without_a_store(destination: Destination) -> None:
    published = publish(destination, "one", outcome=Outcome.NOT_USID)
    assert published.store is None
    assert in_place(destination.dest) == (None, receipt_of("one", outcome=Outcome.NOT_USID))
    publish(destination, "two", outcome=Outcome.FAILED)
    publish(destination, "three")
    assert in_place(destination.dest) == ("three", receipt_of("three"))
    assert superseded(destination.dest) == {}


def test_a_changed_source_that_fails_moves_the_former_store(destination: Destination) -> None:
    publish(destination, "one")
    publish(destination, "two", outcome=Outcome.FAILED)
    assert in_place(destination.dest) == (None, receipt_of("two", outcome=Outcome.FAILED))
    assert list(superseded(destination.dest).values()) == [("one", receipt_of("one"))]


@pytest.mark.parametrize("content", ["one", None])
def test_a_failure_on_the_same_content_keeps_the_store(
    destination: Destination, content: str | None
) -> None:
    publish(destination, "one")
    failed = receipt_of(content, outcome=Outcome.FAILED, reason="the disk is full")
    with destination.claim(KEY, run_id="run-2") as claim:
        published = destination.publish(None, failed, claim)
    assert published.is_kept
    store, receipt = in_place(destination.dest)
    assert store == "one"
    assert receipt is not None
    assert receipt.extra["last_attempt"]["reason"] == "the disk is full"
    assert replace(receipt, extra={}) == receipt_of("one")
    assert superseded(destination.dest) == {}


def test_a_touched_source_restates_its_receipt(destination: Destination) -> None:
    publish(destination, "one")
    touched = receipt_of("one")
    touched = replace(touched, source=replace(touched.source, mtime_ns=99))
    with destination.claim(KEY, run_id="run-2") as claim:
        destination.restate(touched, claim)
        assert in_place(destination.dest) == ("one", touched)
        with pytest.raises(RefusedError, match="not the one described"):
            destination.restate(receipt_of("two"), claim)
    assert staged(destination.dest) == []


def test_a_store_that_someone_removed_is_made_again(destination: Destination) -> None:
    store = publish(destination, "one").store
    assert store is not None
    store.rename(destination.dest / "taken away")
    publish(destination, "two")
    assert in_place(destination.dest) == ("two", receipt_of("two"))
    assert superseded(destination.dest) == {}
    assert staged(destination.dest) == []


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link"])
@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
def test_what_has_no_receipt_is_never_touched(
    destination: Destination, kind: str, outcome: Outcome
) -> None:
    place = destination.dest / "day" / "scan.h5.zarr"
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if kind == "folder":
            (place / "mine").write_text("mine")
    before = place.lstat()
    with pytest.raises(RefusedError, match="without a receipt"):
        publish(destination, "one", outcome=outcome)
    assert place.lstat().st_mtime_ns == before.st_mtime_ns
    assert not (destination.dest / "day" / "scan.h5.receipt.json").exists()


def test_a_refused_store_can_be_discarded(destination: Destination) -> None:
    with destination.claim(KEY, run_id="run-1") as claim:
        store = stage(destination, claim, "one")
        (destination.dest / "day" / "scan.h5.zarr").mkdir(parents=True)
        with pytest.raises(RefusedError):
            destination.publish(store, receipt_of("one"), claim)
        assert content_of(store) == "one"
        destination.discard(store)
        destination.discard(store)
    assert staged(destination.dest) == []


def test_a_damaged_former_receipt_stops_publishing(destination: Destination) -> None:
    receipt = publish(destination, "one").receipt
    receipt.write_text("{")
    with pytest.raises(UsidError, match="damaged") as caught:
        publish(destination, "two")
    assert "Move it away together with the store" in caught.value.remedy
    assert content_of(destination.dest / "day/scan.h5.zarr") == "one"


def test_receipt_and_claim_must_be_of_one_source(destination: Destination) -> None:
    with destination.claim(KEY, run_id="run-1") as claim:
        with pytest.raises(ValueError, match="under the claim of"):
            destination.publish(None, receipt_of("x", key="b", outcome=Outcome.FAILED), claim)
        with pytest.raises(ValueError, match="arrays exactly where"):
            destination.publish(None, receipt_of("x"), claim)


def test_a_lost_claim_stops_before_anything_shows(destination: Destination) -> None:
    publish(destination, "one")
    with destination.claim(KEY, run_id="run-2") as claim:
        store = stage(destination, claim, "two")
        claim.path.unlink()
        with (
            pytest.raises(ClaimedError, match="lost"),
            destination.claim(KEY, run_id="run-3"),
        ):
            destination.publish(store, receipt_of("two"), claim)
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    destination.mend(run_id="run-4")
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    assert staged(destination.dest) == []


def test_runs_and_sources_have_slots_of_their_own(destination: Destination) -> None:
    with (
        destination.claim("a", run_id="run-1") as a,
        destination.claim("b", run_id="run-1") as b,
        destination.claim("c", run_id="run-2") as c,
    ):
        paths = {destination.staging(one) for one in (a, b, c)}
        assert len(paths) == 3
        assert not any(path.exists() for path in paths)
        assert all(path.parent.is_dir() for path in paths)
        # a living owner's slot is left alone
        assert destination.mend(run_id="run-3") == ()
        assert all(path.parent.is_dir() for path in paths)
    assert len(destination.mend(run_id="run-3")) == 3
    assert staged(destination.dest) == []


def test_a_run_id_that_is_no_folder_name(destination: Destination) -> None:
    with (
        destination.claim("a", run_id="../x") as claim,
        pytest.raises(ValueError, match="cannot be the name"),
    ):
        destination.staging(claim)


def test_slots_without_a_name_are_removed_when_they_are_old(tmp_path: Path) -> None:
    folder = tmp_path / ".usid" / "staging" / "run" / "0"
    folder.mkdir(parents=True)
    assert Destination(tmp_path).mend(run_id="next") == ()
    os.utime(folder, (1, 1))
    assert len(Destination(tmp_path).mend(run_id="next")) == 1
    assert not folder.exists()


def modes(root: Path) -> tuple[set[int], set[int]]:
    paths = [root, *root.rglob("*")]
    return (
        {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()},
        {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()},
    )


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        publish(Destination(tmp_path / "dest"), "one")
    finally:
        os.umask(before)
    assert modes(tmp_path / "dest") == ({0o666 & ~umask}, {0o777 & ~umask})


def test_modes_follow_the_setting(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "dest", file_mode=0o640, dir_mode=0o2750)
    publish(destination, "one")
    publish(destination, "two")
    assert modes(tmp_path / "dest") == ({0o640}, {0o2750})


@pytest.mark.parametrize("option", [{"dir_mode": 0o555}, {"file_mode": 0o200}])
def test_modes_that_cannot_work_are_refused(tmp_path: Path, option: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        Destination(tmp_path, **option)  # type: ignore[arg-type]


def test_everything_is_durable_before_it_shows(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    names: dict[int, str] = {}
    fsync, rename, really_open = os.fsync, os.rename, os.open

    def named_open(path: Path, *arguments: int, **options: int) -> int:
        fd = really_open(path, *arguments, **options)
        names[fd] = Path(path).name
        return fd

    def told_fsync(fd: int) -> None:
        done.append(("fsync", names[fd]))
        fsync(fd)

    def told_rename(here: Path, there: Path) -> None:
        done.append(("rename", Path(there).name))
        rename(here, there)

    monkeypatch.setattr(os, "open", named_open)
    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(os, "rename", told_rename)
    publish(destination, "one")
    shown = done.index(("rename", "scan.h5.zarr"))
    for name in ("zarr.json", "0", "c", "store.zarr"):
        assert ("fsync", name) in done[:shown]
    assert ("rename", "receipt.json") in done[:shown]
    assert done[shown : shown + 4] == [
        ("rename", "scan.h5.zarr"),
        ("fsync", "day"),
        ("rename", "scan.h5.receipt.json"),
        ("fsync", "day"),
    ]
    done.clear()
    quick = Destination(destination.dest, fsync=False)
    publish(quick, "two")
    assert not [name for call, name in done if call == "fsync"]


def test_a_full_disk_keeps_the_former_store(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(destination, "one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with destination.claim(KEY, run_id="run-2") as claim:
        store = stage(destination, claim, "two")
        with monkeypatch.context() as patch:
            patch.setattr(durable, "fsync_file", full)
            with pytest.raises(UsidError, match="No space left") as caught:
                destination.publish(store, receipt_of("two"), claim)
        destination.discard(store)
    assert "Free space" in caught.value.remedy
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    assert staged(destination.dest) == []


def test_a_former_store_that_will_not_move_gets_its_receipt_back(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(destination, "one")
    rename = os.rename

    def stuck(here: Path, there: Path) -> None:
        if Path(here) == destination.dest / "day/scan.h5.zarr":
            raise OSError(16, "Device or resource busy")
        rename(here, there)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", stuck)
        with pytest.raises(UsidError, match="busy"):
            publish(destination, "two")
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    destination.mend(run_id="run-2")
    assert in_place(destination.dest) == ("one", receipt_of("one"))
    publish(destination, "two")
    assert in_place(destination.dest) == ("two", receipt_of("two"))


def check_whole(dest: Path, scenario: str, *, mended: bool) -> None:
    """Old or new is whole and receipted, and nothing that was published is lost."""
    before, (content, outcome) = SCENARIOS[scenario]
    new = receipt_of(content, outcome=outcome)
    store, receipt = in_place(dest)
    former = superseded(dest)
    if receipt is not None and receipt.has_store:
        assert receipt.source.digest == digest_of(store or "")
    kept = sorted(one for one, outcome in before if outcome is Outcome.DONE)
    found = [one for one, _ in former.values() if one is not None]
    if store is not None and not (new.has_store and len(found) == len(kept)):
        found.append(store)
    assert sorted(found) == kept
    if not mended:
        return
    assert staged(dest) == []
    assert all(one is not None and proof is not None for one, proof in former.values())
    told = None if receipt is None else (receipt.source.digest, receipt.outcome)
    allowed: list[tuple[str | None, tuple[str | None, Outcome] | None]] = []
    for one, which in [*before[-1:], (content, outcome)]:
        stored = one if which is Outcome.DONE or which is Outcome.PARTIAL else None
        allowed.append((stored, (digest_of(one), which)))
    if not before:
        allowed.append((None, None))
    if scenario == "failed again":  # the former store stays
        del allowed[1]
    assert (store, told) in allowed


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_no_kill_loses_or_mixes_anything(work: Path, scenario: str) -> None:
    # where mending renames, it is killed too
    is_twice = scenario in ("first", "changed", "now broken", "now sound")
    n_killed, left = killed(work, scenario, *(["twice"] if is_twice else []))
    # before every rename, fsync, removal and new folder of publishing
    assert n_killed > 10
    content, outcome = SCENARIOS[scenario][1]
    for dest in left:
        check_whole(dest, scenario, mended=False)
        destination = Destination(dest, fsync=False)
        told = mend(dest, run_id="run-3")
        assert not [one for one in told if "could not" in one.what]
        check_whole(dest, scenario, mended=True)
        assert mend(dest, run_id="run-4") == ()
        # the next run goes on as if nothing had been
        publish(destination, content, outcome=outcome, run_id="run-5")
        assert read_receipt(dest / f"{KEY}.receipt.json") is not None
        assert staged(dest) == []


@pytest.mark.parametrize("scenario", ["changed", "still broken", "now sound"])
@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
def test_without_mending_the_next_publication_mends(
    work: Path, scenario: str, outcome: Outcome
) -> None:
    # another host takes the dead claim over before any run has started anew
    expected = ("newer" if outcome is Outcome.DONE else None, receipt_of("newer", outcome=outcome))
    for dest in killed(work, scenario)[1]:
        publish(Destination(dest, fsync=False), "newer", outcome=outcome, run_id="run-3")
        assert in_place(dest) == expected
        assert not [one for one in mend(dest, run_id="run-4") if "could not" in one.what]
        assert in_place(dest) == expected
        if scenario == "changed":
            assert "old" in [one for one, _ in superseded(dest).values()]
        assert all(one and proof for one, proof in superseded(dest).values())
        assert staged(dest) == []


def test_a_foreign_folder_that_appears_in_the_way(destination: Destination) -> None:
    prepare(destination.dest, "changed")
    with destination.claim(KEY, run_id="run-2") as claim:
        store = stage(destination, claim, "two")
        place = destination.dest / "day/scan.h5.zarr"
        checks = 0
        check = claim.check

        def intrude() -> None:
            nonlocal checks
            checks += 1
            check()
            if checks == 2:
                place.mkdir()

        claim.check = intrude  # type: ignore[method-assign]
        with pytest.raises(RefusedError, match="in the way"):
            destination.publish(store, receipt_of("two"), claim)
    destination.mend(run_id="run-3")
    assert list(place.iterdir()) == []
    assert not (destination.dest / "day/scan.h5.receipt.json").exists()
    assert list(superseded(destination.dest).values()) == [("old", receipt_of("old"))]
    assert staged(destination.dest) == []
