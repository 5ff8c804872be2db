"""Metadata of any kind and depth: what HDF5 holds of them is what they were."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from written_signals import signal

from usid_tasks import file_reader, file_writer
from usid_tasks.writing.metadata import (
    MAX_NAME_BYTES,
    RESERVED,
    TYPES,
    escaped,
    flattened,
    restored,
    unescaped,
)
from usid_tasks.writing.opening import LIBVER
from usid_tasks.writing.refusals import UnwritableError
from usid_tasks.writing.structure import put_attributes

ANY_TEXT = st.text(st.characters(codec=None), max_size=8) | st.text("-/%2D.$\0\n", max_size=8)
KEYS = ANY_TEXT | st.sampled_from(sorted(RESERVED))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**70)
    | st.floats()
    | st.complex_numbers()
    | ANY_TEXT
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.sampled_from([PurePosixPath("a/b"), np.float32(0.1), np.uint8(7), np.True_])
    | st.sampled_from([np.datetime64("2026-11-22T10:00", "s"), np.longdouble(1) / 3])
)
DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes()
    | hnp.unicode_string_dtypes(max_len=4)
    | hnp.byte_string_dtypes(max_len=4)
    | hnp.datetime64_dtypes()
    | hnp.array_dtypes(max_size=3)
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
LISTS = st.one_of(
    *(st.lists(kind, max_size=4) for kind in (st.booleans(), st.integers(), st.floats(), ANY_TEXT)),
    st.lists(SCALARS, max_size=4),
)
LEAVES = SCALARS | ARRAYS | LISTS | LISTS.map(tuple) | st.frozensets(st.integers(), max_size=3)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(st.integers() | KEYS, inner, max_size=2)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)
TREES = st.dictionaries(KEYS, NESTED, max_size=5)


def assert_same(found: Any, wanted: Any) -> None:
    """Fail unless both have one type, one structure and the same bits.

    Of Python's numbers HDF5 tells neither int from int64 nor float from float64.
    """
    if isinstance(wanted, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert found.shape == wanted.shape
        if wanted.dtype.kind in "OU":
            for one, other in zip(found.ravel().tolist(), wanted.ravel().tolist(), strict=True):
                assert_same(one, other)
            return
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    elif isinstance(wanted, dict):
        assert type(found) is dict
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, (list, tuple)):
        assert type(found) is type(wanted)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, (float, complex)) and not isinstance(wanted, np.longdouble):
        assert np.asarray(found).dtype == np.asarray(wanted).dtype
        assert repr(found) == repr(wanted)  # tells zero from minus zero, and NaN is NaN
    else:
        is_integer = isinstance(wanted, int) and not isinstance(wanted, bool)
        kinds = (int, np.integer) if is_integer else (type(wanted), set, bool)
        assert isinstance(found, kinds), (type(found), type(wanted))
        assert found == wanted or (found != found and wanted != wanted)


def through_hdf5(metadata: Any, original: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what comes back of the attributes of a group in a file in memory."""
    with h5py.File("m", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        group = file.create_group("Measurement_000")
        put_attributes(group, flattened(metadata, original))
        return restored({name: group.attrs[name] for name in group.attrs})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, TREES)
@example({"a": {}}, {"a": {"": {"-": None}}})
@example({"Original": {"a": 1}, "Original-a": 2}, {"a": 3})
@example({"a-b": 1, "a": {"b": 2}}, {"%2D": 1, "-": 2, "%": 3, "": 4, "%25": 5})
@example({"quantity": 1, "metadata_types": {"x": [1, "a"]}}, {})
@example({"$a": 1, "x": [{"$float": 2}, {1: 2, "1": 3}]}, {})
@example({"x": np.array(["a", "bc"]), "y": np.array(5.0), "z": np.array([], "U1")}, {})
def test_all_comes_back_as_it_was(metadata, original):
    found = through_hdf5(metadata, original)
    assert_same(found[0], metadata)
    assert_same(found[1], original)


@given(KEYS)
def test_keys_come_back_and_leave_no_separator(key):
    assert unescaped(escaped(key)) == key
    assert "-" not in escaped(key)
    assert escaped(key)
    assert "\0" not in escaped(key)


PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)


def name_of(path: tuple[str, ...]) -> str:
    inner: Any = 1
    for key in reversed(path):
        inner = {key: inner}
    return next(iter(flattened(inner)))


@given(PATHS, PATHS)
@example(("a", "b"), ("a-b",))
@example(("", ""), ("-",))
@example(("Original", "a"), ("%4Friginal", "a"))
def test_no_two_paths_share_an_attribute(one, other):
    assert (name_of(one) == name_of(other)) == (one == other)
    assert name_of(one) not in RESERVED


# what others see


