"""The whole catalogue as JSON, or as a table of Main datasets in CSV."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from usid_tasks import durable
from usid_tasks.model import JSON

Record = Mapping[str, JSON]

SOURCE_COLUMNS = (
    *("dest", "key", "state", "outcome", "reason", "size", "digest", "finished", "run"),
    "former_paths",
)
MAIN_COLUMNS = ("path", "outcome", "quantity", "units", "dtype", "shape")


def write_json(stream: TextIO, sources: Iterable[Record], runs: Iterable[Record]) -> None:
    """Write one object, ``{"sources": [...], "runs": [...]}``, a line for each of them."""
    stream.write('{"sources": [')
    _write_lines(stream, sources)
    stream.write('],\n"runs": [')
    _write_lines(stream, runs)
    stream.write("]}\n")


def write_csv(stream: TextIO, sources: Iterable[Record]) -> None:
    """Write a row for each Main dataset, and one for each source that has none.

    Sizes are in bytes; ``dims`` tells every dimension as ``name=size``, ``ranges`` the values of
    every coordinate as ``name=low..high units``, ``findings`` the rules.
    """
    names = [f"main_{name}" for name in MAIN_COLUMNS]
    writer = csv.writer(stream)
    writer.writerow([*SOURCE_COLUMNS, *names, "dims", "ranges", "store", "codec", "findings"])
    for source in sources:
        told = [_cell(source[name]) for name in SOURCE_COLUMNS]
        store = next((one for one in source["outputs"] if not one["is_superseded"]), None)
        rules = dict.fromkeys(finding["rule"] for finding in source["findings"])
        last = [
            store["path"] if store else "",
            store["codec"] if store else "",
            " ".join(rules),
        ]
        for main in source["mains"] or [None]:
            of_main = [_cell(main[name]) for name in MAIN_COLUMNS] if main else [""] * len(names)
            coordinates = main["coordinates"] if main else []
            dims = " ".join(f"{one['name']}={one['size']}" for one in coordinates if one["is_dim"])
            writer.writerow([*told, *of_main, dims, "; ".join(_ranges(coordinates)), *last])


def export_file(path: Path, export: Callable[[TextIO], None]) -> None:
    """Write a file whole or not at all, over what is there.

    Raises
    ------
    UsidError
        If it cannot be written.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with durable.writing(path):
        try:
            with beside.open("x", encoding="utf-8", newline="") as stream:
                export(stream)
            os.replace(beside, path)  # noqa: PTH105 - as durable does
        finally:
            beside.unlink(missing_ok=True)


def _write_lines(stream: TextIO, records: Iterable[Record]) -> None:
    for number, record in enumerate(records):
        stream.write("\n" if number == 0 else ",\n")
        stream.write(json.dumps(record, ensure_ascii=False))


def _cell(value: JSON) -> JSON:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value


def _ranges(coordinates: Iterable[Record]) -> Iterator[str]:
    for one in coordinates:
        if one["low"] is not None:
            yield f"{one['name']}={one['low']:g}..{one['high']:g} {one['units']}".rstrip()
