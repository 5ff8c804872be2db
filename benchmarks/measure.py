"""One command in a fresh process: its time, or its memory and that of every process it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usid_tasks.errors import UsidError

ROOT = Path(__file__).resolve().parents[1]
"""The folder of the project: children run there, so that they find this package."""

LIMIT_S = 3600.0
"""How long a child may take before it is ended."""

_SAMPLE_S = 0.02
_LAST_LINES = 12
# settings of whoever starts it; without bytecode our modules alone would be compiled anew
_FOREIGN = ("USID_", "DASK_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Run:
    """What one child came to.

    ``seconds`` is the whole process, from its start to its end; ``report`` what the child told
    (see :mod:`benchmarks.jobs`), ``told`` what it printed.
    """

    seconds: float
    report: Mapping[str, Any]
    told: str


@dataclass(frozen=True)
class Memory:
    """Peak of the summed PSS of all processes of a child, in bytes, and how many there were."""

    peak_bytes: int
    n_processes: int


def pss_bytes(pid: int | str = "self") -> int:
    """Return the proportional set size of a process, in bytes; 0 where it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def session_members(session: int) -> list[int]:
    """Return the processes of a session: a child started in one, and all that it started."""
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    members.append(int(folder.name))
    return members


def run_timed(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, status: int = 0
) -> Run:
    """Run a command to its end and return how long it took; nothing looks at it meanwhile.

    Parameters
    ----------
    command
        The program and its arguments; ``{report}`` among them is the file for the report.
    environment
        Variables beside those of this process, from which our own and Dask's are taken.
    status
        The exit status that is right.

    Raises
    ------
    UsidError
        If it ends with another exit status, or not in time.
    """
    with _started(command, environment, status) as child:
        child.wait()
    return child.run()


def run_watched(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, status: int = 0
) -> tuple[Run, Memory]:
    """Run a command as :func:`run_timed` does, and look at its memory every 20 ms.

    Its time is not to be used: looking takes some of it.
    """
    peak = n_processes = 0
    with _started(command, environment, status) as child:
        while child.is_running():
            members = session_members(child.process.pid)
            peak = max(peak, sum(map(pss_bytes, members)))
            n_processes = max(n_processes, len(members))
            time.sleep(_SAMPLE_S)
    return child.run(), Memory(peak, n_processes)


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    log: Path
    report: Path
    began: float
    seconds: float = 0.0
    content: str = ""
    told: str = ""

    def wait(self) -> None:
        self.process.wait()
        self.seconds = time.perf_counter() - self.began

    def is_running(self) -> bool:
        if self.process.poll() is None:
            return True
        self.seconds = time.perf_counter() - self.began
        return False

    def keep(self) -> None:
        """Take what it left in files that are about to go."""
        self.told = self.log.read_text("utf-8", "replace")
        if self.report.exists():
            self.content = self.report.read_text("utf-8")

    def run(self) -> Run:
        return Run(self.seconds, json.loads(self.content or "{}"), self.told)


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str] | None, status: int
) -> Iterator[_Child]:
    """Start a child in a session of its own; nothing of it is left when this ends."""
    with tempfile.TemporaryDirectory(prefix="usid-run-") as folder:
        log, report = Path(folder, "log"), Path(folder, "report.json")
        arguments = [str(report) if part == "{report}" else part for part in command]
        own = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        with log.open("wb") as stream:
            began = time.perf_counter()
            process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = _Child(process, log, report, began)
        is_late = threading.Event()
        timer = threading.Timer(LIMIT_S, _in_turn(is_late.set, lambda: _end(process.pid)))
        timer.start()
        try:
            yield child
            child.keep()
        finally:
            timer.cancel()
            timer.join()
            _end(process.pid)
            process.wait()
    name = " ".join(arguments[:4])
    if is_late.is_set():
        raise UsidError(name, f"did not end in {LIMIT_S:g} s", "Measure with a smaller --size.")
    if process.returncode != status:
        last = "\n".join(child.told.strip().splitlines()[-_LAST_LINES:])
        what = f"ended with exit status {process.returncode}, expected {status}:\n{last}"
        raise UsidError(name, what, "Run it alone to see why.")


def _in_turn(*calls: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        for each in calls:
            each()

    return call


def _end(session: int) -> None:
    """End what is left of a child's own process group, if anything."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
