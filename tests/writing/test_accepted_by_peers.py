"""What is written is read alike by unpatched pyUSID, by RosettaSciIO and by our oracle."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from agreement import assert_file_agrees
from usid_files import MAIN, distinct
from written_signals import axis, signal, values_of

from usid_tasks import file_writer
from usid_tasks.writing.options import Options
from usid_tasks.writing.refusals import UnwritableError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ORDERS = ["slow to fast", "specification"]
LARGE = {"note": "x" * 100_000, "array": np.arange(20_000.0), "none": None, "a/b": [1, "c"]}


def vectors() -> dict[str, Any]:
    told = signal({"Y": 3, "X": 4}, {"Δ Energy": 5, "Cycle": 2})
    told["axes"][2] |= {"axis": np.geomspace(1, 20000.01, 5), "units": "µV", "is_binned": True}
    return told


def of_doubles() -> dict[str, Any]:
    told = signal({"Y": 3, "X": 4}, {"Time": 5})
    told["axes"][2] |= {"offset": 1.7e9, "scale": 1e-3}
    return told


SIGNALS = {
    "two and two": signal({"Y": 3, "X": 4}, {"Cycle": 2, "Bias": 5}),
    "equal sizes": signal({"Y": 3, "X": 3}, {"Cycle": 3, "Bias": 3}),
    "three positions": signal({"Z": 2, "Y": 3, "X": 4}, {"Bias": 5}),
    "of size two": signal({"Z": 2, "Y": 2, "X": 2}, {"Cycle": 2, "Bias": 2}),
    "an image": signal({}, {"Y": 3, "X": 4}),
    "positions alone": signal({"Y": 3, "X": 4}, {}),
    "a spectrum": signal({}, {"Bias": 5}),
    "size one between": signal({"Y": 3, "Z": 1, "X": 4}, {"Bias": 5, "Time": 1}),
    "size one first": signal({"Z": 1, "X": 4}, {"Time": 1, "Bias": 5}),
    "complex": signal({"Y": 3, "X": 4}, {"Bias": 5}, "c8"),
    "integers": signal({"Y": 3, "X": 4}, {"Bias": 5}, "u2"),
    "vectors": vectors(),
    "doubles": of_doubles(),
    "metadata": signal(metadata={"General": LARGE}, original_metadata={"deep": {"er": LARGE}}),
}
"""Each with a form in N dimensions that these readers know: no sides with two axes of size one
alone, for which pyUSID has none (its issue 82)."""


@pytest.fixture(scope="module")
def pyusid() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        import pyUSID

        return pyUSID


@pytest.fixture(scope="module")
def rosetta() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rsciio.usid import file_reader

        return file_reader


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIGNALS)
def told(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SIGNALS[request.param]


@pytest.fixture
def written(path: Path, told: dict[str, Any], order: str) -> Path:
    """Return a file of two Measurements, the second one added, contiguous and in chunks."""
    file_writer(path, told, column_order=order)
    file_writer(path, told, column_order=order, compression="gzip", chunks=True)
    return path


def expected(told: dict[str, Any]) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the array with its axes, Position dimensions first, without those of size one."""
    numbers = sorted(range(len(told["axes"])), key=lambda k: not told["axes"][k]["navigate"])
    data = told["data"].transpose(numbers)
    axes = [told["axes"][k] for k in numbers]
    wide = [one for one, size in zip(axes, data.shape, strict=True) if size > 1]
    return data.squeeze(), wide


def in_order(labels: list[str], wide: list[dict[str, Any]]) -> list[int]:
    return [labels.index(one["name"]) for one in wide]


def test_pyusid_takes_it_for_a_main_dataset(pyusid, written):
    mains = {MAIN, MAIN.replace("_000/C", "_001/C")}
    with warnings.catch_warnings(), h5py.File(written) as file:
        warnings.simplefilter("ignore")
        assert {main.name for main in pyusid.hdf_utils.get_all_main(file)} == mains
        assert all(pyusid.hdf_utils.check_if_main(file[main], verbose=True) for main in mains)


