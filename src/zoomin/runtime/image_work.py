"""Work on many images, in this process or in others: whatever one of them fails with costs it alone."""

from __future__ import annotations

import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..errors import ConfigError, UnexpectedError, WriteError, ZoomInError
from .executor import Executor, Lost
from .faults import Faults, image_error

__all__ = ["Worker", "check_shared", "guarded", "iter_answers", "take_place"]

_PATIENCE = 60  # seconds after which a file of another machine must be seen: network file systems cache names

T = TypeVar("T")
R = TypeVar("R")


class Worker(NamedTuple):
    """Where a worker computes.

    Attributes:
        device: "cuda" without a number is dealt by the number of the worker.
        threads: of the processor; None: those that there are, or that Ray grants.
    """

    device: torch.device
    threads: int | None = None

    @classmethod
    def of(cls, device: str | torch.device, executor: Executor) -> Worker:
        """Where the workers of a job compute: those of one machine share its processors."""
        shared = not executor.alone and executor.cluster is None
        threads = max(1, (os.cpu_count() or 1) // (executor.jobs or 1)) if shared else None
        return cls(torch.device(device), threads)


def take_place(worker: Worker, number: int) -> torch.device:
    """Settle in a process that has just started; the device to compute on.

    Args:
        worker: where it computes.
        number: of the worker.
    """
    if worker.threads is not None:
        torch.set_num_threads(worker.threads)
    if worker.device.type == "cuda" and worker.device.index is None and torch.cuda.device_count():
        return torch.device("cuda", number % torch.cuda.device_count())
    return worker.device


def check_shared(path: Path, executor: Executor) -> None:
    """Refuse a cluster whose machines write elsewhere than this one reads.

    Args:
        path: a file that a worker has written.
        executor: who computes.

    Raises:
        ConfigError: if it is not here.
    """
    for _ in range(0 if executor.cluster is None else _PATIENCE):
        if path.is_file():
            return
        time.sleep(1)
    if not path.is_file():
        raise ConfigError(
            "a worker wrote this file, and this machine does not see it",
            where=path,
            remedy="Give an --out that all machines of the cluster share under the same path.",
        )


class Answer(NamedTuple):
    """What a worker sends back.

    Attributes:
        found: what came of an image, or its error.
        trace: the traceback of an unexpected error.
        log_lines: lines of the library's log, which nobody would see there.
    """

    found: Any
    trace: str
    log_lines: tuple[str, ...]


class _Traced(Exception):
    """Stands for an error in a worker: its text is the traceback there."""


def iter_answers(
    tasks: Sequence[T],
    name: Callable[[T], str],
    start: Callable[[int], Callable[[T], R]],
    executor: Executor,
    *,
    gpus: bool = False,
) -> Iterator[tuple[int, R | ZoomInError]]:
    """What comes of each image, or its error, with its place; in the order in which they come.

    Args:
        tasks: the images; can be pickled, as `name` and `start` can.
        name: what the user calls one.
        start: called in each worker with its number; gives what answers for an image, or raises its error.
        executor: who computes.
        gpus: whether a worker needs a GPU.

    Raises:
        ConfigError: if workers cannot start, or there is no such cluster.
        WriteError: if a worker cannot write its results.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    faults, logged = Faults(), set[str]()
    for place, answer in _answers(tasks, name, start, executor, gpus):
        if isinstance(answer, Lost):
            found = answer.error(name(tasks[place]))
        else:
            for line in dict.fromkeys(answer.log_lines):
                if line not in logged:
                    logging.getLogger("zoomin").warning("%s", line)
            logged.update(answer.log_lines)
            found = answer.found
            if isinstance(found, UnexpectedError) and answer.trace:
                found.__cause__ = _Traced(answer.trace)
        faults.note(found if isinstance(found, ZoomInError) else None)
        yield place, found


def _answers(
    tasks: Sequence[T],
    name: Callable[[T], str],
    start: Callable[[int], Callable[[T], R]],
    executor: Executor,
    gpus: bool,
) -> Iterator[tuple[int, Answer | Lost]]:
    if not executor.alone:
        yield from executor.work(partial(Guarded, start, name, str(Path.cwd())), tasks, gpus=gpus)
    elif tasks:
        answer = start(0)
        for place, task in enumerate(tasks):
            yield place, Answer(guarded(partial(answer, task), name(task)), "", ())


class Guarded:
    """Answers in a process of its own; what an image fails with is an answer too.

    Args:
        start: see `iter_answers`, as for `name`.
        name: what the user calls an image.
        folder: that relative paths are relative to.
        number: of this worker.
    """

    def __init__(
        self,
        start: Callable[[int], Callable[[Any], Any]],
        name: Callable[[Any], str],
        folder: str,
        number: int,
    ) -> None:
        """Start in the folder of the command."""
        with suppress(OSError):  # not on this machine
            os.chdir(folder)
        self.answer, self.name = start(number), name

    def __call__(self, task: Any) -> Answer:  # noqa: ANN401 (whatever stands for an image)
        """What comes of an image.

        Raises:
            WriteError: if the results cannot be written: that is not the fault of the image.
        """
        with _kept_log() as log_lines:
            found = guarded(partial(self.answer, task), self.name(task))
        cause = found.__cause__ if isinstance(found, ZoomInError) else None
        trace = "" if cause is None else "".join(traceback.format_exception(cause))
        return Answer(found, trace, tuple(log_lines))


def guarded(answer: Callable[[], R], name: str) -> R | ZoomInError:
    """What comes of an image, or its error.

    Args:
        answer: gives it, or raises the error.
        name: of the image.

    Raises:
        WriteError: if the results cannot be written: that is not the fault of the image.
    """
    try:
        return answer()
    except WriteError:
        raise
    except Exception as error:
        return image_error(error, name)


class _Collector(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _kept_log() -> Iterator[list[str]]:
    """What the library says in the block."""
    collector, log = _Collector(), logging.getLogger("zoomin")
    before, log.propagate = log.propagate, False
    log.addHandler(collector)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield collector.lines
    finally:
        log.removeHandler(collector)
        log.propagate = before