def test_plain_values_are_plain_attributes():
    """As RosettaSciIO has them: keys joined by a dash, numbers and texts as they are."""
    told = {
        "General": {"title": "Loops", "date": None, "n": 3, "is_good": True, "x": 0.5},
        "Sample": {"sizes": [1, 2], "names": ["a", "µ"], "image": np.eye(2, dtype="f4")},
    }
    found = flattened(told, {"Vendor": {"gain/offset": 1j}})
    assert found.pop(TYPES).splitlines() == [
        "json General-date", "list Sample-sizes", "list Sample-names",
    ]  # fmt: skip
    assert list(found) == [
        "General-title", "General-date", "General-n", "General-is_good", "General-x",
        "Sample-sizes", "Sample-names", "Sample-image", "Original-Vendor-gain/offset",
    ]  # fmt: skip
    assert found["General-title"] == "Loops"
    assert found["General-date"] == "null"
    assert found["Sample-names"] == ("a", "µ")
    assert (found["General-n"].dtype, found["General-x"].dtype) == (np.int64, np.float64)
    assert found["Original-Vendor-gain/offset"] == 1j


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ([1, "a", None], '[1, "a", null]'),
        ({}, "{}"),
        ([], "[]"),
        (2**70, str(2**70)),
        ("a\0b", r'"a\u0000b"'),
        ([math.nan, 1], '[{"$float": "nan"}, 1]'),
        (datetime(2026, 11, 22, 10, 15), '{"$datetime": "2026-11-22T10:15:00"}'),
        (date(2026, 11, 22), '{"$date": "2026-11-22"}'),
        (time(10, 15), '{"$time": "10:15:00"}'),
        (timedelta(1, 2, 3), '{"$timedelta": [1, 2, 3]}'),
        (Decimal("1.10"), '{"$decimal": "1.10"}'),
        (b"ab", '{"$bytes": "YWI="}'),
        ({1: "a"}, '{"$dict": [[1, "a"]]}'),
    ],
)
def test_what_hdf5_has_no_type_for_is_standard_json(value, text):
    found = flattened({"a": value})
    assert found == {"a": text, TYPES: "json a"}

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(found["a"], parse_constant=refuse)


def test_lazy_arrays_are_computed():
    found, _ = through_hdf5({"a": da.arange(5, chunks=2)})
    np.testing.assert_array_equal(found["a"], np.arange(5))


# what is refused


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"a": {"b": object()}}, r"\['a'\]\['b'\].*type object"),
        ({"a": [1, {"b": object()}]}, r"\['a'\]: .*type object"),
        ({"a": np.ma.zeros(3)}, "masked array"),
        ({"a": np.zeros(2, [("x", "O")])}, "an array of"),
        ({"a": 10**5000}, "neither HDF5 nor JSON"),
        ({"a": {"b" * MAX_NAME_BYTES: 1}}, "its keys together are longer than 32768 bytes"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(told, why):
    with pytest.raises(UnwritableError, match=why):
        flattened(told)


def test_lists_that_hold_themselves_are_refused():
    told: list[Any] = []
    told.append(told)
    with pytest.raises(UnwritableError, match="nested too deeply, or holds itself"):
        flattened({"a": told})


def test_other_objects_are_not_taken_for_ours():
    with pytest.raises(KeyError):
        restored({"General-title": "Loops"})


# in a file


LARGE = {
    "Text": {"long": "µ" * 100_000},
    "Array": {"long": np.arange(100_000.0), "of texts": ["a"] * 5_000},
    "List": {"mixed": [1, "a", None] * 6_000},
    "Many": {f"key {number}": number for number in range(1_000)},
}


@pytest.mark.parametrize("is_added", [False, True])
def test_metadata_beyond_64_kb_are_whole(path, is_added):
    if is_added:  # to a file of the oldest format
        with h5py.File(path, "w", libver="earliest") as file:
            file["something"] = 1
    file_writer(path, signal(metadata=LARGE, original_metadata=LARGE))
    with h5py.File(path) as file:
        attributes = dict(file["Measurement_000"].attrs)
    for found in restored(attributes):
        assert_same(found, LARGE)


def test_the_reader_gives_them_back(path):
    told = {"General": {"title": "Loops", "when": date(2026, 1, 31), "a/b": {"c-d": None}}}
    file_writer(path, signal(metadata=told, original_metadata={"x": (1, 2)}))
    (found,) = file_reader(path)
    assert found["metadata"]["General"].pop("original_filename") == str(path)
    assert found["metadata"]["General"] == told["General"]
    assert found["original_metadata"]["x"] == (1, 2)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TREES)
def test_any_metadata_can_be_written_and_read(path, metadata):
    """Verified by the writer, sound to the rules."""
    metadata.pop("Signal", None)
    file_writer(path, signal(metadata=metadata), replace=True)
    with h5py.File(path) as file:
        found, _ = restored(dict(file["Measurement_000"].attrs))
    assert_same(found, metadata)
