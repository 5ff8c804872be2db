"""The rule on names that a store, xarray or a file share cannot hold as they are: N1."""

from __future__ import annotations

from collections.abc import Iterator

from usid_tasks.checks.rule import INFO, Rule, Violation, listed
from usid_tasks.checks.subjects import JudgedFile
from usid_tasks.grid import GridKind
from usid_tasks.mains import Main
from usid_tasks.names import Names

Renaming = tuple[str, str]
"""A name in the file, and what stands for it in a store."""


def node_names(members: tuple[str, ...]) -> Iterator[Renaming]:
    """Yield each member of a group with its name in a store."""
    names = Names()
    for member in members:
        yield member, names.take(member)


def variable_names(main: Main) -> Iterator[Renaming]:
    """Yield each variable of a Main dataset, as the file names it, with its name in a store."""
    sides = (main.position, main.spectroscopic)
    reserved: list[str] = [side.name for side in sides if side.grid.kind is GridKind.FLAT]
    if main.position.grid.kind is GridKind.ABORTED:
        reserved.append("valid")
    names = Names(reserved)
    columns = [(side, column) for side in sides for column in side.columns]
    arrays = []
    for part in main.components:
        title = ".".join(part.field) if part.field else main.candidate.dataset.name
        arrays.append((part, names.take(title)))
        yield title, arrays[-1][1]
    for side, column in columns:
        is_dim = column.column in side.axes
        yield column.label, names.take(column.label, keep_spaces=is_dim)
    for part, array in arrays:
        for number in range(len(part.subshape)):
            names.take(f"{array}_{number}")
    for _, column in columns:
        if column.keeps_index:
            values = f"{column.label}_values"
            yield values, names.take(values, keep_spaces=False)


def _are_kept(file: JudgedFile) -> Iterator[Violation]:
    told: set[tuple[str, str, str]] = set()
    for path, group in file.record.groups.items():
        yield from _renamed(path, node_names(group.members), told)
    for path, main in file.mains.items():
        yield from _renamed(path, variable_names(main), told)


def _renamed(
    path: str, pairs: Iterator[Renaming], told: set[tuple[str, str, str]]
) -> Iterator[Violation]:
    """Yield what changes.

    A Main's variable named like its node is told once, in ``told``; empty labels are R12's.
    """
    changed = [pair for pair in pairs if pair[0] not in ("", pair[1]) and (path, *pair) not in told]
    told |= {(f"{path.rstrip('/')}/{name}", name, stored) for name, stored in changed}
    if changed:
        yield Violation(path, listed(f"{name!r} as {stored!r}" for name, stored in changed))


N1 = Rule(
    id="N1",
    severity=INFO,
    title="Names can be kept as they are",
    why="Some names cannot be those of a file, a variable or a dimension, or meet another one. "
    "They are mapped by one reversible rule; the original stands in the attribute usid_name.",
    section="usid-flows",
    expected='names that differ by more than case, without control characters or \\ : * ? " < > |',
    remedy="nothing needs to be done: use the name that is shown",
    example="'X' as 'X_2'",
    find=_are_kept,
)
