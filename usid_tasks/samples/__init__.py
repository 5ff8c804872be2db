"""Sample sources of every kind that a facility meets, small and always the same.

They are written with plain h5py, and each one tells what becomes of it in an ingest.
"""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from usid_tasks.model import Outcome
from usid_tasks.samples.curves import (
    write_band_excitation,
    write_force_curve,
    write_switching_loops,
)
from usid_tasks.samples.diffraction import write_diffraction_scan
from usid_tasks.samples.faulty import (
    write_instrument_log,
    write_interrupted_copy,
    write_lost_labels,
)
from usid_tasks.samples.scans import write_pfm_domains, write_stopped_scan
from usid_tasks.samples.spectra import (
    write_impedance_sweep,
    write_luminescence_points,
    write_polymer_blend,
)
from usid_tasks.samples.vendor import write_tissue_section


@dataclass(frozen=True)
class Sample:
    """One sample source: its file, what it shows, and what an ingest makes of it."""

    path: Path
    shows: str
    outcome: Outcome


_SAMPLES: tuple[tuple[str, Callable[[Path], None], str, Outcome], ...] = (
    (
        "afm/pfm_domains.h5", write_pfm_domains,
        "three channels of one scan, X fastest, tables shared", Outcome.DONE,
    ),
    (
        "afm/stopped_scan.h5", write_stopped_scan,
        "a raster stopped within a line", Outcome.DONE,
    ),
    (
        "afm/force_curve.h5", write_force_curve,
        "a force curve out and back", Outcome.DONE,
    ),
    (
        "afm/switching_loops.h5", write_switching_loops,
        "bias values that depend on the cycle", Outcome.DONE,
    ),
    (
        "afm/band_excitation.h5", write_band_excitation,
        "complex spectra and a compound results group", Outcome.DONE,
    ),
    (
        "afm/lost_labels.h5", write_lost_labels,
        "one sound and one broken Main dataset", Outcome.PARTIAL,
    ),
    (
        "electrical/impedance_sweep.h5", write_impedance_sweep,
        "frequencies on a falling logarithmic axis", Outcome.DONE,
    ),
    (
        "optics/polymer_blend.h5", write_polymer_blend,
        "an infrared map acquired as a snake raster", Outcome.DONE,
    ),
    (
        "optics/luminescence_points.h5", write_luminescence_points,
        "spectra at scattered points, no grid", Outcome.DONE,
    ),
    (
        "optics/tissue_section.ptir", write_tissue_section,
        "a vendor's dialect, tables shared by measurements", Outcome.DONE,
    ),
    (
        "stem/diffraction_scan.h5", write_diffraction_scan,
        "compressed 4-D data, columns slow to fast", Outcome.DONE,
    ),
    (
        "stem/instrument_log.h5", write_instrument_log,
        "HDF5 that is no USID", Outcome.NOT_USID,
    ),
    (
        "stem/interrupted_copy.h5", write_interrupted_copy,
        "a file cut short by a broken transfer", Outcome.FAILED,
    ),
)  # fmt: skip
"""Path below the folder, what writes it, what it shows, and the outcome expected."""


def write_samples(folder: Path) -> tuple[Sample, ...]:
    """Write all sample sources below a folder and return them.

    A sample that is there already, byte for byte, is left untouched.

    Parameters
    ----------
    folder
        Made where it is missing; other files in it are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as beside:
        for relative, write, shows, outcome in _SAMPLES:
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            written = Path(beside) / path.name
            write(written)
            if not path.is_file() or not filecmp.cmp(written, path, shallow=False):
                written.replace(path)
            samples.append(Sample(path, shows, outcome))
    return tuple(samples)
