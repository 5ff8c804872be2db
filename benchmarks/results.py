"""Tables of figures: printed for people, and kept in ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.contest import Measured

RESULTS = Path(__file__).with_name("RESULTS.md")

_HEAD = """# Results

Written by `python -m benchmarks convert|rechunk|scan|read|write|process`, a section each. What \
stands between the marks of a section is replaced when its command is run; what is written beside \
them stays.

Times are medians, the fastest and the slowest run beside them. Everyone is run in turn, each time \
in a fresh process, with the sources in the page cache, and nothing looks at a process that is \
timed. One more run of each is looked at every 20 ms: its peak is the sum of the PSS of all its \
processes. Every outcome is compared with what the source was made from.
"""
_MIB = 2**20
_FAILED = "failed"


@dataclass(frozen=True)
class Figures:
    """One table: a title, headings, and rows of text."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Ratio:
    """A figure that the project promises: what it came to, beside the bound."""

    what: str
    value: float
    bound: float
    is_at_least: bool = True

    @property
    def is_reached(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.bound if self.is_at_least else self.value <= self.bound

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What, measured, bound, and whether it is reached."""
        sign = "at least" if self.is_at_least else "at most"
        told = "reached" if self.is_reached else "not reached"
        return self.what, f"{self.value:.2f}", f"{sign} {self.bound:.2f}", told


@dataclass(frozen=True)
class Section:
    """All that one command found."""

    name: str
    figures: Sequence[Figures]
    ratios: Sequence[Ratio] = ()
    notes: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def tables(self) -> Iterator[Figures]:
        """Yield every table, that of the promises last."""
        yield from self.figures
        if self.ratios:
            rows = [ratio.row for ratio in self.ratios]
            yield Figures("promised", ("ratio", "measured", "promised", ""), rows)


def measured_figures(title: str, measured: Sequence[Measured]) -> Figures:
    """Return the table of what contestants took: time, and memory beyond what imports take."""
    headings = (
        "",
        "whole process, s",
        "work alone, s",
        "peak, MiB",
        "after imports, MiB",
        "processes",
    )
    return Figures(title, headings, [_row(each) for each in measured])


def _row(each: Measured) -> tuple[str, ...]:
    if each.failure is not None:
        return (each.name, f"{_FAILED}: {each.failure}", "", "", "", "")
    baseline = "" if each.after_imports is None else f"{each.after_imports / _MIB:.0f}"
    return (
        each.name,
        spread(each.whole),
        spread(each.work) if each.work else "",
        f"{each.memory.peak_bytes / _MIB:.0f}",
        baseline,
        str(each.memory.n_processes),
    )


def spread(seconds: Sequence[float]) -> str:
    """Return a median with the least and the most: ``"2.41 (2.38 to 2.70)"``."""
    if len(seconds) == 1:
        return _number(seconds[0])
    low, high = min(seconds), max(seconds)
    return f"{_number(statistics.median(seconds))} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def print_section(console: Console, section: Section) -> None:
    """Print a section as tables."""
    for figures in section.tables():
        table = RichTable(title=figures.title, title_justify="left", title_style="bold")
        for number, heading in enumerate(figures.headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in figures.rows:
            table.add_row(*row)
        console.print(table)
    for note in section.notes:
        console.print(f"note: {note}", markup=False)
    for name, told in section.about.items():
        console.print(f"{name}: {told}", markup=False)


def markdown(section: Section) -> str:
    """Return a section as Markdown, between its marks."""
    lines = [f"<!-- {section.name}: begin -->"]
    lines += [f"- {name}: {told}" for name, told in section.about.items()]
    for figures in section.tables():
        lines += ["", f"**{figures.title}**", ""]
        lines.append(_cells(figures.headings))
        lines.append("|-" + "|-" * (len(figures.headings) - 1) + "|")
        lines += [_cells(row) for row in figures.rows]
    if section.notes:
        lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join([*lines, f"<!-- {section.name}: end -->"])


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def write_section(section: Section, path: Path = RESULTS) -> None:
    """Put a section into the file in the place of its former self; all else stays.

    A section that was not there comes last, under a heading of its own.
    """
    text = path.read_text("utf-8") if path.exists() else _HEAD
    begin, end = (f"<!-- {section.name}: {mark} -->" for mark in ("begin", "end"))
    made = markdown(section)
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    if marked.search(text):
        text = marked.sub(lambda _: made, text, count=1)
    else:
        text = f"{text.rstrip()}\n\n## {section.name}\n\n{made}\n"
    path.write_text(text, "utf-8")
