"""Zarr format 3 stores: every node a group, every array sharded, read back before it counts."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks.chunks import MIB
from usid_tasks.codec_choice import CANDIDATES, Choice, choose_codec
from usid_tasks.codec_names import AUTO, Objective
from usid_tasks.codecs import Codec, parse_codec
from usid_tasks.convert_plan import plan_convert
from usid_tasks.copying import Item, held_bytes, items_of
from usid_tasks.digests import array_digest
from usid_tasks.documents import array_document, group_document, write_document
from usid_tasks.errors import VerificationError
from usid_tasks.intents import Intent, parse_intent
from usid_tasks.journal import Journal
from usid_tasks.model import JSON
from usid_tasks.plans import ArrayPlan, Plan
from usid_tasks.shards import Scratch, open_array
from usid_tasks.staged import Making, StagedArrays
from usid_tasks.stages import Encoder
from usid_tasks.tree import Node, Tree, Variable
from usid_tasks.workers import REPORT, Counted, Engine, Threads

_SMALL: dict[Objective, str] = {
    "fast": "blosc-lz4", "balanced": "blosc-zstd", "small": "blosc-zstd",
}  # fmt: skip
"""The codec of arrays that are too small to try some."""

_SAMPLES, _SAMPLED_BYTES = (2, 6), 4 * MIB
"""Chunks that a codec is tried on, one more for every GiB, and the arrays that are worth it."""


@dataclass(frozen=True)
class StoreOptions:
    """How a store is written; sizes in bytes.

    ``objective`` is what the codec ``auto`` is chosen for. Arrays of ``resume_bytes`` and more
    are taken up where a killed run left them. Only benchmarks write without verifying and hashing.
    """

    intent: Intent = field(default_factory=lambda: parse_intent("balanced"))
    chunk_bytes: int = MIB
    shard_bytes: int = 128 * MIB
    codec: str = "blosc-lz4"
    level: int | None = None
    objective: Objective = "fast"
    workers: int = 2
    memory_bytes: int = 1024 * MIB
    resume_bytes: int = 64 * MIB
    is_verified: bool = True
    is_hashed: bool = True


@dataclass(frozen=True)
class WrittenArray:
    """What a receipt says of one array: ``main`` is the HDF5 path of its Main dataset, if any.

    ``codec`` tells what was chosen by measurement, if it was.
    """

    digest: str
    shape: tuple[int, ...]
    dtype: str
    main: str | None
    size_bytes: int
    codec: Mapping[str, JSON] | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the record as JSON."""
        return {
            "digest": self.digest,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "main": self.main,
        }


@dataclass(frozen=True)
class PlannedStore:
    """The arrays of a store, and the plan of those that hold numbers."""

    tree: Tree
    options: StoreOptions
    items: tuple[Item, ...]
    plan: Plan

    @property
    def size_bytes(self) -> int:
        """Bytes that pass through the stages."""
        return sum(
            math.prod(stage.shape) * stage.itemsize
            for array in self.plan.arrays
            for stage in array.stages
        )


@dataclass(frozen=True)
class _AnyCodec:
    """The codec that is still to be chosen: it takes what the hardest of them does."""

    is_compressed: bool = True

    def encode_bytes(self, chunk_bytes: int) -> int:
        return max(codec.encode_bytes(chunk_bytes) for codec in CANDIDATES)


def plan_store(tree: Tree, options: StoreOptions | None = None) -> PlannedStore:
    """Return how a tree will be written.

    Raises
    ------
    RefusedError
        If the memory does not suffice, or the codec is none.
    """
    options = options or StoreOptions()
    encoder: Encoder = _AnyCodec()
    name = f"{AUTO} for {options.objective}"
    if options.codec != AUTO:
        encoder = codec = parse_codec(options.codec, options.level)
        name = codec.name
    items = tuple(items_of(tree, encoder=encoder, codec=name))
    plan = plan_convert(
        [item.subject for item in items if item.subject is not None],
        options.intent,
        memory_bytes=options.memory_bytes,
        workers=options.workers,
        chunk_bytes=options.chunk_bytes,
        shard_bytes=options.shard_bytes,
        held_bytes=held_bytes(tree),
    )
    return PlannedStore(tree, options, items, plan)


