"""Choosing a codec by measurement: sample chunks are encoded and decoded by each candidate."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from usid_tasks.codec_names import Objective
from usid_tasks.codecs import NO_CODEC, Codec, parse_codec
from usid_tasks.model import JSON

CANDIDATES = (
    NO_CODEC,
    parse_codec("blosc-lz4", 5),
    parse_codec("blosc-lz4-bitshuffle", 5),
    parse_codec("zstd", 1),
    parse_codec("blosc-zstd", 1),
    parse_codec("blosc-zstd-bitshuffle", 1),
    parse_codec("zstd", 5),
    parse_codec("blosc-zstd", 5),
    parse_codec("blosc-zstd-bitshuffle", 5),
)
"""What ``auto`` chooses from; the earlier one wins a tie."""

FAST_CANDIDATES = CANDIDATES[:6]
"""What ``auto`` chooses from for ``fast``: of one codec the lowest level is always the fastest."""

WRITE_SPEED = 1e9
"""Bytes a second that one thread writes where nothing else is told."""

READ_SPEED = 10e9
"""Bytes a second that one thread reads back of what it has just written, from memory."""

_PIECE_BYTES = 2**20
_SAMPLE_BYTES = 8 * 2**20
_SAMPLE_S = 0.2
_LEAST_S = 0.05
_ROUNDS = 3
_REPEAT_S = 0.0015
_TIME_TIE = 1.05
_SIZE_TIE = 1.02


@dataclass(frozen=True)
class Measured:
    """What one codec made of the samples: bytes before and after, seconds of one thread."""

    codec: Codec
    sampled_bytes: int
    stored_bytes: int
    encode_s: float
    decode_s: float

    @property
    def ratio(self) -> float:
        """Bytes before encoding for each byte stored."""
        return self.sampled_bytes / self.stored_bytes

    def seconds(self, write_speed: float) -> float:
        """Return the time to encode, write, read back and decode, by one thread."""
        moved = self.stored_bytes / write_speed + self.stored_bytes / READ_SPEED
        return self.encode_s + moved + self.decode_s

    def to_json(self) -> dict[str, JSON]:
        """Return the row as JSON; speeds are in MB/s, null where nothing is done."""
        return {
            **self.codec.to_json(),
            "ratio": round(self.ratio, 4),
            "stored_bytes": self.stored_bytes,
            "encode_mb_per_s": _megabytes(self.sampled_bytes, self.encode_s),
            "decode_mb_per_s": _megabytes(self.sampled_bytes, self.decode_s),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, JSON], sampled_bytes: int) -> Self:
        """Return the row that was written as JSON, its times as exact as the speeds there."""
        times = [
            sampled_bytes / 1e6 / speed if speed else 0.0
            for speed in (row["encode_mb_per_s"], row["decode_mb_per_s"])
        ]
        codec = parse_codec(row["name"], row["level"])
        return cls(codec, sampled_bytes, row["stored_bytes"], *times)


def _megabytes(n_bytes: int, seconds: float) -> float | None:
    return round(n_bytes / seconds / 1e6, 1) if seconds else None


@dataclass(frozen=True)
class Choice:
    """The codec chosen, and what was measured; nothing of an array that has no bytes."""

    codec: Codec
    objective: Objective
    write_speed: float
    measured: tuple[Measured, ...]

    @property
    def ratio(self) -> float:
        """What the codec made of the samples: bytes before encoding for each byte stored."""
        return next((row.ratio for row in self.measured if row.codec == self.codec), 1.0)

    def to_json(self) -> dict[str, JSON]:
        """Return the choice as a receipt holds it."""
        return {
            **self.codec.to_json(),
            "objective": self.objective,
            "ratio": round(self.ratio, 4),
            "sampled_bytes": max((row.sampled_bytes for row in self.measured), default=0),
            "write_mb_per_s": round(self.write_speed / 1e6, 1),
            "candidates": [row.to_json() for row in self.measured],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Self:
        """Return the choice that was written as JSON."""
        rows = (Measured.from_json(row, told["sampled_bytes"]) for row in told["candidates"])
        codec = parse_codec(told["name"], told["level"])
        return cls(codec, told["objective"], told["write_mb_per_s"] * 1e6, tuple(rows))


def choose_codec(
    samples: Iterable[NDArray[Any]],
    *,
    objective: Objective = "fast",
    write_speed: float | None = None,
    candidates: Sequence[Codec] | None = None,
) -> Choice:
    """Return the codec that serves an objective best, by measurement on samples.

    See :func:`best_of` for the objectives.

    Parameters
    ----------
    samples
        Some chunks, spread over the array, in C order, of types that are stored alike; not all need
        be taken, and of large ones only the first MiB. None, where the array is empty: the first
        candidate wins.
    objective
        One of :data:`usid_tasks.codec_names.OBJECTIVES`.
    write_speed
        Bytes a second that the storage takes from one thread; :data:`WRITE_SPEED` by default.
    candidates
        The codecs to choose from, at least one; :data:`CANDIDATES`, or for ``fast``
        :data:`FAST_CANDIDATES`, by default.

    Returns
    -------
    Choice
        Made in about 0.2 s for 8 MiB of samples, less for less, but for one round at the least.
        What is measured is the processor's time of one thread, so that other work does not count.
    """
    speed = write_speed or WRITE_SPEED
    if candidates is None:
        candidates = FAST_CANDIDATES if objective == "fast" else CANDIDATES
    pieces = _pieces(samples)
    if not pieces:
        return Choice(candidates[0], objective, speed, ())
    # in a thread of its own: in the main one Blosc may use several
    with ThreadPoolExecutor(1, thread_name_prefix="usid-codecs") as pool:
        measured = pool.submit(_measure, pieces, candidates).result()
    return Choice(best_of(measured, objective, speed).codec, objective, speed, measured)


def best_of(measured: Sequence[Measured], objective: Objective, write_speed: float) -> Measured:
    """Return the row that serves an objective best.

    ``fast``
        The least time to encode, write, read back and decode. Of times within 5% the smallest.
    ``small``
        The least size. Of sizes within 2% the fastest.
    ``balanced``
        The least product of size and the cube root of the time: twice the time is worth it where
        a fifth less is stored.

    Of what is still equal, within these limits, the earlier row wins: a second measurement, which
    is never quite the same, chooses the same codec.
    """

    def seconds(row: Measured) -> float:
        return row.seconds(write_speed)

    def size(row: Measured) -> float:
        return row.stored_bytes

    if objective == "fast":
        return _least(_least(measured, seconds, _TIME_TIE), size, _SIZE_TIE)[0]
    if objective == "small":
        return _least(_least(measured, size, _SIZE_TIE), seconds, _TIME_TIE)[0]
    return _least(measured, lambda row: size(row) * math.cbrt(seconds(row)), _SIZE_TIE)[0]


def _least(
    measured: Sequence[Measured], cost: Callable[[Measured], float], tie: float
) -> list[Measured]:
    """Return all that cost as little as the cheapest one, or ``tie`` times that, in order."""
    least = min(map(cost, measured))
    return [row for row in measured if cost(row) <= tie * least]


def _pieces(samples: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return copies of the beginnings of samples, each 1-D and 1 MiB at most, 8 MiB in all."""
    pieces: list[NDArray[Any]] = []
    for sample in samples:
        piece = sample.reshape(-1)[: max(_PIECE_BYTES // sample.itemsize, 1)].copy()
        if piece.size:
            pieces.append(piece)
        if sum(piece.nbytes for piece in pieces) >= _SAMPLE_BYTES:
            break
    return pieces


@dataclass
class _Tally:
    """What one codec made of each piece, the best of several rounds."""

    codec: Codec
    stored: dict[int, int] = field(default_factory=dict)
    encode_s: dict[int, float] = field(default_factory=dict)
    decode_s: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, piece: NDArray[Any], out: NDArray[np.uint8]) -> None:
        """Encode and decode a piece again and again for a moment: caches are warm in the end."""
        if not self.codec.is_compressed:  # nothing is done to what is stored as it is
            self.stored[number], self.encode_s[number], self.decode_s[number] = piece.nbytes, 0, 0
            return
        coder = self.codec.coder(piece.itemsize)
        spent = 0.0
        while spent < _REPEAT_S:
            began = time.thread_time()
            data = coder.encode(piece)
            encoded = time.thread_time()
            coder.decode(data, out[: piece.nbytes])
            decoded = time.thread_time()
            spent += decoded - began
            self.stored[number] = len(data)
            self.encode_s[number] = min(encoded - began, self.encode_s.get(number, math.inf))
            self.decode_s[number] = min(decoded - encoded, self.decode_s.get(number, math.inf))

    def result(self, sampled_bytes: int) -> Measured:
        return Measured(
            self.codec,
            sampled_bytes,
            sum(self.stored.values()),
            sum(self.encode_s.values()),
            sum(self.decode_s.values()),
        )


def _measure(pieces: Sequence[NDArray[Any]], candidates: Sequence[Codec]) -> tuple[Measured, ...]:
    """Return what every candidate makes of the same pieces: all, or as many as time allows."""
    began = time.perf_counter()
    total = sum(piece.nbytes for piece in pieces)
    allowed = max(_LEAST_S, _SAMPLE_S * total / _SAMPLE_BYTES)
    tallies = [_Tally(codec) for codec in candidates]
    out = np.empty(max(piece.nbytes for piece in pieces), np.uint8)

    def try_all(number: int) -> float:
        for tally in tallies:
            tally.add(number, pieces[number], out)
        return time.perf_counter() - began

    n_tried = 1 + next(
        (number for number in range(len(pieces)) if try_all(number) > allowed / 2), len(pieces) - 1
    )
    for number in itertools.islice(itertools.cycle(range(n_tried)), n_tried * (_ROUNDS - 1)):
        if try_all(number) > allowed:
            break
    sampled = sum(piece.nbytes for piece in pieces[:n_tried])
    return tuple(tally.result(sampled) for tally in tallies)
