"""In which order the dimensions of a scan are nested, told from its index tuples alone."""

from __future__ import annotations

from collections.abc import Sequence


def runs(points: list[tuple[int, ...]], level: int) -> list[list[tuple[int, ...]]]:
    """Return the points cut wherever the index of this level changes."""
    cut: list[list[tuple[int, ...]]] = []
    for point in points:
        if cut and cut[-1][-1][level] == point[level]:
            cut[-1].append(point)
        else:
            cut.append([point])
    return cut


def size_of(levels: Sequence[int], sizes: Sequence[int]) -> int:
    """Return how many points a full grid over these levels has."""
    count = 1
    for level in levels:
        count *= sizes[level]
    return count


def is_nested(points: list[tuple[int, ...]], levels: Sequence[int]) -> bool:
    """True where every level's equal indices form one run inside each run of the one before."""
    if not levels:
        return len(points) == 1
    cut = runs(points, levels[0])
    heads = [run[0][levels[0]] for run in cut]
    return len(set(heads)) == len(heads) and all(is_nested(run, levels[1:]) for run in cut)


def is_aborted(
    points: list[tuple[int, ...]],
    levels: Sequence[int],
    sizes: Sequence[int],
    before: list[tuple[int, ...]] | None = None,
) -> bool:
    """True for a nested scan whose missing points are its tail.

    ``before`` is the complete run that preceded this one at the same level: what was visited
    here must begin like it, forwards or backwards.
    """
    cut = runs(points, levels[0])
    heads = [run[0][levels[0]] for run in cut]
    if len(set(heads)) != len(heads):
        return False
    if before is not None:
        former = [run[0][levels[0]] for run in runs(before, levels[0])]
        if heads not in (former[: len(heads)], former[::-1][: len(heads)]):
            return False
    inner = levels[1:]
    full = size_of(inner, sizes)
    for run in cut[:-1]:
        if len(run) != full or not is_nested(run, inner):
            return False
    last = cut[-1]
    if len(last) == full and is_nested(last, inner):
        return True
    if not inner:
        return False
    previous = cut[-2] if len(cut) > 1 else None
    if previous is None and before is not None:
        previous = runs(before, levels[0])[-1]
    return previous is not None and is_aborted(last, inner, sizes, previous)


def array_order(
    points: list[tuple[int, ...]], wide: list[int], sizes: list[int]
) -> tuple[list[int], str]:
    """Return the columns slow to fast, and whether they fill a grid: full, aborted or none."""
    wanted = size_of(wide, sizes)
    if len(set(points)) != len(points):
        return wide, "none"
    if len(points) == wanted:
        for order in nestings(points, wide):
            return order, "full"
        return wide[::-1], "full"
    if len(points) < wanted:
        for order in nestings(points, wide):
            if is_aborted(points, order, sizes):
                return order, "aborted"
    return wide, "none"


def nestings(points: list[tuple[int, ...]], columns: list[int]) -> list[list[int]]:
    """Return every order of the columns, slow to fast, in which the points are nested loops."""
    if not columns:
        return [[]] if len(points) == 1 else []
    found = []
    for slowest in columns:
        cut = runs(points, slowest)
        heads = [run[0][slowest] for run in cut]
        if len(set(heads)) != len(heads):
            continue
        rest = [column for column in columns if column != slowest]
        for order in nestings(cut[0], rest):
            if all(is_nested(run, order) for run in cut):
                found.append([slowest, *order])
    return found
