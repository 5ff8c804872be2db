"""Rules on the Values of each dimension: R17, and A1 to A4 on how an axis runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from usid_tasks.axes import AxisKind
from usid_tasks.checks.rule import INFO, WARNING, Rule, Violation
from usid_tasks.checks.subjects import JudgedSide
from usid_tasks.checks.tables import MODEL_TABLES
from usid_tasks.grid import GridKind
from usid_tasks.mains import Column, Side

AXIS = f"usid-flows; {MODEL_TABLES}"


def _axes(judged: JudgedSide) -> Iterator[Column]:
    """Yield the dimensions that have an axis: several indices, one value for each."""
    side = judged.side
    if side.grid.kind is not GridKind.FLAT and side.grid.placement.n_rows:
        for column in side.columns:
            if column.size > 1 and column.along == (column.column,):
                yield column


def _told(column: Column) -> str:
    """Return a dimension with its first and last value: ``"Z: -0.12 to 0.3 µm in 8 steps"``."""
    ends = " to ".join(_number(column.values[at]) for at in (0, -1))
    unit = f" {column.units}" if column.units else ""
    return f"{column.label}: {ends}{unit} in {column.size} steps"


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, (np.floating, np.integer)) else str(value)


def _of_kind(judged: JudgedSide, kind: AxisKind) -> Iterator[Column]:
    for column in _axes(judged):
        if column.kind is kind:
            yield column


def _one_value_each(judged: JudgedSide) -> Iterator[Violation]:
    side = judged.side
    if side.grid.kind is GridKind.FLAT or not side.grid.placement.n_rows:
        return
    for column in side.columns:
        along = column.along
        if along != (column.column,) and not (along == () and column.size == 1):
            others = [side.columns[at].label for at in along if at not in (None, column.column)]
            on = f"on {' and '.join(others)}" if others else "not on its index"
            yield Violation(side.values_path, f"the Values of {column.label} depend {on}")


def _is_uniform(judged: JudgedSide) -> Iterator[Violation]:
    for column in _of_kind(judged, AxisKind.MONOTONIC):
        steps = np.abs(np.diff(column.values.astype(np.longdouble)))
        found = f"{_told(column)} of {_number(np.float64(steps.min()))} to "
        yield Violation(judged.side.values_path, found + _number(np.float64(steps.max())))


def _is_monotonic(judged: JudgedSide) -> Iterator[Violation]:
    for column in _of_kind(judged, AxisKind.NON_MONOTONIC):
        found = _told(column)
        if column.values.dtype.kind != "c":
            exact = column.values.astype(np.longdouble)
            steps = np.sign(np.diff(exact))
            steps = steps[steps != 0]
            turns = int(np.count_nonzero(np.diff(steps)))
            low, high = (_number(column.values[at]) for at in (exact.argmin(), exact.argmax()))
            found += f", turning {turns} times between {low} and {high}" if turns else ""
            found += "" if turns else ", some values twice"
        yield Violation(judged.side.values_path, found.replace("1 times", "once"))


def _is_not_constant(judged: JudgedSide) -> Iterator[Violation]:
    for column in _of_kind(judged, AxisKind.CONSTANT):
        found = f"{column.label}: {_number(column.values[0])} {column.units}".rstrip()
        remedy = ""
        if column.values.dtype.kind == "f" and column.values.dtype.itemsize < 8:
            remedy = f"store Values as float64: {column.values.dtype} may have rounded steps away"
        yield Violation(
            judged.side.values_path, f"{found} at all {column.size} indices", remedy=remedy
        )


def _is_defined(judged: JudgedSide) -> Iterator[Violation]:
    side = judged.side
    if not side.grid.placement.n_rows:
        return
    for column in side.columns:
        if column.values.dtype.kind not in "fc" or np.isfinite(column.values).all():
            continue
        undefined = ~np.isfinite(column.values) & _measured(side, column)
        if undefined.any():
            yield Violation(
                side.values_path,
                f"{column.label}: {np.count_nonzero(undefined)} of {column.values.size} values "
                "are NaN or infinite",
            )


def _measured(side: Side, column: Column) -> np.ndarray:
    """Return where ``column.values`` come from the file; the rest is padding."""
    valid = side.grid.valid
    if valid is None or len(column.along) < 2:
        return np.ones(column.values.shape, dtype=bool)
    gone = tuple(at for at, dim in enumerate(side.axes) if dim not in column.along)
    kept = valid.any(axis=gone) if gone else valid
    return np.asarray(kept).reshape(column.values.shape)


R17 = Rule(
    id="R17",
    severity=WARNING,
    title="Each index has one value",
    why="A value that changes with another dimension (bias by cycle, measured positions) is no "
    "axis: the dimension is counted by its index, and the values are kept as <label>_values.",
    section=MODEL_TABLES,
    expected="one value for each index of the dimension",
    remedy="take the values from the coordinate <label>_values, never from one row or column",
    example="the Values of Bias depend on Cycle",
    find=_one_value_each,
)
A1 = Rule(
    id="A1",
    severity=INFO,
    title="An axis is uniform",
    why="Programs that know only offset and scale cannot show other axes. All values are kept.",
    section=AXIS,
    expected="equal steps over the whole axis, within the tolerance (validate.uniform_tolerance)",
    remedy="nothing: the axis is kept as its values",
    example="Bias: 0 to 9 V in 4 steps of 1 to 5",
    find=_is_uniform,
)
A2 = Rule(
    id="A2",
    severity=WARNING,
    title="An axis runs one way",
    why="A sweep out and back has values twice: a place on it is told by its index, not by its "
    "value. Force curves and bias triangles are so by nature.",
    section=AXIS,
    expected="values that only rise or only fall",
    remedy="select by index (isel), not by value; nothing is wrong with the file",
    example="Bias: 0 to 0 V in 5 steps, turning once between 0 and 2",
    find=_is_monotonic,
)
A3 = Rule(
    id="A3",
    severity=WARNING,
    title="An axis is not constant",
    why="Steps without a change of value: often float32 has rounded them away (time stamps), or "
    "the values were never filled.",
    section=AXIS,
    expected="another value at each index",
    remedy="write the true values",
    example="Bias: 7 V at all 5 indices",
    find=_is_not_constant,
)
A4 = Rule(
    id="A4",
    severity=WARNING,
    title="Values are defined",
    why="What was set at these points is not known.",
    section=AXIS,
    expected="finite numbers",
    remedy="write the true values, or select by index",
    example="Bias: 1 of 5 values are NaN or infinite",
    find=_is_defined,
)
