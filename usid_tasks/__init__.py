"""Read, validate and convert h5USID files.

Everything here is loaded on first use: importing the package starts nothing and imports none
of numpy, h5py, zarr, xarray, dask, prefect or pyUSID.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usid_tasks import rosetta as rosetta
    from usid_tasks.convert import convert_file as convert_file
    from usid_tasks.model import Finding as Finding
    from usid_tasks.model import Severity as Severity
    from usid_tasks.rosetta import file_reader as file_reader
    from usid_tasks.rosetta import file_writer as file_writer
    from usid_tasks.validate import validate_file as validate_file
    from usid_tasks.xarray_engine import open_datatree as open_datatree

__version__ = "0.1.0"

_EXPORTS = {
    "Finding": "usid_tasks.model",
    "Severity": "usid_tasks.model",
    "convert_file": "usid_tasks.convert",
    "file_reader": "usid_tasks.rosetta",
    "file_writer": "usid_tasks.rosetta",
    "open_datatree": "usid_tasks.xarray_engine",
    "validate_file": "usid_tasks.validate",
}

_MODULES = ("rosetta",)

__all__ = [*sorted((*_EXPORTS, *_MODULES)), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    if name in _MODULES:
        return import_module(f"usid_tasks.{name}")
    raise AttributeError(f"module 'usid_tasks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
