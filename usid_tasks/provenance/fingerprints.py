"""The fingerprint of a Main dataset: what it and its four tables hold, whatever else is in a file.

Results that are added to a file, other chunks and other filters do not change it; any value,
index, label, unit or type does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3

from usid_tasks.mains import Main
from usid_tasks.model import JSON
from usid_tasks.provenance.cells import dataset_digest
from usid_tasks.records import Ancillary, Candidate, Dataset

ALGORITHM = "blake3-main"


@dataclass(frozen=True)
class Part:
    """One dataset of a fingerprint: digest of its values, shape, and type as stored.

    ``labels`` and ``units`` are those of a table as the file spells them, None where it has none.
    """

    digest: str
    shape: tuple[int, ...]
    dtype: JSON
    labels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the part as a JSON object."""
        told: dict[str, JSON] = {
            "digest": self.digest,
            "shape": list(self.shape),
            "dtype": self.dtype,
        }
        texts = {"labels": self.labels, "units": self.units}
        return {**told, **{name: list(of) for name, of in texts.items() if of is not None}}

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Part:
        """Return the part that :meth:`to_json` wrote."""
        texts = {name: tuple(map(str, told[name])) for name in ("labels", "units") if name in told}
        shape = tuple(map(int, told["shape"]))
        return cls(str(told["digest"]), shape, told["dtype"], **texts)


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a Main dataset; ``tables`` is by the attribute that refers to each."""

    main: Part
    tables: Mapping[str, Part]
    quantity: str
    units: str

    @cached_property
    def digest(self) -> str:
        """All of it in one, ``blake3-main:hex``."""
        text = json.dumps(self._parts(), sort_keys=True, separators=(",", ":"))
        return f"{ALGORITHM}:{blake3(text.encode()).hexdigest()}"

    def _parts(self) -> dict[str, JSON]:
        return {
            "main": self.main.to_json(),
            "tables": {name: part.to_json() for name, part in self.tables.items()},
            "quantity": self.quantity,
            "units": self.units,
        }

    def to_json(self) -> dict[str, JSON]:
        """Return the fingerprint as a JSON object."""
        return {"digest": self.digest, **self._parts()}

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Fingerprint:
        """Return the fingerprint that :meth:`to_json` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or is not what it should be, or the digest is that of another.
        """
        found = cls(
            Part.from_json(told["main"]),
            {name: Part.from_json(part) for name, part in told["tables"].items()},
            str(told["quantity"]),
            str(told["units"]),
        )
        if told["digest"] != found.digest:
            raise ValueError(f"a fingerprint of digest {found.digest} says {told['digest']}")
        return found

    def differences(self, found: Fingerprint) -> tuple[str, ...]:
        """Return what is different in another fingerprint, in words; nothing where they agree."""
        told = _differences("Main dataset", self.main, found.main)
        for name in dict.fromkeys([*self.tables, *found.tables]):
            one, other = self.tables.get(name), found.tables.get(name)
            if one is None or other is None:
                told.append(f"{name} {'is gone' if other is None else 'is new'}")
            else:
                told += _differences(name, one, other)
        for what, one_text, other_text in (
            ("quantity", self.quantity, found.quantity),
            ("units", self.units, found.units),
        ):
            if one_text != other_text:
                told.append(f"{what} of the Main dataset: {one_text!r}, now {other_text!r}")
        return tuple(told)


def _differences(name: str, recorded: Part, found: Part) -> list[str]:
    told = []
    for what in ("shape", "dtype", "labels", "units"):
        one, other = getattr(recorded, what), getattr(found, what)
        if one != other:
            told.append(f"{what} of {name}: {_said(one)}, now {_said(other)}")
    is_comparable = (recorded.shape, recorded.dtype) == (found.shape, found.dtype)
    if recorded.digest != found.digest and is_comparable:
        told.append(f"values of {name}")
    return told


def _said(value: JSON) -> str:
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def fingerprint(main: Main | Candidate, *, threads: int | None = None) -> Fingerprint:
    """Return the fingerprint of a Main dataset, reading it and its tables once.

    Parameters
    ----------
    main
        A Main dataset, or one that is meant as such.
    threads
        Those of :func:`usid_tasks.provenance.cells.dataset_digest`, which see for the memory.

    Raises
    ------
    UnreadableDataError
        If HDF5 cannot read one of the datasets.
    OSError
        If the file is not there.
    """
    candidate = main.candidate if isinstance(main, Main) else main
    seen: dict[str, str] = {}

    def digest(dataset: Dataset) -> str:
        if dataset.path not in seen:
            seen[dataset.path] = dataset_digest(candidate.file, dataset, threads=threads)
        return seen[dataset.path]

    def table(ancillary: Ancillary) -> Part:
        dataset = ancillary.dataset
        return Part(
            digest(dataset), dataset.shape or (), _plain(dataset.type),
            ancillary.labels.values, ancillary.units.values,
        )  # fmt: skip

    dataset = candidate.dataset
    return Fingerprint(
        Part(digest(dataset), dataset.shape or (), _plain(dataset.type)),
        {name: table(ancillary) for name, ancillary in candidate.ancillaries.items()},
        "".join(candidate.quantity.values or ()),
        "".join(candidate.units.values or ()),
    )


def _plain(told: JSON) -> JSON:
    """Return a type as it comes back from JSON, so that both compare."""
    return json.loads(json.dumps(told))
