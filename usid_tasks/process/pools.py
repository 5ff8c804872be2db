"""Who works on blocks: threads here, or the workers of a Dask client."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol

from usid_tasks.engines import DaskEngine
from usid_tasks.process.steps import Block, Step, do_step
from usid_tasks.tools import State
from usid_tasks.workers import Engine

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 2**25  # the most that glibc takes

Result = tuple[Block, State | None]


class Pool(Protocol):
    """Works on blocks of a step."""

    def in_order(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, in their order; only a few are ahead."""
        ...

    def as_done(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, as soon as it is done."""
        ...


class ThreadPool:
    """Threads of this process."""

    def __init__(self, executor: ThreadPoolExecutor, workers: int) -> None:
        self._executor, self._workers = executor, workers
        self._stop = threading.Event()

    def in_order(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, in their order; only a few are ahead."""
        waiting: deque[tuple[Block, Future[State | None]]] = deque()
        for block in blocks:
            waiting.append((block, self._submit(step, block)))
            if len(waiting) > self._workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def as_done(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, as soon as it is done."""
        running: dict[Future[State | None], Block] = {}
        rest = iter(blocks)
        while True:
            for block in rest:
                running[self._submit(step, block)] = block
                if len(running) > self._workers:
                    break
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()

    def _submit(self, step: Step, block: Block) -> Future[State | None]:
        return self._executor.submit(self._do, step, block)

    def _do(self, step: Step, block: Block) -> State | None:
        if self._stop.is_set():
            raise InterruptedError
        return do_step(step, block)

    def stop(self) -> None:
        """Begin no other block."""
        self._stop.set()


class DaskPool:
    """The workers of a Dask client; a step travels once to each of them."""

    def __init__(self, client: Any, workers: int) -> None:
        self._client, self._ahead = client, 2 * workers

    def in_order(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, in their order; only a few are ahead."""
        waiting: deque[tuple[Block, Any]] = deque()
        with self._sent(step, lambda: [future for _, future in waiting]) as submit:
            for block in blocks:
                waiting.append((block, submit(block)))
                if len(waiting) > self._ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()

    def as_done(self, step: Step, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what comes of each block, as soon as it is done."""
        from distributed import as_completed

        running: dict[Any, Block] = {}
        rest = iter(blocks)
        with self._sent(step, lambda: list(running)) as submit:
            completed = as_completed(loop=self._client.loop)
            for block in rest:
                future = submit(block)
                running[future] = block
                completed.add(future)
                if len(running) > self._ahead:
                    done = next(completed)
                    yield running.pop(done), done.result()
            for done in completed:
                yield running.pop(done), done.result()

    @contextmanager
    def _sent(self, step: Step, left: Callable[[], list[Any]]) -> Iterator[Callable[[Block], Any]]:
        held = self._client.scatter(step, broadcast=True, hash=False)

        def submit(block: Block) -> Any:
            return self._client.submit(do_remotely, held, block, pure=False, retries=2)

        try:
            yield submit
        finally:
            self._client.cancel(left())


def do_remotely(step: Step, block: Block) -> State | None:
    """Do a step on a block in a worker process of Dask."""
    keep_freed_memory()
    return do_step(step, block)


@cache
def keep_freed_memory() -> None:
    """Let this process use freed memory again, as glibc does by itself where nobody tells it.

    Dask has its workers give all of it back at once. Each array of a tool is then made of new
    pages, which takes as long as the work.
    """
    with suppress(OSError, AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _MMAP_BYTES)


@contextmanager
def open_pool(engine: Engine | None, workers: int) -> Iterator[Pool]:
    """Give those who work: Dask's workers where the engine has a client, else threads."""
    if isinstance(engine, DaskEngine):
        yield DaskPool(engine.client, workers)
        return
    executor = ThreadPoolExecutor(workers, thread_name_prefix="usid-positions")
    pool = ThreadPool(executor, workers)
    try:
        yield pool
    finally:
        pool.stop()
        executor.shutdown(cancel_futures=True)
