"""RosettaSciIO's contract for h5USID: the module that HyperSpy takes as ``file_format``.

``hs.load(path, file_format=usid_tasks.rosetta)`` reads all Main datasets of a file as signals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from usid_tasks.rosetta.reader import file_reader

__all__ = ["file_reader", "file_writer"]


def file_writer(
    filename: str | os.PathLike[str], signal: Mapping[str, Any], **options: Any
) -> None:
    """Write a signal to an h5USID file (see :func:`usid_tasks.rosetta.writer.file_writer`)."""
    # reading needs nothing of what writes
    from usid_tasks.rosetta import writer

    writer.file_writer(filename, signal, **options)
