"""The arrays of a tree as work for the engine: what is read together, and from what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.digests import tile_shape
from usid_tasks.documents import NUMBERS
from usid_tasks.errors import UnreadableDataError
from usid_tasks.extras import ExtraSource
from usid_tasks.mains import Component
from usid_tasks.origins import MainOrigin, WholeOrigin
from usid_tasks.plans import Subject
from usid_tasks.shards import Region, Scratch
from usid_tasks.source import MainSource
from usid_tasks.stages import Encoder, Layout
from usid_tasks.tree import ComponentSource, Node, Tree, Variable
from usid_tasks.workers import Part, Reader


@dataclass(frozen=True)
class MainReader:
    """Reads components of a Main dataset, each block once for all of them."""

    source: MainSource
    components: tuple[Component, ...]

    @property
    def scratch_bytes(self) -> int:
        """Zero: it has buffers of its own."""
        return 0

    def read(self, region: Region, blocks: Sequence[NDArray[Any]], scratch: Scratch) -> int:
        """Fill the blocks, and return the bytes read.

        Raises
        ------
        UnreadableDataError
            If the values cannot be read or decoded.
        """
        del scratch
        with reading(self.source.path, self.source.dataset):
            return self.source.read_into(region, self.components, blocks).size_bytes


@dataclass(frozen=True)
class ExtraReader:
    """Reads a dataset as it is stored."""

    source: ExtraSource

    @property
    def scratch_bytes(self) -> int:
        """Zero: it has buffers of its own."""
        return 0

    def read(self, region: Region, blocks: Sequence[NDArray[Any]], scratch: Scratch) -> int:
        """Fill the block, and return the bytes read."""
        del scratch
        (block,) = blocks
        with reading(self.source.path, self.source.dataset):
            block[...] = self.source.read(region)
        return block.nbytes


@dataclass(frozen=True)
class ArrayReader:
    """Reads an array in memory."""

    values: NDArray[Any]

    @property
    def scratch_bytes(self) -> int:
        """Zero: there is nothing to decode."""
        return 0

    def read(self, region: Region, blocks: Sequence[NDArray[Any]], scratch: Scratch) -> int:
        """Fill the block, and return the bytes read."""
        del scratch
        (block,) = blocks
        block[...] = self.values[region]
        return block.nbytes


@contextmanager
def reading(path: str, dataset: str) -> Iterator[None]:
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


@dataclass(frozen=True)
class Item:
    """Arrays of one node that are read together: the components of a Main dataset, or one array.

    ``subject`` and ``reader`` are None for text of variable length.
    """

    node: str
    names: tuple[str, ...]
    variables: tuple[Variable, ...]
    parts: tuple[Part, ...]
    subject: Subject | None
    reader: Reader | None

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the arrays in the store."""
        return tuple(f"{self.node.rstrip('/')}/{name}" for name in self.names)

    @property
    def size_bytes(self) -> int:
        """Bytes of all cells."""
        return sum(math.prod(v.shape) * v.dtype.itemsize for v in self.variables)


def items_of(tree: Tree, *, encoder: Encoder, codec: str = "") -> list[Item]:
    """Return all arrays of a tree, those of a Main dataset after its coordinates.

    Parameters
    ----------
    tree
        The file.
    encoder, codec
        What the codec takes, and its name; see :class:`usid_tasks.plans.Subject`.
    """
    found = []
    for path, node in tree.nodes.items():
        components = {
            name: variable
            for name, variable in node.variables.items()
            if isinstance(variable.source, ComponentSource)
        }
        for name, variable in node.variables.items():
            if name not in components:
                found.append(_single(path, name, variable, encoder, codec))
        if components:
            found.append(_main(path, node, components, encoder, codec))
    return found


