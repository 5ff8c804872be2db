"""background: against np.polyfit, np.median and np.mean over windows; NaN, integers, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import assert_blocks_do_not_count, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute

BACKGROUND = find_tool("background")


def case(*, size=40, count=6, dtype="f8", seed=0, values=None):
    random = np.random.default_rng(seed)
    array = random.normal(scale=20, size=(count, size)) + 100
    if np.dtype(dtype).kind == "c":
        array = array + 1j * random.normal(size=array.shape)
    array = array.astype(dtype)
    values = np.linspace(-5.0, 11.0, size) if values is None else values
    return array, scan(array, positions={"X": count}, steps={"S": values})


@settings(max_examples=25, deadline=None)
@given(
    degree=st.integers(0, 6),
    seed=st.integers(0, 99),
    size=st.integers(8, 30),
    dtype=st.sampled_from(["f8", "i2", "c16", "u1"]),
)
def test_a_polynomial_is_numpys_over_the_exact_values(degree, seed, size, dtype):
    values = np.random.default_rng(seed).permutation(np.geomspace(3, 900, size))
    array, header = case(size=size, dtype=dtype, seed=seed, values=values)
    found = compute(BACKGROUND, array, header, {"dim": "S", "degree": degree})["Corrected"]
    scaled = (values - 450) / 450
    wide = array.astype("c16" if dtype == "c16" else "f8")
    coefficients = np.polynomial.polynomial.polyfit(scaled, wide.T, degree)
    fitted = np.polynomial.polynomial.polyval(scaled, coefficients)
    np.testing.assert_allclose(found, wide - fitted, atol=1e-8)


def windows(array, window):
    half = window // 2
    wide = np.pad(array, ((0, 0), (half, half)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(wide, window, axis=1)


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(["mean", "median"]),
    half=st.integers(1, 9),
    dtype=st.sampled_from(["f8", "f4", "i4", ">f8"]),
    seed=st.integers(0, 99),
)
def test_a_rolling_background_is_numpys_over_windows(method, half, dtype, seed):
    array, header = case(dtype=dtype, seed=seed)
    params = {"dim": "S", "method": method, "window": 2 * half + 1}
    found = compute(BACKGROUND, array, header, params)["Corrected"]
    wide = array.astype("f8")
    expected = wide - getattr(np, method)(windows(wide, 2 * half + 1), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5 if dtype == "f4" else 1e-10)


def test_a_rolling_mean_of_complex_values_is_that_of_their_parts():
    array, header = case(dtype="c16")
    found = compute(BACKGROUND, array, header, {"dim": "S", "method": "mean", "window": 5})
    np.testing.assert_allclose(found["Corrected"], array - windows(array, 5).mean(axis=-1))


@pytest.mark.parametrize(
    ("dtype", "told"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), ("c8", "c8")],
)
def test_dtypes_follow_the_rule(dtype, told):
    array, header = case(dtype=dtype)
    assert compute(BACKGROUND, array, header, {"dim": "S"})["Corrected"].dtype == told


@pytest.mark.parametrize("params", [{"degree": 3}, {"method": "mean"}, {"method": "median"}])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_blocks_do_not_count(params, dtype):
    array, header = case(dtype=dtype, count=9, size=131)
    assert_blocks_do_not_count(BACKGROUND, array, header, {"dim": "S", **params})


@pytest.mark.parametrize("params", [{"degree": 3}, {"method": "mean"}, {"method": "median"}])
def test_a_row_with_what_is_not_finite_is_nan_and_no_other(params):
    array, header = case()
    clean = compute(BACKGROUND, array, header, {"dim": "S", **params})["Corrected"]
    array[1, 3], array[4, 0] = np.nan, np.inf
    found = compute(BACKGROUND, array, header, {"dim": "S", **params})["Corrected"]
    assert np.isnan(found[[1, 4]]).all()
    np.testing.assert_array_equal(found[[0, 2, 3, 5]], clean[[0, 2, 3, 5]])


@pytest.mark.parametrize("params", [{"degree": 2}, {"method": "mean"}, {"method": "median"}])
@pytest.mark.parametrize("count", [0, 1])
def test_a_constant_vanishes_and_so_does_nothing(params, count):
    array = np.full((count, 40), 3.25)
    _, header = case()
    header = scan(array, positions={"X": count}, steps={"S": np.arange(40.0)})
    found = compute(BACKGROUND, array, header, {"dim": "S", **params})["Corrected"]
    assert found.shape == array.shape
    np.testing.assert_allclose(found, 0, atol=1e-13)


def test_other_dims_are_worked_on_by_themselves():
    array = np.random.default_rng(2).normal(size=(2, 7, 3))
    header = scan(array, positions={"X": 2}, steps={"S": np.arange(7.0), "Bias": 3})
    found = compute(BACKGROUND, array, header, {"dim": "S", "degree": 0})["Corrected"]
    np.testing.assert_allclose(found, array - array.mean(axis=1, keepdims=True), atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "values", "params", "told"),
    [
        ("f8", None, {"method": "median", "window": 4}, "odd number of points, not 4"),
        ("f8", None, {"method": "median", "window": 81}, "a window of 81 points for 40"),
        (
            "c16",
            None,
            {"method": "median"},
            "the values are complex128, boolean or integer or real",
        ),
        ("f8", np.repeat([1.0, 2.0], 20), {"degree": 2}, "2 distinct Values"),
        ("f8", np.full(40, np.nan), {}, "not all finite"),
        ("f8", np.zeros(40, "S2"), {}, "not all finite real numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(dtype, values, params, told):
    array, header = case(dtype=dtype, values=values)
    with pytest.raises(RefusedError, match=told):
        compute(BACKGROUND, array, header, {"dim": "S", **params})


def test_a_rolling_background_needs_no_values_but_a_polynomial_does():
    array = np.random.default_rng(1).normal(size=(2, 20))
    header = scan(array, positions={"X": 2}, steps={"S": 20})
    assert compute(BACKGROUND, array, header, {"dim": "S", "method": "mean"})["Corrected"].any()
    with pytest.raises(RefusedError, match="it has no Values"):
        compute(BACKGROUND, array, header, {"dim": "S"})
