"""The store that is rechunked: its receipt, its documents, and what a plan has to know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.model import JSON
from usid_tasks.places import STORE_SUFFIX, receipt_path
from usid_tasks.plans import Plan, Subject
from usid_tasks.receipts import Receipt, read_receipt
from usid_tasks.shards import ShardedArray, open_array, rechunked_document
from usid_tasks.stages import Layout
from usid_tasks.stores.zarr import metadata_digest

_ROLES = ("main", "valid", "position", "spectroscopic")


@dataclass(frozen=True)
class SourceStore:
    """A published store: ``documents`` are its ``zarr.json`` by path, ``""`` the root's."""

    folder: Path
    receipt: Receipt
    metadata_digest: str
    documents: Mapping[str, JSON]

    def subjects(self) -> list[Subject]:
        """Return what a plan has to know of every array.

        Raises
        ------
        RefusedError
            If an array is stored in a way that usid does not write.
        """
        return [self._subject(path) for path in self.receipt.arrays]

    def folder_of(self, path: str) -> Path:
        """Return the folder of an array."""
        return self.folder.joinpath(*path.strip("/").split("/"))

    def array(self, path: str) -> ShardedArray:
        """Return an array of the store."""
        return open_array(self.folder_of(path), self.documents[path.strip("/")])

    def is_text(self, path: str) -> bool:
        """Return whether an array holds text of variable length."""
        return bool(self.documents[path.strip("/")]["data_type"] == "string")

    def rechunked(self, plan: Plan) -> dict[str, JSON]:
        """Return the documents of the planned store: the same but for chunks and shards."""
        documents = dict(self.documents)
        for array in plan.arrays:
            path, target = array.subject.path.strip("/"), array.target
            if not array.is_copied:
                documents[path] = rechunked_document(documents[path], target.chunk, target.shard)
        consolidated = documents[""].get("consolidated_metadata")
        if consolidated:
            members = {path: documents[path] for path in consolidated["metadata"]}
            documents[""] = {
                **documents[""],
                "consolidated_metadata": {**consolidated, "metadata": members},
            }
        return documents

    def _subject(self, path: str) -> Subject:
        document = self.documents[path.strip("/")]
        folder = self.folder_of(path)
        shape = tuple(document["shape"])
        dims = tuple(document.get("dimension_names") or ("",) * len(shape))
        stored = sum(file.stat().st_size for file in folder.glob("c/**/*") if file.is_file())
        stored += (folder / "c").stat().st_size if (folder / "c").is_file() else 0
        if self.is_text(path):
            chunk = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
            return Subject(path, shape, "string", 0, dims, None, Layout(chunk, chunk), stored)
        array = open_array(folder, document)
        node = self.documents[path.strip("/").rpartition("/")[0]]
        role = document["attributes"].get("usid_role")
        sides = node["attributes"].get("usid_sides")
        is_position = None
        if role in _ROLES and sides:
            positions = {*sides["position"]["dimensions"], "position"}
            is_position = tuple(dim in positions for dim in dims)
        return Subject(
            path,
            shape,
            array.dtype.name,
            array.dtype.itemsize,
            dims,
            is_position,
            Layout(array.chunk, array.shard),
            stored,
            array.codec,
        )


def key_of(store: Path) -> str:
    """Return the name of a store without its suffix.

    Raises
    ------
    RefusedError
        If it is no name for a store.
    """
    name = store.name
    if not name.endswith(STORE_SUFFIX) or name == STORE_SUFFIX:
        raise RefusedError(
            store, "is no name for a store", f"Let it end in {STORE_SUFFIX}: {name}{STORE_SUFFIX}"
        )
    return name.removesuffix(STORE_SUFFIX)


def open_store(folder: Path) -> SourceStore:
    """Return a store that has its receipt.

    Raises
    ------
    RefusedError
        If it has none, or is not what the receipt says as far as metadata go.
    """
    receipt = read_receipt(receipt_path(folder.parent, key_of(folder)))
    if not folder.is_dir() or receipt is None or not receipt.has_store:
        raise RefusedError(
            folder,
            "has no receipt beside it, expected a store that usid published",
            "Convert its source with `usid convert` or `usid ingest`.",
        )
    found, expected = metadata_digest(folder), receipt.extra.get("metadata_digest")
    if found != expected:
        raise RefusedError(
            folder,
            f"its metadata has the digest {found}, expected {expected}",
            "See `usid verify`; convert its source again.",
        )
    documents = {}
    for file in folder.rglob("zarr.json"):
        path = file.parent.relative_to(folder).as_posix()
        documents["" if path == "." else path] = json.loads(file.read_text("utf-8"))
    missing = sorted(path for path in receipt.arrays if path.strip("/") not in documents)
    if missing:
        raise UsidError(
            folder, f"lacks {', '.join(missing)}, which its receipt lists", "See `usid verify`."
        )
    return SourceStore(folder, receipt, found, documents)
