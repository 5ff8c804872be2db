"""Ingest waits for results that are not finished, and links those that are to their raw file."""

from __future__ import annotations

import json
import os
import time

import h5py
import numpy as np
import pytest
from results_files import GROUP, as_pyusid, means, source
from usid_files import MAIN

from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.model import Outcome
from usid_tasks.provenance.fingerprints import fingerprint
from usid_tasks.provenance.unfinished import derivation_of
from usid_tasks.settings import Settings
from usid_tasks.usid import read_usid

DONE, HALF = np.ones(12, np.uint8), np.arange(12) < 5


def told(path):
    return [str(one) for one in derivation_of(path).unfinished]


@pytest.mark.parametrize(
    ("status", "last_pixel", "n_done"),
    [
        (DONE, 12, None), (HALF, 12, 5), (np.zeros(12), 0, 0), (DONE, 3, None), (None, 3, 3),
        (None, 12, None), (None, None, None), (np.ones(0), 0, None), (np.full(12, 2), 12, 0),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("in_place", [True, False])
def test_marks_of_positions_decide_and_last_pixel_without_them(
    scan, tmp_path, status, last_pixel, n_done, in_place
):
    place = scan if in_place else tmp_path / "results.h5"
    as_pyusid(place, scan, status=status, last_pixel=last_pixel)
    expected = [f"results group /Raw_Data-Mean_Val_000: {n_done} of 12 positions are done"]
    assert told(place) == ([] if n_done is None else expected)


def test_marks_of_a_fit_count(scan):
    as_pyusid(scan, scan, status=DONE)
    with h5py.File(scan, "r+") as file:
        file["Raw_Data-Mean_Val_000/completed_fits"] = HALF.astype("u1")
    assert told(scan) == ["results group /Raw_Data-Mean_Val_000: 5 of 12 positions are done"]


def test_files_without_results_tell_nothing(scan, shared_data):
    for path in (scan, shared_data / "AFM_Force_Curve.h5"):
        found = derivation_of(path)
        assert (found.unfinished, found.derived_from) == ((), ())


def test_what_a_real_file_left_unfinished_is_told(shared_data):
    found = derivation_of(shared_data / "sparse_sampling.h5").unfinished
    assert len(found) == 6
    assert {(one.n_done, one.n_positions) for one in found} == {(0, 8)}


@pytest.fixture
def run(tmp_path):
    def ingest_data():
        request = IngestRequest(sources=[str(tmp_path / "data")], dest=tmp_path / "to", settle_s=0)
        found = ingest(request, Settings())
        return {record.key: record for record in found.files}

    return ingest_data


def receipt(tmp_path, name):
    return json.loads((tmp_path / "to" / f"{name}.receipt.json").read_text("utf-8"))


def test_a_results_file_is_a_source_linked_to_its_raw_file(scan, results, run, tmp_path):
    assert {key: one.outcome for key, one in run().items()} == {
        "scan.h5": Outcome.DONE,
        "scan.h5.results.h5": Outcome.DONE,
    }
    assert "derived_from" not in receipt(tmp_path, "scan.h5")["extra"]
    assert receipt(tmp_path, "scan.h5.results.h5")["extra"]["derived_from"] == [
        {
            "group": GROUP,
            "tool": "reduce",
            "file": "scan.h5",
            "dataset": MAIN,
            "fingerprint": fingerprint(read_usid(scan).mains[MAIN]).digest,
        }
    ]


def test_results_of_pyusid_are_linked_as_far_as_they_tell(scan, run, tmp_path):
    as_pyusid(tmp_path / "data" / "theirs.h5", scan, status=DONE)
    run()
    (link,) = receipt(tmp_path, "theirs.h5")["extra"]["derived_from"]
    assert (link["file"], link["dataset"], link["fingerprint"]) == (str(scan), MAIN, None)


def test_unfinished_results_are_deferred_and_taken_when_they_are_done(scan, run, tmp_path):
    place = as_pyusid(tmp_path / "data" / "theirs.h5", scan, status=HALF, last_pixel=5)
    reason = "results group /Raw_Data-Mean_Val_000: 5 of 12 positions are done"
    for _ in range(2):
        found = run()
        assert found["theirs.h5"].outcome is Outcome.DEFERRED
        assert found["theirs.h5"].reason == reason
        assert not (tmp_path / "to" / "theirs.h5.zarr").exists()
    assert receipt(tmp_path, "theirs.h5")["outcome"] == "deferred"
    assert found["scan.h5"].outcome is Outcome.CURRENT
    with h5py.File(place, "r+") as file:
        file["Raw_Data-Mean_Val_000/completed_positions"][...] = 1
    found = run()
    assert found["theirs.h5"].outcome is Outcome.DONE
    assert "unfinished" not in receipt(tmp_path, "theirs.h5")["extra"]


def test_raw_data_do_not_wait_for_a_tool_that_will_not_come_back(run, tmp_path):
    path = source(tmp_path / "data" / "scan.h5")
    as_pyusid(path, path, status=HALF, last_pixel=5)
    assert run()["scan.h5"].outcome is Outcome.DEFERRED
    long_ago = time.time() - 25 * 3600
    os.utime(path, (long_ago, long_ago))
    assert run()["scan.h5"].outcome is Outcome.DONE
    assert receipt(tmp_path, "scan.h5")["extra"]["unfinished"] == [
        "results group /Raw_Data-Mean_Val_000: 5 of 12 positions are done"
    ]


def test_results_in_the_file_of_their_source_are_no_link(scan, run, tmp_path):
    means(scan, scan)
    assert run()["scan.h5"].outcome is Outcome.DONE
    assert "derived_from" not in receipt(tmp_path, "scan.h5")["extra"]