def held_bytes(tree: Tree) -> int:
    """Return the memory of a tree's arrays, tables and placements."""
    arrays: dict[int, int] = {}
    for node in tree.nodes.values():
        for variable in node.variables.values():
            if isinstance(variable.source, np.ndarray):
                arrays[id(variable.source)] = variable.source.nbytes
        if node.main is not None:
            for side in (node.main.position, node.main.spectroscopic):
                rows = side.grid.placement.rows
                for values in (
                    side.grid.ranks,
                    *side.grid.indices,
                    *([] if rows is None else [rows]),
                ):
                    arrays[id(values)] = values.nbytes
    return sum(arrays.values())


def _single(path: str, name: str, variable: Variable, encoder: Encoder, codec: str) -> Item:
    source = variable.source
    assert not isinstance(source, ComponentSource), "components are read together"
    dtype = variable.dtype
    if dtype.kind not in NUMBERS:
        return Item(path, (name,), (variable,), (Part(dtype),), None, None)
    is_stored = isinstance(source, ExtraSource)
    reader: Reader = ExtraReader(source) if isinstance(source, ExtraSource) else ArrayReader(source)
    subject = Subject(
        f"{path.rstrip('/')}/{name}",
        variable.shape,
        dtype.name,
        dtype.itemsize,
        variable.dims,
        None,
        Layout((1,) * len(variable.shape), (1,) * len(variable.shape)),
        math.prod(variable.shape) * dtype.itemsize,
        encoder,
        origin=WholeOrigin(variable.shape, dtype.itemsize, copies=2 if is_stored else 0),
        is_coded=False,
        told="as it is stored" if is_stored else "in memory",
        codec=codec,
    )
    return Item(path, (name,), (variable,), (Part(dtype),), subject, reader)


def _main(
    path: str, node: Node, components: dict[str, Variable], encoder: Encoder, codec: str
) -> Item:
    assert node.main is not None, "components belong to a Main dataset"
    variables = tuple(components.values())
    sources = [v.source for v in variables if isinstance(v.source, ComponentSource)]
    main, parts = sources[0].main, tuple(source.component for source in sources)
    dataset = node.main.candidate.dataset
    n_dims = len(main.shape)
    record = sum(part.dtype.itemsize * math.prod(part.subshape) for part in parts)
    stored = dataset.dtype.itemsize if dataset.dtype is not None else record
    tiles = zip(*(tile_shape(source.shape)[:n_dims] for source in sources), strict=True)
    storage = dataset.storage
    origin = MainOrigin(
        main.position,
        main.spectroscopic,
        (main.position.n_rows, main.spectroscopic.n_rows),
        stored,
        storage.chunks if storage.chunks is None else (storage.chunks[0], storage.chunks[1]),
        scratch_bytes=main.read_memory(parts),
    )
    n_position = len(main.position.shape)
    names = tuple(components)
    subject = Subject(
        f"{path.rstrip('/')}/{names[0] if len(names) == 1 else '{' + ', '.join(names) + '}'}",
        main.shape,
        ", ".join(dict.fromkeys(part.dtype.name for part in parts)),
        record,
        variables[0].dims[:n_dims],
        tuple(dim < n_position for dim in range(n_dims)),
        Layout(origin.edges(), origin.edges()),
        storage.size_bytes,
        encoder,
        n_parts=len(parts),
        tiles=tuple(max(edges) for edges in tiles),
        origin=origin,
        is_coded=bool(storage.filters),
        told=_told(node, origin),
        codec=codec,
    )
    return Item(
        path,
        names,
        variables,
        tuple(Part(part.dtype, part.subshape) for part in parts),
        subject,
        MainReader(main, parts),
    )


def _told(node: Node, origin: MainOrigin) -> str:
    assert node.main is not None, "it is a Main dataset"
    storage = node.main.candidate.dataset.storage
    layout = "contiguous"
    if origin.chunks:
        layout = f"chunks {origin.chunks[0]} x {origin.chunks[1]}"
    filters = f", {', '.join(storage.filters)}" if storage.filters else ""
    return f"{origin.shape[0]} x {origin.shape[1]} in HDF5, {layout}{filters}; read {storage.way}"
