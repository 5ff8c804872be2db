"""Finding tools: by name, among those that installed packages register."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.tools.declaration import Tool

GROUP = "usid_tasks.tools"
"""The entry-point group in which a package names its tools."""


@dataclass(frozen=True)
class Registered:
    """A name in the entry-point group: its tool, or why there is none."""

    name: str
    packages: tuple[str, ...]
    tool: Tool | None
    problem: str = ""


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module


def _by_name() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        found[entry.name].append(entry)
    return {name: found[name] for name in sorted(found)}


def _load(name: str, entries: list[EntryPoint]) -> Tool:
    packages = " and ".join(sorted(_package(entry) for entry in entries))
    where = f"tool {name!r}"
    if len(entries) > 1:
        raise UsidError(where, f"{packages} both register it", "Uninstall one of them.")
    try:
        found = entries[0].load()
    except Exception as error:
        what = f"{packages} cannot be loaded: {type(error).__name__}: {error}"
        raise UsidError(where, what, "Repair or uninstall that package.") from error
    if not isinstance(found, Tool):
        what = (
            f"{packages} registers {entries[0].value}, which is no Tool but {type(found).__name__}"
        )
        raise UsidError(where, what, "Register what @tool makes.")
    if found.name != name:
        what = f"{packages} registers the tool {found.name!r} under it"
        raise UsidError(where, what, "Register a tool under its own name.")
    return found


def find_tool(name: str) -> Tool:
    """Return the tool that is registered under a name.

    Parameters
    ----------
    name
        Of an entry point; nothing else is ever imported for it.

    Raises
    ------
    RefusedError
        If no package registers that name.
    UsidError
        If two do, or what is registered cannot be loaded or is no tool.
    """
    known = _by_name()
    if name not in known:
        names = ", ".join(known) or "none; install usid-flows anew"
        raise RefusedError(f"tool {name!r}", "no package registers it", f"There are: {names}.")
    return _load(name, known[name])


def tools() -> tuple[Registered, ...]:
    """Return every registered name, sorted; one that is broken hides none of the others."""
    found = []
    for name, entries in _by_name().items():
        packages = tuple(sorted(_package(entry) for entry in entries))
        try:
            found.append(Registered(name, packages, _load(name, entries)))
        except UsidError as error:
            found.append(Registered(name, packages, None, error.what))
    return tuple(found)
