"""Records are the same after JSON and after HDF5, and pyUSID's attributes stand beside them."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace

import h5py
import numpy as np
import prov.model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_files import ENVIRONMENT, GROUP, means, source
from usid_files import MAIN

import usid_tasks
from usid_tasks.errors import UsidError
from usid_tasks.provenance import environment as module
from usid_tasks.provenance.environment import configuration_digest, environment
from usid_tasks.provenance.fingerprints import Fingerprint, Part
from usid_tasks.provenance.prov_json import to_prov_json
from usid_tasks.provenance.records import Record, ResultDataset, SourceLink, stored_record
from usid_tasks.provenance.stored import (
    read_receipt,
    receipt_of,
    write_receipt,
    write_record,
)
from usid_tasks.settings import load_settings
from usid_tasks.usid import open_hdf5, scan
from usid_tasks.writing.opening import open_to_write

TEXT = st.text(max_size=12)
DIGEST = st.from_regex(r"blake3-tiles:[0-9a-f]{16}", fullmatch=True)
TIME = st.just("2026-11-22T10:00:00Z") | st.just("2026-11-22T10:00:00.125Z")
SHAPE = st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
DTYPE = st.sampled_from(["<f4", {"class": "compound", "fields": [["a", "<i2"]]}])
TEXTS = st.none() | st.lists(TEXT, max_size=3).map(tuple)
PARTS = st.builds(Part, DIGEST, SHAPE, DTYPE, TEXTS, TEXTS)
FINGERPRINTS = st.builds(Fingerprint, PARTS, st.dictionaries(TEXT, PARTS, max_size=4), TEXT, TEXT)
NUMBERS = st.integers() | st.floats() | st.booleans() | st.none()
PARAMETERS = st.dictionaries(
    TEXT,
    st.recursive(
        NUMBERS | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
RECORDS = st.builds(
    Record,
    tool=TEXT, algorithm=TEXT, version=TEXT, parameters=PARAMETERS, notes=PARAMETERS, group=TEXT,
    sources=st.lists(
        st.builds(SourceLink, file=TEXT, dataset=TEXT, fingerprint=FINGERPRINTS,
                  file_digest=st.none() | DIGEST),
        min_size=1, max_size=2,
    ).map(tuple),
    datasets=st.lists(
        st.builds(ResultDataset, path=TEXT, digest=DIGEST, shape=SHAPE, dtype=DTYPE,
                  fingerprint=st.just("") | DIGEST),
        max_size=2,
    ).map(tuple),
    started=TIME, ended=TIME, environment=st.just(ENVIRONMENT), configuration_digest=DIGEST,
)  # fmt: skip


def same(one, other):
    """Compare records and all in them, types included; NaN is equal to itself."""
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


@settings(deadline=None, max_examples=60)
@given(record=RECORDS)
def test_a_record_is_the_same_after_json(record):
    text = record.to_text()
    assert text.isascii()
    assert same(Record.from_text(text), record)
    json.loads(text, parse_constant=pytest.fail)


@settings(deadline=None, max_examples=25)
@given(parameters=PARAMETERS)
def test_a_record_is_the_same_after_hdf5_whatever_its_parameters(tmp_path_factory, parameters):
    path = tmp_path_factory.mktemp("it") / "results.h5"
    part = Part("blake3-tiles:" + "0" * 64, (12, 5), "<f4")
    link = SourceLink(file="scan.h5", dataset=MAIN, fingerprint=Fingerprint(part, {}, "I", "A"))
    record = Record(
        tool="reduce", algorithm="Mean", version="1", parameters=parameters, sources=(link,),
        group="/g", datasets=(), started="2026-11-22T10:00:00Z", ended="2026-11-22T10:00:00Z",
        environment=ENVIRONMENT, configuration_digest="blake3:" + "0" * 64,
    )  # fmt: skip
    with open_to_write(path, is_new=True) as file:
        write_record(file.create_group("g"), record)
    with open_hdf5(path) as file:
        found = stored_record(scan(file, str(path)).groups["/g"].attributes)
    assert same(found, record)


def test_what_is_no_record_is_refused(tmp_path):
    record = means(source(tmp_path / "scan.h5"), tmp_path / "results.h5")
    told = record.to_json()
    for key in told:
        with pytest.raises(KeyError):
            Record.from_json({name: value for name, value in told.items() if name != key})
    for wrong in (
        {"schema_version": 2}, {"tool": 7}, {"started": "yesterday"}, {"sources": [{}]},
    ):  # fmt: skip
        with pytest.raises((KeyError, TypeError, ValueError)):
            Record.from_json({**told, **wrong})
    assert Record.from_json({**told, "later": 1}) == record


def test_attributes_of_a_results_file_are_those_of_pyusid(scan, results):
    with h5py.File(results) as file:
        attrs = dict(file[GROUP].attrs)
    assert attrs["tool"] == "reduce"
    assert attrs["algorithm"].startswith("Mean over named dimensions.")
    assert (attrs["num_source_dsets"], attrs["last_pixel"]) == (1, 12)
    assert (attrs["source_file_path"], attrs["source_dataset_path"]) == ("scan.h5", MAIN)
    assert "source_000" not in attrs
    assert attrs["statistic"] == "mean"
    assert list(attrs["dims"]) == ["Bias"]
    assert attrs["machine_id"] == ENVIRONMENT.machine
    assert attrs["timestamp"][:2] == "20"
    assert str(scan.parent) not in str(attrs)


def test_in_place_the_source_is_a_reference(scan):
    means(scan, scan)
    with h5py.File(scan) as file:
        attrs = file[GROUP].attrs
        assert file[attrs["source_000"]].name == MAIN
        assert "source_file_path" not in attrs
    assert read_receipt(scan).keys() == {GROUP}


def test_a_parameter_of_a_name_that_is_taken_keeps_its_value(scan, tmp_path):
    parameters = {"tool": "saw", "last_pixel": 3, "source_000": "x", "usid_provenance": "no"}
    means(scan, tmp_path / "results.h5", parameters=parameters)
    with h5py.File(tmp_path / "results.h5") as file:
        attrs = dict(file[GROUP].attrs)
    assert attrs["tool"] == "reduce"
    assert {name: attrs[f"reduce-{name}"] for name in parameters} == parameters


def test_long_records_and_parameters_are_kept(scan, tmp_path):
    place = tmp_path / "results.h5"
    parameters = {"note": "x" * 200_000, "weights": np.arange(30_000.0).tolist()}
    record = means(scan, place, parameters=parameters)
    with open_hdf5(place) as file:
        assert stored_record(scan_of(file).groups[GROUP].attributes) == record
        assert file[GROUP].attrs["weights"].tolist() == parameters["weights"]


def scan_of(file):
    return scan(file, file.filename)


def test_the_receipt_has_every_record_and_tells_damage(scan, tmp_path):
    place = tmp_path / "results.h5"
    one = means(scan, place)
    other = means(scan, place, tool="mean")
    assert read_receipt(place) == {one.group: one, other.group: other}
    assert read_receipt(tmp_path / "none.h5") == {}
    receipt_of(place).write_text('{"schema_version": 1}')
    with pytest.raises(UsidError, match="damaged"):
        read_receipt(place)
    receipt_of(place).write_text('{"schema_version": 2}')
    with pytest.raises(UsidError, match="newer program"):
        read_receipt(place)
    write_receipt(place, [one])
    assert read_receipt(place) == {one.group: one}


def test_the_environment_is_told(monkeypatch):
    told = environment(("prefect", "no-such-package"), {"PREFECT__FLOW_RUN_ID": "abc"})
    assert told.flow_run_id == "abc"
    assert {"python", "numpy", "h5py", "prefect"} <= told.versions.keys()
    assert "no-such-package" not in told.versions
    assert environment(env={}).flow_run_id == ""
    assert told.code_version.startswith(usid_tasks.__version__)


def test_without_git_the_version_is_that_of_the_package(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert module.code_version.__wrapped__() == usid_tasks.__version__


def test_the_configuration_has_a_digest_of_all_settings():
    one = load_settings(env={})
    other = load_settings(env={}, overrides={"convert": {"threads": 1}})
    assert configuration_digest(one) == configuration_digest(load_settings(env={}))
    assert configuration_digest(one) != configuration_digest(other)


def relations(document, kind):
    return [found for found in document.get_records() if type(found).__name__ == kind]


def test_the_prov_document_is_what_the_prov_package_reads(scan, tmp_path):
    record = means(scan, tmp_path / "results.h5", source_digest=True)
    told = to_prov_json(record)
    document = prov.model.ProvDocument.deserialize(content=json.dumps(told), format="json")
    n_results = len(record.datasets)
    assert len(relations(document, "ProvEntity")) == n_results + 1
    assert len(relations(document, "ProvUsage")) == len(record.sources) == 1
    assert len(relations(document, "ProvGeneration")) == n_results
    assert len(relations(document, "ProvDerivation")) == n_results
    assert len(relations(document, "ProvAssociation")) == 1
    (activity,) = relations(document, "ProvActivity")
    assert activity.get_startTime().isoformat() == "2026-11-22T10:00:00+00:00"
    (agent,) = relations(document, "ProvAgent")
    assert [str(kind) for kind in agent.get_asserted_types()] == ["prov:SoftwareAgent"]
    again = json.loads(document.serialize(format="json"))
    assert again.keys() == told.keys()
    for relation in told:
        assert len(again[relation]) == len(told[relation])


def test_the_documents_of_a_chain_are_joined_at_its_datasets(scan, tmp_path):
    place = tmp_path / "results.h5"
    one = means(scan, place)
    other = means(place, place, main=f"{GROUP}/Mean", tool="again")
    told = to_prov_json([one, other, one])
    assert len(told["activity"]) == 2
    assert len(told["agent"]) == 1
    (mean,) = [
        name for name, entity in told["entity"].items()
        if entity["usid:dataset"] == f"{GROUP}/Mean"
    ]  # fmt: skip
    assert mean in {relation["prov:entity"] for relation in told["wasGeneratedBy"].values()}
    assert mean in {relation["prov:entity"] for relation in told["used"].values()}
    changed = replace(one, version="2")
    assert len(to_prov_json([one, changed])["activity"]) == 2


@pytest.mark.slow
def test_pyusid_finds_and_reads_what_was_recorded(scan):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyUSID
        from pyUSID.io import hdf_utils

        parameters = {"statistic": "mean", "dims": ["Bias"], "power": 2.5, "bands": [1.0, 2.0]}
        means(scan, scan, parameters=parameters)
        with h5py.File(scan) as file:
            main = pyUSID.USIDataset(file[MAIN])
            (found,) = hdf_utils.find_results_groups(main, "reduce")
            assert found.name == GROUP
            assert hdf_utils.check_for_matching_attrs(found, new_parms=parameters)
            assert not hdf_utils.check_for_matching_attrs(found, new_parms={"power": 3.0})
            assert hdf_utils.check_for_old(main, "reduce", new_parms=parameters) == [found]
            assert hdf_utils.get_source_dataset(found).name == MAIN
            made = pyUSID.USIDataset(found["Mean"])
            x_by_y = np.squeeze(made.get_n_dim_form())
            np.testing.assert_array_equal(x_by_y.T.ravel(), found["Mean"][:, 0])
            assert f"{GROUP}/Mean" in [one.name for one in hdf_utils.get_all_main(file)]
