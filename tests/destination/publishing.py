"""What the tests of publishing share: small stores, receipts, and processes that are killed.

Run as a program (``python publishing.py WORK SCENARIO [twice]``) it publishes or mends in forked
children, each killed before another of its renames, fsyncs, removals and new folders, and
prints how many there were.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from usid_tasks.claims import Claim
from usid_tasks.model import LAYOUT_VERSION, Outcome
from usid_tasks.publish import Destination, Mended, Published
from usid_tasks.receipts import ArrayRecord, Receipt, SourceRecord, read_receipt

KEY = "day/scan.h5"
ARRAY_PATH = "Measurement_000/Raw_Data"
KILLED_CALLS = ("rename", "fsync", "unlink", "rmdir", "mkdir")
KILLED_AGAIN = ("rename", "unlink")


def digest_of(content: str) -> str:
    return "test:" + content.encode().hex().rjust(16, "0")


def receipt_of(
    content: str | None, *, outcome: Outcome = Outcome.DONE, key: str = KEY, reason: str = ""
) -> Receipt:
    """A receipt of a source of this content; with a store if the outcome has one."""
    has_store = outcome in (Outcome.DONE, Outcome.PARTIAL)
    digest = None if content is None else digest_of(content)
    array = (
        ArrayRecord(digest=digest or "", shape=(3,), dtype="<f4", main="/Raw")
        if has_store
        else None
    )
    return Receipt(
        source=SourceRecord(
            root_name="", path=key, size=1, mtime_ns=2, ctime_ns=3, inode=4, digest=digest
        ),
        outcome=outcome,
        reason=reason,
        started="2026-01-02T03:04:05Z",
        finished="2026-01-02T03:04:06.789Z",
        settings_digest="test:00",
        layout_version=LAYOUT_VERSION,
        arrays={ARRAY_PATH: array} if array else {},
    )


def stage(destination: Destination, claim: Claim, content: str) -> Path:
    """Write a store of two files."""
    staged = destination.staging(claim)
    (staged / "c").mkdir(parents=True)
    (staged / "zarr.json").write_text(json.dumps({"content": content}))
    (staged / "c" / "0").write_text(content)
    return staged


def publish(
    destination: Destination,
    content: str,
    *,
    outcome: Outcome = Outcome.DONE,
    key: str = KEY,
    run_id: str = "run-1",
) -> Published:
    """Publish a store of this content, or the receipt of an outcome without one."""
    receipt = receipt_of(content, outcome=outcome, key=key)
    with destination.claim(key, run_id=run_id) as claim:
        staged = stage(destination, claim, content) if receipt.has_store else None
        return destination.publish(staged, receipt, claim)


def content_of(store: Path) -> str | None:
    """The content of a store that is whole; None where there is none."""
    if not os.path.lexists(store):
        return None
    content = (store / "c" / "0").read_text()
    assert json.loads((store / "zarr.json").read_text()) == {"content": content}
    return content


def in_place(dest: Path, key: str = KEY) -> tuple[str | None, Receipt | None]:
    """Content of the store and the receipt at a source's place."""
    return (
        content_of(dest / f"{key}.zarr"),
        read_receipt(dest / f"{key}.receipt.json"),
    )


def superseded(dest: Path, key: str = KEY) -> dict[str, tuple[str | None, Receipt | None]]:
    """Content and receipt of every former store."""
    name = key.rpartition("/")[2]
    return {
        entry.name: (
            content_of(entry / f"{name}.zarr"),
            read_receipt(entry / f"{name}.receipt.json"),
        )
        for entry in (dest / ".usid" / "superseded" / key).glob("*")
    }


def staged(dest: Path) -> list[str]:
    """What lies in the staging folder."""
    folder = dest / ".usid" / "staging"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# what is there before, and what is then done
SCENARIOS: dict[str, tuple[list[tuple[str, Outcome]], tuple[str, Outcome]]] = {
    "first": ([], ("new", Outcome.DONE)),
    "changed": ([("old", Outcome.DONE)], ("new", Outcome.DONE)),
    "refreshed": ([("old", Outcome.DONE), ("old", Outcome.DONE)], ("old", Outcome.DONE)),
    "now broken": ([("old", Outcome.DONE)], ("new", Outcome.FAILED)),
    "still broken": ([("old", Outcome.FAILED)], ("new", Outcome.FAILED)),
    "now sound": ([("old", Outcome.FAILED)], ("new", Outcome.PARTIAL)),
    "failed again": ([("old", Outcome.DONE)], ("old", Outcome.FAILED)),
}


def prepare(dest: Path, scenario: str) -> Destination:
    destination = Destination(dest)
    dest.mkdir(parents=True, exist_ok=True)
    for content, outcome in SCENARIOS[scenario][0]:
        publish(destination, content, outcome=outcome)
    return destination


def mend(dest: Path, *, run_id: str) -> tuple[Mended, ...]:
    """Mend, taking a slot that was not named yet as old enough."""
    return Destination(dest, dead_after_s=-1, fsync=False).mend(run_id=run_id)


def killed_before(n: int, work: Callable[[], object], calls_of: Iterable[str]) -> bool:
    """Do the work in a forked child that is killed before its n-th call; False if it ended."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)
    calls = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def one(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return one

    for name in calls_of:
        setattr(os, name, counted(getattr(os, name)))
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main(work: Path, scenario: str, *, is_twice: bool) -> None:
    """Make ``WORK/<n>`` (killed while publishing) and ``WORK/<n>-<m>`` (then while mending)."""
    # a killed process loses nothing that it has written: the disk is not waited for
    setattr(os, "fsync", lambda _: None)  # noqa: B010
    content, outcome = SCENARIOS[scenario][1]
    prepare(work / "before", scenario)
    n_killed = 0
    for n in range(1, 1000):
        dest = work / str(n)
        shutil.copytree(work / "before", dest)
        work_at = partial(publish, Destination(dest), content, outcome=outcome)
        if not killed_before(n, work_at, KILLED_CALLS):
            shutil.rmtree(dest)
            break
        n_killed += 1
        for m in range(1, 1000 if is_twice else 1):
            again = work / f"{n}-{m}"
            shutil.copytree(dest, again)
            if not killed_before(m, partial(mend, again, run_id="run-2"), KILLED_AGAIN):
                shutil.rmtree(again)
                break
    sys.stdout.write(f"{n_killed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], is_twice="twice" in sys.argv)
