"""All that a new Measurement will hold, decided before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usid_tasks.grid import Placement, in_order
from usid_tasks.model import SideName
from usid_tasks.printable import printable
from usid_tasks.rosetta.metadata import split_units
from usid_tasks.writing.cells import Cells, refuse_other_arrays
from usid_tasks.writing.dimensions import Dimension, Dimensions, dimensions_of
from usid_tasks.writing.given import Given, read_given
from usid_tasks.writing.metadata import Attributes, flattened, is_plain
from usid_tasks.writing.options import SIDES, Options
from usid_tasks.writing.refusals import UnwritableError
from usid_tasks.writing.tables import Tables
from usid_tasks.writing.trial import is_raw

UNKNOWN = ("Unknown Quantity", "Unknown Units")
"""What stands where a signal does not tell, as RosettaSciIO writes it: pyUSID wants a text."""


@dataclass(frozen=True)
class Contents:
    """A Main dataset, its tables and its metadata.

    ``is_raw`` tells that its values will lie in the file as they do in memory, one after another.
    """

    cells: Cells
    is_raw: bool
    sides: Mapping[SideName, Tables | Given]
    quantity: str
    units: str
    metadata: Attributes
    main_attributes: Attributes
    options: Options

    @property
    def placements(self) -> tuple[Placement, Placement]:
        """Where the cells of the array lie in the rows, and in the columns, of the table."""
        position, spectroscopic = (self._placement(side) for side in SIDES)
        return position, spectroscopic

    def _placement(self, name: SideName) -> Placement:
        side = self.sides[name]
        if isinstance(side, Given):
            return side.side.grid.placement
        n_position, shape = self.cells.n_position, self.cells.shape
        return in_order(shape[:n_position] if name == "position" else shape[n_position:])

    @property
    def is_in_order(self) -> bool:
        """True where the table has the cells in the order of the array."""
        return all(placement.is_in_order for placement in self.placements)

    @property
    def around_bytes(self) -> int:
        """Bytes of all but the values."""
        attributes = (*self.metadata.values(), *self.main_attributes.values())
        return sum(side.size_bytes for side in self.sides.values()) + sum(map(_size, attributes))


def _size(value: Any) -> int:
    texts = value if isinstance(value, tuple) else (value,)
    if isinstance(texts[0] if texts else "", str):
        return sum(len(text.encode("utf-8")) + 16 for text in texts)
    return int(value.nbytes)


def contents_of(signal: Mapping[str, Any], options: Options, target: Path | None) -> Contents:
    """Return what a signal makes of a Measurement.

    Parameters
    ----------
    signal
        ``data``, ``axes``, ``metadata`` and ``original_metadata``.
    options
        What the caller asks for.
    target
        The file that is added to; None where a new one is made.

    Raises
    ------
    UnwritableError
        If it is nothing that an h5USID file can hold.
    FileBusyError, NotHDF5Error, OSError
        If tables in the file cannot be read.

    Warns
    -----
    UserWarning
        Where a uniform axis has another size than the array.
    """
    _refuse_no_signal(signal)
    data, axes = signal["data"], list(signal["axes"])
    refuse_other_arrays(data)
    if not axes and data.size == 1:
        data = data.reshape(())
    dimensions = dimensions_of(axes, data.shape)
    n_position = sum(bool(axis.get("navigate", False)) for axis in axes)
    cells = Cells.of(data, dimensions.order, n_position, options.creation.get("dtype"))
    metadata, original = signal.get("metadata") or {}, signal.get("original_metadata") or {}
    kept = flattened(metadata, original)
    quantity, units = quantity_of(metadata, original, options)
    return Contents(
        cells,
        is_raw(cells, options.creation),
        {name: _side(name, dimensions, options, target) for name in SIDES},
        quantity,
        units,
        kept,
        flattened(options.attributes, where="main_dset_attrs") if options.attributes else {},
        options,
    )


def _refuse_no_signal(signal: Any) -> None:
    is_signal = isinstance(signal, Mapping) and "data" in signal
    axes = signal.get("axes") if is_signal else None
    if isinstance(axes, (list, tuple)) and all(isinstance(axis, Mapping) for axis in axes):
        return
    found = sorted(map(str, signal)) if isinstance(signal, Mapping) else type(signal).__name__
    what = f"is {found}, expected a dictionary with data, and axes that are a list of dictionaries"
    raise UnwritableError("signal", what, "Give what HyperSpy's signal._to_dictionary() returns")


def _side(
    name: SideName, dimensions: Dimensions, options: Options, target: Path | None
) -> Tables | Given:
    wanted = dimensions.position if name == "position" else dimensions.spectroscopic
    if name not in options.tables:
        return Tables.of(wanted, is_fastest_first=options.is_fastest_first)
    given = read_given(name, options.tables[name], target)
    shape = tuple(one.size for one in wanted if one.size != 1)
    if shape != given.side.shape:
        what = f"their points make an array of {given.side.shape}, the signal has {shape}"
        raise UnwritableError(", ".join(options.tables[name]), what, "Give its own tables")
    _refuse_other_labels(given, wanted, dimensions.named, ", ".join(options.tables[name]))
    return given


def _refuse_other_labels(
    given: Given, wanted: tuple[Dimension, ...], named: frozenset[str], where: str
) -> None:
    """Refuse tables whose dimensions have other labels; those without a grid have none."""
    wide = [one for one in wanted if one.size != 1]
    for column, one in zip(given.side.axes, wide, strict=True):
        if column is None or one.label not in named:
            continue
        label = given.side.columns[column].label
        if label != one.label:
            what = f"their dimension {printable(label)!r} is {printable(one.label)!r} in the signal"
            raise UnwritableError(where, what, "Give its own tables, or rename the axis")


def quantity_of(
    metadata: Mapping[str, Any], original_metadata: Mapping[str, Any], options: Options
) -> tuple[str, str]:
    """Return the quantity and the units of a signal.

    Options come first. ``metadata.Signal.quantity`` ends with the units in brackets; where it
    is what ``original_metadata`` makes of its own two, these are taken verbatim. What neither
    tells is :data:`UNKNOWN`.

    Raises
    ------
    UnwritableError
        If HDF5 cannot hold one.
    """
    told = _told(metadata)
    pair = (original_metadata.get("quantity"), original_metadata.get("units"))
    known = tuple(text if isinstance(text, str) else None for text in pair)
    if told and told != _joined(*known):
        known = split_units(told)
    found = []
    for chosen, text, unknown in zip(
        (options.quantity, options.units), known, UNKNOWN, strict=True
    ):
        found.append(next(each for each in (chosen, text, unknown) if each is not None))
    for name, text in zip(("quantity", "units"), found, strict=True):
        if not is_plain(text):
            what = f"{printable(text)[:60]!r} has a NUL, or half a surrogate pair"
            raise UnwritableError(name, what, f"Change it in the metadata, or give {name}=")
    return found[0], found[1]


def _told(metadata: Mapping[str, Any]) -> str:
    signal = metadata.get("Signal")
    text = signal.get("quantity") if isinstance(signal, Mapping) else None
    return text.strip() if isinstance(text, str) else ""


def _joined(quantity: str | None, units: str | None) -> str:
    return " ".join(part for part in (quantity, f"({units})" if units else "") if part)
