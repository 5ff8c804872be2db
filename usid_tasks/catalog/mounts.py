"""Which file system a path lies on, and whether SQLite's locks can be trusted there."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre"),
        *("gpfs", "beegfs", "panfs", "pvfs2", "orangefs", "glusterfs", "ocfs2", "gfs2", "vboxsf"),
        *("prl_fs", "davfs", "s3fs", "wekafs", "fuse.sshfs", "fuse.smbnetfs", "fuse.curlftpfs"),
        *("fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.goofys"),
        *("fuse.gcsfuse", "fuse.rclone", "fuse.davfs2", "fuse.juicefs", "fuse.moosefs"),
        *("fuse.mfs", "fuse.lustre", "fuse.beegfs", "fuse.vmhgfs-fuse", "fuse.dfuse"),
    )
)
"""File systems that other machines may write to at the same time."""

_MOUNTS = Path("/proc/self/mounts")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """Return the name of the network file system that a path lies on, None where it is local.

    Parameters
    ----------
    path
        It need not be there yet; links are followed.
    mounts
        The mounts as ``/proc/mounts`` tells them; those of this process if None. Where the
        system has no such list, nothing is known and None is returned.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    resolved = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_ESCAPE.sub(lambda code: chr(int(code[1], 8)), fields[1]))
        # of several mounts on one place, the last one is seen
        if len(place.parts) >= best and resolved.is_relative_to(place):
            best, kind = len(place.parts), fields[2]
    return kind if kind in NETWORK else None
