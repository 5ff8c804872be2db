"""Pictures of stores: images, spectra and curves with the axes and units that the store tells.

``python -m usid_tasks.pictures STORE[:PATH]... -o OUT.png`` draws every Main dataset of the
stores (or the one at PATH): the first in full (mean image, the image at the step of strongest
contrast, spectra at distinct points), of the others the most telling panel. Cells that were not
measured are hatched, and count in no mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import NoMainDatasetError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_MOST_CURVES = 8
_N_POINTS = 3
_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_SCALED = {"m": "m", "V": "V", "A": "A", "N": "N", "s": "s", "Hz": "Hz", "Ohm": "Ω", "W": "W"}
_SPELLED = {"um": "µm", "1/cm": "cm⁻¹", "cm-1": "cm⁻¹", "1/nm": "nm⁻¹", "deg": "°", "counts": ""}
_WAVENUMBERS = ("1/cm", "cm-1", "cm^-1", "cm⁻¹")
_POINT_COLOURS = ("#d1495b", "#00798c", "#edae49")


@dataclass(frozen=True)
class Choice:
    """One Main dataset of a store: ``path`` is that of its node."""

    store: Path
    path: str


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


def find_mains(store: Path) -> list[Choice]:
    """Return every Main dataset of a store, in order of path."""
    import xarray as xr

    with xr.open_datatree(store, engine="zarr", chunks=None) as tree:
        return [Choice(store, node.path) for node in tree.subtree if "usid_sides" in node.attrs]


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

    @classmethod
    def open(cls, choice: Choice) -> View:
        """Return a Main dataset of a store."""
        import xarray as xr

        group = choice.path.strip("/")
        with xr.open_dataset(choice.store, engine="zarr", group=group, chunks=None) as opened:
            return cls(opened.load(), choice.store.name.removesuffix(".zarr"))

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
    chosen = _distinct(flat, _N_POINTS)
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
    yield _curves(view, rows, labels, [*_POINT_COLOURS[: len(chosen)], "#555555"], "at points")


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


def _colours(cells: NDArray) -> dict[str, Any]:
    """Return colour map and norm: two-sided around zero, or compressed for high contrast."""
    from matplotlib.colors import Normalize, PowerNorm

    low, middle, high = np.nanpercentile(cells, [0.5, 50, 99.5])
    if low < -0.25 * high and high > -0.25 * low:
        edge = max(-low, high)
        return {"cmap": "RdBu_r", "norm": Normalize(-edge, edge)}
    if low >= 0 and high > 15 * middle:
        return {"cmap": "inferno", "norm": PowerNorm(0.4, low, high)}
    return {"cmap": "viridis", "norm": Normalize(low, high)}


def _add_colorbar(shown: Any, axes: Axes, figure: Figure, label: str) -> None:
    """Add a bar as high as the panel itself, whatever its aspect."""
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    bar.set_label(fill(label, 24))


def _extent(axis: NDArray) -> tuple[float, float]:
    half = (axis[-1] - axis[0]) / max(axis.size - 1, 1) / 2
    return float(axis[0] - half), float(axis[-1] + half)


def _draw_image(panel: Image, axes: Axes, figure: Figure) -> None:
    cells = np.ma.masked_invalid(panel.cells.values)
    extent = (*_extent(panel.x.values), *_extent(panel.y.values))
    if np.ma.is_masked(cells):
        axes.set_facecolor("#e8e8e8")
        axes.patch.set(hatch="///", edgecolor="#9a9a9a")
    shown = axes.imshow(
        cells,
        origin="lower",
        extent=extent,
        interpolation="nearest",
        **_colours(panel.cells.values),
    )
    _add_colorbar(shown, axes, figure, panel.cells.label)
    if panel.marks is not None:
        for number, (x, y) in enumerate(zip(panel.marks.x, panel.marks.y, strict=True)):
            axes.plot(
                x, y, "o", markersize=9, markerfacecolor=_POINT_COLOURS[number],
                markeredgecolor="white", markeredgewidth=1.6,
            )  # fmt: skip
    axes.set(xlabel=panel.x.label, ylabel=panel.y.label)


def _draw_points(panel: Points, axes: Axes, figure: Figure) -> None:
    limits = _colours(panel.cells.values)
    shown = axes.scatter(
        panel.x.values, panel.y.values, c=panel.cells.values, s=22, linewidths=0, **limits
    )
    _add_colorbar(shown, axes, figure, panel.cells.label)
    axes.set(xlabel=panel.x.label, ylabel=panel.y.label, aspect="equal")


def _draw_curves(panel: Curves, axes: Axes) -> None:
    for number, (x, y, colour) in enumerate(zip(panel.x, panel.y, panel.colours, strict=True)):
        label = panel.labels[number] if panel.labels else None
        axes.plot(x, y, color=colour, linewidth=1.5, label=label)
    if panel.log[0]:
        axes.set_xscale("log")
    if panel.log[1]:
        axes.set_yscale("log")
    if panel.is_reversed:
        axes.set_xlim(max(x.max() for x in panel.x), min(x.min() for x in panel.x))
    if panel.labels:
        axes.legend(frameon=False, fontsize=9, handlelength=1.2, labelspacing=0.25)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    axes.margins(x=0.02)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw(choices: Sequence[Choice], out: Path) -> Path:
    """Write the picture of some Main datasets, and return its path.

    Parameters
    ----------
    choices
        At least one; the first is drawn in full.
    out
        A PNG file, replaced where there is one.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    first, *others = choices
    hero = list(in_full(View.open(first)))
    rest = [most_telling(View.open(choice)) for choice in others]
    n_rows = 1 + -(-len(rest) // _COLUMNS)
    with rc_context({"font.size": 11, "axes.titlesize": 11.5, "hatch.linewidth": 0.6}):
        figure = Figure(figsize=(17, 3.5 * n_rows), dpi=90, layout="constrained")
        grid = figure.add_gridspec(n_rows, _COLUMNS)
        cells = [(0, slice(number, number + 1)) for number in range(len(hero) - 1)]
        cells.append((0, slice(len(hero) - 1, _COLUMNS)))
        for number in range(len(rest)):
            row, column = divmod(number, _COLUMNS)
            cells.append((row + 1, slice(column, column + 1)))
        for panel, (row, columns) in zip([*hero, *rest], cells, strict=True):
            axes = figure.add_subplot(grid[row, columns])
            if isinstance(panel, Image):
                _draw_image(panel, axes, figure)
            elif isinstance(panel, Points):
                _draw_points(panel, axes, figure)
            else:
                _draw_curves(panel, axes)
            axes.set_title(panel.origin, loc="left", weight="bold", pad=21)
            axes.annotate(
                panel.title, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points"
            )
        _save(figure, out)
    return out


def _save(figure: Figure, out: Path) -> None:
    """Write a PNG of 256 colours: a third of the bytes, and hardly a visible difference."""
    from PIL import Image as Picture

    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    with Picture.open(drawn) as picture:
        full = picture.convert("RGB")
    palette = full.quantize(256, method=Picture.Quantize.MAXCOVERAGE)
    full.quantize(palette=palette, dither=Picture.Dither.FLOYDSTEINBERG).save(out, optimize=True)


def parse_choice(text: str) -> list[Choice]:
    """Return the Main datasets that ``STORE`` or ``STORE:PATH`` names.

    Raises
    ------
    NoMainDatasetError
        If there is none.
    """
    store, _, path = text.partition(":/")
    found = find_mains(Path(store))
    chosen = [one for one in found if not path or one.path == f"/{path}"]
    if not chosen:
        raise NoMainDatasetError(
            text,
            f"no such Main dataset; there are {', '.join(one.path for one in found) or 'none'}",
            "Name a store, or one of these after it: STORE:PATH.",
        )
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m usid_tasks.pictures", description=__doc__)
    parser.add_argument("store", nargs="+", metavar="STORE[:PATH]")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png")
    asked = parser.parse_args(arguments)
    try:
        draw([choice for text in asked.store for choice in parse_choice(text)], asked.out)
    except (NoMainDatasetError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
