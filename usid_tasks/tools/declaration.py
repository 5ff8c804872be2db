"""What a tool is: a plain function and a declaration of what it takes and makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getdoc
from math import prod
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.tools.dims import Dim, MainHeader, Output

Kind = Literal["positions", "reduction", "factorization"]
"""How a tool goes over positions: each by itself, all in one pass, all in several."""

State = dict[str, NDArray]
"""What a pass leaves to the next: arrays that can be saved and loaded again bit for bit."""

Note = bool | int | float | str


class Parameters(BaseModel):
    """The parameters of a tool: every field has a title and a description; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, eq=False)
class Context(Generic[P]):
    """What a function is told beside its block.

    ``core`` are the dimensions of the block after the first axis, in the order of the tool's
    declaration.
    """

    header: MainHeader
    params: P
    core: tuple[Dim, ...]

    def values(self, name: str) -> NDArray:
        """Return the exact Values of a core dimension, ``(size,)``, in index order.

        Raises
        ------
        RefusedError
            If no single vector tells them.
        """
        for dim in self.core:
            if dim.name == name:
                if dim.values is None:
                    raise RefusedError(
                        f"dimension {name!r}",
                        "it has no Values of its own",
                        "Choose another dimension, or a tool that needs no coordinates.",
                    )
                return dim.values
        raise RefusedError(f"dimension {name!r}", "it is no core dimension", "Declare it.")


RowFunction = Callable[[NDArray, Context[P]], "NDArray | tuple[NDArray, ...]"]
"""``(n_rows, *core sizes)`` -> ``(n_rows, *result sizes)``, or one such array for each output."""


@dataclass(frozen=True)
class ByPosition:
    """Rows are worked on independently, so that any block of them gives the same bits.

    A row is one position at one place along the Spectroscopic dimensions that are not core.
    ``function`` takes ``(n_rows, *core sizes)`` and returns a tuple with an array for each
    output: ``(n_rows, *sizes)`` of the core dimensions that it keeps, then of its new ones.
    """

    function: Callable[[NDArray], tuple[NDArray, ...]]


@dataclass(frozen=True)
class Rows:
    """Which positions a block holds: ``indices``, ``(n, n_position_dims)``, from row ``first`` on.

    The indices count places along each Position dimension, slow to fast, from 0.
    """

    first: int
    indices: NDArray[np.intp]


@dataclass(frozen=True)
class Stage:
    """One pass over all blocks.

    ``partial(block, rows, state)`` may run anywhere and in any order; ``combine(left, right)``
    is called in the order of blocks, ``left`` being all before ``right``; ``finish(state,
    combined)`` returns the state after the pass. Without any position, ``partial`` is called
    once, with a block of none.
    """

    name: str
    partial: Callable[[NDArray, Rows, State], State]
    combine: Callable[[State, State], State]
    finish: Callable[[State, State], State]


@dataclass(frozen=True)
class Staged:
    """Passes over the whole Main dataset: a reduction makes one, a factorization several.

    A block is ``(n_positions, *all Spectroscopic sizes)``. ``begin()`` returns the first state;
    ``next_stage(state)`` the pass that follows, or None when none does; ``results(state)`` the
    outputs that positions do not make; ``block_results(block, rows, state)`` the others, one row
    for each position, in a last pass (None where there are no such outputs). ``notes(state)`` is
    worth keeping beside the results. Everything follows from the state, so that a saved state
    continues a killed run, and for given blocks no bit depends on who worked on them.
    """

    begin: Callable[[], State]
    next_stage: Callable[[State], Stage | None]
    results: Callable[[State], dict[str, NDArray]]
    block_results: Callable[[NDArray, Rows, State], dict[str, NDArray]] | None = None
    notes: Callable[[State], dict[str, Note]] = lambda _: {}


