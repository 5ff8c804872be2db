"""The record of a file as a person reads it: a block for each Main dataset, then the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from usid_tasks.model import JSON
from usid_tasks.printable import printable
from usid_tasks.sizes import format_size

Entry = dict[str, JSON]

MOST_MAINS = 40
MOST_MEMBERS = 24
MOST_LINES = 120
"""What is shown of long files; the JSON record has everything."""

_SEVERITIES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def render(record: Entry, console: Console) -> None:
    """Print the record that :func:`usid_tasks.inspect.inspect_file` returns."""
    size = format_size(record["size_bytes"])
    console.print(
        Text.assemble((printable(record["file"]), "bold"), f"  {size}, ", record["dialect"])
    )
    for main in record["mains"][:MOST_MAINS]:
        console.print()
        _print_main(main, console)
    hidden = len(record["mains"]) - MOST_MAINS
    if hidden > 0:
        console.print(f"\n... and {hidden} more Main datasets; --json shows all")
    for broken in record["broken"]:
        console.print()
        console.print(
            Text.assemble((printable(broken["path"]), "bold"), ("  not sound", "bold red"))
        )
        for reason in broken["reasons"]:
            console.print(f"  {printable(reason)}")
    _print_results(record["results"], console)
    console.print()
    for line in _Outline(record).lines():
        console.print(line)
    console.print()
    console.print(_verdict(record))


def _print_main(main: Entry, console: Console) -> None:
    unit = f" ({main['units']})" if main["units"] else ""
    what = f"{main['quantity'] or 'no quantity'}{unit}, {main['dtype']}"
    shape = " × ".join(str(size) for size in main["shape"]) or "a single value"
    dims = f"  {' × '.join(printable(dim) for dim in main['dims'])}" if main["dims"] else ""
    console.print(Text(printable(main["path"]), style="bold"))
    console.print(f"  {printable(what)}")
    console.print(Text.assemble("  ", (shape, "bold cyan"), dims))
    for line in _aligned([list(_axis_cells(axis)) for axis in main["axes"]]):
        console.print(f"    {line}")
    if main["dtype"] == "compound":
        fields = [f"{'.'.join(part['field'])} {part['dtype']}" for part in main["components"]]
        console.print(f"  components: {_some(fields, 8)}")
    for side in main["sides"]:
        told = _form(side)
        if told:
            console.print(Text(f"  {told}", style="yellow"))
    console.print(f"  {_storage(main)}")


def _axis_cells(axis: Entry) -> Iterator[str]:
    """Yield label, size, range with units, and how the values run."""
    yield printable(axis["label"]) or "(no label)"
    yield f"{axis['size']:,}"
    unit = f" {printable(axis['units'])}" if axis["units"] else ""
    if "first" not in axis:
        yield "no values"
    elif axis["size"] == 1 and not axis["is_indexed"]:
        yield f"{_number(axis['first'])}{unit}"
    elif axis["kind"] in ("uniform", "monotonic"):
        yield f"{_number(axis['first'])} to {_number(axis['last'])}{unit}"
    elif "low" in axis:
        yield f"{_number(axis['low'])} to {_number(axis['high'])}{unit}"
    else:
        yield f"{_number(axis['first'])} to {_number(axis['last'])}{unit}"
    yield _course(axis, unit)


def _course(axis: Entry, unit: str) -> str:
    if len(axis["depends_on"]) > 1 or (
        axis["is_indexed"] and axis["label"] not in axis["depends_on"]
    ):
        others = [printable(dim) for dim in axis["depends_on"] if dim != axis["label"]]
        return f"depends on {', '.join(others)}" if others else "not on its index"
    if "step" in axis:
        return f"uniform, step {_number(axis['step'])}{unit}"
    if axis["size"] == 1:
        return ""
    return str(axis["kind"])


def _number(value: JSON) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[list[str]]) -> Iterator[str]:
    """Yield rows with their columns aligned, the second (a number) to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [
            " " * (width - cell_len(cell)) + cell
            if at == 1
            else cell + " " * (width - cell_len(cell))
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(padded).rstrip()


def _form(side: Entry) -> str:
    """Return what is special about one side, empty for a full grid."""
    points = "positions" if side["side"] == "position" else "spectroscopic steps"
    if side["form"] == "aborted":
        return (
            f"aborted: {side['points']:,} of {side['cells']:,} {points} measured, the rest padded"
        )
    if side["form"] == "flat":
        return f"no grid: {side['points']:,} {points} along one dimension ({side['reason']})"
    if not side["points"]:
        return f"no {points}"
    if side["acquisition"] == "unordered":
        return f"{points} in no regular order, placed by their indices"
    return ""


def _storage(main: Entry) -> str:
    storage = main["storage"]
    rows, columns = main["stored_shape"]
    parts = [f"stored as {rows:,} × {columns:,}, {format_size(storage['size_bytes'])}"]
    if storage["chunks"]:
        parts.append(f"chunks of {' × '.join(str(edge) for edge in storage['chunks'])}")
    else:
        parts.append(storage["layout"])
    if storage["filters"]:
        allocated = format_size(storage["allocated_bytes"])
        parts.append(f"{' + '.join(storage['filters'])} ({allocated} on disk)")
    parts.append(f"read {storage['read']}")
    if storage["elsewhere"]:
        files = [printable(part["file"]) for part in storage["elsewhere"]]
        parts.append(f"values in {_some(files, 3)}")
    if storage["unwritten_rows"]:
        n_rows = sum(stop - start for start, stop in storage["unwritten_rows"])
        parts.append(f"{n_rows:,} rows never written")
    return ", ".join(parts)


def _some(items: Sequence[str], most: int) -> str:
    told = [printable(item) for item in items]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def _print_results(results: Sequence[Entry], console: Console) -> None:
    if not results:
        return
    console.print()
    console.print(Text("results", style="bold"))
    rows = []
    for group in results[:MOST_MEMBERS]:
        sources = group["sources"] or [" ".join(group["source_elsewhere"])]
        rows.append([
            printable(group["path"]),
            f"{len(group['mains'])} Main",
            printable(group["tool"] or "no tool told"),
            f"of {_some(sources, 2)}" if sources[0] else "of an unnamed source",
        ])  # fmt: skip
    for line in _aligned(rows):
        console.print(f"  {line}")
    if len(results) > MOST_MEMBERS:
        console.print(f"  ... and {len(results) - MOST_MEMBERS} more")


@dataclass
class _Outline:
    """The tree of a file, bounded in depth of detail and in length."""

    record: Entry

    def lines(self) -> Iterator[Text]:
        self._groups = {group["path"]: group for group in self.record["groups"]}
        self._what = dict(self._datasets())
        lines = list(self._below("/", ""))
        yield Text.assemble("/", (self._about(self._groups["/"]), "dim"))
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield Text(f"... and {len(lines) - MOST_LINES} more lines; --json shows all")

    def _datasets(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for main in self.record["mains"]:
            yield main["path"], ("Main", " × ".join(str(size) for size in main["shape"]))
        for kind, entries in (("not sound", self.record["broken"]), ("", self.record["datasets"])):
            for entry in entries:
                shape = entry["stored_shape"]
                size = "empty" if shape is None else " × ".join(str(edge) for edge in shape)
                yield entry["path"], (kind, f"{size} {entry['dtype']}".strip())

    def _below(self, path: str, indent: str) -> Iterator[Text]:
        group = self._groups[path]
        entries = [*group["members"], *group["links"]]
        shown = entries[:MOST_MEMBERS]
        for number, name in enumerate(shown):
            is_last = number == len(entries) - 1
            branch, below = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            child = f"{path.rstrip('/')}/{name}"
            yield Text.assemble(f"{indent}{branch}", *self._entry(group, name, child))
            if child in self._groups:
                yield from self._below(child, indent + below)
        if len(entries) > len(shown):
            yield Text(f"{indent}└─ ... and {len(entries) - len(shown)} more")

    def _entry(self, group: Entry, name: str, child: str) -> Iterator[tuple[str, str]]:
        if name in group["links"] and child not in self._groups:
            yield printable(name), ""
            (kind, target), *_ = group["links"][name].items()
            target = " ".join(target) if isinstance(target, list) else target
            yield f"  {kind} link to {printable(target)}", "dim"
            return
        kind, told = self._what.get(child, ("", ""))
        yield printable(name), "bold" if kind == "Main" else ""
        if kind:
            yield f"  {kind}", "cyan" if kind == "Main" else "bold red"
        if child in self._groups:
            yield self._about(self._groups[child]), "dim"
        elif told:
            yield f"  {told}", "dim"

    @staticmethod
    def _about(group: Entry) -> str:
        n_attributes = len(group["attributes"])
        plural = "" if n_attributes == 1 else "s"
        return f"  {n_attributes} attribute{plural}" if n_attributes else ""


def _verdict(record: Entry) -> Text:
    """Return the last line: how many findings, and how to see them."""
    counts = Counter(finding["severity"] for finding in record["findings"])
    n_mains, n_broken = len(record["mains"]), len(record["broken"])
    sound = f"{n_mains} of {n_mains + n_broken} Main datasets sound"
    line = Text(sound if n_mains + n_broken else "no Main dataset")
    for severity, style in _SEVERITIES.items():
        n_findings = counts[severity]
        if n_findings:
            noun = {"info": "information"}.get(severity, severity + "s" * (n_findings > 1))
            line.append(f", {n_findings} {noun}", style=style)
    if counts["error"] or counts["warning"]:
        line.append("; `usid validate` tells what to do")
    return line
