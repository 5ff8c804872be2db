"""Tools over Main datasets: pure functions of blocks, with a declaration of what comes out."""

from __future__ import annotations

from usid_tasks.tools.declaration import (
    ByPosition,
    Context,
    Job,
    Parameters,
    Rows,
    Stage,
    Staged,
    State,
    Tool,
    by_position,
    tool,
)
from usid_tasks.tools.dims import Dim, MainHeader, Output
from usid_tasks.tools.registry import Registered, find_tool, tools

__all__ = [
    "ByPosition",
    "Context",
    "Dim",
    "Job",
    "MainHeader",
    "Output",
    "Parameters",
    "Registered",
    "Rows",
    "Stage",
    "Staged",
    "State",
    "Tool",
    "by_position",
    "find_tool",
    "tool",
    "tools",
]
