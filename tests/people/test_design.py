"""DESIGN.md: its table of layers is what the imports say."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

OURS = ("usid_tasks", "flows", "configs")


@dataclass(frozen=True)
class Layer:
    """One row of the table; folders end in ``/``."""

    number: int
    modules: frozenset[str]
    outside: frozenset[str]


def layers(root: Path) -> list[Layer]:
    rows = re.findall(
        r"^\| (\d) [^|]*\|([^|]*)\|([^|]*)\|$", (root / "DESIGN.md").read_text(), re.M
    )
    found = [
        Layer(
            int(number),
            frozenset(re.findall(r"`([^`]+)`", modules)),
            frozenset(re.findall(r"`([^`]+)`", outside)),
        )
        for number, modules, outside in rows
    ]
    assert [layer.number for layer in found] == list(range(len(found)))[::-1]
    return found


def place(module: str) -> str:
    """Return how the table calls a module: ``grid``, ``checks/``, ``flows/``."""
    parts = module.split(".")
    if parts[0] == "flows":
        return "flows/"
    return f"{parts[1]}/" if len(parts) > 2 else parts[1]


def modules(root: Path) -> dict[str, ast.Module]:
    found = {}
    for path in (*root.glob("usid_tasks/**/*.py"), *root.glob("flows/**/*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        if name == "usid_tasks.__init__":
            continue  # loads its exports by name, on first use
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(tree: ast.Module, *, at_once: bool = False) -> Iterator[str]:
    """Yield every module imported, but for type checkers only; ``at_once``: not in functions."""
    passed_over = {
        id(inner)
        for node in ast.walk(tree)
        if (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        or (at_once and isinstance(node, ast.FunctionDef))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in passed_over:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


@pytest.fixture(scope="module")
def parsed(root):
    return modules(root)


@pytest.fixture(scope="module")
def layer_of(root, parsed):
    found: dict[str, Layer] = {}
    for layer in layers(root):
        for name in layer.modules:
            assert name not in found, f"{name} stands twice in DESIGN.md"
            found[name] = layer
    for name in list(found):
        if name.endswith("/"):
            assert (root / name).is_dir() or (root / "usid_tasks" / name).is_dir(), name
    return found


def own_target(name: str, parsed: dict[str, ast.Module]) -> str | None:
    """Return the module that an import of ours leads to: a module, or a name within one."""
    for candidate in (name, f"{name}.__init__", name.rpartition(".")[0]):
        if candidate in parsed:
            return candidate
    package = name.rpartition(".")[0]
    return f"{package}.__init__" if f"{package}.__init__" in parsed else None


def test_every_module_stands_in_the_table_and_nothing_else(parsed, layer_of):
    there = {place(name) for name in parsed}
    assert there == set(layer_of), "enter new modules in DESIGN.md, take old ones out"


def test_imports_run_downwards(parsed, layer_of):
    upwards = []
    for name, tree in parsed.items():
        for imported in imports(tree):
            if imported.split(".")[0] not in ("usid_tasks", "flows"):
                continue
            target = own_target(imported, parsed)
            if target is None:
                assert imported.rpartition(".")[0] == "usid_tasks", (name, imported)
                continue
            if layer_of[place(target)].number > layer_of[place(name)].number:
                upwards.append(f"{name} imports {target}")
    assert upwards == []


def test_no_module_imports_itself_round_a_corner(parsed):
    graph = {
        name: {
            target
            for imported in imports(tree, at_once=True)
            if imported.split(".")[0] in OURS and (target := own_target(imported, parsed))
        }
        - {name}
        for name, tree in parsed.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for target in graph[name]:
                if not target.endswith("__init__"):
                    visit(target, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_each_layer_imports_what_the_table_allows(parsed, layer_of):
    too_much, used = [], {layer.number: set() for layer in layer_of.values()}
    for name, tree in parsed.items():
        layer = layer_of[place(name)]
        for imported in imports(tree):
            package = imported.split(".")[0]
            if package in OURS or package in sys.stdlib_module_names:
                continue
            used[layer.number].add(package)
            if package not in layer.outside:
                too_much.append(f"{name} imports {package}")
    assert too_much == []
    told = {layer.number: set(layer.outside) for layer in layer_of.values()}
    assert used == told, "DESIGN.md tells of packages that nobody imports"


# narrower than the table: packages that only some modules of a layer may import


def importers(parsed, package: str) -> set[str]:
    return {
        place(name)
        for name, tree in parsed.items()
        if any(imported.split(".")[0] == package for imported in imports(tree))
    }


def test_prefect_is_at_the_rim(parsed):
    assert importers(parsed, "prefect") == {"flows/", "tasks"}


def test_h5py_is_where_files_are_read_or_samples_written(parsed):
    assert importers(parsed, "h5py") <= {
        "attributes", "back/", "direct", "extras", "hdf5_types", "process/", "proof", "provenance/",
        "readback", "rosetta/", "samples/", "source", "storage", "stores/", "usid", "writing/",
    }  # fmt: skip


def test_pictures_alone_need_matplotlib(parsed):
    assert importers(parsed, "matplotlib") == {"panels", "pictures"}


def test_pyusid_decides_nothing(parsed):
    assert importers(parsed, "pyUSID") == set()
    assert importers(parsed, "sidpy") == set()
