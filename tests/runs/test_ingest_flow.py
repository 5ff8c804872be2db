"""The ingest flow against a real Prefect server: states, artifacts, what a second run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.ingest import IngestParams, ingest, run_flow
from flows.runs import RunFailedError
from usid_tasks.errors import RefusedError
from usid_tasks.ingest import IngestRequest, IngestSummary
from usid_tasks.model import Outcome

pytestmark = pytest.mark.timeout(600)

RAW = "/Measurement_000/Channel_000/Raw_Data"
SECOND = "/Measurement_000/Channel_001/Raw_Data"


def outcomes(summary: IngestSummary) -> dict[str, Outcome]:
    return {record.key: record.outcome for record in summary.files}


def request(folder: Path, dest: Path, **more: bool) -> IngestRequest:
    return IngestRequest(sources=[str(folder)], dest=dest, settle_s=0, **more)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def test_a_run_lists_every_file_and_main_and_fails_where_one_is_broken(server, mixed, dest):
    summary = run_flow(request(mixed, dest), None)
    assert outcomes(summary) == {
        "broken.h5": Outcome.FAILED,
        "log.h5": Outcome.NOT_USID,
        "partial.h5": Outcome.PARTIAL,
        "sound.h5": Outcome.DONE,
    }
    assert summary.exit_status == 1

    run = server.newest()
    assert (run["state_type"], run["parameters"]["params"]["dest"]) == ("FAILED", str(dest))
    message = run["state"]["message"]
    assert message.startswith("4 files: 1 done, 1 partial, 1 not USID, 1 failed; broken.h5: no")
    assert "\n" not in message

    artifacts = server.artifacts(run)
    assert [
        (row["outcome"], row["file"], row["Main dataset"]) for row in artifacts["usid-ingest"]
    ] == [
        ("failed", "broken.h5", ""),
        ("failed", "broken.h5", RAW),
        ("partial", "partial.h5", ""),
        ("failed", "partial.h5", SECOND),
        ("done", "partial.h5", RAW),
        ("done", "sound.h5", ""),
        ("done", "sound.h5", RAW),
        ("not USID", "log.h5", ""),
    ]
    assert "| failed | 1 |" in artifacts["usid-ingest-summary"]
    assert str(dest) in artifacts["usid-ingest-summary"]

    assert server.task_runs(run, 4) == {
        "broken.h5": "FAILED",
        "log.h5": "COMPLETED",
        "partial.h5": "FAILED",
        "sound.h5": "COMPLETED",
    }


@pytest.mark.slow
def test_a_second_run_finds_everything_current_and_completes(server, sound, dest):
    assert run_flow(request(sound, dest), None).exit_status == 0
    first = server.newest()
    summary = run_flow(request(sound, dest), None)
    assert outcomes(summary) == {"sound.h5": Outcome.CURRENT}
    assert summary.exit_status == 0
    run = server.newest()
    assert run["id"] != first["id"]
    assert (run["state_type"], run["state"]["message"]) == ("COMPLETED", "1 file: 1 current")
    table = server.artifacts(run)["usid-ingest"]
    assert [row["outcome"] for row in table] == ["current", "done"]


@pytest.mark.slow
def test_a_scheduled_run_fails_for_new_failures_only(server, mixed, dest):
    assert run_flow(request(mixed, dest, scheduled=True), None).exit_status == 1
    assert server.newest()["state_type"] == "FAILED"
    assert run_flow(request(mixed, dest), None).exit_status == 1  # by hand: they still count
    assert run_flow(request(mixed, dest, scheduled=True), None).exit_status == 0
    run = server.newest()
    assert run["state_type"] == "COMPLETED"
    assert run["state"]["message"].endswith("; 2 known failures unchanged")
    table = server.artifacts(run)["usid-ingest"]
    assert table[0]["outcome"] == "failed (known)"


@pytest.mark.slow
def test_a_refused_run_raises_here_and_fails_there(server, tmp_path, dest):
    with pytest.raises(RefusedError, match="does not exist"):
        run_flow(request(tmp_path / "absent", dest), None)
    run = server.newest()
    assert run["state_type"] == "FAILED"
    assert "RefusedError" in run["state"]["message"]
    assert "does not exist" in run["state"]["message"]
    assert not dest.exists()


@pytest.mark.slow
def test_whoever_calls_the_flow_gets_the_summary_with_the_failure(server, mixed, dest):
    with pytest.raises(RunFailedError, match="1 partial") as failed:
        ingest(IngestParams(sources=[str(mixed)], dest=dest, settle_s=0))
    assert failed.value.result.exit_status == 1


@pytest.mark.slow
def test_log_lines_reach_the_record_of_the_run(server, sound, dest):
    run_flow(request(sound, dest), None)
    run = server.newest()
    for _ in range(50):
        lines = [one for one in server.logs(run) if one["name"] == "usid_tasks"]
        if lines:
            break
    assert [one["message"] for one in lines] == [f"{sound / 'sound.h5'}: done"]
    assert lines[0]["task_run_id"]


@pytest.mark.slow
def test_long_tables_are_spread_and_short_of_what_is_known(server, mixed, dest, tmp_path):
    config = tmp_path / "site.yaml"
    config.write_text("prefect:\n  table_rows: 3\n")
    run_flow(request(mixed, dest), config)
    artifacts = server.artifacts(server.newest())
    tables = [artifacts[key] for key in ("usid-ingest", "usid-ingest-2", "usid-ingest-3")]
    assert [len(table) for table in tables] == [3, 3, 2]
    assert "8 rows in 3 tables" in artifacts["usid-ingest-summary"]

    run_flow(request(mixed, dest), config)
    artifacts = server.artifacts(server.newest())
    assert len(artifacts["usid-ingest"]) == 3  # failures are listed every time
    assert len(artifacts["usid-ingest-2"]) == 2
    assert "5 rows in 2 tables, failures first. 3 rows left out" in artifacts["usid-ingest-summary"]
