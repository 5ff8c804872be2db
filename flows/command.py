"""What ``python -m flows.<name>`` have in common: options, and how they end."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.printable import printable

_NOT_RUN, _INTERRUPTED = 2, 130

_Params = TypeVar("_Params", bound=BaseModel)


def parser_for(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for ``python -m flows.<name>`` that knows ``--config``."""
    parser = argparse.ArgumentParser(prog=f"python -m flows.{name}", description=description)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="your settings (YAML), else USID_CONFIG"
    )
    return parser


def checked(model: type[_Params], **values: Any) -> _Params:
    """Return flow parameters from a person's input.

    Raises
    ------
    RefusedError
        Where they are not what the flow accepts.
    """
    try:
        return model(**values)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise RefusedError(
            "parameters", "; ".join(told), f"Correct {'it' if len(told) == 1 else 'them'}."
        ) from error


def leave(work: Callable[[], int]) -> NoReturn:
    """Do the work and leave with its exit status; 2 where it could not run, said on stderr."""
    try:
        status = work()
    except UsidError as error:
        for line in (f"error: {error.where}", f"  {error.what}", f"  {error.remedy}"):
            sys.stderr.write(printable(line) + "\n")
        status = _NOT_RUN
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except Exception:  # noqa: BLE001 - the last resort: told whole
        traceback.print_exc()
        status = _NOT_RUN
    sys.exit(status)
