"""A fingerprint changes with every value, index, label and unit, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_files import means, source
from usid_files import MAIN, distinct

from usid_tasks.digests import array_digest
from usid_tasks.errors import UnreadableDataError
from usid_tasks.provenance import cells as module
from usid_tasks.provenance.cells import dataset_digest
from usid_tasks.provenance.fingerprints import Fingerprint, fingerprint
from usid_tasks.usid import open_hdf5, read_usid, scan

TABLES = MAIN.rpartition("/")[0]


def taken(path, main=MAIN):
    return fingerprint(read_usid(path).mains[main])


def test_parts_are_the_datasets_as_stored(tmp_path):
    path = source(tmp_path / "scan.h5")
    told = taken(path)
    with h5py.File(path) as file:
        assert told.main.digest == array_digest(file[MAIN][()])
        for name, part in told.tables.items():
            table = file[f"{TABLES}/{name}"]
            assert part.digest == array_digest(table[()])
            assert (part.shape, part.dtype) == (table.shape, table.dtype.str)
            assert list(part.labels) == [text.decode() for text in table.attrs["labels"]]
            assert list(part.units) == [text.decode() for text in table.attrs["units"]]
    assert (told.quantity, told.units) == ("Current", "nA")
    assert told.digest.startswith("blake3-main:")


def test_added_results_other_chunks_and_filters_change_nothing(tmp_path):
    path = source(tmp_path / "scan.h5")
    packed = source(
        tmp_path / "packed.h5", chunks=(5, 2), compression="gzip", filters={"shuffle": True}
    )
    before = taken(path)
    means(path, path)
    assert taken(path).digest == before.digest == taken(packed).digest


def change_value(file):
    file[MAIN][11, 4] += 1


def change_index(file):
    table = file[f"{TABLES}/Position_Indices"]
    table[:2] = table[:2][::-1]


def change_position(file):
    file[f"{TABLES}/Position_Values"][3, 0] += 0.5


def change_bias(file):
    file[f"{TABLES}/Spectroscopic_Values"][0, 2] = 0.25


def change_label(file):
    for kind in ("Indices", "Values"):
        file[f"{TABLES}/Position_{kind}"].attrs["labels"] = [b"X", b"Z"]


def change_table_unit(file):
    file[f"{TABLES}/Spectroscopic_Values"].attrs["units"] = [b"mV"]


def change_unit(file):
    file[MAIN].attrs["units"] = "pA"


def change_quantity(file):
    file[MAIN].attrs["quantity"] = "Charge"


CHANGES = {
    change_value: ["values of Main dataset"],
    change_index: ["values of Position_Indices"],
    change_position: ["values of Position_Values"],
    change_bias: ["values of Spectroscopic_Values"],
    change_label: [
        "labels of Position_Indices: 'X', 'Y', now 'X', 'Z'",
        "labels of Position_Values: 'X', 'Y', now 'X', 'Z'",
    ],
    change_table_unit: ["units of Spectroscopic_Values: 'V', now 'mV'"],
    change_unit: ["units of the Main dataset: 'nA', now 'pA'"],
    change_quantity: ["quantity of the Main dataset: 'Current', now 'Charge'"],
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_was_changed_is_named(tmp_path, change):
    path = source(tmp_path / "scan.h5")
    before = taken(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with open_hdf5(path) as file:
        after = fingerprint(scan(file, str(path)).candidates[MAIN])
    assert after.digest != before.digest
    assert list(before.differences(after)) == CHANGES[change]
    assert before.differences(before) == ()


def test_values_and_labels_changed_together_are_both_named(tmp_path):
    path = source(tmp_path / "scan.h5")
    before = taken(path)
    with h5py.File(path, "r+") as file:
        change_label(file)
        change_position(file)
    assert "values of Position_Values" in before.differences(taken(path))


def test_another_type_of_the_same_numbers_is_a_difference(tmp_path):
    data = np.arange(60).reshape(12, 5)
    one = taken(source(tmp_path / "one.h5", data=data.astype("f4")))
    other = taken(source(tmp_path / "other.h5", data=data.astype("f8")))
    assert one.differences(other) == ("dtype of Main dataset: <f4, now <f8",)


def test_compound_mains_have_the_digests_of_their_fields(tmp_path):
    kind = np.dtype([("A [V]", "f4"), ("in", [("re", ">i2"), ("v", "f8", (3,))])])
    data = distinct((12, 5), kind)
    path = source(tmp_path / "scan.h5", data=data)
    before = taken(path)
    assert before.main.digest.startswith("blake3-fields:")
    data["in"]["v"][7, 3, 2] += 1
    after = taken(source(tmp_path / "scan2.h5", data=data))
    assert before.differences(after) == ("values of Main dataset",)


@pytest.mark.parametrize(
    ("values", "alone"),
    [
        (np.array(["µm", "", "\udce9"], object), False),
        (np.array([b"a", b"bc"]), False),
        (np.arange(7), False),
        (np.arange(24.0).reshape(2, 3, 4), False),
        (np.float64(3), True),
        (np.zeros((0, 4)), False),
    ],
    ids=["text", "bytes", "line", "cube", "scalar", "empty"],
)
def test_any_dataset_of_numbers_or_text_has_a_digest(tmp_path, values, alone):
    path = tmp_path / "any.h5"
    with h5py.File(path, "w") as file:
        is_text = values.dtype.kind == "O"
        raw = (
            np.array([text.encode("utf-8", "surrogateescape") for text in values], object)
            if is_text
            else values
        )
        file.create_dataset("it", data=raw, dtype=h5py.string_dtype() if is_text else None)
    with open_hdf5(path) as file:
        held = scan(file, str(path)).datasets["/it"]
    assert dataset_digest(path, held) == array_digest(values)


def test_what_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "any.h5"
    with h5py.File(path, "w") as file:
        file["it"] = file.ref
        file.create_dataset("numbers", data=np.arange(1000.0), compression="gzip")
        place = file["numbers"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place + 4)
        raw.write(bytes(40))
    with open_hdf5(path) as file:
        held = scan(file, str(path)).datasets
    for name in held:
        with pytest.raises(UnreadableDataError, match=name):
            dataset_digest(path, held[name])
    path.unlink()
    with pytest.raises(FileNotFoundError):
        dataset_digest(path, held["/numbers"])


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    chunks=st.none() | st.tuples(st.integers(1, 70), st.integers(1, 70)),
    threads=st.integers(1, 3),
    block_bytes=st.sampled_from([1, 2**12, 2**18]),
)
def test_no_block_and_no_thread_changes_a_digest(
    tmp_path_factory, shape, chunks, threads, block_bytes
):
    values = np.arange(shape[0] * shape[1], dtype="<i4").reshape(shape)
    path = tmp_path_factory.mktemp("it") / "any.h5"
    with h5py.File(path, "w") as file:
        fits = chunks is not None and all(map(int.__le__, chunks, shape))
        file.create_dataset("it", data=values, chunks=chunks if fits else None)
    with open_hdf5(path) as file:
        held = scan(file, str(path)).datasets["/it"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        assert dataset_digest(path, held, threads=threads) == array_digest(values)


def test_json_keeps_all_and_tells_forgery(tmp_path):
    told = taken(source(tmp_path / "scan.h5"))
    assert Fingerprint.from_json(told.to_json()) == told
    forged = told.to_json() | {"quantity": "Charge"}
    with pytest.raises(ValueError, match="says"):
        Fingerprint.from_json(forged)


def test_every_real_main_has_one(shared_data):
    found = {}
    for path in sorted(shared_data.iterdir()):
        if path.suffix in (".h5", ".ptir"):
            mains = read_usid(path).mains
            found |= {(path.name, name): fingerprint(main).digest for name, main in mains.items()}
    assert len(found) > 10
    # channels of one file may hold the same values; whole files never do
    assert len(set(found.values())) > len({name for name, _ in found}) > 4


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [None, (1, 4096), (8192, 1), (100, 100)], ids=str)
def test_memory_does_not_grow_with_the_file(tmp_path, chunks):
    """A Main of 512 MiB; only what the program takes by itself is allowed beside 96 MiB."""
    path = tmp_path / "big.h5"
    band = np.full((2**13, 4096), 2, "f4")
    with h5py.File(path, "w", rdcc_nbytes=2**28) as file:
        made = file.create_dataset("it", shape=(2**15, 4096), dtype="f4", chunks=chunks)
        for first in range(0, 2**15, 2**13):
            made[first : first + 2**13] = band
    program = """
        import resource, sys
        from pathlib import Path
        from usid_tasks.provenance.cells import dataset_digest
        from usid_tasks.usid import open_hdf5, scan
        with open_hdf5(sys.argv[1]) as file:
            held = scan(file, sys.argv[1]).datasets["/it"]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        dataset_digest(Path(sys.argv[1]), held)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        capture_output=True, text=True, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    grown = int(told) * 1024
    assert grown < 96 * 2**20
