"""README and the other papers: their commands exist, their code runs, their output is real."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from usid_tasks import __version__
from usid_tasks.demo import Demo, _rows
from usid_tasks.names import Names

PAPERS = (
    "README.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "docs/layout.md",
    "docs/reading.md",
    "docs/converting.md",
    "docs/rechunking.md",
    "docs/codecs.md",
    "docs/rosettasciio.md",
    "docs/writing.md",
    "docs/provenance.md",
    "docs/roundtrip.md",
)
SOMEWHERE = "/home/you"
ROOT = Path(__file__).resolve().parents[2]


def blocks(paper: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / paper).read_text("utf-8"), re.S | re.M)


def sessions(paper: str) -> list[tuple[str, str]]:
    """Return each command of the console blocks with the output shown."""
    found = []
    for block in blocks(paper, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


SESSIONS = [(paper, *session) for paper in PAPERS for session in sessions(paper)]


def matches(shown: str, found: str) -> bool:
    """Return True if the output is as shown; ``…`` is anything in a line, or any lines."""
    pattern = "".join(
        "(?:.*\n)*?" if line == "…" else f"{re.escape(line).replace('…', '.*')}\n"
        for line in shown.rstrip("\n").split("\n")
    )
    return re.fullmatch(pattern, found.rstrip("\n") + "\n") is not None


def usid(command: str, cwd: Path) -> str:
    """Return what a command line of ours prints, wherever it runs."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("USID_")}
    code = "import shlex, sys; sys.argv = shlex.split(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}from usid_tasks.cli import main; main()", command],
        cwd=cwd, env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.replace(str(cwd), SOMEWHERE)


def test_the_wildcards_of_this_test():
    assert matches("a\n…\nd\n", "a\nb\nc\nd\n")
    assert matches("a …, c\n", "a b, c\n")
    assert not matches("a\nd\n", "a\nb\nd\n")
    assert not matches("a …, c\n", "a b\n, c\n")


@pytest.mark.parametrize(("paper", "command", "shown"), SESSIONS)
def test_output_is_as_shown(paper, command, shown, ingested):
    if command == "make demo":
        rows = tuple(_rows(ingested.demo, ingested.samples, ingested.summary))
        found = "\n".join(Demo(rows, Path("overview.png"), ()).lines())
    else:
        assert command.startswith("usid "), f"{paper}: {command!r} is not run by this test"
        if " ingest " in command:
            ingested.ingest_again()
        found = usid(command, ingested.folder)
    assert matches(shown, found), f"{paper}: $ {command}\n{found}"


def test_the_readme_shows_the_five_commands():
    shown = {command.split()[1] for _, command, _ in SESSIONS if command.startswith("usid ")}
    assert shown >= {"validate", "inspect", "ingest", "convert", "verify"}


@pytest.fixture
def plugins() -> Iterator[None]:
    """Leave RosettaSciIO's plugins as they were."""
    from rsciio import IO_PLUGINS

    before = [dict(plugin) for plugin in IO_PLUGINS]
    yield
    IO_PLUGINS[:] = before


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("paper", "code"), [(paper, code) for paper in PAPERS for code in blocks(paper, "python")]
)
def test_code_runs(paper, code, ingested, monkeypatch):
    monkeypatch.chdir(ingested.folder)
    exec(compile(code, paper, "exec"), {})


@pytest.mark.parametrize(
    ("paper", "code"), [(paper, code) for paper in PAPERS for code in blocks(paper, "pycon")]
)
def test_dialogues_are_real(paper, code, ingested, monkeypatch, request):
    if "hyperspy" in code:
        request.getfixturevalue("hs")
    monkeypatch.chdir(ingested.folder)
    test = doctest.DocTestParser().get_doctest(code, {}, paper, paper, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def test_every_make_target_of_the_papers_exists():
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^(\w+):(?!=)", makefile, re.M))
    asked = {
        target
        for paper in PAPERS
        for target in re.findall(r"(?:`|^)make (\w+)", (ROOT / paper).read_text(), re.M)
    }
    assert {"demo", "test", "check", "picture", "rules"} <= asked <= there


def test_every_option_of_the_papers_exists(ingested):
    for paper in PAPERS:
        text = (ROOT / paper).read_text()
        for command, rest in re.findall(r"\busid ([a-z]+)((?: [^`\n]*)?)", text):
            options = set(re.findall(r"--[a-z][a-z-]*", rest))
            if options:
                told = usid(f"usid {command} --help", ingested.folder)
                assert all(option in told for option in options), (paper, command, options)


def test_every_link_leads_somewhere():
    for paper in PAPERS:
        for link in re.findall(r"\]\(([^)#]+)", (ROOT / paper).read_text()):
            assert not link.startswith("http"), (paper, link)
            assert ((ROOT / paper).parent / link).exists(), (paper, link)


def test_names_are_stored_as_the_layout_shows():
    names = Names()
    rows = re.findall(r"^\| (.+?) \| (.+?) \|.*\|$", (ROOT / "docs/layout.md").read_text(), re.M)
    begins = rows.index(("name in the file", "name in the store"))
    checked = 0
    for given, stored in rows[begins + 1 : begins + 8]:
        originals = re.findall(r"`([^`]+)`", given) or [""]
        originals *= 2 if "twice" in given else 1
        assert [names.take(name) for name in originals] == re.findall(r"`([^`]+)`", stored), given
        checked += 1
    assert checked == 7


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_has_its_two_commands_each_on_one_line():
    shell = [block.strip() for block in blocks("README.md", "sh")]
    assert shell[:2] == ["make demo", "make test"]
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^stage test \d+ make test$", ci, re.M)
    assert re.search(r"^stage demo \d+ make demo$", ci, re.M)
