"""``svd``: abundance maps, singular values and end members in passes over blocks."""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from usid_tasks.errors import RefusedError
from usid_tasks.tools.declaration import Job, Note, Parameters, Rows, Stage, Staged, State, Tool
from usid_tasks.tools.dims import Dim, MainHeader, Output
from usid_tasks.tools.refusals import float_like

_EXACT_COLUMNS = 1024
_MOST_EXACT_COLUMNS = 8192


class SVDParameters(Parameters):
    """How many components, and how they are found."""

    n_components: int = Field(
        16,
        title="Components",
        description="How many to keep; no more than there are positions or spectroscopic points.",
        ge=1,
        examples=[16],
    )
    method: Literal["auto", "exact", "randomised"] = Field(
        "auto",
        title="Method",
        description="exact: QR of all columns, one pass; randomised: subspace iterations on some "
        f"more vectors than components; auto: exact up to {_EXACT_COLUMNS} spectroscopic points.",
        examples=["randomised"],
    )
    iterations: int = Field(
        4,
        title="Iterations",
        description="Passes of the randomised method before the last two.",
        ge=1,
        le=100,
        examples=[4],
    )
    oversampling: int = Field(
        10,
        title="Oversampling",
        description="Vectors of the randomised method beyond the components.",
        ge=0,
        le=1000,
        examples=[10],
    )
    seed: int = Field(
        0, title="Seed", description="Of the randomised method.", ge=0, lt=2**63, examples=[0]
    )
    nan: Literal["refuse", "zero"] = Field(
        "refuse",
        title="NaN",
        description="Whether values that are not finite stop the run, or count as 0.",
        examples=["zero"],
    )


def _fix_signs(vectors: NDArray) -> NDArray:
    """Return rows turned so that the element of largest magnitude is real and positive."""
    if not vectors.size:
        return vectors
    at = np.abs(vectors).argmax(axis=1)
    largest = np.take_along_axis(vectors, at[:, np.newaxis], axis=1)
    size = np.abs(largest)
    turn = np.where(size > 0, np.conj(largest) / np.where(size > 0, size, 1), 1)
    return np.asarray(vectors * turn)


def _r_factor(matrix: NDArray) -> NDArray:
    return np.asarray(np.linalg.qr(matrix, mode="r"))


class _SVD:
    """The passes. States hold ``pass`` (how many were made) beside what each pass leaves.

    exact: one pass makes ``r``, the R factor of all rows, by QR of that of former blocks above the
    next block. randomised: passes of ``q <- orth(A^H A q)``, then one for the R factor of
    ``A q``. The singular values and right vectors of R are those of A (times q).
    """

    def __init__(self, header: MainHeader, params: SVDParameters) -> None:
        self.header, self.params = header, params
        self.columns = header.n_columns
        self.n_components = min(params.n_components, self.columns, header.n_positions)
        auto = "exact" if self.columns <= _EXACT_COLUMNS else "randomised"
        self.method = auto if params.method == "auto" else params.method
        self.work = np.dtype(np.complex128 if header.dtype.kind == "c" else np.float64)
        self.width = min(self.n_components + params.oversampling, self.columns)

    def matrix(self, block: NDArray, rows: Rows) -> NDArray:
        """Return a block as ``(n_positions, n_columns)`` in double precision."""
        flat = block.reshape(len(block), self.columns).astype(self.work)
        is_sound = np.isfinite(flat)
        if not is_sound.all():
            if self.params.nan == "refuse":
                row = rows.first + int(np.flatnonzero(~is_sound.all(axis=1))[0])
                raise RefusedError(
                    "tool 'svd'",
                    f"position {row} has a value that is not finite",
                    "Use nan=zero to take such values for 0.",
                )
            flat[~is_sound] = 0
        return flat

    def begin(self) -> State:
        state: State = {"pass": np.zeros(1, np.int64)}
        if self.method == "randomised":
            random = np.random.Generator(np.random.PCG64(self.params.seed))
            start = random.standard_normal((self.columns, self.width)).astype(self.work)
            state["q"] = np.linalg.qr(start)[0]
        return state

    def next_stage(self, state: State) -> Stage | None:
        if "v" in state:
            return None
        made = int(state["pass"][0])
        if self.method == "randomised" and made < self.params.iterations:
            name = f"subspace {made + 1} of {self.params.iterations}"
            return Stage(name, self._product, self._add, self._orthonormalise)
        return Stage("R factor", self._factor, self._stack, self._decompose)

    def _product(self, block: NDArray, rows: Rows, state: State) -> State:
        matrix = self.matrix(block, rows)
        return {"product": matrix.conj().T @ (matrix @ state["q"])}

    def _add(self, left: State, right: State) -> State:
        return {"product": left["product"] + right["product"]}

    def _orthonormalise(self, state: State, combined: State) -> State:
        # columns in falling order of their weight: small components lose nothing to large ones
        product = combined["product"]
        right = np.linalg.svd(state["q"].conj().T @ product)[2]
        q = np.linalg.qr(product @ right.conj().T)[0]
        return {"pass": state["pass"] + 1, "q": q}

    def _factor(self, block: NDArray, rows: Rows, state: State) -> State:
        matrix = self.matrix(block, rows)
        return {"r": _r_factor(matrix @ state["q"] if "q" in state else matrix)}

    def _stack(self, left: State, right: State) -> State:
        return {"r": _r_factor(np.concatenate([left["r"], right["r"]]))}

    def _decompose(self, state: State, combined: State) -> State:
        _, values, vectors = np.linalg.svd(combined["r"], full_matrices=False)
        if "q" in state:
            vectors = vectors @ state["q"].conj().T
        kept = slice(self.n_components)
        return {
            "pass": state["pass"] + 1,
            "s": values[kept],
            "v": _fix_signs(np.ascontiguousarray(vectors[kept])),
        }

    def results(self, state: State) -> dict[str, NDArray]:
        steps = tuple(dim.size for dim in self.header.side("spectroscopic"))
        return {"S": state["s"], "V": state["v"].reshape(self.n_components, *steps)}

    def abundances(self, block: NDArray, rows: Rows, state: State) -> dict[str, NDArray]:
        values, longest = state["s"], max(self.columns, self.header.n_positions)
        least = values[0] * np.finfo(np.float64).eps * longest if values.size else 0.0
        is_above = values > least
        weights = np.where(is_above, 1 / np.where(is_above, values, 1), 0)
        projected = self.matrix(block, rows) @ state["v"].conj().T
        return {"U": projected * weights}

    def notes(self, state: State) -> dict[str, Note]:
        return {"svd_method": self.method, "passes": int(state["pass"][0]) + 1}


