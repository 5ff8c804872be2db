"""Threads, processes and any Dask scheduler make the same bits; memory and speed are as told."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from process_cases import contents, small, source

from usid_tasks.engines import DaskEngine, open_engine
from usid_tasks.errors import UsidError
from usid_tasks.process import ProcessOutcome, process_file
from usid_tasks.process.blocks import plan_blocks
from usid_tasks.process.headers import subject_of
from usid_tasks.process.steps import one_thread
from usid_tasks.tools import find_tool
from usid_tasks.usid import read_usid

CASES = {
    "background": {"dim": "Frequency"},
    "sho_fit": {},
    "svd": {"n_components": 3, "method": "randomised", "oversampling": 2},
    "kmeans": {"n_clusters": 3},
    "reduce": {"dims": ["X"]},
}


def ran(folder, tool, engine=None, **how):
    folder.mkdir(exist_ok=True)
    path = source(folder / "scan.h5", "snake", "c8" if tool == "sho_fit" else "f4", (9, 11))
    (done,) = process_file(path, tool, CASES[tool], settings=small(**how), engine=engine)
    assert done.outcome is ProcessOutcome.COMPUTED, done.reason
    return contents(done.file)


@pytest.fixture(scope="module")
def processes():
    with open_engine("processes", workers=2) as engine:
        yield engine


@pytest.mark.slow
@pytest.mark.parametrize("tool", list(CASES))
def test_processes_make_the_bits_of_threads(tmp_path, processes, tool):
    assert ran(tmp_path / "a", tool) == ran(tmp_path / "b", tool, processes)


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.slow
def test_processes_use_freed_memory_again(tmp_path, processes):
    path = source(tmp_path / "scan.h5", "raster", "c8", (200, 400))
    faults = []
    for _ in range(2):
        before = sum(processes.client.run(page_faults).values())
        process_file(path, "sho_fit", {}, settings=small(), engine=processes, override=True)
        faults.append(sum(processes.client.run(page_faults).values()) - before)
    assert faults[1] < 40_000


@pytest.mark.slow
def test_what_a_tool_refuses_comes_back_from_processes(tmp_path, processes):
    path = source(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file["Measurement_000/Channel_000/Raw_Data"][20, 3] = np.nan
    (done,) = process_file(path, "kmeans", {}, settings=small(), engine=processes)
    assert "not finite" in done.reason


@pytest.mark.parametrize("tool", ["background", "svd"])
def test_a_dask_client_of_threads(tmp_path, tool):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert ran(tmp_path / "b", tool, DaskEngine(client)) == ran(tmp_path / "a", tool)


def test_a_worker_that_fails_ends_the_run(path, monkeypatch):
    from usid_tasks.process import steps

    source(path)
    plain, calls = steps.put_rows, []

    def put(*given, **more):
        calls.append(given)
        if len(calls) == 5:
            raise UsidError("here", "it broke", "Mend it.")
        plain(*given, **more)

    monkeypatch.setattr(steps, "put_rows", put)
    with pytest.raises(UsidError, match="it broke"):
        process_file(path, "background", CASES["background"], settings=small())
    assert len(calls) < 12


def planned(path, tool="background", **how):
    subject = subject_of(read_usid(path).mains["/Measurement_000/Channel_000/Raw_Data"])
    job = find_tool(tool).prepare(subject.header, CASES[tool])
    return plan_blocks(subject, job, **{"memory": 2**30, "workers": 2, **how})


@pytest.mark.parametrize("memory", [2**21, 2**25, 2**30])
@pytest.mark.parametrize("tool", ["background", "svd", "kmeans"])
def test_blocks_do_not_depend_on_workers(path, memory, tool):
    source(path, "chunked", n=(60, 70))
    plans = [planned(path, tool, memory=memory * 30, workers=n) for n in (1, 2, 3, 16)]
    assert len({plan.size for plan in plans}) == 1
    for plan in plans:
        assert plan.memory_bytes <= memory * 30
        ends = [plan.rows(number) for number in range(plan.n_blocks)]
        assert [one[1] for one in ends[:-1]] == [one[0] for one in ends[1:]]
        assert (ends[0][0], ends[-1][1]) == (0, 4200)
        assert plan.size % 4 == 0


def test_blas_has_one_thread_while_tools_work():
    from threadpoolctl import threadpool_info

    before = [each["num_threads"] for each in threadpool_info()]
    with one_thread(), one_thread():
        assert {each["num_threads"] for each in threadpool_info()} <= {1}
    assert [each["num_threads"] for each in threadpool_info()] == before


def test_positions_are_told_as_they_are_done(path):
    told = []

    class Told:
        def begin(self, step, *, positions=None):
            told.append([step, positions, 0])

        def advance(self, *, positions=0):
            told[-1][2] += positions

        def note(self, line):
            told.append([line, 0, 0])

    source(path)
    (done,) = process_file(
        path, "svd", CASES["svd"], settings=small(), progress=Told()
    )  # fmt: skip
    assert [step for step, *_ in told][-2:] == ["svd: R factor", "svd: results"]
    assert all(positions == count == 35 for _, positions, count in told)
    assert done.positions_per_second > 0


MEASURE = """
import sys
from pathlib import Path
from process_cases import small
from usid_tasks.process import process_file, try_positions
def resident(kind):
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines()
               if each.startswith(kind)]
    return int(line.split()[1]) / 1024

if __name__ == "__main__":
    path, tool, warm = sys.argv[1:]
    params = {"background": {"dim": "Frequency"}, "svd": {"n_components": 8}}[tool]
    settings = small(memory="192 MiB", workers=2)
    process_file(warm, tool, params, settings=small(memory="24 MiB", workers=1))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    (done,) = process_file(path, tool, params, settings=settings)
    assert done.outcome == "computed", done.reason
    print(resident("VmHWM") - before)
    print(try_positions(path, tool, params, settings=settings).memory_bytes / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["background", "svd"])
def test_a_run_stays_within_its_memory(tmp_path, tool):
    """768 MiB of values in 192 MiB, measured in a process of its own."""
    from usid_files import Side, line, write_file

    path, warm = tmp_path / "scan.h5", tmp_path / "warm.h5"
    for file, side in ((path, 768), (warm, 8)):
        indices = np.stack(np.divmod(np.arange(side**2 // 2), side)[::-1], axis=1)
        points = line("Frequency", np.linspace(0, 1, 682), "Hz")
        position = Side(indices, ["X", "Y"])
        shape = (len(indices), 682)
        data = np.random.default_rng(0).standard_normal(shape, dtype="f4")
        write_file(file, position, points, data=data)
    del data
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), tool, str(warm)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2])),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured, projected = map(float, done.stdout.split())
    assert measured < 192
    assert projected / 2 < measured < projected * 2, (measured, projected)
