"""``kmeans``: clusters of positions: their labels and their mean responses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from usid_tasks.errors import RefusedError
from usid_tasks.tools.declaration import Job, Note, Parameters, Rows, Stage, Staged, State, Tool
from usid_tasks.tools.dims import Dim, MainHeader, Output
from usid_tasks.tools.refusals import float_like, require_kinds

_CELLS = 2**16


class KMeansParameters(Parameters):
    """How many clusters, and when to stop."""

    n_clusters: int = Field(
        4,
        title="Clusters",
        description="How many; no more than there are positions.",
        ge=1,
        le=4096,
        examples=[4],
    )
    iterations: int = Field(
        100,
        title="Iterations",
        description="Most passes after the start.",
        ge=1,
        le=10000,
        examples=[100],
    )
    tolerance: float = Field(
        1e-4,
        title="Tolerance",
        description="Done when the centres' summed squared move is below this part of the mean "
        "squared distance.",
        ge=0,
        examples=[1e-4],
    )
    seed: int = Field(
        0, title="Seed", description="Of the start (k-means++).", ge=0, lt=2**63, examples=[0]
    )


def uniform(seed: int, draw: int, rows: NDArray) -> NDArray[np.float64]:
    """Return a number in (0, 1) for each row number: the same wherever the row is drawn.

    Two rounds of the finaliser of SplitMix64 over seed, draw and row.
    """
    mixed = rows.astype(np.uint64)
    for part in (seed * 0x9E3779B97F4A7C15 + draw, draw * 0xBF58476D1CE4E5B9 + seed):
        mixed = mixed + np.uint64((part + 0x9E3779B97F4A7C15) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def distances(matrix: NDArray, centres: NDArray) -> NDArray[np.float64]:
    """Return squared distances, ``(n, n_centres)``, of ``(n, columns)`` from each centre.

    Sums run along each row alone, so that a row has the same distances in every block.
    """
    found = np.empty((len(matrix), len(centres)))
    size = max(1, _CELLS // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), size):
        part = matrix[start : start + size]
        for at, centre in enumerate(centres):
            away = part - centre
            np.einsum("ij,ij->i", away, away, out=found[start : start + size, at])
    return found


class _KMeans:
    """The passes: one for each centre of the start (k-means++), then one for each iteration.

    States hold ``centres``, ``(n, columns)`` float64, ``passes``, ``moved`` (is another iteration
    needed) and ``inertia``, the summed squared distances of the last pass.
    """

    def __init__(self, header: MainHeader, params: KMeansParameters) -> None:
        self.header, self.params, self.columns = header, params, header.n_columns

    def matrix(self, block: NDArray, rows: Rows) -> NDArray:
        flat = block.reshape(len(block), self.columns).astype(np.float64)
        is_sound = np.isfinite(flat).all(axis=1)
        if not is_sound.all():
            row = rows.first + int(np.flatnonzero(~is_sound)[0])
            raise RefusedError(
                "tool 'kmeans'",
                f"position {row} has a value that is not finite",
                "Use a tool that fills or leaves out such positions first.",
            )
        return flat

    def begin(self) -> State:
        return {
            "centres": np.empty((0, self.columns)),
            "passes": np.zeros(1, np.int64),
            "moved": np.ones(1, np.bool_),
            "inertia": np.zeros(1),
        }

    def next_stage(self, state: State) -> Stage | None:
        count = self.params.n_clusters
        chosen, passes = len(state["centres"]), int(state["passes"][0])
        if chosen < count:
            name = f"start {chosen + 1} of {count}"
            return Stage(name, self._candidate, self._better, self._choose)
        if not state["moved"][0] or passes >= self.params.iterations:
            return None
        return Stage(f"iteration {passes + 1}", self._sums, self._add, self._move)

    # the start: the row with the largest ln(u) / d^2 is a draw with weights d^2

    def _candidate(self, block: NDArray, rows: Rows, state: State) -> State:
        matrix, centres = self.matrix(block, rows), state["centres"]
        numbers = np.arange(rows.first, rows.first + len(block))
        drawn = np.log(uniform(self.params.seed, len(centres), numbers))
        if len(centres):
            weight = distances(matrix, centres).min(axis=1, initial=np.inf)
            is_new = weight > 0
            drawn = np.where(is_new, drawn / np.where(is_new, weight, 1), -np.inf)
        if not len(block):
            return {"key": np.full(1, -np.inf), "row": np.zeros((1, self.columns))}
        at = int(drawn.argmax())
        return {"key": drawn[at : at + 1], "row": matrix[at : at + 1]}

    def _better(self, left: State, right: State) -> State:
        return right if right["key"][0] > left["key"][0] else left

    def _choose(self, state: State, combined: State) -> State:
        return {**state, "centres": np.concatenate([state["centres"], combined["row"]])}

    # the iterations

    def _sums(self, block: NDArray, rows: Rows, state: State) -> State:
        matrix, centres = self.matrix(block, rows), state["centres"]
        away = distances(matrix, centres)
        labels = away.argmin(axis=1)
        nearest = away.min(axis=1, initial=np.inf)
        sums = np.zeros_like(centres)
        for label in range(len(centres)):
            sums[label] = matrix[labels == label].sum(axis=0)
        farthest = matrix[nearest.argmax() : nearest.argmax() + 1] if len(block) else centres[:1]
        return {
            "counts": np.bincount(labels, minlength=len(centres)),
            "sums": sums,
            "inertia": nearest.sum(keepdims=True),
            "distance": nearest.max(keepdims=True, initial=-1.0),
            "farthest": farthest,
        }

    def _add(self, left: State, right: State) -> State:
        far = right if right["distance"][0] > left["distance"][0] else left
        added = {name: left[name] + right[name] for name in ("counts", "sums", "inertia")}
        return {**added, "distance": far["distance"], "farthest": far["farthest"]}

    def _move(self, state: State, combined: State) -> State:
        counts, former = combined["counts"], state["centres"]
        is_empty = counts == 0
        means = combined["sums"] / np.maximum(counts, 1)[:, np.newaxis]
        centres = np.where(is_empty[:, np.newaxis], former, means)
        refilled = bool(is_empty.any()) and combined["distance"][0] > 0
        if refilled:
            centres[int(np.flatnonzero(is_empty)[0])] = combined["farthest"][0]
        move = float(((centres - former) ** 2).sum())
        scale = float(combined["inertia"][0]) / max(1, int(counts.sum()))
        moved = refilled or move > self.params.tolerance * scale
        return {
            "centres": centres,
            "passes": state["passes"] + 1,
            "moved": np.full(1, moved),
            "inertia": combined["inertia"],
        }

    def results(self, state: State) -> dict[str, NDArray]:
        steps = tuple(dim.size for dim in self.header.side("spectroscopic"))
        return {"Mean_Response": state["centres"].reshape(self.params.n_clusters, *steps)}

    def labels(self, block: NDArray, rows: Rows, state: State) -> dict[str, NDArray]:
        away = distances(self.matrix(block, rows), state["centres"])
        return {"Labels": away.argmin(axis=1).astype(np.uint32)}

    def notes(self, state: State) -> dict[str, Note]:
        return {
            "iterations_made": int(state["passes"][0]),
            "converged": not state["moved"][0],
            "inertia": float(state["inertia"][0]),
        }


def _prepare(header: MainHeader, params: KMeansParameters) -> Job:
    require_kinds("kmeans", header, "biuf", "Cluster the magnitude, or the results of svd.")
    if params.n_clusters > header.n_positions:
        raise RefusedError(
            "tool 'kmeans'",
            f"{params.n_clusters} clusters of {header.n_positions} positions",
            "Lower n_clusters.",
        )
    work = _KMeans(header, params)
    staged = Staged(
        begin=work.begin,
        next_stage=work.next_stage,
        results=work.results,
        block_results=work.labels,
        notes=work.notes,
    )
    numbers = np.arange(params.n_clusters, dtype=np.float64)
    clusters = Dim("Cluster", params.n_clusters, "position", "a. u.", numbers, is_new=True)
    outputs = (
        Output("Labels", header.side("position"), np.dtype(np.uint32), "Cluster labels", "a. u."),
        Output(
            "Mean_Response", (clusters, *header.side("spectroscopic")), float_like(header.dtype),
            header.quantity, header.units,
        ),
    )  # fmt: skip
    row_bytes = header.n_columns * (header.dtype.itemsize + 3 * 8) + 16 * params.n_clusters
    fixed = 8 * header.n_columns * params.n_clusters * 6 + 16 * _CELLS
    return Job(header.side("spectroscopic"), outputs, staged, row_bytes, fixed)


KMEANS = Tool(
    name="kmeans",
    summary="Cluster positions by k-means: labels and the mean response of each cluster",
    algorithm=(
        "K-Means by Lloyd's iterations from a k-means++ start, on squared Euclidean distances in "
        "float64. The start draws rows by a hash of seed, draw and row number, weighted by the "
        "squared distance from the centres so far. A cluster that gets empty takes the position "
        "farthest from its centre, one in each iteration. Ties go to the lower label. Labels are "
        "those of the mean responses told."
    ),
    version="1",
    kind="factorization",
    parameters=KMeansParameters,
    prepare_job=_prepare,
)
