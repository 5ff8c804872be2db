"""The catalogue's answers as a person reads them: aligned columns, one line an entry, never cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from usid_tasks.model import JSON
from usid_tasks.printable import printable
from usid_tasks.report import count
from usid_tasks.sizes import format_size

Record = Mapping[str, JSON]

_STYLES = {
    "failed": "bold red",
    "unreadable receipt": "bold red",
    "partial": "red",
    "quarantined": "red",
    "deferred": "yellow",
    "gone": "yellow",
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
}


def print_sources(console: Console, sources: Sequence[Record]) -> None:
    """Print a line for each source, and one below it for each Main dataset."""
    lines: list[list[str]] = [["state", "file", "size", "finished (UTC)"]]
    lines += [
        [one["state"], one["key"], _size(one["size"]), _time(one["finished"])] for one in sources
    ]
    aligned = iter(_aligned(lines))
    console.print(Text(next(aligned), style="dim"))
    for one, line in zip(sources, aligned, strict=True):
        state = one["state"]
        console.print(
            Text.assemble((line[: len(state)], _STYLES.get(state, "")), line[len(state) :])
        )
        for main in one["mains"]:
            console.print(f"    {_main_line(main)}")
        if one["reason"]:
            console.print(f"    {printable(one['reason'])}")


def print_counts(console: Console, counts: Mapping[str, int], *, n_shown: int) -> None:
    """Print how many sources there are in each state, and how many of them were shown."""
    told = ", ".join(f"{n:,} {state}" for state, n in counts.items())
    n_all = sum(counts.values())
    shown = "" if n_shown == n_all else f" ({n_shown:,} shown; --limit 0 shows all)"
    console.print(f"{count(n_all, 'file')}: {told}{shown}")


def print_nothing(console: Console, where: str) -> None:
    """Print what to do where the catalogue is empty."""
    console.print(f"nothing is recorded in {printable(where)}")
    console.print("`usid catalog rebuild DEST` reads the receipts of a DEST")


def print_source(console: Console, source: Record) -> None:
    """Print all that is known of one source."""
    console.print(
        Text.assemble(
            (printable(source["key"]), "bold"),
            "  ",
            (source["state"], _STYLES.get(source["state"], "")),
        )
    )
    facts = [
        ("reason", source["reason"]),
        ("since", source["since"]),
        ("destination", source["dest"]),
        ("size", "" if source["size"] is None else f"{source['size']:,} B"),
        ("digest", source["digest"]),
        ("finished", source["finished"]),
        ("run", source["run"]),
        ("machine", source["machine"]),
        ("formerly", ", ".join(source["former_paths"])),
    ]
    _print_facts(console, [(name, text) for name, text in facts if text])
    for main in source["mains"]:
        console.print()
        console.print(Text(f"  {_main_line(main)}", style="bold"))
        for line in _aligned([list(_coordinate_cells(one)) for one in main["coordinates"]]):
            console.print(f"    {line}")
    _print_part(console, "attributes", list(_attribute_lines(source["attributes"])))
    findings = [
        f"{one['rule']}  {one['severity']}  {printable(one['path'])}  {printable(one['found'])}"
        for one in source["findings"]
    ]
    _print_part(console, "findings", findings)
    _print_part(console, "stores", [_output_line(one) for one in source["outputs"]])


def print_runs(console: Console, runs: Sequence[Record]) -> None:
    """Print a line for each run."""
    lines = [["run", "began (UTC)", "ended (UTC)", "flow run", "files", ""]]
    lines += [
        [
            one["run"],
            _time(one["started"]),
            _time(one["ended"]) or "no record",
            one["flow_run"] or "",
            ", ".join(f"{n:,} {state}" for state, n in one["counts"].items() if n) or "none",
            one["dest"],
        ]
        for one in runs
    ]
    for number, line in enumerate(_aligned(lines)):
        console.print(Text(line, style="" if number else "dim"))
    console.print(count(len(runs), "run"))


def _print_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    for name, text in facts:
        console.print(f"  {name:<12}{printable(text)}")


def _print_part(console: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        console.print()
        console.print(Text(f"  {title}", style="bold"))
        for line in lines:
            console.print(f"    {line}")


def _main_line(main: Record) -> str:
    """Return path, quantity with units, type and dims of a Main dataset."""
    if not main["dtype"]:
        return printable(f"{main['path']}  {main['outcome']}")
    dims = " × ".join(
        f"{one['name']} {one['size']:,}" for one in main["coordinates"] if one["is_dim"]
    )
    dims = dims or " × ".join(f"{n:,}" for n in main["shape"]) or "a single value"
    unit = f" ({main['units']})" if main["units"] else ""
    dtype = main["dtype"] if main["dtype"].isalnum() else "compound"
    return printable(f"{main['path']}  {main['quantity'] or 'no quantity'}{unit}  {dtype}  {dims}")


def _coordinate_cells(one: Record) -> Iterator[str]:
    yield one["name"]
    yield f"{one['size']:,}"
    unit = f" {one['units']}" if one["units"] else ""
    if one["low"] is None:
        yield f"no range{unit}"
    elif one["low"] == one["high"]:
        yield f"{one['low']:.6g}{unit}"
    else:
        yield f"{one['low']:.6g} to {one['high']:.6g}{unit}"
    yield one["axis"]


def _attribute_lines(attributes: Sequence[Record]) -> Iterator[str]:
    """Yield attributes that say the same as one further up only once."""
    told: dict[str, str] = {}
    rows = []
    for one in sorted(attributes, key=lambda one: (one["path"].count("/"), one["path"])):
        if told.get(one["name"]) != one["text"]:
            told[one["name"]] = one["text"]
            rows.append([one["name"], one["text"], one["path"]])
    yield from _aligned(rows)


def _output_line(one: Record) -> str:
    size = "missing" if one["size"] is None else format_size(one["size"])
    superseded = "  superseded" if one["is_superseded"] else ""
    return printable(f"{one['path']}  {one['kind']}, {one['codec']}, {size}{superseded}")


def _size(size: int | None) -> str:
    return "" if size is None else format_size(size)


def _time(text: str | None) -> str:
    """Return a receipt's time to the second."""
    return "" if text is None else text[:19].replace("T", " ")


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()
