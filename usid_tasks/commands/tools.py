"""``usid tools``: what can be computed over Main datasets, and with which parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usid_tasks.commands.options import AsJson, echo_json, echo_lines

if TYPE_CHECKING:
    from usid_tasks.tools.declaration import Tool
    from usid_tasks.tools.registry import Registered


def tools(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One tool; all if left out.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List what `usid process` can run, with parameters.

    Tools come from installed packages; one that is broken is told and hides no other. With NAME:
    also what exactly is computed.
    """
    from usid_tasks import tools as library

    found = library.tools()
    if name is not None:
        library.find_tool(name)
        found = tuple(each for each in found if each.name == name)
    if as_json:
        echo_json([_record(each) for each in found])
    else:
        echo_lines(line for each in found for line in _lines(each, is_whole=name is not None))


def _record(found: Registered) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": found.name,
        "packages": list(found.packages),
        "problem": found.problem or None,
    }
    if found.tool is not None:
        told |= {
            "summary": found.tool.summary,
            "algorithm": found.tool.algorithm,
            "version": found.tool.version,
            "parameters": found.tool.parameters.model_json_schema(),
        }
    return told


def _lines(found: Registered, *, is_whole: bool) -> Iterator[str]:
    from usid_tasks.printable import printable

    tool = found.tool
    if tool is None:
        yield f"{printable(found.name)}  not usable: {printable(str(found.problem))}"
        return
    yield f"{tool.name}  {printable(tool.summary)}"
    if is_whole:
        yield f"  {printable(tool.algorithm)}"
    rows = list(_parameters(tool))
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(2)]
    for label, default, text in rows:
        yield f"  -p {label:<{widths[0]}}  {default:<{widths[1]}}  {printable(text)}"
    yield ""


def _parameters(tool: Tool) -> Iterator[tuple[str, str, str]]:
    for label, told in tool.parameters.model_fields.items():
        default = "required" if told.is_required() else f"[{_plain(told.default)}]"
        yield label, default, told.description or told.title or ""


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
