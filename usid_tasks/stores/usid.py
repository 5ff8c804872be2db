"""h5USID files made of Zarr stores: the way back, verified before it is there."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from usid_tasks import durable
from usid_tasks.back.comparison import check_hdf5
from usid_tasks.back.means import Means
from usid_tasks.back.restore import write_hdf5
from usid_tasks.back.stored import Difference, StoredObject, objects_of
from usid_tasks.claims import Claim
from usid_tasks.errors import FileBusyError, RefusedError, UsidError
from usid_tasks.model import JSON
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.rechunk_source import SourceStore, open_store
from usid_tasks.settings import Settings, load_settings
from usid_tasks.settle import lock_state
from usid_tasks.sizes import format_size
from usid_tasks.speeds import free_bytes
from usid_tasks.stores.registry import Written

_BEGUN = "back"
"""Folder below ``.usid`` in which files are made."""

_SLACK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class UsidResult:
    """The file that was made: its datasets, and where it differs from the source of the store."""

    store: Path
    out: Path
    size_bytes: int
    datasets: tuple[str, ...]
    mains: tuple[str, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return what was made as JSON."""
        return {
            "store": str(self.store),
            "out": str(self.out),
            "size_bytes": self.size_bytes,
            "datasets": list(self.datasets),
            "mains": list(self.mains),
            "differences": [difference.to_json() for difference in self.differences],
        }


def write(
    source: Path,
    dest: Path,
    *,
    datasets: Sequence[str],
    settings: Settings,
    overwrite: bool,
    progress: Progress,
) -> Written:
    """Make the h5USID file of a store; see :class:`usid_tasks.stores.registry.Store`.

    Raises
    ------
    RefusedError
        If ``datasets`` are named, too: the file is made whole.
    """
    if datasets:
        raise RefusedError(
            source, "a store becomes one file with all that it holds", "Leave out --dataset."
        )
    made = write_usid(source, dest, settings=settings, overwrite=overwrite, progress=progress)
    return Written(
        format="usid",
        source=made.store,
        source_kind="store",
        path=made.out,
        size_bytes=made.size_bytes,
        datasets=made.mains,
        verified="structure, attributes and the digest of every array",
        told=tuple(str(difference) for difference in made.differences),
    )


