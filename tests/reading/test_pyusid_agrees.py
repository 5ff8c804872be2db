"""pyUSID, where it is sound, sees the same Main datasets and the same arrays.

It never decides which cell goes where: for snakes, interlaced and reversed scans its answers are
wrong. Here it is an independent reader of files that it understands.
"""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import xarray as xr
from index_tables import grid, values_at
from usid_files import MAIN, Side, line, write_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def pyusid():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        import pyUSID
        from pyUSID.io.hdf_utils import check_if_main, get_all_main

        return pyUSID, check_if_main, get_all_main


def compare(pyusid, path, main):
    pyUSID, check_if_main, _ = pyusid
    ours = xr.open_dataset(path, engine="usid", group=main)
    (array,) = ours.data_vars.values()
    with warnings.catch_warnings(), h5py.File(path) as file:
        warnings.simplefilter("ignore")
        assert check_if_main(file[main])
        theirs = pyUSID.USIDataset(file[main])
        form = theirs.get_n_dim_form()
        labels = [str(label) for label in theirs.n_dim_labels]
    kept = [label for label, size in zip(labels, form.shape, strict=True) if size > 1]
    theirs = xr.DataArray(np.squeeze(form), dims=kept).transpose(*array.dims)
    np.testing.assert_array_equal(np.asarray(theirs), array.values)


@pytest.mark.parametrize("columns", [["X", "Y"], ["Y", "X"]], ids=str)
def test_plain_rasters_are_read_alike(pyusid, path, columns):
    table = grid({"Y": 4, "X": 3}, columns=columns)
    axes = {"X": np.arange(3.0), "Y": np.arange(4.0)}
    values = values_at(table, *(axes[name] for name in columns))
    side = Side(table, columns, ["um", "um"], values)
    write_file(path, side, line("Bias", np.linspace(-1, 1, 5, dtype="f4")))
    compare(pyusid, path, MAIN)


@pytest.mark.parametrize("name", ["SingFreqPFM_0003.h5", "simulated_STEM_Image.h5"])
def test_real_files_are_read_alike(pyusid, shared_data, name):
    path = shared_data / name
    tree = xr.open_datatree(path, engine="usid")
    mains = [node.path for node in tree.subtree if "usid_parents" in node.attrs]
    assert mains
    for main in mains:
        compare(pyusid, path, main)


def test_our_samples_are_main_datasets_to_pyusid(pyusid, tmp_path):
    from usid_tasks.model import Outcome
    from usid_tasks.samples import write_samples

    _, _, get_all_main = pyusid
    seen = 0
    for sample in write_samples(tmp_path):
        if sample.outcome is not Outcome.DONE or sample.path.suffix == ".ptir":
            continue  # what pyUSID cannot read, or silently leaves out
        tree = xr.open_datatree(sample.path, engine="usid")
        ours = {node.attrs["usid_path"] for node in tree.subtree if "usid_parents" in node.attrs}
        with warnings.catch_warnings(), h5py.File(sample.path) as file:
            warnings.simplefilter("ignore")
            theirs = {main.name for main in get_all_main(file)}
        assert theirs <= ours
        seen += len(theirs)
    assert seen >= 5