def _outputs(header: MainHeader, count: int) -> tuple[Output, ...]:
    numbers = np.arange(count, dtype=np.float64)
    dtype = float_like(header.dtype)
    real = np.empty(0, dtype).real.dtype
    after = Dim("Principal Component", count, "spectroscopic", "a. u.", numbers, is_new=True)
    before = Dim("Principal Component", count, "position", "a. u.", numbers, is_new=True)
    return (
        Output("U", (*header.side("position"), after), dtype, "Abundance", "a.u."),
        Output("S", (before,), real, "Singular values", header.units),
        Output("V", (before, *header.side("spectroscopic")), dtype, header.quantity, "a.u."),
    )


def _prepare(header: MainHeader, params: SVDParameters) -> Job:
    work = _SVD(header, params)
    if not work.n_components:
        raise RefusedError("tool 'svd'", "the Main dataset has no values", "Choose another one.")
    if work.method == "exact" and work.columns > _MOST_EXACT_COLUMNS:
        raise RefusedError(
            "tool 'svd'",
            f"method=exact with {work.columns} spectroscopic points needs matrices of "
            f"{work.columns**2 * work.work.itemsize / 2**30:.1f} GiB",
            "Use method=randomised.",
        )
    staged = Staged(
        begin=work.begin,
        next_stage=work.next_stage,
        results=work.results,
        block_results=work.abundances,
        notes=work.notes,
    )
    item = work.work.itemsize
    copies = 3 if work.method == "exact" else 2
    row_bytes = header.n_columns * (header.dtype.itemsize + copies * item + 1)
    row_bytes += 3 * item * max(work.width, work.n_components)
    side = work.columns if work.method == "exact" else 2 * work.width
    fixed = item * prod((6, side, work.columns))
    outputs = _outputs(header, work.n_components)
    return Job(header.side("spectroscopic"), outputs, staged, row_bytes, fixed)


SVD = Tool(
    name="svd",
    summary="Singular value decomposition: abundance maps U, values S, end members V",
    algorithm=(
        "A = U diag(S) V with positions as rows and all spectroscopic points as columns, in "
        "double precision, values not centred. exact: R factor by QR, block under block, then "
        "its decomposition. randomised: start from normal numbers (PCG64), subspace iterations "
        "q <- orth(A^H A q) with Rayleigh-Ritz order, then the R factor of A q and its "
        "decomposition. U = A V^H / S; columns of singular values below rounding are 0. Each row "
        "of V is turned so that its largest element is real and positive. Complex values are "
        "decomposed as such. Results keep single or double precision, integers become float64."
    ),
    version="1",
    kind="factorization",
    parameters=SVDParameters,
    prepare_job=_prepare,
)
