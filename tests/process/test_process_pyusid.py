"""pyUSID as it was released finds our results, and takes them for its own."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
from process_cases import GROUP, MAIN, small, source

from usid_tasks.process import process_file

pytestmark = pytest.mark.slow

PARAMS = {"dims": ["Frequency"], "statistics": ["mean", "std"], "ddof": 1}


@pytest.fixture(scope="module")
def usid():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyUSID

        return pyUSID


@pytest.fixture(params=["beside", "in place"])
def done(request, tmp_path):
    path = source(tmp_path / "scan.h5")
    in_place = request.param == "in place"
    settings = small(writable_roots=(tmp_path,))
    (made,) = process_file(path, "reduce", PARAMS, in_place=in_place, settings=settings)
    return made


def test_it_finds_and_reads_them(usid, done):
    hdf = usid.io.hdf_utils
    with (
        warnings.catch_warnings(),
        h5py.File(done.source) as held,
        h5py.File(done.file) as made,
    ):
        warnings.simplefilter("ignore")
        main, parent = held[MAIN], made[GROUP]
        found = hdf.find_results_groups(main, "reduce", h5_parent_group=parent)
        assert [group.name for group in found] == [done.group]
        same = hdf.check_for_old(main, "reduce", new_parms=PARAMS, h5_parent_goup=parent)
        assert [group.name for group in same] == [done.group]
        other = {**PARAMS, "ddof": 0}
        assert hdf.check_for_old(main, "reduce", new_parms=other, h5_parent_goup=parent) == []
        group = found[0]
        assert hdf.check_for_matching_attrs(group, new_parms={"dims": ["Frequency"]})
        names = {each.name for each in hdf.get_all_main(made)}
        assert {f"{done.group}/Mean", f"{done.group}/Std"} <= names
        mean = usid.USIDataset(group["Mean"])
        assert mean.n_dim_labels == ["X", "Y", "Cycle"]
        assert mean.n_dim_sizes == [5, 7, 2]
        wanted = held[MAIN][()].reshape(7, 5, 2, 13).mean(axis=-1, dtype="f8").transpose(1, 0, 2)
        np.testing.assert_allclose(mean.get_n_dim_form(), wanted, rtol=1e-6)
        assert dict(mean.attrs)["quantity"] == dict(main.attrs)["quantity"] == "Amplitude"


def test_its_process_takes_them_as_done(usid, done):
    class Reduce(usid.Process):
        def __init__(self, main, **more):
            super().__init__(main, "reduce", parms_dict=dict(PARAMS), **more)

        def _create_results_datasets(self):
            raise AssertionError("it wants to compute")

    with (
        warnings.catch_warnings(),
        h5py.File(done.file, "r+") as made,
        h5py.File(done.source, "r")
        if done.source != done.file
        else warnings.catch_warnings() as held,
    ):
        warnings.simplefilter("ignore")
        beside = done.source != done.file
        main = usid.USIDataset((held if beside else made)[MAIN])
        process = Reduce(main, **({"h5_target_group": made[GROUP]} if beside else {}))
        assert [group.name for group in process.duplicate_h5_groups] == [done.group]
        assert process.partial_h5_groups == []
