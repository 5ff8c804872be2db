"""Receipts: written whole, read strictly, open to what comes later."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing import receipt_of

from usid_tasks.errors import UsidError
from usid_tasks.model import Finding, Outcome, Severity
from usid_tasks.receipts import (
    SCHEMA_VERSION,
    ArrayRecord,
    MainRecord,
    Receipt,
    SourceRecord,
    read_receipt,
    receipt_bytes,
    utc_now,
    write_receipt,
)

HEX = st.binary(min_size=8, max_size=32).map(bytes.hex)
DIGESTS = HEX.map(lambda text: f"blake3-tiles:{text}")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
# file names may hold bytes that are no text
TEXT = st.text(st.characters(), max_size=20)
SHAPES = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
RECEIPTS = st.builds(
    Receipt,
    source=st.builds(
        SourceRecord,
        root_name=TEXT,
        path=TEXT,
        size=st.integers(0),
        mtime_ns=st.integers(),
        ctime_ns=st.integers(),
        inode=st.none() | st.integers(0),
        digest=st.none() | DIGESTS,
    ),
    outcome=st.sampled_from(Outcome),
    started=st.datetimes().map(lambda time: time.isoformat(timespec="seconds") + "Z"),
    finished=st.datetimes().map(lambda time: time.isoformat(timespec="microseconds") + "Z"),
    settings_digest=TEXT,
    layout_version=st.integers(1),
    reason=TEXT,
    findings=st.lists(
        st.builds(
            Finding,
            id=TEXT,
            severity=st.sampled_from(Severity),
            file=TEXT,
            path=TEXT,
            found=TEXT,
            expected=TEXT,
            remedy=TEXT,
        ),
        max_size=3,
    ).map(tuple),
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    machine=TEXT,
    arrays=st.dictionaries(
        TEXT,
        st.builds(ArrayRecord, digest=DIGESTS, shape=SHAPES, dtype=TEXT, main=TEXT),
        max_size=3,
    ),
    mains=st.lists(
        st.builds(
            MainRecord,
            path=TEXT,
            outcome=st.sampled_from(Outcome),
            dims=st.lists(TEXT, max_size=3).map(tuple),
            shape=SHAPES,
            extra=OBJECTS,
        ),
        max_size=3,
    ).map(tuple),
    extra=OBJECTS,
)


@given(receipt=RECEIPTS)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, receipt: Receipt
) -> None:
    path = tmp_path_factory.getbasetemp() / "round trip.json"
    path.write_bytes(receipt_bytes(receipt))
    assert read_receipt(path) == receipt
    path.read_bytes().decode()


def test_a_receipt_is_strict_sorted_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scan.h5.receipt.json"
    write_receipt(receipt_of("one"), path)
    record = json.loads(path.read_bytes())
    assert list(record) == sorted(record)
    assert record["schema_version"] == 1
    assert record["outcome"] == "done"
    assert record["started"].endswith("Z")
    assert list(record["source"]) == sorted(record["source"])
    with pytest.raises(ValueError, match="JSON compliant"):
        receipt_bytes(replace(receipt_of("one"), extra={"speed": float("nan")}))


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5.receipt.json"
    write_receipt(receipt_of("one"), path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UsidError, match="No space left"):
            write_receipt(receipt_of("two"), path)
    assert read_receipt(path) == receipt_of("one")
    assert list(tmp_path.iterdir()) == [path]
    write_receipt(receipt_of("two"), path)
    assert read_receipt(path) == receipt_of("two")


def test_modes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_receipt(receipt_of("one"), tmp_path / "a")
        write_receipt(receipt_of("one"), tmp_path / "new" / "b", mode=0o664, dir_mode=0o2770)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new" / "b").stat().st_mode) == 0o664
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o2770


def test_no_receipt(tmp_path: Path) -> None:
    assert read_receipt(tmp_path / "none") is None
    (tmp_path / "file").write_text("")
    assert read_receipt(tmp_path / "file" / "none") is None


def spoiled(**changes: object) -> bytes:
    return json.dumps({**receipt_of("one").to_json(), **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema_version": 1}',
        receipt_bytes(receipt_of("one"))[:-20],
        spoiled(outcome="splendid"),
        spoiled(started="2026-01-02T03:04:05+00:00"),
        spoiled(layout_version="1"),
        spoiled(source={"path": "a"}),
        spoiled(source=[]),
        spoiled(arrays={"a": {"digest": "no digest", "shape": [], "dtype": "<f4"}}),
        spoiled(extra={"x": 1}).replace(b'"x": 1', b'"x": NaN'),
        spoiled(findings=[{"id": "R1"}]),
        spoiled(extra=3),
    ],
)
def test_a_damaged_receipt_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "scan.h5.receipt.json"
    path.write_bytes(data)
    with pytest.raises(UsidError, match="the receipt is damaged") as caught:
        read_receipt(path)
    assert caught.value.where == str(path)
    assert "Move it away" in caught.value.remedy


def test_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    receipt = replace(
        receipt_of("one"),
        findings=(Finding("R1", Severity.ERROR, "f", "/", "a", "b", "c"),),
        mains=(MainRecord(path="/Raw", outcome=Outcome.DONE),),
    )
    record = receipt.to_json()
    for part in (
        record,
        record["source"],
        record["findings"][0],
        record["mains"][0],
        *record["arrays"].values(),
    ):
        part["invented_later"] = [1]
    (tmp_path / "r").write_text(json.dumps(record))
    assert read_receipt(tmp_path / "r") == receipt


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(spoiled(schema_version=SCHEMA_VERSION + 1, outcome="unheard of"))
    with pytest.raises(UsidError, match="schema version 2, expected at most 1") as caught:
        read_receipt(tmp_path / "r")
    assert "newer usid-flows" in caught.value.remedy


def test_times_and_digests_are_checked_when_made() -> None:
    replace(receipt_of("one"), started=utc_now())
    with pytest.raises(ValueError, match="ending in Z"):
        replace(receipt_of("one"), finished="2026-01-02 03:04:05")
    with pytest.raises(ValueError, match="algorithm:hex"):
        replace(receipt_of("one"), source=replace(receipt_of("one").source, digest="abc"))


def test_keys() -> None:
    source = receipt_of("one").source
    assert source.key == "day/scan.h5"
    assert replace(source, root_name="afm").key == "afm/day/scan.h5"
