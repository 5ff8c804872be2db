"""The benchmarks measure what they say, and notice when somebody's outcome is wrong.

Every command is run very small: for correctness only, no figure is looked at.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import __main__ as command_line
from benchmarks import compare, contest, jobs, measure
from benchmarks import convert as converting
from benchmarks import read as reading
from benchmarks import rechunk as rechunking
from benchmarks import scan as scanning
from benchmarks.compare import check_array
from benchmarks.contest import Bench, Contestant, alternate
from benchmarks.data import ITEMSIZE, MAIN, Recipe, recipe_for, write_file
from benchmarks.machine import describe_machine
from benchmarks.measure import run_timed, run_watched
from benchmarks.results import Figures, Ratio, Section, markdown, spread, write_section
from benchmarks.touches import CountingStore
from usid_tasks.convert import convert_file
from usid_tasks.errors import RefusedError, UsidError, VerificationError
from usid_tasks.intents import reads
from usid_tasks.tree import open_tree
from usid_tasks.validate import validate_file

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20

needs_peers = pytest.mark.skipif(
    find_spec("rsciio") is None, reason='RosettaSciIO is not installed: pip install ".[bench]"'
)


# the data


def one_cell(recipe: Recipe, place: tuple[int, ...]) -> float:
    """Return a value as Python's own integers give it, without NumPy's."""
    flat = 0
    for at, size in zip(place, recipe.shape, strict=True):
        flat = flat * size + at
    bits = flat ^ (recipe.seed * 0x9E3779B9 + 0x7F4A7C15) % 2**32
    bits = (bits ^ bits >> 16) * 0x7FEB352D % 2**32
    bits = (bits ^ bits >> 15) * 0x846CA68B % 2**32
    bits ^= bits >> 16
    if recipe.values == "noise":
        return (bits >> 8) / 2**24
    row, column = divmod(flat, recipe.n_columns)
    amplitude = 1.5 + math.sin(2 * math.pi * 3 * row / recipe.n_rows)
    detuning = -4 + 8 * column / (recipe.n_columns - 1)
    return amplitude * 8000 / (1 + detuning**2) / 2**10 + ((bits >> 16) - bits % 2**16) / 2**22


@st.composite
def recipes_with_region(draw):
    sizes = draw(st.lists(st.integers(2, 7), min_size=2, max_size=4))
    cut = draw(st.integers(1, len(sizes) - 1))
    names = [(f"D{number}", size) for number, size in enumerate(sizes)]
    values = draw(st.sampled_from(["noise", "counts"]))
    recipe = Recipe(tuple(names[:cut]), tuple(names[cut:]), values, draw(st.integers(0, 99)))
    region = []
    for size in sizes:
        start = draw(st.integers(0, size - 1))
        region.append(slice(start, draw(st.integers(start + 1, size))))
    return recipe, tuple(region)


@given(recipes_with_region())
def test_every_region_holds_the_values_of_its_places(case):
    recipe, region = case
    cells = recipe.cells(region)
    assert cells.dtype == np.float32
    assert cells.shape == tuple(part.stop - part.start for part in region)
    step = 0 if recipe.values == "noise" else 0.51 / 2**10  # rounded, and of float32
    for place, value in np.ndenumerate(cells):
        where = tuple(at + part.start for at, part in zip(place, region, strict=True))
        assert abs(value - one_cell(recipe, where)) <= step
    whole = recipe.table(slice(0, recipe.n_rows), slice(0, recipe.n_columns))
    assert np.array_equal(cells, whole.reshape(recipe.shape)[region])


def test_a_recipe_has_the_size_that_is_asked_for_and_the_seed_matters():
    recipe = recipe_for(MIB, (("A", 64),), values="counts", seed=3)
    assert recipe.size_bytes == MIB
    other = Recipe(recipe.position, recipe.spectroscopic, "counts", 4)
    region = (slice(0, 4), slice(0, 4), slice(0, 64))
    assert not np.array_equal(recipe.cells(region), other.cells(region))


def test_noise_has_no_value_twice_where_it_can_help_it_and_counts_are_few():
    region = (slice(0, 64), slice(0, 64), slice(0, 64))
    sides = (("Y", 64), ("X", 64)), (("A", 64),)
    noise, counts = (Recipe(*sides, values).cells(region) for values in ("noise", "counts"))
    assert np.unique(noise).size > 0.99 * noise.size  # of 2**24 values, 2**18 picks
    assert np.unique(counts).size < 2**16
    assert np.array_equal(counts * 2**10, np.rint(counts * 2**10))


def test_more_cells_than_values_are_told_apart_are_refused():
    with pytest.raises(RefusedError, match=r"16\.0 GiB at most"):
        recipe_for(64 * 2**30, (("A", 128),))


@pytest.mark.parametrize(
    "how", [{}, {"chunks": (16, 128)}, {"chunks": (16, 128), "compression": "gzip"}]
)
def test_files_are_sound_and_hold_what_the_recipe_says(path, how):
    recipe = recipe_for(MIB, (("A", 16), ("B", 32)), values="counts", seed=2)
    write_file(path, recipe, n_channels=2, **how)
    assert [f.id for f in validate_file(path) if f.severity != "info"] == []
    with h5py.File(path) as file:
        main = file[MAIN]
        assert main.chunks == how.get("chunks")
        assert (main.compression, main.shuffle) == (how.get("compression"), "compression" in how)
        columns = slice(0, recipe.n_columns)
        assert np.array_equal(main[...], recipe.table(slice(0, recipe.n_rows), columns))
    tree = open_tree(path)
    node = tree.nodes[f"/{MAIN}"]
    assert node.variables["Raw_Data"].dims == recipe.dims
    assert node.main.shape == recipe.shape
    assert sum(each.main is not None for each in tree.nodes.values()) == 2


# comparing


@pytest.fixture
def recipe():
    return recipe_for(MIB // 4, (("A", 16), ("B", 8)), seed=5)


def written(folder: Path, recipe: Recipe, order=(0, 1, 2, 3), **how) -> zarr.Array:
    cells = recipe.cells(tuple(slice(0, n) for n in recipe.shape)).transpose(order)
    return zarr.create_array(folder, data=cells, chunks=(4, 4, 4, 8), **how)


@pytest.mark.parametrize("how", [{}, {"shards": (8, 8, 8, 8)}])
def test_a_right_array_is_right(tmp_path, recipe, how):
    written(tmp_path / "a", recipe, **how)
    check_array(tmp_path / "a", recipe, is_whole=True, chunks=(4, 4, 4, 8))


@settings(max_examples=20)
@given(st.data())
def test_one_wrong_cell_is_noticed(tmp_path_factory, data):
    recipe = recipe_for(MIB // 16, (("A", 16), ("B", 8)), seed=5)
    folder = tmp_path_factory.mktemp("wrong") / "a"
    array = written(folder, recipe)
    place = tuple(data.draw(st.integers(0, size - 1)) for size in recipe.shape)
    array[place] = array[place] + np.float32(2**-24)
    with pytest.raises(VerificationError, match="not those of the source"):
        check_array(folder, recipe, is_whole=True)


def test_a_missing_chunk_is_noticed(tmp_path, recipe):
    written(tmp_path / "a", recipe)
    check_array(tmp_path / "a", recipe, is_whole=True)
    (tmp_path / "a" / "c" / "1" / "0" / "2" / "0").unlink()
    with pytest.raises(VerificationError, match="not those of the source"):
        check_array(tmp_path / "a", recipe, is_whole=True)


def test_another_order_is_right_where_it_is_named(tmp_path, recipe):
    order = (1, 0, 3, 2)
    written(tmp_path / "a", recipe, order)
    check_array(tmp_path / "a", recipe, is_whole=True, dims=("X", "Y", "B", "A"))
    with pytest.raises(VerificationError, match="expected float32"):
        check_array(tmp_path / "a", recipe, is_whole=True)
    square = Recipe((("Y", 4), ("X", 4)), recipe.spectroscopic)
    written(tmp_path / "b", square, (1, 0, 2, 3))
    with pytest.raises(VerificationError, match="not those of the source"):
        check_array(tmp_path / "b", square, is_whole=True)


def test_other_chunks_are_noticed(tmp_path, recipe):
    written(tmp_path / "a", recipe)
    with pytest.raises(VerificationError, match="is in chunks"):
        check_array(tmp_path / "a", recipe, is_whole=True, chunks=(4, 4, 8, 8))


def test_of_large_arrays_some_cells_are_compared(tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(compare, "WHOLE_BYTES", 0)
    array = written(tmp_path / "a", recipe)
    check_array(tmp_path / "a", recipe, is_whole=False)
    first, *_ = recipe.shape
    array[first // 2 : first // 2 + max(first // 8, 1)] = 7
    with pytest.raises(VerificationError, match="not those of the source"):
        check_array(tmp_path / "a", recipe, is_whole=False)


# measuring

HOLD = """
import subprocess, sys, time
held = b"x" * (int(sys.argv[1]) * 2**20)
if len(sys.argv) > 2:
    subprocess.run([sys.executable, "-c", sys.argv[3], sys.argv[2]], check=True)
