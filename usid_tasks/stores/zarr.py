"""Zarr format 3 stores: every node a group, every array sharded, read back before it counts."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from blake3 import blake3
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, ZstdCodec

from usid_tasks.chunks import MIB, BlockLimits, block_shape, chunk_shape, shard_shape
from usid_tasks.digests import ArrayDigest, tile_shape
from usid_tasks.errors import RefusedError, UnreadableDataError, VerificationError
from usid_tasks.grid import in_order
from usid_tasks.model import JSON
from usid_tasks.source import indexers_of, partition
from usid_tasks.tree import ComponentSource, Node, Tree, Variable

CODECS = ("none", "zstd", "blosc-zstd", "blosc-lz4")
"""Codecs that every standard install of zarr reads."""

REPORT = "This is a defect of usid-flows or of the disk: keep the source and report it."


@dataclass(frozen=True)
class StoreOptions:
    """How a store is written; sizes in bytes."""

    chunk_bytes: int = MIB
    shard_bytes: int = 128 * MIB
    codec: str = "zstd"
    level: int = 3
    threads: int = 2
    limits: BlockLimits = field(default_factory=BlockLimits)


@dataclass(frozen=True)
class WrittenArray:
    """What a receipt says of one array: ``main`` is the HDF5 path of its Main dataset, if any."""

    digest: str
    shape: tuple[int, ...]
    dtype: str
    main: str | None
    size_bytes: int

    def to_json(self) -> dict[str, JSON]:
        """Return the record as JSON."""
        return {
            "digest": self.digest,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "main": self.main,
        }


def _compressors(options: StoreOptions) -> tuple[Any, ...]:
    if options.codec == "none":
        return ()
    if options.codec == "zstd":
        return (ZstdCodec(level=options.level),)
    name: Any = options.codec.removeprefix("blosc-")
    if options.codec not in CODECS:
        raise RefusedError(
            "convert.codec", f"{options.codec!r} is no codec", f"Use one of {', '.join(CODECS)}."
        )
    return (BloscCodec(cname=name, clevel=options.level, shuffle=BloscShuffle.shuffle),)


@dataclass(frozen=True)
class _Target:
    """One array of the store, open for writing and, apart from that, for reading back."""

    path: str
    folder: Path
    array: zarr.Array
    digest: ArrayDigest

    def write(self, block: NDArray, region: tuple[slice, ...]) -> None:
        """Write a block, decode what is now on disk, and compare every byte."""
        start = tuple(part.start for part in region)
        self.digest.add(block, start)
        self.array[region] = block
        # a single text comes back as a str
        as_read = block.dtype if block.dtype.kind == "T" else None
        again = np.asarray(zarr.open_array(self.folder, mode="r")[region], dtype=as_read)
        if not _same_bytes(again, block):
            raise VerificationError(
                self.folder, f"block at {start} does not read back as it was written", REPORT
            )


def _same_bytes(left: NDArray, right: NDArray) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.kind == "T":
        return bool(np.array_equal(left, right))
    one, two = (np.ascontiguousarray(block).reshape(-1).view(np.uint8) for block in (left, right))
    return bool(np.array_equal(one, two))


def shard_files(folder: Path) -> Iterator[Path]:
    """Yield the path of every shard (or unsharded chunk) that an array's folder must hold."""
    array = zarr.open_array(folder, mode="r")
    if not array.shape:
        yield folder / "c"
        return
    edges = array.shards or array.chunks
    counts = [-(-size // edge) for size, edge in zip(array.shape, edges, strict=True)]
    for index in np.ndindex(*counts):
        yield folder.joinpath("c", *map(str, index))


def check_shards(folder: Path) -> None:
    """Raise VerificationError if a shard of the array is missing: Zarr would read zeros."""
    for file in shard_files(folder):
        if not file.is_file():
            raise VerificationError(file, "a shard is missing, expected every shard", REPORT)


class _Writer:
    """Writes one tree into one folder."""

    def __init__(
        self, tree: Tree, folder: Path, options: StoreOptions, advance: Callable[[int], None]
    ) -> None:
        self.tree = tree
        self.folder = folder
        self.options = options
        self.advance = advance
        self.compressors = _compressors(options)
        self.written: dict[str, WrittenArray] = {}
        self._lock = threading.Lock()

    def write(self) -> dict[str, WrittenArray]:
        zarr.create_group(self.folder, zarr_format=3, attributes=self.tree.nodes["/"].attrs)
        with ThreadPoolExecutor(self.options.threads, thread_name_prefix="usid-write") as pool:
            for path, node in self.tree.nodes.items():
                if path != "/":
                    inside = self._folder(path)
                    zarr.create_group(inside, zarr_format=3, attributes=node.attrs)
                self._write_node(path, node, pool)
        _consolidate(self.folder, list(self.tree.nodes), list(self.written))
        return self.written

    def _folder(self, path: str) -> Path:
        return self.folder.joinpath(*path.strip("/").split("/"))

    def _write_node(self, path: str, node: Node, pool: ThreadPoolExecutor) -> None:
        components = {
            name: variable
            for name, variable in node.variables.items()
            if isinstance(variable.source, ComponentSource)
        }
        for name, variable in node.variables.items():
            if name not in components:
                self._write_simple(path, name, node, variable, pool)
        if components:
            self._write_main(path, node, components, pool)

    def _create(
        self,
        path: str,
        name: str,
        node: Node,
        variable: Variable,
        block: Sequence[int],
        edges: Sequence[int],
    ) -> _Target:
        attrs = dict(variable.attrs)
        coordinates = [
            other
            for other, held in node.variables.items()
            if held.is_coordinate and held.dims != (other,)
        ]
        if coordinates and not variable.is_coordinate and attrs.get("usid_role") == "main":
            attrs["coordinates"] = " ".join(coordinates)
        shape, dtype = variable.shape, variable.dtype
        chunks = chunk_shape(
            shape, block, edges, itemsize=max(dtype.itemsize, 1), target=self.options.chunk_bytes
        )
        shards = shard_shape(shape, block, chunks)
        is_text = dtype.kind == "T"
        folder = self._folder(path) / name
        array = zarr.create_array(
            folder,
            shape=shape,
            dtype="string" if is_text else dtype,
            chunks=tuple(max(1, size) for size in shape) if is_text else chunks,
            shards=None if is_text or shards == chunks else shards,
            compressors=self.compressors or None,
            fill_value="" if is_text else np.zeros((), dtype)[()],
            attributes=attrs,
            dimension_names=variable.dims,
            zarr_format=3,
            config={"write_empty_chunks": True},
        )
        return _Target(f"{path.rstrip('/')}/{name}", folder, array, ArrayDigest(shape, dtype))

    def _finish(self, target: _Target, variable: Variable, main: str | None) -> None:
        check_shards(target.folder)
        size = math.prod(variable.shape) * variable.dtype.itemsize
        self.written[target.path] = WrittenArray(
            target.digest.result(), variable.shape, variable.dtype.str, main, size
        )

    def _write_simple(
        self, path: str, name: str, node: Node, variable: Variable, pool: ThreadPoolExecutor
    ) -> None:
        """Write an array in memory, or a dataset that is copied as it is stored."""
        edges = tile_shape(variable.shape)
        block = block_shape(
            in_order(variable.shape),
            in_order(()),
            itemsize=max(variable.dtype.itemsize, 1),
            storage_chunks=None,
            limits=self._limits(),
            edges=edges,
        )
        target = self._create(path, name, node, variable, block, edges)
        source = variable.source

        def copy(region: tuple[slice, ...]) -> None:
            if isinstance(source, np.ndarray):
                cells = np.asarray(source[region], dtype=source.dtype)
            else:
                assert not isinstance(source, ComponentSource), "Main datasets are written whole"
                with _reading(source.path, source.dataset):
                    cells = source.read(region)
            target.write(cells, region)
            self.advance(cells.nbytes)

        if math.prod(variable.shape):
            list(pool.map(copy, partition(variable.shape, block)))
        main = node.main.path if node.main else None
        self._finish(target, variable, main)

    def _limits(self) -> BlockLimits:
        most = min(self.options.limits.most, self.options.shard_bytes)
        least = min(self.options.limits.least, most)
        return BlockLimits(least, most, min(self.options.limits.target, most))

    def _write_main(
        self,
        path: str,
        node: Node,
        components: Mapping[str, Variable],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Write all components of a Main dataset, each block read once for all of them."""
        assert node.main is not None, "components belong to a Main dataset"
        sources = [v.source for v in components.values() if isinstance(v.source, ComponentSource)]
        main = sources[0].main
        n_dims = len(main.shape)
        all_edges = [tile_shape(source.shape)[:n_dims] for source in sources]
        edges = tuple(max(each) for each in zip(*all_edges, strict=True))
        itemsize = sum(
            source.dtype.itemsize * math.prod(source.component.subshape) for source in sources
        )
        block = block_shape(
            main.position,
            main.spectroscopic,
            itemsize=itemsize,
            storage_chunks=node.main.candidate.dataset.storage.chunks,
            limits=self._limits(),
            edges=edges,
        )
        targets = [
            self._create(
                path, name, node, variable, block + source.component.subshape,
                tile_shape(source.shape),
            )
            for (name, variable), source in zip(components.items(), sources, strict=True)
        ]  # fmt: skip
        parts = [source.component for source in sources]

        def copy(region: tuple[slice, ...]) -> None:
            with _reading(main.path, main.dataset):
                cells = main.read(indexers_of(region, main.shape), parts)
            for target, part, values in zip(targets, parts, cells, strict=True):
                inner = tuple(slice(0, size) for size in part.subshape)
                target.write(values, region + inner)
                self.advance(values.nbytes)

        if math.prod(main.shape):
            list(pool.map(copy, partition(main.shape, block)))
        for target, variable in zip(targets, components.values(), strict=True):
            self._finish(target, variable, node.main.path)


@contextmanager
def _reading(path: str, dataset: str) -> Iterator[None]:
    """Tell a failure to read the source from one to write the store."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UnreadableDataError(
            f"{path}:{dataset}",
            f"HDF5 cannot read its values: {error}",
            "restore the file from its source, or install the filter that the message names",
            dataset,
        ) from error


def _consolidate(folder: Path, groups: Sequence[str], arrays: Sequence[str]) -> None:
    """Put the metadata of all members into that of the root, as zarr-python reads it.

    Not with :func:`zarr.consolidate_metadata`, which warns on every call and would have to be
    silenced for the whole process.
    """
    root = folder / "zarr.json"
    metadata = {}
    for path in sorted({path.strip("/") for path in (*groups, *arrays)} - {""}):
        metadata[path] = json.loads((folder / path / "zarr.json").read_text("utf-8"))
    document = json.loads(root.read_text("utf-8"))
    document["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": metadata,
    }
    root.write_text(json.dumps(document, indent=2), "utf-8")


def metadata_digest(folder: Path) -> str:
    """Return ``blake3:<hex>`` over every metadata document of a store: names, axes, attributes."""
    digest = blake3()
    documents = {path.relative_to(folder).as_posix(): path for path in folder.rglob("zarr.json")}
    for name, path in sorted(documents.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"blake3:{digest.hexdigest()}"


def write_store(
    tree: Tree,
    folder: Path,
    *,
    options: StoreOptions | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, WrittenArray]:
    """Write a tree as a Zarr 3 store and return what was written, by path in the store.

    Parameters
    ----------
    tree
        From :func:`usid_tasks.tree.open_tree`.
    folder
        Must not exist; its parent must. Nothing else may read it yet: it is published by
        renaming it.
    options
        Chunks, shards, codec, threads.
    advance
        Called from several threads with the number of bytes of each block written.

    Raises
    ------
    UnreadableDataError
        If HDF5 cannot read values of the source.
    VerificationError
        If a block does not read back as it was read from the source.
    OSError
        If the disk cannot hold the store.
    """
    return _Writer(tree, folder, options or StoreOptions(), advance).write()
