"""Arrays of a store in chunks that suit the rows of a Main dataset, where its own do not.

A store of whole images lends no rows without decoding all of it. Where that would have to be done
again and again, its arrays are rechunked first, beside the file that is being made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from usid_tasks.back.boxes import Values
from usid_tasks.back.means import Means
from usid_tasks.back.placing import MainValues
from usid_tasks.documents import write_document
from usid_tasks.errors import VerificationError
from usid_tasks.intents import parse_intent
from usid_tasks.journal import Journal
from usid_tasks.rechunk_plan import plan_rechunk
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.shards import ShardedArray, open_array, rechunked_document
from usid_tasks.staged import Making, StagedArrays
from usid_tasks.stages import MIB
from usid_tasks.workers import Part, StoreReader, Threads

_REPEATS = 3.0
"""Chunks are decoded as often as this, on average, before an array is rechunked."""

_CHUNK_BYTES, _SHARD_BYTES = MIB, 64 * MIB


@contextmanager
def suited(
    store: SourceStore, values: Values, box: tuple[int, ...], folder: Path, means: Means
) -> Iterator[Values]:
    """Give values that can be read in boxes without decoding most chunks several times.

    Parameters
    ----------
    store
        Which the values come from.
    values
        As they are; only those of Main datasets are ever rechunked.
    box
        Shape of the boxes.
    folder
        Where rechunked arrays lie meanwhile; not there.
    means
        What may be used.

    Raises
    ------
    RefusedError
        If the memory does not suffice to rechunk.
    VerificationError
        If the values of the store are not those of its receipt.
    """
    if not isinstance(values, MainValues):
        yield values
        return
    rows, columns = values.repeats(box)
    if rows * columns <= _REPEATS:
        yield values
        return
    intent = "spectra" if rows >= columns else "images"
    try:
        components = tuple(
            (field, _rechunked(store, array, intent, folder / str(number), means))
            for number, (field, array) in enumerate(values.components)
        )
        yield replace(values, components=components)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rechunked(
    store: SourceStore, array: ShardedArray, intent: str, folder: Path, means: Means
) -> ShardedArray:
    """Return an array with the same values in chunks that an intent is served by."""
    place = array.folder.relative_to(store.folder).as_posix()
    (subject,) = (each for each in store.subjects() if each.path.strip("/") == place)
    plan = plan_rechunk(
        [subject],
        parse_intent(intent),
        memory_bytes=means.memory_bytes,
        workers=means.workers,
        chunk_bytes=min(_CHUNK_BYTES, means.memory_bytes // means.workers // 64),
        shard_bytes=_SHARD_BYTES,
    )
    (planned,) = plan.arrays
    if planned.is_copied:
        return array
    document = rechunked_document(
        store.documents[place], planned.target.chunk, planned.target.shard
    )
    write_document(folder, document)
    made = open_array(folder, document)
    making = Making(
        Journal(folder / "journal"), Threads(), means.workers, is_verified=False, check=means.check
    )
    _, (digest,) = StagedArrays(
        0, planned.stages, planned.last, StoreReader((array,)), (made,), (Part(array.dtype),)
    ).make(making)
    expected = store.receipt.arrays[subject.path].digest
    if digest != expected:
        raise VerificationError(
            array.folder,
            f"its values have the digest {digest}, expected {expected} by the receipt",
            "See `usid verify`; convert the source again.",
        )
    return made
