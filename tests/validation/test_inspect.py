"""``usid inspect``: the record of a file, and how it reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from axis_cases import RULES_ON_ORDER, RULES_ON_VALUES
from cases import BIAS, CHANNEL, FULL_STEPS, POSITION, Case, cycles, results, write_clean
from file_cases import RULES_ON_GROUPS, RULES_ON_STORAGE
from main_cases import RULES_ON_TABLES, RULES_ON_THE_MAIN
from rich.console import Console
from typer.testing import CliRunner
from usid_files import MAIN, Side, channel, line, write_file, write_main

from usid_tasks import inspect_text
from usid_tasks.cli import app
from usid_tasks.errors import NotHDF5Error, UsidError
from usid_tasks.inspect import inspect_file, render
from usid_tasks.model import Severity
from usid_tasks.samples import write_samples
from usid_tasks.validate import validate_file

CASES = [
    *RULES_ON_THE_MAIN, *RULES_ON_TABLES, *RULES_ON_ORDER, *RULES_ON_VALUES,
    *RULES_ON_STORAGE, *RULES_ON_GROUPS,
]  # fmt: skip


def inspected(path: Path) -> tuple[dict[str, Any], str]:
    """Return the record, as JSON would carry it, and the text."""
    record = json.loads(json.dumps(inspect_file(path), allow_nan=False))
    text = io.StringIO()
    render(record, Console(file=text, width=100, highlight=False, markup=False, soft_wrap=True))
    return record, text.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "AFM_Force_Curve.h5",
        "Nodax_Spectral_Array.ptir",
        "SingFreqPFM_0003.h5",
        "simulated_STEM_Image.h5",
        "sparse_sampling.h5",
    ],
)
def test_real_files(shared_data: Path, name: str) -> None:
    record, text = inspected(shared_data / name)
    assert record["mains"]
    assert not record["broken"]
    for main in record["mains"]:
        assert main["path"] in text
        assert " × ".join(map(str, main["shape"])) in text
    done = CliRunner().invoke(app, ["inspect", str(shared_data / name), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == record
    assert CliRunner().invoke(app, ["inspect", str(shared_data / name)]).exit_code == 0


def test_the_record_of_a_real_image(shared_data: Path) -> None:
    record, text = inspected(shared_data / "SingFreqPFM_0003.h5")
    assert [main["quantity"] for main in record["mains"]] == [
        "HeightRetrace", "AmplitudeRetrace", "DeflectionRetrace", "PhaseRetrace",
    ]  # fmt: skip
    main = record["mains"][0]
    assert (main["dims"], main["shape"], main["units"]) == (["Y", "X"], [128, 128], "m")
    y, x, arb = main["axes"]
    assert (y["label"], x["label"], arb["label"]) == ("Y", "X", "arb")
    assert (y["units"], y["size"], y["kind"], y["first"]) == ("m", 128, "uniform", 0.0)
    assert y["last"] == pytest.approx(5e-6)
    assert y["step"] == pytest.approx(5e-6 / 127)
    assert "    Y    128  0 to 5e-06 m  uniform, step 3.93701e-08 m\n" in text
    assert "  HeightRetrace (m), float32\n  128 × 128  Y × X\n" in text


def test_the_record_of_a_vendor_file(shared_data: Path) -> None:
    record, _ = inspected(shared_data / "Nodax_Spectral_Array.ptir")
    assert record["dialect"] == "PTIR Studio"
    assert len(record["mains"]) == 7
    assert {axis["units"] for axis in record["mains"][0]["axes"]} == {"m", "cm-1"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.found}"[:60])
def test_every_broken_file_can_be_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(tmp_path)
    case.write(tmp_path / "scan.h5", tmp_path / "twin.h5")
    record, text = inspected(tmp_path / "scan.h5")
    found = [finding for finding in record["findings"] if finding["id"] == case.rule]
    assert found or case.settings
    if case.severity == "error":
        (broken,) = record["broken"]
        assert broken["path"] in text
        assert broken["reasons"] == [f"{case.rule}: {case.found}"]
        assert f"{broken['path']}  not sound" in text
    else:
        assert not record["broken"]


def test_samples_of_the_demo(tmp_path: Path) -> None:
    for sample in write_samples(tmp_path):
        findings = validate_file(sample.path)
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        assert bool(errors) == sample.outcome.is_failure, sample
        assert "X1" not in {finding.id for finding in findings}
        if "F1" not in {finding.id for finding in findings}:
            record, text = inspected(sample.path)
            assert len(record["findings"]) == len(findings)
            assert all(main["path"] in text for main in record["mains"])


def test_forms_that_are_no_grid(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        raster = it.grid({"Y": 3, "X": 5})
        for number, table in enumerate(
            (raster[:13], it.sparse(6, 2), it.shuffled(raster), raster[:0])
        ):
            write_main(
                channel(file, 0, number), position=Side(table, ["X", "Y"]), spectroscopic=BIAS
            )
    record, text = inspected(path)
    forms = [main["sides"][0]["form"] for main in record["mains"]]
    assert forms == ["aborted", "flat", "full", "full"]
    assert "aborted: 13 of 15 positions measured, the rest padded" in text
    assert "no grid: 6 positions along one dimension" in text
    assert "positions in no regular order, placed by their indices" in text
    assert "  no positions\n" in text
    assert [main["shape"] for main in record["mains"]] == [[3, 5, 5], [6, 5], [3, 5, 5], [0, 0, 5]]


def test_values_that_depend_on_another_dimension(tmp_path: Path) -> None:
    bias = (FULL_STEPS[:, 0] - 1.5) * (FULL_STEPS[:, 1] + 1)
    record, text = inspected(write_clean(tmp_path / "scan.h5", **cycles(bias)))
    axis = next(axis for axis in record["mains"][0]["axes"] if axis["label"] == "Bias")
    assert (axis["is_indexed"], axis["depends_on"]) == (True, ["Cycle", "Bias"])
    assert (axis["low"], axis["high"]) == (-4.5, 4.5)
    assert "Bias   4  -4.5 to 4.5 V  depends on Cycle\n" in text


def test_a_compound_and_a_single_value(tmp_path: Path) -> None:
    point = Side(np.zeros((1, 1), int), ["arb"], ["a.u."], np.ones((1, 1)))
    kind = np.dtype([("[V]", "f4"), ("pair", "i2", (2,))])
    record, text = inspected(write_file(tmp_path / "scan.h5", point, point, dtype=kind))
    (main,) = record["mains"]
    assert main["shape"] == []
    assert main["components"] == [
        {"field": ["[V]"], "dtype": "<f4", "shape": []},
        {"field": ["pair"], "dtype": "<i2", "shape": [2]},
    ]
    assert "a single value" in text
    assert "components: [V] <f4, pair <i2" in text


def test_axes_that_are_no_plain_numbers(tmp_path: Path) -> None:
    for values in (
        np.array([0, np.nan, np.inf]),
        np.array([np.nan] * 3),
        np.array([1 + 2j, 3j, 0], "c8"),
        np.array([True, False, True]),
        np.array([0, 2**63, 2**64 - 1], "u8"),
    ):
        path = write_file(tmp_path / "scan.h5", POSITION, line("Bias", values))
        record, text = inspected(path)
        assert record["mains"][0]["axes"][-1]["size"] == 3
        assert "Bias" in text
    assert record["mains"][0]["axes"][-1]["step"] == 2**63


def test_results_and_storage(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", chunks=(4, 5), compression="gzip")
    with h5py.File(path, "r+") as file:
        results(file)
        file["again"] = h5py.SoftLink("/Measurement_000")
    record, text = inspected(path)
    assert record["results"] == [
        {
            "path": f"{CHANNEL}/Raw_Data-Fit_000", "tool": "Fit", "sources": [MAIN],
            "source_elsewhere": [], "mains": [],
        }
    ]  # fmt: skip
    storage = record["mains"][0]["storage"]
    assert (storage["layout"], storage["chunks"], storage["filters"]) == (
        "chunked", [4, 5], ["deflate"],
    )  # fmt: skip
    assert "stored as 12 × 5, 240 B, chunks of 4 × 5, deflate (" in text
    assert f"{CHANNEL}/Raw_Data-Fit_000  0 Main  Fit  of {MAIN}" in text
    assert "again  soft link to /Measurement_000" in text
    assert text.endswith("1 of 1 Main datasets sound\n")


def test_long_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        for number in range(60):
            write_main(channel(file, number), position=POSITION, spectroscopic=BIAS)
            file[f"extra_{number:03d}"] = number
    record, text = inspected(path)
    assert len(record["mains"]) == 60
    assert "... and 20 more Main datasets; --json shows all" in text
    assert "more lines; --json shows all" in text
    assert len(text.splitlines()) < 40 * 8 + 140
    monkeypatch.setattr(inspect_text, "MOST_LINES", 1000)
    assert "└─ ... and 96 more\n" in inspected(path)[1]


def test_a_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", units="n\x1b[2JA", quantity="a\nb")
    with h5py.File(path, "r+") as file:
        file.create_group("bell\x07")
    _, text = inspected(path)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "a\\nb (n\\x1b[2JA), float32" in text


def test_a_file_without_main(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["picture"] = np.zeros((3, 4))
        file["nothing"] = h5py.Empty("f4")
    record, text = inspected(path)
    assert (record["mains"], record["broken"]) == ([], [])
    assert "picture  3 × 4 float64" in text
    assert "nothing  empty float32" in text
    assert "no Main dataset, 1 information" in text


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no HDF5")
    with pytest.raises(NotHDF5Error):
        inspect_file(tmp_path / "notes.txt")
    with pytest.raises(UsidError, match="absent"):
        inspect_file(tmp_path / "absent.h5")


def test_the_exit_status_tells_errors(tmp_path: Path) -> None:
    path = write_clean(tmp_path / "scan.h5", missing=["quantity"])
    assert CliRunner().invoke(app, ["inspect", str(path)]).exit_code == 1
