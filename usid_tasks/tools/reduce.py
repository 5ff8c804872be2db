"""``reduce``: mean, standard deviation, least, most or sum over named dimensions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from usid_tasks.errors import RefusedError
from usid_tasks.tools import moments
from usid_tasks.tools.declaration import (
    Context,
    Job,
    Parameters,
    Rows,
    Stage,
    Staged,
    State,
    Tool,
    by_position,
)
from usid_tasks.tools.dims import MainHeader, Output
from usid_tasks.tools.refusals import float_like, wide_bytes

Statistic = Literal["mean", "std", "min", "max", "sum"]

_TITLES = {"mean": "Mean", "std": "Std", "min": "Min", "max": "Max", "sum": "Sum"}


class ReduceParameters(Parameters):
    """Which dimensions vanish, and what is told of the values along them."""

    dims: tuple[str, ...] = Field(
        title="Dimensions",
        description="Names of the dimensions to reduce, of either side.",
        min_length=1,
        examples=[["Frequency"], ["X", "Y"]],
    )
    statistics: tuple[Statistic, ...] = Field(
        ("mean",),
        title="Statistics",
        description="What to compute: mean, std, min, max, sum; one Main dataset for each.",
        min_length=1,
        examples=[["mean", "std"]],
    )
    nan: Literal["propagate", "omit"] = Field(
        "propagate",
        title="NaN",
        description="Whether one NaN makes the result NaN, or is left out. Nothing left gives NaN, "
        "a sum of 0.",
        examples=["omit"],
    )
    ddof: int = Field(
        0,
        title="Delta degrees of freedom",
        description="Std divides by the number of values less this.",
        ge=0,
        examples=[1],
    )

    @field_validator("dims", "statistics", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: object) -> object:
        return [part.strip() for part in given.split(",")] if isinstance(given, str) else given

    @field_validator("dims", "statistics")
    @classmethod
    def _each_once(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(given)) < len(given):
            raise ValueError("each is named once")
        return given


def _dtype(statistic: Statistic, dtype: np.dtype) -> np.dtype:
    if statistic in ("min", "max"):
        return dtype.newbyteorder("=")
    if statistic == "sum" and dtype.kind in "biu":
        return moments.sum_dtype(dtype)
    kept = float_like(dtype)
    return np.empty(0, kept).real.dtype if statistic == "std" else kept


def _outputs(header: MainHeader, params: ReduceParameters) -> tuple[Output, ...]:
    return tuple(
        header.output(
            _TITLES[statistic], without=params.dims, dtype=_dtype(statistic, header.dtype)
        )
        for statistic in params.statistics
    )


def _told(state: State, statistic: Statistic, params: ReduceParameters, dtype: np.dtype) -> NDArray:
    """Return one statistic of each cell, ``(n_cells,)``, in the dtype of the output."""
    empty = state["count"] == 0
    if statistic == "sum":
        found = moments.whole_sum(state, dtype)
    elif statistic == "mean":
        found = np.where(empty, np.nan, state["mean"])
    elif statistic == "std":
        free = state["count"] - params.ddof
        with np.errstate(invalid="ignore"):
            found = np.sqrt(state["squares"] / np.maximum(free, 1))
        found = np.where(free > 0, found, np.nan)
    else:
        found = state["least" if statistic == "min" else "most"]
        if dtype.kind in "biu" and empty.any():
            raise RefusedError(
                "tool 'reduce'", f"no values, and no {dtype} that tells so", "Ask for the mean."
            )
        if dtype.kind == "f":
            found = np.where(empty, dtype.type(np.nan), found)
    with np.errstate(over="ignore"):
        return np.asarray(found).astype(_dtype(statistic, dtype), copy=False)


def _rows(block: NDArray, context: Context[ReduceParameters]) -> tuple[NDArray, ...]:
    params = context.params
    flat = block.reshape(len(block), prod(block.shape[1:]))
    state = moments.moments(flat, omit_nan=params.nan == "omit")
    return tuple(_told(state, each, params, block.dtype) for each in params.statistics)


class _OverPositions:
    """One pass: the moments of cells that are left, for the places of positions in a block.

    In a state, ``groups`` are places along the Position dimensions that are kept, as one number,
    ascending; the moments are ``(n_groups * n_cells,)`` with those Spectroscopic dimensions that
    are kept.
    """

    def __init__(self, header: MainHeader, params: ReduceParameters) -> None:
        self.header, self.params, self.omit = header, params, params.nan == "omit"
        position, spectroscopic = header.side("position"), header.side("spectroscopic")
        kept = [at for at, dim in enumerate(position) if dim.name not in params.dims]
        self.kept_positions = kept
        self.places = tuple(position[at].size for at in kept)
        self.kept_axes = [at for at, dim in enumerate(spectroscopic) if dim.name not in params.dims]
        self.steps = tuple(spectroscopic[at].size for at in self.kept_axes)
        self.lost_axes = [at for at in range(len(spectroscopic)) if at not in self.kept_axes]
        self.n_cells = prod(self.steps)

    def partial(self, block: NDArray, rows: Rows, _: State) -> State:
        if self.kept_positions:
            columns = tuple(rows.indices[:, at] for at in self.kept_positions)
            groups = np.ravel_multi_index(columns, self.places)
        else:
            groups = np.zeros(len(block), np.intp)
        order = [at + 1 for at in self.kept_axes] + [0] + [at + 1 for at in self.lost_axes]
        present = np.unique(groups)
        if not present.size and not self.kept_positions:
            present = np.zeros(1, np.intp)
        found = []
        for group in present:
            cells = block[groups == group].transpose(order)
            width = cells.size // self.n_cells if self.n_cells else 0
            flat = np.ascontiguousarray(cells).reshape(self.n_cells, width)
            found.append(moments.moments(flat, omit_nan=self.omit))
        if not found:
            nothing = np.empty((0, 0), block.dtype)
            found = [moments.moments(nothing, omit_nan=self.omit)]
        made = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        return {"groups": present.astype(np.int64), **made}

    def combine(self, left: State, right: State) -> State:
        groups = np.union1d(left["groups"], right["groups"])
        spread = [self._spread(each, groups) for each in (left, right)]
        return {"groups": groups, **moments.merge(spread[0], spread[1], omit_nan=self.omit)}

    def _spread(self, state: State, groups: NDArray) -> State:
        at = np.searchsorted(groups, state["groups"])
        made = {}
        for name, values in state.items():
            if name != "groups":
                table = np.zeros((len(groups), self.n_cells), values.dtype)
                table[at] = values.reshape(len(at), self.n_cells)
                made[name] = table.reshape(-1)
        return made

    def finish(self, _: State, combined: State) -> State:
        groups = np.arange(prod(self.places))
        return {"groups": groups, **self._spread(combined, groups)}

    def results(self, state: State) -> dict[str, NDArray]:
        shape = (*self.places, *self.steps)
        return {
            _TITLES[each]: _told(state, each, self.params, self.header.dtype).reshape(shape)
            for each in self.params.statistics
        }


def _over_positions(
    header: MainHeader, params: ReduceParameters, outputs: tuple[Output, ...]
) -> Job:
    work = _OverPositions(header, params)
    stage = Stage("reduce", work.partial, work.combine, work.finish)
    staged = Staged(
        begin=dict,
        next_stage=lambda state: None if state else stage,
        results=work.results,
    )
    cell = 7 * 16
    state_bytes = prod(work.places) * work.n_cells * cell
    row_bytes = header.n_columns * _cell_bytes(header)
    return Job(header.side("spectroscopic"), outputs, staged, row_bytes, 3 * state_bytes)


def _cell_bytes(header: MainHeader) -> int:
    return 2 * header.dtype.itemsize + 3 * wide_bytes(header.dtype) + 4


def _prepare(header: MainHeader, params: ReduceParameters) -> Job:
    dims = [header.dim(name) for name in params.dims]
    if header.dtype.kind == "c" and {"min", "max"} & set(params.statistics):
        raise RefusedError(
            "tool 'reduce'", "complex values have no least and no most", "Ask for mean, std or sum."
        )
    outputs = _outputs(header, params)
    if any(dim.side == "position" for dim in dims):
        return _over_positions(header, params, outputs)
    core = [dim.name for dim in header.side("spectroscopic") if dim.name in params.dims]
    function: Callable[[NDArray, Context[ReduceParameters]], tuple[NDArray, ...]] = _rows
    row_bytes = prod(dim.size for dim in dims) * _cell_bytes(header)
    return by_position("reduce", header, params, core, outputs, function, row_bytes=row_bytes)


REDUCE = Tool(
    name="reduce",
    summary="Mean, standard deviation, least, most or sum over named dimensions",
    algorithm=(
        "Sums of floats pairwise in float64, over several blocks of positions in their order with "
        "the compensation of Neumaier; means and squared deviations merged by the formula of "
        "Chan, Golub and LeVeque; integers summed exactly in 64 bits, refused where they do not "
        "fit. Min and max keep the dtype; mean, std and sum of floats keep single or double "
        "precision, of integers are float64, sums of integers 64-bit integers."
    ),
    version="1",
    kind="reduction",
    parameters=ReduceParameters,
    prepare_job=_prepare,
)
