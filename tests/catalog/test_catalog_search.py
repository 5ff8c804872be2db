"""Searches by words and fields, against the plain meaning of the terms."""

from __future__ import annotations

import csv
import fnmatch
import io

import pytest
from catalog_files import exported, finding_of, keys, main_of, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usid_tasks.catalog.terms import Term, parse_terms
from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome
from usid_tasks.receipts import SourceRecord


def found(catalog, *words):
    return keys(catalog.search(parse_terms(words)))


@pytest.fixture
def two_mains(catalog, tmp_path):
    """A catalogue of a file with two Main datasets, and one with neither's combination."""
    current = main_of("/Measurement_000/Raw_Data", quantity="Current", units="nA", dtype="float32")
    height = main_of("/Measurement_001/Raw_Data", quantity="Height", units="m", dtype="float64")
    put(tmp_path, "afm/two.h5", outcome=Outcome.DONE, mains=(current, height))
    put(
        tmp_path, "afm/failed_100%.h5", findings=(finding_of("R9"), finding_of("R15")),
        finished="2026-11-05T12:00:00.000Z", reason="R9: no labels",
    )  # fmt: skip
    catalog.rebuild([tmp_path])
    return catalog


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["quantity=Current"], ["afm/two.h5"]),
        (["quantity=CURRENT", "dtype=float32"], ["afm/two.h5"]),
        (["quantity=Current", "dtype=float64"], []),  # not of one and the same Main dataset
        (["quantity~urr"], ["afm/two.h5"]),
        (["quantity=urr"], []),
        (["quantity=C*t"], ["afm/two.h5"]),
        (["quantity!=Current", "dtype=float32"], []),
        (["state=failed"], ["afm/failed_100%.h5"]),
        (["state!=failed"], ["afm/two.h5"]),
        (["state=failed", "since=2026-11-05"], ["afm/failed_100%.h5"]),
        (["since=2026-11-05T12:00:00"], ["afm/failed_100%.h5"]),
        (["since=2026-11-05T14:00:01+02:00"], []),
        (["until=2026-11-05"], ["afm/two.h5"]),
        (["finding=R9"], ["afm/failed_100%.h5"]),
        (["finding=R1"], []),
        (["finding=r15", "severity=error"], ["afm/failed_100%.h5"]),
        (["path=afm/*"], ["afm/failed_100%.h5", "afm/two.h5"]),
        (["path=*_100%*"], ["afm/failed_100%.h5"]),
        (["path~_1"], ["afm/failed_100%.h5"]),
        (["path~%.h"], ["afm/failed_100%.h5"]),
        (["path~d%h"], []),
        (["size=10"], ["afm/failed_100%.h5", "afm/two.h5"]),
        (["size>10"], []),
        (["size<=1 KiB"], ["afm/failed_100%.h5", "afm/two.h5"]),
        (["nA"], ["afm/two.h5"]),
        (["LABELS"], ["afm/failed_100%.h5"]),
        (["labels", "height"], []),
        ([], ["afm/failed_100%.h5", "afm/two.h5"]),
    ],
)
def test_terms_mean_what_the_help_says(two_mains, words, names):
    assert found(two_mains, *words) == names


@pytest.mark.parametrize(
    ("words", "is_found"),
    [
        (["instrument~cypher"], True),
        (["instrument~cypher", "quantity=Current", "dim=Bias"], True),
        (["instrument~asylum"], False),
        (["instrument_name=Cypher S"], True),
        (["INSTRUMENT_NAME=cypher*"], True),
        (["scan_rate=0.750"], True),
        (["scan_rate>=0.5"], True),
        (["scan_rate>0.75"], False),
        (["scan_rate!=0.75", "quantity=Current"], False),
        (["dim=Bias", "dim=X"], True),
        (["dim=bias"], True),
        (["dim=Frequency"], False),
        (["dim!=Frequency", "quantity=Current"], True),
        (["stored>1 KiB"], True),
        (["stored>1 GiB"], False),
        (["codec~nothing"], False),
        (["kind=zarr", "store~sound.h5.zarr"], True),
    ],
)
def test_dims_attributes_and_stores_are_searched(catalog, dest, words, is_found):
    catalog.rebuild([dest])
    assert ("afm/sound.h5" in found(catalog, *words)) == is_found


def test_only_the_main_datasets_that_fit_are_told(two_mains):
    (one,) = two_mains.search(parse_terms(["quantity=Height"]))
    assert [main["path"] for main in one["mains"]] == ["/Measurement_001/Raw_Data"]


