"""Layers of the configuration: files, variables and overrides, before they are merged.

A layer maps dotted keys (``ingest.settle_s``) to values and where each was written. Whatever
is not a known key is refused here, with the nearest right name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from usid_tasks.errors import SettingsError

RESERVED_VARIABLES = {
    "USID_CONFIG": "the site's configuration file, where --config is not given",
    "USID_DEBUG": "1 shows the traceback of every failure",
}
"""Variables that begin like a setting and are none."""

_PREFIX = "USID_"


@dataclass(frozen=True)
class Origin:
    """A setting's value as it was written, and where.

    ``source`` is ``default``, ``FILE:LINE``, the name of a variable, or ``override``.
    """

    value: Any
    source: str


Layer = dict[str, Origin]


def variable_name(key: str) -> str:
    """Return the environment variable that sets a dotted key."""
    return _PREFIX + key.upper().replace(".", "__")


def read_default() -> Layer:
    """Return the configuration that ships with the package, complete."""
    text = (files("configs") / "default.yaml").read_text(encoding="utf-8")
    return {
        key: Origin(origin.value, "default") for key, origin in _parse(text, "default.yaml").items()
    }


def read_file(path: Path, known: Collection[str]) -> Layer:
    """Return the layer that a site's file holds.

    Raises
    ------
    SettingsError
        Where the file is missing, cannot be read, is not the YAML that is expected, or holds
        an unknown key.
    """
    path = path.expanduser().absolute()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(
            path,
            f"the configuration file cannot be read ({reason})",
            "Correct --config, the flow parameter config, or USID_CONFIG.",
        ) from error
    layer = _parse(text, str(path))
    for key, origin in layer.items():
        if key not in known:
            raise _unknown(origin.source, key, nearest(key, known), known)
    return layer


def read_variables(env: Mapping[str, str], known: Collection[str]) -> Layer:
    """Return the layer that ``USID_<SECTION>__<KEY>`` variables make.

    Raises
    ------
    SettingsError
        Where a variable begins with ``USID_`` and names no setting, or a list is no JSON.
    """
    names = {variable_name(key): key for key in known}
    layer: Layer = {}
    for name in sorted(env):
        if not name.upper().startswith(_PREFIX) or name in RESERVED_VARIABLES:
            continue
        if name not in names:
            raise _unknown(name, name, _nearest_variable(name, names), names)
        layer[names[name]] = Origin(_decode(name, env[name]), name)
    return layer


def read_overrides(overrides: Mapping[str, Any], known: Collection[str]) -> Layer:
    """Return the layer that a caller's ``{section: {key: value}}`` makes.

    Raises
    ------
    SettingsError
        Where a section or key is unknown.
    """
    layer: Layer = {}
    for section, settings in overrides.items():
        if not isinstance(settings, Mapping):
            raise _not_a_section("override", section, settings)
        for key, value in settings.items():
            dotted = f"{section}.{key}"
            if dotted not in known:
                raise _unknown("override", dotted, nearest(dotted, known), known)
            layer[dotted] = Origin(value, "override")
    return layer


def nearest(key: str, known: Collection[str]) -> str | None:
    """Return the known dotted key that an unknown one most likely means, or None.

    The right name in the wrong section comes first, then the closest spelling.
    """
    last = key.rpartition(".")[2]
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    if elsewhere:
        return difflib.get_close_matches(key, elsewhere, 1, 0)[0]
    close = difflib.get_close_matches(key, known, 1, 0.6)
    if close:
        return close[0]
    by_last = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(last, by_last, 1, 0.75)
    return by_last[close[0]] if close else None


def refusal(error: ValidationError, merged: Layer) -> SettingsError:
    """Return one error that tells key, found and expected for each bad value."""
    places, told = [], []
    for problem in error.errors():
        section = str(problem["loc"][0])
        dotted = ".".join(str(part) for part in problem["loc"][:2])
        expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        expected = expected.replace("a valid tuple", "a list")
        if dotted in merged:
            sources, found = [merged[dotted].source], repr(merged[dotted].value)
        else:  # keys of one section that contradict each other
            named = [f"{section}.{word}" for word in expected.split()]
            named = [key for key in dict.fromkeys(named) if key in merged]
            sources = [merged[key].source for key in named if merged[key].source != "default"]
            found = ", ".join(f"{key} = {merged[key].value!r}" for key in named)
        places += sources
        told.append(f"{dotted}: found {found}, expected {expected}")
    return SettingsError(
        ", ".join(dict.fromkeys(places)) or "configuration",
        "; ".join(told),
        "Correct it there; configs/default.yaml shows every setting in its right form.",
    )


def _nearest_variable(name: str, names: Collection[str]) -> str | None:
    rests = {known.removeprefix(_PREFIX): known for known in [*names, *RESERVED_VARIABLES]}
    close = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), rests, 1, 0.6)
    return rests[close[0]] if close else None


def _decode(name: str, text: str) -> Any:
    if text == "null":
        return None
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(
            name,
            f"found {text!r}, expected a list as JSON",
            'Write it as in \'["first", "second"]\'.',
        ) from error


def _parse(text: str, source: str) -> Layer:
    """Return the layer that YAML text holds, each key with the line it stands on."""
    loader = yaml.SafeLoader(text)
    layer: Layer = {}
    try:
        root = loader.get_single_node()
        if root is not None and not _is_null(root):
            for section, section_node, _ in _items(loader, root, source, "the file"):
                if not _is_null(section_node):
                    for key, node, line in _items(loader, section_node, source, section):
                        value = loader.construct_object(node, deep=True)
                        layer[f"{section}.{key}"] = Origin(value, f"{source}:{line}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise SettingsError(
            f"{source}:{mark.line + 1}" if mark else source,
            f"the configuration file is not YAML: {problem}",
            "Quote values that begin with a sign, as in '*.tmp'; default.yaml shows the form.",
        ) from error
    finally:
        loader.dispose()
    return layer


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _items(
    loader: yaml.SafeLoader, node: yaml.Node, source: str, name: str
) -> list[tuple[str, yaml.Node, int]]:
    """Return key, value node and line of each entry of a mapping; refuse what is none."""
    place = f"{source}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        raise _not_a_section(place, name, loader.construct_object(node, deep=True))
    entries: dict[str, tuple[yaml.Node, int]] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        line = key_node.start_mark.line + 1
        if key in entries:
            raise SettingsError(
                f"{source}:{line}",
                f"{key!r} stands twice in {name}, first on line {entries[key][1]}",
                "Keep one of them.",
            )
        entries[key] = (value_node, line)
    return [(key, value_node, line) for key, (value_node, line) in entries.items()]


def _not_a_section(source: str, name: object, value: object) -> SettingsError:
    return SettingsError(
        source,
        f"{name} is {value!r}, expected a section with its settings as 'key: value'",
        "`usid config show` prints every section in its right form.",
    )


def _unknown(
    source: str, name: str, suggestion: str | None, known: Collection[str]
) -> SettingsError:
    if suggestion is not None:
        return SettingsError(
            source,
            f"unknown setting {name!r}",
            f"Did you mean {suggestion!r}? Rename or remove it.",
        )
    section = name.partition(".")[0]
    siblings = [key for key in known if key.startswith(f"{section}.")]
    if not siblings:
        return SettingsError(
            source, f"unknown setting {name!r}", "`usid config show` lists every setting."
        )
    return SettingsError(source, f"unknown setting {name!r}", f"Known are {', '.join(siblings)}.")
