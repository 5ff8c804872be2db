"""Where results go: beside, elsewhere, into the source; never half, never over what changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from process_cases import GROUP, MAIN, contents, small, source

from usid_tasks.errors import (
    ClaimedError,
    FileBusyError,
    NoMainDatasetError,
    RefusedError,
    UsidError,
    VerificationError,
)
from usid_tasks.process import ProcessOutcome, process_file
from usid_tasks.process.partial import Completed
from usid_tasks.provenance.chain import chain, is_well

MEAN = {"dims": ["Frequency"]}


def ran(path, params=MEAN, tool="reduce", **how):
    (done,) = process_file(path, tool, params, settings=how.pop("settings", small()), **how)
    return done


def writable(folder, **more):
    return small(writable_roots=(folder,), **more)


def test_the_source_stays_as_it_is(path):
    source(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    done = ran(path)
    assert done.file == path.with_name("scan.h5.results.h5")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_results_root_has_the_folders_of_the_sources(tmp_path):
    folder = tmp_path / "raw" / "week"
    folder.mkdir(parents=True)
    path = source(folder / "scan.h5")
    settings = small(results_root=tmp_path / "results")
    done = ran(path, settings=settings, root=tmp_path / "raw")
    assert done.file == tmp_path / "results" / "week" / "scan.h5.results.h5"
    with h5py.File(done.file) as made:
        told = made[done.group].attrs["source_file_path"]
    assert (done.file.parent / told).resolve() == path
    assert is_well(chain(done.file, done.group))
    assert not (folder / ".usid").exists()


def test_a_read_only_folder_is_told(tmp_path, monkeypatch):
    path = source(tmp_path / "scan.h5")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(RefusedError, match=r"--out, or set process\.results_root"):
        ran(path)
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["scan.h5"]


def test_the_next_index_is_one_more_and_never_used_again(path):
    source(path)
    first, second = ran(path), ran(path, {"dims": ["Cycle"]})
    assert [each.group.rpartition("_")[2] for each in (first, second)] == ["000", "001"]
    found = ran(path)
    assert (found.outcome, found.group, found.n_done) == (ProcessOutcome.FOUND, first.group, 0)
    again = ran(path, override=True)
    assert (again.outcome, again.group[-3:]) == (ProcessOutcome.COMPUTED, "002")
    with h5py.File(first.file, "r+") as file:
        del file[second.group]
    assert ran(path, {"dims": ["Cycle"]}).group[-3:] == "003"


def test_former_groups_stay_byte_by_byte(path):
    source(path)
    first = ran(path)
    before = contents(first.file)
    ran(path, {"n_components": 2}, tool="svd")
    after = contents(first.file)
    assert {name: after[name] for name in before} == before


def test_a_damaged_record_of_another_group_does_not_matter(path):
    source(path)
    first = ran(path)
    with h5py.File(first.file, "r+") as file:
        file[first.group].attrs["usid_provenance"] = '{"tool": 3}'
    done = ran(path, {"dims": ["Cycle"]})
    assert done.outcome is ProcessOutcome.COMPUTED
    assert [link.state.value for link in chain(done.file, done.group)] == ["verified"] * 2


@pytest.mark.parametrize("changed", [{"ddof": 1}, {"nan": "omit"}, {"statistics": ["std"]}])
def test_other_parameters_are_another_run(path, changed):
    source(path)
    ran(path)
    done = ran(path, {**MEAN, **changed})
    assert (done.outcome, done.group[-3:]) == (ProcessOutcome.COMPUTED, "001")


def test_another_source_of_the_same_name_is_another_run(path):
    source(path)
    ran(path)
    with h5py.File(path, "r+") as file:
        file[MAIN][0, 0] = 17
    done = ran(path)
    assert (done.outcome, done.group[-3:]) == (ProcessOutcome.COMPUTED, "001")


def test_names_that_begin_alike_are_not_confused(path):
    from process_cases import band, cycles, raster
    from usid_files import Side, channel, write_main

    with h5py.File(path, "w") as file:
        for at, name in enumerate(("Raw_Data", "Raw_Data_2")):
            made = channel(file, channel=at)
            side = Side(raster(5, 7), ["X", "Y"])
            write_main(
                made, name, position=side, spectroscopic=cycles(), data=band(35, "f4", at)
            )  # fmt: skip
        file.move("Measurement_000/Channel_001/Raw_Data_2", f"{GROUP}/Raw_Data_2")
    settings = writable(path.parent)
    second = ran(path, dataset=f"{GROUP}/Raw_Data_2", in_place=True, settings=settings)
    first = ran(path, dataset=MAIN, in_place=True, settings=settings)
    assert first.outcome is second.outcome is ProcessOutcome.COMPUTED
    assert (first.group, second.group) == (
        f"{GROUP}/Raw_Data-reduce_000", f"{GROUP}/Raw_Data_2-reduce_000"
    )  # fmt: skip


class TestInPlace:
    def test_only_below_a_folder_that_is_marked(self, tmp_path):
        path = source(tmp_path / "scan.h5")
        before = path.read_bytes()
        for roots in ((), (tmp_path / "other",)):
            with pytest.raises(RefusedError, match=r"process\.writable_roots"):
                ran(path, in_place=True, settings=small(writable_roots=roots))
        assert path.read_bytes() == before

    def test_tables_are_linked_and_what_was_there_stays(self, tmp_path):
        path = source(tmp_path / "scan.h5", "snake")
        before, inode = contents(path), path.stat().st_ino
        done = ran(
            path, {"dim": "Frequency"}, tool="background", in_place=True,
            settings=writable(tmp_path),
        )  # fmt: skip
        assert done.file == path
        assert done.group == f"{GROUP}/Raw_Data-background_000"
        assert path.stat().st_ino != inode
        after = contents(path)
        assert {name: after[name] for name in before} == before
        with h5py.File(path) as file:
            group, main = file[done.group], file[MAIN]
            assert sorted(group) == ["Corrected", "completed_positions"]
            assert file[group.attrs["source_000"]] == main
            for name in ("Position_Indices", "Spectroscopic_Values"):
                assert file[group["Corrected"].attrs[name]] == file[main.attrs[name]]

    def test_the_same_is_found_though_the_file_has_changed(self, tmp_path):
        path = source(tmp_path / "scan.h5")
        settings = writable(tmp_path)
        first = ran(path, in_place=True, settings=settings)
        ran(path, {"n_components": 2}, tool="svd", in_place=True, settings=settings)
        again = ran(path, in_place=True, settings=settings)
        assert (again.outcome, again.group) == (ProcessOutcome.FOUND, first.group)
        assert is_well(chain(path, first.group))

    def test_results_are_no_sources_unless_named(self, tmp_path):
        path = source(tmp_path / "scan.h5")
        settings = writable(tmp_path)
        first = ran(path, in_place=True, settings=settings)
        (other,) = process_file(path, "reduce", {"dims": ["Cycle"]}, settings=settings)
        assert other.dataset == MAIN
        named = ran(path, {"dims": ["Cycle"]}, dataset=f"{first.group}/Mean", settings=settings)
        assert named.outcome is ProcessOutcome.COMPUTED

    def test_without_room_nothing_is_done(self, tmp_path, monkeypatch):
        path = source(tmp_path / "scan.h5")
        before = path.read_bytes()
        monkeypatch.setattr(
            "usid_tasks.writing.replacing.shutil.disk_usage",
            lambda _: type("Usage", (), {"free": 2**20})(),
        )
        with pytest.raises(RefusedError, match="are free, expected"):
            ran(path, in_place=True, settings=writable(tmp_path))
        assert path.read_bytes() == before

    def test_a_file_that_is_being_written_is_left_alone(self, tmp_path):
        path = source(tmp_path / "scan.h5")
        with h5py.File(path, "r+"), pytest.raises(FileBusyError):
            ran(path, in_place=True, settings=writable(tmp_path))

    @pytest.mark.parametrize("step", ["_copy_in", "_write_record", "_compare", "check_former"])
    def test_an_error_at_any_step_leaves_the_old_file(self, tmp_path, monkeypatch, step):
        path = source(tmp_path / "scan.h5")
        before = path.read_bytes()

        def fail(*_, **__):
            raise VerificationError("here", "no", "no")

        monkeypatch.setattr(f"usid_tasks.process.publishing.{step}", fail)
        with pytest.raises(VerificationError):
            ran(path, in_place=True, settings=writable(tmp_path))
        assert path.read_bytes() == before
        monkeypatch.undo()
        done = ran(path, in_place=True, settings=writable(tmp_path))
        assert (done.outcome, done.n_done) == (ProcessOutcome.RESUMED, 0)


def test_a_bit_that_changes_on_the_way_is_seen(path, monkeypatch):
    from usid_tasks.process import publishing

    source(path)
    plain = publishing._write_record

    def flip(finished, file, group):
        plain(finished, file, group)
        with h5py.File(file, "r+") as made:
            made[group]["Mean"][3, 1] += 1

    monkeypatch.setattr(publishing, "_write_record", flip)
    with pytest.raises(VerificationError, match="Mean"):
        ran(path)
    assert not path.with_name("scan.h5.results.h5").exists()


def test_a_source_that_changes_meanwhile_is_an_error(path, monkeypatch):
    source(path)
    plain = Completed.mark

    def mark(completed, first, last):
        plain(completed, first, last)
        with h5py.File(path, "r+", locking=False) as file:
            file[MAIN][0, 0] = 3

    monkeypatch.setattr(Completed, "mark", mark)
    with pytest.raises(FileBusyError, match="nothing was published"):
        ran(path)
    assert not path.with_name("scan.h5.results.h5").exists()
    assert not list(path.parent.glob(".usid/process/*"))


@pytest.mark.parametrize("fails_at", [1, 4])
def test_a_full_disk_is_told_and_the_run_taken_up(path, monkeypatch, fails_at):
    from usid_tasks.process import steps

    source(path)
    plain, calls = os.fdatasync, []

    def sync(fd):
        calls.append(fd)
        if len(calls) >= fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(fd)

    with monkeypatch.context() as patched:
        patched.setattr(steps.os, "fdatasync", sync)
        with pytest.raises(UsidError, match="Free space"):
            ran(path, settings=small(workers=1))
    assert not path.with_name("scan.h5.results.h5").exists()
    done = ran(path)
    assert done.n_kept >= 2 * (fails_at - 1)
    assert done.n_kept + done.n_done == 35


def test_two_runs_at_once_do_not_do_the_same(path):
    source(path)
    seen = []

    def check():
        if not seen:
            seen.append(1)
            with pytest.raises(ClaimedError):
                ran(path)

    ran(path, check=check)
    assert seen


def test_a_main_dataset_that_is_not_there_is_named(path):
    source(path)
    with pytest.raises(NoMainDatasetError, match="has no sound Main dataset /nowhere"):
        ran(path, dataset="/nowhere")


def test_the_source_itself_is_no_results_file(path):
    source(path)
    with pytest.raises(RefusedError, match="is the source itself"):
        ran(path, out=path)


def test_what_a_tool_refuses_is_a_result(path):
    source(path)
    with h5py.File(path, "r+") as file:
        file[MAIN][20, 3] = np.nan
    before = ran(path, {"dims": ["Nothing"]})
    assert before.outcome is ProcessOutcome.REFUSED
    assert "'Nothing'" in before.reason
    done = ran(path, {"n_components": 2}, tool="svd")
    assert (done.outcome, done.group) == (ProcessOutcome.REFUSED, None)
    assert "position 20" in done.reason
    assert [each.name for each in path.parent.iterdir() if each.name != ".usid"] == ["scan.h5"]


def test_too_little_memory_is_told_with_what_does(path):
    source(path)
    refused = ran(path, settings=small(memory="4 KiB"))
    assert refused.outcome is ProcessOutcome.REFUSED
    assert "Set process.memory to" in refused.reason


def test_the_same_tree_as_a_store(path):
    source(path)
    done = ran(path, format="zarr")
    assert done.store == path.with_name("scan.h5.results.zarr")
    with h5py.File(done.file) as made:
        wanted = made[done.group]["Mean"][()]
    held = zarr.open_group(done.store, mode="r")[f"{done.group.strip('/')}/Mean"]
    array = held["Mean"] if isinstance(held, zarr.Group) else held
    assert np.array_equal(np.asarray(array[...]).reshape(35, 2), wanted)
    again = ran(path, format="zarr")
    assert (again.outcome, again.store) == (ProcessOutcome.FOUND, done.store)
    other = ran(path, {"dims": ["Cycle"]}, format="zarr")
    assert other.group.strip("/") in zarr.open_group(done.store, mode="r")
    assert Path(path.parent / ".usid" / "superseded").exists()
