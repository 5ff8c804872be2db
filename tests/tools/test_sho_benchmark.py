"""The measuring functions of benchmarks/sho.py, very small: no figure is looked at."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks import sho


@pytest.mark.slow
def test_both_sides_are_measured_on_the_same_truth():
    before = dict(os.environ)
    (found,) = sho.run((0.01,), n_ours=64, n_loop=16, turns=1)
    assert dict(os.environ) == before
    assert found.ours_s > 0 < found.loop_s
    assert found.ratio == found.loop_s / found.ours_s == sho.median_ratio([found])
    assert found.ours.quality == pytest.approx(found.loop.quality, rel=0.01)
    header, row = sho.table([found])
    assert len(header) == len(row)
    assert row[0] == "0.01"


def test_both_fits_end_at_the_same_parameters():
    truth = sho.make_truth(6, 0.02)
    ours, lm, trf = (
        fit(truth.spectra, truth.frequencies)
        for fit in (sho.fit_at_once, sho.loop_lm, sho.loop_trf)
    )
    turned = np.angle(np.exp(1j * (lm[:, 3] - ours[:, 3])))
    np.testing.assert_allclose(turned, 0, atol=1e-4)
    for column in (0, 1, 2, 4):
        np.testing.assert_allclose(np.abs(lm[:, column]), ours[:, column], rtol=1e-4)
        np.testing.assert_allclose(np.abs(trf[:, column]), ours[:, column], rtol=1e-4)


def test_errors_are_those_of_the_truth():
    truth = sho.make_truth(5, 0.01)
    exact = np.column_stack([truth.parameters, np.zeros(5)])
    assert sho.errors_of(exact, truth) == sho.Errors(0, 0, 0, 0, 0)
    off = exact * [1.5, 1, 2, 1, 0] + [0, 0, 0, 2 * np.pi + 0.25, 1]
    off[:, 1] += 0.5 * truth.parameters[:, 1] / truth.parameters[:, 2]
    found = sho.errors_of(off, truth)
    assert found.amplitude == pytest.approx(0.5)
    assert found.frequency == pytest.approx(0.5)
    assert found.quality == pytest.approx(1)
    assert found.phase == pytest.approx(0.25)
    assert found.flagged == 5
