"""Claims: one holder at a time, dead ones taken over, lost ones noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from usid_tasks.claims import Claim
from usid_tasks.errors import ClaimedError, UsidError
from usid_tasks.owners import Owner

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

HOLDER = """
import sys, pathlib
from usid_tasks.claims import Claim
with Claim(pathlib.Path(sys.argv[1]), "scan.h5", run_id="held", renew_s=float(sys.argv[2])):
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()
"""


@contextmanager
def holder(dest: Path, *, renew_s: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the claim until it is told or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, dest, str(renew_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


def claim(dest: Path, *, run_id: str = "mine", dead_after_s: float = 60.0) -> Claim:
    return Claim(dest, "scan.h5", run_id=run_id, dead_after_s=dead_after_s)


def leave(dest: Path, *, age_s: float, **changes: object) -> Path:
    """The claim file of an owner of another host, or of no process at all."""
    owner = replace(Owner.this(key="scan.h5", run_id="left"), **changes)  # type: ignore[arg-type]
    path = claim(dest).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(owner.to_json())
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def files(dest: Path) -> list[str]:
    return [path.name for path in (dest / ".usid" / "claims").iterdir()]


def test_a_claim_is_held_and_left(tmp_path: Path) -> None:
    with claim(tmp_path) as held:
        held.check()
        record = json.loads(held.path.read_bytes())
        assert record["key"] == "scan.h5"
        assert record["run_id"] == "mine"
        assert record["pid"] == os.getpid()
        assert {"host", "started", "boot_id"} <= record.keys()
        assert files(tmp_path) == [held.path.name]
    assert files(tmp_path) == []
    with held:
        held.check()


def test_a_second_claim_names_the_holder(tmp_path: Path) -> None:
    with claim(tmp_path), pytest.raises(ClaimedError, match=f"process {os.getpid()} on .*run mine"):
        claim(tmp_path).__enter__()
    with claim(tmp_path), Claim(tmp_path, "other.h5", run_id="mine"):
        pass


def test_names_that_share_a_store_share_a_claim(tmp_path: Path) -> None:
    with (
        Claim(tmp_path, "Ä/scan.h5", run_id="a"),
        pytest.raises(ClaimedError),
        Claim(tmp_path, "a\u0308/Scan.H5", run_id="b"),
    ):
        pass


def test_another_process_keeps_its_claim_while_it_lives(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        # a live process of this host is never dead, whatever its claim's age
        os.utime(claim(tmp_path).path, (1, 1))
        with pytest.raises(ClaimedError, match=f"process {process.pid} on"):
            claim(tmp_path).__enter__()
        process.kill()
        process.wait()
        with claim(tmp_path) as held:
            held.check()
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "age_s", "is_dead"),
    [
        ({"pid": 2**22 - 7}, 0, True),  # above every process number of this kernel
        ({"started": "1"}, 0, True),  # the number belongs to another process by now
        ({"host": "elsewhere"}, 10, False),
        ({"host": "elsewhere"}, 100, True),
        ({"boot_id": "before"}, 10, False),
        ({"boot_id": "before"}, 100, True),
        ({"namespace": "pid:[1]", "pid": 2**22 - 7}, 10, False),
        ({"namespace": "pid:[1]"}, 100, True),
        ({"host": "elsewhere"}, -1000, False),
    ],
)
def test_who_is_dead(
    tmp_path: Path, changes: dict[str, object], age_s: float, is_dead: bool
) -> None:
    leave(tmp_path, age_s=age_s, **changes)
    if is_dead:
        with claim(tmp_path) as held:
            held.check()
        assert files(tmp_path) == []
    else:
        with pytest.raises(ClaimedError, match=r"run left"):
            claim(tmp_path).__enter__()


@pytest.mark.parametrize("content", [b"", b'{"key": "sc'])
def test_a_claim_that_was_never_written_is_judged_by_its_age(
    tmp_path: Path, content: bytes
) -> None:
    path = claim(tmp_path).path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ClaimedError, match="another process"):
        claim(tmp_path).__enter__()
    os.utime(path, (1, 1))
    with claim(tmp_path) as held:
        held.check()


def test_a_zombie_is_dead(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] != "Z":
            time.sleep(0.01)
        with claim(tmp_path) as held:
            held.check()


def test_renewals_keep_a_claim_of_another_host_alive(tmp_path: Path) -> None:
    with Claim(tmp_path, "scan.h5", run_id="mine", renew_s=0.05) as held:
        os.utime(held.path, (1, 1))
        until = time.monotonic() + 10
        while held.path.stat().st_mtime < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert held.path.stat().st_mtime > time.time() - 60
        assert Owner.from_json(held.path.read_bytes()) is not None


def test_a_lost_claim_is_noticed_and_left_to_its_new_holder(tmp_path: Path) -> None:
    mine = claim(tmp_path)
    with mine:
        leave(tmp_path, age_s=0, host="elsewhere", run_id="theirs")
        with pytest.raises(ClaimedError, match=r"lost: process .* on elsewhere \(run theirs\)"):
            mine.check()
    owner = Owner.from_json(mine.path.read_bytes())
    assert owner is not None
    assert owner.run_id == "theirs"


def test_a_claim_whose_file_has_gone_is_lost(tmp_path: Path) -> None:
    with claim(tmp_path) as mine:
        mine.path.unlink()
        with pytest.raises(ClaimedError, match="its file has gone"):
            mine.check()


def test_a_claim_that_is_put_back_is_not_lost(tmp_path: Path) -> None:
    with claim(tmp_path) as mine:
        aside = mine.path.with_suffix(".aside")
        mine.path.rename(aside)
        back = threading.Timer(0.2, aside.rename, [mine.path])
        back.start()
        mine.check()
        back.join()


def test_a_renewal_during_a_takeover_saves_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave(tmp_path, age_s=1000, host="elsewhere")
    content = path.read_bytes()
    rename = os.rename

    def renewed_before(here: Path, there: Path) -> None:
        path.write_bytes(content)
        rename(here, there)

    monkeypatch.setattr(os, "rename", renewed_before)
    with pytest.raises(ClaimedError, match="run left"):
        claim(tmp_path).__enter__()
    assert path.read_bytes() == content
    assert files(tmp_path) == [path.name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_claim_that_changed_hands_during_a_takeover_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    path = leave(tmp_path, age_s=1000, host="elsewhere")
    theirs = replace(Owner.this(key="scan.h5", run_id="theirs"), host="third").to_json()
    rename = os.rename

    def taken_before(here: Path, there: Path) -> None:
        path.unlink()
        path.write_bytes(theirs)
        rename(here, there)

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "rename", taken_before)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ClaimedError, match="run theirs"):
        claim(tmp_path).__enter__()
    assert path.read_bytes() == theirs
    assert files(tmp_path) == [path.name]


def test_a_taker_that_died_does_not_block(tmp_path: Path) -> None:
    leave(tmp_path, age_s=1000, host="elsewhere")
    # killed when it had the right to remove the dead claim, and again
    script = (
        "import os, sys, pathlib\n"
        "from usid_tasks import claims\n"
        "claims._remove = lambda *_: os._exit(9)\n"
        "claims.Claim(pathlib.Path(sys.argv[1]), 'scan.h5', run_id='x', dead_after_s=60)"
        ".__enter__()"
    )
    for n in (2, 3):
        run = subprocess.run([sys.executable, "-c", script, tmp_path], env=ENVIRONMENT, check=False)
        assert run.returncode == 9
        assert len(files(tmp_path)) == n
    with claim(tmp_path) as held:
        held.check()
    assert files(tmp_path) == []


def test_a_storage_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with claim(tmp_path) as held:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", away)
            with pytest.raises(UsidError, match="Input/output error"):
                held.check()
        held.check()


def test_a_claim_that_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        claim(tmp_path).check()
    with claim(tmp_path) as held, pytest.raises(RuntimeError):
        held.__enter__()


RACE = """
import os, sys, time, random, pathlib
from dataclasses import replace
from usid_tasks.claims import Claim
from usid_tasks.errors import ClaimedError
from usid_tasks.owners import Owner

