"""The record of one run of a tool: what was computed of what, where, when, and with what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from usid_tasks.model import JSON
from usid_tasks.provenance.environment import Environment
from usid_tasks.provenance.fingerprints import Fingerprint
from usid_tasks.records import Attributes
from usid_tasks.writing.texts import from_text, to_text

ATTRIBUTE = "usid_provenance"
"""Attribute of a results group that holds its record as JSON."""

SCHEMA_VERSION = 1

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True, kw_only=True)
class SourceLink:
    """One source of a run.

    ``file`` is its ``/``-path relative to the folder of the results, empty where both lie in one
    file. ``file_digest`` is that of all its bytes (``blake3-tree-4MiB``): it tells an untouched
    file, but only the fingerprint decides.
    """

    file: str
    dataset: str
    fingerprint: Fingerprint
    file_digest: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.file).name


@dataclass(frozen=True, kw_only=True)
class ResultDataset:
    """One dataset of the results: ``path`` is relative to their group.

    ``fingerprint`` is the digest of that of a Main dataset, with its tables and texts; empty for
    any other dataset.
    """

    path: str
    digest: str
    shape: tuple[int, ...]
    dtype: JSON
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What lets anyone repeat a run, and check that it is still that run.

    ``started`` and ``ended`` are UTC, ISO 8601, ending in ``Z``. ``parameters`` are all of them,
    defaults included: None, booleans, numbers, text, and lists and dictionaries of these.
    ``notes`` is what the tool tells beside its results.
    """

    tool: str
    algorithm: str
    version: str
    parameters: Mapping[str, JSON]
    sources: tuple[SourceLink, ...]
    group: str
    datasets: tuple[ResultDataset, ...]
    started: str
    ended: str
    environment: Environment
    configuration_digest: str
    notes: Mapping[str, JSON] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name, text in (("started", self.started), ("ended", self.ended)):
            if not _TIME.fullmatch(text):
                raise ValueError(f"{name} is {text!r}, expected a UTC time ending in Z")

    def to_json(self) -> dict[str, JSON]:
        """Return the record as a JSON object.

        Raises
        ------
        TypeError, ValueError
            If a parameter is of a type that has no text.
        """
        told = {
            name: getattr(self, name)
            for name in (
                "schema_version", "tool", "algorithm", "version", "group", "started", "ended",
                "configuration_digest",
            )
        }  # fmt: skip
        return {
            **told,
            "parameters": json.loads(to_text(dict(self.parameters))),
            "notes": json.loads(to_text(dict(self.notes))),
            "environment": asdict(self.environment),
            "sources": [
                {
                    "file": source.file,
                    "dataset": source.dataset,
                    "file_digest": source.file_digest,
                    "fingerprint": source.fingerprint.to_json(),
                }
                for source in self.sources
            ],
            "datasets": [
                {**asdict(dataset), "shape": list(dataset.shape)} for dataset in self.datasets
            ],
        }

    def to_text(self) -> str:
        """Return the record as strict JSON on one line, ASCII only."""
        return json.dumps(self.to_json(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Record:
        """Return the record that :meth:`to_json` wrote; unknown keys are passed over.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or is not what it should be, or a newer program wrote it.
        """
        number = int(told["schema_version"])
        if number > SCHEMA_VERSION:
            raise ValueError(f"schema version {number}, expected at most {SCHEMA_VERSION}")
        place = told["environment"]
        names = ("tool", "algorithm", "version", "group", "started", "ended")
        return cls(
            **{name: _text(told, name) for name in names},
            configuration_digest=_text(told, "configuration_digest"),
            parameters=from_text(json.dumps(told["parameters"])),
            notes=from_text(json.dumps(told["notes"])),
            environment=Environment(
                versions={str(name): str(one) for name, one in place["versions"].items()},
                **{
                    name: _text(place, name)
                    for name in ("machine", "platform", "code_version", "flow_run_id")
                },
            ),
            sources=tuple(_source(one) for one in told["sources"]),
            datasets=tuple(_dataset(one) for one in told["datasets"]),
            schema_version=number,
        )

    @classmethod
    def from_text(cls, text: str) -> Record:
        """Return the record that :meth:`to_text` wrote; errors are those of :meth:`from_json`."""
        return cls.from_json(json.loads(text))


def stored_record(attributes: Attributes) -> Record | None:
    """Return the record that a group holds, None where it has none.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is damaged, or written by a newer program.
    """
    if ATTRIBUTE not in attributes.records:
        return None
    return Record.from_text(attributes.records[ATTRIBUTE]["value"])


def _text(told: Mapping[str, JSON], name: str) -> str:
    if not isinstance(told[name], str):
        raise TypeError(f"{name} is {told[name]!r}, expected text")
    return str(told[name])


def _source(told: Mapping[str, JSON]) -> SourceLink:
    digest = told["file_digest"]
    return SourceLink(
        file=_text(told, "file"),
        dataset=_text(told, "dataset"),
        fingerprint=Fingerprint.from_json(told["fingerprint"]),
        file_digest=None if digest is None else str(digest),
    )


def _dataset(told: Mapping[str, JSON]) -> ResultDataset:
    return ResultDataset(
        path=_text(told, "path"),
        digest=_text(told, "digest"),
        shape=tuple(map(int, told["shape"])),
        dtype=told["dtype"],
        fingerprint=_text(told, "fingerprint"),
    )
