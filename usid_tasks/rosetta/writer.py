"""Signals to h5USID files: the writer of RosettaSciIO's contract."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usid_tasks.writing.contents import contents_of
from usid_tasks.writing.measurements import write_measurement
from usid_tasks.writing.options import Options
from usid_tasks.writing.replacing import staged

_LEFT_OUT = {"learning_results": "the results of machine learning", "models": "the models"}


def file_writer(
    filename: str | os.PathLike[str], signal: Mapping[str, Any], **options: Any
) -> None:
    """Write a signal to an h5USID file: a new one, or one more Measurement in one that is there.

    The file is made beside, flushed, read back and compared, then renamed: it is there whole, or
    as it was. One that is there is never opened for writing.

    Parameters
    ----------
    filename
        Path of the file.
    signal
        ``data`` (a NumPy or Dask array), ``axes``, ``metadata`` and ``original_metadata``
        (docs/writing.md). Axes that navigate become Position dimensions, others Spectroscopic.
    **options
        Those of pyUSID's ``write_main_dataset`` that the signal does not tell:
        ``main_data_name`` ("Raw_Data"), ``quantity``, ``units``, ``main_dset_attrs``,
        ``aux_pos_prefix``, ``aux_spec_prefix``; ``h5_pos_inds``, ``h5_pos_vals``,
        ``h5_spec_inds`` and ``h5_spec_vals``, tables to be used again. Besides ``replace`` (True
        for a file of this signal alone), ``column_order`` of new tables ("slow to fast", or
        "specification" for the fastest first), and ``threads``. All others go to h5py's
        ``create_dataset``: ``chunks``, ``compression``, ``dtype``.

    Raises
    ------
    UnwritableError
        A ``ValueError``, if an h5USID file cannot hold the signal, or an option means nothing.
    RefusedError
        If there is not the room, or the file may not be written to.
    FileBusyError
        If another program is writing the file.
    NotHDF5Error
        If the file that is there is no HDF5 file.
    VerificationError
        If what is read back is not what was written.
    UsidError, OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        Where the signal has results or models, which are left out; where an axis has another
        size than the array; where a name has to change.
    """
    target = Path(os.path.realpath(filename))
    chosen = Options.of(options)
    former = target if target.exists() and not chosen.is_replacing else None
    contents = contents_of(signal, chosen, former)
    for part, told in _LEFT_OUT.items():
        if _holds_something(signal.get(part)):
            text = f"{target.name}: an h5USID Measurement has no place for {told}, left out"
            warnings.warn(f"{text}: signal[{part!r}]", UserWarning, stacklevel=3)
    with staged(target) as place:
        write_measurement(place, contents)


def _holds_something(told: Any) -> bool:
    """Return True where any entry of a dictionary, or of one within it, is set."""
    if isinstance(told, Mapping):
        return any(_holds_something(part) for part in told.values())
    return told is not None and told is not False
