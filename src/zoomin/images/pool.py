"""The threads that read images: one pool per process, and readings that can be waited for, group by group.

Threads are daemons: one that hangs on an unreadable mount is given up, and does not keep the process alive.
`concurrent.futures` would wait for it when the process ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from ..errors import ImageError

__all__ = ["NotInTime", "Reading", "Task", "default_threads", "in_pool", "map_ahead"]

A = TypeVar("A")
B = TypeVar("B")

_NAME = "zoomin-read"
_MOST = 64  # threads of a process; each reading asks for a few of them


class NotInTime(ImageError):
    """A reading that has been given up."""


class Task(NamedTuple):
    """Some work of a reading.

    Attributes:
        group: what it is part of, such as an image; where a task fails, the rest of its group is left out.
        work: to be called in a thread.
    """

    group: int
    work: Callable[[], None]


class Reading:
    """Tasks under way in threads of the pool.

    Args:
        tasks: done in their order, several at a time.
        threads: most that work on it at once.
        done: called in a thread when a group is done, with its number and what went wrong, if anything.

    Example:
        >>> found = []
        >>> tasks = [Task(0, lambda: found.append("a")), Task(1, lambda: found.append(1 / 0))]
        >>> Reading(tasks, threads=1).start().wait(), found
        ({1: ZeroDivisionError('division by zero')}, ['a'])
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        threads: int,
        done: Callable[[int, Exception | None], None] | None = None,
    ) -> None:
        """Nothing runs yet."""
        self._waiting = deque(enumerate(tasks))
        self._threads = threads
        self._done = done
        self._left = Counter(task.group for task in tasks)
        self._running: dict[int, tuple[int, float]] = {}  # task -> its group, and when it began
        self._failures: dict[int, Exception] = {}
        self._changed = threading.Condition()

    def start(self) -> Reading:
        """Begin, in the pool of this process."""
        for _ in range(min(self._threads, len(self._waiting))):
            _pool().call(self._work)
        return self

    def wait(self, timeout: float | None = None, group: int | None = None) -> dict[int, Exception]:
        """Wait for one group, or for all; what went wrong, by group.

        Args:
            timeout: seconds after which a task that has not ended is given up, and its group fails.
            group: wait for this one alone.
        """
        with self._changed:
            while self._left.get(group, 0) if group is not None else self._left:
                began = min((since for _, since in self._running.values()), default=None)
                rest = None if timeout is None or began is None else began + timeout - time.monotonic()
                if rest is not None and rest <= 0:
                    assert timeout is not None
                    self._give_up(timeout)
                else:
                    self._changed.wait(timeout if rest is None else rest)
            return dict(self._failures)

    def cancel(self) -> None:
        """Start no further task."""
        with self._changed:
            for _, task in self._waiting:
                self._end(task.group, None)
            self._waiting.clear()

    def _work(self) -> None:
        """Do tasks until none is left."""
        while True:
            with self._changed:
                if not self._waiting:
                    return
                number, task = self._waiting.popleft()
                if task.group in self._failures:
                    self._end(task.group, None)
                    continue
                self._running[number] = task.group, time.monotonic()
            error: Exception | None = None
            try:
                task.work()
            except Exception as caught:  # handed to whoever waits
                error = caught
            with self._changed:
                if self._running.pop(number, None) is None:
                    return  # given up long ago, and replaced by another thread
                self._end(task.group, error)

    def _end(self, group: int, error: Exception | None) -> None:
        """One task less of a group; the lock is held."""
        if error is not None:
            self._failures.setdefault(group, error)
        self._left[group] -= 1
        if not self._left[group]:
            del self._left[group]
            if self._done is not None:
                self._done(group, self._failures.get(group))
        if not self._left:
            self._done = None  # what it refers to may refer to this reading
        self._changed.notify_all()

    def _give_up(self, timeout: float) -> None:
        """Let go of the tasks that have run for too long; the lock is held."""
        limit = time.monotonic() - timeout
        for number, (group, began) in list(self._running.items()):
            if began <= limit:
                del self._running[number]
                error = NotInTime(
                    f"reading did not finish within {timeout:g} seconds",
                    remedy="Check the disk or the network, or allow more time (read_timeout).",
                )
                self._end(group, error)
                _pool().replace(self._work)


def map_ahead(
    call: Callable[[A], B], items: Iterable[A], *, threads: int, timeout: float | None = None
) -> Iterator[tuple[A, B | Exception]]:
    """Call a function on items in threads of the pool; the items in their order, each with what became of it.

    Args:
        call: what to do with an item; what it raises is handed on instead of a result.
        items: taken as they are needed.
        threads: items that are under way, or done and not yet asked for, beside the one waited for.
        timeout: seconds after which an item is given up; by default never.

    Example:
        >>> list(map_ahead(lambda n: 6 // n, [3, 0], threads=2))
        [(3, 2), (0, ZeroDivisionError('integer division or modulo by zero'))]
    """
    waiting: deque[tuple[A, list[B], Reading]] = deque()

    def next_done() -> tuple[A, B | Exception]:
        item, found, reading = waiting.popleft()
        error = reading.wait(timeout).get(0)
        return item, found[0] if error is None else error

    try:
        for item in items:
            found: list[B] = []
            work = partial(_keep, call, item, found)
            waiting.append((item, found, Reading([Task(0, work)], 1).start()))
            if len(waiting) > threads:
                yield next_done()
        while waiting:
            yield next_done()
    finally:
        for _, _, reading in waiting:
            reading.cancel()


def _keep(call: Callable[[A], B], item: A, found: list[B]) -> None:
    found.append(call(item))


class _Pool:
    """Daemon threads that call what they are given; as many as are needed at once, up to `_MOST`."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0

    def call(self, work: Callable[[], None]) -> None:
        self._calls.put(work)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._threads >= _MOST:
                return
            self._threads += 1
        threading.Thread(target=self._run, name=_NAME, daemon=True).start()

    def replace(self, work: Callable[[], None]) -> None:
        """Call this instead of a thread that is given up."""
        with self._lock:
            self._threads -= 1
        self.call(work)

    def _run(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()


_pools: list[_Pool] = []  # at most one of this process, last; a forked child has no pool yet


def _pool() -> _Pool:
    if not _pools or _pools[-1].process != os.getpid():
        _pools[:] = [_Pool()]
    return _pools[-1]


def in_pool() -> bool:
    """Whether this thread is one of the pool: whoever gave it its work waits for it in bounded time."""
    return threading.current_thread().name == _NAME


def default_threads() -> int:
    """One a processor, at most 8."""
    return min(8, os.cpu_count() or 1)