time.sleep(0.4)
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_memory_is_that_of_all_processes():
    _, one = run_watched(python(HOLD, "64"))
    _, both = run_watched(python(HOLD, "64", "96", HOLD))
    assert (one.n_processes, both.n_processes) == (1, 2)
    assert 64 * MIB < one.peak_bytes < 100 * MIB
    assert 160 * MIB < both.peak_bytes < 220 * MIB


def test_the_time_is_that_of_the_whole_process_and_the_report_is_kept():
    code = """
import pathlib, sys, time
time.sleep(0.3)
pathlib.Path(sys.argv[1]).write_text('{"seconds": 0.25}')
print("told")
"""
    began = time.perf_counter()
    run = run_timed(python(code, "{report}"))
    assert 0.3 <= run.seconds <= time.perf_counter() - began
    assert (run.report, run.told) == ({"seconds": 0.25}, "told\n")


@pytest.mark.parametrize("run", [run_timed, run_watched])
def test_a_child_that_fails_is_an_error_with_its_last_words(run):
    code = "import sys; print('what it was'); sys.exit(3)"
    assert run(python(code), status=3)
    with pytest.raises(UsidError, match=r"exit status 3, expected 0:\nwhat it was"):
        run(python(code))


def test_nothing_of_a_child_is_left():
    code = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
