"""A chain as people read it: an indented tree, the state of each link first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from usid_tasks.printable import printable
from usid_tasks.provenance.chain import Link, State

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    State.VERIFIED: "",
    State.MOVED: "cyan",
    State.UNKNOWN: "yellow",
    State.CHANGED: "bold red",
    State.MISSING: "bold red",
}

_WIDTH = max(map(len, State))


def print_chain(console: Console, links: Sequence[Link]) -> None:
    """Print each link on a line, what is to be told of it below, then a line of counts."""
    if not links:
        console.print("no results: nothing here was made by a tool")
        return
    for link in links:
        indent = "  " * link.depth
        style = _STYLES[link.state]
        made = f"  by {_run(link)}" if link.tool else ""
        place = f"{printable(link.file)} {printable(link.path)}"
        console.print(f"{link.state:<{_WIDTH}}  {indent}{place}{printable(made)}", style=style)
        for told in link.detail:
            console.print(f"{'':<{_WIDTH}}  {indent}    {printable(told)}", style=style)
    counts = Counter(link.state for link in links)
    told = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    console.print(f"\n{len(links)} links: {told}" if len(links) > 1 else f"\n1 link: {told}")


def _run(link: Link) -> str:
    if link.record is None:
        return link.tool
    return f"{link.tool} {link.record.version}, {link.record.ended}"
