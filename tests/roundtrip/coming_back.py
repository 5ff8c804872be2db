"""A file to a store and back, and what has to hold then."""

from __future__ import annotations

from pathlib import Path

from hdf5_alike import assert_alike

from usid_tasks.convert import convert_file
from usid_tasks.settings import Settings
from usid_tasks.stores.usid import UsidResult, write_usid


def there_and_back(path: Path, folder: Path, *, settings: Settings | None = None) -> UsidResult:
    """Return the file made of the store made of a file, once it is alike but for what is told."""
    settings = settings or Settings()
    store = convert_file(path, folder / "there.zarr", settings=settings).store
    made = write_usid(store, folder / "back" / path.name, settings=settings)
    assert_told(path, made)
    return made


def assert_told(path: Path, made: UsidResult) -> None:
    """Fail unless a file differs from its source in just what is told."""
    assert_alike(path, made.out, but=[(each.path, each.part) for each in made.differences])
