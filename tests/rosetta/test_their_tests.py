"""RosettaSciIO's own tests of USID, from its installed wheel, with our reader and writer."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

HERE = Path(__file__).parent
READING = {
    "test_n_pos_0_spec",
    "test_0_pos_n_spec",
    "test_base_n_pos_m_spec[True]",
    "test_base_n_pos_m_spec[False]",
    "test_complex",
    "test_compound",
    "test_non_uniform_dimension",
    "test_pick_specific",
    "test_read_all_by_default",
}
WRITING = {
    "test_n_pos_0_spec",
    "test_0_pos_n_spec",
    "test_n_pos_m_spec",
    "test_append_to_existing_file",
    "test_base_nd",
    "test_no_axes",
    "test_incorrect_axes",
    "test_too_many_axes",
}

pytestmark = pytest.mark.slow


def run(tmp_path: Path, plugin: str, wanted: str) -> dict[str, str]:
    """Return the tests that ran, each with its failure, empty where it passed."""
    report, scratch = tmp_path / "report.xml", tmp_path / "files"
    scratch.mkdir()  # their tests leave files in the temporary folder, HyperSpy in HOME
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "--noconftest", "-p", plugin, "-p", "no:cacheprovider",
            "-p", "no:randomly", "-c", os.devnull, "--rootdir", str(tmp_path),
            "--junitxml", str(report), "--pyargs", "rsciio.tests.test_usid", "-k", wanted,
        ],
        cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(HERE), "TMPDIR": str(scratch), "HOME": str(tmp_path)},
    )  # fmt: skip
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        failures = [*case.findall("failure"), *case.findall("error"), *case.findall("skipped")]
        found[case.attrib["name"]] = "".join(one.attrib["message"] for one in failures)
    return found


def test_reading(tmp_path: Path) -> None:
    """All pass but the title of a component, which contradicts RosettaSciIO's documentation."""
    found = run(tmp_path, "their_tests_plugin", "TestUSID2HS")
    assert set(found) == READING
    title = found.pop("test_compound")
    assert title.startswith("AssertionError: assert 'amp' == 'Raw_Data'")
    assert set(found.values()) == {""}


def test_components_but_for_their_titles(tmp_path: Path) -> None:
    assert run(tmp_path, "their_titles_plugin", "test_compound") == {"test_compound": ""}


def test_writing(tmp_path: Path) -> None:
    found = run(tmp_path, "their_tests_plugin", "TestHS2USID")
    assert set(found) == WRITING
    assert set(found.values()) == {""}
