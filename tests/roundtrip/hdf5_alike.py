"""Whether two HDF5 files hold the same, down to types, storage and bits: h5py's low level only.

Nothing here comes from the code under test. What is not compared is told by ``docs/roundtrip.md``:
times, order of creation, addresses, the user block, bytes behind the end of a text, and the gaps
between the fields of a compound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5r, h5s, h5t


def assert_alike(one: Path, two: Path, *, but: Iterable[tuple[str, str]] = ()) -> None:
    """Fail with a list of all that differs; ``but`` are pairs of path and part that must."""
    found = {(path, part): told for path, part, told in differences(one, two)}
    wrong = {pair: told for pair, told in found.items() if pair not in set(but)}
    assert not wrong, "\n".join(f"{path} ({part}): {told}" for (path, part), told in wrong.items())
    needless = set(but) - found.keys()
    assert not needless, f"told to differ, and does not: {needless}"


def differences(one: Path, two: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, part and what differs, of everything that two files hold."""
    with h5py.File(one, "r") as left, h5py.File(two, "r") as right:
        yield from _Walk(left, right).groups(b"/")


def _told(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


class _Walk:
    def __init__(self, left: h5py.File, right: h5py.File) -> None:
        self.files = (left, right)
        self.partners: dict[int, int] = {}

    def groups(self, path: bytes) -> Iterator[tuple[str, str, str]]:
        pair = tuple(h5o.open(file.id, path) for file in self.files)
        yield from self.attributes(path, pair)
        links = [_links(group) for group in pair]
        for name in links[0].keys() ^ links[1].keys():
            inside = path.rstrip(b"/") + b"/" + name
            yield _told(inside), "/values", f"only in {'first' if name in links[0] else 'last'}"
        for name in sorted(links[0].keys() & links[1].keys()):
            inside = path.rstrip(b"/") + b"/" + name
            (kind, target), other = links[0][name], links[1][name]
            if kind != h5l.TYPE_HARD or other[0] != h5l.TYPE_HARD:
                if (kind, target) != other:
                    yield _told(inside), "link", f"{kind} {target!r} and {other!r}"
                continue
            if target in self.partners:
                if self.partners[target] != other[1]:
                    yield _told(inside), "link", "leads to another object"
                continue
            self.partners[target] = other[1]
            yield from self.objects(inside)

    def objects(self, path: bytes) -> Iterator[tuple[str, str, str]]:
        pair = tuple(h5o.open(file.id, path) for file in self.files)
        if type(pair[0]) is not type(pair[1]):
            yield _told(path), "class", f"{type(pair[0])} and {type(pair[1])}"
        elif isinstance(pair[0], h5g.GroupID):
            yield from self.groups(path)
        elif isinstance(pair[0], h5d.DatasetID):
            yield from self.attributes(path, pair)
            yield from self.datasets(path, pair)
        else:
            yield from self.attributes(path, pair)
            if not pair[0].equal(pair[1]):
                yield _told(path), "type", "other named types"

    def attributes(self, path: bytes, pair: tuple[Any, Any]) -> Iterator[tuple[str, str, str]]:
        names = [set(_attribute_names(holder)) for holder in pair]
        if names[0] != names[1]:
            for name in names[0] ^ names[1]:
                yield _told(path), _told(name), f"only in {'first' if name in names[0] else 'last'}"
        for name in sorted(names[0] & names[1]):
            held = [h5a.open(holder, name) for holder in pair]
            kinds = [attribute.get_type() for attribute in held]
            if not _same_type(*kinds) or len({_type_name(kind) for kind in kinds}) > 1:
                yield _told(path), _told(name), f"type {_looks(kinds[0])} and {_looks(kinds[1])}"
                continue
            shapes = [_extent(attribute.get_space()) for attribute in held]
            if shapes[0] != shapes[1]:
                yield _told(path), _told(name), f"shape {shapes[0]} and {shapes[1]}"
                continue
            values = [
                _values(file, attribute, attribute.get_type(), attribute.get_space())
                for file, attribute in zip(self.files, held, strict=True)
            ]
            if values[0] != values[1]:
                yield _told(path), _told(name), f"{values[0]!r:.300} and {values[1]!r:.300}"

    def datasets(self, path: bytes, pair: tuple[Any, Any]) -> Iterator[tuple[str, str, str]]:
        kinds = [dataset.get_type() for dataset in pair]
        if not _same_type(*kinds) or len({_type_name(kind) for kind in kinds}) > 1:
            yield _told(path), "/type", f"{_looks(kinds[0])} and {_looks(kinds[1])}"
            return
        extents = [_extent(dataset.get_space()) for dataset in pair]
        if extents[0] != extents[1]:
            yield _told(path), "/storage", f"{extents[0]} and {extents[1]}"
            if extents[0][:2] != extents[1][:2]:
                return
        layouts = [_layout(dataset) for dataset in pair]
        for key in layouts[0]:
            if layouts[0][key] != layouts[1][key]:
                yield _told(path), "/storage", f"{key} {layouts[0][key]} and {layouts[1][key]}"
        values = [
            _values(file, dataset, dataset.get_type(), dataset.get_space())
            for file, dataset in zip(self.files, pair, strict=True)
        ]
        if values[0] != values[1]:
            yield _told(path), "/values", f"{values[0]!r:.300} and {values[1]!r:.300}"


def _links(group: h5g.GroupID) -> dict[bytes, tuple[int, Any]]:
    found: dict[bytes, tuple[int, Any]] = {}

    def note(name: bytes, info: Any) -> None:
        target = info.u
        if info.type in (h5l.TYPE_SOFT, h5l.TYPE_EXTERNAL):
            target = group.links.get_val(name)
        found[name] = (info.type, target, info.cset)  # type: ignore[assignment]

    group.links.iterate(note, info=True)
    return {name: (told[0], told[1]) for name, told in found.items()}


def _attribute_names(holder: Any) -> list[bytes]:
    names: list[bytes] = []
    if h5a.get_num_attrs(holder):
        h5a.iterate(holder, names.append)
    return names


def _same_type(one: h5t.TypeID, two: h5t.TypeID) -> bool:
    """Compare types part by part: HDF5 passes over the charset of text of variable length."""
    if type(one) is not type(two) or one.get_size() != two.get_size():
        return False
    if isinstance(one, h5t.TypeStringID):
        told = [(k.get_cset(), k.get_strpad(), k.is_variable_str()) for k in (one, two)]
        return told[0] == told[1]
    if isinstance(one, h5t.TypeCompoundID):
        members = [
            [(k.get_member_name(n), k.get_member_offset(n)) for n in range(k.get_nmembers())]
            for k in (one, two)
        ]
        return members[0] == members[1] and all(
            _same_type(one.get_member_type(n), two.get_member_type(n))
            for n in range(one.get_nmembers())
        )
    if isinstance(one, (h5t.TypeArrayID, h5t.TypeVlenID)):
        same_base = _same_type(one.get_super(), two.get_super())
        is_array = isinstance(one, h5t.TypeArrayID)
        return same_base and (not is_array or one.get_array_dims() == two.get_array_dims())
    return bool(one.equal(two))


def _type_name(kind: h5t.TypeID) -> bytes | None:
    return h5i.get_name(kind) if kind.committed() else None


def _looks(kind: h5t.TypeID) -> str:
    return f"{type(kind).__name__} {kind.get_size()} {kind.encode().hex()[:200]}"


def _extent(space: h5s.SpaceID) -> tuple[int, Any, Any]:
    is_simple = space.get_simple_extent_type() == h5s.SIMPLE
    dims = space.get_simple_extent_dims() if is_simple else None
    return (
        space.get_simple_extent_type(),
        dims,
        space.get_simple_extent_dims(maxdims=True) if is_simple else None,
    )


def _layout(dataset: h5d.DatasetID) -> dict[str, Any]:
    plist = dataset.get_create_plist()
    layout = plist.get_layout()
    filters = [plist.get_filter(place) for place in range(plist.get_nfilters())]
    return {
        "layout": layout,
        "chunk": plist.get_chunk() if layout == h5d.CHUNKED else None,
        "filters": [(int(f[0]), int(f[1]), tuple(map(int, f[2]))) for f in filters],
        "external": plist.get_external_count(),
        "fill": (plist.fill_value_defined(), _fill(dataset, plist)),
        "written": (
            dataset.get_num_chunks()
            if layout == h5d.CHUNKED
            else dataset.get_storage_size() > 0 or layout == h5d.VIRTUAL
        ),
        "times": (plist.get_alloc_time(), plist.get_fill_time()),
    }


def _fill(dataset: h5d.DatasetID, plist: Any) -> bytes:
    if plist.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED:
        return b""
    value = np.zeros((), dataset.dtype)
    plist.get_fill_value(value)
    return b"" if value.dtype.hasobject else bytes(value.tobytes())


def _values(file: h5py.File, held: Any, kind: h5t.TypeID, space: h5s.SpaceID) -> Any:
    """Return all values as comparable things: bytes of numbers and texts, paths of references."""
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    shape = space.shape
    if not _has_pointers(kind):
        cells = np.zeros(shape, f"V{kind.get_size()}")
        if cells.size:
            _read(held, cells, kind)
        if _is_whole(kind):
            return cells.tobytes()
        return [_plain(cell.tobytes(), kind) for cell in cells.ravel()]
    cells = np.zeros(shape, kind.dtype)
    if cells.size:
        _read(held, cells, h5t.py_create(kind.dtype))
    flat = cells.reshape((int(np.prod(shape)), *cells.shape[len(shape) :]))
    return [_pointed(file, cell, kind) for cell in flat]


def _read(held: Any, cells: np.ndarray, memory: h5t.TypeID) -> None:
    if isinstance(held, h5a.AttrID):
        held.read(cells, mtype=memory)
    else:
        held.read(h5s.ALL, h5s.ALL, cells, mtype=memory)


def _has_pointers(kind: h5t.TypeID) -> bool:
    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    if isinstance(kind, h5t.TypeCompoundID):
        return any(_has_pointers(kind.get_member_type(k)) for k in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _has_pointers(kind.get_super())
    return isinstance(kind, (h5t.TypeVlenID, h5t.TypeReferenceID))


def _is_whole(kind: h5t.TypeID) -> bool:
    """Return whether every byte of a number is part of its value."""
    if isinstance(kind, h5t.TypeFloatID):
        return bool(kind.get_precision() == 8 * kind.get_size())
    return isinstance(kind, h5t.TypeIntegerID)


def _plain(raw: bytes, kind: h5t.TypeID) -> Any:
    """Return the bytes of one cell that are values: not gaps, nor what follows a terminator."""
    if isinstance(kind, h5t.TypeCompoundID):
        parts = []
        for k in range(kind.get_nmembers()):
            inner, start = kind.get_member_type(k), kind.get_member_offset(k)
            parts.append(_plain(raw[start : start + inner.get_size()], inner))
        return tuple(parts)
    if isinstance(kind, h5t.TypeArrayID):
        base = kind.get_super()
        size = base.get_size()
        return tuple(_plain(raw[at : at + size], base) for at in range(0, len(raw), size))
    if isinstance(kind, h5t.TypeStringID) and kind.get_strpad() == h5t.STR_NULLTERM:
        return raw.partition(b"\0")[0]
    if isinstance(kind, h5t.TypeFloatID) and kind.get_order() == h5t.ORDER_LE:
        return raw[: -(-kind.get_precision() // 8)]  # a long double leaves bytes unused
    return raw


def _pointed(file: h5py.File, cell: Any, kind: h5t.TypeID) -> Any:
    if isinstance(kind, h5t.TypeStringID):
        text = cell.encode("utf-8", "surrogateescape") if isinstance(cell, str) else bytes(cell)
        return text if kind.is_variable_str() else text.rstrip(b"\0")
    if isinstance(kind, h5t.TypeReferenceID):
        return _reference(file, cell)
    if isinstance(kind, h5t.TypeVlenID):
        return tuple(_pointed(file, each, kind.get_super()) for each in cell)
    if isinstance(kind, h5t.TypeArrayID):
        return tuple(_pointed(file, each, kind.get_super()) for each in np.ravel(cell))
    if isinstance(kind, h5t.TypeCompoundID) and cell.dtype.names is not None:
        return tuple(
            _pointed(file, cell[name], kind.get_member_type(k))
            for k, name in enumerate(cell.dtype.names)
        )
    return np.asarray(cell).tobytes()


def _reference(file: h5py.File, reference: Any) -> Any:
    if not reference:
        return "null"
    try:
        name = h5r.get_name(reference, file.id)
        target = h5r.dereference(reference, file.id)
    except (ValueError, RuntimeError, KeyError, OSError):
        return "dangling"
    if not name or target is None:
        return "dangling"
    # of several paths of an object HDF5 tells any
    address = h5o.get_info(target).addr
    path = _first_path(file, address)
    if not isinstance(reference, h5r.RegionReference):
        return ("object", path)
    space = h5r.get_region(reference, file.id)
    kind = space.get_select_type()
    told: Any = None
    if kind == h5s.SEL_HYPERSLABS:
        chosen = np.zeros(space.shape, bool)
        for low, high in space.get_select_hyper_blocklist():
            chosen[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
        told = chosen.tobytes()
    elif kind == h5s.SEL_POINTS:
        told = space.get_select_elem_pointlist().tolist()
    return ("region", path, kind, told)


def _first_path(file: h5py.File, address: int) -> bytes:
    """Return the first path of an object in alphabetical order, breadth first."""
    seen: set[int] = set()
    pending = [b"/"]
    while pending:
        path = pending.pop(0)
        held = h5o.open(file.id, path)
        info = h5o.get_info(held)
        if info.addr == address:
            return path
        if info.addr in seen or not isinstance(held, h5g.GroupID):
            continue
        seen.add(info.addr)
        pending += [
            path.rstrip(b"/") + b"/" + name
            for name, (kind, _) in sorted(_links(held).items())
            if kind == h5l.TYPE_HARD
        ]
    return b"?"
