"""The formats that ``usid convert`` makes: a module each, found by name, imported when used.

A new format is one module beside this one that offers ``write`` (see :class:`Store`), and one
line in :data:`FORMATS`. Nothing heavy is imported here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from usid_tasks.errors import RefusedError
from usid_tasks.model import JSON

if TYPE_CHECKING:
    from usid_tasks.progress import Progress
    from usid_tasks.settings import Settings

SourceKind = Literal["file", "store"]
"""An h5USID file, or a published Zarr store."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a format's writer made.

    Parameters
    ----------
    format
        Its name in the registry.
    source, source_kind
        What it was made of, and which kind of thing that is.
    path
        The file or folder made.
    size_bytes
        What it takes on disk.
    datasets
        HDF5 paths of the Main datasets that are in it.
    verified
        What was read back and compared before the rename, in a few words, such as
        ``"3 arrays by digest"``.
    told
        What differs from the source, or is not held, a sentence each; none where nothing is lost.
    """

    format: str
    source: Path
    source_kind: SourceKind
    path: Path
    size_bytes: int
    datasets: tuple[str, ...]
    verified: str
    told: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return what was made as JSON."""
        return {
            "format": self.format,
            "source": str(self.source),
            "source_kind": self.source_kind,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "datasets": list(self.datasets),
            "verified": self.verified,
            "told": list(self.told),
        }


class Store(Protocol):
    """What the module of a format offers."""

    def write(
        self,
        source: Path,
        dest: Path,
        *,
        datasets: Sequence[str],
        settings: Settings,
        overwrite: bool,
        progress: Progress,
    ) -> Written:
        """Make ``dest`` of ``source``, verified before it is renamed to its place.

        Parameters
        ----------
        source
            An h5USID file or a published store, as :attr:`Format.source` says.
        dest
            What to make; its folder is made where it is missing.
        datasets
            HDF5 paths of the Main datasets to take; all where there is none.
        settings
            ``convert.memory`` and ``convert.threads`` are what may be used.
        overwrite
            Whether what is at ``dest`` gives way.
        progress
            Told of every block written or verified.

        Raises
        ------
        RefusedError
            If ``dest`` is there and ``overwrite`` is not asked for, or memory or space do not
            suffice. Nothing is written then.
        NoMainDatasetError
            If one of ``datasets`` is no sound Main dataset, or there is none.
        VerificationError
            If what was written does not read back as the source.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """One line of the registry.

    ``suffixes`` are those of ``dest`` from which the format is guessed. ``options`` are the
    options of ``usid convert`` that mean something to it, beside those that all share.
    ``packages`` are the modules that it needs from the extra ``formats``.
    """

    name: str
    module: str
    source: SourceKind
    suffixes: tuple[str, ...]
    options: frozenset[str]
    packages: tuple[str, ...] = ()


_OF_SIGNALS = frozenset({"dataset", "memory", "workers"})

_ZARR = frozenset(
    {"dataset", "intent", "codec", "objective", "memory", "workers", "scheduler", "plan"}
)

FORMATS: dict[str, Format] = {
    line.name: line
    for line in (
        Format(
            name="zarr", module="usid_tasks.stores.published", source="file",
            suffixes=(".zarr",), options=_ZARR,
        ),
        Format(
            name="usid", module="usid_tasks.stores.usid", source="store",
            suffixes=(".h5",), options=frozenset({"memory", "workers"}),
        ),
        Format(
            name="hspy", module="usid_tasks.stores.hspy", source="file",
            suffixes=(".hspy",), options=_OF_SIGNALS, packages=("rsciio",),
        ),
        Format(
            name="zspy", module="usid_tasks.stores.zspy", source="file",
            suffixes=(".zspy",), options=_OF_SIGNALS,
        ),
        Format(
            name="nsid", module="usid_tasks.stores.nsid", source="file",
            suffixes=(), options=_OF_SIGNALS, packages=("pyNSID", "sidpy"),
        ),
    )
}  # fmt: skip
"""Every format by its name; the first is the default."""


def kind_of(source: Path) -> SourceKind:
    """Return what a source is: a folder is taken for a store, anything else for a file."""
    return "store" if source.is_dir() else "file"


def choose_format(source: Path, dest: Path, name: str | None) -> Format:
    """Return the format that is asked for, or the one that the names leave no doubt of.

    Parameters
    ----------
    source, dest
        As given to :meth:`Store.write`.
    name
        A name of the registry; None to go by the suffix of ``dest``.

    Raises
    ------
    RefusedError
        If there is no such source or format, the suffix does not tell, or the format is not made
        of such a source.
    """
    if not os.path.lexists(source):
        raise RefusedError(source, "is not there", "Name an h5USID file, or a store.")
    kind = kind_of(source)
    if name is None:
        chosen = _guessed(kind, dest)
    elif name in FORMATS:
        chosen = FORMATS[name]
    else:
        raise RefusedError("--format", f"there is no format {name!r}", f"Use {_listed(FORMATS)}.")
    if chosen.source != kind:
        raise _wrong_kind(source, kind, chosen)
    return chosen


def _guessed(kind: SourceKind, dest: Path) -> Format:
    """Return the format that a suffix stands for; ``.h5`` tells only where a store is given."""
    suffix = dest.suffix.lower()
    matching = [line for line in FORMATS.values() if suffix in line.suffixes]
    if suffix == ".h5" and kind == "file":
        matching = []
    if not matching:
        fitting = [name for name, line in FORMATS.items() if line.source == kind]
        raise RefusedError(
            dest, "does not tell which format to make", f"Add --format {_listed(fitting)}."
        )
    return matching[0]


def _wrong_kind(source: Path, kind: SourceKind, chosen: Format) -> RefusedError:
    """Return what to do about a source that the format is not made of."""
    if kind == "file":
        return RefusedError(
            source,
            f"is a file; {chosen.name} is made of a store",
            "Make a store of the file first: `usid convert FILE STORE.zarr`.",
        )
    remedy = "Make the file first: `usid convert STORE OUT.h5 --format usid`."
    if chosen.name == "zarr":
        remedy = "For other chunks use `usid rechunk`."
    return RefusedError(source, f"is a folder; {chosen.name} is made of an h5USID file", remedy)


def _listed(names: Sequence[str] | dict[str, Format]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} or {last}" if rest else last


def load_store(chosen: Format) -> Store:
    """Return the module that writes a format.

    Raises
    ------
    RefusedError
        If a package that it needs is not installed.
    """
    for package in chosen.packages:
        if importlib.util.find_spec(package) is None:
            raise RefusedError(
                f"--format {chosen.name}",
                f"needs the package {package}, which is not installed",
                "Install it: pip install 'usid-flows[formats]'.",
            )
    return cast("Store", importlib.import_module(chosen.module))
