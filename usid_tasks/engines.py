"""Where the tasks of a conversion run: threads here, processes, or any Dask scheduler.

A task is a number: what it reads and writes follows from the plan, so that nothing large goes
through a scheduler. Several make a batch, which keeps the number of Dask tasks small.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from usid_tasks.errors import RefusedError, UsidError
from usid_tasks.workers import Counted, Engine, Finished, Threads, Work, Worker

if TYPE_CHECKING:
    from distributed import Client, Future

_BATCHES = 16
"""Batches for every worker, so that none waits long for another at the end."""

_MOST_TASKS = 256
"""Blocks of a batch: what is lost where a worker dies."""

_AHEAD = 3
"""Batches that every worker is given ahead: worked on, waiting for the disk, next."""

_THREADS = 2
"""Threads of a worker: one works while the other waits for the disk."""

_CONFIG = {
    "distributed.scheduler.no-workers-timeout": "300s",
    "distributed.scheduler.allowed-failures": 2,
    "distributed.worker.memory.terminate": False,
}

_WAIT_S = 60


class DaskEngine:
    """Batches of tasks on the workers of a Dask client, one at a time in each process."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(
        self,
        work: Work,
        numbers: Sequence[int],
        *,
        workers: int,
        finished: Finished,
        check: Callable[[], None],
    ) -> None:
        """Do tasks; the first error ends all workers, what they have finished is told."""
        from distributed import as_completed

        size = max(1, min(_MOST_TASKS, len(numbers) // (workers * _BATCHES)))
        batches = iter(numbers[at : at + size] for at in range(0, len(numbers), size))
        held = self.client.scatter(work, broadcast=True, hash=False)
        given: dict[Future, Sequence[int]] = {}

        def give() -> Iterator[Future]:
            batch = next(batches, None)
            if batch is not None:
                future = self.client.submit(do_batch, held, batch, pure=False, retries=2)
                given[future] = batch
                yield future

        first = [future for _ in range(_AHEAD * workers) for future in give()]
        try:
            completed = as_completed(first)
            for future in completed:
                finished(given.pop(future), future.result())
                check()
                for another in give():
                    completed.add(another)
        finally:
            self.client.cancel(list(given))


_COMPUTING = threading.Lock()


def do_batch(work: Work, numbers: Sequence[int]) -> Counted:
    """Do tasks one after the other in this process, and make durable what they wrote.

    Of two batches at once in a process, one is worked on and the other waits for the disk.
    """
    with _COMPUTING:
        worker = Worker(work)
        total = sum((worker.do(number) for number in numbers), Counted())
        del worker  # its buffers are the next one's
    if work.is_flushed:
        work.flush(numbers)
    return total


@contextmanager
def open_engine(where: str, *, workers: int) -> Iterator[Engine]:
    """Give an engine.

    Parameters
    ----------
    where
        ``threads``, ``processes`` (a Dask cluster on this machine), or the address of a Dask
        scheduler, such as ``tcp://10.0.0.5:8786``; its workers have to reach source and store
        under the same paths.
    workers
        Processes of a cluster on this machine.

    Raises
    ------
    RefusedError
        If it is none of these.
    UsidError
        If the scheduler cannot be reached, or has no workers.
    """
    if where == "threads":
        yield Threads()
        return
    if where != "processes" and "://" not in where:
        raise RefusedError(
            "scheduler",
            f"{where!r}, expected threads, processes or an address",
            "Give the address that the Dask scheduler prints, such as tcp://10.0.0.5:8786.",
        )
    import dask
    import distributed  # before its settings are changed: it brings the others' defaults

    del distributed
    with dask.config.set(_CONFIG), _client(where, workers) as client:
        client.run(importlib.import_module, "usid_tasks.copying")
        yield DaskEngine(client)


@contextmanager
def _client(where: str, workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if where == "processes":
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=_THREADS,
                processes=True,
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(where, timeout=_WAIT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsidError(
            where, f"is no Dask scheduler that answers ({error})", "Start it, or give its address."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WAIT_S)
        except TimeoutError as error:
            raise UsidError(
                where, "has no workers, expected one at least", "Start `dask worker` for it."
            ) from error
        yield client
