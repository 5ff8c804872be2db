"""Where the lines of a run go: to Prefect's record of it, and not twice to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

_OURS = "usid_tasks"
_RUNS = ("prefect.flow_runs", "prefect.task_runs")


class _OfRun(logging.Filter):
    """Passes the lines of one flow run, and those of threads that Prefect does not know."""

    def __init__(self, flow_run_id: UUID) -> None:
        super().__init__()
        self._flow_run_id = flow_run_id

    def filter(self, record: logging.LogRecord) -> bool:
        task, flow = TaskRunContext.get(), FlowRunContext.get()
        if task is not None:
            return task.task_run.flow_run_id == self._flow_run_id
        if flow is not None and flow.flow_run is not None:
            return flow.flow_run.id == self._flow_run_id
        record.flow_run_id = str(self._flow_run_id)
        return True


class _NotTold(logging.Filter):
    """Passes over what the summary tells."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in _RUNS:
            return False
        return not (record.name.startswith(_OURS) and record.levelno < logging.ERROR)


@contextmanager
def lines_in_record() -> Iterator[None]:
    """Send our log lines, one a file, to the record of the present flow run."""
    context = FlowRunContext.get()
    logger = logging.getLogger(_OURS)
    if context is None or context.flow_run is None:
        yield
        return
    handler = APILogHandler()
    handler.addFilter(_OfRun(context.flow_run.id))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keep the lines of flow and task runs off the terminal, for who prints a summary."""
    handlers = [
        one for one in logging.getLogger().handlers if isinstance(one, PrefectConsoleHandler)
    ]
    told = _NotTold()
    for handler in handlers:
        handler.addFilter(told)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(told)
