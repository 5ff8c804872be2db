"""The file made, read as any other, against the store: structure, attributes, every value."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from usid_tasks.back.filling import whole
from usid_tasks.back.means import Means
from usid_tasks.back.stored import STORAGE, TYPE, VALUES, Difference
from usid_tasks.chunks import BlockLimits, block_shape
from usid_tasks.copying import Item, items_of
from usid_tasks.digests import array_digest, tile_shape
from usid_tasks.errors import VerificationError
from usid_tasks.grid import in_order
from usid_tasks.model import JSON
from usid_tasks.origins import MainOrigin
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.staged import Making, StagedArrays
from usid_tasks.stages import MIB, UNENCODED, WORKER_BYTES, Stage
from usid_tasks.tree import Node, Tree, build_tree
from usid_tasks.usid import read_usid
from usid_tasks.workers import REPORT, Threads

_DERIVED = ("usid_parents", "usid_axis", "coordinates")
"""Attributes that follow from others, or from values by a setting; those are compared."""

_PARTS = {"usid_storage": STORAGE, "usid_type": TYPE}

Part = tuple[str, str]


def check_hdf5(
    path: Path, store: SourceStore, differences: Collection[Difference], means: Means
) -> None:
    """Compare a file with the store that it was made of; every value is read and hashed.

    Parameters
    ----------
    path
        The file.
    store
        The store; the digests are those of its receipt.
    differences
        What may differ.
    means
        What may be used; ``advance`` is told the bytes hashed.

    Raises
    ------
    VerificationError
        If anything else differs.
    NotHDF5Error, UnreadableDataError
        If the file cannot be read.
    """
    tree = build_tree(read_usid(path))
    told = {(each.path, each.part) for each in differences}
    for problem in _problems(tree, store, told):
        raise VerificationError(path, problem, REPORT)
    for item in items_of(tree, encoder=UNENCODED):
        if (tree.nodes[item.node].hdf5_path, VALUES) in told:
            continue  # its references were compared one by one
        for place, found in zip(item.paths, _digests(item, store, means), strict=True):
            expected = store.receipt.arrays[place].digest
            if found != expected:
                raise VerificationError(
                    path,
                    f"the values of {place} have the digest {found}, expected {expected} by the "
                    "receipt of the store",
                    "See `usid verify` on the store; if it is sound, report this.",
                )


def _problems(tree: Tree, store: SourceStore, told: Collection[Part]) -> Iterator[str]:
    """Yield what differs in structure and attributes."""
    expected = {
        path: document["attributes"]
        for path, document in store.documents.items()
        if document["node_type"] == "group"
    }
    found = {path.strip("/"): node for path, node in tree.nodes.items()}
    lost = {path for path, attrs in expected.items() if _is_lost(attrs, told)}
    for path in sorted((expected.keys() ^ found.keys()) - lost):
        yield f"the node /{path} is {'missing' if path in expected else 'too many'}"
    for path in expected.keys() & found.keys():
        node = found[path]
        yield from _attribute_problems(node.hdf5_path, node.attrs, expected[path], told)
        if (node.hdf5_path, VALUES) in told:
            yield from _reference_problems(path, node, store)
        else:
            yield from _array_problems(path, node, store)


def _is_lost(attrs: Mapping[str, JSON], told: Collection[Part]) -> bool:
    return (attrs.get("usid_path"), VALUES) in told


def _attribute_problems(
    path: str, found: Mapping[str, JSON], expected: Mapping[str, JSON], told: Collection[Part]
) -> Iterator[str]:
    here = _plain(found)
    records = [attrs.get("usid_attrs", {}) for attrs in (here, expected)]
    parts = {part for place, part in told if place == path}
    for name in (records[0].keys() ^ records[1].keys()) - parts:
        yield f"{path}: the attribute {name!r} is in one only"
    for name in (records[0].keys() & records[1].keys()) - parts:
        yield from _unequal(path, name, records[0][name], records[1][name])
        if name in expected:
            yield from _unequal(path, name, here.get(name), expected[name])
    own = [key for key in expected if key.startswith("usid_") and key != "usid_attrs"]
    for key in own:
        if key in _DERIVED or _PARTS.get(key) in parts:
            continue
        one, two = here.get(key), expected[key]
        if key == "usid_storage":
            two = {name: told for name, told in two.items() if name != "unwritten"}
        if key == "usid_links":
            two = {name: link for name, link in two.items() if not _is_gone(path, name, told)}
            one = one or {}
        yield from _unequal(path, key, one, two)


def _is_gone(path: str, name: str, told: Collection[Part]) -> bool:
    return (f"{path.rstrip('/')}/{name}", VALUES) in told


def _array_problems(path: str, node: Node, store: SourceStore) -> Iterator[str]:
    for name, variable in node.variables.items():
        place = f"{path}/{name}"
        document = store.documents.get(place)
        if document is None:
            yield f"/{place} is too many"
            continue
        dtype = "string" if variable.dtype.kind == "T" else variable.dtype.name
        yield from _unequal(place, "shape", list(variable.shape), document["shape"])
        yield from _unequal(place, "type", dtype, document["data_type"])
        yield from _unequal(place, "dims", list(variable.dims), _dims(document))
        here = _plain(variable.attrs)
        for key, value in document["attributes"].items():
            if key not in _DERIVED:
                yield from _unequal(place, key, here.get(key), value)


def _reference_problems(path: str, node: Node, store: SourceStore) -> Iterator[str]:
    """Yield what differs in values of which some references became null; they are JSON."""
    for name, variable in node.variables.items():
        place = f"{path}/{name}"
        texts = np.asarray(variable.source), whole(store, place)
        found, expected = (json.loads(text.tobytes()) for text in texts)
        if not _is_nulled(found, expected):
            yield f"{place}: the values read {_short(found)}, expected {_short(expected)}"


def _is_nulled(found: JSON, expected: JSON) -> bool:
    """Return whether values are those expected, but for references that are null."""
    if found is None and isinstance(expected, (str, dict)):
        return True
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_is_nulled, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = expected.keys()
        return found.keys() == keys and all(_is_nulled(found[key], expected[key]) for key in keys)
    return json.dumps(found) == json.dumps(expected)  # NaN is NaN there


def _dims(document: Mapping[str, JSON]) -> list[str]:
    """Return the dims of an array; zarr-python leaves out those of a single text."""
    return list(document.get("dimension_names") or ())


def _unequal(path: str, part: str, found: JSON, expected: JSON) -> Iterator[str]:
    """Yield what differs; of an object, whatever more than expected it tells is left alone."""
    if isinstance(found, dict) and isinstance(expected, dict):
        found = {key: found.get(key) for key in expected}
    if found != expected or type(found) is not type(expected):
        yield f"{path}: {part} reads {_short(found)}, expected {_short(expected)}"


def _short(value: JSON) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _plain(attrs: Mapping[str, JSON]) -> dict[str, JSON]:
    plain: dict[str, JSON] = json.loads(json.dumps(attrs))
    return plain


def _digests(item: Item, store: SourceStore, means: Means) -> list[str]:
    """Return the digests of the arrays of an item, read from the file."""
    subject, reader = item.subject, item.reader
    if subject is None or reader is None:
        ((variable,),) = (item.variables,)
        return [array_digest(np.asarray(variable.source))]
    assert subject.origin is not None, "it is read from the file"
    edges = subject.tiles or tuple(1 for _ in subject.shape)
    room = means.memory_bytes // means.workers - WORKER_BYTES - subject.origin.memory_bytes(edges)
    limits = BlockLimits(
        least=min(4 * MIB, max(room, 1)), most=max(room, 1), target=min(32 * MIB, max(room, 1))
    )
    stage = Stage(
        subject.shape, subject.itemsize, subject.source.chunk, _block(item, limits), None,
        is_hashing=True, n_parts=len(item.parts), origin=subject.origin,
    )  # fmt: skip
    making = Making(None, Threads(), means.workers, check=means.check, advance=means.advance)
    targets = tuple(store.array(place) for place in item.paths)
    _, digests = StagedArrays(0, (stage,), 0, reader, targets, item.parts).make(making)
    return digests


def _block(item: Item, limits: BlockLimits) -> tuple[int, ...]:
    """Return the shape of the blocks that are hashed: whole tiles."""
    subject = item.subject
    assert subject is not None, "texts are hashed at once"
    origin: Any = subject.origin
    position, spectroscopic, chunks = in_order(subject.shape), in_order(()), None
    if isinstance(origin, MainOrigin):
        position, spectroscopic, chunks = origin.position, origin.spectroscopic, origin.chunks
    return block_shape(
        position,
        spectroscopic,
        itemsize=subject.itemsize,
        storage_chunks=chunks,
        limits=limits,
        edges=subject.tiles or tile_shape(subject.shape),
    )
