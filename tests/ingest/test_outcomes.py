"""Every source comes to one outcome, with a receipt, and one bad file never stops the others."""

from __future__ import annotations

import json
import os
import time

import h5py
import pytest
from lab_files import broken, not_usid, partial, sound, truncated
from typer.testing import CliRunner

from usid_tasks import file_digests
from usid_tasks import ingest as library
from usid_tasks.cli import app
from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome
from usid_tasks.settings import load_settings
from usid_tasks.verify import verify_paths


def outcomes(summary):
    return {record.key: record.outcome for record in summary.files}


def receipt(dest, name):
    return json.loads((dest / f"{name}.receipt.json").read_text("utf-8"))


def fill(lab):
    sound(lab / "scan.h5")
    sound(lab / "deep/er/scan.dat")
    partial(lab / "partial.h5")
    broken(lab / "broken.h5")
    not_usid(lab / "other.h5")
    truncated(lab / "truncated.h5")
    (lab / "notes.txt").write_text("no HDF5 at all")


def test_every_file_has_its_outcome_store_and_receipt(lab, dest, run):
    fill(lab)
    summary = run()
    assert outcomes(summary) == {
        "scan.h5": Outcome.DONE,
        "deep/er/scan.dat": Outcome.DONE,
        "partial.h5": Outcome.PARTIAL,
        "broken.h5": Outcome.FAILED,
        "other.h5": Outcome.NOT_USID,
        "truncated.h5": Outcome.FAILED,
    }
    assert summary.exit_status == 1
    for name, outcome in outcomes(summary).items():
        told = receipt(dest, name)
        assert told["outcome"] == outcome.value
        assert told["source"]["path"] == name
        assert told["source"]["digest"].startswith("blake3")
        has_store = outcome in (Outcome.DONE, Outcome.PARTIAL)
        assert (dest / f"{name}.zarr/zarr.json").exists() == has_store
    assert "Position_Values: no attribute labels" in next(
        record.reason for record in summary.files if record.key == "partial.h5"
    )
    assert not any(found.problems for found in verify_paths([dest]))
    assert not list((dest / ".usid/staging").iterdir())
    assert not list((dest / ".usid/claims").iterdir())


