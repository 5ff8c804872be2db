"""Metadata that HDF5 has no type for, as JSON: nothing is lost, and it is read back as it was.

JSON objects of one key that begins with ``$`` stand for what JSON does not have, such as
``{"$datetime": "2026-11-22T10:15:00+01:00"}``. A dictionary that could be mistaken for one, or
whose keys are no texts, is ``{"$dict": [[key, value], ...]}``.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import numpy as np

from usid_tasks.model import JSON

_MARK = "$"


def to_text(value: Any) -> str:
    """Return a value as JSON.

    Raises
    ------
    TypeError
        If it, or a part of it, is of a type that is not known here.
    ValueError
        If it is nested too deeply, or holds itself.
    """
    try:
        return json.dumps(_encoded(value), allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or holds itself") from error


def from_text(text: str) -> Any:
    """Return the value that :func:`to_text` was given.

    Raises
    ------
    ValueError
        If the text is none of its.
    """
    return json.loads(text, object_hook=_decoded)


def _encoded(value: Any) -> JSON:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.generic, np.ndarray)) and not isinstance(value, float):
        return _encoded_array(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, Mapping):
        return _encoded_mapping(value)
    for kind, (name, encode) in _ENCODERS.items():
        if isinstance(value, kind):
            return {f"{_MARK}{name}": encode(value)}
    raise TypeError(f"type {type(value).__name__}")


def _encoded_mapping(value: Mapping[Any, Any]) -> JSON:
    if all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
        return {str(key): _encoded(item) for key, item in value.items()}
    return {"$dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}


def _encoded_array(value: Any) -> JSON:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array: fill it first")
    array = np.asarray(value)
    name = "scalar" if isinstance(value, np.generic) else "array"
    if array.dtype.kind in "OT":
        items = [_encoded(item) for item in array.ravel().tolist()]
        return {"$objects": {"shape": list(array.shape), "items": items}}
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype}")
    dtype = array.dtype.str if array.dtype.names is None else _listed(array.dtype.descr)
    data = b64encode(array.tobytes()).decode("ascii")
    return {f"{_MARK}{name}": {"dtype": dtype, "shape": list(array.shape), "data": data}}


def _listed(descr: Any) -> JSON:
    return [_listed(part) if isinstance(part, (list, tuple)) else part for part in descr]


_ENCODERS: Mapping[type | tuple[type, ...], tuple[str, Callable[[Any], JSON]]] = {
    complex: ("complex", lambda value: [_encoded(value.real), _encoded(value.imag)]),
    (bytes, bytearray): ("bytes", lambda value: b64encode(value).decode("ascii")),
    tuple: ("tuple", lambda value: [_encoded(item) for item in value]),
    (set, frozenset): ("set", lambda value: [_encoded(item) for item in value]),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
    ),
    Decimal: ("decimal", str),
    PurePath: ("path", str),
}


def _decoded(found: dict[str, JSON]) -> Any:
    if len(found) == 1:
        ((key, value),) = found.items()
        if key.startswith(_MARK):
            return _DECODERS[key[1:]](value)
    return found


def _decoded_array(told: dict[str, JSON]) -> np.ndarray:
    dtype = np.dtype(_descr(told["dtype"]))
    data = np.frombuffer(b64decode(told["data"]), dtype)
    return data.reshape(told["shape"]).copy()


def _descr(told: JSON) -> Any:
    if isinstance(told, str):
        return told
    return [
        tuple(_descr(part) if number == 1 else _shape(part) for number, part in enumerate(field))
        for field in told
    ]


def _shape(part: JSON) -> Any:
    return tuple(part) if isinstance(part, list) else part


def _decoded_objects(told: dict[str, JSON]) -> np.ndarray:
    array = np.empty(len(told["items"]), object)
    for place, item in enumerate(told["items"]):
        array[place] = item
    return array.reshape(told["shape"])


_DECODERS: Mapping[str, Callable[[JSON], Any]] = {
    "float": float,
    "complex": lambda parts: complex(*parts),
    "bytes": b64decode,
    "tuple": tuple,
    "set": set,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "decimal": Decimal,
    "path": PurePath,
    "dict": dict,
    "array": _decoded_array,
    "scalar": lambda told: _decoded_array(told)[()],
    "objects": _decoded_objects,
}
