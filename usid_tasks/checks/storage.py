"""Rules on how HDF5 keeps the values: R6, and S1 to S5."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from usid_tasks.checks.main_datasets import MAIN_DATA
from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation, listed
from usid_tasks.checks.subjects import Judged, JudgedFile
from usid_tasks.records import Candidate, Dataset
from usid_tasks.sizes import format_size

_BRING_BACK = {
    "virtual": "bring the other files back, beside this one",
    "external": "bring the raw files back; HDF5 looks for them in the current folder, and beside "
    "this file where the variable HDF5_EXTFILE_PREFIX is '${ORIGIN}'",
}
_NOT_COMPRESSING = frozenset(["shuffle", "fletcher32"])


def size_of(dataset: Dataset) -> int:
    """Return the bytes of all values, uncompressed; 0 where they have no fixed size."""
    if dataset.shape is None or dataset.dtype is None:
        return 0
    return math.prod(dataset.shape) * dataset.dtype.itemsize


def _chunk_size(dataset: Dataset) -> int | None:
    """Return the bytes of one chunk, None where there are none."""
    if dataset.storage.chunks is None or dataset.dtype is None:
        return None
    return math.prod(dataset.storage.chunks) * dataset.dtype.itemsize


def _whole_positions(judged: Judged) -> Iterator[Violation]:
    chunks, shape = judged.candidate.dataset.storage.chunks, judged.shape
    if chunks is not None and shape is not None and len(chunks) == 2 and chunks[1] < shape[1]:
        n_chunks = -(-shape[1] // chunks[1])
        found = f"chunks of {chunks}: the {shape[1]} steps of one position lie in {n_chunks}"
        yield Violation(judged.path, found)


def _chunks_not_small(judged: Judged) -> Iterator[Violation]:
    dataset = judged.candidate.dataset
    chunk, least = _chunk_size(dataset), judged.thresholds.chunk_min
    if chunk is not None and chunk < least < size_of(dataset):
        counts = zip(dataset.shape or (), dataset.storage.chunks or (), strict=True)
        n_chunks = math.prod(-(-size // edge) for size, edge in counts)
        yield Violation(
            judged.path,
            f"{n_chunks} chunks of {format_size(chunk)}",
            f"chunks of at least {format_size(least)} (validate.chunk_min)",
        )


def _chunks_not_large(judged: Judged) -> Iterator[Violation]:
    chunk, most = _chunk_size(judged.candidate.dataset), judged.thresholds.chunk_max
    if chunk is not None and chunk > most:
        yield Violation(
            judged.path,
            f"chunks of {format_size(chunk)}",
            f"chunks of at most {format_size(most)} (validate.chunk_max)",
        )


def _large_is_compressed(judged: Judged) -> Iterator[Violation]:
    dataset = judged.candidate.dataset
    size, limit = size_of(dataset), judged.thresholds.uncompressed_info
    if size > limit and not set(dataset.storage.filters) - _NOT_COMPRESSING:
        yield Violation(
            judged.path,
            f"{format_size(size)} without compression",
            f"compression above {format_size(limit)} (validate.uncompressed_info)",
        )


def _datasets(judged: Judged) -> Iterator[tuple[str, Dataset]]:
    """Yield the Main dataset and its tables, each with what to call it."""
    yield "", judged.candidate.dataset
    for attribute, table in judged.candidate.ancillaries.items():
        yield f"{attribute}: ", table.dataset


def _values_are_here(judged: Judged) -> Iterator[Violation]:
    for name, dataset in _datasets(judged):
        storage = dataset.storage
        kind = "virtual" if storage.layout == "virtual" else "external"
        gone = [f"{part.file}: {part.problem}" for part in storage.elsewhere if part.problem]
        files = [part.file for part in storage.elsewhere if part.file != "."]
        if gone:
            yield Violation(
                dataset.path,
                f"{name}{kind} storage whose values are not there ({listed(gone)})",
                "values, not what HDF5 invents in their place",
                _BRING_BACK[kind],
                severity=ERROR,
            )
        elif files:
            yield Violation(dataset.path, f"{name}{kind} storage: values in {listed(files)}")


def _other_values_are_here(file: JudgedFile) -> Iterator[Violation]:
    candidates = file.record.candidates
    known = {path for one in candidates.values() for path in (one.path, *_table_paths(one))}
    for path, dataset in file.record.datasets.items():
        told = [
            f"{part.file} ({part.problem})" if part.problem else part.file
            for part in dataset.storage.elsewhere
            if part.file != "." or part.problem
        ]
        if told and path not in known:
            yield Violation(path, f"{dataset.storage.layout} storage: values in {listed(told)}")


def _table_paths(candidate: Candidate) -> list[str]:
    return [table.dataset.path for table in candidate.ancillaries.values()]


def _values_were_written(judged: Judged) -> Iterator[Violation]:
    for name, dataset in _datasets(judged):
        shape, rows = dataset.shape, dataset.storage.unwritten
        # a table of one point that was left at zero is as it should be
        if not rows or not shape or (name and math.prod(shape) == 1):
            continue
        if not dataset.storage.size_bytes and dataset.storage.layout != "virtual":
            told = f"no value was ever written ({shape[0]} rows)"
        else:
            n_rows = sum(stop - start for start, stop in rows)
            runs = [f"{start} to {stop - 1}" for start, stop in rows]
            told = f"{n_rows} of {shape[0]} rows not written, or in part: {listed(runs)}"
        yield Violation(dataset.path, name + told)


R6 = Rule(
    id="R6",
    severity=INFO,
    title="Chunks hold whole positions",
    why="Chunking and compression are optional. Data are mostly read by position: a chunk that "
    "holds a part of its steps is decoded again for the rest.",
    section=MAIN_DATA,
    expected="no chunks, or chunks as wide as the dataset",
    remedy="nothing needs to be done: stores are chunked anew",
    example="chunks of (12, 2): the 5 steps of one position lie in 3",
    find=_whole_positions,
)
S1 = Rule(
    id="S1",
    severity=INFO,
    title="Chunks are not small",
    why="Every chunk costs a look-up and a read; the HDF Group recommends 100 kB to 1 MB.",
    section=MAIN_DATA,
    expected="chunks of at least validate.chunk_min",
    remedy="nothing needs to be done: stores are chunked anew; reading the source is slow",
    example="6 chunks of 40 B",
    find=_chunks_not_small,
)
S2 = Rule(
    id="S2",
    severity=INFO,
    title="Chunks are not large",
    why="A chunk is decoded as a whole, for a single value too.",
    section=MAIN_DATA,
    expected="chunks of at most validate.chunk_max",
    remedy="nothing needs to be done: stores are chunked anew; reading the source takes memory",
    example="chunks of 1.6 KiB",
    find=_chunks_not_large,
)
S3 = Rule(
    id="S3",
    severity=INFO,
    title="Large datasets are compressed",
    why="Compression is optional; measured data mostly shrink to a half.",
    section=MAIN_DATA,
    expected="compression above validate.uncompressed_info",
    remedy="nothing needs to be done: stores are compressed",
    example="240 B without compression",
    find=_large_is_compressed,
)
S4 = Rule(
    id="S4",
    severity=WARNING,
    varies="error where a Main dataset or table of it needs a file that is missing or too short",
    title="Values lie in this file",
    why="HDF5 shows the fill value, without a word, for whatever it does not find in another "
    "file; and a copy of this file alone is empty.",
    section="HDF5",
    expected="values in this file",
    remedy="keep the files together, or copy all into one (h5repack)",
    example="virtual storage: values in part.h5",
    find=_values_are_here,
)
S4_OTHERS = replace(S4, find=_other_values_are_here)
S5 = Rule(
    id="S5",
    severity=WARNING,
    title="Every value was written",
    why="Where nothing was written, or a virtual dataset has no source, HDF5 shows the fill "
    "value, mostly 0: it was not measured.",
    section="HDF5",
    expected="all values written",
    remedy="take these rows for not measured: the scan or the analysis was not finished",
    example="6 of 12 rows not written, or in part: 6 to 11",
    find=_values_were_written,
)