def test_a_second_run_does_nothing_and_says_so_in_one_line(lab, dest, run):
    sound(lab / "one.h5")
    sound(lab / "two.h5", start=7)
    not_usid(lab / "other.h5")
    time.sleep(2.1)  # younger files are looked at once more: their clock ticks may be coarse
    arguments = ["ingest", str(lab), "--to", str(dest), "--settle", "0", "--no-prefect"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0
    before = {file: file.stat().st_mtime_ns for file in dest.rglob("*") if file.is_file()}
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0
    assert second.stdout.strip() == "nothing to do: 2 files current, 1 not USID"
    after = {file: file.stat().st_mtime_ns for file in dest.rglob("*") if file.is_file()}
    assert after == before


def test_a_touched_but_equal_file_is_current(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    os.utime(lab / "scan.h5")
    summary = run()
    assert outcomes(summary) == {"scan.h5": Outcome.CURRENT}
    assert receipt(dest, "scan.h5")["source"]["mtime_ns"] == (lab / "scan.h5").stat().st_mtime_ns
    assert not (dest / ".usid/superseded").exists()


def test_a_changed_source_moves_the_former_store_whole(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    first = receipt(dest, "scan.h5")
    sound(lab / "scan.h5", start=100)
    assert outcomes(run()) == {"scan.h5": Outcome.DONE}
    (entry,) = (dest / ".usid/superseded/scan.h5").iterdir()
    assert entry.name == first["source"]["digest"].replace(":", "-")
    (moved,) = entry.glob("*.receipt.json")
    assert json.loads(moved.read_text("utf-8")) == first
    (found,) = verify_paths([moved])
    assert found.problems == ()
    assert found.n_arrays
    assert receipt(dest, "scan.h5")["source"]["digest"] != first["source"]["digest"]


def test_a_source_that_breaks_keeps_nothing_wrong_in_place(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    truncated(lab / "scan.h5")
    assert outcomes(run()) == {"scan.h5": Outcome.FAILED}
    assert receipt(dest, "scan.h5")["outcome"] == "failed"
    assert not (dest / "scan.h5.zarr").exists()
    (entry,) = (dest / ".usid/superseded/scan.h5").iterdir()
    assert {item.suffix for item in entry.iterdir()} == {".zarr", ".json"}


def test_other_settings_make_a_store_outdated_and_refresh_makes_it_anew(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    other = load_settings(env={}, overrides={"convert": {"codec": "none"}})
    summary = run(settings=other)
    assert outcomes(summary) == {"scan.h5": Outcome.OUTDATED}
    assert summary.exit_status == 0
    assert outcomes(run(settings=other, refresh=True)) == {"scan.h5": Outcome.DONE}
    assert outcomes(run(settings=other)) == {"scan.h5": Outcome.CURRENT}


def test_settings_that_do_not_shape_the_store_change_nothing(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    other = load_settings(env={}, overrides={"convert": {"threads": 1}, "ingest": {"workers": 1}})
    assert outcomes(run(settings=other)) == {"scan.h5": Outcome.CURRENT}


def test_a_removed_store_is_made_again(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    (dest / "scan.h5.zarr/zarr.json").rename(dest / "lost.json")
    (dest / "scan.h5.zarr").rename(dest / "elsewhere")
    assert outcomes(run()) == {"scan.h5": Outcome.DONE}


def test_known_failures_fail_a_run_but_no_scheduled_one(lab, dest, run):
    broken(lab / "broken.h5")
    assert run(scheduled=True).exit_status == 1
    assert run(scheduled=True).exit_status == 0
    assert run().exit_status == 1
    assert run(scheduled=True).counts[Outcome.FAILED] == 1
    truncated(lab / "new.h5")
    assert run(scheduled=True).exit_status == 1


def test_a_young_file_that_stays_is_taken_and_one_that_grows_is_deferred(lab, dest, run):
    sound(lab / "still.h5")
    sound(lab / "growing.h5")
    writer = (lab / "growing.h5").open("ab")
    quick = load_settings(env={}, overrides={"ingest": {"look_interval_s": 0.3}})

    import threading

    def grow():
        for _ in range(40):
            writer.write(b"more")
            writer.flush()
            time.sleep(0.05)

    thread = threading.Thread(target=grow)
    thread.start()
    summary = run(settings=quick, settle_s=60.0)
    thread.join()
    writer.close()
    assert outcomes(summary) == {"still.h5": Outcome.DONE, "growing.h5": Outcome.DEFERRED}
    assert summary.exit_status == 0
    assert receipt(dest, "growing.h5")["outcome"] == "deferred"


def test_a_file_that_is_open_for_writing_is_deferred(lab, dest, run):
    sound(lab / "scan.h5")
    with h5py.File(lab / "scan.h5", "r+"):
        assert outcomes(run()) == {"scan.h5": Outcome.DEFERRED}
        since = receipt(dest, "scan.h5")["extra"]["deferred_since"]
        run()
        assert receipt(dest, "scan.h5")["extra"]["deferred_since"] == since
    assert outcomes(run()) == {"scan.h5": Outcome.DONE}


def test_a_file_deferred_for_a_day_is_a_warning(lab, dest, run):
    sound(lab / "scan.h5")
    impatient = load_settings(env={}, overrides={"ingest": {"deferred_warning_hours": 0}})
    with h5py.File(lab / "scan.h5", "r+"):
        run(settings=impatient)
        (finding,) = receipt(dest, "scan.h5")["findings"]
    assert finding["severity"] == "warning"
    assert "deferred for" in finding["found"]


def test_a_deferred_file_keeps_its_former_store(lab, dest, run):
    sound(lab / "scan.h5")
    run()
    with h5py.File(lab / "scan.h5", "r+") as file:
        file.attrs["more"] = 1
        file.flush()
        assert outcomes(run()) == {"scan.h5": Outcome.DEFERRED}
    (found,) = verify_paths([dest])
    assert found.problems == ()
    assert receipt(dest, "scan.h5")["outcome"] == "done"


def test_a_failure_of_the_machine_is_told_and_tried_again(lab, dest, run, monkeypatch):
    sound(lab / "scan.h5")
    sound(lab / "other.h5", start=9)
    plain = file_digests.file_digest

    def fail(path, **options):
        if path.name == "scan.h5":
            raise OSError(5, "Input/output error", str(path))
        return plain(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(file_digests, "file_digest", fail)
        summary = run()
    assert outcomes(summary) == {"scan.h5": Outcome.FAILED, "other.h5": Outcome.DONE}
    assert "Input/output error" in receipt(dest, "scan.h5")["reason"]
    assert outcomes(run()) == {"scan.h5": Outcome.DONE, "other.h5": Outcome.CURRENT}


def test_a_defect_of_ours_fails_one_file_with_its_reason(lab, dest, run, monkeypatch, caplog):
    sound(lab / "scan.h5")
    sound(lab / "other.h5", start=9)
    plain = library.convert_to

    def fail(path, *arguments, **options):
        if path.name == "scan.h5":
            raise ZeroDivisionError("odd")
        return plain(path, *arguments, **options)

    monkeypatch.setattr(library, "convert_to", fail)
    summary = run()
    assert outcomes(summary) == {"scan.h5": Outcome.FAILED, "other.h5": Outcome.DONE}
    assert "unexpected ZeroDivisionError: odd" in receipt(dest, "scan.h5")["reason"]
    assert "Traceback" in caplog.text
    assert not list((dest / ".usid/staging").iterdir())


def test_several_sources_have_names(tmp_path, dest):
    sound(tmp_path / "afm/scan.h5")
    sound(tmp_path / "stem/scan.h5", start=5)
    from usid_tasks.settings import Settings

    request = library.IngestRequest(
        sources=[f"A={tmp_path / 'afm'}", f"S={tmp_path / 'stem'}"], dest=dest, settle_s=0.0
    )
    assert outcomes(library.ingest(request, Settings())) == {
        "A/scan.h5": Outcome.DONE,
        "S/scan.h5": Outcome.DONE,
    }
    assert (dest / "A/scan.h5.zarr").is_dir()
    assert (dest / "S/scan.h5.receipt.json").is_file()


def test_files_that_would_share_a_store_are_refused_before_anything_is_written(lab, dest, run):
    sound(lab / "scan.h5")
    sound(lab / "Scan.H5")
    with pytest.raises(RefusedError):
        run()
    assert not dest.exists()


def test_exit_status_and_json(lab, dest):
    fill(lab)
    arguments = ["ingest", str(lab), "--to", str(dest), "--settle", "0", "--no-prefect", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    *files, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert {record["outcome"] for record in files} == {"done", "partial", "failed", "not USID"}
    assert summary["counts"]["failed"] == 2
    assert CliRunner().invoke(app, ["ingest", "/nowhere", "--to", str(dest)]).exit_code != 0