@dataclass(frozen=True)
class Job:
    """A tool made ready for one Main dataset and given parameters; nothing was read yet.

    ``row_bytes`` is the memory needed at work for each row of a block, the block and its results
    included; ``fixed_bytes`` what is needed beside, however small the block. A job does not
    travel between processes: the tool's name, its parameters and the header do.
    """

    core: tuple[Dim, ...]
    outputs: tuple[Output, ...]
    work: ByPosition | Staged
    row_bytes: int
    fixed_bytes: int = 0

    @property
    def kind(self) -> Literal["positions", "staged"]:
        """Whether rows are independent of each other."""
        return "positions" if isinstance(self.work, ByPosition) else "staged"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: what it is called, what it does, which parameters it takes.

    ``summary`` is one line for people; ``algorithm`` says in full what is computed and goes into
    the provenance with ``version``, which rises when results change. ``prepare`` decides
    everything about one Main dataset, or refuses it.
    """

    name: str
    summary: str
    algorithm: str
    version: str
    kind: Kind
    parameters: type[Parameters]
    prepare_job: Callable[[MainHeader, Any], Job]

    def read_parameters(self, given: dict[str, Any]) -> Parameters:
        """Return checked parameters.

        Parameters
        ----------
        given
            By name; text is taken for a number where a number is asked for.

        Raises
        ------
        RefusedError
            If one is unknown, missing or not allowed; every one is told.
        """
        try:
            return self.parameters.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'together'}: {each['msg']}"
                for each in error.errors()
            )
            known = ", ".join(self.parameters.model_fields)
            raise RefusedError(
                f"tool {self.name!r}", problems, f"Its parameters: {known}."
            ) from error

    def prepare(self, header: MainHeader, given: Parameters | dict[str, Any]) -> Job:
        """Return what the tool will do with one Main dataset.

        Raises
        ------
        RefusedError
            If the parameters are not understood, or the tool makes no sense for the dimensions
            or the dtype of this Main dataset.
        """
        params = self.read_parameters(given) if isinstance(given, dict) else given
        if header.dtype.kind not in "biufc":
            raise RefusedError(
                f"tool {self.name!r}",
                f"values of {header.dtype} are not numbers",
                "Name one component of a compound Main dataset.",
            )
        return self.prepare_job(header, params)


def checked(job_outputs: Sequence[Output], rows: int, found: object, name: str) -> list[NDArray]:
    """Return the arrays of a function as a list in the dtypes declared.

    Raises
    ------
    UsidError
        If they are not as many, or not as long, as was declared.
    """
    arrays = list(found) if isinstance(found, tuple) else [found]
    if len(arrays) != len(job_outputs):
        raise UsidError(
            f"tool {name!r}",
            f"{len(arrays)} arrays were returned, {len(job_outputs)} outputs declared",
            "Return an array for each output, in order.",
        )
    results = []
    for output, array in zip(job_outputs, arrays, strict=True):
        values = np.asarray(array)
        if values.shape[:1] != (rows,):
            raise UsidError(
                f"tool {name!r}",
                f"{output.name} has shape {values.shape} for {rows} rows",
                "Return one entry for each row of the block, first axis first.",
            )
        results.append(values.astype(output.dtype, copy=False))
    return results


def core_bytes(header: MainHeader, core: Sequence[Dim]) -> int:
    """Return how many bytes one row has: its values along the core dimensions."""
    return header.dtype.itemsize * prod(dim.size for dim in core)


def by_position(
    name: str,
    header: MainHeader,
    params: P,
    core: Sequence[str],
    outputs: Sequence[Output],
    function: RowFunction[P],
    *,
    row_bytes: int | None = None,
) -> Job:
    """Return the job of a function that works on each row by itself.

    Parameters
    ----------
    name
        Of the tool, for messages.
    header, params
        What the function is told by its context.
    core
        Names of the Spectroscopic dimensions that it works along, in the order of its axes.
    outputs
        What it makes, in the order that it returns them.
    function
        See :data:`RowFunction`. It must not let one row depend on another.
    row_bytes
        Memory for each row; eight times its values, at 8 bytes each, where it is None.
    """
    dims = tuple(header.spectroscopic_dim(each) for each in core)
    context = Context(header, params, dims)

    def work(block: NDArray) -> tuple[NDArray, ...]:
        return tuple(checked(outputs, len(block), function(block, context), name))

    needed = 64 * prod(dim.size for dim in dims) if row_bytes is None else row_bytes
    return Job(dims, tuple(outputs), ByPosition(work), needed)


def tool(
    parameters: type[P],
    *,
    core: Callable[[P], Sequence[str]],
    outputs: Callable[[MainHeader, P], Sequence[Output]],
    version: str = "1",
) -> Callable[[RowFunction[P]], Tool]:
    """Return a decorator that makes a tool of a function of a block of rows.

    The tool is called like the function; the first line of its docstring is the summary, all of
    it the algorithm.

    Parameters
    ----------
    parameters
        The model of the parameters.
    core
        Names of the Spectroscopic dimensions that the function works along.
    outputs
        What it makes, in the order that it returns them.
    version
        Of what is computed.
    """

    def decorate(function: RowFunction[P]) -> Tool:
        name = getattr(function, "__name__", "tool")
        text = getdoc(function)
        if not text:
            raise UsidError(f"tool {name!r}", "it has no docstring", "Tell what it computes.")

        def prepare(header: MainHeader, params: P) -> Job:
            return by_position(
                name, header, params, core(params), outputs(header, params), function
            )

        return Tool(
            name=name,
            summary=text.splitlines()[0].rstrip("."),
            algorithm=text,
            version=version,
            kind="positions",
            parameters=parameters,
            prepare_job=prepare,
        )

    return decorate
