"""What the catalogue holds is what the disk holds, however it came to be recorded."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from catalog_files import exported, finding_of, keys, main_of, put, receipt_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usid_files import Side, write_file

from usid_tasks.catalog import catalog as catalog_module
from usid_tasks.catalog.runs import RunRecord, read_runs, write_run
from usid_tasks.catalog.terms import parse_terms
from usid_tasks.errors import RefusedError
from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.model import Outcome
from usid_tasks.places import receipt_path
from usid_tasks.receipts import read_receipt, write_receipt
from usid_tasks.settings import Settings

ALL = ["afm/sound.h5", "broken.h5", "log.h5", "partial.h5"]


def test_every_ingested_file_is_there_with_its_state(catalog, dest):
    assert catalog.rebuild([dest]) == 4
    assert catalog.counts() == {"done": 1, "failed": 1, "not USID": 1, "partial": 1}
    (sound,) = catalog.show("afm/sound.h5")
    receipt = read_receipt(receipt_path(dest, "afm/sound.h5"))
    assert sound["digest"] == receipt.source.digest
    assert sound["mtime_ns"] == receipt.source.mtime_ns
    assert (sound["dest"], sound["run"]) == (str(dest), receipt.extra["run"])


def test_main_datasets_have_dims_ranges_and_attributes(catalog, dest):
    catalog.rebuild([dest])
    (sound,) = catalog.show("afm/sound.h5")
    (main,) = sound["mains"]
    assert (main["quantity"], main["units"], main["shape"]) == ("Current", "nA", [4, 3])
    x, bias = main["coordinates"]
    assert (x["name"], x["size"], x["units"], x["side"]) == ("X", 4, "m", "position")
    assert (x["low"], x["high"]) == (0.0, 3e-6)
    assert (bias["name"], bias["low"], bias["high"], bias["axis"]) == (
        *("Bias", -1.0, 2.0, "uniform"),
    )
    told = {(one["path"], one["name"]): (one["text"], one["value"]) for one in sound["attributes"]}
    assert told["/", "instrument_name"] == ("Cypher S", None)
    assert told["/Measurement_000/", "scan_rate"] == ("0.75", 0.75)
    assert "grid" not in {name for _, name in told}


def test_values_that_depend_on_others_and_scattered_points_have_ranges_too(catalog, tmp_path):
    """A bias that differs from cycle to cycle, at five points of no raster."""
    points = Side(
        np.array([[0, 0], [1, 3], [2, 1], [3, 2], [4, 4]]), ["X", "Y"], ["m", "m"],
        np.array([[0, 0], [1, 3], [2, 1], [3, 2], [4, 4.5]]),
    )  # fmt: skip
    loops = Side(
        np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]), ["Bias", "Cycle"], ["V", ""],
        np.array([[-1, 0], [0, 0], [1, 0], [-2, 1], [0, 1], [2, 1]]),
    )  # fmt: skip
    lab = tmp_path / "scattered"
    lab.mkdir()
    write_file(lab / "loops.h5", points, loops)
    dest = tmp_path / "to"
    ingest(IngestRequest(sources=[str(lab)], dest=dest, settle_s=0.0), Settings())
    catalog.rebuild([dest])
    (found,) = catalog.search(parse_terms(["dim=Bias", "dim=X", "dim=position"]))
    told = {
        one["name"]: (one["is_dim"], one["size"], one["units"], one["low"], one["high"])
        for one in found["mains"][0]["coordinates"]
    }
    assert told == {
        "position": (True, 5, "", None, None),
        "Cycle": (True, 2, "", 0, 1),
        "Bias": (True, 3, "V", -2, 2),
        "X": (False, 5, "m", 0, 4),
        "Y": (False, 5, "m", 0, 4.5),
    }


def test_outputs_tell_their_size_on_disk_and_codec(catalog, dest):
    catalog.rebuild([dest])
    (sound,) = catalog.show("afm/sound.h5")
    (output,) = sound["outputs"]
    store = dest / "afm" / "sound.h5.zarr"
    assert output["path"] == str(store)
    assert output["size"] == sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    assert output["codec"]
    assert not output["is_superseded"]
    (failed,) = catalog.show("broken.h5")
    assert failed["outputs"] == []
    assert "R9" in {finding["rule"] for finding in failed["findings"]}


def test_recording_file_by_file_equals_a_catalogue_made_anew(new_catalog, lab, dest):
    """A changed source, a superseded store, a vanished receipt, a failure after success."""
    step_by_step = new_catalog()
    step_by_step.record(dest, ALL)
    sound = lab / "afm" / "sound.h5"
    shutil.copy(lab / "partial.h5", sound)
    request = IngestRequest(sources=[str(lab)], dest=dest, settle_s=0.0)
    summary = ingest(request, Settings())
    assert [str(one.outcome) for one in summary.files if one.key == "afm/sound.h5"] == ["partial"]
    receipt_path(dest, "log.h5").unlink()
    step_by_step.record(dest, [one.key for one in summary.files])
    ended = RunRecord(run="r1", started="2026-11-01T10:00:00Z", counts={"done": 1})
    step_by_step.record_run(dest, ended)
    anew = new_catalog()
    anew.rebuild([dest])
    before = exported(step_by_step)
    assert before == exported(anew)
    step_by_step.rebuild()
    assert exported(step_by_step) == before
    assert "log.h5" not in keys(before["sources"])
    (changed,) = step_by_step.show("afm/sound.h5")
    assert [one["is_superseded"] for one in changed["outputs"]] == [False, True]
    assert Path(changed["outputs"][1]["path"]).is_dir()


names = st.sampled_from(["a.h5", "b.h5", "day/c.h5", "día/ß.h5"])
texts = st.text(max_size=12)
mains = st.builds(
    main_of,
    path=texts.map(lambda text: f"/{text}"),
    quantity=texts,
    units=texts,
    dims=st.lists(texts, max_size=2).map(tuple),
    shape=st.lists(st.integers(0, 2**40), max_size=2).map(tuple),
    outcome=st.sampled_from([Outcome.DONE, Outcome.FAILED]),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "run": texts,
        "gone_since": st.just("2026-11-02T00:00:00.000Z"),
        "quarantined_since": st.just("2026-11-03T00:00:00.000Z"),
        "former_paths": st.lists(texts, max_size=2),
    },
)
contents = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from([Outcome.FAILED, Outcome.DEFERRED, Outcome.NOT_USID]),
        "reason": texts,
        "mains": st.lists(mains, max_size=2).map(tuple),
        "findings": st.lists(st.builds(finding_of, found=texts, path=texts), max_size=2).map(tuple),
        "extra": extras,
        "machine": texts,
    }
)
steps = st.lists(st.tuples(names, st.one_of(st.none(), contents)), min_size=1, max_size=6)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
def test_any_sequence_of_receipts_comes_to_the_same_as_a_catalogue_made_anew(
    new_catalog, tmp_path_factory, steps
):
    dest = tmp_path_factory.mktemp("dest")
    step_by_step, anew = new_catalog(), new_catalog()
    for key, content in steps:
        if content is None:
            receipt_path(dest, key).unlink(missing_ok=True)
        else:
            put(dest, key, **content)
        step_by_step.record(dest, [key])
    anew.rebuild([dest])
    before = exported(step_by_step)
    assert before == exported(anew)
    step_by_step.rebuild([dest])
    assert exported(step_by_step) == before
    left = {key for key, _ in steps if receipt_path(dest, key).exists()}
    assert {one["key"] for one in before["sources"]} == left


def test_only_what_changed_is_read_again(catalog, dest, monkeypatch):
    catalog.record(dest, ALL)
    asked = []
    read = catalog_module.read_entry
    monkeypatch.setattr(
        catalog_module, "read_entry", lambda dest, key: asked.append(key) or read(dest, key)
    )
    assert catalog.record(dest, ALL) == 0
    assert asked == []
    put(dest, "log.h5", reason="changed")
    assert catalog.record(dest, ALL) == 1
    assert asked == ["log.h5"]


def test_a_receipt_published_while_another_was_being_written_is_not_lost(
    catalog, tmp_path, monkeypatch
):
    """Whoever reads first may write last: it looks again after writing."""
    put(tmp_path, "a.h5", reason="old")
    read = catalog_module.read_entry

    def read_then_published(dest, key):
        entry = read(dest, key)
        if entry.reason == "old":
            put(tmp_path, "a.h5", reason="the new one")
        return entry

    monkeypatch.setattr(catalog_module, "read_entry", read_then_published)
    catalog.record(tmp_path, ["a.h5"])
    assert [one["reason"] for one in catalog.show("a.h5")] == ["the new one"]


def test_a_gone_source_keeps_its_store_and_a_moved_one_both_paths(catalog, dest):
    place = receipt_path(dest, "afm/sound.h5")
    receipt = read_receipt(place)
    gone = {"gone_since": "2026-11-20T08:00:00.000Z", "former_paths": ["old/place.h5"]}
    write_receipt(replace(receipt, extra={**receipt.extra, **gone}), place)
    catalog.rebuild([dest])
    (found,) = catalog.search(parse_terms(["state=gone"]))
    assert (found["key"], found["outcome"]) == ("afm/sound.h5", "done")
    assert found["since"] == "2026-11-20T08:00:00.000Z"
    assert found["former_paths"] == ["old/place.h5"]
    assert found["outputs"][0]["size"] > 0
    assert catalog.show("old/place.h5") == [found]


def test_the_state_is_that_of_the_last_attempt_until_the_source_is_as_it_was(catalog, tmp_path):
    attempt = {
        **receipt_of("a.h5", reason="disk full", findings=(finding_of(),)).to_json(),
        "finished": "2026-11-05T00:00:00.000Z",
    }
    put(tmp_path, "a.h5", outcome=Outcome.NOT_USID, extra={"last_attempt": attempt})
    catalog.record(tmp_path, ["a.h5"])
    (found,) = catalog.show("a.h5")
    assert (found["state"], found["outcome"]) == ("failed", "not USID")
    assert (found["reason"], len(found["findings"])) == ("disk full", 1)
    examined = {"last_attempt": attempt, "examined": "2026-11-06T00:00:00.000Z"}
    put(tmp_path, "a.h5", outcome=Outcome.NOT_USID, extra=examined)
    catalog.record(tmp_path, ["a.h5"])
    (found,) = catalog.show("a.h5")
    assert (found["state"], found["findings"]) == ("not USID", [])


def test_a_quarantined_source_has_a_state_of_its_own(catalog, tmp_path):
    since = "2026-11-04T00:00:00.000Z"
    extra = {"quarantined_since": since, "quarantined_reason": "failed 5 times"}
    put(tmp_path, "a.h5", extra=extra)
    catalog.record(tmp_path, ["a.h5"])
    (found,) = catalog.search(parse_terms(["state=quarantined"]))
    assert (found["since"], found["reason"]) == (since, "failed 5 times")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 99}', b"\xff\xfe"])
def test_a_damaged_receipt_is_told_and_stops_nothing(catalog, dest, content):
    receipt_path(dest, "log.h5").write_bytes(content)
    assert catalog.rebuild([dest]) == 4
    (damaged,) = catalog.search(parse_terms(["state=unreadable receipt"]))
    assert damaged["key"] == "log.h5"
    assert "receipt" in damaged["reason"]


@pytest.mark.parametrize(
    "extra",
    [
        {"last_attempt": 3},
        {"last_attempt": {"outcome": "failed"}},
        {"last_attempt": {**receipt_of("a.h5").to_json(), "findings": [1]}},
        {"former_paths": 3, "metadata_digest": None},
    ],
)
def test_what_a_receipt_says_in_words_of_another_stops_nothing(catalog, tmp_path, extra):
    put(tmp_path, "a.h5", outcome=Outcome.NOT_USID, extra=extra)
    catalog.record(tmp_path, ["a.h5"])
    assert [one["state"] for one in catalog.show("a.h5")] == ["not USID"]


@pytest.mark.parametrize("change", ["dimension_names", "shape", "data_type", "chunk_grid"])
def test_a_document_that_lacks_something_stops_nothing(catalog, dest, change):
    document = dest / "afm" / "sound.h5.zarr" / "zarr.json"
    root = json.loads(document.read_text())
    for one in root["consolidated_metadata"]["metadata"].values():
        one.pop(change, None)
    document.write_text(json.dumps(root))
    assert catalog.rebuild([dest]) == 4
    (found,) = catalog.show("afm/sound.h5")
    assert found["mains"][0]["quantity"] == "Current"
    assert found["outputs"][0]["size"] > 0


@pytest.mark.parametrize("damage", ["no store", "no document", "no shard", "nonsense"])
def test_a_damaged_store_loses_what_cannot_be_read_and_nothing_else(catalog, dest, damage):
    store = dest / "afm" / "sound.h5.zarr"
    main = store / "Measurement_000" / "Channel_000" / "Raw_Data"
    if damage == "no store":
        shutil.rmtree(store)
    elif damage == "no document":
        (store / "zarr.json").unlink()
    elif damage == "no shard":
        shutil.rmtree(main / "X" / "c")
    else:
        (store / "zarr.json").write_text('{"consolidated_metadata": 3}')
    catalog.rebuild([dest])
    (found,) = catalog.show("afm/sound.h5")
    assert found["mains"][0]["quantity"] == "Current"
    lows = [one["low"] for one in found["mains"][0]["coordinates"]]
    assert lows == ([None, -1.0] if damage == "no shard" else [])
    assert (found["outputs"][0]["size"] is None) == (damage == "no store")


def test_a_destination_that_is_not_there_is_refused_and_nothing_removed(catalog, dest):
    catalog.rebuild([dest])
    shutil.move(dest, dest.with_name("unmounted"))
    with pytest.raises(RefusedError, match="Mount its storage"):
        catalog.rebuild()
    assert len(catalog.search()) == 4


def test_two_destinations_keep_apart(catalog, dest, tmp_path):
    other = tmp_path / "other"
    put(other, "afm/sound.h5", reason="elsewhere")
    catalog.rebuild([dest, other])
    assert catalog.dests() == sorted([str(dest), str(other)])
    receipt_path(other, "afm/sound.h5").unlink()
    catalog.rebuild([other])
    (left,) = catalog.show("afm/sound.h5")
    assert left["dest"] == str(dest)


def test_runs_are_told_by_their_records_and_without_one_by_receipts(catalog, dest):
    told = RunRecord(
        run="20261101T100000Z-aaaa",
        started="2026-11-01T10:00:00.000Z",
        ended="2026-11-01T10:05:00.000Z",
        flow_run="0192-flow",
        counts={"done": 3, "failed": 1},
    )
    catalog.record_run(dest, told)
    catalog.rebuild([dest])
    newest, oldest = catalog.runs()
    assert oldest == {
        "dest": str(dest),
        "run": told.run,
        "started": told.started,
        "ended": told.ended,
        "flow_run": "0192-flow",
        "counts": told.counts,
        "is_recorded": True,
    }
    assert newest["counts"] == {"done": 1, "failed": 1, "not USID": 1, "partial": 1}
    assert (newest["ended"], newest["is_recorded"]) == (None, False)


def test_a_run_whose_record_is_removed_is_removed(catalog, tmp_path):
    put(tmp_path, "a.h5")
    catalog.record_run(tmp_path, RunRecord(run="r1", started="2026-11-01T10:00:00.000Z"))
    write_run(tmp_path, RunRecord(run="r2", started="2026-11-02T10:00:00.000Z")).unlink()
    catalog.rebuild([tmp_path])
    assert [one["run"] for one in catalog.runs()] == ["r1"]
    shutil.rmtree(tmp_path / ".usid" / "runs")
    catalog.rebuild([tmp_path])
    assert catalog.runs() == []


def test_what_is_no_record_of_a_run_is_passed_over(tmp_path):
    whole = write_run(tmp_path, RunRecord(run="r1", started="2026-11-01T10:00:00.000Z"))
    for name, content in {"half": "{", "list": "[1]", "empty": "{}", "odd name": "{}"}.items():
        (whole.parent / f"{name}.json").write_text(content)
    (whole.parent / "counts.json").write_text(json.dumps({"started": "", "counts": [1]}))
    assert [one.run for one in read_runs(tmp_path)] == ["r1"]


def test_a_run_id_that_is_a_path_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be the name"):
        write_run(tmp_path, RunRecord(run="../r1", started="2026-11-01T10:00:00.000Z"))


def test_the_receipts_of_stores_and_of_the_control_folder_are_none_of_a_source(catalog, dest):
    for folder in (dest / ".usid" / "staging", dest / "afm" / "sound.h5.zarr" / "inner"):
        put(folder, "hidden.h5")
    assert catalog.rebuild([dest]) == 4


@pytest.mark.slow
def test_many_files_are_recorded_in_batches(catalog, dest):
    source, place = dest / "afm" / "sound.h5.zarr", receipt_path(dest, "afm/sound.h5")
    copied = []
    for number in range(1200):
        folder = dest / "many" / f"{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, folder / f"{number}.h5.zarr", copy_function=os.link)
        shutil.copy(place, folder / f"{number}.h5.receipt.json")
        copied.append(f"many/{number // 100}/{number}.h5")
    for at in range(0, 1200, 200):
        assert catalog.record(dest, copied[at : at + 200]) == 200
    assert len(catalog.search(parse_terms(["path=many/*", "quantity=Current"]))) == 1200
