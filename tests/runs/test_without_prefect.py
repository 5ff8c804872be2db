"""Ingest and convert work where neither Prefect nor Dask has been imported."""

from __future__ import annotations

import subprocess
import sys

INGEST_AND_CONVERT = """
import sys
from pathlib import Path
from usid_tasks.convert import convert_file
from usid_tasks.ingest import IngestRequest, ingest
from usid_tasks.settings import load_settings
from usid_tasks.validate import validate_paths

source, dest = Path(sys.argv[1]), Path(sys.argv[2])
request = IngestRequest(sources=[str(source)], dest=dest, settle_s=0)
assert ingest(request, load_settings()).exit_status == 0
convert_file(source / "sound.h5", dest / "again.zarr")
assert len(list(validate_paths([source]))) == 1
print(*sorted({"prefect", "dask", "distributed", "pyUSID", "flows"} & set(sys.modules)))
"""


def test_ingest_convert_and_validate_import_neither(sound, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INGEST_AND_CONVERT, str(sound), str(tmp_path / "stores")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
