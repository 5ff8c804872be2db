"""One HDF5 file made of a store: structure first, then the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
from h5py import h5d

from usid_tasks.back.encoding import ChunkEncoder
from usid_tasks.back.filling import Filling, Mains, extra_filling, write_whole
from usid_tasks.back.means import Means
from usid_tasks.back.sink import Sink
from usid_tasks.back.skeleton import Skeleton, dataset_at, needs_new_format
from usid_tasks.back.stored import VALUES, Difference, StoredObject, left_out
from usid_tasks.back.streams import (
    Stream,
    allocate,
    write_by_hdf5,
    write_by_offset,
    write_chunks,
)
from usid_tasks.rechunk_source import SourceStore

_STREAMED = ("numbers", "bytes")
"""Encodings of datasets that are written box by box."""


@dataclass(frozen=True)
class Made:
    """What was made of a store, and where it differs from what the store was made of."""

    datasets: tuple[str, ...]
    differences: tuple[Difference, ...]


def write_hdf5(
    store: SourceStore, objects: Mapping[str, StoredObject], path: Path, means: Means
) -> Made:
    """Write an HDF5 file that holds the objects of a store.

    Parameters
    ----------
    store, objects
        The store, and what :func:`usid_tasks.back.stored.objects_of` gave of it.
    path
        Not there yet, in a folder of its own.
    means
        What may be used.

    Raises
    ------
    RefusedError
        If the memory does not suffice for a box of some dataset.
    VerificationError
        If a shard is missing or damaged.
    UsidError, OSError
        If the store cannot be read, or the disk does not take the file.
    """
    beside = path.with_name("between")
    libver = "v108" if needs_new_format(objects.values()) else None
    later: list[tuple[Filling, int]] = []
    with Sink(path) as sink:

        def check() -> None:
            sink.check()
            means.check()

        stream = Stream(store, beside, replace(means, check=check))
        with h5py.File(sink, "w", libver=libver) as file:
            skeleton = Skeleton(file, objects)
            skeleton.make_objects()
            made = [one for one in objects.values() if one.is_dataset and one.path in skeleton.made]
            skeleton.make_attributes()
            mains = Mains(store, objects)
            for stored in made:
                check()
                later += _fill(stream, mains, stored, skeleton)
        sink.check()
    for filling, offset in later:
        write_by_offset(path, filling, offset, Stream(store, beside, means))
    return Made(tuple(one.path for one in made), (*left_out(store, objects), *skeleton.differences))


def _fill(
    stream: Stream, mains: Mains, stored: StoredObject, skeleton: Skeleton
) -> list[tuple[Filling, int]]:
    """Write the values of a dataset, or return them with their offset, to be written later."""
    store = stream.store
    if not stored.was_written:
        return []
    dataset = dataset_at(skeleton.file, stored.path)
    kind = dataset.get_type()
    if stored.is_main:
        filling = mains.filling(stored, kind)
    elif stored.attrs["usid_encoding"] in _STREAMED:
        filling = extra_filling(store, stored, kind)
    else:
        write_whole(store, stored, dataset, lambda cell: skeleton.refer(stored.path, VALUES, cell))
        return []
    if not filling.size_bytes:
        return []
    plist = dataset.get_create_plist()
    layout = plist.get_layout()
    filters = [plist.get_filter(place)[0] for place in range(plist.get_nfilters())]
    if filling.is_raw and layout == h5d.CONTIGUOUS:
        offset = allocate(dataset, filling)
        return [] if offset is None else [(filling, offset)]
    if filling.is_raw and layout == h5d.CHUNKED and ChunkEncoder.knows(filters):
        write_chunks(dataset, filling, stream)
    else:
        write_by_hdf5(dataset, filling, stream)
    return []
