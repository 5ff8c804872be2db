"""What breaks the rules on storage, on groups and on files."""

from __future__ import annotations

import h5py
import index_tables as it
import numpy as np
from cases import (
    CHANNEL,
    ERROR,
    INFO,
    RESULTS,
    Case,
    attribute,
    external,
    half_written,
    moved,
    null_source,
    odd_attribute,
    picture_only,
    replaced,
    results,
    second_channel,
    source_elsewhere,
    tables_in_the_first_channel,
    together,
    undecodable,
    virtual,
    virtual_extra,
    without_stamps,
)
from usid_files import MAIN, Side

SPECTRA = {"spectroscopic": Side(np.arange(35)[:, None], ["Bias"], ["V"])}
PAIR = np.array((1, 2), [("a", "i4"), ("b", "i4")])
GONE = "storage whose values are not there"

RULES_ON_STORAGE = [
    Case(
        "R6", "chunks of (12, 2): the 5 steps of one position lie in 3", INFO,
        how={"chunks": (12, 2)}, twin={"chunks": (12, 5)},
    ),
    Case(
        "S1", "6 chunks of 40 B", INFO, how={"chunks": (2, 5)}, twin={"chunks": (12, 5)},
        settings={"USID_VALIDATE__CHUNK_MIN": "100"},
    ),
    Case(
        "S2", "chunks of 1.6 KiB", INFO,
        how={**SPECTRA, "chunks": (12, 35)}, twin={**SPECTRA, "chunks": (1, 35)},
        settings={"USID_VALIDATE__CHUNK_MAX": "1500", "USID_VALIDATE__CHUNK_MIN": "0"},
    ),
    Case(
        "S3", "240 B without compression", INFO, how={"chunks": (12, 5)},
        twin={"chunks": (12, 5), "compression": "gzip"},
        settings={"USID_VALIDATE__UNCOMPRESSED_INFO": "239"},
    ),
    Case("S4", "virtual storage: values in part.h5", spoil=virtual("Raw_Data", "part.h5")),
    Case(
        "S4", f"virtual {GONE} (gone.h5: no such file)", ERROR,
        spoil=virtual("Raw_Data", "gone.h5", is_there=False),
    ),
    Case(
        "S4", f"Position_Values: virtual {GONE} (gone.h5: no such file)", ERROR,
        spoil=virtual("Position_Values", "gone.h5", is_there=False),
    ),
    Case(
        "S4", f"external {GONE} (part.raw: holds 100 of 240 bytes)", ERROR,
        spoil=external("Raw_Data", "part.raw", 100),
    ),
    Case("S4", "external storage: values in part.raw", spoil=external("Raw_Data", "part.raw", 240)),
    Case("S4", "virtual storage: values in more.h5 (no such file)", spoil=virtual_extra),
    Case("S5", "6 of 12 rows not written, or in part: 6 to 11", spoil=half_written),
    Case("S5", "no value was ever written (12 rows)", how={"allocate": False}),
    Case(
        "S5", "Position_Indices: no value was ever written (12 rows)",
        spoil=replaced("Position_Indices", None, shape=(12, 2), dtype="u4"),
    ),
    Case(
        "F2", "values cannot be decoded: HDF5 has no filter 65432 here", ERROR,
        spoil=undecodable("Raw_Data"),
    ),
    Case(
        "F2", "Position_Values cannot be decoded: HDF5 has no filter 65432 here", ERROR,
        spoil=undecodable("Position_Values"),
    ),
]  # fmt: skip

RULES_ON_GROUPS = [
    Case("R24", "elsewhere: /Scan/Raw_Data", INFO, spoil=moved(CHANNEL, "/Scan")),
    Case(
        "R25", "tables used from elsewhere, by /Measurement_000/Channel_001/Raw_Data", INFO,
        both=second_channel, spoil=tables_in_the_first_channel,
    ),
    Case(
        "R26",
        "3 of 4 groups and Main datasets lack one or more of time_stamp, machine_id, "
        "pyUSID_version, platform: /, /Measurement_000, /Measurement_000/Channel_000",
        INFO, spoil=without_stamps,
    ),
    Case(
        "R26", f"time stamps '2026-01-31' at {CHANNEL}", INFO,
        spoil=attribute(CHANNEL, "time_stamp", "2026-01-31"),
    ),
    Case(
        "R27", "a results group named Raw_Data-Fit_last", both=results,
        spoil=moved(RESULTS, f"{CHANNEL}/Raw_Data-Fit_last"),
    ),
    Case(
        "R27", f"named after Current, but its source is {MAIN}", both=results,
        spoil=moved(RESULTS, f"{CHANNEL}/Current-Fit_000"),
    ),
    Case(
        "R27", "no dataset Raw_Data beside the group", INFO, both=results,
        spoil=moved(RESULTS, "/Measurement_000/Raw_Data-Fit_000"),
    ),
    Case(
        "R28", "neither tool nor algorithm, no source_000", both=results,
        spoil=together(attribute(RESULTS, "tool", None), attribute(RESULTS, "source_000", None)),
    ),
    Case(
        "R28", "2 sources counted, 1 named", both=results,
        spoil=attribute(RESULTS, "num_sources", 2),
    ),
    Case("R28", "source_000 leads nowhere", both=results, spoil=null_source),
    Case("R28", "no num_sources", both=results, spoil=attribute(RESULTS, "num_sources", None)),
    Case(
        "R29", f"results of {MAIN} in source.h5", INFO, both=results, spoil=source_elsewhere,
    ),
    Case(
        "R29", "source_dataset_path without source_file_path", both=results,
        spoil=together(source_elsewhere, attribute(RESULTS, "source_file_path", None)),
    ),
    Case(
        "R30", "nested values in Instrument of /Measurement_000", INFO,
        both=attribute("/Measurement_000", "Instrument", "{STEM}"),
        spoil=attribute("/Measurement_000", "Instrument", '{"Type": "STEM"}'),
    ),
    Case(
        "R30", "nested values in Instrument of /Measurement_000", INFO,
        spoil=attribute("/Measurement_000", "Instrument", PAIR),
    ),
    Case(
        "P1", "a results group that holds nothing", INFO, both=results,
        spoil=lambda file: file[RESULTS].clear(),
    ),
    Case("F3", "no Main dataset among /picture", INFO, spoil=picture_only),
    Case("F3", "no dataset at all", INFO, spoil=lambda file: file.clear()),
    Case("F4", "unreadable: odd (No NumPy equivalent for TypeTimeID exists)", spoil=odd_attribute),
    Case(
        "F5", "leads nowhere: old -> /gone", INFO,
        both=lambda file: file.update({"new": h5py.SoftLink("/Measurement_000")}),
        spoil=lambda file: file.update({"old": h5py.SoftLink("/gone")}),
    ),
    Case(
        "F5", "leads nowhere: other -> gone.h5 /data", INFO,
        spoil=lambda file: file.update({"other": h5py.ExternalLink("gone.h5", "/data")}),
    ),
    Case(
        "N1", "'X' as 'X_2'", INFO,
        how={"position": Side(it.grid({"Y": 3, "X": 4}), ["X", "X"])},
    ),
    Case("N1", "'a:b' as 'a%3Ab'", INFO, spoil=moved(MAIN, f"{CHANNEL}/a:b")),
]  # fmt: skip
