"""Exit statuses and how failures are told, by the command itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from usid_tasks import __version__, cli, settings


def usid(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("USID_")}
    code = "from usid_tasks.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**env, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def failing(monkeypatch, capfd, tmp_path):
    """Run `usid config show` where reading the settings raises, in this process."""

    def run(error: BaseException, temporary: Path = tmp_path) -> tuple[int, str]:
        def fail(*_arguments: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(settings, "origins", fail)
            patch.setattr(sys, "argv", ["usid", "config", "show"])
            patch.setattr("tempfile.tempdir", str(temporary))
            patch.setenv("USID_DEBUG", "0")
            with pytest.raises(SystemExit) as leaving:
                cli.main()
        out, err = capfd.readouterr()
        assert out == ""
        return leaving.value.code, err

    return run


def test_the_version():
    assert usid("--version").stdout == f"usid {__version__}\n"


def test_config_show_prints_value_and_source(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("convert:\n  codec: none\n")
    done = usid("config", "show", "--config", str(site), USID_INGEST__SETTLE_S="0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["codec:", '"none"', "#", f"{site}:2"] in lines
    assert ["settle_s:", "0", "#", "USID_INGEST__SETTLE_S"] in lines
    assert ["workers:", "2", "#", "default"] in lines


def test_config_show_as_json():
    done = usid("config", "show", "--json", USID_CONVERT__CHUNK="2 MiB")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["convert.chunk"] == {"value": "2 MiB", "source": "USID_CONVERT__CHUNK"}
    assert told["ingest.settle_s"] == {"value": 60.0, "source": "default"}


def test_a_failure_is_told_in_three_lines_and_could_not_run(tmp_path):
    missing = tmp_path / "absent.yaml"
    done = usid("config", "show", "--config", str(missing))
    assert (done.returncode, done.stdout) == (2, "")
    where, what, remedy = done.stderr.splitlines()
    assert where == f"error: {missing}"
    assert "cannot be read" in what
    assert "--config" in remedy


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--debug"], {}), ([], {"USID_DEBUG": "1"})],
    ids=["option", "variable"],
)
def test_debugging_shows_the_traceback_too(options, variables):
    done = usid(*options, "config", "show", "--config", "absent.yaml", **variables)
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert "error: " in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "only-one-argument"],
        ["ingest", "source-without-dest"],
        ["validate", "x", "--severity", "bad"],
        ["nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_could_not_run(arguments):
    assert usid(*arguments).returncode == 2


def test_text_from_files_cannot_reach_the_terminal_raw():
    done = usid("config", "show", USID_CONVERT__CODEC="\x1b[31mred")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_the_unexpected_is_a_sentence_and_a_kept_traceback(failing, tmp_path):
    status, told = failing(ZeroDivisionError("odd"))
    assert status == 2
    assert "unexpected ZeroDivisionError: odd" in told
    assert "Traceback" not in told
    (log,) = tmp_path.iterdir()
    assert str(log) in told
    assert "ZeroDivisionError: odd" in log.read_text()


def test_the_unexpected_shows_its_traceback_where_none_can_be_kept(failing):
    status, told = failing(ZeroDivisionError("odd"), Path("/nonexistent"))
    assert status == 2
    assert told.startswith("Traceback")


def test_the_unexpected_names_the_file_it_was_about(failing, tmp_path):
    status, told = failing(PermissionError(13, "Permission denied", "/data/scan.h5"))
    assert status == 2
    assert told.startswith("error: /data/scan.h5\n")


def test_an_interruption(failing):
    status, told = failing(KeyboardInterrupt())
    assert status == 130
    assert "interrupted" in told


def test_an_interrupted_process_tells_no_traceback(tmp_path):
    fifo = tmp_path / "site.yaml"  # reading it waits for a writer
    os.mkfifo(fifo)
    code = "from usid_tasks.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "config", "show", "--config", str(fifo)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, fifo.open("w"):  # opens when the command has begun to read
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in told
