"""What a picture shows of a Main dataset: maps, scattered points and curves, ready to be drawn.

Values stand in a power of a thousand of their unit, cells that were not measured are NaN and
count in no mean, and an axis that depends on several dimensions is taken from its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

_MOST_CURVES = 8
POINT_COLOURS = ("#d1495b", "#00798c", "#edae49")
_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_SCALED = {"m": "m", "V": "V", "A": "A", "N": "N", "s": "s", "Hz": "Hz", "Ohm": "Ω", "W": "W"}
_SPELLED = {"um": "µm", "1/cm": "cm⁻¹", "cm-1": "cm⁻¹", "1/nm": "nm⁻¹", "deg": "°", "counts": ""}
_WAVENUMBERS = ("1/cm", "cm-1", "cm^-1", "cm⁻¹")


@dataclass(frozen=True)
class Scale:
    """Values to draw with their label: name, and unit with a prefix that suits the values."""

    values: NDArray
    label: str

    @classmethod
    def of(cls, values: NDArray, name: str, units: str, *, is_log: bool = False) -> Scale:
        """Return values in the power of a thousand of their unit in which they are readable."""
        factor, shown = 1.0, _SPELLED.get(units, units)
        finite = np.abs(values[np.isfinite(values)])
        if is_log:
            shown = _SCALED.get(units, shown)
        elif units in _SCALED and finite.size and finite.max() > 0:
            power = int(np.clip(3 * np.floor(np.log10(finite.max() * 0.999) / 3), -12, 9))
            factor, shown = 10.0**-power, _PREFIXES[power] + _SCALED[units]
        return cls(values * factor, f"{name} ({shown})" if shown else name)


@dataclass(frozen=True)
class Marks:
    """Points shown in an image, each with the colour of its spectrum."""

    x: NDArray
    y: NDArray


@dataclass(frozen=True)
class Image:
    """A map: ``cells`` is ``(n_y, n_x)`` with NaN where nothing was measured."""

    x: Scale
    y: Scale
    cells: Scale
    title: str
    origin: str
    marks: Marks | None = None


@dataclass(frozen=True)
class Points:
    """Scattered positions, each with one value."""

    x: Scale
    y: Scale
    cells: Scale
    title: str
    origin: str


@dataclass(frozen=True)
class Curves:
    """Lines over one axis; ``labels`` is empty where there is a single one."""

    x: tuple[NDArray, ...]
    y: tuple[NDArray, ...]
    x_label: str
    y_label: str
    labels: tuple[str, ...]
    colours: tuple[Any, ...]
    title: str
    origin: str
    log: tuple[bool, bool] = (False, False)
    is_reversed: bool = False


Panel = Image | Points | Curves


class View:
    """One Main dataset in memory: complex numbers as their modulus, missing cells as NaN.

    Parameters
    ----------
    dataset
        Its node, of a store or of the engine ``usid``, opened with xarray's defaults.
    origin
        The file that it comes from.
    """

    def __init__(self, dataset: xr.Dataset, origin: str) -> None:
        self.dataset = dataset
        names = [name for name, one in dataset.items() if one.attrs.get("usid_role") == "main"]
        array = dataset[names[0]]
        self.quantity = str(names[0] if len(names) > 1 else array.attrs["long_name"])
        units = array.attrs.get("units", array.attrs.get("usid_units", ""))
        self.units = "" if len(names) > 1 else str(units)
        self.origin = origin
        modulus = abs(array) if array.dtype.kind == "c" else array
        cells = modulus.astype("f8")
        self.cells = cells.where(dataset["valid"]) if "valid" in dataset else cells
        self.positions = self._dims("position")
        self.spectral = self._dims("spectroscopic")

    def _dims(self, side: str) -> list[str]:
        own = {side, *self.dataset.attrs["usid_sides"][side]["dimensions"]}
        return [str(dim) for dim in self.cells.dims if dim in own]

    def axis(self, name: str, *, is_log: bool = False) -> Scale:
        """Return the values of a coordinate, measured ones where it keeps an index only."""
        held = self.coordinate(name)
        units = str(held.attrs.get("units", held.attrs.get("usid_units", "")))
        values = held.values.astype("f8")
        return Scale.of(values, str(held.attrs["long_name"]), units, is_log=is_log)

    def coordinate(self, name: str) -> xr.DataArray:
        """Return the coordinate that holds the Values of a dimension."""
        held: xr.DataArray = self.dataset[name]  # a flat dimension only counts
        for other in self.dataset.coords.values():
            if other.attrs.get("usid_values_of") == name:
                held = other
        return held if "long_name" in held.attrs else held.assign_attrs(long_name=name, units="")

    def scale(self, values: NDArray, *, is_log: bool = False) -> Scale:
        """Return some of the values with quantity and unit."""
        return Scale.of(values, self.quantity, self.units, is_log=is_log)

    @property
    def scattered(self) -> list[str]:
        """Names of the coordinates of positions that fill no grid."""
        return [
            str(name)
            for name, held in self.dataset.coords.items()
            if held.dims == ("position",) and held.attrs.get("usid_role") == "position"
        ]

    def map_of(self, values: xr.DataArray, title: str, marks: Marks | None = None) -> Panel | None:
        """Return the panel of one value for each position, None where these are no plane."""
        if self.positions == ["position"] and len(self.scattered) == 2:
            x, y = sorted(self.scattered)
            cells = self.scale(values.values)
            return Points(self.axis(x), self.axis(y), cells, title, self.origin)
        if len(self.positions) != 2:
            return None
        y, x = self.positions
        cells = self.scale(values.transpose(y, x).values)
        return Image(self.axis(x), self.axis(y), cells, title, self.origin, marks)


def _distinct(spectra: NDArray, count: int) -> list[int]:
    """Return rows as unlike in shape as can be: the farthest from the mean, and so on."""
    known = np.flatnonzero(np.all(np.isfinite(spectra), axis=1))
    rows = spectra[known]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    distance = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    chosen = [int(np.argmax(distance))]
    distance = np.full(len(rows), np.inf)
    while len(chosen) < min(count, len(rows)):
        distance = np.minimum(distance, np.linalg.norm(rows - rows[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return [int(known[row]) for row in chosen]


def _curves(
    view: View, rows: NDArray, labels: Sequence[str], colours: Sequence[Any], title: str
) -> Curves:
    """Return the panel of ``(n_curves, n)`` values over the fastest spectroscopic dimension."""
    name = view.spectral[-1]
    held = view.coordinate(name)
    log_x = held.attrs.get("usid_axis") == "monotonic" and _is_wide(held.values)
    log_y = log_x and _is_wide(rows)
    x, y = view.axis(name, is_log=log_x), view.scale(rows, is_log=log_y)
    xs, ys = list(np.broadcast_to(x.values, rows.shape)), list(y.values)
    if len(rows) == 1:
        turns = _turns(xs[0])
        if 0 < len(turns) < _MOST_CURVES:
            xs, ys = np.split(xs[0], turns), np.split(ys[0], turns)
            labels = [f"sweep {number}" for number in range(1, len(xs) + 1)]
            colours = _ramp(len(xs))
    is_reversed = held.attrs.get("units") in _WAVENUMBERS
    return Curves(
        tuple(xs), tuple(ys), x.label, y.label, tuple(labels), tuple(colours), title, view.origin,
        (log_x, log_y), is_reversed,
    )  # fmt: skip


def _is_wide(values: NDArray) -> bool:
    """Return True for positive values over so many decades that only a logarithm shows them."""
    return bool(values.min() > 0 and values.max() / values.min() > 100)


def _turns(values: NDArray) -> NDArray[np.intp]:
    """Return where values that run out and back begin to run the other way."""
    ways = np.sign(np.diff(values))
    moving = np.flatnonzero(ways)
    changes = np.flatnonzero(np.diff(ways[moving]))
    return moving[changes + 1]


def _ramp(count: int) -> list[Any]:
    from matplotlib import colormaps

    return list(colormaps["plasma"](np.linspace(0.05, 0.85, count)))


def _labels(view: View, dim: str) -> list[str]:
    """Return a label for each index along a dimension: its value with its unit."""
    held = view.coordinate(dim)
    units = _SPELLED.get(str(held.attrs.get("units", "")), str(held.attrs.get("units", "")))
    name = "" if units else f"{held.attrs['long_name']} "
    return [f"{name}{value:g} {units}".strip() for value in held.values]


def spectral_panel(view: View) -> Panel | None:
    """Return curves or a pattern: what the positions have in common, or each of a few."""
    dims = view.spectral
    if not dims:
        return None
    if len(dims) == 2 and min(view.cells.sizes[dim] for dim in dims) > _MOST_CURVES:
        mean = view.cells.mean(view.positions)
        y, x = dims
        cells = view.scale(mean.transpose(y, x).values)
        return Image(view.axis(x), view.axis(y), cells, "mean over positions", view.origin)
    each = [dim for dim in (*view.positions, *dims[:-1]) if view.cells.sizes[dim] <= _MOST_CURVES]
    kept = each[-1:]
    mean = view.cells.mean([dim for dim in view.cells.dims if dim not in (*kept, dims[-1])])
    rows = np.atleast_2d(mean.transpose(*kept, dims[-1]).values)
    labels = _labels(view, kept[0]) if kept else []
    title = "mean over positions" if set(view.positions) - set(kept) else "as measured"
    return _curves(view, rows, labels, _ramp(len(rows)), title)


def in_full(view: View) -> Iterator[Panel]:
    """Yield mean image, image of strongest contrast and spectra of a spectral map."""
    if len(view.spectral) != 1 or view.map_of(view.cells[..., 0], "") is None:
        yield most_telling(view)
        return
    dim = view.spectral[0]
    flat = view.cells.transpose(*view.positions, dim).values.reshape(-1, view.cells.sizes[dim])
    chosen = _distinct(flat, len(POINT_COLOURS))
    places = np.unravel_index(chosen, [view.cells.sizes[name] for name in view.positions])
    marks = None
    if len(view.positions) == 2:
        y, x = (view.axis(name).values for name in view.positions)
        marks = Marks(x[places[1]], y[places[0]])
    strongest = int(np.nanargmax(np.nanstd(flat, axis=0)))
    at = _labels(view, dim)[strongest]
    for values, title in (
        (view.cells.mean(dim), "mean over the spectrum"),
        (view.cells.isel({dim: strongest}), f"at {at}"),
    ):
        panel = view.map_of(values, title, marks)
        if panel is not None:
            yield panel
    rows = np.vstack([flat[chosen], np.nanmean(flat, axis=0)])
    labels = [*(f"point {number}" for number in range(1, len(chosen) + 1)), "mean"]
    yield _curves(view, rows, labels, [*POINT_COLOURS[: len(chosen)], "#555555"], "at points")


def most_telling(view: View) -> Panel:
    """Return one panel: the mean image of a map, otherwise curves or a mean pattern."""
    several = len(view.spectral) > 1
    mean = view.cells.mean(view.spectral) if view.spectral else view.cells
    image = view.map_of(mean, "mean over the spectrum" if view.spectral else "as measured")
    panel = (spectral_panel(view) or image) if several else (image or spectral_panel(view))
    if panel is not None:
        return panel
    rows = np.atleast_2d(mean.values.reshape(1, -1))
    count, y = np.arange(rows.size, dtype="f8"), view.scale(rows)
    return Curves(
        (count,), tuple(y.values), "position number", y.label, (), ("#444444",), "", view.origin
    )
