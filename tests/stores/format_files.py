"""Files of other formats, as the programs read them that they are meant for."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from usid_tasks.progress import NullProgress
from usid_tasks.settings import Settings, load_settings
from usid_tasks.stores.held import NOTE, given_back
from usid_tasks.stores.registry import FORMATS, Written, load_store

TESTS = Path(__file__).resolve().parents[1]
Signal = dict[str, Any]

OF_HYPERSPY = ("hspy", "zspy")
OF_SIGNALS = (*OF_HYPERSPY, "nsid")
SUFFIXES = {"hspy": ".hspy", "zspy": ".zspy", "nsid": ".h5"}
REAL = {
    "SingFreqPFM_0003.h5": 4,
    "simulated_STEM_Image.h5": 1,
    "AFM_Force_Curve.h5": 1,
    "sparse_sampling.h5": 7,
    "Nodax_Spectral_Array.ptir": 7,
}


def settings(**convert: Any) -> Settings:
    """Return the settings, some of those of converting changed."""
    told = load_settings()
    return told.model_copy(update={"convert": told.convert.model_copy(update=convert)})


def write(form: str, source: Path, dest: Path | None = None, **options: Any) -> Written:
    """Make another format of a file, beside it unless told otherwise."""
    dest = dest or source.with_name(f"out{SUFFIXES[form]}")
    given = {
        "datasets": (), "settings": settings(), "overwrite": False, "progress": NullProgress(),
        **options,
    }  # fmt: skip
    return load_store(FORMATS[form]).write(source, dest, **given)


@contextmanager
def quiet_peers() -> Iterator[None]:
    """Let pass what readers of others warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"rsciio|hyperspy|sidpy|pyNSID|dask|zarr")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def read_by_rosettasciio(path: Path, *, lazy: bool = False) -> list[Signal]:
    """Return the signals that RosettaSciIO reads, and what it has of their metadata."""
    api = importlib.import_module(f"rsciio.{path.suffix[1:]}")
    with quiet_peers():
        found: list[Signal] = api.file_reader(str(path), lazy=lazy)
    return found


def read_by_hyperspy(hs: Any, path: Path, *, lazy: bool) -> list[Signal]:
    """Return the signals that HyperSpy loads, told as RosettaSciIO would tell them."""
    with quiet_peers():
        loaded = hs.load(str(path), lazy=lazy)
        loaded = loaded if isinstance(loaded, list) else [loaded]
        return [_told(one, lazy=lazy) for one in loaded]


def _told(signal: Any, *, lazy: bool) -> Signal:
    assert signal._lazy is lazy
    axes = []
    for axis in signal.axes_manager._axes:
        told = {
            "name": axis.name, "units": axis.units, "size": axis.size, "navigate": axis.navigate,
            "index_in_array": axis.index_in_array,
        }  # fmt: skip
        if axis.is_uniform:
            told |= {"offset": axis.offset, "scale": axis.scale}
        else:
            told["axis"] = np.asarray(axis.axis)
        axes.append(told)
    return {
        "data": np.asarray(signal.data),
        "axes": axes,
        "metadata": _computed(signal.metadata.as_dictionary()),
        "original_metadata": _computed(signal.original_metadata.as_dictionary()),
    }


def _computed(value: Any) -> Any:
    """Return metadata with the lazy arrays in it computed."""
    if isinstance(value, dict):
        return {key: _computed(part) for key, part in value.items()}
    return value.compute() if hasattr(value, "compute") else value


def computed(signals: list[Signal]) -> list[Signal]:
    """Return lazy signals with their arrays, those of the metadata too."""
    return [_computed(one) for one in signals]


def notes_of(path: Path) -> dict[str, str]:
    """Return what a file tells of the metadata it holds as JSON, by the title of the signal."""
    if path.suffix == ".zspy":
        groups = zarr.open_group(path, mode="r")["Experiments"]
        titles = {name: groups[name]["metadata/General"].attrs["title"] for name in groups}
        return {titles[name]: groups[name].attrs[NOTE] for name in groups}
    with h5py.File(path) as file:
        found = (
            [file["Experiments"][name] for name in file["Experiments"]]
            if path.suffix == ".hspy"
            else [file[main].parent for main in mains_of_nsid(path)]
        )
        return {group["metadata/General"].attrs["title"]: group.attrs[NOTE] for group in found}


def restored(signal: Signal, note: str) -> Signal:
    """Return the metadata of a signal as they were before the format held them."""
    return given_back({key: signal[key] for key in ("metadata", "original_metadata")}, note)


def is_noted(note: str) -> bool:
    """Return whether anything had to be changed for the format to hold it."""
    return any(json.loads(note).values())


def mains_of_nsid(path: Path) -> list[str]:
    """Return the paths of the Main datasets that pyNSID finds."""
    from pyNSID.io.hdf_utils import get_all_main

    with h5py.File(path) as file, quiet_peers():
        return [main.name for main in get_all_main(file)]


def read_nsid(path: Path) -> list[Signal]:
    """Return the Main datasets of an NSID file by h5py, as signals; axes have all their Values."""
    found = []
    with h5py.File(path) as file:
        for name in mains_of_nsid(path):
            main, axes = file[name], []
            for at, dim in enumerate(main.dims):
                scale = dim[0]
                assert scale.parent == main.parent
                axes.append({
                    "name": scale.attrs["quantity"], "units": scale.attrs["units"],
                    "values": scale[()], "type": scale.attrs["dimension_type"],
                    "label": dim.label, "index_in_array": at,
                })  # fmt: skip
            found.append({
                "data": main[()],
                "axes": axes,
                "attributes": dict(main.attrs),
                **{key: _level(main.parent[key]) for key in ("metadata", "original_metadata")},
            })  # fmt: skip
    return found


def _level(group: h5py.Group) -> dict[str, Any]:
    return {**dict(group.attrs), **{name: _level(group[name]) for name in group}}
