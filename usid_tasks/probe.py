"""A first look at a file in a process that may die of it.

HDF5 can crash, or never come back, on a file whose bytes are damaged (measured: flipped bytes in
attributes). A child process parses every unknown file before this one does, so that one bad file
never stops the others. Children are kept for the next file and end with this process.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from usid_tasks.errors import FileBusyError, NotHDF5Error, UsidError
from usid_tasks.model import JSON, Finding

TIMEOUT_S = 120.0
"""How long one file may take, unless a setting says otherwise."""

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
"""How a program dies of bad data; any other end is somebody's doing, or the machine's."""

_REMEDY = "restore it from its source, or remove it"


class _Child:
    """One process that parses the files it is told of."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "usid_tasks.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, question: Mapping[str, JSON], timeout_s: float) -> dict[str, Any] | None:
        """Return the child's answer, None if it did not come in time or the child is gone."""
        assert self.process.stdin is not None, "the child is told of files on its input"
        assert self.process.stdout is not None, "the child answers on its output"
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = b""
        deadline = time.monotonic() + timeout_s
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready = select.select([self.process.stdout], [], [], max(left, 0))[0]
            if not ready:
                return None
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                return None
            answer += part
        told: dict[str, Any] = json.loads(answer)
        return told

    def end(self) -> int:
        """Return how the child ended; one that still runs is killed."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what a dead child was not told
                    stream.close()
        try:
            return self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


_idle: list[_Child] = []
_lock = threading.Lock()


def _end_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().end()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):  # a forked process must not talk to our children
    os.register_at_fork(after_in_child=_idle.clear)


def _ask(question: Mapping[str, JSON], path: Path, timeout_s: float) -> dict[str, Any]:
    with _lock:
        child = _idle.pop() if _idle else None
    child = child or _Child()
    began = time.monotonic()
    answer = child.ask({**question, "path": os.fspath(path)}, timeout_s)
    if answer is not None:
        with _lock:
            _idle.append(child)
        return answer
    is_late = time.monotonic() - began >= timeout_s
    status = child.end()
    if is_late:
        raise NotHDF5Error(path, f"HDF5 did not come to an end in {timeout_s:g} s", _REMEDY)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    if -status in _CRASHES:
        raise NotHDF5Error(path, f"HDF5 crashed on it ({how})", _REMEDY)
    raise UsidError(
        path, f"the process that was reading it has ended ({how})", "Run the command again."
    )


def probe(path: Path, *, timeout_s: float) -> None:
    """Parse a file in a child process.

    What the child tells of a file that HDF5 refuses in an orderly way is left to the caller, who
    parses it again; only what would have ended this process is raised.

    Raises
    ------
    NotHDF5Error
        If HDF5 crashed on the file, or did not come to an end in ``timeout_s`` seconds.
    UsidError
        If the child ended otherwise: it was stopped, or could not start.
    """
    _ask({"do": "parse"}, path, timeout_s)


def findings_from_child(
    path: Path, thresholds: Mapping[str, JSON], *, timeout_s: float
) -> list[Finding]:
    """Return all findings of a file, found in a child process.

    Raises
    ------
    NotHDF5Error
        See :func:`probe`.
    UsidError
        If the file is busy or cannot be read.
    """
    question = {"do": "validate", "thresholds": dict(thresholds)}
    answer = _ask(question, path, timeout_s)
    if "refused" in answer:
        kind = FileBusyError if answer["is_busy"] else UsidError
        raise kind(*answer["refused"])
    return [Finding.from_json(record) for record in answer["findings"]]


def _parse(question: Mapping[str, Any]) -> dict[str, JSON]:
    from usid_tasks.tree import open_tree

    try:
        open_tree(question["path"])
    except Exception as error:  # noqa: BLE001 - the parent meets it again, and tells it
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def _validate(question: Mapping[str, Any]) -> dict[str, JSON]:
    from usid_tasks.validate import Thresholds, findings_with

    try:
        found = findings_with(question["path"], Thresholds(**question["thresholds"]))
    except UsidError as error:
        parts = [error.where, error.what, error.remedy]
        return {"refused": parts, "is_busy": isinstance(error, FileBusyError)}
    return {"findings": [finding.to_json() for finding in found]}


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    for line in sys.stdin.buffer:
        question = json.loads(line)
        answer = _parse(question) if question["do"] == "parse" else _validate(question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
