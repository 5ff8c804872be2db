"""Results groups are found by what they record, then by exactly their name."""

from __future__ import annotations

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_files import GROUP, POSITION, as_pyusid, means, source
from usid_files import MAIN, channel, write_main

from usid_tasks.provenance.lookup import describe_group, next_results_group, results_groups
from usid_tasks.usid import open_hdf5, read_usid, scan

CHANNEL = MAIN.rpartition("/")[0]


def record_of(path):
    with open_hdf5(path) as file:
        return scan(file, str(path))


def paths(path, main, tool=None):
    return [group.path for group in results_groups(record_of(path), main, tool)]


@pytest.fixture
def several(path):
    """A file of Mains whose names begin alike, with results groups that record nothing."""
    with h5py.File(path, "w") as file:
        group = channel(file)
        write_main(group, position=POSITION)
        tables = {name: group[name] for name in group if name != "Raw_Data"}
        for name in ("Raw_Data_2", "Raw_Data-2", "Val", "Mean_Val"):
            write_main(group, name, position=POSITION, tables=tables)
        for name in (
            "Raw_Data-Fit_000", "Raw_Data-Fit_2_000", "Raw_Data-Fit-2_001", "Raw_Data_2-Fit_000",
            "Raw_Data-2-Fit_000", "Mean_Val-Fit_000", "Val-Fit_last", "Raw_Data-_000", "Other_000",
            "Raw_Data-Fit_002", "Raw_Data-Fit_010",
        ):  # fmt: skip
            group.create_group(name)
    return path


def test_names_that_begin_alike_are_told_apart(several):
    def named(main, tool=None):
        found = paths(several, f"{CHANNEL}/{main}", tool)
        return [one.rpartition("/")[2] for one in found]

    assert named("Raw_Data", "Fit") == ["Raw_Data-Fit_000", "Raw_Data-Fit_002", "Raw_Data-Fit_010"]
    assert named("Raw_Data", "Fit_2") == ["Raw_Data-Fit_2_000"]
    assert named("Raw_Data", "Fit-2") == ["Raw_Data-Fit-2_001"]
    assert named("Raw_Data", "it") == []
    assert len(named("Raw_Data")) == 5
    assert named("Raw_Data_2") == ["Raw_Data_2-Fit_000"]
    assert named("Raw_Data-2") == ["Raw_Data-2-Fit_000"]
    assert named("Mean_Val") == ["Mean_Val-Fit_000"]
    assert named("Val") == named("Raw") == []


def test_recorded_attributes_decide_before_names(several):
    with h5py.File(several, "r+") as file:
        group = file[CHANNEL]
        group["Raw_Data-Fit_000"].attrs["source_000"] = group["Raw_Data_2"].ref
        group["Raw_Data-Fit_002"].attrs["tool"] = "Fit_v2"
        group["Other_000"].attrs["source_000"] = group["Val"].ref
        group["Other_000"].attrs["tool"] = "Fit"
        moved = file.create_group("elsewhere/Raw_Data-Fit_000")
        moved.attrs["source_000"] = group["Raw_Data"].ref
    assert paths(several, MAIN, "Fit") == [
        "/elsewhere/Raw_Data-Fit_000", f"{CHANNEL}/Raw_Data-Fit_010"
    ]  # fmt: skip
    assert paths(several, f"{CHANNEL}/Raw_Data_2", "Fit") == [
        f"{CHANNEL}/Raw_Data-Fit_000", f"{CHANNEL}/Raw_Data_2-Fit_000"
    ]  # fmt: skip
    assert paths(several, MAIN, "Fit_v2") == [f"{CHANNEL}/Raw_Data-Fit_002"]
    assert paths(several, f"{CHANNEL}/Val") == [f"{CHANNEL}/Other_000"]


def test_groups_of_another_file_are_found_by_the_path_of_their_source(tmp_path):
    scan_path = source(tmp_path / "scan.h5")
    place = tmp_path / "scan.h5.results.h5"
    means(scan_path, place)
    as_pyusid(place, scan_path)
    assert paths(place, MAIN) == [GROUP, "/Raw_Data-Mean_Val_000"]
    assert paths(place, MAIN, "Mean_Val") == ["/Raw_Data-Mean_Val_000"]
    assert paths(place, MAIN + "_2") == []
    told = describe_group(record_of(place), GROUP)
    assert (told.tool, told.index, told.sources, told.source_file) == (
        "reduce", 0, (MAIN,), "scan.h5"
    )  # fmt: skip


def test_the_next_index_is_above_every_one_there(several):
    record = record_of(several)
    assert next_results_group(record, MAIN, "Fit") == f"{CHANNEL}/Raw_Data-Fit_011"
    assert next_results_group(record, MAIN, "Fit_2") == f"{CHANNEL}/Raw_Data-Fit_2_001"
    assert next_results_group(record, MAIN, "svd") == f"{CHANNEL}/Raw_Data-svd_000"
    assert next_results_group(None, MAIN, "svd") == f"{CHANNEL}/Raw_Data-svd_000"
    assert next_results_group(record, MAIN, "Fit", parent="/") == "/Raw_Data-Fit_000"


def test_links_and_datasets_of_such_a_name_take_its_index(several):
    with h5py.File(several, "r+") as file:
        file[CHANNEL]["Raw_Data-svd_004"] = h5py.SoftLink("/nowhere")
        file[CHANNEL]["Raw_Data-svd_005"] = 1
    assert next_results_group(record_of(several), MAIN, "svd").endswith("-svd_006")


def test_real_results_groups_are_found(shared_data):
    record = read_usid(shared_data / "sparse_sampling.h5").record
    described = {path: describe_group(record, path) for path in record.groups if path != "/"}
    named = [path for path in described if "-" in path.rpartition("/")[2]]
    assert named
    for path in named:
        assert described[path] is not None
        for main in described[path].sources:
            assert path in [group.path for group in results_groups(record, main)]


NAMES = st.text("Aa_-0", min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(mains=st.sets(NAMES, min_size=1, max_size=4), tools=st.lists(NAMES, min_size=1, max_size=4))
def test_recorded_results_go_to_their_own_main_only(tmp_path_factory, mains, tools):
    path = tmp_path_factory.mktemp("it") / "scan.h5"
    made = {}
    with h5py.File(path, "w") as file:
        for name in mains:
            file[name] = [[1.0]]
    for number, tool in enumerate(tools):
        main = sorted(mains)[number % len(mains)]
        group = next_results_group(record_of(path), f"/{main}", tool)
        assert group not in made
        made[group] = (f"/{main}", tool)
        with h5py.File(path, "r+") as file:
            held = file.create_group(group)
            held.attrs["source_000"] = file[main].ref
            held.attrs["tool"] = tool
    record = record_of(path)
    for main in mains:
        for tool in tools:
            found = {group.path for group in results_groups(record, f"/{main}", tool)}
            assert found == {group for group, of in made.items() if of == (f"/{main}", tool)}
