"""Processes that measure the same thing at the same time, each on its own core."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

Step = Callable[[], int]  # does some work; returns how many images that was

_barrier: Barrier | None = None


class Together:
    """Processes that begin a measurement together."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")
        self.count = count
        self._pool = ProcessPoolExecutor(
            count, context, initializer=_start, initargs=(context.Barrier(count),)
        )

    def rate(self, make: Callable[..., Step], seconds: float, *given: Any, **named: Any) -> float:
        """Return images per second of all processes together; each times what `make` gives it.

        `make` is called with the process's number and what is given beside; it is not timed.
        """
        jobs = [
            self._pool.submit(_rate, make, seconds, number, given, named)
            for number in range(self.count)
        ]
        return sum(job.result() for job in jobs)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


@contextmanager
def started(count: int) -> Iterator[Together]:
    """Hold the processes while the block runs."""
    processes = Together(count)
    try:
        yield processes
    finally:
        processes.close()


def _start(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _rate(
    make: Callable[..., Step],
    seconds: float,
    number: int,
    given: tuple[Any, ...],
    named: dict[str, Any],
) -> float:
    step = make(number, *given, **named)
    step()  # caches and first-use costs are not what is measured
    assert _barrier is not None
    _barrier.wait(timeout=300)
    began, done = time.perf_counter(), 0
    while True:
        done += step()
        passed = time.perf_counter() - began
        if passed >= seconds:
            return done / passed