def test_pyusid_has_the_same_form_in_n_dimensions(pyusid, written, told):
    data, wide = expected(told)
    with warnings.catch_warnings(), h5py.File(written) as file:
        warnings.simplefilter("ignore")
        for main in (MAIN, MAIN.replace("_000/C", "_001/C")):
            found = pyusid.USIDataset(file[main])
            form = found.get_n_dim_form()
            labels = [str(label) for label in found.n_dim_labels]
            kept = [label for label, size in zip(labels, form.shape, strict=True) if size > 1]
            form = np.squeeze(form).transpose(in_order(kept, wide))
            np.testing.assert_array_equal(form, data)
            for one, size in zip(wide, data.shape, strict=True):
                read = found.get_pos_values if one["navigate"] else found.get_spec_values
                np.testing.assert_array_equal(read(one["name"]), values_of(one, size))


# pyUSID mislabels data with a dimension of size one between others, whatever the order
@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "size one between"])
def test_pyusid_sorts_what_is_written_slow_to_fast(pyusid, path, name):
    """With the specification's order of columns its ``sort_dims=True`` is wrong."""
    told = SIGNALS[name]
    file_writer(path, told)
    with warnings.catch_warnings(), h5py.File(path) as file:
        warnings.simplefilter("ignore")
        found = pyusid.USIDataset(file[MAIN], sort_dims=True)
        labels, form = [str(label) for label in found.n_dim_labels], found.get_n_dim_form()
    data, wide = expected(told)
    kept = [label for label, size in zip(labels, form.shape, strict=True) if size > 1]
    assert kept == [one["name"] for one in wide]
    np.testing.assert_array_equal(np.squeeze(form), data)


@pytest.mark.parametrize("lazy", [False, True])
def test_rosettasciio_reads_it(rosetta, written, told, lazy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # axes that are no straight line it counts
        signals = rosetta(str(written), lazy=lazy)
    assert len(signals) == 2
    data, wide = expected(told)
    for found in signals:
        names = [one["name"] for one in found["axes"]]
        np.testing.assert_array_equal(
            np.asarray(found["data"]).transpose(in_order(names, wide)), data
        )
        for one in wide:
            theirs = found["axes"][names.index(one["name"])]
            assert theirs["units"] == one["units"]
            if "axis" not in one:
                assert theirs["offset"] == one["offset"]
                assert theirs["scale"] == pytest.approx(one["scale"], rel=1e-3)


def test_our_oracle_reads_it(written, told):
    wanted = assert_file_agrees(written, ways=[None, {}])
    data, wide = expected(told)
    for found in wanted.values():
        assert list(found.dims) == [one["name"] for one in wide]
        np.testing.assert_array_equal(next(iter(found.data.values())), data)


def test_all_see_the_parts_of_a_compound(pyusid, rosetta, path):
    data = distinct((3, 4, 5), [("Amplitude [V]", "f4"), ("Phase (rad)", "f8")])
    told = {"data": data, "axes": [axis("Y", 3, True), axis("X", 4, True), axis("Bias", 5)]}
    file_writer(path, told)
    with warnings.catch_warnings(), h5py.File(path) as file:
        warnings.simplefilter("ignore")
        form = pyusid.USIDataset(file[MAIN]).get_n_dim_form()
        signals = rosetta(str(path))
    for name, found in zip(data.dtype.names, signals, strict=True):
        np.testing.assert_array_equal(form[name], data[name])
        np.testing.assert_array_equal(found["data"], data[name])
    assert_file_agrees(path, ways=[None])


def test_every_option_of_pyusid_is_an_option_or_told_by_the_signal(pyusid):
    """And what is no parameter of its, such as ``compression``, goes to h5py in both."""
    parameters = inspect.signature(pyusid.hdf_utils.write_main_dataset).parameters
    told = {
        "main_dset_attrs": {}, "verbose": True, "slow_to_fast": True,
        "h5_pos_inds": "/a", "h5_pos_vals": "/b", "h5_spec_inds": "/c", "h5_spec_vals": "/d",
    }  # fmt: skip
    names = [name for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD]
    by_signal = {"h5_parent_group", "main_data", "pos_dims", "spec_dims"}
    assert by_signal < set(names)
    for name in by_signal:
        with pytest.raises(UnwritableError, match="is no option here"):
            Options.of({name: None})
    found = Options.of({name: told.get(name, name) for name in names if name not in by_signal})
    assert found.creation == {}
    assert (found.name, found.quantity, found.units) == ("main_data_name", "quantity", "units")
    assert found.prefixes == {"position": "aux_pos_prefix_", "spectroscopic": "aux_spec_prefix_"}
    assert [list(pair.values()) for pair in found.tables.values()] == [["/a", "/b"], ["/c", "/d"]]
