"""NSID files, the N-D successor of USID: a dataset for each signal, with its dimension scales.

pyNSID links the scales and writes its own attributes; the values go by blocks in their own type,
which its reader turns into ``float64`` and h5py does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usid_tasks.errors import VerificationError
from usid_tasks.names import Names
from usid_tasks.printable import printable
from usid_tasks.progress import Progress
from usid_tasks.settings import Settings
from usid_tasks.stores.beside import Beside, made_beside, refuse_place, refuse_space
from usid_tasks.stores.held import (
    NOTE,
    Form,
    Held,
    held,
    is_plain_array,
    is_plain_number,
    is_plain_text,
)
from usid_tasks.stores.hierarchy import WRITTEN_BY, is_same_value, key_of_link
from usid_tasks.stores.registry import Written
from usid_tasks.stores.signals import Passage, Signal, Signals, passage_of, read_signals
from usid_tasks.stores.streaming import (
    REMEDY,
    ChunkedDataset,
    check_values,
    create_chunked,
    hdf5_errors,
    stream,
)
from usid_tasks.usid import open_hdf5
from usid_tasks.writing.opening import open_to_write

if TYPE_CHECKING:
    import h5py

_CHUNK_BYTES = 2**20
_NOWHERE = "/Measurement_000/Channel_000"
"""Where a Main dataset goes that lies in no group."""

_NOT_TOLD = "generic"
"""sidpy's word for a quantity or units that nobody told: it takes no empty text."""

_KINDS = {
    (2, 0): "IMAGE",
    (3, 0): "IMAGE_STACK",
    (0, 1): "SPECTRUM",
    (1, 1): "LINE_PLOT_FAMILY",
    (2, 1): "SPECTRAL_IMAGE",
    (2, 2): "IMAGE_4D",
}
"""sidpy's name for the data, by the number of Position and of Spectroscopic axes."""


def _is_held(value: Any) -> bool:
    return is_plain_text(value) or is_plain_number(value) or is_plain_array(value)


_IN_ATTRIBUTES = Form(_is_held, key_of_link, lambda _value: False)


def write(
    source: Path,
    dest: Path,
    *,
    datasets: Sequence[str],
    settings: Settings,
    overwrite: bool,
    progress: Progress,
) -> Written:
    """Make an NSID file of an h5USID file; see :class:`usid_tasks.stores.registry.Store`."""
    refuse_place(dest, source, overwrite=overwrite, may_replace=Path.is_file)
    found = read_signals(source, datasets)
    convert = settings.convert
    passages = [
        passage_of(
            one, chunk_bytes=_CHUNK_BYTES, memory_bytes=convert.memory, threads=convert.threads
        )
        for one in found.signals
    ]
    refuse_space(dest, found.size_bytes)
    mains = [_Main(one, path) for one, path in zip(found.signals, _paths(found), strict=True)]
    with made_beside(dest, settings, overwrite=overwrite) as beside:
        with hdf5_errors(beside.path):
            _fill(beside, found, mains, passages, progress)
        found.check_unchanged()
    empty = [main.path for main in mains if not main.signal.size_bytes]
    told = (f"{path} has no values, so pyNSID takes it for no Main dataset" for path in empty)
    return Written(
        format="nsid",
        source=source,
        source_kind="file",
        path=dest,
        size_bytes=dest.stat().st_size,
        datasets=found.datasets,
        verified=f"{len(mains)} arrays by digest, dimensions and metadata",
        told=(*found.told("An NSID file"), *told),
    )


def _paths(found: Signals) -> list[str]:
    """Return where each signal goes: a group in that of its Main dataset, named as that is.

    NSID has no ``-`` in names; those of components stand behind the dataset's.
    """
    taken: dict[str, Names] = {}
    paths = []
    for signal in found.signals:
        group, _, name = signal.dataset.rpartition("/")
        parts = [name, signal.component] if signal.component else [name]
        wanted = key_of_link("_".join(parts).replace("-", "_"), is_a_node=True)
        names = taken.setdefault(group or _NOWHERE, Names())
        paths.append(f"{group or _NOWHERE}/{names.take(wanted)}")
    return paths


