"""kmeans: against Lloyd's iterations written plainly; seeds, empty clusters, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from tool_cases import assert_same_bits, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute
from usid_tasks.tools.kmeans import KMeansParameters, _KMeans, distances, uniform

KMEANS = find_tool("kmeans")


def clustered(array, params, *, block=None):
    header = scan(array, positions={"X": len(array)}, steps={"S": array.shape[1]})
    return compute(KMEANS, array, header, params, block_positions=block)


def blobs(n_each=40, *, seed=0, n_columns=5):
    random = np.random.default_rng(seed)
    centres = np.eye(4, n_columns) * 20
    truth = random.permutation(np.repeat(np.arange(4), n_each))
    return centres[truth] + random.normal(size=(truth.size, n_columns)), truth


def test_clusters_that_are_there_are_found():
    array, truth = blobs()
    found = clustered(array, {"n_clusters": 4}, block=23)
    labels = found["Labels"]
    assert labels.dtype == np.uint32
    assert found.notes["converged"] is True
    pairs = set(zip(truth.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == 4  # the same clusters, by other numbers
    for label in range(4):
        np.testing.assert_allclose(
            found["Mean_Response"][label], array[labels == label].mean(axis=0), rtol=1e-12
        )


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 40), k=st.integers(1, 6), seed=st.integers(0, 99), block=st.integers(1, 41)
)
def test_the_end_is_a_fixed_point_of_lloyd(count, k, seed, block):
    random = np.random.default_rng(seed)
    array = random.integers(-30, 30, size=(count, 3)).astype("i2")
    k = min(k, count)
    params = {"n_clusters": k, "tolerance": 0, "seed": seed}
    found = clustered(array, params, block=block)
    labels, centres = found["Labels"], found["Mean_Response"]
    away = ((array[:, None, :].astype(float) - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, away.argmin(axis=1))
    for label in np.unique(labels):
        np.testing.assert_allclose(centres[label], array[labels == label].mean(axis=0), atol=1e-12)
    if len(np.unique(array, axis=0)) >= k:
        assert len(np.unique(labels)) == k
    np.testing.assert_allclose(found.notes["inertia"], away.min(axis=1).sum(), rtol=1e-9, atol=1e-9)


def test_blocks_change_no_start_and_the_same_blocks_no_bit():
    array, _ = blobs(seed=5)
    params = {"n_clusters": 4, "seed": 3}
    first = clustered(array, params, block=7)
    assert_same_bits(first, clustered(array, params, block=7))
    for block in (1, 13, 160):
        other = clustered(array, params, block=block)
        np.testing.assert_array_equal(other["Labels"], first["Labels"])
        np.testing.assert_allclose(other["Mean_Response"], first["Mean_Response"], rtol=1e-12)


def test_distances_of_a_row_are_the_same_in_any_block():
    random = np.random.default_rng(6)
    matrix, centres = random.normal(size=(700, 131)), random.normal(size=(3, 131))
    whole = distances(matrix, centres)
    np.testing.assert_allclose(whole[5], ((matrix[5] - centres) ** 2).sum(axis=1), rtol=1e-13)
    for size in (1, 2, 3, 501):
        parts = [distances(matrix[at : at + size], centres) for at in range(0, 700, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_seed_makes_a_start_and_another_one_another():
    array, _ = blobs(seed=1)
    params = {"n_clusters": 4, "iterations": 1, "tolerance": 0}
    starts = {
        clustered(array, {**params, "seed": seed})["Mean_Response"].tobytes() for seed in range(6)
    }
    assert len(starts) > 1


def test_drawn_numbers_are_uniform_and_those_of_rows():
    for seed, draw in ((0, 0), (0, 1), (7, 3), (2**63 - 1, 9)):
        numbers = uniform(seed, draw, np.arange(20000))
        assert kstest(numbers, "uniform").pvalue > 1e-4
        assert np.abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
        np.testing.assert_array_equal(numbers[77:99], uniform(seed, draw, np.arange(77, 99)))
    assert (
        abs(np.corrcoef(uniform(0, 0, np.arange(9000)), uniform(0, 1, np.arange(9000)))[0, 1])
        < 0.05
    )


def test_the_second_centre_is_drawn_by_squared_distance():
    """k-means++: rows at 1, 2 and 3 from the first centre are taken as 1 : 4 : 9."""
    from usid_tasks.tools import Rows

    array = np.array([[0.0], [1.0], [2.0], [3.0]])
    header = scan(array, positions={"X": 4}, steps={"S": 1})
    rows, taken = Rows(0, np.arange(4)[:, np.newaxis]), np.zeros(4, int)
    for seed in range(2000):
        work = _KMeans(header, KMeansParameters(seed=seed))
        state = {**work.begin(), "centres": np.zeros((1, 1))}
        taken[int(work._candidate(array, rows, state)["row"][0, 0])] += 1
    assert taken[0] == 0
    assert chisquare(taken[1:], np.array([1, 4, 9]) / 14 * 2000).pvalue > 1e-4


def test_an_empty_cluster_takes_the_farthest_position():
    array = np.array([[0.0], [0.0], [1.0], [1.0], [50.0]])
    header = scan(array, positions={"X": 5}, steps={"S": 1})
    work = _KMeans(header, KMeansParameters(n_clusters=2, tolerance=0))
    from usid_tasks.tools import Rows

    state = {**work.begin(), "centres": np.array([[0.5], [-1e9]])}  # nobody is near the second
    rows = Rows(0, np.arange(5)[:, np.newaxis])
    stage = work.next_stage(state)
    state = stage.finish(state, stage.partial(array, rows, state))
    np.testing.assert_array_equal(state["centres"], [[10.4], [50.0]])
    assert work.next_stage(state) is not None


@pytest.mark.parametrize("k", [1, 3])
def test_positions_that_are_all_alike_end_without_a_warning(k):
    found = clustered(np.full((6, 4), 2.5), {"n_clusters": k}, block=4)
    assert (found["Labels"] == 0).all()
    assert found.notes["inertia"] == 0
    assert (found["Mean_Response"] == 2.5).all()


def test_one_position_is_a_cluster():
    found = clustered(np.array([[1.0, 2.0]]), {"n_clusters": 1})
    np.testing.assert_array_equal(found["Mean_Response"], [[1, 2]])


def test_too_few_iterations_are_told():
    array = np.random.default_rng(3).normal(size=(300, 2))
    found = clustered(array, {"n_clusters": 8, "iterations": 2, "tolerance": 0})
    assert found.notes["converged"] is False
    assert found.notes["iterations_made"] == 2


def test_outputs_are_those_of_the_specification():
    array, _ = blobs()
    found = clustered(array.astype("f4"), {"n_clusters": 4})
    labels, response = found.job.outputs
    assert (labels.name, labels.quantity, labels.units) == ("Labels", "Cluster labels", "a. u.")
    assert labels.side("spectroscopic") == ()
    assert response.dims[0].name == "Cluster"
    assert (response.name, response.quantity, response.units) == (
        "Mean_Response",
        "Deflection",
        "V",
    )
    assert response.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "params", "told"),
    [
        (np.zeros((3, 2)), {"n_clusters": 4}, "4 clusters of 3 positions"),
        (np.zeros((0, 2)), {"n_clusters": 1}, "1 clusters of 0 positions"),
        (np.zeros((3, 2), "c8"), {"n_clusters": 2}, "Cluster the magnitude"),
        (np.array([[0.0], [np.nan]]), {"n_clusters": 1}, "position 1 has a value that is not"),
        (np.zeros((3, 2)), {"n_clusters": 0}, "n_clusters"),
    ],
)
def test_what_makes_no_sense_is_refused(array, params, told):
    with pytest.raises(RefusedError, match=told):
        clustered(array, params)