def test_the_newest_come_first_and_a_limit_cuts_the_rest(two_mains):
    told = [one["key"] for one in two_mains.search()]
    assert told == ["afm/failed_100%.h5", "afm/two.h5"]
    assert [one["key"] for one in two_mains.search(limit=1)] == told[:1]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("since=yesterday", "no date"),
        ("since>2026-11-01", "takes '='"),
        ("size=large", "size such as"),
        ("size~3", "number of bytes"),
        ("state>done", "no order"),
        ("scan_rate>fast", "no number"),
    ],
)
def test_a_value_that_its_field_does_not_take_is_refused(word, told):
    with pytest.raises(RefusedError, match=told):
        parse_terms([word])


def test_a_misspelt_field_is_told_with_the_nearest(catalog, dest):
    catalog.rebuild([dest])
    with pytest.raises(RefusedError, match=r"Did you mean quantity"):
        found(catalog, "quantitty=Current")
    with pytest.raises(RefusedError, match=r"Did you mean scan_rate"):
        found(catalog, "scanrate>1")


letters = st.text(st.sampled_from("aAbß%_\\.É"), max_size=3)
operators = st.sampled_from(["=", "!=", "~"])
terms = st.builds(
    Term, st.sampled_from(["path", "reason", "quantity", "units", ""]), operators, letters
)
files = st.lists(
    st.tuples(letters, st.lists(st.tuples(letters, letters), max_size=2)), min_size=1, max_size=4
)


def ascii_lower(text):
    return "".join(c.lower() if c.isascii() else c for c in text)


def compared(text, term):
    text, value = ascii_lower(text), ascii_lower(term.value)
    if term.operator == "~":
        return value in text
    escaped = value.replace("[", "[[]").replace("?", "[?]")
    return fnmatch.fnmatchcase(text, escaped) == (term.operator == "=")


def fits(key, reason, mains, given):
    of_mains = [term for term in given if term.field in ("quantity", "units")]
    one_fits = any(
        all(compared(dict(zip(("quantity", "units"), main, strict=True))[t.field], t)
            for t in of_mains)
        for main in mains
    )  # fmt: skip
    words = [key, "failed", reason, "/Raw", "done", *(text for main in mains for text in main)]
    return (
        (one_fits or not of_mains)
        and all(compared(key, t) for t in given if t.field == "path")
        and all(compared(reason, t) for t in given if t.field == "reason")
        and all(
            any(t.value.casefold() in word.casefold() for word in words)
            for t in given
            if not t.field
        )
    )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=files, given_terms=st.lists(terms, max_size=3))
def test_what_is_found_is_what_the_terms_say(new_catalog, tmp_path_factory, files, given_terms):
    given_terms = [
        term if term.field else Term("", "~", term.value) for term in given_terms if term.value
    ]
    dest, catalog, expected = tmp_path_factory.mktemp("dest"), new_catalog(), []
    for number, (reason, mains) in enumerate(files):
        key = put(
            dest, f"{number}.h5", reason=reason,
            mains=tuple(main_of(quantity=q, units=u) for q, u in mains),
        )  # fmt: skip
        if fits(key, reason, mains, given_terms):
            expected.append(key)
    catalog.rebuild([dest])
    assert keys(catalog.search(given_terms)) == expected


def test_a_source_is_shown_by_every_one_of_its_names(catalog, dest):
    catalog.rebuild([dest])
    (sound,) = catalog.show("afm/sound.h5")
    digest = sound["digest"]
    for name in (
        "sound.h5",
        str(dest / "afm" / "sound.h5.zarr"),
        str(dest / "afm" / "sound.h5.receipt.json"),
        "/data/lab/afm/sound.h5",
        "afm/sound.h5.zarr",
        digest,
        digest.partition(":")[2],
        digest.partition(":")[2][:16],
    ):
        assert catalog.show(name) == [sound], name
    for name in ("ound.h5", "sound", "/data/lab/sound.h5", digest.partition(":")[2][:15], "%"):
        assert catalog.show(name) == [], name


def test_csv_has_a_row_for_each_main_dataset(catalog, dest):
    catalog.rebuild([dest])
    stream = io.StringIO(newline="")
    catalog.export(stream, format="csv")
    rows = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    everything = exported(catalog)
    assert len(rows) == sum(max(1, len(one["mains"])) for one in everything["sources"])
    (sound,) = [row for row in rows if row["key"] == "afm/sound.h5"]
    assert (sound["main_quantity"], sound["dims"]) == ("Current", "X=4 Bias=3")
    assert sound["ranges"] == "X=0..3e-06 m; Bias=-1..2 V"


def test_an_export_is_whole_over_several_pages(catalog, tmp_path):
    for number in range(1203):
        source = SourceRecord(
            root_name="", path=f"{number}.h5", size=number, mtime_ns=1, ctime_ns=1
        )
        put(tmp_path, f"{number}.h5", source=source)
    catalog.rebuild([tmp_path])
    told = [(one["key"], one["size"]) for one in exported(catalog)["sources"]]
    assert told == sorted((f"{number}.h5", number) for number in range(1203))
