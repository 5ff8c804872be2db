"""A Measurement into a file: a new one, one more in a copy of it, or in its stead."""

from __future__ import annotations

from usid_tasks.writing.comparing import check_new
from usid_tasks.writing.contents import Contents
from usid_tasks.writing.former import check_former, read_former
from usid_tasks.writing.opening import open_to_write
from usid_tasks.writing.replacing import Staged, copy_file, refuse_no_room
from usid_tasks.writing.storing import needs_scratch, write_values
from usid_tasks.writing.structure import write_structure


def write_measurement(place: Staged, contents: Contents) -> str:
    """Write a Measurement, verify it, publish the file, and return the path of its Main dataset.

    Where the file is there and is not to be replaced, the Measurement is written to a copy of
    it, which takes its place.

    Parameters
    ----------
    place
        Where the file is made.
    contents
        What it will hold.

    Raises
    ------
    UnwritableError
        If HDF5 cannot hold an attribute.
    RefusedError
        If there is not the room.
    NotHDF5Error
        If the file that is there is no HDF5 file, or HDF5 cannot read all of it.
    VerificationError
        If what is read back is not what was written.
    FileBusyError
        If the file that is there changes meanwhile.
    UsidError
        If the file cannot be written.
    """
    former = None
    if place.former is not None and not contents.options.is_replacing:
        former = read_former(place.target)
    needed = contents.around_bytes + (contents.cells.size_bytes if contents.is_raw else 0)
    if needs_scratch(contents):
        needed += contents.cells.size_bytes
    if former is None:
        refuse_no_room(place.folder, needed)
    else:
        copy_file(place.target, place.file, more_bytes=needed)
    with open_to_write(place.file, is_new=former is None) as file:
        made = write_structure(file, contents, is_new=former is None)
    written = write_values(place.file, made, contents, scratch=place.scratch)
    check_new(place.file, made.path, contents, written, where=str(place.target))
    if former is not None:
        check_former(former, place.file, new=made.path.split("/")[1])
    place.publish()
    return made.path