def shard_files(folder: Path) -> Iterator[Path]:
    """Yield the path of every shard (or unsharded chunk) that an array's folder must hold."""
    document = json.loads((folder / "zarr.json").read_text("utf-8"))
    if not document["shape"]:
        yield folder / "c"
        return
    edges = document["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [-(-size // edge) for size, edge in zip(document["shape"], edges, strict=True)]
    for index in np.ndindex(*counts):
        yield folder.joinpath("c", *map(str, index))


def check_shards(folder: Path) -> None:
    """Raise VerificationError if a shard of the array is missing: Zarr would read zeros."""
    for file in shard_files(folder):
        if not file.is_file():
            raise VerificationError(file, "a shard is missing, expected every shard", REPORT)


class _Writer:
    """Writes one planned store into one folder."""

    def __init__(self, planned: PlannedStore, folder: Path, making: Making) -> None:
        self.planned = planned
        self.folder = folder
        self.making = making
        self.counted = Counted()
        self._documents: dict[str, dict[str, JSON]] = {}
        self._written: dict[str, WrittenArray] = {}

    def write(self) -> dict[str, WrittenArray]:
        tree = self.planned.tree
        for path, node in tree.nodes.items():
            self._document(path, group_document(node.attrs))
        arrays = iter(self.planned.plan.arrays)
        for number, item in enumerate(self.planned.items):
            if item.reader is None:
                self._write_text(item)
            else:
                self._write_item(number, item, next(arrays))
        self._consolidate()
        return self._written

    def _folder(self, path: str) -> Path:
        return self.folder.joinpath(*path.strip("/").split("/")) if path != "/" else self.folder

    def _document(self, path: str, document: dict[str, JSON]) -> None:
        self._documents[path] = document
        write_document(self._folder(path), document)

    def _node(self, item: Item) -> Node:
        return self.planned.tree.nodes[item.node]

    def _write_item(self, number: int, item: Item, array: ArrayPlan) -> None:
        codec, choice = self._codec(number, item, array)
        node = self._node(item)
        for path, variable, part in zip(item.paths, item.variables, item.parts, strict=True):
            document = array_document(
                variable.shape,
                part.dtype,
                chunk=array.target.chunk + part.inner,
                shard=array.target.shard + part.inner,
                codecs=codec.document(part.dtype.itemsize),
                attributes=_attributes(node, variable),
                dims=variable.dims,
            )
            self._document(path, document)
        targets = tuple(open_array(self._folder(p), self._documents[p]) for p in item.paths)
        assert item.reader is not None, "text is written by zarr"
        arrays = StagedArrays(number, array.stages, array.last, item.reader, targets, item.parts)
        counted, digests = arrays.make(self._making(item, array))
        self.counted += counted
        told = choice.to_json() if choice else None
        for place, path in enumerate(item.paths):
            check_shards(self._folder(path))
            digest = digests[place] if digests else ""
            self._note(path, item.variables[place], node, digest, told)

    def _making(self, item: Item, array: ArrayPlan) -> Making:
        """Return how an array is made: small ones without a journal, in this process."""
        is_large = item.size_bytes >= self.planned.options.resume_bytes or len(array.stages) > 1
        if is_large and self.making.journal is not None:
            return self.making
        return replace(self.making, journal=None, engine=Threads())

    def _codec(self, number: int, item: Item, array: ArrayPlan) -> tuple[Codec, Choice | None]:
        """Return the codec of an item; one that was chosen is kept for whoever takes this up."""
        options = self.planned.options
        if options.codec != AUTO:
            return codec_of(options, [])
        journal = self._making(item, array).journal
        known = journal.note(f"{number}.codec") if journal else None
        if known is not None:
            choice = Choice.from_json(known)
            return choice.codec, choice
        samples = samples_of(item, array) if item.size_bytes >= _SAMPLED_BYTES else []
        codec, choice_made = codec_of(options, samples)
        if journal and choice_made:
            journal.keep_note(f"{number}.codec", choice_made.to_json())
        return codec, choice_made

    def _note(
        self,
        path: str,
        variable: Variable,
        node: Node,
        digest: str,
        codec: Mapping[str, JSON] | None,
    ) -> None:
        size = math.prod(variable.shape) * variable.dtype.itemsize
        main = node.main.path if node.main else None
        self._written[path] = WrittenArray(
            digest, variable.shape, variable.dtype.str, main, size, codec
        )

    def _write_text(self, item: Item) -> None:
        """Write texts of variable length, as zarr-python does, and read them back."""
        ((path,), (variable,)) = item.paths, item.variables
        folder = self._folder(path)
        values = np.asarray(variable.source)
        array = zarr.create_array(
            folder,
            shape=variable.shape,
            dtype="string",
            chunks=tuple(max(1, size) for size in variable.shape),
            compressors=None,
            fill_value="",
            attributes=_attributes(self._node(item), variable),
            dimension_names=variable.dims,
            zarr_format=3,
            config={"write_empty_chunks": True},
            overwrite=True,
        )
        if values.size:
            array[...] = values
        # a single text comes back as a str
        again = np.asarray(zarr.open_array(folder, mode="r")[...], dtype=values.dtype)
        if again.shape != values.shape or not np.array_equal(again, values):
            raise VerificationError(folder, "its texts do not read back as written", REPORT)
        self._documents[path] = json.loads((folder / "zarr.json").read_text("utf-8"))
        check_shards(folder)
        self._note(path, variable, self._node(item), array_digest(values), None)

    def _consolidate(self) -> None:
        """Put the metadata of all members into that of the root, as zarr-python reads it."""
        members = {
            path.strip("/"): document
            for path, document in sorted(self._documents.items())
            if path != "/"
        }
        consolidated = {"kind": "inline", "must_understand": False, "metadata": members}
        root = {**self._documents["/"], "consolidated_metadata": consolidated}
        write_document(self.folder, root)


def _attributes(node: Node, variable: Variable) -> dict[str, JSON]:
    """Return an array's attributes; a Main's name the coordinates that are no index of a dim."""
    coordinates = [
        other
        for other, held in node.variables.items()
        if held.is_coordinate and held.dims != (other,)
    ]
    if coordinates and not variable.is_coordinate and variable.attrs.get("usid_role") == "main":
        return {**variable.attrs, "coordinates": " ".join(coordinates)}
    return dict(variable.attrs)


def codec_of(options: StoreOptions, samples: Sequence[NDArray[Any]]) -> tuple[Codec, Choice | None]:
    """Return the codec that the options name, or the choice by samples."""
    if options.codec != AUTO:
        return parse_codec(options.codec, options.level), None
    if not samples:
        return parse_codec(_SMALL[options.objective]), None
    choice = choose_codec(samples, objective=options.objective)
    return choice.codec, choice


def samples_of(item: Item, array: ArrayPlan) -> list[NDArray[Any]]:
    """Return some chunks of the first array of an item, spread over it."""
    assert item.reader is not None, "it holds numbers"
    shape, chunk = array.subject.shape, array.target.chunk
    counts = [-(-n // edge) for n, edge in zip(shape, chunk, strict=True)]
    n_chunks = math.prod(counts)
    scratch = Scratch(item.reader.scratch_bytes)
    samples = []
    n_samples = min(_SAMPLES[0] + item.size_bytes // (1024 * MIB), _SAMPLES[1])
    for place in sorted({n_chunks * (2 * k + 1) // (2 * n_samples) for k in range(n_samples)}):
        index = np.unravel_index(place, counts)
        region = tuple(
            slice(int(at) * edge, min((int(at) + 1) * edge, n))
            for at, edge, n in zip(index, chunk, shape, strict=True)
        )
        extent = tuple(part.stop - part.start for part in region)
        blocks = [np.empty(extent + part.inner, part.dtype) for part in item.parts]
        item.reader.read(region, blocks, scratch)
        samples.append(blocks[0])
    return samples


def metadata_digest(folder: Path) -> str:
    """Return ``blake3:<hex>`` over every metadata document of a store: names, axes, attributes."""
    digest = blake3()
    documents = {path.relative_to(folder).as_posix(): path for path in folder.rglob("zarr.json")}
    for name, path in sorted(documents.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"blake3:{digest.hexdigest()}"


def write_store(
    planned: PlannedStore,
    folder: Path,
    *,
    journal: Path | None = None,
    engine: Engine | None = None,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[dict[str, WrittenArray], Counted]:
    """Write a planned tree as a Zarr 3 store.

    Parameters
    ----------
    planned
        From :func:`plan_store`.
    folder
        Not there, or what a killed run of the same plan left. Nothing else may read it yet: it
        is published by renaming it.
    journal
        The folder in which it is noted what is done; by default one that is made beside
        ``folder`` and removed.
    engine
        What does the tasks; threads by default.
    check
        Called before every task; raises where the work has to end.
    advance
        Called from several threads with the number of bytes of each block written.

    Returns
    -------
    tuple
        What was written, by path in the store, and what this run did of the plan.

    Raises
    ------
    UnreadableDataError
        If values of the source cannot be read.
    VerificationError
        If a block does not read back as it was read from the source.
    UsidError
        If the disk cannot hold the store.
    """
    options = planned.options
    place = journal or folder.with_name(f"{folder.name}.journal")
    making = Making(
        Journal(place),
        engine or Threads(),
        options.workers,
        is_verified=options.is_verified,
        is_hashed=options.is_hashed,
        check=check,
        advance=advance,
    )
    assert making.journal is not None, "it was just made"
    making.journal.forget_other_boots()
    writer = _Writer(planned, folder, making)
    try:
        return writer.write(), writer.counted
    finally:
        if journal is None:
            shutil.rmtree(place)
