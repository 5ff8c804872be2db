"""What a run writes is what the tool makes in memory, wherever and however the source has it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process_cases import (
    GROUP,
    MAIN,
    SOURCES,
    band,
    contents,
    cycles,
    expected,
    raster,
    read_back,
    small,
    source,
)

from usid_tasks.process import ProcessOutcome, process_file
from usid_tasks.usid import read_usid

TOOLS = {
    "reduce": {"dims": ["Frequency"], "statistics": ["mean", "std", "min", "max", "sum"]},
    "background": {"dim": "Frequency", "degree": 2},
    "fft_filter": {"dim": "Frequency", "highest": 4e-5},
    "sho_fit": {},
    "svd": {"n_components": 3},
    "kmeans": {"n_clusters": 3, "iterations": 3},
}
BY_POSITION = ("reduce", "background", "fft_filter", "sho_fit")


def ran(path, tool, params, **how):
    (done,) = process_file(path, tool, params, settings=how.pop("settings", small()), **how)
    return done


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("tool", BY_POSITION)
def test_by_position_the_bits_are_those_of_memory(path, kind, tool):
    source(path, kind, "c8" if tool == "sho_fit" else "f4")
    done = ran(path, tool, TOOLS[tool])
    assert done.outcome is ProcessOutcome.COMPUTED
    found, wanted = read_back(done.file, done.group), expected(path, tool, TOOLS[tool])
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        if array.dtype.names:
            assert found[name].keys() == set(array.dtype.names)
        for field in array.dtype.names or ("",):
            one, other = (found[name][field], array[field]) if field else (found[name], array)
            measured = _measured(path, one.ndim)
            assert one.dtype == other.dtype
            assert np.array_equal(one[measured], other[measured], equal_nan=True), (name, field)


def _measured(path, ndim):
    import oracle

    valid = oracle.rebuild(path, MAIN).valid
    return ... if valid is None else valid


@pytest.mark.parametrize("kind", ["raster", "transposed", "chunked"])
@pytest.mark.parametrize("tool", ["svd", "kmeans"])
def test_in_passes_the_values_are_those_of_memory(path, kind, tool):
    source(path, kind, "f8")
    done = ran(path, tool, TOOLS[tool])
    found, wanted = read_back(done.file, done.group), expected(path, tool, TOOLS[tool])
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == tuple(size for size in array.shape if size > 1)
        np.testing.assert_allclose(
            found[name], array.reshape(found[name].shape), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("kind", ["snake", "aborted"])
def test_svd_of_rows_out_of_order_makes_the_source(path, kind):
    source(path, kind, "f8")
    done = ran(path, "svd", {"n_components": 26})
    with h5py.File(path) as held, h5py.File(done.file) as made:
        u, s, v = (made[done.group][name][()] for name in "USV")
        np.testing.assert_allclose((u * s.T) @ v, held[MAIN][()], atol=1e-10)


@pytest.mark.parametrize("kind", ["raster", "snake", "aborted", "transposed"])
def test_positions_are_reduced_by_their_indices(path, kind):
    source(path, kind, "f8")
    done = ran(path, "reduce", {"dims": ["X"], "statistics": ["mean"]})
    found = read_back(done.file, done.group)["Mean"]
    wanted = expected(path, "reduce", {"dims": ["X"], "nan": "omit"})["Mean"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_all_positions_and_steps_can_vanish(path):
    source(path, "raster", "i4")
    done = ran(path, "reduce", {"dims": ["X", "Y", "Frequency", "Cycle"], "statistics": ["sum"]})
    with h5py.File(path) as held, h5py.File(done.file) as made:
        total = made[done.group]["Sum"]
        assert total.shape == (1, 1)
        assert total[0, 0] == held[MAIN][()].sum()
        for side in ("Position", "Spectroscopic"):
            table = made[total.attrs[f"{side}_Indices"]]
            assert table.shape == (1, 1)
            assert table.attrs["labels"].tolist() == [b"arb"]


@pytest.mark.parametrize("tool", list(TOOLS))
def test_workers_change_no_bit(tmp_path, tool):
    made = []
    for workers in (1, 2, 3):
        path = source(
            _in(tmp_path, workers),
            "snake",
            "c8" if tool == "sho_fit" else "f4",
            (9, 11),
        )
        done = ran(path, tool, TOOLS[tool], settings=small(workers=workers))
        assert done.outcome is ProcessOutcome.COMPUTED, done.reason
        made.append(contents(done.file))
    assert made[0] == made[1] == made[2]


def _in(folder, number):
    inner = folder / str(number)
    inner.mkdir()
    return inner / "scan.h5"


def test_the_tables_of_unchanged_dimensions_are_those_of_the_source(path):
    source(path, "snake")
    done = ran(path, "background", TOOLS["background"])
    mine, theirs = read_usid(done.file), read_usid(path).mains[MAIN]
    made = mine.mains[f"{done.group}/Corrected"]
    assert made.shape == theirs.shape
    with h5py.File(path) as held, h5py.File(done.file) as copy:
        for name in ("Position", "Spectroscopic"):
            for kind in ("Indices", "Values"):
                one = held[held[MAIN].attrs[f"{name}_{kind}"]]
                other = copy[copy[made.path].attrs[f"{name}_{kind}"]]
                assert np.array_equal(one[()], other[()])
                assert one.dtype == other.dtype
                assert other.attrs["labels"].tolist() == one.attrs["labels"].tolist()
    assert (made.quantity, made.units) == (theirs.quantity, theirs.units)


def test_components_of_a_compound_are_named_or_refused(path):
    from usid_files import Side, write_file

    data = np.zeros((35, 26), [("re", "f4"), ("im", "f4")])
    data["im"] = np.random.default_rng(1).normal(size=(35, 26))
    write_file(path, Side(raster(5, 7), ["X", "Y"]), cycles(), data=data)
    refused = ran(path, "reduce", TOOLS["reduce"])
    assert refused.outcome is ProcessOutcome.REFUSED
    assert "'re', 'im'" in refused.reason
    assert not path.with_name("scan.h5.results.h5").exists()
    done = ran(path, "reduce", {"dims": ["Frequency"]}, component="im")
    with h5py.File(done.file) as made:
        group = made[done.group]
        wanted = data["im"].reshape(35, 2, 13).mean(axis=2, dtype="f8")
        np.testing.assert_allclose(group["Mean"][()], wanted, rtol=1e-6)
        assert group.attrs["component"] == "im"


def test_every_main_dataset_gets_a_group_of_its_own(path):
    from usid_files import Side, channel, write_main

    with h5py.File(path, "w") as file:
        for name in ("Raw_Data", "Raw_Data_2"):
            write_main(
                channel(file, channel=int(name[-1] == "2")), name,
                position=Side(raster(5, 7), ["X", "Y"]), spectroscopic=cycles(),
                data=band(35, "f4", seed=len(name)),
            )  # fmt: skip
    results = process_file(path, "reduce", {"dims": ["Frequency"]}, settings=small())
    assert [each.group.rpartition("/")[2] for each in results] == [
        "Raw_Data-reduce_000", "Raw_Data_2-reduce_000"
    ]  # fmt: skip
    again = process_file(path, "reduce", {"dims": ["Frequency"]}, settings=small())
    assert [each.outcome for each in again] == [ProcessOutcome.FOUND] * 2
    assert [each.group for each in again] == [each.group for each in results]


def test_a_results_file_is_a_source_as_any(path):
    source(path)
    first = ran(path, "svd", {"n_components": 3})
    second = process_file(
        first.file, "reduce", {"dims": ["Principal Component"]}, dataset=f"{first.group}/U",
        settings=small(),
    )[0]  # fmt: skip
    assert second.outcome is ProcessOutcome.COMPUTED
    with h5py.File(first.file) as made, h5py.File(second.file) as mean:
        wanted = made[first.group]["U"][()].mean(axis=1, dtype="f8")
        np.testing.assert_allclose(mean[second.group]["Mean"][:, 0], wanted, rtol=1e-6)


def test_the_group_has_what_pyusid_writes(path):
    source(path)
    done = ran(path, "reduce", {"dims": ["Frequency"], "statistics": ["mean", "max"]})
    assert done.group == f"{GROUP}/Raw_Data-reduce_000"
    with h5py.File(done.file) as made:
        group = made[done.group]
        told = dict(group.attrs)
        assert told["tool"] == "reduce"
        assert told["num_source_dsets"] == 1
        assert told["source_dataset_path"] == MAIN
        assert told["source_file_path"] == "scan.h5"
        assert told["last_pixel"] == 35
        assert list(told["statistics"]) == ["mean", "max"]
        assert told["ddof"] == 0
        assert {"algorithm", "timestamp", "machine_id", "platform", "pyUSID_version"} <= told.keys()
        assert group["completed_positions"].dtype == np.uint8
        assert group["completed_positions"][()].tolist() == [1] * 35


def test_a_main_dataset_that_is_not_sound_is_refused_and_others_go_on(path):
    from usid_files import Side, channel, write_main

    with h5py.File(path, "w") as file:
        for number in range(2):
            made = write_main(
                channel(file, channel=number), "Raw_Data", position=Side(raster(5, 7), ["X", "Y"]),
                spectroscopic=cycles(), data=band(35, "f4", number),
            )  # fmt: skip
        del made.attrs["Position_Indices"]
    sound, broken = process_file(path, "reduce", {"dims": ["Frequency"]}, settings=small())
    assert sound.outcome is ProcessOutcome.COMPUTED
    assert (broken.outcome, broken.dataset) == (ProcessOutcome.REFUSED, made_path(1))
    assert "R2" in broken.reason


def made_path(number):
    return f"/Measurement_000/Channel_{number:03d}/Raw_Data"


@pytest.mark.parametrize("tool", ["background", "reduce"])
def test_a_main_dataset_without_positions(path, tool):
    from usid_files import Side, write_file

    nowhere = Side(np.zeros((0, 2), int), ["X", "Y"])
    write_file(path, nowhere, cycles(), data=band(0, "f4"))
    params = {"dim": "Frequency"} if tool == "background" else {"dims": ["X", "Y"]}
    done = ran(path, tool, params)
    assert done.outcome is ProcessOutcome.COMPUTED
    with h5py.File(done.file) as made:
        (values,) = (made[done.group][name][()] for name in ("Corrected", "Mean")
                     if name in made[done.group])  # fmt: skip
    assert values.shape == ((0, 26) if tool == "background" else (1, 26))
    assert np.isnan(values).all()


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_order_of_rows_and_columns(tmp_path_factory, data):
    """Shuffled rows, shuffled columns, any sizes and types: the bits are those of memory."""
    from usid_files import Side, write_file

    path = tmp_path_factory.mktemp("any") / "scan.h5"
    n_x, n_y = (data.draw(st.integers(1, 4), label) for label in "xy")
    n_f, n_c = data.draw(st.integers(2, 5), "f"), data.draw(st.integers(1, 3), "c")
    dtype = data.draw(st.sampled_from(["f4", "f8", "i2", ">f4", "c8"]), "dtype")
    rows, steps = raster(n_x, n_y), raster(n_f, n_c)
    rows = rows[data.draw(st.permutations(range(len(rows))), "rows")]
    steps = steps[data.draw(st.permutations(range(len(steps))), "columns")]
    position = Side(rows, ["X", "Y"])
    values = np.random.default_rng(len(rows)).normal(size=(len(rows), len(steps))) * 100
    write_file(path, position, Side(steps, ["Frequency", "Cycle"]), data=values.astype(dtype))
    for tool, params in (("background", {"dim": "Frequency"}), ("reduce", {"dims": ["Frequency"]})):
        done = ran(path, tool, params)
        assert done.outcome is ProcessOutcome.COMPUTED, done.reason
        found, wanted = read_back(done.file, done.group), expected(path, tool, params)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name].reshape(array.shape), array)
