"""Pictures of stores: images, spectra and curves with the axes and units that the store tells.

``python -m usid_tasks.pictures STORE[:PATH]... -o OUT.png`` draws every Main dataset of the
stores (or the one at PATH): the first in full (mean image, the image at the step of strongest
contrast, spectra at distinct points), of the others the most telling panel. Cells that were not
measured are hatched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import NoMainDatasetError
from usid_tasks.panels import POINT_COLOURS, Curves, Image, Points, View, in_full, most_telling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


@dataclass(frozen=True)
class Choice:
    """One Main dataset of a store: ``path`` is that of its node."""

    store: Path
    path: str


def find_mains(store: Path) -> list[Choice]:
    """Return every Main dataset of a store, in order of path."""
    import xarray as xr

    with xr.open_datatree(store, engine="zarr", chunks=None) as tree:
        return [Choice(store, node.path) for node in tree.subtree if "usid_sides" in node.attrs]


def open_view(choice: Choice) -> View:
    """Return a Main dataset of a store, loaded."""
    import xarray as xr

    group = choice.path.strip("/")
    with xr.open_dataset(choice.store, engine="zarr", group=group, chunks=None) as opened:
        return View(opened.load(), choice.store.name.removesuffix(".zarr"))


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
                x, y, "o", markersize=9, markerfacecolor=POINT_COLOURS[number],
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
    hero = list(in_full(open_view(first)))
    rest = [most_telling(open_view(choice)) for choice in others]
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
