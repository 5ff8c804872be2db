"""``process``: fits against a loop of SciPy's, svd in little memory, two workers against one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import jobs, sho
from benchmarks.compare import REMEDY
from benchmarks.contest import (
    Bench,
    Contestant,
    Measured,
    Outcome,
    alternate,
    refuse_space,
)
from benchmarks.data import MAIN, recipe_for, write_file
from benchmarks.results import Figures, Ratio, Section, measured_figures
from usid_tasks.errors import VerificationError
from usid_tasks.sizes import format_size

SPECTRUM = (("Bias", 4096),)
MEMORY = 2**30
COMPONENTS = 8
N_FREQUENCIES = 96
_N_ROWS = 32
_CLOSE = 1e-3


def run(bench: Bench, *, n_spectra: int) -> Section:
    """Return what tools took.

    Parameters
    ----------
    bench
        Its size is that of the Main dataset that is decomposed.
    n_spectra
        Spectra of each noise level that are fitted at once; the loop has a part of them.

    Raises
    ------
    RefusedError
        If the disk is too small.
    VerificationError
        If results are not those of what the source was made from.
    UsidError
        If a tool fails.
    """
    refuse_space(bench.folder, 2 * bench.size_bytes)
    bench.tell("sho_fit against least_squares")
    comparisons = sho.run(n_ours=n_spectra, n_loop=max(4, n_spectra // 16))
    head, *rows = sho.table(comparisons)
    figures = [Figures("sho_fit / a loop of scipy.optimize.least_squares", head, rows)]
    ratios = [
        Ratio(f"sho_fit at noise {each.level:g}: loop / sho_fit", each.ratio, 20)
        for each in comparisons
    ]
    for title, measured, found in (_svd(bench), _workers(bench, n_spectra)):
        figures.append(measured_figures(title, list(measured.values())))
        ratios += found
    return Section("process", figures, ratios)


def _svd(bench: Bench) -> tuple[str, dict[str, Measured], list[Ratio]]:
    """Return what the decomposition of a large Main dataset took in little memory."""
    recipe = recipe_for(bench.size_bytes, SPECTRUM, seed=bench.seed)
    source = write_file(bench.folder / "svd.h5", recipe)
    title = f"svd, {format_size(recipe.size_bytes)}, {COMPONENTS} components"
    bench.tell(title)

    def check(outcome: Outcome) -> None:
        """Compare rows of U S with the source's times the vectors, and the vectors' products."""
        with h5py.File(outcome.place.with_suffix(".h5")) as file:
            group = file[outcome.run.report["group"]]
            u, s, v = group["U"], group["S"][:, 0].astype(float), group["V"][()].astype(float)
            rows = np.sort(np.random.default_rng(0).choice(recipe.n_rows, _N_ROWS, replace=False))
            for row in rows.tolist():
                cells = recipe.table(slice(row, row + 1), slice(0, recipe.n_columns)).astype(float)
                _same(cells @ v.T, u[row : row + 1].astype(float) * s, f"row {row} of U")
        _same(v @ v.T, np.eye(len(s)), "the products of vectors")

    params = {"n_components": COMPONENTS, "method": "randomised", "iterations": 2}
    name = f"usid process, {format_size(MEMORY)}"
    contestants = [_does(name, source, check, "svd", params, "threads", 2)]
    try:
        measured = alternate(bench, contestants, sources=[source])
    finally:
        source.unlink()
    peak = measured[name].memory.peak_bytes - (measured[name].after_imports or 0)
    return title, measured, [
        Ratio("svd: peak memory beyond imports / allowed", peak / MEMORY, 1, is_at_least=False)
    ]  # fmt: skip


def _workers(bench: Bench, n_spectra: int) -> tuple[str, dict[str, Measured], list[Ratio]]:
    """Return what fits took on one and two processes."""
    truth = sho.make_truth(64 * n_spectra, 0.05, n_frequencies=N_FREQUENCIES, seed=bench.seed)
    source = write_spectra(bench.folder / "spectra.h5", truth)
    title = f"sho_fit, {len(truth.spectra):,} spectra"
    bench.tell(title)

    def check(outcome: Outcome) -> None:
        with h5py.File(outcome.place.with_suffix(".h5")) as file:
            group = file[outcome.run.report["group"]]
            fit, status = group["Fit"][:, 0], group["Status"][:, 0]
        columns = [*(fit[field] for field in fit.dtype.names[:4]), status]
        found = np.stack([np.asarray(column, float) for column in columns], axis=1)
        error = sho.errors_of(found, truth).frequency
        if not error < 1:
            raise VerificationError(title, f"frequencies off by {error} widths", REMEDY)

    contestants = [
        _does(_on(kind, n), source, check, "sho_fit", {}, kind, n)
        for kind in ("threads", "processes")
        for n in (1, 2)
    ]
    try:
        measured = alternate(bench, contestants, sources=[source])
    finally:
        source.unlink()
    one, two = (measured[_on("processes", n)].work_s for n in (1, 2))
    return title, measured, [Ratio("sho_fit: one worker process / two, work alone", one / two, 1.7)]


def _does(
    name: str,
    source: Path,
    check: Callable[[Outcome], None],
    tool: str,
    params: dict[str, Any],
    scheduler: str,
    workers: int,
) -> Contestant:
    return Contestant(
        name=name,
        command=lambda dest: jobs.command_of(
            jobs.process, source=str(source), dest=str(dest), tool=tool, params=params,
            scheduler=scheduler, workers=workers, memory=str(MEMORY),
        ),
        check=check,
    )  # fmt: skip


def _on(kind: str, n_workers: int) -> str:
    return f"usid process, {n_workers} {kind}"


def _same(found: Any, expected: Any, what: str) -> None:
    scale = np.abs(expected).max()
    if not np.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE * scale):
        raise VerificationError("svd", f"{what} are not those of the source", REMEDY)


def write_spectra(path: Path, truth: sho.Truth) -> Path:
    """Write an h5USID file of complex band-excitation spectra, and return its path."""
    count, n = truth.spectra.shape
    with h5py.File(path, "w") as file:
        group = file.create_group(Path(MAIN).parent.as_posix())
        main = group.create_dataset("Raw_Data", data=truth.spectra)
        main.attrs["quantity"], main.attrs["units"] = "Piezoresponse", "V"
        tables = {
            "Position": (np.arange(count)[:, np.newaxis], np.arange(count)[:, np.newaxis], "X"),
            "Spectroscopic": (
                np.arange(n)[np.newaxis], truth.frequencies[np.newaxis], "Frequency"
            ),
        }  # fmt: skip
        for side, (indices, values, label) in tables.items():
            for kind, table in (("Indices", indices.astype("u4")), ("Values", values)):
                made = group.create_dataset(f"{side}_{kind}", data=table)
                made.attrs["labels"] = [label]
                made.attrs["units"] = ["m" if side == "Position" else "Hz"]
                main.attrs[f"{side}_{kind}"] = made.ref
    return path