def write_usid(
    store: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> UsidResult:
    """Make the h5USID file that a store was made of, and verify it, without the source.

    The file is made in ``.usid/back`` beside ``out``, read as any other and compared with the
    store, down to the digest of every array, flushed, and renamed last.

    Parameters
    ----------
    store
        A store with its receipt beside it, converted or rechunked.
    out
        The file to make.
    settings
        The merged configuration; that of the environment by default. ``convert.memory`` and
        ``convert.threads`` are what may be used.
    overwrite
        Whether a file at ``out`` is replaced.
    progress
        Told of every box that is written or verified.

    Raises
    ------
    RefusedError
        If the store has no receipt, ``out`` is there and ``overwrite`` is not asked for, or
        memory or space do not suffice. Nothing is written then.
    ClaimedError
        If another process is making the same file.
    FileBusyError
        If the file at ``out`` is open in a program that writes it.
    VerificationError
        If the store lacks a shard, or what was made does not read back as the store.
    UsidError
        If the disk fails, or HDF5 cannot make the file.
    """
    settings = settings or load_settings()
    progress = progress or NullProgress()
    source = open_store(_absolute(store))
    place = _absolute(out)
    objects = objects_of(source)
    _refuse_place(place, source.folder, overwrite=overwrite)
    size = _size_of(source)
    durable.make_folders(place.parent, mode=settings.convert.dir_mode)
    claims = settings.claims
    with (
        Claim(
            place.parent, f"{place.name} from a store", run_id=f"back-{os.getpid()}",
            renew_s=claims.renew_s, dead_after_s=claims.dead_after_s,
        ) as claim,
        _begun(place) as path,
    ):  # fmt: skip
        _refuse_space(place, _needed_bytes(source, objects, size))
        progress.begin("restoring", size_bytes=size)
        means = Means(
            settings.convert.threads,
            settings.convert.memory,
            check=claim.check,
            advance=lambda n_bytes: progress.advance(size_bytes=n_bytes),
        )
        with _hdf5_errors(path):
            made = write_hdf5(source, objects, path, means)
        progress.begin("verifying", size_bytes=size)
        check_hdf5(path, source, made.differences, means)
        with durable.writing(path):
            if settings.convert.file_mode is not None:
                path.chmod(settings.convert.file_mode)
            durable.fsync_file(path)
        claim.check()
        _put(path, place, overwrite=overwrite)
    return UsidResult(
        store=source.folder,
        out=place,
        size_bytes=place.stat().st_size,
        datasets=made.datasets,
        mains=_mains(objects),
        differences=made.differences,
    )


def _mains(objects: dict[str, StoredObject]) -> tuple[str, ...]:
    return tuple(path for path, one in objects.items() if one.is_dataset and one.is_main)


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps links as given


def _refuse_place(place: Path, store: Path, *, overwrite: bool) -> None:
    if store in place.parents:
        raise RefusedError(place, f"lies within the store {store}", "Choose another place.")
    if not os.path.lexists(place):
        return
    if not overwrite:
        raise RefusedError(place, "is there already", "Name another file, or add --overwrite.")
    if not place.is_file():
        raise RefusedError(place, "is no file, and is not replaced", "Name another file.")
    lock = lock_state(place)
    if lock.is_busy:
        raise FileBusyError(place, lock.value, "Try again when the writer is done.")


def _size_of(source: SourceStore) -> int:
    """Return the bytes of all arrays, before they are encoded."""
    return sum(_bytes_of(source, path) for path in source.receipt.arrays)


def _bytes_of(source: SourceStore, path: str) -> int:
    """Return the bytes of the numbers of an array."""
    if source.is_text(path):
        return 0
    array = source.array(path)
    return array.dtype.itemsize * math.prod(array.shape)


def _needed_bytes(source: SourceStore, objects: dict[str, StoredObject], size: int) -> int:
    """Return what the file may take: the values, or less where the source's filters made it less.

    The source is held by its size, and a tenth, as other libraries compress differently; what it
    took from other files comes on top.
    """
    elsewhere = sum(
        _bytes_of(source, path)
        for one in objects.values()
        if one.is_dataset and one.attrs["usid_storage"]["layout"] in ("virtual", "external")
        for path in one.arrays
    )
    told = source.receipt.source.size
    return min(size, told + told // 10 + elsewhere)


def _refuse_space(place: Path, size: int) -> None:
    free = free_bytes(place.parent)
    if size + _SLACK_BYTES > free:
        raise RefusedError(
            place.parent,
            f"has {format_size(free)} free, expected {format_size(size + _SLACK_BYTES)} at least",
            "Free space there, or choose another place.",
        )


@contextmanager
def _begun(place: Path) -> Iterator[Path]:
    """Give the path at which the file is made; what a killed run left there is removed."""
    name = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]
    folder = place.parent / durable.CONTROL / _BEGUN / name
    shutil.rmtree(folder, ignore_errors=True)
    durable.make_folders(folder)
    try:
        yield folder / place.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _hdf5_errors(path: Path) -> Iterator[None]:
    """Turn what HDF5 raises while it writes into a three-part error."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            with durable.writing(path):
                raise
        raise UsidError(
            path, f"HDF5 cannot make it: {error}", "Report this with the store's zarr.json."
        ) from error


def _put(path: Path, place: Path, *, overwrite: bool) -> None:
    """Rename the finished file to its place; over another only where that is asked for."""
    with durable.writing(place):
        if overwrite:
            path.replace(place)
        else:
            _put_new(path, place)
    durable.fsync_folder(place.parent)


def _put_new(path: Path, place: Path) -> None:
    try:
        os.link(path, place)  # unlike a rename, never over a file that is there
    except FileExistsError as error:
        raise RefusedError(
            place, "came to be there meanwhile", "Name another file, or add --overwrite."
        ) from error
    except OSError:  # no hard links here
        if os.path.lexists(place):
            raise
        path.rename(place)
