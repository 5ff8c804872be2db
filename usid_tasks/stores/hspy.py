"""HyperSpy's HDF5 files (.hspy): structure by RosettaSciIO's writer, values by blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usid_tasks.progress import Progress
from usid_tasks.settings import Settings
from usid_tasks.stores.beside import Beside, made_beside, refuse_place, refuse_space
from usid_tasks.stores.held import NOTE, Held
from usid_tasks.stores.hierarchy import (
    EXPERIMENTS,
    IN_HDF5,
    WRITTEN_BY,
    axes_of,
    check_level,
    group_names,
    held_metadata,
)
from usid_tasks.stores.registry import Written
from usid_tasks.stores.signals import Passage, Signal, Signals, passage_of, read_signals
from usid_tasks.stores.streaming import (
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
_PASSED = "signal_{:06d}"
"""Title under which RosettaSciIO is handed a signal: it knows no two that differ in a slash."""


def write(
    source: Path,
    dest: Path,
    *,
    datasets: Sequence[str],
    settings: Settings,
    overwrite: bool,
    progress: Progress,
) -> Written:
    """Make a .hspy file of an h5USID file; see :class:`usid_tasks.stores.registry.Store`."""
    refuse_place(dest, source, overwrite=overwrite, may_replace=Path.is_file)
    found = read_signals(source, datasets)
    convert = settings.convert
    passages = [
        passage_of(
            one, chunk_bytes=_CHUNK_BYTES, memory_bytes=convert.memory, threads=convert.threads
        )
        for one in found.signals
    ]
    parts = [held_metadata(one, IN_HDF5) for one in found.signals]
    refuse_space(dest, found.size_bytes)
    with made_beside(dest, settings, overwrite=overwrite) as beside:
        with hdf5_errors(beside.path):
            _make_structure(beside.path, found.signals, parts, passages)
            _fill(beside, found, parts, passages, progress)
        found.check_unchanged()
    return Written(
        format="hspy",
        source=source,
        source_kind="file",
        path=dest,
        size_bytes=dest.stat().st_size,
        datasets=found.datasets,
        verified=f"{len(found.signals)} arrays by digest, axes and metadata",
        told=found.told("A .hspy file"),
    )


def _make_structure(
    path: Path, signals: Sequence[Signal], parts: Sequence[Held], passages: Sequence[Passage]
) -> None:
    """Let RosettaSciIO write all but the values.

    The groups are there before: made by us they hold attributes beyond 64 kB.
    """
    with open_to_write(path, is_new=True) as file:
        file.attrs["written_by"] = WRITTEN_BY
        for number, (signal, part, passage) in enumerate(
            zip(signals, parts, passages, strict=True)
        ):
            group = file.create_group(f"{EXPERIMENTS}/{_PASSED.format(number)}")
            _make_groups(group, part.tree)
            create_chunked(group, "data", signal, passage.chunk)
    from rsciio.hspy import file_writer

    for number, (signal, part) in enumerate(zip(signals, parts, strict=True)):
        told = {
            "axes": axes_of(signal),
            "metadata": _titled(part.tree["metadata"], _PASSED.format(number)),
            "original_metadata": part.tree["original_metadata"],
            "learning_results": {},
            "models": {},
            "attributes": {"_lazy": False, "ragged": False},
            "package_info": {"package": "", "package_version": ""},
            "tmp_parameters": {},
        }
        file_writer(str(path), told, write_dataset=False, show_progressbar=False)


def _make_groups(group: h5py.Group, tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _make_groups(group.create_group(key), value)


def _titled(metadata: Mapping[str, Any], title: str) -> dict[str, Any]:
    return {**metadata, "General": {**metadata["General"], "title": title}}


def _fill(
    beside: Beside,
    found: Signals,
    parts: Sequence[Held],
    passages: Sequence[Passage],
    progress: Progress,
) -> None:
    """Write the values, give each group its title, and compare all with the source."""

    def advance(n_bytes: int) -> None:
        beside.check()
        progress.advance(size_bytes=n_bytes)

    passed = [_PASSED.format(number) for number in range(len(parts))]
    names = group_names(found.signals, is_folder=False, taken=passed)
    progress.begin("converting", size_bytes=found.size_bytes)
    streamed = []
    with open_to_write(beside.path, is_new=False) as file:
        experiments = file[EXPERIMENTS]
        for number, (signal, part) in enumerate(zip(found.signals, parts, strict=True)):
            group = experiments[_PASSED.format(number)]
            target = ChunkedDataset(group["data"])
            streamed.append(stream(signal, target, passages[number], advance))
            group.attrs[NOTE] = part.note()
            group["metadata/General"].attrs["title"] = part.tree["metadata"]["General"]["title"]
        for number, name in enumerate(names):
            experiments.move(_PASSED.format(number), name)
    progress.begin("verifying", size_bytes=found.size_bytes)
    with open_hdf5(beside.path) as file:
        for name, signal, part, written in zip(names, found.signals, parts, streamed, strict=True):
            where = f"{beside.place}:/{EXPERIMENTS}/{name}"
            group = file[EXPERIMENTS][name]
            check_level(where, group, part.tree)
            for number, axis in enumerate(axes_of(signal)):
                check_level(f"{where}/axis-{number}", group[f"axis-{number}"], axis)
            check_values(where, signal, ChunkedDataset(group["data"]), written, advance)
