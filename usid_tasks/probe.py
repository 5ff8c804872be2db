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
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from usid_tasks.errors import FileBusyError, NotHDF5Error, UsidError
from usid_tasks.model import JSON, Finding

TIMEOUT_S = 120.0
"""How long one file may take, unless a setting says otherwise."""

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
"""How a program dies of bad data; any other end is somebody's doing, or the machine's."""

_AHEAD = 1
"""How many files a child is told of before it has looked at the one in hand."""

_REMEDY = "restore it from its source, or remove it"


class _Child:
    """One process that looks at the files it is told of, one after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "usid_tasks.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._heard = b""

    def tell(self, question: Mapping[str, JSON]) -> None:
        """Tell the child of a file; that it is gone shows when it is heard."""
        assert self.process.stdin is not None, "the child is told of files on its input"
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the child's next answer, None if the child is gone.

        Raises
        ------
        TimeoutError
            If nothing comes for ``timeout_s`` seconds.
        """
        assert self.process.stdout is not None, "the child answers on its output"
        while b"\n" not in self._heard:
            if not select.select([self.process.stdout], [], [], timeout_s)[0]:
                raise TimeoutError
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                return None
            self._heard += part
        answer, _, self._heard = self._heard.partition(b"\n")
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


def _take() -> _Child:
    with _lock:
        child = _idle.pop() if _idle else None
    return child or _Child()


def _put_back(child: _Child) -> None:
    with _lock:
        _idle.append(child)


class _Asked:
    """A file that a child is to look at, and its answer to come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: Future[dict[str, Any]] = Future()


def _folder() -> str:
    """Return the current folder, from which paths are told, empty where it is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _next(files: deque[_Asked]) -> _Asked | None:
    with suppress(IndexError):
        return files.popleft()
    return None


def _ask(
    question: Mapping[str, JSON], files: deque[_Asked], timeout_s: float, *, n_children: int = 1
) -> None:
    """Ask one child the same of one file after the other; ``n_children`` share ``files``.

    As long as there are enough files for all, the child is told of the next one while it looks at
    one, so that it never waits for us. Where a file ends it, another child goes on with what it
    had been told of.
    """
    child: _Child | None = None
    told: deque[_Asked] = deque()

    def tell(child: _Child, asked: _Asked) -> None:
        child.tell({**question, "path": os.fspath(asked.path), "folder": _folder()})

    try:
        while files or told:
            if child is None:
                child = _take()
                for asked in told:
                    tell(child, asked)
            while len(told) <= (_AHEAD if len(files) >= n_children else 0):
                another = _next(files)
                if another is None:
                    break
                tell(child, another)
                told.append(another)
            if told:
                child = _hear(child, told[0], timeout_s)
                told.popleft()
    except BaseException as error:
        if child is not None:
            child.end()
        for asked in (*told, *iter(lambda: _next(files), None)):
            asked.answer.set_exception(error)
        raise
    if child is not None:
        _put_back(child)


def _hear(child: _Child, asked: _Asked, timeout_s: float) -> _Child | None:
    """Take the answer on a file; return the child, None if the file was its end."""
    try:
        answer = child.hear(timeout_s)
    except TimeoutError:
        child.end()
        what = f"HDF5 did not come to an end in {timeout_s:g} s"
        asked.answer.set_exception(NotHDF5Error(asked.path, what, _REMEDY))
        return None
    if answer is None:
        asked.answer.set_exception(_failure(child.end(), asked.path))
        return None
    asked.answer.set_result(answer)
    return child


def _failure(status: int, path: Path) -> UsidError:
    """Return why a child that ended with this status did not answer."""
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    if -status in _CRASHES:
        return NotHDF5Error(path, f"HDF5 crashed on it ({how})", _REMEDY)
    return UsidError(
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
    asked = _Asked(path)
    _ask({"do": "parse"}, deque([asked]), timeout_s)
    asked.answer.result()


def findings_from_children(
    paths: Sequence[Path], thresholds: Mapping[str, JSON], *, timeout_s: float
) -> Generator[list[Finding] | UsidError]:
    """Yield all findings of each file in the order of ``paths``, found in child processes.

    There is a child for each processor. In place of findings there is a :class:`FileBusyError`
    or :class:`UsidError` where a file is busy or cannot be read, and what :func:`probe` raises
    where a child ended on it.
    """
    question = {"do": "validate", "thresholds": dict(thresholds)}
    asked = [_Asked(path) for path in paths]
    files = deque(asked)
    n_children = min(os.cpu_count() or 1, len(asked))
    with ThreadPoolExecutor(max(n_children, 1)) as pool:
        for _ in range(n_children):
            pool.submit(_ask, question, files, timeout_s, n_children=n_children)
        try:
            for one in asked:
                yield _findings(one)
        finally:  # whoever asked wants no more
            files.clear()


def _findings(asked: _Asked) -> list[Finding] | UsidError:
    try:
        answer = asked.answer.result()
    except UsidError as error:
        return error
    if "refused" in answer:
        kind = FileBusyError if answer["is_busy"] else UsidError
        return kind(*answer["refused"])
    return [Finding.from_json(record) for record in answer["findings"]]


def _parse(question: Mapping[str, Any]) -> dict[str, JSON]:
    from usid_tasks.tree import open_tree

    try:
        open_tree(question["path"])
    except Exception as error:  # noqa: BLE001 - the parent meets it again, and tells it
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def _validate(question: Mapping[str, Any]) -> dict[str, JSON]:
    from usid_tasks.thresholds import Thresholds
    from usid_tasks.validate import findings_with

    try:
        found = findings_with(question["path"], Thresholds(**question["thresholds"]))
    except UsidError as error:
        parts = [error.where, error.what, error.remedy]
        return {"refused": parts, "is_busy": isinstance(error, FileBusyError)}
    return {"findings": [finding.to_json() for finding in found]}


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    import_module("usid_tasks.usid")  # what every question needs, before there is one
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if question["folder"]:
            os.chdir(question["folder"])
        answer = _parse(question) if question["do"] == "parse" else _validate(question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