"""
    pid = int(run_timed(python(code)).told)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(measure, "LIMIT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(UsidError, match=r"did not end in 0\.3 s"):
        run_timed(python("import time; time.sleep(60)"))
    assert time.monotonic() - began < 20


def test_children_have_no_settings_of_this_process(monkeypatch):
    monkeypatch.setenv("USID_CONVERT__CODEC", "none")
    code = "import os; print(os.environ.get('USID_CONVERT__CODEC'), os.environ['USID_X'])"
    assert run_timed(python(code), environment={"USID_X": "1"}).told == "None 1\n"


# taking turns


@pytest.fixture
def bench(tmp_path):
    told: list[str] = []
    return Bench(folder=tmp_path, size_bytes=MIB, repeats=2, seed=1, tell=told.append), told


def maker(name: str, **more) -> Contestant:
    code = f"""
import json, pathlib, sys
pathlib.Path(sys.argv[1]).write_text("{name}")
pathlib.Path(sys.argv[2]).write_text(json.dumps({{"seconds": 0.5, "after_imports": 7}}))
"""
    return Contestant(name=name, command=lambda dest: python(code, str(dest), "{report}"), **more)


def test_contestants_take_turns_and_find_no_outcome(bench):
    run, told = bench
    seen = []

    def look(outcome: contest.Outcome) -> None:
        seen.append((outcome.place.read_text(), outcome.is_whole))
        assert [file.name for file in outcome.place.parent.iterdir()] == [outcome.place.name]

    measured = alternate(run, [maker("a", check=look), maker("b", check=look)])
    assert seen == [(name, whole) for whole in (False, False, True) for name in "ab"]
    assert list(measured) == ["a", "b"]
    for each in measured.values():
        assert (len(each.whole), each.work, each.after_imports) == (2, (0.5, 0.5), 7)
        assert each.memory.peak_bytes > MIB
    assert len(told) == 6
    assert list(run.folder.iterdir()) == []


def test_a_wrong_outcome_ends_it(bench):
    def refuse(outcome: contest.Outcome) -> None:
        raise VerificationError(outcome.place.name, "is wrong", "Mend it.")

    with pytest.raises(VerificationError, match="is wrong"):
        alternate(bench[0], [maker("a", check=refuse)])


def test_only_who_may_fail_may_fail(bench):
    def fail(**more) -> Contestant:
        command = python("raise RuntimeError('too little memory')")
        return Contestant(name="b", command=lambda _: command, check=lambda _: None, **more)

    good = maker("a", check=lambda _: None)
    measured = alternate(bench[0], [good, fail(may_fail=True)])
    assert measured["b"].failure == "RuntimeError: too little memory"
    assert len(measured["a"].whole) == 2
    assert sum("b: failed" in line for line in bench[1]) == 1
    with pytest.raises(UsidError, match="too little memory"):
        alternate(bench[0], [good, fail()])


def test_what_is_missing_is_refused(tmp_path):
    contest.refuse_without("json")
    with pytest.raises(RefusedError, match=r'pip install "\.\[bench\]"'):
        contest.refuse_without("no_such_package")
    contest.refuse_space(tmp_path, 1)
    with pytest.raises(RefusedError, match=r"expected 1\.0 EiB"):
        contest.refuse_space(tmp_path, 2**60)


# what is touched


@pytest.mark.parametrize("shards", [None, (8, 8, 16, 8)])
@pytest.mark.parametrize("number", [0, 1], ids=["spectrum", "image"])
def test_requests_are_counted_as_chunks(tmp_path, shards, number):
    recipe = Recipe((("Y", 16), ("X", 16)), (("A", 32), ("B", 8)))
    written(tmp_path / "a", recipe, shards=shards)
    store = CountingStore.of(tmp_path / "a")
    array = zarr.open_array(store, mode="r")
    store.requests.clear()
    region = (slice(5, 6), slice(9, 10), slice(None), slice(None))
    if number:
        region = (slice(None), slice(None), slice(30, 31), slice(2, 3))
    assert np.array_equal(array[region], zarr.open_array(tmp_path / "a", mode="r")[region])
    predicted = reads(recipe.shape, (4, 4, 4, 8), recipe.is_position, itemsize=ITEMSIZE)[number]
    touched = store.touched(array)
    assert touched["chunks"] == predicted.chunks > 1
    assert 0 < touched["bytes"] < 1.2 * predicted.size_bytes


def test_a_shard_that_is_read_whole_counts_as_all_its_chunks(tmp_path):
    recipe = Recipe((("Y", 16), ("X", 16)), (("A", 32), ("B", 8)))
    written(tmp_path / "a", recipe, shards=(8, 8, 16, 8))
    store = CountingStore.of(tmp_path / "a")
    array = zarr.open_array(store, mode="r")
    store.requests.clear()
    assert array[:8, :8, :16].shape == (8, 8, 16, 8)
    assert store.touched(array)["chunks"] == 2 * 2 * 4


# the results


def section(name: str, figure: str) -> Section:
    ratios = [Ratio("a / b", 4.5, 5), Ratio("memory", 0.3, 1 / 3, is_at_least=False)]
    figures = [Figures("times", ("", "s"), [("a|b", figure)])]
    return Section(name, figures, ratios, [r"a note \1"], {"CPU": "fast"})


def test_a_section_says_what_is_reached():
    text = markdown(section("convert", "1.5"))
    assert "| a / b | 4.50 | at least 5.00 | not reached |" in text
    assert "| memory | 0.30 | at most 0.33 | reached |" in text
    assert "| a/b | 1.5 |" in text
    assert "- CPU: fast" in text


def test_a_section_takes_its_own_place_and_nothing_else(tmp_path):
    path = tmp_path / "RESULTS.md"
    write_section(section("convert", "1"), path)
    write_section(section("scan", "2"), path)
    before = path.read_text()
    by_hand = "What bounds it: the disk.\n"
    path.write_text(before.replace("## scan\n", f"{by_hand}\n## scan\n"))
    write_section(section("convert", "3"), path)
    after = path.read_text()
    assert after.replace(f"{by_hand}\n", "").replace("| a/b | 3 |", "| a/b | 1 |") == before
    assert after.count(by_hand) == after.count("## convert\n") == after.count("## scan\n") == 1


def test_times_are_medians_with_their_spread():
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert spread([0.0123]) == "0.0123"


def test_the_machine_is_described_and_not_named(tmp_path):
    told = describe_machine(tmp_path, load_before=1.25)
    assert set(told) == {"CPU", "memory", "load", "disk", "system", "usid-flows", "packages"}
    text = " ".join(told.values())
    assert os.uname().nodename not in text
    assert str(tmp_path) not in text
    assert f"numpy {np.__version__}" in told["packages"]
    assert re.search(r"\d GiB free, .*iB/s written", told["disk"])
    assert told["load"].startswith("1.2 before")


# what each command asks of an outcome


def outcome(place: Path, report=None, told: str = "") -> contest.Outcome:
    return contest.Outcome(place, measure.Run(1.0, report or {}, told), True)


def test_a_store_of_other_values_is_a_wrong_conversion(path, tmp_path):
    recipe = recipe_for(MIB // 4, (("A", 32), ("B", 32)), seed=1)
    other = Recipe(recipe.position, recipe.spectroscopic, recipe.values, 2)
    store = convert_file(write_file(path, recipe), tmp_path / "made.zarr").store
    converting.Match(path, recipe).command_line("ours").check(outcome(store))
    with pytest.raises(VerificationError, match="not those of the source"):
        converting.Match(path, other).command_line("ours").check(outcome(store))
    with pytest.raises(VerificationError, match="is partial, expected done"):
        converting.Match(path, recipe).function("ours").check(
            outcome(store, {"outcome": "partial"})
        )


def test_a_copy_that_differs_is_a_wrong_copy(path, tmp_path):
    recipe = recipe_for(MIB // 4, (("A", 32),))
    write_file(path, recipe)
    copied = tmp_path / "copied"
    content = bytearray(path.read_bytes())
    copied.write_bytes(content)
    converting.Match(path, recipe).copy().check(outcome(copied))
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    with pytest.raises(VerificationError, match="is not its source"):
        converting.Match(path, recipe).copy().check(outcome(copied))


def test_a_store_in_other_chunks_is_a_wrong_rechunking(tmp_path):
    recipe = recipe_for(MIB, (("A", 512), ("B", 64)), values="counts")
    written(tmp_path / "a", recipe)
    match = rechunking.Match(tmp_path, recipe, tmp_path / "spill")
    with pytest.raises(VerificationError, match=r"is in chunks \(4, 4, 4, 8\), expected"):
        match.dask("Dask").check(outcome(tmp_path / "a"))


def test_a_file_missed_or_faulted_is_a_wrong_scan(tmp_path):
    recipe = recipe_for(2**16, (("A", 16),))
    match = scanning.Match(tmp_path, [tmp_path / "a.h5", tmp_path / "b.h5"], recipe)
    match.judged().check(outcome(tmp_path, told="2 files, 2 sound: 0 errors"))
    for told in ("2 files, 1 sound: 1 error", "1 file, 1 sound: 0 errors"):
        with pytest.raises(VerificationError, match="expected '2 files, 2 sound'"):
            match.judged().check(outcome(tmp_path, told=told))
    opened = match.opened("somebody", jobs.open_by_tree)
    right = [[list(recipe.shape)] * 4] * 2
    opened.check(outcome(tmp_path, {"shapes": right}))
    with pytest.raises(VerificationError, match=r"b\.h5"):
        opened.check(outcome(tmp_path, {"shapes": [right[0], right[0][:3]]}))


def test_other_values_are_a_wrong_reading(tmp_path):
    recipe = Recipe((("Y", 8), ("X", 8)), (("A", 16), ("B", 8)), "counts")
    region = (slice(0, 8), slice(0, 8), slice(3, 4), slice(2, 3))
    reader = reading.Match(recipe, {"image": [region]}).reader("images", tmp_path)
    digest = hashlib.sha256(recipe.cells(region).tobytes()).hexdigest()
    reader.check(outcome(tmp_path, {"image": {"digests": [[digest, digest]]}}))
    with pytest.raises(VerificationError, match="the image at"):
        reader.check(outcome(tmp_path, {"image": {"digests": [[digest, "other"]]}}))


# the commands


def run_bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    results = ROOT / "benchmarks" / "RESULTS.md"
    before = results.read_bytes() if results.exists() else None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--folder", str(folder), "--no-write"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert list(folder.iterdir()) == [], "what a command makes it takes away"
    assert (results.read_bytes() if results.exists() else None) == before
    return done


def test_read(tmp_path):
    done = run_bench(tmp_path, "read", "--size", "4MiB", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"│ (spectra|images|balanced) +│ [ x\d]+ │ +(spectrum|image) ", done.stdout)
    assert len(rows) == 6
    assert "predicts other chunks" not in done.stdout
    assert "`python -m benchmarks read --size 4MiB --repeats 1 --no-write`" in done.stdout
    assert str(tmp_path) not in done.stdout


@needs_peers
@pytest.mark.slow
def test_convert(tmp_path):
    done = run_bench(tmp_path, "convert", "--size", "4MiB", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ RosettaSciIO + Dask ") == 3
    assert done.stdout.count("│ usid convert ") == 3
    assert "cp, then sync" in done.stdout


@needs_peers
@pytest.mark.slow
def test_scan(tmp_path):
    done = run_bench(tmp_path, "scan", "--files", "3", "--size", "64KiB", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    for name in ("RosettaSciIO, file_reader", "usid validate", "open_tree"):
        assert f"│ {name} " in done.stdout
    assert "│ xarray.open_datatree, the first 3 " in done.stdout


@pytest.mark.slow
def test_rechunk(tmp_path):
    done = run_bench(
        tmp_path, "rechunk", "--size", "4MiB", "--repeats", "1", "--cluster-memory", "1GiB"
    )
    assert done.returncode == 0, done.stderr
    for name in ("Dask in memory", "Dask P2P, 2 workers, 1.0 GiB", "usid rechunk", "rechunk_store"):
        assert f"│ {name} " in done.stdout
    assert "failed" not in done.stdout


@pytest.mark.slow
def test_process(tmp_path):
    small = ("--size", "4MiB", "--spectra", "16", "--repeats", "1")
    done = run_bench(tmp_path, "process", *small)
    assert done.returncode == 0, done.stderr
    assert "sho_fit / a loop of scipy.optimize.least_squares" in done.stdout
    for kind in ("threads", "processes"):
        assert f"│ usid process, 2 {kind} " in done.stdout


def main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    return leaving.value.code


def test_a_wrong_outcome_is_exit_status_1(monkeypatch, tmp_path, capsys):
    def run(bench: Bench) -> Section:
        raise VerificationError("made.zarr", "is wrong", "Mend it.")

    monkeypatch.setattr(reading, "run", run)
    assert main(monkeypatch, "read", "--folder", str(tmp_path), "--no-write") == 1
    assert "error: made.zarr\n  is wrong\n  Mend it.\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["read", "--size", "64 M"], "--size"),
        (["convert", "--variant", "tape"], "Use contiguous, chunked, gzip."),
        (["rechunk", "--memory", "much"], "--memory"),
    ],
)
def test_what_is_not_understood_is_exit_status_2(monkeypatch, capsys, arguments, told):
    assert main(monkeypatch, *arguments, "--no-write") == 2
    assert told in capsys.readouterr().err


def test_the_command_is_told_without_its_folder():
    told = command_line._command_line(["read", "--folder", "/data/x", "--size", "4MiB"])
    assert told == "`python -m benchmarks read --size 4MiB`"
    assert command_line._command_line(["scan", "--folder=/data/x"]) == "`python -m benchmarks scan`"


def test_memory_is_read_of_this_process():
    held = b"x" * (32 * MIB)
    assert measure.pss_bytes() > len(held)
    assert measure.pss_bytes(2**22 + 1) == 0
