"""Published Zarr stores as one of the formats: a store and its receipt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from usid_tasks import convert
from usid_tasks.errors import NoMainDatasetError
from usid_tasks.model import Outcome, Severity
from usid_tasks.progress import Progress
from usid_tasks.receipts import read_receipt
from usid_tasks.settings import Settings
from usid_tasks.stores.registry import Written


def write(
    source: Path,
    dest: Path,
    *,
    datasets: Sequence[str],
    settings: Settings,
    overwrite: bool,
    progress: Progress,
) -> Written:
    """Make a store of an h5USID file; see :class:`usid_tasks.stores.registry.Store`.

    Raises
    ------
    NoMainDatasetError
        If no Main dataset is sound, too.
    """
    made = convert.convert_file(
        source, dest, dataset=datasets, overwrite=overwrite, settings=settings, progress=progress
    )
    if not made.arrays:
        raise NoMainDatasetError(source, made.reason, "See `usid validate`.")
    receipt = read_receipt(made.receipt)
    assert receipt is not None, "it was published"
    files = (path for path in made.store.rglob("*") if path.is_file())
    errors = [one for one in made.findings if one.severity is Severity.ERROR]
    return Written(
        format="zarr",
        source=source,
        source_kind="file",
        path=made.store,
        size_bytes=sum(path.stat().st_size for path in files),
        datasets=tuple(main.path for main in receipt.mains if main.outcome is Outcome.DONE),
        verified=f"{len(made.arrays)} arrays, every block and digest",
        told=tuple(f"{one.path}: {one.found}" for one in errors),
    )
