"""The real files of ``../shared/data`` come back as they are, whatever the chunks between."""

from __future__ import annotations

from pathlib import Path

import pytest
from coming_back import assert_told, there_and_back

from usid_tasks.convert import convert_file
from usid_tasks.rechunk import rechunk_store
from usid_tasks.settings import Settings
from usid_tasks.stores.usid import write_usid
from usid_tasks.validate import validate_file

FILES = {
    "SingFreqPFM_0003.h5": 8,
    "simulated_STEM_Image.h5": 5,
    "AFM_Force_Curve.h5": 5,
    "sparse_sampling.h5": 23,
    "Nodax_Spectral_Array.ptir": 34,
}
"""Number of datasets of each."""


@pytest.fixture(params=FILES)
def real(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    path = shared_data / request.param
    if not path.exists():
        pytest.skip(f"{path.name} is not in {shared_data}")
    return path


def test_real_files_come_back(real: Path, tmp_path: Path) -> None:
    made = there_and_back(real, tmp_path)
    assert made.differences == ()
    assert len(made.datasets) == FILES[real.name]
    found = [
        [(one.id, one.path, one.found) for one in validate_file(path)] for path in (real, made.out)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("intent", [pytest.param("spectra", marks=pytest.mark.slow), "images"])
def test_real_files_come_back_from_rechunked_stores(
    real: Path, tmp_path: Path, intent: str
) -> None:
    store = convert_file(real, tmp_path / "one.zarr", settings=Settings()).store
    other = rechunk_store(store, tmp_path / "two.zarr", intent=intent, settings=Settings()).store
    made = write_usid(other, tmp_path / "back" / real.name, settings=Settings())
    assert made.differences == ()
    assert_told(real, made)


@pytest.mark.parametrize("name", ["SingFreqPFM_0003.h5", "sparse_sampling.h5"])
def test_the_same_store_makes_the_same_bytes(name: str, shared_data: Path, tmp_path: Path) -> None:
    store = convert_file(shared_data / name, tmp_path / "one.zarr", settings=Settings()).store
    made = [
        write_usid(store, tmp_path / name, settings=Settings()).out for name in ("a.h5", "b.h5")
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
