"""Who does the work: this process, several of this machine, or actors of a Ray cluster.

One loop hands out tasks, whoever does them: one at a time to each worker; a task whose worker died goes once
more to another one; no task is answered twice.
"""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigError, UnexpectedError, ZoomInError
from .ray_workers import RayWorkers
from .workers import DIED, FAILED, READY, Event, ProcessWorkers, Workers

__all__ = ["Executor", "Lost"]

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 2  # workers that a task may cost
_STARTS = 3  # workers in a row that may die before they are ready
_POLL = 1.0  # seconds of waiting for workers before signals are heard


class Lost(NamedTuple):
    """A task whose workers died.

    Attributes:
        why: how the last one did.
    """

    why: str

    def error(self, where: object) -> UnexpectedError:
        """The error of an image."""
        return UnexpectedError(
            f"the worker process that read it died {self.why}, {_ATTEMPTS} times",
            where=where,
            remedy="Try it alone: it may need too much memory, or be damaged so that a reader crashes.",
        )


@dataclass(frozen=True)
class Executor:
    """Who computes.

    Attributes:
        jobs: workers at a time; None: one without a cluster, else as many as the cluster has GPUs or
            processors.
        cluster: of Ray: "local", "auto", HOST:PORT or "ray://HOST:PORT"; None: processes of this machine.
    """

    jobs: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: if there is no worker, or no such cluster.
        """
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}", where="jobs", remedy="It must be at least 1.")
        if self.cluster is not None and not (self.cluster in ("local", "auto") or ":" in self.cluster):
            raise ConfigError(
                f"{self.cluster!r} is not the address of a Ray cluster",
                where="cluster",
                remedy="Give local, auto, HOST:PORT or ray://HOST:PORT.",
            )

    @property
    def alone(self) -> bool:
        """Whether this process does the work.

        Example:
            >>> Executor().alone, Executor(jobs=2).alone, Executor(cluster="local").alone
            (True, False, False)
        """
        return self.cluster is None and self.jobs in (None, 1)

    def work(
        self, start: Callable[[int], Callable[[T], R]], tasks: Sequence[T], *, gpus: bool = False
    ) -> Iterator[tuple[int, R | Lost]]:
        """The answers of all tasks, each once and with its place, as they come.

        Args:
            start: called in each worker with its number; gives what answers a task, and raises nothing.
            tasks: can be pickled, as `start` can.
            gpus: whether a worker needs a GPU.

        Raises:
            ConfigError: if workers cannot start, or there is no such cluster.
            RuntimeError: with the traceback, if `start` or what it gives raises an error.
        """
        if not tasks:
            return
        packed = pickle.dumps(start)
        workers: Workers
        if self.cluster is None:
            workers, count = ProcessWorkers(packed), self.jobs or 1
        else:
            workers = ray = RayWorkers(packed, self.cluster, self.jobs, gpus)
            count = ray.count
        with closing(workers):
            yield from _Work(workers, count, tasks).run()


class _Work:
    """Tasks, and where they are."""

    def __init__(self, workers: Workers, count: int, tasks: Sequence[Any]) -> None:
        self.workers, self.count, self.tasks = workers, count, tasks
        self.waiting = deque(range(len(tasks)))
        self.busy: dict[int, int] = {}  # the task of a worker
        self.idle: set[int] = set()
        self.starting: set[int] = set()
        self.deaths: Counter[int] = Counter()  # by task
        self.stillborn = 0

    def run(self) -> Iterator[tuple[int, Any]]:
        """Hand out all tasks, and what comes of them."""
        while self.waiting or self.busy:
            self._hand_out()
            for event in self.workers.events(_POLL):
                yield from self._take(event)

    def _hand_out(self) -> None:
        while self.idle and self.waiting:
            worker, task = self.idle.pop(), self.waiting.popleft()
            self.busy[worker] = task
            self.workers.give(worker, self.tasks[task])
        while self.waiting and len(self.starting) < min(len(self.waiting), self.count - len(self.busy)):
            self.starting.add(self.workers.begin())

    def _take(self, event: Event) -> Iterator[tuple[int, Any]]:
        if event.kind == FAILED:
            if isinstance(event.value, ZoomInError):
                raise event.value
            raise RuntimeError(f"a worker process failed:\n{event.value}")
        if event.kind == READY:
            self.starting.discard(event.worker)
            self.idle.add(event.worker)
            self.stillborn = 0
        elif event.kind == DIED:
            yield from self._lose(event)
        else:
            self.idle.add(event.worker)
            yield self.busy.pop(event.worker), event.value

    def _lose(self, event: Event) -> Iterator[tuple[int, Lost]]:
        """A worker died: before it was ready, at a task, or between two."""
        self.idle.discard(event.worker)
        if event.worker in self.starting:
            self.starting.discard(event.worker)
            self.stillborn += 1
            if self.stillborn >= _STARTS:
                raise ConfigError(
                    f"worker processes die before they are ready ({event.value})",
                    where="jobs",
                    remedy="Use fewer: each holds the model, and there may not be enough memory for all.",
                )
        task = self.busy.pop(event.worker, None)
        if task is None:
            return
        self.deaths[task] += 1
        if self.deaths[task] < _ATTEMPTS:
            self.waiting.append(task)
        else:
            yield task, Lost(event.value)
