"""What a tool is told of a Main dataset, and what it declares of its results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from usid_tasks.errors import RefusedError
from usid_tasks.model import SideName


@dataclass(frozen=True, eq=False)
class Dim:
    """One dimension of a Main dataset, or of a result.

    ``values`` are the exact Values, ``(size,)``, in index order; None where no single vector
    tells them (they depend on other dimensions, or are absent). ``is_new`` marks a dimension that
    a tool made: it needs Indices and Values of its own, while others link to those of the source.
    """

    name: str
    size: int
    side: SideName
    units: str = ""
    values: NDArray | None = None
    is_new: bool = False

    def __post_init__(self) -> None:
        if self.values is not None and self.values.shape != (self.size,):
            raise ValueError(f"{self.name}: values of shape {self.values.shape}, size {self.size}")


@dataclass(frozen=True, eq=False)
class Output:
    """One Main dataset that a tool makes.

    ``dims`` are slow to fast, those of positions first. A side without dimensions is one that
    was reduced to a single point: whoever writes it gives it the arbitrary dimension of size 1
    that the specification asks for (R19).
    """

    name: str
    dims: tuple[Dim, ...]
    dtype: np.dtype
    quantity: str
    units: str

    def side(self, name: SideName) -> tuple[Dim, ...]:
        """Return the dimensions of one side, slow to fast."""
        return tuple(dim for dim in self.dims if dim.side == name)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(dim.size for dim in self.dims)


@dataclass(frozen=True, eq=False)
class MainHeader:
    """What is known of a Main dataset before any of its values is read.

    Parameters
    ----------
    dims
        Slow to fast, the Position dimensions first; names are distinct. A side that fills no
        grid is one dimension.
    n_positions
        Rows of the Main dataset: fewer than the Position dimensions have places where a scan was
        stopped.
    dtype
        Of the values, or of the one component of a compound that is worked on.
    quantity, units
        Of the values.
    """

    dims: tuple[Dim, ...]
    n_positions: int
    dtype: np.dtype
    quantity: str
    units: str

    def side(self, name: SideName) -> tuple[Dim, ...]:
        """Return the dimensions of one side, slow to fast."""
        return tuple(dim for dim in self.dims if dim.side == name)

    @property
    def n_columns(self) -> int:
        """Spectroscopic points of each position."""
        return prod(dim.size for dim in self.side("spectroscopic"))

    def dim(self, name: str) -> Dim:
        """Return a dimension by its name.

        Raises
        ------
        RefusedError
            If there is none of that name.
        """
        for dim in self.dims:
            if dim.name == name:
                return dim
        known = ", ".join(repr(dim.name) for dim in self.dims)
        raise RefusedError(f"dimension {name!r}", f"the Main dataset has {known}", "Name one.")

    def spectroscopic_dim(self, name: str) -> Dim:
        """Return a Spectroscopic dimension by its name.

        Raises
        ------
        RefusedError
            If there is none of that name, or it is one of positions.
        """
        dim = self.dim(name)
        if dim.side != "spectroscopic":
            known = ", ".join(repr(each.name) for each in self.side("spectroscopic"))
            raise RefusedError(
                f"dimension {name!r}",
                "it is one of positions",
                f"Name a Spectroscopic one: {known}.",
            )
        return dim

    def output(
        self,
        name: str,
        *,
        without: Iterable[str] = (),
        dtype: DTypeLike | None = None,
        quantity: str | None = None,
        units: str | None = None,
    ) -> Output:
        """Return an output that is like the Main dataset, but for what is named.

        Parameters
        ----------
        name
            Of the Main dataset in the results group; no ``-`` (R5).
        without
            Names of dimensions that the tool takes away.
        dtype, quantity, units
            Those of the Main dataset where they are None.
        """
        gone = {self.dim(each).name for each in without}
        return Output(
            name,
            tuple(dim for dim in self.dims if dim.name not in gone),
            self.dtype if dtype is None else np.dtype(dtype),
            self.quantity if quantity is None else quantity,
            self.units if units is None else units,
        )
