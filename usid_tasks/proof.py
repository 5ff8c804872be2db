"""The receipt of a conversion, filled in from what was converted, by whom and with what."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from usid_tasks.conversion import Converted
from usid_tasks.model import JSON, LAYOUT_VERSION, Finding
from usid_tasks.receipts import ArrayRecord, Receipt, SourceRecord, utc_now


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of what shapes a store, by name."""
    import h5py

    names = ("usid-flows", "h5py", "numpy", "zarr", "xarray")
    told = {name: version(name) for name in names}
    return {**told, "hdf5": h5py.version.hdf5_version, "python": platform.python_version()}


def build_receipt(
    source: SourceRecord,
    converted: Converted,
    *,
    started: str,
    settings_digest: str,
    extra: Mapping[str, JSON],
) -> Receipt:
    """Return the receipt of what became of one source; findings name it by its key."""
    codecs = {path: array.codec for path, array in converted.arrays.items() if array.codec}
    chosen: dict[str, JSON] = {"codecs": codecs} if codecs else {}
    return Receipt(
        source=source,
        outcome=converted.outcome,
        reason=converted.reason,
        started=started,
        finished=utc_now(),
        settings_digest=settings_digest,
        layout_version=LAYOUT_VERSION,
        findings=tuple(_named(finding, source.key) for finding in converted.findings),
        versions=versions(),
        machine=platform.node(),
        arrays={
            path: ArrayRecord(
                digest=array.digest, shape=array.shape, dtype=array.dtype, main=array.main or ""
            )
            for path, array in converted.arrays.items()
        },
        mains=converted.mains,
        extra={**extra, **chosen, "metadata_digest": converted.metadata_digest},
    )


def _named(finding: Finding, name: str) -> Finding:
    return Finding.from_json({**finding.to_json(), "file": name})
