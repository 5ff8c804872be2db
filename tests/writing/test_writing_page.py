"""docs/writing.md: what it tells of options and names is so; its code runs with other papers'."""

from __future__ import annotations

import re
from pathlib import Path

from usid_tasks.writing import options, structure

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "writing.md").read_text("utf-8")


def test_every_option_of_the_table_is_one():
    rows = re.findall(r"^\| (`[^|]*?) \| [^|]* \|$", PAGE.partition("## Options")[2], re.M)
    told = {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)}
    values = {
        "threads": 1, "column_order": "specification", "h5_pos_inds": "a", "h5_pos_vals": "b",
        "h5_spec_inds": "c", "h5_spec_vals": "d", "main_dset_attrs": {}, "replace": True,
        "dtype": "f4", "chunks": True, "compression": "gzip",
    }  # fmt: skip
    found = options.Options.of({name: values.get(name, name) for name in sorted(told)})
    assert set(found.creation) == {"chunks", "compression", "dtype"}
    assert len(told) == 16


def test_the_attributes_of_the_tree_are_those_that_are_written():
    (told,) = re.findall(r"^/ +(.*)$", PAGE, re.M)
    assert told.split(", ") == list(structure.bookkeeping())
