"""What breaks the rules on a Main dataset and on its tables."""

from __future__ import annotations

import h5py
import index_tables as it
import numpy as np
from cases import (
    CHANNEL,
    ERROR,
    INFO,
    Case,
    attribute,
    axis,
    foreign_region,
    looks_like_a_main,
    misleading_names,
    moved,
    no_dimension,
    null_region,
    on,
    other_region,
    regions,
    replaced,
)
from usid_files import LINKS, MAIN, Side, distinct

STEP = "Spectroscopic_Indices, Spectroscopic_Values"
PLACE = "Position_Indices, Position_Values"


def linked(kind: str) -> dict[str, dict[str, str]]:
    """Return how to write one reference of this kind."""
    return {"links": {"Position_Values": kind}}


RULES_ON_THE_MAIN = [
    Case(
        "R1", "3 dimensions, shape (12, 5, 2)", ERROR,
        spoil=replaced("Raw_Data", distinct((12, 5, 2))),
    ),
    Case(
        "R1", "a null dataspace: no values at all", ERROR,
        spoil=replaced("Raw_Data", h5py.Empty("f4")),
    ),
    Case(
        "R2", "Position_Values: a reference to an object that is gone", ERROR,
        how=linked("dangling"),
    ),
    Case("R2", "Position_Values: no such attribute", ERROR, how=linked("missing")),
    Case("R2", "Position_Values: a null reference", ERROR, how=linked("null")),
    Case("R2", f"Position_Values: a reference to a group ({CHANNEL})", ERROR, how=linked("group")),
    Case(
        "R2", f"{PLACE}: no such attribute", ERROR,
        how={"links": dict.fromkeys(LINKS[:2], "missing")},
    ),
    Case(
        "R2", "Position_Values: a path as text instead of an object reference",
        how=linked("path"),
    ),
    Case(
        "R2", "Position_Values: an array of one reference instead of a single reference",
        how=linked("array"),
    ),
    Case("R3", "attribute quantity: missing", ERROR, how={"missing": ["quantity"]}),
    Case("R3", "attribute units: missing", ERROR, how={"missing": ["units"]}),
    Case("R3", "attribute units: not text", ERROR, how={"attrs": {"units": 7}}),
    Case(
        "R3", "attribute units: 2 texts", ERROR,
        how={"attrs": {"units": np.array([b"n", b"nA"])}},
    ),
    Case("R3", "attribute quantity: an empty text", INFO, how={"quantity": ""}),
    Case(
        "R3", "attribute units: stored as a list of one",
        how={"attrs": {"units": np.array([b"nA"])}},
    ),
    Case(
        "R4", "values of type float128", ERROR, spoil=replaced("Raw_Data", np.ones((12, 5), "g")),
    ),
    Case(
        "R4", "values of type |S4", ERROR, spoil=replaced("Raw_Data", np.full((12, 5), b"text")),
    ),
    Case("R5", "a Main dataset named Raw-Data", spoil=moved(MAIN, f"{CHANNEL}/Raw-Data")),
    Case(
        "F6", "quantity, units and shape (12, 5), but no reference", INFO, spoil=looks_like_a_main
    ),
]  # fmt: skip

RULES_ON_TABLES = [
    Case(
        "R7",
        "Position_Values of shape (2, 12) for a Main dataset of shape (12, 5), "
        "transposed as it seems",
        ERROR, how={"transposed": ["Position_Values"]},
    ),
    Case(
        "R7",
        "Position_Indices of shape (12, 2) and Position_Values of shape (12, 2) "
        "for a Main dataset of shape (11, 5)",
        ERROR, how={"data": distinct((11, 5))},
    ),
    Case(
        "R7",
        "Spectroscopic_Indices of shape (5,) and Spectroscopic_Values of shape (5,) "
        "for a Main dataset of shape (12, 5)",
        ERROR, how={"flattened": list(LINKS[2:])},
    ),
    Case(
        "R7", "a Main dataset of shape (5, 12) that looks transposed", ERROR,
        how={"data": distinct((5, 12))},
    ),
    Case(
        "R8", "Position_Indices of shape (12, 2), Position_Values of shape (12, 3)", ERROR,
        spoil=replaced("Position_Values", np.ones((12, 3), "f4")),
    ),
    Case(
        "R9", "Position_Values: no attribute labels", ERROR,
        how={"missing": ["Position_Values.labels"]},
    ),
    Case(
        "R9", f"{PLACE}: no attribute units", ERROR,
        how={"missing": ["Position_Indices.units", "Position_Values.units"]},
    ),
    Case(
        "R10", f"{PLACE}: labels: 3 for 2 dimensions", ERROR,
        how=on("Position", "labels", "X", "Y", "Z"),
    ),
    Case(
        "R10", "Position_Indices: units: 1 for 2 dimensions", ERROR,
        how=on("Position_Indices", "units", "um"),
    ),
    Case(
        "R10", "Position_Values: labels are no text", ERROR,
        spoil=attribute(f"{CHANNEL}/Position_Values", "labels", np.array([1, 2])),
    ),
    Case(
        "R11", "labels ['X', 'Y'] in Position_Indices, ['A', 'B'] in Position_Values", ERROR,
        how=on("Position_Values", "labels", "A", "B"),
    ),
    Case(
        "R11", "units ['m', 'm'] in Position_Indices, ['m', 'nm'] in Position_Values", ERROR,
        how=on("Position_Values", "units", "m", "nm"),
    ),
    Case(
        "R12", f"{STEP}: units stored as one array element for each character",
        how=on("Spectroscopic", "units", "c", "m", "-", "1"),
        twin=on("Spectroscopic", "units", "cm-1"),
    ),
    Case(
        "R12", f"{STEP}: units white space around the text",
        how=on("Spectroscopic", "units", " m\n"), twin=on("Spectroscopic", "units", "m"),
    ),
    Case(
        "R12", f"{STEP}: an empty label",
        how=on("Spectroscopic", "labels", ""), twin=on("Spectroscopic", "labels", "B"),
    ),
    Case(
        "R13", "Position_Indices of type uint16", INFO,
        how={"position": Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"], index_dtype="u2")},
    ),
    Case(
        "R13", "Spectroscopic_Values of type float16, which holds three digits",
        how=axis(0, 1, 2, 3, 4, dtype="f2"),
    ),
    Case("R18", "Bias in 'unitless'", INFO, how=on("Spectroscopic", "units", "unitless")),
    Case(
        "R18", "units of the Main dataset: 'Unknown Units'", INFO,
        how={"units": "Unknown Units"},
    ),
    Case("R19", f"{STEP}: no dimension at all", ERROR, spoil=no_dimension),
    Case("R20", "X leads nowhere", INFO, both=regions, spoil=null_region),
    Case(
        "R20", "X selects [0, 1] to [11, 1], not its dimension", INFO,
        both=regions, spoil=other_region,
    ),
    Case(
        "R20", f"X selects a part of {CHANNEL}/Position_Values", INFO,
        both=regions, spoil=foreign_region,
    ),
    Case(
        "R23", f"Position_Indices is the dataset {CHANNEL}/Spectroscopic_Values", INFO,
        spoil=misleading_names,
    ),
    Case(
        "F2", "Position_Indices of type |S1", ERROR,
        spoil=replaced("Position_Indices", np.full((12, 2), b"a")),
    ),
    Case(
        "F2", "Position_Values of type float128", ERROR,
        spoil=replaced("Position_Values", np.ones((12, 2), "g")),
    ),
]  # fmt: skip
