"""A tool of one's own: its declaration, its parameters, its refusals, where it is found."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field
from tool_cases import scan

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.tools import Parameters, find_tool, registry, tool, tools
from usid_tasks.tools.in_memory import compute

SHIPPED = ("background", "fft_filter", "kmeans", "reduce", "sho_fit", "svd")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "tools.md"


def page_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)


def test_the_page_runs():
    """The blocks of docs/tools.md, one after the other."""
    names: dict[str, object] = {"__name__": "page"}
    for block in page_blocks():
        exec(compile(block, str(PAGE), "exec"), names)


def test_the_tool_of_the_page_takes_ten_lines():
    block = next(block for block in page_blocks() if "@tool" in block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 14
    after_imports = block[block.index("class ") :]
    assert len([line for line in after_imports.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_tells_every_parameter(name):
    text = PAGE.read_text("utf-8")
    section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
    for parameter in find_tool(name).parameters.model_fields:
        assert f"| `{parameter}` |" in section, parameter


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_tool_declares_itself(name):
    found = find_tool(name)
    assert found.name == name
    assert found.version
    assert "\n" not in found.summary
    assert len(found.summary) < 90
    assert len(found.algorithm) > len(found.summary)
    for field in found.parameters.model_fields.values():
        assert field.title
        assert field.description
        assert field.examples
    with pytest.raises(RefusedError, match="no_such"):
        found.read_parameters({"no_such": 1})


def test_tools_lists_what_is_shipped():
    listed = {each.name: each for each in tools()}
    assert set(SHIPPED) <= set(listed)
    assert all(listed[name].packages == ("usid-flows",) for name in SHIPPED)


@pytest.mark.parametrize("name", ["nothing", "os:system", "usid_tasks.tools.svd:SVD", "", "SVD"])
def test_an_unknown_name_lists_what_there_is_and_imports_nothing(name):
    before = set(sys.modules)
    with pytest.raises(RefusedError, match="background, fft_filter, kmeans, reduce, sho_fit, svd"):
        find_tool(name)
    assert set(sys.modules) == before


def registered(monkeypatch, *entries):
    found = tuple(EntryPoint(name, value, registry.GROUP) for name, value in entries)
    monkeypatch.setattr(registry, "entry_points", lambda group: found)


def test_two_packages_with_one_name_are_told(monkeypatch):
    registered(
        monkeypatch,
        ("svd", "usid_tasks.tools.svd:SVD"),
        ("svd", "another.place:SVD"),
        ("reduce", "usid_tasks.tools.reduce:REDUCE"),
    )
    with pytest.raises(UsidError, match=r"another\.place and usid_tasks\.tools\.svd both"):
        find_tool("svd")
    broken = {each.name: each for each in tools()}
    assert broken["svd"].tool is None
    assert "both register" in broken["svd"].problem
    assert broken["reduce"].tool is find_tool("reduce")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("usid_tasks.no_such_module:SVD", "ModuleNotFoundError"),
        ("usid_tasks.tools.svd:NO_SUCH", "AttributeError"),
        ("usid_tasks.tools.svd:SVDParameters", "which is no Tool"),
        ("usid_tasks.tools.reduce:REDUCE", "registers the tool 'reduce' under it"),
    ],
)
def test_what_is_no_tool_is_told(monkeypatch, value, told):
    registered(monkeypatch, ("svd", value))
    with pytest.raises(UsidError, match=told):
        find_tool("svd")
    assert told in tools()[0].problem


class Along(Parameters):
    dim: str = Field(title="Dimension", description="Along which.", examples=["S"])
    power: int = Field(1, title="Power", description="Of the values.", ge=1, examples=[2])


@tool(Along, core=lambda p: [p.dim], outputs=lambda h, p: [h.output("Peak", without=[p.dim])])
def peak(block, context):
    """The largest value along a dimension, to a power.

    More is told here.
    """
    return block.max(axis=1) ** context.params.power


def test_a_function_becomes_a_tool():
    assert (peak.name, peak.kind, peak.version) == ("peak", "positions", "1")
    assert peak.summary == "The largest value along a dimension, to a power"
    assert peak.algorithm.endswith("More is told here.")
    array = np.random.default_rng(1).normal(size=(4, 3, 5)).astype("f4")
    header = scan(array, positions={"X": 4}, steps={"S": 3, "T": 5})
    found = compute(peak, array, header, {"dim": "S", "power": "2"}, block_positions=3)
    assert found["Peak"].dtype == np.float32
    np.testing.assert_array_equal(found["Peak"], array.max(axis=1) ** 2)
    (output,) = found.job.outputs
    assert output.dims == (header.dim("X"), header.dim("T"))
    assert output.units == "V"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "dim: Field required"),
        ({"dim": "S", "power": 0}, "power: Input should be greater than or equal to 1"),
        ({"dim": "S", "path": "x"}, "path: Extra inputs are not permitted"),
        ({"dim": "R"}, "dimension 'R': the Main dataset has 'X', 'S'"),
        ({"dim": "X"}, "dimension 'X': it is one of positions"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(given, told):
    array = np.zeros((2, 3))
    with pytest.raises(RefusedError, match=told):
        compute(peak, array, scan(array, positions={"X": 2}, steps={"S": 3}), given)


@pytest.mark.parametrize("dtype", ["V8", "S4", [("a", "f4")]])
def test_what_is_no_number_is_refused(dtype):
    array = np.zeros((2, 3), dtype)
    with pytest.raises(RefusedError, match="Name one component"):
        compute(peak, array, scan(array, positions={"X": 2}, steps={"S": 3}), {"dim": "S"})


def test_results_that_are_not_as_declared_are_told():
    @tool(Along, core=lambda p: [p.dim], outputs=lambda h, p: [h.output("A"), h.output("B")])
    def one_only(block, context):
        """Too few."""
        return block

    @tool(Along, core=lambda p: [p.dim], outputs=lambda h, p: [h.output("A")])
    def transposed(block, context):
        """Rows last."""
        return block.T

    array = np.zeros((2, 3))
    header = scan(array, positions={"X": 2}, steps={"S": 3})
    with pytest.raises(UsidError, match="1 arrays were returned, 2 outputs declared"):
        compute(one_only, array, header, {"dim": "S"})
    with pytest.raises(UsidError, match=r"A has shape \(3, 2\) for 2 rows"):
        compute(transposed, array, header, {"dim": "S"})


def test_a_tool_says_what_it_does():
    with pytest.raises(UsidError, match="no docstring"):

        @tool(Along, core=lambda p: [p.dim], outputs=lambda h, p: [h.output("A")])
        def silent(block, context):
            return block


def test_coordinates_that_no_vector_tells_are_refused():
    @tool(Along, core=lambda p: [p.dim], outputs=lambda h, p: [h.output("A")])
    def scaled(block, context):
        """Times the coordinate."""
        return block * context.values("S")

    array = np.ones((2, 3))
    exact = scan(array, positions={"X": 2}, steps={"S": np.array([1.0, 2.0, 4.0])})
    np.testing.assert_array_equal(compute(scaled, array, exact, {"dim": "S"})["A"][0], [1, 2, 4])
    without = scan(array, positions={"X": 2}, steps={"S": 3})
    with pytest.raises(RefusedError, match="dimension 'S': it has no Values"):
        compute(scaled, array, without, {"dim": "S"})
