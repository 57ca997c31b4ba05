"""Worker processes of this machine, each at one task at a time; one that dies costs its task alone."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..errors import ZoomInError
from .allocator import share_arenas
from .processes import end_with_parent

__all__ = ["DIED", "DONE", "FAILED", "READY", "Event", "ProcessWorkers", "Workers"]

READY, DONE, DIED, FAILED = "ready", "done", "died", "failed"
_GRACE = 5.0  # seconds that a worker has to end


class Event(NamedTuple):
    """What came of a worker.

    Attributes:
        worker: its number.
        kind: "ready", it can take a task; "done", with one; "died"; "failed", by an error of the program.
        value: the answer; how it died; an error of zoomin, or the traceback of another one.
    """

    worker: int
    kind: str
    value: Any = None


@runtime_checkable
class Workers(Protocol):
    """Processes that are started with a call, which makes of their number what answers tasks."""

    def begin(self) -> int:
        """Start another one, which reports when it is ready; its number."""
        ...

    def give(self, worker: int, task: object) -> None:
        """Give a task to a worker that has none."""
        ...

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits for it at most so long."""
        ...

    def close(self) -> None:
        """End all."""
        ...


class ProcessWorkers:
    """Processes of this machine.

    Args:
        start: a pickled call that takes the number of a worker, and gives what answers tasks.
    """

    def __init__(self, start: bytes) -> None:
        """None has been started."""
        self._start = start
        self._context = multiprocessing.get_context("spawn")
        self._alive: dict[int, tuple[BaseProcess, Connection]] = {}
        self._begun = 0

    def begin(self) -> int:
        """Start another one, which reports when it is ready; its number."""
        own, theirs = self._context.Pipe()
        number, self._begun = self._begun, self._begun + 1
        process = self._context.Process(target=_serve, args=(theirs, number, self._start), daemon=True)
        process.start()
        theirs.close()
        self._alive[number] = process, own
        return number

    def give(self, worker: int, task: object) -> None:
        """Give a task to a worker that has none."""
        with suppress(OSError):  # it has died: `events` will report it
            self._alive[worker][1].send(task)

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits for it at most so long."""
        found: list[Event] = []
        watched = [thing for process, pipe in self._alive.values() for thing in (process.sentinel, pipe)]
        moved = set(wait(watched, seconds))
        for number, (process, pipe) in list(self._alive.items()):
            if pipe in moved or process.sentinel in moved:
                found.append(self._event(number, process, pipe))
        return found

    def _event(self, number: int, process: BaseProcess, pipe: Connection) -> Event:
        with suppress(OSError, EOFError, pickle.UnpicklingError):  # it died while it was sending
            if pipe.poll():
                return Event(number, *pipe.recv())
        process.join(_GRACE)
        process.kill()
        process.join()
        pipe.close()
        del self._alive[number]
        return Event(number, DIED, _how(process.exitcode))

    def close(self) -> None:
        """End all."""
        for process, _ in self._alive.values():
            process.terminate()
        for process, pipe in self._alive.values():
            process.join(_GRACE)
            process.kill()
            process.join()
            pipe.close()
        self._alive.clear()


def _how(code: int | None) -> str:
    """How a process ended.

    Example:
        >>> _how(-9), _how(1)
        ('by SIGKILL', 'with exit code 1')
    """
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"


def _serve(pipe: Connection, number: int, start: bytes) -> None:
    """Answer tasks until the end."""
    end_with_parent()
    share_arenas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it and ends all
    for event in _answers(pipe, number, start):
        try:
            pipe.send(event)
        except OSError:  # nobody listens any more
            os._exit(1)


def _answers(pipe: Connection, number: int, start: bytes) -> Iterator[tuple[str, Any]]:
    try:
        answer: Callable[[Any], Any] = pickle.loads(start)(number)
        yield READY, None
        while True:
            yield DONE, answer(pipe.recv())
    except EOFError:
        return
    except ZoomInError as error:
        yield FAILED, error
    except Exception:
        yield FAILED, traceback.format_exc()
