"""svd: against numpy.linalg.svd, exact and randomised, over orders of magnitude."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import assert_same_bits, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute

SVD = find_tool("svd")


def matrix_of(values, n_rows, n_columns, *, dtype="f8", seed=0):
    """Return a matrix with the singular values given."""
    random = np.random.default_rng(seed)
    is_complex = np.dtype(dtype).kind == "c"

    def orthonormal(size):
        normal = random.normal(size=(size, len(values)))
        return np.linalg.qr(
            normal + 1j * random.normal(size=normal.shape) if is_complex else normal
        )[0]

    return (orthonormal(n_rows) * values) @ orthonormal(n_columns).conj().T


def decomposed(array, params, *, block=None, steps=None):
    header = scan(array, positions={"X": len(array)}, steps=steps or {"S": array.shape[1]})
    return compute(SVD, array, header, params, block_positions=block)


def product(found):
    spectra = found["V"].reshape(len(found["S"]), -1)
    return (found["U"] * found["S"]) @ spectra


@settings(max_examples=30, deadline=None)
@given(
    n_rows=st.integers(1, 30),
    n_columns=st.integers(1, 20),
    block=st.integers(1, 31),
    method=st.sampled_from(["exact", "randomised"]),
    dtype=st.sampled_from(["f8", "c16", "i2"]),
    seed=st.integers(0, 99),
)
def test_all_components_are_numpys(n_rows, n_columns, block, method, dtype, seed):
    random = np.random.default_rng(seed)
    array = random.normal(scale=90, size=(n_rows, n_columns))
    if dtype == "c16":
        array = array + 90j * random.normal(size=array.shape)
    array = array.astype(dtype)
    found = decomposed(array, {"n_components": 50, "method": method}, block=block)
    count = min(n_rows, n_columns)
    wide = array.astype("c16" if dtype == "c16" else "f8")
    _u, s, v = np.linalg.svd(wide, full_matrices=False)
    assert found["S"].shape == (count,)
    assert found["U"].shape == (n_rows, count)
    np.testing.assert_allclose(found["S"], s, rtol=1e-10, atol=1e-11 * s[0])
    np.testing.assert_allclose(product(found), wide, atol=1e-10 * s[0])
    gram = found["V"] @ found["V"].conj().T
    np.testing.assert_allclose(gram, np.eye(count), atol=1e-12)
    overlap = np.abs((v.conj() * found["V"]).sum(axis=1))
    gaps = np.abs(np.subtract.outer(s, s) + np.diag(np.full(count, np.inf))).min(axis=1)
    np.testing.assert_allclose(overlap[gaps > 1e-3 * s[0]], 1, atol=1e-9)


@pytest.mark.parametrize("method", ["exact", "randomised"])
@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_small_singular_values_are_those_of_the_matrix(method, dtype):
    """Over ten orders of magnitude; the square of the matrix would lose all below 1e-8."""
    values = 10.0 ** -np.arange(11)
    array = matrix_of(values, 300, 60, dtype=dtype)
    found = decomposed(array, {"n_components": 11, "method": method}, block=37)
    np.testing.assert_allclose(found["S"], values, rtol=1e-4)
    np.testing.assert_allclose(found["S"][:8], values[:8], rtol=1e-7)
    overlap = np.abs(found["U"].conj().T @ found["U"] - np.eye(11))
    assert overlap.max() < 1e-4


def test_the_randomised_method_finds_components_below_noise_free_others():
    random = np.random.default_rng(8)
    values = np.concatenate([np.geomspace(100, 5, 8), np.full(72, 1.0)])
    array = matrix_of(values, 500, 80, seed=3)
    found = decomposed(array, {"n_components": 8, "method": "randomised"}, block=64)
    np.testing.assert_allclose(found["S"], values[:8], rtol=1e-8)
    other = decomposed(
        array, {"n_components": 8, "method": "randomised", "seed": int(random.integers(9))}
    )
    np.testing.assert_allclose(other["V"], found["V"], atol=1e-4)


@pytest.mark.parametrize("method", ["exact", "randomised"])
def test_the_same_blocks_give_the_same_bits(method):
    array = np.random.default_rng(1).normal(size=(90, 31)).astype("f4")
    params = {"n_components": 5, "method": method}
    first = decomposed(array, params, block=17)
    assert_same_bits(first, decomposed(array, params, block=17))
    other = decomposed(array, params, block=90)
    np.testing.assert_allclose(other["U"], first["U"], atol=1e-5)


def test_a_saved_state_continues_bit_for_bit(tmp_path):
    """After any pass, on arrays from disk: what a killed run does."""
    array = np.random.default_rng(2).normal(size=(40, 12))
    header = scan(array, positions={"X": 40}, steps={"S": 12})
    params = {"n_components": 3, "method": "randomised", "oversampling": 2}
    whole = compute(SVD, array, header, params)
    from usid_tasks.tools import Rows

    state, path, n_passes = None, tmp_path / "state.npz", 0
    while True:
        work = SVD.prepare(header, params).work  # a new process has nothing else
        state = work.begin() if state is None else dict(np.load(path))
        stage = work.next_stage(state)
        if stage is None:
            break
        rows = Rows(0, np.arange(40)[:, np.newaxis])
        np.savez(path, **stage.finish(state, stage.partial(array, rows, state)))
        n_passes += 1
    assert n_passes == 5
    assert work.results(state)["V"].tobytes() == whole["V"].tobytes()


@pytest.mark.parametrize("method", ["exact", "randomised"])
def test_a_matrix_of_low_rank_has_components_of_nothing(method):
    array = np.outer(np.arange(1.0, 8), np.linspace(-1, 2, 6))
    found = decomposed(array, {"n_components": 4, "method": method}, block=3)
    assert found["S"][0] == pytest.approx(np.linalg.norm(array))
    assert (found["S"][1:] < 1e-13 * found["S"][0]).all()
    assert not found["U"][:, 1:].any()
    assert np.isfinite(found["V"]).all()
    np.testing.assert_allclose(product(found), array, atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "randomised"])
def test_zeros_are_decomposed_without_a_warning(method):
    found = decomposed(np.zeros((5, 4)), {"n_components": 2, "method": method})
    assert not found["S"].any()
    assert not found["U"].any()


def test_signs_are_fixed():
    array = np.random.default_rng(4).normal(size=(20, 7))
    for given_array in (array, -array):
        v = decomposed(given_array, {"n_components": 7})["V"]
        largest = v[np.arange(7), np.abs(v).argmax(axis=1)]
        assert (largest > 0).all()


def test_three_main_datasets_as_pycroscopy_has_them():
    array = np.random.default_rng(4).normal(size=(6, 2, 5)).astype("f4")
    found = decomposed(array, {"n_components": 3}, steps={"Bias": 2, "Frequency": 5})
    u, s, v = found.job.outputs
    assert [output.name for output in (u, s, v)] == ["U", "S", "V"]
    assert [dim.name for dim in u.dims] == ["X", "Principal Component"]
    assert [dim.name for dim in s.dims] == ["Principal Component"]
    assert [dim.name for dim in v.dims] == ["Principal Component", "Bias", "Frequency"]
    assert (u.quantity, u.units, v.quantity) == ("Abundance", "a.u.", "Deflection")
    assert v.dims[0].is_new
    assert not v.dims[1].is_new
    assert not u.dims[0].is_new
    assert {found[name].dtype for name in "USV"} == {np.dtype("f4")}
    rebuilt = product(found).reshape(array.shape)
    residual = np.linalg.norm(rebuilt - array)
    s_all = np.linalg.svd(array.reshape(6, 10), compute_uv=False)
    assert residual == pytest.approx(np.linalg.norm(s_all[3:]), rel=1e-4)


def test_what_is_not_finite_is_refused_or_taken_for_zero():
    array = np.random.default_rng(4).normal(size=(9, 4))
    array[5, 2] = np.nan
    with pytest.raises(RefusedError, match="position 5 has a value that is not finite"):
        decomposed(array, {"n_components": 2}, block=2)
    zeroed = np.nan_to_num(array)
    assert_same_bits(
        decomposed(array, {"n_components": 2, "nan": "zero"}),
        decomposed(zeroed, {"n_components": 2}),
    )


def test_what_makes_no_sense_is_refused():
    with pytest.raises(RefusedError, match="has no values"):
        decomposed(np.zeros((0, 4)), {})
    wide = np.zeros((1, 9000), "f4")
    with pytest.raises(RefusedError, match=r"needs matrices of 0\.6 GiB"):
        decomposed(wide, {"method": "exact"})
    assert decomposed(np.ones((1, 9000)), {}).notes["svd_method"] == "randomised"


def test_memory_is_bounded_by_blocks():
    header = scan(np.zeros((4096, 4096), "f4"), positions={"X": 4096}, steps={"S": 4096})
    job = SVD.prepare(header, {"n_components": 16})
    assert job.fixed_bytes < 2**25
    assert job.row_bytes < 2**17
