"""Sums and moments of cells, in float64, that can be merged in a fixed order.

A cell is one place of the result; its values are all that are reduced into it. Floats are summed
pairwise along contiguous memory; integers as integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import RefusedError

State = dict[str, NDArray]

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which sums of values are exact or, for floats, most precise."""
    if dtype.kind == "c":
        return np.dtype(np.complex128)
    if dtype.kind == "f":
        return np.dtype(np.float64)
    return np.dtype(np.int64 if dtype.kind == "i" else np.uint64)


def _integer_sums(values: NDArray) -> tuple[NDArray, NDArray]:
    """Return the sums along the last axis as multiples of 2^32 and a rest: no overflow."""
    if values.dtype.kind == "i":
        wide = values.astype(np.int64, copy=False)
        high = (wide >> 32).sum(axis=-1, dtype=np.int64)
        low = (wide & 0xFFFFFFFF).sum(axis=-1, dtype=np.int64)
        return high + (low >> 32), low & 0xFFFFFFFF
    wide_u = values.astype(np.uint64, copy=False)
    high_u = (wide_u >> _HALF).sum(axis=-1, dtype=np.uint64)
    low_u = (wide_u & _LOW).sum(axis=-1, dtype=np.uint64)
    return (high_u + (low_u >> _HALF)).astype(np.int64), (low_u & _LOW).astype(np.int64)


def moments(values: NDArray, *, omit_nan: bool) -> State:
    """Return what is known of each cell, to be merged or told.

    Parameters
    ----------
    values
        ``(n_cells, n_values)``, C order, any numeric dtype.
    omit_nan
        Whether NaN are left out; they make everything NaN otherwise.

    Returns
    -------
    dict
        Arrays of ``(n_cells,)``: ``count`` int64, ``mean`` float64 or complex128, ``squares``
        float64 (of deviations from the mean), ``total`` and ``rest`` (for integers multiples of
        2^32 and what is left, for floats the sum and its rounding), and, but for complex values,
        ``least`` and ``most`` in the dtype of the values.
    """
    kind = values.dtype.kind
    n_cells, n_values = values.shape
    made: State = {"count": np.full(n_cells, n_values, np.int64)}
    wide = values.astype(np.complex128 if kind == "c" else np.float64)
    present: NDArray[np.bool_] | None = None
    if kind in "fc" and omit_nan:
        present = ~np.isnan(values)
        made["count"] = present.sum(axis=1)
        wide = np.where(present, wide, 0)
    divisor = np.maximum(made["count"], 1)
    with np.errstate(invalid="ignore", over="ignore"):
        if kind in "fc":
            made["total"] = wide.sum(axis=1)
            made["rest"] = np.zeros_like(made["total"])
            made["mean"] = made["total"] / divisor
        else:
            made["total"], made["rest"] = _integer_sums(values)
            whole = made["total"].astype(np.float64) * 2.0**32 + made["rest"]
            made["mean"] = whole / divisor
        wide -= made["mean"][:, np.newaxis]
        if present is not None:
            wide = np.where(present, wide, 0)
        made["squares"] = (wide.real**2 + wide.imag**2 if kind == "c" else wide**2).sum(axis=1)
        if kind != "c":
            made |= _extremes(values, present)
    return made


def _extremes(values: NDArray, present: NDArray[np.bool_] | None) -> State:
    n_cells, n_values = values.shape
    if values.dtype.kind != "f":
        if not n_values:
            return {name: np.zeros(n_cells, values.dtype) for name in ("least", "most")}
        return {"least": values.min(axis=1), "most": values.max(axis=1)}
    if present is None:
        empty = np.full((n_cells, 1), np.nan, values.dtype)
        source = values if n_values else empty
        return {"least": source.min(axis=1), "most": source.max(axis=1)}
    none = ~present.any(axis=1)
    infinity = values.dtype.type(np.inf)
    least = np.where(present, values, infinity).min(axis=1, initial=infinity)
    most = np.where(present, values, -infinity).max(axis=1, initial=-infinity)
    return {
        "least": np.where(none, values.dtype.type(np.nan), least),
        "most": np.where(none, values.dtype.type(np.nan), most),
    }


def merge(left: State, right: State, *, omit_nan: bool) -> State:
    """Return the moments of two disjoint sets of values of the same cells; order counts.

    Means and squares are merged by the formula of Chan, Golub and LeVeque, sums of floats with
    the compensation of Neumaier.
    """
    count = left["count"] + right["count"]
    divisor = np.maximum(count, 1)
    made: State = {"count": count}
    is_float = left["total"].dtype.kind in "fc"
    with np.errstate(invalid="ignore", over="ignore"):
        if is_float:
            made["total"], made["rest"] = _compensated(left, right)
        else:
            rest = left["rest"] + right["rest"]
            made["total"] = left["total"] + right["total"] + (rest >> 32)
            made["rest"] = rest & 0xFFFFFFFF
        delta = right["mean"] - left["mean"]
        weight = right["count"] / divisor
        made["mean"] = np.where(
            left["count"] == 0, right["mean"],
            np.where(right["count"] == 0, left["mean"], left["mean"] + delta * weight),
        )  # fmt: skip
        between = np.abs(delta) ** 2 * (left["count"] * weight)
        one_sided = (left["count"] == 0) | (right["count"] == 0)
        made["squares"] = left["squares"] + right["squares"] + np.where(one_sided, 0, between)
    if "least" in left:
        for name, pick, skip in (
            ("least", np.minimum, np.fmin),
            ("most", np.maximum, np.fmax),
        ):
            chosen = (skip if omit_nan else pick)(left[name], right[name])
            chosen = np.where(left["count"] == 0, right[name], chosen)
            made[name] = np.where(right["count"] == 0, left[name], chosen)
    return made


def _compensated(left: State, right: State) -> tuple[NDArray, NDArray]:
    """Return sum and rounding, real and imaginary parts by themselves."""
    if left["total"].dtype.kind == "c":
        parts = [
            _compensated(
                {name: part(left[name]) for name in ("total", "rest")},
                {name: part(right[name]) for name in ("total", "rest")},
            )
            for part in (np.real, np.imag)
        ]
        (real, real_rest), (imag, imag_rest) = parts
        return real + 1j * imag, real_rest + 1j * imag_rest
    a, b = left["total"], right["total"]
    total = a + b
    lost = np.where(np.abs(a) >= np.abs(b), (a - total) + b, (b - total) + a)
    lost = np.where(np.isfinite(total), lost, 0)
    return total, left["rest"] + right["rest"] + lost


def whole_sum(state: State, dtype: np.dtype) -> NDArray:
    """Return the sums as :func:`sum_dtype` has them.

    Raises
    ------
    RefusedError
        If a sum of integers does not fit into 64 bits.
    """
    if dtype.kind in "fc":
        return np.asarray(state["total"] + state["rest"])
    limits = (-(2**31), 2**31 - 1) if dtype.kind == "i" else (0, 2**32 - 1)
    high = state["total"]
    if high.size and (int(high.min()) < limits[0] or int(high.max()) > limits[1]):
        raise RefusedError(
            "tool 'reduce'", f"a sum of {dtype} values does not fit into 64 bits",
            "Ask for the mean instead.",
        )  # fmt: skip
    if dtype.kind == "i":
        return np.asarray((high << 32) + state["rest"])
    return np.asarray((high.astype(np.uint64) << _HALF) + state["rest"].astype(np.uint64))
