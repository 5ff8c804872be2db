"""Exceptions for a bad program or machine: where, what, and what to do next.

Bad *data* is never an exception but a :class:`usid_tasks.model.Finding`.
"""

from __future__ import annotations


class UsidError(Exception):
    """A failure told in three parts.

    Parameters
    ----------
    where
        File, HDF5 path, setting or host.
    what
        What was found and what was expected, with units.
    remedy
        The next step for whoever reads it: a command or a setting.
    """

    def __init__(self, where: object, what: str, remedy: str) -> None:
        super().__init__(where, what, remedy)
        self.where = str(where)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"


class NotHDF5Error(UsidError):
    """The file is no HDF5 file, or HDF5 cannot open it (truncated, damaged)."""


class FileBusyError(UsidError):
    """The file is locked by a program that is writing it."""


class NoMainDatasetError(UsidError):
    """The path holds no sound Main dataset, or not the one asked for."""


class SettingsError(UsidError):
    """A configuration key or value that is not understood."""


class RefusedError(UsidError):
    """A request refused before anything was read or written."""


class ClaimedError(UsidError):
    """Another process holds the claim on this source."""


class UnreadableDataError(UsidError):
    """HDF5 cannot read or decode values of the dataset at ``dataset`` (an HDF5 path)."""

    def __init__(self, where: object, what: str, remedy: str, dataset: str) -> None:
        super().__init__(where, what, remedy)
        self.args = (where, what, remedy, dataset)  # what it is made of anew in another process
        self.dataset = dataset


class VerificationError(UsidError):
    """What was written does not read back as what was read."""
