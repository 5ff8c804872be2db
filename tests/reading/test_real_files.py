"""The real files of ``../shared/data``: every Main equals the oracle, and what is known holds."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import oracle
import pytest
import xarray as xr
from agreement import assert_agrees, assert_file_agrees, main_nodes, open_main

FILES = {
    "SingFreqPFM_0003.h5": 4,
    "simulated_STEM_Image.h5": 1,
    "AFM_Force_Curve.h5": 1,
    "sparse_sampling.h5": 7,
    "Nodax_Spectral_Array.ptir": 7,
}


@pytest.fixture(params=FILES)
def real(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    path = shared_data / request.param
    if not path.exists():
        pytest.skip(f"{path.name} is not in {shared_data}")
    return path


def find(shared_data: Path, name: str) -> Path:
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not in {shared_data}")
    return shared_data / name


def test_every_main_equals_the_oracle(real: Path) -> None:
    assert len(assert_file_agrees(real)) == FILES[real.name]


def test_every_main_is_sound(real: Path) -> None:
    from usid_tasks.validate import validate_file

    assert not [f for f in validate_file(real) if f.severity.value == "error"]


def test_every_attribute_of_every_group_is_reachable(real: Path) -> None:
    with h5py.File(real) as file, xr.open_datatree(real, engine="usid") as tree:
        for node in tree.subtree:
            record = node.attrs.get("usid_attrs", {})
            missing = [key for key in file[node.path].attrs if key not in record]
            assert not missing, (node.path, missing)
            json.dumps(node.attrs)
        for main in oracle.mains(real):
            parent = main.rsplit("/", 1)[0]
            while parent:
                known = tree[main].attrs["usid_parents"].get(parent, {})
                assert len(file[parent].attrs) <= len(known.get("usid_attrs", known)), parent
                parent = parent.rsplit("/", 1)[0]


def test_pfm_channels_are_images(shared_data: Path) -> None:
    path = find(shared_data, "SingFreqPFM_0003.h5")
    quantities = []
    for k in range(4):
        with open_main(path, f"/Measurement_000/Channel_{k:03d}/Raw_Data") as ds:
            var = ds["Raw_Data"]
            assert var.dims == ("Y", "X")
            assert var.shape == (128, 128)
            assert var.attrs["units"] == "m"
            assert ds["X"].attrs["usid_axis"] == ds["Y"].attrs["usid_axis"] == "uniform"
            assert ds["X"].attrs["units"] == ds["Y"].attrs["units"] == "m"
            assert float(ds["arb"]) == 1
            assert ds["arb"].attrs["units"] == "a.u."
            quantities.append(var.attrs["quantity"])
            with h5py.File(path) as file:
                raw = file[f"/Measurement_000/Channel_{k:03d}/Raw_Data"][:, 0]
            assert (var.values == raw.reshape(128, 128)).all()
    assert quantities == [
        "HeightRetrace", "AmplitudeRetrace", "DeflectionRetrace", "PhaseRetrace",
    ]  # fmt: skip


def test_stem_image(shared_data: Path) -> None:
    path = find(shared_data, "simulated_STEM_Image.h5")
    with open_main(path, "/Measurement_000/Channel_000/Raw_Data", {}) as ds:
        assert ds["Raw_Data"].dims == ("Y", "X")
        assert ds["Raw_Data"].shape == (256, 256)
        assert ds["Raw_Data"].dtype == np.uint8
        assert ds["X"].attrs["units"] == "nm"
        assert ds["X"].attrs["usid_axis"] == "uniform"
        assert float(ds["None"]) == 1


def test_afm_force_curve(shared_data: Path) -> None:
    path = find(shared_data, "AFM_Force_Curve.h5")
    with open_main(path, "/Measurement_000/Channel_000/Raw_Data") as ds:
        assert ds["Raw_Data"].dims == ("Z",)
        assert ds.sizes["Z"] == 2045
        assert ds["Z"].attrs["usid_axis"] == "non-monotonic"
        assert ds["Z"].attrs["units"] == "m"
        assert 5.4e-6 < float(ds["Z"][0]) < 5.6e-6
        assert ds["X"].attrs["units"] == "a. u."
        assert ds.attrs["usid_parents"]["/Measurement_000"]["ScanRate"] is not None
    with xr.open_datatree(path, engine="usid") as tree:
        assert tree.attrs["instrument"] == "cypher_west"


def test_sparse_file_is_flat(shared_data: Path) -> None:
    path = find(shared_data, "sparse_sampling.h5")
    for channel in (0, 1):
        with open_main(path, f"/Measurement_000/Channel_{channel:03d}/Raw_Data") as ds:
            assert ds.sizes == {"position": 8, "Frequency": 3}
            assert ds["X"].values[:3].tolist() == [150, 200, 100]
            assert ds["Y"].values[:3].tolist() == [3.75, 0, 3.75]
            assert ds["X"].attrs["units"] == "nm"
            assert ds["Y"].attrs["units"] == "um"
            assert ds["Frequency"].values.tolist() == [300, 315, 330]
    with xr.open_datatree(path, engine="usid") as tree:
        groups = [g for g in tree.groups if "Simple_Process" in g.rsplit("/", 1)[1]]
        assert len(groups) == 12
        for group in groups:
            assert tree[group].attrs["source_000"] == "/Measurement_000/Channel_000/Raw_Data"


def test_ptir_spectra(shared_data: Path) -> None:
    path = find(shared_data, "Nodax_Spectral_Array.ptir")
    sizes = []
    for k in range(7):
        with open_main(path, f"/Measurement_{k:03d}/Channel_000/Raw_Data") as ds:
            assert ds["Raw_Data"].dims == ("Z",)
            assert ds["Z"].attrs["units"] == "cm-1"
            assert ds["X"].attrs["units"] == "m"
            sizes.append(ds.sizes["Z"])
            if k == 0:
                assert ds["Raw_Data"].attrs["units"] == "cm⁻¹"
            if k == 1:
                assert ds["Raw_Data"].attrs["units"] == "mV"
                assert ds["Z"].values[[0, -1]].tolist() == [801, 1797]
    assert sizes == [514, 499, 1024, 499, 1024, 499, 1024]


def test_a_real_file_is_never_written(real: Path) -> None:
    before = real.stat()
    with xr.open_datatree(real, engine="usid", chunks={}) as tree:
        for main in main_nodes(tree):
            assert_agrees(tree[main].to_dataset(), oracle.rebuild(real, main))
    after = real.stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
