"""How far long work has come: a small protocol, bars on a terminal, and silence elsewhere.

Bars go to standard error, so that results on standard output stay clean.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from usid_tasks.printable import printable
from usid_tasks.sizes import format_size

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Task, TaskID
    from rich.text import Text


class Progress(Protocol):
    """What long work tells about itself; every method may be called from any thread."""

    def begin(
        self,
        step: str,
        *,
        files: int | None = None,
        size_bytes: int | None = None,
        positions: int | None = None,
    ) -> None:
        """Start a step ("converting") and end the one before.

        ``files``, ``size_bytes`` and ``positions`` (of a Main dataset) are how many there will
        be: None counts nothing of that kind, 0 begins a count whose total is told by
        :meth:`expect`.
        """

    def expect(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """Raise the totals of the step by what has been found meanwhile."""

    def advance(self, *, files: int = 0, size_bytes: int = 0, positions: int = 0) -> None:
        """Tell what has been done since the last call."""

    def note(self, line: str) -> None:
        """Show one line of text that stays."""


class NullProgress:
    """Progress that tells nobody."""

    def begin(
        self,
        step: str,
        *,
        files: int | None = None,
        size_bytes: int | None = None,
        positions: int | None = None,
    ) -> None:
        """Do nothing."""

    def expect(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """Do nothing."""

    def advance(self, *, files: int = 0, size_bytes: int = 0, positions: int = 0) -> None:
        """Do nothing."""

    def note(self, line: str) -> None:
        """Do nothing."""


class BarProgress:
    """Progress as two bars, files and bytes, that vanish when the work ends.

    Parameters
    ----------
    console
        Where to draw; a terminal on standard error.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
        from rich.table import Column
        from rich.text import Text

        class Amounts(ProgressColumn):
            """Done and total with their unit, and the rate of bytes."""

            def render(self, task: Task) -> Text:
                return Text(_amounts(task))

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            Amounts(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def begin(
        self,
        step: str,
        *,
        files: int | None = None,
        size_bytes: int | None = None,
        positions: int | None = None,
    ) -> None:
        """Replace the bars by those of a new step."""
        for row in self._rows.values():
            self._bars.remove_task(row)
        totals = {"files": files, "size_bytes": size_bytes, "positions": positions}
        if all(
            total is None for total in totals.values()
        ):  # a step without a count still shows its name
            self._rows = {"files": self._bars.add_task(printable(step), total=None, unit="")}
            return
        self._rows = {}
        for unit, total in totals.items():
            if total is not None:
                label = "" if self._rows else printable(step)
                self._rows[unit] = self._bars.add_task(label, total=total or None, unit=unit)

    def expect(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """Lengthen the bars."""
        for unit, more in (("files", files), ("size_bytes", size_bytes)):
            if more and unit in self._rows:
                task = next(task for task in self._bars.tasks if task.id == self._rows[unit])
                self._bars.update(task.id, total=(task.total or 0) + more)

    def advance(self, *, files: int = 0, size_bytes: int = 0, positions: int = 0) -> None:
        """Fill the bars."""
        counts = (("files", files), ("size_bytes", size_bytes), ("positions", positions))
        for unit, done in counts:
            if done and unit in self._rows:
                self._bars.advance(self._rows[unit], done)

    def note(self, line: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(printable(line), markup=False, highlight=False)


def open_progress(*, is_quiet: bool = False) -> AbstractContextManager[Progress]:
    """Return bars for a ``with`` statement, or silence where nobody would see them.

    That is, where ``is_quiet`` asks for it or standard error is not a terminal.
    """
    if is_quiet or not sys.stderr.isatty():
        return nullcontext(NullProgress())
    from rich.console import Console

    return BarProgress(Console(stderr=True))


def _amounts(task: Task) -> str:
    unit = task.fields["unit"]
    if unit == "files":
        total = "" if task.total is None else f" of {task.total:.0f}"
        return f"{task.completed:.0f}{total} files"
    if unit == "size_bytes":
        total = "" if task.total is None else f" of {format_size(int(task.total))}"
        speed = f", {format_size(int(task.speed))}/s" if task.speed else ""
        return f"{format_size(int(task.completed))}{total}{speed}"
    if unit == "positions":
        total = "" if task.total is None else f" of {task.total:,.0f}"
        speed = f", {task.speed:,.0f}/s" if task.speed else ""
        return f"{task.completed:,.0f}{total} positions{speed}"
    return ""
