"""The chain from a result to its raw file: each thing that went wrong on the way is named."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from results_files import GROUP, as_pyusid, means, source
from typer import Typer
from typer.testing import CliRunner
from usid_files import MAIN

from usid_tasks.commands.provenance import provenance
from usid_tasks.convert import convert_file
from usid_tasks.errors import RefusedError
from usid_tasks.provenance.chain import State, chain, is_well
from usid_tasks.provenance.stored import receipt_of

app = Typer()
app.command()(provenance)

VERIFIED, MOVED, UNKNOWN = State.VERIFIED, State.MOVED, State.UNKNOWN
CHANGED, MISSING = State.CHANGED, State.MISSING


def states(links):
    return [link.state for link in links]


def flip(path, place):
    """Change one byte."""
    with path.open("r+b") as raw:
        raw.seek(place)
        (byte,) = raw.read(1)
        raw.seek(place)
        raw.write(bytes([byte ^ 1]))


def test_an_untouched_chain_is_verified(scan, results):
    links = chain(results)
    assert [(link.depth, link.file, link.path, link.state) for link in links] == [
        (0, str(results), GROUP, VERIFIED),
        (1, str(scan), MAIN, VERIFIED),
    ]
    assert links[0].record.tool == links[0].tool == "reduce"
    assert is_well(links)


def test_a_changed_byte_of_the_source_is_named(scan, results):
    with h5py.File(scan) as file:
        place = file[MAIN].id.get_offset()
    flip(scan, place + 17)
    links = chain(results)
    assert states(links) == [VERIFIED, CHANGED]
    assert links[1].detail == ("values of Main dataset",)
    assert not is_well(links)


def test_a_changed_byte_of_a_result_is_named(results):
    with h5py.File(results) as file:
        place = file[f"{GROUP}/Mean"].id.get_offset()
    flip(results, place)
    links = chain(results)
    assert states(links) == [CHANGED, VERIFIED]
    assert links[0].detail == ("values of Mean",)


def test_changes_of_what_a_results_group_holds_are_named(results):
    with h5py.File(results, "r+") as file:
        group = file[GROUP]
        group["Mean"].attrs["units"] = "pA"
        group["notes"] = [1, 2]
        del group["completed_positions"]
    assert set(chain(results)[0].detail) == {
        "tables, labels, units or quantity of Mean",
        "completed_positions is gone",
        "notes is new",
    }


def test_results_added_to_the_source_break_nothing(scan, results):
    means(scan, scan, tool="later")
    assert states(chain(results)) == [VERIFIED, VERIFIED]


def test_files_that_moved_together_are_verified(scan, results, tmp_path):
    shutil.move(scan.parent, tmp_path / "archive")
    links = chain(tmp_path / "archive" / results.name)
    assert states(links) == [VERIFIED, VERIFIED]


def test_a_source_beside_its_results_is_found_and_told_as_moved(scan, tmp_path):
    place = tmp_path / "results" / "scan.h5.results.h5"
    place.parent.mkdir()
    means(scan, place)
    assert states(chain(place)) == [VERIFIED, VERIFIED]
    shutil.move(scan, place.parent)
    links = chain(place)
    assert states(links) == [VERIFIED, MOVED]
    assert links[1].file == str(place.parent / "scan.h5")
    assert links[1].detail == ("recorded as ../data/scan.h5",)
    assert is_well(links)


def test_a_moved_source_is_found_by_search_only(scan, results, tmp_path):
    deep = tmp_path / "archive" / "2026" / "afm"
    deep.mkdir(parents=True)
    shutil.move(scan, deep)
    lost = chain(results)
    assert states(lost) == [VERIFIED, MISSING]
    assert lost[1].file == str(scan)
    assert "neither there nor beside" in lost[1].detail[0]
    found = chain(results, search=[tmp_path / "archive"])
    assert states(found) == [VERIFIED, MOVED]
    assert found[1].file == str(deep / "scan.h5")
    elsewhere = chain(results, search=[results.parent])
    assert states(elsewhere) == [VERIFIED, MISSING]
    assert f"nor below {results.parent}" in elsewhere[1].detail[0]


def test_another_scan_of_the_same_name_is_not_taken_for_the_source(scan, results, tmp_path):
    (tmp_path / "archive" / "old").mkdir(parents=True)
    shutil.move(scan, tmp_path / "archive" / "old")
    source(scan, data=np.ones((12, 5), "f4"))
    source(tmp_path / "archive" / "new" / "scan.h5", data=np.full((12, 5), 2, "f4"))
    assert states(chain(results)) == [VERIFIED, CHANGED]
    links = chain(results, search=[tmp_path / "archive"])
    assert states(links) == [VERIFIED, MOVED]
    assert links[1].file == str(tmp_path / "archive" / "old" / "scan.h5")
    assert links[1].detail == ("recorded as scan.h5", f"another file lies at {scan}")


def test_a_source_without_its_main_dataset_is_missing(scan, results):
    with h5py.File(scan, "r+") as file:
        file.move(MAIN, MAIN + "_2")
    links = chain(results)
    assert states(links) == [VERIFIED, MISSING]
    assert links[1].detail == ("the file has no such Main dataset",)


def test_a_source_that_is_no_hdf5_any_more_is_changed(scan, results):
    scan.write_bytes(b"gone")
    links = chain(results)
    assert states(links) == [VERIFIED, CHANGED]
    assert "HDF5 cannot open it" in links[1].detail[0]


@pytest.fixture
def deep(scan, results):
    """Results of results: three runs, the last in a file of its own."""
    means(results, results, main=f"{GROUP}/Mean", tool="again")
    last = results.with_name("last.h5")
    means(results, last, main=f"{GROUP}/Mean-again_000/Mean", group="/last-svd_000", tool="svd")
    return last


def test_a_chain_goes_over_results_of_results_to_the_raw_file(scan, results, deep):
    links = chain(deep, "/last-svd_000/Mean")
    assert [(link.depth, link.tool) for link in links] == [
        (0, "svd"), (1, ""), (2, "again"), (3, ""), (4, "reduce"), (5, ""),
    ]  # fmt: skip
    assert [link.file for link in links] == [str(deep), *[str(results)] * 4, str(scan)]
    assert set(states(links)) == {VERIFIED}
    flip_raw(scan)
    assert states(chain(deep))[-1] is CHANGED
    assert set(states(chain(deep))[:-1]) == {VERIFIED}


def flip_raw(scan):
    with h5py.File(scan) as file:
        place = file[MAIN].id.get_offset()
    flip(scan, place)


def test_results_changed_before_they_were_used_are_named(results):
    with h5py.File(results, "r+") as file:
        file[f"{GROUP}/Mean"][5, 0] += 1
    means(results, results, main=f"{GROUP}/Mean", tool="again")
    links = chain(results, f"{GROUP}/Mean-again_000")
    assert states(links) == [VERIFIED, VERIFIED, CHANGED, VERIFIED]
    assert links[2].detail == ("values of Mean",)


def test_only_the_group_asked_for_is_followed(scan, results):
    other = means(scan, results, tool="other").group
    assert len(chain(results)) == 4
    assert [link.path for link in chain(results, other)] == [other, MAIN]
    assert chain(scan) == []
    assert chain(scan, MAIN) == []
    with pytest.raises(RefusedError, match="no group and no dataset"):
        chain(results, "/none")
    with pytest.raises(RefusedError, match="no such file"):
        chain(scan.with_name("none.h5"))
    with pytest.raises(RefusedError, match="no such folder"):
        chain(results, search=[scan.with_name("none")])


def test_a_lost_record_is_taken_from_the_receipt_and_told(results):
    with h5py.File(results, "r+") as file:
        del file[GROUP].attrs["usid_provenance"]
    links = chain(results)
    assert states(links) == [CHANGED, VERIFIED]
    assert links[0].detail == ("its record is gone; the receipt has it",)
    receipt_of(results).unlink()
    assert states(chain(results)) == [UNKNOWN, UNKNOWN]


def test_a_record_that_is_not_that_of_its_receipt_is_told(results):
    with h5py.File(results, "r+") as file:
        attrs = file[GROUP].attrs
        attrs["usid_provenance"] = attrs["usid_provenance"].replace('"mean"', '"max"')
    assert chain(results)[0].detail == ("its record differs from its receipt",)
    with h5py.File(results, "r+") as file:
        file[GROUP].attrs["usid_provenance"] = "{"
    assert "its record is damaged" in chain(results)[0].detail[0]


def test_what_pyusid_recorded_is_followed_but_not_verified(scan, tmp_path):
    place = as_pyusid(tmp_path / "other" / "results.h5", scan)
    links = chain(place)
    assert states(links) == [UNKNOWN, UNKNOWN]
    assert [link.file for link in links] == [str(place), str(scan)]
    assert links[0].tool == "Mean_Val"
    assert not is_well(links)
    shutil.move(scan, place.parent)
    moved = chain(place)
    assert moved[1].detail[1] == f"recorded as {scan}"
    (place.parent / "scan.h5").unlink()
    assert states(chain(place)) == [UNKNOWN, MISSING]


def test_a_source_recorded_on_windows_is_found_beside(scan, tmp_path):
    place = as_pyusid(scan.with_name("results.h5"), scan, source_file_path=r"C:\data\afm 3\scan.h5")
    assert [(link.file, link.state) for link in chain(place)] == [
        (str(place), UNKNOWN), (str(scan), UNKNOWN)
    ]  # fmt: skip


def test_groups_of_pyusid_in_the_source_are_followed(scan):
    as_pyusid(scan, scan)
    links = chain(scan)
    assert states(links) == [UNKNOWN, UNKNOWN]
    assert links[1].path == MAIN
    with h5py.File(scan, "r+") as file:
        del file[MAIN]
    links = chain(scan)
    assert states(links) == [UNKNOWN, MISSING]
    assert links[1].detail == ("source_000 leads nowhere: its dataset is gone",)


def test_results_groups_of_a_real_file_are_followed(shared_data):
    links = chain(shared_data / "sparse_sampling.h5")
    assert len(links) >= 24
    assert set(states(links)) == {UNKNOWN}


def test_a_store_is_followed_to_its_source(scan, results, tmp_path):
    store = tmp_path / "stores" / "scan.h5.zarr"
    convert_file(scan, store)
    assert states(chain(store)) == [VERIFIED, VERIFIED]
    shutil.move(scan, store.parent)
    assert states(chain(store)) == [VERIFIED, MOVED]
    flip_raw(store.parent / "scan.h5")
    links = chain(store)
    assert states(links) == [VERIFIED, CHANGED]
    assert links[1].detail == ("bytes of the file",)
    (store.parent / "scan.h5").unlink()
    assert states(chain(store)) == [VERIFIED, MISSING]


def test_a_store_of_results_is_followed_to_the_raw_file(scan, results):
    store = results.with_suffix(".zarr")
    convert_file(results, store)
    results.unlink()
    links = chain(store, GROUP)
    assert [(link.depth, link.tool) for link in links] == [(0, "convert"), (1, "reduce"), (2, "")]
    assert set(states(links)) == {VERIFIED}
    flip_raw(scan)
    assert states(chain(store)) == [VERIFIED, VERIFIED, CHANGED]
    with pytest.raises(RefusedError, match="no tool made"):
        chain(store, "/none")
    chunk = next(path for path in store.rglob("*") if path.is_file() and path.name != "zarr.json")
    flip(chunk, chunk.stat().st_size // 2)
    assert chain(store)[0].state is CHANGED


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"without zarr\.json"):
        chain(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_shows_a_tree_and_its_exit_status_tells(scan, results, tmp_path):
    well = run(results)
    assert well.exit_code == 0
    assert well.stdout.splitlines() == [
        f"verified  {results} {GROUP}  by reduce 1, 2026-11-22T10:00:09.500Z",
        f"verified    {scan} {MAIN}",
        "",
        "2 links: 2 verified",
    ]
    flip_raw(scan)
    wrong = run(results, GROUP)
    assert wrong.exit_code == 1
    assert f"changed     {scan} {MAIN}\n                values of Main dataset" in wrong.stdout
    deep = tmp_path / "archive"
    deep.mkdir()
    shutil.move(scan, deep)
    assert run(results).exit_code == 1
    assert "missing" in run(results).stdout
    flip_raw(deep / "scan.h5")
    moved = run(results, "--search", deep)
    assert moved.exit_code == 0
    assert f"moved       {deep / 'scan.h5'}" in moved.stdout
    assert run(deep / "scan.h5").stdout.startswith("no results")


def test_the_command_writes_json_and_prov(results, deep, tmp_path):
    prov = tmp_path / "prov.json"
    told = json.loads(run(deep, "--json", "--prov", prov).stdout)
    assert [link["state"] for link in told["links"]] == ["verified"] * 6
    assert told["links"][0]["record"]["tool"] == "svd"
    assert len(json.loads(prov.read_text())["activity"]) == 3
