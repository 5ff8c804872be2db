"""reduce: against NumPy, for any dims, dtype, blocks; NaN, integers, nothing at all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import assert_blocks_do_not_count, assert_same_bits, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute

REDUCE = find_tool("reduce")
PLAIN = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max, "sum": np.sum}
OMITTING = {
    "mean": np.nanmean, "std": np.nanstd, "min": np.nanmin, "max": np.nanmax, "sum": np.nansum
}  # fmt: skip
TITLES = {"mean": "Mean", "std": "Std", "min": "Min", "max": "Max", "sum": "Sum"}


def case(dtype, *, seed=0, shape=(3, 4, 2, 5)):
    random = np.random.default_rng(seed)
    values = random.normal(scale=100, size=shape) + 50
    if np.dtype(dtype).kind == "c":
        values = values + 1j * random.normal(size=shape)
    if np.dtype(dtype).kind == "u":
        values = np.abs(values)
    array = values.astype(dtype)
    sizes = dict(zip(("Y", "X", "Bias", "Frequency"), shape, strict=True))
    positions = {name: sizes[name] for name in ("Y", "X")}
    steps = {name: sizes[name] for name in ("Bias", "Frequency")}
    return array, scan(array, positions=positions, steps=steps)


dim_lists = st.lists(
    st.sampled_from(["Y", "X", "Bias", "Frequency"]), min_size=1, max_size=4, unique=True
)


def wide(dtype):
    dtype = np.dtype(dtype)
    return {"c": np.complex128, "f": np.float64}.get(dtype.kind)


@settings(max_examples=60, deadline=None)
@given(
    dims=dim_lists,
    dtype=st.sampled_from(["f4", "f8", "i2", "u1", "i8", "?", "c8", "c16", ">f4"]),
    block=st.integers(1, 13),
    seed=st.integers(0, 99),
)
def test_any_dims_are_as_numpy_has_them(dims, dtype, block, seed):
    array, header = case(dtype, seed=seed)
    kinds = ["mean", "std", "sum"] + ([] if np.dtype(dtype).kind == "c" else ["min", "max"])
    found = compute(
        REDUCE, array, header, {"dims": dims, "statistics": kinds}, block_positions=block
    )
    axes = tuple(["Y", "X", "Bias", "Frequency"].index(dim) for dim in dims)
    native = array.astype(array.dtype.newbyteorder("="))
    for kind in kinds:
        options = {} if kind in ("min", "max") else {"dtype": wide(dtype)}
        expected = PLAIN[kind](native, axis=axes, **options)
        got = found[TITLES[kind]]
        assert got.shape == expected.shape
        if kind in ("min", "max") or (kind == "sum" and np.dtype(dtype).kind in "biu"):
            np.testing.assert_array_equal(got, expected)
        else:
            single = np.dtype(dtype).itemsize == (8 if np.dtype(dtype).kind == "c" else 4)
            single &= np.dtype(dtype).kind in "fc"
            np.testing.assert_allclose(got, expected, rtol=1e-6 if single else 1e-12, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "mean", "std", "total", "least"),
    [
        ("f2", "f4", "f4", "f4", "f2"),
        ("f4", "f4", "f4", "f4", "f4"),
        ("f8", "f8", "f8", "f8", "f8"),
        ("u2", "f8", "f8", "u8", "u2"),
        ("i4", "f8", "f8", "i8", "i4"),
        ("?", "f8", "f8", "u8", "?"),
        ("c8", "c8", "f4", "c8", None),
        ("c16", "c16", "f8", "c16", None),
    ],
)
@pytest.mark.parametrize("dims", [["Frequency"], ["X"]])
def test_dtypes_follow_the_rule(dtype, mean, std, total, least, dims):
    array, header = case(dtype)
    kinds = ["mean", "std", "sum"] + (["min"] if least else [])
    found = compute(REDUCE, array, header, {"dims": dims, "statistics": kinds})
    dtypes = [found[TITLES[kind]].dtype for kind in kinds]
    assert dtypes == [np.dtype(each) for each in (mean, std, total, least) if each]
    assert [output.dtype for output in found.job.outputs] == dtypes


@settings(max_examples=30, deadline=None)
@given(dims=dim_lists, seed=st.integers(0, 99), block=st.integers(1, 13))
def test_nan_is_omitted_as_numpy_omits_it(dims, seed, block):
    array, header = case("f8", seed=seed)
    random = np.random.default_rng(seed)
    array[random.random(array.shape) < 0.3] = np.nan
    axes = tuple(["Y", "X", "Bias", "Frequency"].index(dim) for dim in dims)
    params = {"dims": dims, "statistics": list(PLAIN), "nan": "omit"}
    found = compute(REDUCE, array, header, params, block_positions=block)
    told = compute(REDUCE, array, header, {**params, "nan": "propagate"}, block_positions=block)
    has_nan = np.isnan(array).any(axis=axes)
    nothing = np.isnan(array).all(axis=axes)
    for kind, function in OMITTING.items():
        filled = np.where(nothing, 0.0, np.nan) if kind == "sum" else np.nan
        safe = np.where(np.expand_dims(nothing, axes), 0.0, array)
        expected = np.where(nothing, filled if kind == "sum" else np.nan, function(safe, axis=axes))
        expected = np.where(nothing & (kind == "sum"), 0.0, expected)
        np.testing.assert_allclose(found[TITLES[kind]], expected, rtol=1e-12, atol=1e-10)
        np.testing.assert_array_equal(np.isnan(told[TITLES[kind]]), has_nan)


def test_spectroscopic_dims_give_the_same_bits_in_any_blocks():
    for dtype in ("f4", "f8", "c16", "i4"):
        array, header = case(dtype, shape=(3, 5, 7, 130))
        kinds = ["mean", "std", "sum"]
        for dims in (["Frequency"], ["Bias"], ["Frequency", "Bias"]):
            params = {"dims": dims, "statistics": kinds}
            assert_blocks_do_not_count(REDUCE, array, header, params)


def test_the_same_blocks_give_the_same_bits_and_integers_do_in_any():
    array, header = case("f4", shape=(9, 11, 2, 3))
    params = {"dims": ["X"], "statistics": list(PLAIN)}
    first = compute(REDUCE, array, header, params, block_positions=4)
    assert_same_bits(first, compute(REDUCE, array, header, params, block_positions=4))
    counts, header = case("u2", shape=(9, 11, 2, 3))
    exact = {"dims": ["Y", "X"], "statistics": ["sum", "min", "max"]}
    assert_blocks_do_not_count(REDUCE, counts, header, exact)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12), st.integers(1, 5))
def test_sums_of_long_integers_are_exact_or_refused(numbers, block):
    array = np.array(numbers, np.int64).reshape(-1, 1)
    header = scan(array, positions={"X": len(array)}, steps={"S": 1})
    params = {"dims": ["X"], "statistics": ["sum", "mean"]}
    if not -(2**63) <= sum(numbers) < 2**63:
        with pytest.raises(RefusedError, match="does not fit into 64 bits"):
            compute(REDUCE, array, header, params, block_positions=block)
        return
    found = compute(REDUCE, array, header, params, block_positions=block)
    assert int(found["Sum"][0]) == sum(numbers)
    exact = float(Fraction(sum(numbers), len(numbers)))
    largest = max(abs(number) for number in numbers)
    assert found["Mean"][0] == pytest.approx(exact, abs=largest * 1e-14)


def test_a_far_mean_costs_no_digits():
    """The naive sum of squares would leave nothing of a deviation of 1e-4 on 1e6."""
    random = np.random.default_rng(5)
    array = 1e6 + 1e-4 * random.standard_normal((4000, 3))
    header = scan(array, positions={"X": 4000}, steps={"S": 3})
    for params in ({"dims": ["X"], "statistics": ["std"]},):
        found = compute(REDUCE, array, header, params, block_positions=37)["Std"]
        np.testing.assert_allclose(found, (array - 1e6).std(axis=0), rtol=1e-6)


def test_float_sums_keep_what_blocks_would_lose():
    array = np.tile([[1e16], [1.0], [-1e16], [1.0]], (50, 1))
    header = scan(array, positions={"X": 200}, steps={"S": 1})
    params = {"dims": ["X"], "statistics": ["sum"]}
    assert compute(REDUCE, array, header, params, block_positions=1)["Sum"][0] == 100.0


@pytest.mark.parametrize("value", [0.0, 7.5, -3e30])
def test_a_constant_has_no_deviation(value):
    array = np.full((6, 4), value)
    header = scan(array, positions={"X": 6}, steps={"S": 4})
    for dims in (["X"], ["S"]):
        found = compute(
            REDUCE, array, header, {"dims": dims, "statistics": ["mean", "std"]}, block_positions=2
        )
        assert (found["Mean"] == value).all()
        assert (found["Std"] == 0).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_told_without_a_warning(value):
    array = np.array([[1.0, value], [2.0, 3.0]])
    header = scan(array, positions={"X": 2}, steps={"S": 2})
    params = {"dims": ["X"], "statistics": ["sum", "mean", "max", "min"]}
    found = compute(REDUCE, array, header, params, block_positions=1)
    assert found["Sum"][1] == value
    assert found["Sum"][0] == 3.0
    assert found["Max"][1] == max(value, 3.0)
    assert found["Min"][1] == min(value, 3.0)


@pytest.mark.parametrize("count", [0, 1])
def test_no_position_and_one(count):
    array = np.arange(4.0).reshape(1, 4)[:count]
    header = scan(array, positions={"X": count}, steps={"S": 4})
    along = compute(REDUCE, array, header, {"dims": ["S"]})
    assert along["Mean"].shape == (count,)
    assert (along["Mean"] == 1.5).all()
    every = {"dims": ["X"], "statistics": list(PLAIN)}
    over = compute(REDUCE, array, header, every)
    assert over["Mean"].shape == (4,)
    if count:
        np.testing.assert_array_equal(over["Max"], array[0])
    else:
        assert np.isnan(over["Mean"]).all()
        assert np.isnan(over["Min"]).all()
        assert (over["Sum"] == 0).all()


def test_ddof_is_numpys():
    array, header = case("f8")
    params = {"dims": "X,Bias", "statistics": "std", "ddof": 1}
    found = compute(REDUCE, array, header, params, block_positions=5)["Std"]
    np.testing.assert_allclose(found, array.std(axis=(1, 2), ddof=1), rtol=1e-12)


def test_what_is_left_of_a_side_is_declared():
    _array, header = case("f4")
    job = REDUCE.prepare(header, {"dims": ["Y", "X"]})
    (output,) = job.outputs
    assert output.side("position") == ()
    assert output.sizes == (2, 5)
    assert job.kind == "staged"
    assert REDUCE.prepare(header, {"dims": ["Bias"]}).kind == "positions"
    assert (output.quantity, output.units) == ("Deflection", "V")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"dims": []}, "at least 1"),
        ({"dims": ["X", "X"]}, "each is named once"),
        ({"dims": ["Z"]}, "dimension 'Z'"),
        ({"dims": ["X"], "statistics": ["median"]}, "statistics"),
        ({"dims": ["X"], "statistics": ["min"]}, "no least and no most"),
    ],
)
def test_what_makes_no_sense_is_refused(params, told):
    array, header = case("c8")
    with pytest.raises(RefusedError, match=told):
        compute(REDUCE, array, header, params)
