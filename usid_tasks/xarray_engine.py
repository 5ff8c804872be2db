"""The xarray engine ``usid``: h5USID files as trees of labelled, lazy N-D arrays.

``xarray.open_datatree(path, engine="usid")`` has a node for every group and every sound Main
dataset; ``xarray.open_dataset(path, engine="usid", group="/Measurement_000/Channel_000/
Raw_Data")`` opens one. Both are lazy, and become Dask arrays with ``chunks={}`` (blocks that
follow the HDF5 storage) or ``chunks="auto"``. No file stays open between reads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from usid_tasks.chunks import BlockLimits
from usid_tasks.errors import NoMainDatasetError
from usid_tasks.extras import ExtraSource
from usid_tasks.tree import ComponentSource, Node, Tree, Variable, open_tree

_EXTENSIONS = {".ptir", ".h5usid", ".usid"}


class LazyArray(BackendArray):
    """An array read by path when it is indexed: holds no file open, and pickles."""

    def __init__(self, source: ComponentSource | ExtraSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.BASIC
        if isinstance(self.source, ComponentSource):
            support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray:
        if isinstance(self.source, ComponentSource):
            return self._read_main(self.source, key)
        region = tuple(
            slice(part, part + 1) if isinstance(part, (int, np.integer)) else part for part in key
        )
        block = self.source.read(region)
        dropped = tuple(0 if isinstance(part, (int, np.integer)) else slice(None) for part in key)
        return block[dropped]

    @staticmethod
    def _read_main(source: ComponentSource, key: tuple[Any, ...]) -> NDArray:
        indexers: list[NDArray] = []
        dropped: list[slice | int] = []
        for part, size in zip(key, source.shape, strict=True):
            if isinstance(part, slice):
                indexers.append(np.arange(*part.indices(size)))
                dropped.append(slice(None))
            elif isinstance(part, (int, np.integer)):
                indexers.append(np.array([part % size if part < 0 else part]))
                dropped.append(0)
            else:
                wanted = np.asarray(part)
                indexers.append(np.where(wanted < 0, wanted + size, wanted))
                dropped.append(slice(None))
        n_dims = len(source.main.shape)
        block = source.main.read(indexers[:n_dims], [source.component])[0]
        for axis, indexer in enumerate(indexers[n_dims:], start=n_dims):
            block = np.take(block, indexer, axis=axis)
        return block[tuple(dropped)]


def _as_xarray(variable: Variable) -> xr.Variable:
    encoding: dict[str, Any] = {}
    data: Any
    if isinstance(variable.source, np.ndarray):
        data = variable.source.copy()  # Mains with equal tables share it
    else:
        data = indexing.LazilyIndexedArray(LazyArray(variable.source))
    if variable.block is not None:
        encoding["preferred_chunks"] = dict(zip(variable.dims, variable.block, strict=True))
    return xr.Variable(variable.dims, data, dict(variable.attrs), encoding)


def _as_dataset(node: Node, drop: Iterable[str]) -> xr.Dataset:
    dropped = set(drop)
    kept = {name: v for name, v in node.variables.items() if name not in dropped}
    arrays = {name: _as_xarray(v) for name, v in kept.items() if not v.is_coordinate}
    coords = {name: _as_xarray(v) for name, v in kept.items() if v.is_coordinate}
    return xr.Dataset(arrays, coords, dict(node.attrs))


def _drops(drop_variables: str | Iterable[str] | None) -> list[str]:
    if drop_variables is None:
        return []
    return [drop_variables] if isinstance(drop_variables, str) else list(drop_variables)


def _warn(tree: Tree, paths: Iterable[str]) -> None:
    """Warn of Main datasets that are not sound: they must not go missing unnoticed."""
    for path in paths:
        reasons = [
            f"{finding.id}: {finding.found}"
            for finding in tree.file.findings
            if finding.severity == "error" and finding.path in (path, *_tables(tree, path))
        ]
        warnings.warn(
            f"{tree.file.path}:{path} is no sound Main dataset and is opened as it is stored"
            f" ({'; '.join(reasons) or 'see usid validate'})",
            stacklevel=4,
        )


def _tables(tree: Tree, path: str) -> set[str]:
    return {
        ancillary.dataset.path
        for ancillary in tree.file.record.candidates[path].ancillaries.values()
    }


class UsidBackendEntrypoint(BackendEntrypoint):
    """Opens h5USID files in xarray; values are never decoded, scaled or masked."""

    description = "Universal Spectroscopy and Imaging Data in HDF5 (h5USID)"
    url = ""
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "group", "tolerance")
    supports_groups = True

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        tolerance: float | None = None,
    ) -> xr.Dataset:
        """Return one node as a dataset.

        Parameters
        ----------
        filename_or_obj
            Path of an h5USID file.
        drop_variables
            Names of variables to leave out.
        group
            Path of the node: that of a Main dataset or of a group. May be left out where
            the file has a single sound Main dataset.
        tolerance
            Deviation from a straight line that still counts as uniform, in steps.

        Raises
        ------
        NoMainDatasetError
            If there is no such node, or none was named and there is not just one.
        NotHDF5Error, FileBusyError, OSError
            If the file cannot be opened.
        """
        tree = open_tree(os.fspath(filename_or_obj), tolerance=tolerance)
        path = _find(tree, group)
        _warn(tree, {tree.nodes[path].hdf5_path} & set(tree.file.broken))
        return _as_dataset(tree.nodes[path], _drops(drop_variables))

    def open_groups_as_dict(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        tolerance: float | None = None,
    ) -> dict[str, xr.Dataset]:
        """Return all nodes, or those at and below ``group``, as datasets by path."""
        tree = open_tree(os.fspath(filename_or_obj), tolerance=tolerance)
        _warn(tree, tree.file.broken)
        drop = _drops(drop_variables)
        if group is None or group == "/":
            return {path: _as_dataset(node, drop) for path, node in tree.nodes.items()}
        top = _find(tree, group)
        return {
            path[len(top) :] or "/": _as_dataset(node, drop)
            for path, node in tree.nodes.items()
            if path == top or path.startswith(f"{top}/")
        }

    def open_datatree(  # type: ignore[override]
        self, filename_or_obj: str | os.PathLike[str], **options: Any
    ) -> xr.DataTree:
        """Return the whole file as a tree (see :meth:`open_groups_as_dict`)."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for files with an extension of h5USID alone (``.h5`` is anybody's)."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        path = Path(filename_or_obj)
        return path.suffix.lower() in _EXTENSIONS and path.is_file()


