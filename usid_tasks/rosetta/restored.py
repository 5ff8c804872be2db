"""Signals that our writer stored: their metadata come back as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from usid_tasks.mains import Main
from usid_tasks.printable import printable
from usid_tasks.usid import UsidFile, open_hdf5, open_object
from usid_tasks.writing.metadata import RESERVED, TYPES, restored

_WRITER = "usid-flows "


@dataclass(frozen=True)
class Restored:
    """The metadata of a signal; ``group`` is the HDF5 path of the Measurement that holds them."""

    group: str
    metadata: Mapping[str, Any]
    original_metadata: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Title of the signal, empty where it had none."""
        general = self.metadata.get("General")
        title = general.get("title") if isinstance(general, Mapping) else None
        return title if isinstance(title, str) else ""


def restore(file: UsidFile, main: Main) -> tuple[Restored | None, str]:
    """Return the metadata of the signal that a dataset was written from, None for others.

    The second tells why they could not be restored, empty where they were, or where there are
    none: another program may have changed what our writer stored.
    """
    group = _holder(file, main)
    if group is None:
        return None, ""
    with open_hdf5(file.path) as opened:
        held = open_object(opened, group).attrs
        try:
            return Restored(group, *restored({name: held[name] for name in held})), ""
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            return None, f"the attributes of {printable(group)} are not as they were: {error}"


def _holder(file: UsidFile, main: Main) -> str | None:
    """Return the path of the Measurement with the metadata of a dataset of our writer."""
    told = main.candidate.dataset.attributes.values.get("written_by")
    if not (isinstance(told, str) and told.startswith(_WRITER)):
        return None
    path = main.path
    while path:
        path = path.rpartition("/")[0]
        group = file.record.groups[path or "/"]
        if TYPES in group.attributes.records:
            return group.path
    return None


def is_bookkeeping(name: str) -> bool:
    """Return True for attributes of a written Measurement that are no metadata of the signal."""
    return name in RESERVED and name != TYPES