class _Main:
    """A signal as a Main dataset of NSID: what is written, and what must be read again.

    Parameters
    ----------
    signal
        What it is made of.
    path
        Of its group; the dataset has the name of the group.
    """

    def __init__(self, signal: Signal, path: str) -> None:
        self.signal = signal
        self.path = path
        self.name = path.rpartition("/")[2]
        names = Names([self.name, "metadata", "original_metadata"])
        self.scales = [names.take(axis["name"]) for axis in signal.axes]
        trees = {"metadata": signal.metadata, "original_metadata": signal.original_metadata}
        self.metadata: Held = held(trees, _IN_ATTRIBUTES)

    def attributes(self) -> dict[str, str]:
        """Return what NSID wants a Main dataset to tell."""
        told = self.signal.original_metadata
        sides = [self._side(axis) for axis in range(len(self.signal.axes))]
        counts = (sides.count("SPATIAL"), sides.count("SPECTRAL"))
        return {
            "quantity": told["quantity"] or _NOT_TOLD,
            "units": told["units"] or _NOT_TOLD,
            "title": self.signal.title,
            "main_data_name": self.signal.title,
            "data_type": _KINDS.get(counts, "UNKNOWN"),
            "modality": "generic",
            "source": Path(self.signal.metadata["General"]["original_filename"]).name,
        }

    def attributes_of_scale(self, axis: int) -> dict[str, Any]:
        """Return what NSID wants a dimension to tell, and what its vector does not."""
        told = self.signal.axes[axis]
        more: dict[str, Any] = {"is_binned": True} if told.get("is_binned") else {}
        if told["size"] == 1:
            more["scale"] = told["scale"]
        more |= {f"{key}_in_source": "" for key in ("name", "units") if not told[key]}
        return {
            **more,
            "name": self.scales[axis],
            "units": told["units"] or _NOT_TOLD,
            "quantity": told["name"] or _NOT_TOLD,
            "dimension_type": self._side(axis),
        }

    def _side(self, axis: int) -> str:
        """Return sidpy's word for the side of an axis; a lone axis without one is a spectrum's."""
        dimension = self.signal.dimension_of(axis)
        if dimension is not None:
            return "SPATIAL" if dimension.side == "position" else "SPECTRAL"
        return "SPATIAL" if self.signal.axes[axis]["name"] == "position" else "SPECTRAL"


def _fill(
    beside: Beside,
    found: Signals,
    mains: Sequence[_Main],
    passages: Sequence[Passage],
    progress: Progress,
) -> None:
    """Write all of the file, and compare it with the source."""

    def advance(n_bytes: int) -> None:
        beside.check()
        progress.advance(size_bytes=n_bytes)

    progress.begin("converting", size_bytes=found.size_bytes)
    streamed = []
    with open_to_write(beside.path, is_new=True) as file:
        file.attrs["written_by"] = WRITTEN_BY
        for main, passage in zip(mains, passages, strict=True):
            _put_main(file, main, passage)
            target = ChunkedDataset(file[main.path][main.name])
            streamed.append(stream(main.signal, target, passage, advance))
    progress.begin("verifying", size_bytes=found.size_bytes)
    with open_hdf5(beside.path) as file:
        for main, written in zip(mains, streamed, strict=True):
            where = f"{beside.place}:{printable(main.path)}"
            _check_main(where, file[main.path], main)
            target = ChunkedDataset(file[main.path][main.name])
            check_values(where, main.signal, target, written, advance)


def _put_main(file: h5py.File, main: _Main, passage: Passage) -> None:
    from pyNSID.io.hdf_utils import link_as_main, write_pynsid_book_keeping_attrs

    group = file.create_group(main.path)
    create_chunked(group, main.name, main.signal, passage.chunk)
    dataset, scales = group[main.name], {}
    for axis, name in enumerate(main.scales):
        scales[axis] = group.create_dataset(name, data=main.signal.values_of(axis))
        scales[axis].attrs.update(main.attributes_of_scale(axis))
    dataset.attrs.update(main.attributes())
    for holder in (group, dataset):
        write_pynsid_book_keeping_attrs(holder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="pyNSID")
        link_as_main(dataset, scales)
    group.attrs[NOTE] = main.metadata.note()
    _put_level(group, main.metadata.tree)


def _put_level(group: h5py.Group, level: Mapping[str, Any]) -> None:
    for key, value in level.items():
        if isinstance(value, dict):
            _put_level(group.create_group(key), value)
        else:
            group.attrs[key] = value


def _check_main(where: str, group: h5py.Group, main: _Main) -> None:
    """Compare a Main dataset with what it must be, and ask pyNSID whether it is one."""
    from pyNSID.io.hdf_utils import check_if_main

    dataset = group[main.name]
    _check_attributes(where, dataset, main.attributes())
    for axis, name in enumerate(main.scales):
        _check_attributes(f"{where}/{name}", group[name], main.attributes_of_scale(axis))
        wanted, found = main.signal.values_of(axis), group[name][()]
        if wanted.dtype != found.dtype or wanted.tobytes() != found.tobytes():
            raise VerificationError(f"{where}/{name}", "holds other values", REMEDY)
        if dataset.dims[axis].label != name or list(dataset.dims[axis].values()) != [group[name]]:
            raise VerificationError(f"{where}/{name}", f"is not linked to axis {axis}", REMEDY)
    _check_level(where, group, main.metadata.tree)
    if main.signal.size_bytes and not check_if_main(dataset):
        raise VerificationError(where, "is no Main dataset to pyNSID", REMEDY)


def _check_level(where: str, group: h5py.Group, level: Mapping[str, Any]) -> None:
    _check_attributes(where, group, {k: v for k, v in level.items() if not isinstance(v, dict)})
    for key, value in level.items():
        if isinstance(value, dict):
            if key not in group:
                raise VerificationError(f"{where}/{printable(key)}", "is missing", REMEDY)
            _check_level(f"{where}/{printable(key)}", group[key], value)


def _check_attributes(where: str, holder: Any, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        found = holder.attrs.get(name)
        if found is None or not is_same_value(found, value):
            raise VerificationError(
                where, f"the attribute {printable(name)} is not as it was written", REMEDY
            )
