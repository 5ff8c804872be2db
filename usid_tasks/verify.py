"""Stores checked against their receipts: nothing missing, no byte changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from usid_tasks.chunks import BlockLimits, block_shape
from usid_tasks.digests import ArrayDigest, tile_shape
from usid_tasks.durable import CONTROL
from usid_tasks.errors import RefusedError, UsidError, VerificationError
from usid_tasks.grid import in_order
from usid_tasks.places import RECEIPT_SUFFIX, STORE_SUFFIX
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.receipts import ArrayRecord, Receipt, read_receipt
from usid_tasks.source import partition
from usid_tasks.stores.zarr import check_shards, metadata_digest


@dataclass(frozen=True, kw_only=True)
class Verified:
    """One store and what is wrong with it (nothing, if ``problems`` is empty)."""

    store: Path
    n_arrays: int
    size_bytes: int
    problems: tuple[str, ...] = ()


def _receipts(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.name.endswith(RECEIPT_SUFFIX):
            yield path
        elif path.name.endswith(STORE_SUFFIX):
            yield path.with_name(path.name.removesuffix(STORE_SUFFIX) + RECEIPT_SUFFIX)
        elif path.is_dir():
            found = (
                receipt
                for receipt in sorted(path.rglob(f"*{RECEIPT_SUFFIX}"))
                if CONTROL not in receipt.relative_to(path).parts
            )
            yield from found
        else:
            raise RefusedError(
                path, "is no store, no receipt and no folder", "Name the DEST of an ingest."
            )


def _check_array(folder: Path, record: ArrayRecord) -> int:
    """Compare one array with its record and return its size in bytes."""
    if not (folder / "zarr.json").is_file():
        raise VerificationError(folder, "the array is missing", "Convert the source again.")
    check_shards(folder)
    array = zarr.open_array(folder, mode="r")
    if tuple(array.shape) != tuple(record.shape):
        raise VerificationError(
            folder, f"shape {array.shape}, expected {record.shape}", "Convert the source again."
        )
    digest = ArrayDigest(array.shape, array.dtype)
    block = block_shape(
        in_order(array.shape),
        in_order(()),
        itemsize=max(array.dtype.itemsize, 1),
        storage_chunks=None,
        limits=BlockLimits(),
        edges=tile_shape(array.shape),
    )
    if math.prod(array.shape):
        for region in partition(array.shape, block):
            cells = np.asarray(array[region], dtype=array.dtype)  # one text comes as a str
            digest.add(cells, tuple(part.start for part in region))
    found = digest.result()
    if found != record.digest:
        raise VerificationError(
            folder,
            f"its values have the digest {found}, expected {record.digest}",
            "Move the store away and convert the source again.",
        )
    return math.prod(array.shape) * array.dtype.itemsize


def _check_metadata(store: Path, receipt: Receipt) -> Iterator[str]:
    """Yield arrays that the receipt does not list, and a change of any attribute or name."""
    known = {path.strip("/") for path in receipt.arrays}
    for document in sorted(store.rglob("zarr.json")):
        path = document.parent.relative_to(store).as_posix()
        is_array = json.loads(document.read_text("utf-8"))["node_type"] == "array"
        if is_array and path not in known:
            yield f"{document.parent}: an array that the receipt does not list"
    expected = receipt.extra.get("metadata_digest")
    found = metadata_digest(store)
    if found != expected:
        yield f"{store}: its metadata has the digest {found}, expected {expected}"


def verify_paths(paths: Iterable[Path], *, progress: Progress | None = None) -> Iterator[Verified]:
    """Yield every store below the paths, compared with its receipt down to the last byte.

    Parameters
    ----------
    paths
        Roots of stores (the DEST of an ingest), stores or receipts.
    progress
        Told of every store.

    Raises
    ------
    RefusedError
        If a path is none of these.
    """
    progress = progress or NullProgress()
    progress.begin("verifying", files=0, size_bytes=0)
    for place in _receipts(paths):
        store = place.with_name(place.name.removesuffix(RECEIPT_SUFFIX) + STORE_SUFFIX)
        try:
            receipt = read_receipt(place)
        except UsidError as error:
            yield Verified(store=store, n_arrays=0, size_bytes=0, problems=(str(error),))
            continue
        if receipt is None:
            problem = f"{place}: no receipt: what lies there was never published"
            yield Verified(store=store, n_arrays=0, size_bytes=0, problems=(problem,))
            continue
        if not receipt.has_store:
            continue
        problems, size = [], 0
        for path, record in receipt.arrays.items():
            try:
                size += _check_array(store.joinpath(*path.strip("/").split("/")), record)
            except (UsidError, OSError, ValueError, RuntimeError) as error:
                problems.append(str(error))
        problems += _check_metadata(store, receipt)
        progress.advance(files=1, size_bytes=size)
        yield Verified(
            store=store,
            n_arrays=len(receipt.arrays),
            size_bytes=size,
            problems=tuple(problems),
        )