dest, seed, until = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng = random.Random(seed)
inside = dest / "inside"
n_held = 0
while time.time() < until:
    try:
        with Claim(dest, "scan.h5", run_id=str(seed), dead_after_s=60) as claim:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another holds it too
            n_held += 1
            time.sleep(rng.random() * 0.002)
            claim.check()
            inside.unlink()
            fate = rng.random()
            if fate < 0.3:
                # dies: as another host's, not renewed for long, or as a process that is gone
                owner = Owner.from_json(claim.path.read_bytes())
                change = {"host": "elsewhere"} if fate < 0.15 else {"pid": 4194301}
                left = claim.path.with_suffix(f".{seed}")
                left.write_bytes(replace(owner, **change).to_json())
                os.utime(left, (1, 1))
                left.rename(claim.path)
    except ClaimedError:
        time.sleep(rng.random() * 0.001)
sys.stdout.write(str(n_held))
"""


def test_processes_that_race_never_both_hold(tmp_path: Path) -> None:
    until = time.time() + 2.5
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, tmp_path, str(seed), str(until)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        for seed in range(4)
    ]
    answers = [process.communicate() for process in processes]
    assert [error.decode() for _, error in answers] == [""] * 4
    assert sum(int(held) for held, _ in answers) > 50
    assert not (tmp_path / "inside").exists()
