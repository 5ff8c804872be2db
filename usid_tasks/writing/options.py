"""The options of the writer: those of pyUSID's ``write_main_dataset``, and its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from usid_tasks.model import SideName
from usid_tasks.printable import printable
from usid_tasks.writing.refusals import UnwritableError

COLUMN_ORDERS = ("slow to fast", "specification")
SIDES: tuple[SideName, SideName] = ("position", "spectroscopic")

_TABLES = {
    "position": ("h5_pos_inds", "h5_pos_vals"),
    "spectroscopic": ("h5_spec_inds", "h5_spec_vals"),
}
_FROM_THE_SIGNAL = {
    "h5_parent_group": "a new Measurement_NNN/Channel_000 holds the dataset",
    "main_data": "signal['data'] are the values",
    "pos_dims": "signal['axes'] tells the Position dimensions: those that navigate",
    "spec_dims": "signal['axes'] tells the Spectroscopic dimensions: those that do not navigate",
    "data": "signal['data'] are the values",
    "shape": "signal['data'] tells the shape",
    "name": "main_data_name is the name",
    "external": "values stay in the file, so that it is whole or not there",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller asks for beside the signal.

    ``tables`` has, for each side that uses tables that are there, the options that name them.
    ``creation`` is for h5py's ``create_dataset``.
    """

    name: str
    quantity: str | None
    units: str | None
    attributes: Mapping[str, Any]
    prefixes: Mapping[SideName, str]
    tables: Mapping[SideName, Mapping[str, Any]]
    is_fastest_first: bool
    is_replacing: bool
    threads: int
    creation: Mapping[str, Any]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Options:
        """Return the options that keyword arguments mean.

        Raises
        ------
        UnwritableError
            If one has a value that means nothing, or is told by the signal already.

        Warns
        -----
        UserWarning
            Where a name has a ``-``, which stands between dataset and tool: it becomes ``_``.
        """
        left = dict(told)
        for option, why in _FROM_THE_SIGNAL.items():
            if option in left:
                raise UnwritableError(option, f"is no option here: {why}", "Leave it out")
        left.pop("verbose", None)
        if not left.pop("slow_to_fast", True):
            what = "False, but the axes of a signal are slow to fast"
            raise UnwritableError("slow_to_fast", what, "Leave it out")
        prefixes = {
            "position": _prefix("aux_pos_prefix", left.pop("aux_pos_prefix", "Position_")),
            "spectroscopic": _prefix(
                "aux_spec_prefix", left.pop("aux_spec_prefix", "Spectroscopic_")
            ),
        }
        name = _name("main_data_name", left.pop("main_data_name", "Raw_Data"))
        _refuse_equal(name, prefixes["position"], prefixes["spectroscopic"])
        attributes = left.pop("main_dset_attrs", None)
        if isinstance(left.get("chunks"), list):
            left["chunks"] = tuple(left["chunks"])
        return cls(
            name=name,
            quantity=_stripped("quantity", left.pop("quantity", None)),
            units=_stripped("units", left.pop("units", None)),
            attributes={} if attributes is None else attributes,
            prefixes={side: prefixes[side] for side in SIDES},
            tables={side: pair for side in SIDES if (pair := _tables(side, left))},
            is_fastest_first=_column_order(left.pop("column_order", COLUMN_ORDERS[0])),
            is_replacing=bool(left.pop("replace", False)),
            threads=_threads(left.pop("threads", None)),
            creation=left,
        )


def _text(option: str, told: Any) -> str | None:
    if told is None:
        return None
    if not isinstance(told, str) or "\0" in told:
        what = f"is {printable(told)[:60]!r}, expected a text"
        raise UnwritableError(option, what, "Give a text, empty where there is none")
    return told


def _stripped(option: str, told: Any) -> str | None:
    text = _text(option, told)
    return None if text is None else text.strip()


def _name(option: str, told: Any) -> str:
    name = (_text(option, told) or "").strip()
    if not name or "/" in name or name in (".", "..") or not _can_be_encoded(name):
        what = f"is {printable(name)!r}, which is no name of one dataset"
        raise UnwritableError(option, what, 'Give a name without "/", such as "Raw_Data"')
    if "-" in name:
        changed = name.replace("-", "_")
        text = f'{option} {name!r} has a "-", which stands between dataset and tool in USID: '
        warnings.warn(f"{text}it becomes {changed!r}", UserWarning, stacklevel=2)
        return changed
    return name


def _can_be_encoded(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _prefix(option: str, told: Any) -> str:
    prefix = _name(option, told)
    return prefix if prefix.endswith("_") else f"{prefix}_"


def _refuse_equal(name: str, *prefixes: str) -> None:
    names = [name, *(f"{prefix}{kind}" for prefix in prefixes for kind in ("Indices", "Values"))]
    if len(set(names)) < len(names):
        what = f"the datasets would be called {', '.join(names)}"
        raise UnwritableError("main_data_name, aux prefixes", what, "Give each its own name")


def _tables(side: SideName, left: dict[str, Any]) -> Mapping[str, Any]:
    pair = {option: left.pop(option, None) for option in _TABLES[side]}
    there = {option: table for option, table in pair.items() if table is not None}
    if len(there) == 1:
        what = f"only {next(iter(there))} is given"
        raise UnwritableError(", ".join(pair), what, "Give both tables, or neither")
    return there


def _column_order(told: Any) -> bool:
    if told not in COLUMN_ORDERS:
        what = f"is {printable(told)[:60]!r}"
        raise UnwritableError("column_order", what, f"Use one of {', '.join(COLUMN_ORDERS)}")
    return bool(told == "specification")


def _threads(told: Any) -> int:
    if told is None:
        return min(4, os.cpu_count() or 1)
    if not isinstance(told, int) or told < 1:
        raise UnwritableError("threads", f"is {told!r}", "Give a number from 1 on")
    return told
