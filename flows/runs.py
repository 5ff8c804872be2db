"""A flow run from without and within: how it is started here, told to people, and ended.

Completed and Failed are the exit statuses 0 and 1; a run that could not do its work raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow, State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.states import Completed, Failed
from pydantic import BaseModel, Field

from flows.logs import quiet_console
from flows.server import answering_server
from usid_tasks.errors import UsidError
from usid_tasks.progress import NullProgress, Progress, open_progress
from usid_tasks.settings import Settings, load_settings

Config = Annotated[str | None, Field(examples=["/etc/usid/site.yaml"])]
"""Path of the site's configuration file; Prefect reads what its form says in the flow's Args."""

_PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)


class RunFailedError(UsidError):
    """A flow run that did its work and found something wrong in the data, or a failed file.

    ``result`` is what the run would have returned.
    """

    def __init__(self, where: object, what: str, remedy: str, result: Any) -> None:
        super().__init__(where, what, remedy)
        self.result = result


def final_state(
    where: object, message: str, remedy: str, *, result: Any, is_failure: bool
) -> State[Any]:
    """Return the state a flow ends in.

    The flow's caller gets the result, or a :class:`RunFailedError` that holds it.
    """
    if not is_failure:
        return Completed(message=message, data=result)
    return Failed(message=message, data=RunFailedError(where, message, remedy, result))


def settings_of(config: str | None, **overrides: Mapping[str, Any]) -> Settings:
    """Return the configuration that the flow parameter ``config`` names.

    ``overrides`` are sections, each with the settings that the run's other parameters give.
    """
    return load_settings(Path(config) if config else None, overrides=overrides)


def is_scheduled() -> bool:
    """Return whether a schedule of Prefect made the present flow run."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def progress_here() -> Progress:
    """Return whom the present run tells how far it is: nobody, unless it was started here."""
    return _PROGRESS.get() or NullProgress()


def run_here(
    flow: Flow[..., Any], params: BaseModel, config: Path | None, *, is_quiet: bool = False
) -> Any:
    """Run a flow in this process and return its result, failures or not.

    It is recorded by the Prefect server that is configured, else by an embedded one that is
    started for it (15 s).

    Parameters
    ----------
    flow
        One that ends in a :func:`final_state`.
    params, config
        Its parameters.
    is_quiet
        Whether to draw no progress bars.

    Raises
    ------
    ServerError
        If no server answers.
    SystemExit
        With status 143 on SIGTERM, when the run is recorded as crashed.
    UsidError
        What the flow raises where it could not do its work.
    """
    settings = load_settings(config)  # a mistake there must not wait for a server
    with answering_server(settings), quiet_console(), open_progress(is_quiet=is_quiet) as progress:
        token = _PROGRESS.set(progress)
        try:
            return flow(params, None if config is None else str(config))
        except RunFailedError as failed:
            return failed.result
        except TerminationSignal as ended:
            raise SystemExit(128 + ended.signal) from ended
        finally:
            _PROGRESS.reset(token)
