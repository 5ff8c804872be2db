"""Records as one W3C PROV-JSON document: entities, activities, agents and what relates them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from blake3 import blake3

from usid_tasks.model import JSON
from usid_tasks.provenance.records import Record, ResultDataset, SourceLink

NAMESPACE = "urn:usid-flows:"
PREFIXES = {"usid": NAMESPACE}

Document = dict[str, dict[str, JSON]]


def to_prov_json(records: Record | Iterable[Record]) -> Document:
    """Return a PROV-JSON document (W3C Member Submission 24 April 2013) of one run, or of several.

    A dataset is one entity in all runs that made or used it, known by its fingerprint, so that
    the runs of a chain are joined.
    """
    document: defaultdict[str, dict[str, JSON]] = defaultdict(dict)
    document["prefix"] = dict(PREFIXES)
    several = [records] if isinstance(records, Record) else records
    for record in {record.to_text(): record for record in several}.values():
        _add(document, record)
    return dict(document)


def _add(document: dict[str, dict[str, JSON]], record: Record) -> None:
    activity, agent = _name("run", record.to_text()), _agent(record)
    environment = record.environment
    document["activity"][activity] = {
        "prov:startTime": record.started,
        "prov:endTime": record.ended,
        "prov:label": f"{record.tool} {record.version}",
        "prov:type": _qualified("usid:Run"),
        "usid:tool": record.tool,
        "usid:tool_version": record.version,
        "usid:algorithm": record.algorithm,
        "usid:parameters": json.dumps(record.to_json()["parameters"], sort_keys=True),
        "usid:machine": environment.machine,
        "usid:platform": environment.platform,
        "usid:versions": json.dumps(dict(environment.versions), sort_keys=True),
        "usid:configuration_digest": record.configuration_digest,
        **({"usid:flow_run_id": environment.flow_run_id} if environment.flow_run_id else {}),
    }
    document["agent"][agent] = {
        "prov:type": _qualified("prov:SoftwareAgent"),
        "prov:label": f"usid-flows {environment.code_version}",
        "usid:code_version": environment.code_version,
    }
    _relate(document, "wasAssociatedWith", {"prov:activity": activity, "prov:agent": agent})
    sources = {_source_name(source): source for source in record.sources}
    for name, source in sources.items():
        described = {
            "prov:label": source.dataset,
            "prov:type": _qualified("usid:MainDataset"),
            "usid:dataset": source.dataset,
            "usid:fingerprint": source.fingerprint.digest,
            **({"usid:file": source.file} if source.file else {}),
            **({"usid:file_digest": source.file_digest} if source.file_digest else {}),
        }
        known = document["entity"].setdefault(name, {})
        known |= {key: value for key, value in described.items() if key not in known}
        _relate(document, "used", {"prov:activity": activity, "prov:entity": name})
    for dataset in record.datasets:
        name = _result_name(record, dataset)
        kind = "usid:MainDataset" if dataset.fingerprint else "usid:Dataset"
        path = _path(record, dataset)
        document["entity"].setdefault(name, {}).update(
            {
                "prov:label": path,
                "prov:type": _qualified(kind),
                "usid:dataset": path,
                "usid:digest": dataset.digest,
                **({"usid:fingerprint": dataset.fingerprint} if dataset.fingerprint else {}),
            }
        )
        made = {"prov:entity": name, "prov:activity": activity, "prov:time": record.ended}
        _relate(document, "wasGeneratedBy", made)
        for source_name in sources:
            derived = {"prov:generatedEntity": name, "prov:usedEntity": source_name}
            _relate(document, "wasDerivedFrom", {**derived, "prov:activity": activity})


def _path(record: Record, dataset: ResultDataset) -> str:
    return f"{record.group.rstrip('/')}/{dataset.path}"


def _name(kind: str, *told: str) -> str:
    return f"usid:{kind}-{blake3(chr(10).join(told).encode()).hexdigest()[:24]}"


def _source_name(source: SourceLink) -> str:
    return _name("dataset", source.dataset, source.fingerprint.digest)


def _result_name(record: Record, dataset: ResultDataset) -> str:
    return _name("dataset", _path(record, dataset), dataset.fingerprint or dataset.digest)


def _agent(record: Record) -> str:
    return _name("software", record.environment.code_version)


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}


def _relate(document: dict[str, dict[str, JSON]], relation: str, ends: dict[str, str]) -> None:
    of_kind = document[relation]
    of_kind[f"_:{relation}{len(of_kind)}"] = ends
