"""Files in every order and storage layout, larger than a chunk, for tests of conversions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracle
import xarray as xr
from agreement import assert_agrees
from index_tables import grid, shuffled, sparse, truncated
from usid_files import MAIN, Side, line, write_file

from usid_tasks.settings import Settings, load_settings


def small(**convert: object) -> Settings:
    """Return settings under which small arrays have many chunks, shards and tasks."""
    given = {"chunk": "4 KiB", "shard_max": "32 KiB", "resume_from": "16 KiB", **convert}
    return load_settings(env={}, overrides={"convert": given})


def position(table: np.ndarray, n_columns: int = 2) -> Side:
    """Return a Position side with labels for the columns of a table."""
    labels = ["X", "Y", "Z"][:n_columns]
    return Side(table, labels, ["um"] * n_columns, table * 0.5)


def snake(ny: int, nx: int) -> np.ndarray:
    """Return a raster whose odd lines run backwards."""
    y, x = (axis.ravel() for axis in np.indices((ny, nx)))
    return np.c_[np.where(y % 2, nx - 1 - x, x), y]


def interlaced(ny: int, nx: int) -> np.ndarray:
    """Return a raster of which the even lines come first."""
    lines = [*range(0, ny, 2), *range(1, ny, 2)]
    return np.array([(x, y) for y in lines for x in range(nx)])


NY, NX = 23, 19
ORDERS: dict[str, Callable[[], np.ndarray]] = {
    "C order": lambda: grid({"Y": NY, "X": NX}),
    "slow first": lambda: grid({"Y": NY, "X": NX})[:, ::-1],
    "snake": lambda: snake(NY, NX),
    "interlaced": lambda: interlaced(NY, NX),
    "random": lambda: shuffled(grid({"Y": NY, "X": NX})),
    "aborted": lambda: truncated(grid({"Y": NY, "X": NX}), 5 * NX + 7),
    "sparse": lambda: sparse(97, 2),
}
LAYOUTS: dict[str, dict[str, object]] = {
    "contiguous": {},
    "rows": {"chunks": (1, 61)},
    "columns": {"chunks": (50, 1)},
    "tiles": {"chunks": (7, 11), "compression": "gzip", "filters": {"shuffle": True}},
    "lzf": {"chunks": (7, 61), "compression": "lzf"},
}


def made_file(path: Path, order: str, layout: str, *, n: int = 61, **more: object) -> Path:
    """Write a file of one Main dataset."""
    table = ORDERS[order]()
    chunks = LAYOUTS[layout].get("chunks")
    given = dict(LAYOUTS[layout])
    if chunks:
        given["chunks"] = tuple(min(a, b) for a, b in zip(chunks, (len(table), n), strict=True))
    spectra = line("Bias", np.linspace(-1, 1, n))
    return write_file(path, position(table), spectra, **{"dtype": "f4", **given, **more})


def assert_holds(store: Path, path: Path) -> None:
    """Fail unless a store has every cell and axis that the index tables of its source give."""
    with xr.open_datatree(store, engine="zarr") as tree:
        assert_agrees(tree[MAIN].to_dataset(inherit=False), oracle.rebuild(path, MAIN))
