"""h5USID files as signals: the reader of RosettaSciIO's contract."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import UnreadableDataError
from usid_tasks.mains import Main
from usid_tasks.printable import printable
from usid_tasks.rosetta.dimensions import Dimension, Dimensions
from usid_tasks.rosetta.metadata import metadata_of, original_metadata_of, quantity_and_units
from usid_tasks.rosetta.problems import NonUniformError, no_main, not_this_one, reasons_of
from usid_tasks.rosetta.restored import Restored, restore
from usid_tasks.rosetta.titles import Named, titles_of
from usid_tasks.tree import ComponentSource, Tree, Variable, open_tree

Signal = dict[str, Any]


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,  # noqa: FBT001, FBT002 - the contract's order of arguments
    dataset_path: str | None = None,
    ignore_non_uniform_dims: bool = True,  # noqa: FBT001, FBT002
) -> list[Signal]:
    """Return the Main datasets of an h5USID file as signals, one for each component.

    Parameters
    ----------
    filename
        Path of the file.
    lazy
        If True, ``data`` are Dask arrays that open the file by its path whenever they are
        computed; else NumPy arrays. No file stays open in either case.
    dataset_path
        HDF5 path of the one Main dataset to read, from the root; all by default.
    ignore_non_uniform_dims
        If True, a dimension that was varied non-uniformly becomes its vector of Values where
        they are monotonic, else an index axis with a warning. If False, it is an error.

    Returns
    -------
    list of dict
        ``data``, ``axes``, ``metadata`` and ``original_metadata`` (docs/rosettasciio.md). The
        array is in C order, Position dimensions before Spectroscopic ones, each slow to fast.

    Raises
    ------
    NoSignalError
        A ``ValueError``, if there is no sound Main dataset, or not the one asked for.
    NonUniformError
        A ``ValueError``, if a dimension is non-uniform and may not be.
    TypeError
        If a path is no path.
    NotHDF5Error, FileBusyError, OSError
        If the file cannot be opened.
    UnreadableDataError
        If values cannot be read or decoded.

    Warns
    -----
    UserWarning
        For each dimension that becomes an index axis, each aborted raster, and each Main dataset
        that is left out because it is not sound.
    """
    if not isinstance(filename, (str, os.PathLike)):
        raise TypeError(f"filename is a {type(filename).__name__}, not a str or a path")
    if not isinstance(dataset_path, (str, type(None))):
        raise TypeError(f"dataset_path is a {type(dataset_path).__name__}, not a str")
    tree = open_tree(os.fspath(filename))
    mains = list(_chosen(tree, dataset_path))
    if not ignore_non_uniform_dims:
        _refuse_non_uniform(mains)
    complaints = [] if dataset_path else list(_left_out(tree))
    for text in (*complaints, *(text for main in mains for text in main.complaints())):
        warnings.warn(text, UserWarning, stacklevel=2)
    titles = iter(titles_of([named for main in mains for named in main.named()]))
    return [signal for main in mains for signal in main.signals(titles, lazy=lazy)]


@dataclass(frozen=True)
class _Readable:
    """A sound Main dataset on its way to signals."""

    tree: Tree
    tree_path: str
    main: Main
    variables: tuple[Variable, ...]
    dimensions: Dimensions
    restored: Restored | None
    not_restored: str

    @property
    def where(self) -> str:
        return f"{self.tree.file.record.file}:{printable(self.main.path)}"

    @property
    def _path(self) -> str:
        """What leads to the dataset: its path, or that in the tree where it is no Unicode text."""
        is_text = self.main.path.encode("utf-8", "replace").decode() == self.main.path
        return self.main.path if is_text else self.tree_path

    @property
    def non_uniform(self) -> list[Dimension]:
        return [one for one in self.dimensions.all if one.why_not]

    def complaints(self) -> Iterator[str]:
        """Yield what a reader of the signal must know, a sentence each."""
        lost = [one for one in self.non_uniform if not one.is_vector]
        if lost:
            told = ", ".join(f"{one.name!r} ({one.why_not})" for one in lost)
            yield (
                f"{self.where}: varied non-uniformly, so that no axis holds its Values: {told}."
                " They are in original_metadata['dimensions']"
            )
        if self.not_restored:
            yield f"{self.where}: its metadata are read as plain attributes: {self.not_restored}"
        valid = self.main.position.grid.valid
        if valid is not None:
            yield (
                f"{self.where}: {valid.size - np.count_nonzero(valid)} of {valid.size} positions"
                " were not measured and hold NaN or zero."
                " original_metadata['valid'] tells which were"
            )

    def named(self) -> Iterator[Named]:
        is_several = len(self.main.components) > 1
        for part in self.main.components:
            quantity, _ = quantity_and_units(self.main, part)
            component = ".".join(part.field) if is_several else ""
            title = self.restored.title if self.restored else ""
            yield Named(self.main.path, component, quantity, title)

    def signals(self, titles: Iterator[str], *, lazy: bool) -> Iterator[Signal]:
        """Yield the signal of each component; ``titles`` has theirs next."""
        record = self.tree.file.record
        arrays = self._lazy() if lazy else self._eager()
        for part, array in zip(self.main.components, arrays, strict=True):
            axes = self.dimensions.axes(part)
            told = quantity_and_units(self.main, part)
            yield {
                "data": array.reshape([axis["size"] for axis in axes]),
                "axes": axes,
                "metadata": metadata_of(record.file, next(titles), told, self.restored),
                "original_metadata": original_metadata_of(
                    record, self.dimensions, part, self._path, self.restored
                ),
            }

    def _eager(self) -> list[NDArray]:
        """Return the arrays of all components, read in one pass."""
        sources = [one.source for one in self.variables if isinstance(one.source, ComponentSource)]
        out = [np.empty(source.shape, source.dtype) for source in sources]
        main, parts = sources[0].main, [source.component for source in sources]
        try:
            main.read_into([slice(None)] * len(main.shape), parts, out)
        except (OSError, RuntimeError) as error:
            raise UnreadableDataError(
                self.where,
                f"its values cannot be read: {error}",
                "`usid validate` tells why; dataset_path=... reads another one",
                self.main.path,
            ) from error
        return out

    def _lazy(self) -> list[Any]:
        # eager reading needs neither xarray nor Dask
        from usid_tasks.rosetta.lazy import dask_array

        return [dask_array(one) for one in self.variables]


def _chosen(tree: Tree, dataset_path: str | None) -> Iterator[_Readable]:
    """Yield the Main dataset at a path (that of the file, or of the tree), or all in order."""
    by_path = sorted(tree.nodes.items(), key=lambda item: item[1].hdf5_path.split("/"))
    nodes = {path: node for path, node in by_path if node.main is not None}
    if not nodes:
        raise no_main(tree.file)
    wanted = list(nodes)
    if dataset_path is not None:
        hdf5_path = "/" + dataset_path.strip("/")
        wanted = [path for path, node in nodes.items() if node.hdf5_path == hdf5_path]
        wanted = wanted or [path for path in nodes if path == hdf5_path]
        if not wanted:
            raise not_this_one(tree.file, hdf5_path)
    for path in wanted:
        node = nodes[path]
        assert node.main is not None, "the node of a Main dataset"
        held = tuple(one for one in node.variables.values() if one.attrs["usid_role"] == "main")
        restored, lost = restore(tree.file, node.main)
        dimensions = Dimensions.of(node.main, is_of_signal=restored is not None)
        yield _Readable(tree, path, node.main, held, dimensions, restored, lost)


def _left_out(tree: Tree) -> Iterator[str]:
    for path in tree.file.broken:
        yield (
            f"{tree.file.record.file}:{printable(path)} is no sound Main dataset and is left out"
            f" ({reasons_of(tree.file, path)}). `usid validate` tells what to do"
        )


def _refuse_non_uniform(mains: Sequence[_Readable]) -> None:
    found = [
        f"{one.name!r} of {printable(main.main.path)} ({one.why_not})"
        for main in mains
        for one in main.non_uniform
    ]
    if found:
        raise NonUniformError(
            mains[0].tree.file.record.file,
            f"varied non-uniformly: {', '.join(found)}",
            "Pass ignore_non_uniform_dims=True to read it all the same",
        )
