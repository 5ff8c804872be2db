"""Who owns a claim: a process, told so exactly that another can see whether it still lives."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process on a host; ``started`` is in the kernel's ticks since the boot ``boot_id``.

    ``namespace`` tells containers of one host apart, whose process numbers mean nothing to each
    other.
    """

    key: str
    run_id: str
    token: str
    host: str
    pid: int
    started: str
    boot_id: str
    namespace: str

    @classmethod
    def this(cls, *, key: str, run_id: str) -> Self:
        """Return this process as an owner of `key`, with a token that no other has."""
        host, boot_id, namespace = _here()
        return cls(
            key=key,
            run_id=run_id,
            token=secrets.token_hex(16),
            host=host,
            pid=os.getpid(),
            started=_process_started(os.getpid()) or "",
            boot_id=boot_id,
            namespace=namespace,
        )

    def to_json(self) -> bytes:
        """Return the owner as a line of JSON."""
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self | None:
        """Return the owner that :meth:`to_json` wrote; None for anything else."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    @property
    def is_alive(self) -> bool | None:
        """Whether the process still runs; None where it cannot be looked up from here."""
        if not self.boot_id or (self.host, self.boot_id, self.namespace) != _here():
            return None
        started = _process_started(self.pid)
        return None if started is None else started == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (run {self.run_id})"


@lru_cache(maxsize=1)
def _here() -> tuple[str, str, str]:
    """Return host, boot and process namespace; the latter are empty where no kernel tells."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
    except OSError:
        return socket.gethostname(), "", ""
    return socket.gethostname(), boot_id, namespace


def _process_started(pid: int) -> str | None:
    """Return when a process began; nothing if it is gone or a zombie, None if it is hidden."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except OSError:
            return None  # another user's process, which this mount of /proc does not show
        return None
    state, *rest = text.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]
