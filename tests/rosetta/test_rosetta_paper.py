"""docs/rosettasciio.md: its code runs, its dialogues are real, its links lead somewhere."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from usid_tasks.samples import write_samples

PAPER = Path(__file__).resolve().parents[2] / "docs" / "rosettasciio.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAPER.read_text("utf-8"), re.S | re.M)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_samples(folder / "usid-demo" / "sources")
    return folder


@pytest.fixture
def plugins() -> Iterator[None]:
    """Leave RosettaSciIO's plugins as they were."""
    from rsciio import IO_PLUGINS

    before = [dict(plugin) for plugin in IO_PLUGINS]
    yield
    IO_PLUGINS[:] = before


@pytest.mark.parametrize("code", blocks("python"))
@pytest.mark.usefixtures("plugins", "hs")
def test_its_code_runs(demo: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.chdir(demo)
    exec(compile(code, str(PAPER), "exec"), {})


@pytest.mark.parametrize("code", blocks("pycon"))
@pytest.mark.usefixtures("hs")
def test_its_dialogues_are_real(demo: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.chdir(demo)
    told: list[str] = []
    test = doctest.DocTestParser().get_doctest(code, {}, PAPER.name, PAPER.name, 0)
    runner = doctest.DocTestRunner()
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
    assert runner.tries >= 4


@pytest.mark.usefixtures("plugins")
def test_saving_goes_through_our_writer(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hs: ModuleType
) -> None:
    """The plugin's entry as the page changes it: what HyperSpy saves, it loads again."""
    monkeypatch.chdir(demo)
    (entry,) = (code for code in blocks("python") if "IO_PLUGINS" in code)
    exec(compile(entry, str(PAPER), "exec"), {})
    axes = [
        {"name": "Y", "size": 2, "units": "nm", "offset": 1.0, "scale": 0.5, "navigate": True},
        {"name": "T", "size": 1, "units": "K", "offset": 7.0, "navigate": True},
        {"name": "E", "units": "eV", "axis": [9.0, 3.0, 1.0], "navigate": False},
    ]
    before = hs.signals.Signal1D(np.arange(6.0).reshape(2, 1, 3), axes=axes)
    before.metadata.General.title = "Loops"
    before.metadata.Signal.quantity = "Current (nA)"
    before.original_metadata.set_item("nested.gain", [1, None])
    before.save(tmp_path / "scan.h5", file_format="USID")
    after = hs.load(tmp_path / "scan.h5", file_format="USID")
    assert repr(after) == repr(before)
    np.testing.assert_array_equal(after.data, before.data)
    for one, other in zip(before.axes_manager._axes, after.axes_manager._axes, strict=True):
        assert (one.name, one.units, one.navigate) == (other.name, other.units, other.navigate)
        np.testing.assert_allclose(one.axis, other.axis)
    assert after.metadata.Signal.quantity == "Current (nA)"
    assert after.original_metadata.nested.gain == [1, None]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAPER.read_text("utf-8")):
        assert (PAPER.parent / link).exists(), link