def _find(tree: Tree, group: str | None) -> str:
    """Return the path in the tree that ``group`` names, by its HDF5 path or its own."""
    mains = [path for path, node in tree.nodes.items() if node.main is not None]
    if group is None:
        if len(mains) == 1:
            return mains[0]
        raise NoMainDatasetError(
            tree.file.path,
            f"{len(mains)} sound Main datasets, expected one: {', '.join(mains) or 'none'}",
            "name one with group=..., or open all with xarray.open_datatree",
        )
    path = "/" + group.strip("/")
    found = tree.path_of(path)  # the HDF5 path first: a mapped name may be that of another object
    if found is not None:
        return found
    if path in tree.nodes:
        return path
    raise NoMainDatasetError(
        f"{tree.file.path}:{path}",
        f"no such group or Main dataset; there are {', '.join(mains) or 'none'}",
        "choose one of these",
    )


def open_datatree(
    path: str | os.PathLike[str], *, chunks: Any = None, **options: Any
) -> xr.DataTree:
    """Return an h5USID file as a tree of labelled, lazy N-D arrays.

    The same as ``xarray.open_datatree(path, engine="usid", chunks=chunks)``.
    """
    return xr.open_datatree(os.fspath(path), engine="usid", chunks=chunks, **options)


def limits_from(least: int, most: int, target: int) -> BlockLimits:
    """Return block limits in bytes."""
    return BlockLimits(least, most, target)
