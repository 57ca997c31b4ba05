"""The work of inference in other processes: of this machine, or of a Ray cluster. They compute, we write."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..classifiers import Classifier
from ..data.manifest import Record
from ..errors import UnexpectedError
from ..progress import progress_bar
from ..runtime.executor import Executor, Lost
from ..runtime.faults import Faults
from .config import InferenceConfig
from .pipeline import Answered, run_batches
from .prediction import failed_prediction, iter_predictions, predictions_of
from .predictions import Prediction
from .sources import Unreadable, name_of

__all__ = ["iter_found", "iter_numbered"]

T = TypeVar("T")
ImageOrPath = str | Path | Record  # a record tells of an image more than where it is
Answers = Callable[[Answered], Sequence[T]]


class _Answer(NamedTuple):
    """What a worker sends back.

    Attributes:
        found: what `answers` made of one image, or an `Unreadable`.
        trace: the traceback of an unexpected error.
        log_lines: lines of the library's log, which nobody would see there.
    """

    found: Any
    trace: str
    log_lines: tuple[str, ...]


class _Traced(Exception):
    """Stands for an error in a worker: its text is the traceback there."""


def iter_numbered(
    images: Sequence[ImageOrPath],
    model: Classifier,
    config: InferenceConfig,
    executor: Executor | None = None,
    *,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, Prediction]]:
    """The prediction of each image, with its place among them; in the order in which they come.

    Args:
        images: paths, or records of a manifest.
        model: what `load_model` gave.
        config: how to sample and run.
        executor: who computes; by default this process.
        device: where; by default where the model is.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: if workers cannot start, or there is no such cluster.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    if executor is None or executor.alone:
        yield from enumerate(iter_predictions(images, model, config, device=device, progress=progress))
        return
    found = iter_found(
        images, model, config, executor, partial(predictions_of, model=model, config=config), device
    )
    with progress_bar("Predicting", len(images), shown=progress) as bar:
        for place, one in found:
            bar.advance()
            yield place, failed_prediction(one, model, config) if isinstance(one, Unreadable) else one


def iter_found(
    images: Sequence[ImageOrPath],
    model: Classifier,
    config: InferenceConfig,
    executor: Executor,
    answers: Answers[T],
    device: str | torch.device | None = None,
) -> Iterator[tuple[int, T | Unreadable]]:
    """What `answers` makes of each image in a worker, with its place; in the order in which they come.

    Args:
        images: paths, or records of a manifest.
        model: what `load_model` gave.
        config: how to sample and run; each image is a batch of its own.
        executor: who computes.
        answers: can be pickled.
        device: where; by default where the model is.

    Raises:
        ConfigError: if workers cannot start, or there is no such cluster.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    place = torch.device(model.device if device is None else device)
    config = replace(config, batch_size=1, prefetch=0)
    threads = max(1, (os.cpu_count() or 1) // (executor.jobs or 1)) if executor.cluster is None else None
    start = partial(_Worker, model, config, answers, place, threads)
    faults, logged = Faults(), set[str]()
    for number, answer in executor.work(start, images, gpus=place.type == "cuda"):
        if isinstance(answer, Lost):
            lost = Unreadable(name_of(images[number]), answer.error(name_of(images[number])))
            faults.note(lost.error)
            yield number, lost
            continue
        for line in set(answer.log_lines) - logged:
            logging.getLogger("zoomin").warning("%s", line)
        logged.update(answer.log_lines)
        error = answer.found.error if isinstance(answer.found, Unreadable) else None
        if isinstance(error, UnexpectedError) and answer.trace:
            error.__cause__ = _Traced(answer.trace)
        faults.note(error)
        yield number, answer.found


class _Worker:
    """Answers one image after another, in a process of its own.

    Args:
        model: comes from another process.
        config: how to sample and run.
        answers: what to make of an output.
        device: where to compute; "cuda" without a number is dealt by the number of the worker.
        threads: of the processor; None: those that Ray grants.
        number: of this worker.
    """

    def __init__(
        self,
        model: Classifier,
        config: InferenceConfig,
        answers: Answers[Any],
        device: torch.device,
        threads: int | None,
        number: int,
    ) -> None:
        """Take the model to the device."""
        if threads is not None:
            torch.set_num_threads(threads)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", number % max(1, torch.cuda.device_count()))
        model.to(device)
        self.model, self.config, self.answers = model, config, answers
        self.warned: set[str] = set()

    def __call__(self, image: ImageOrPath) -> _Answer:
        """What becomes of an image."""
        with _kept_log() as log_lines:
            (found,) = run_batches([image], self.model, self.config, None, self.answers, self.warned)
        cause = found.error.__cause__ if isinstance(found, Unreadable) else None
        trace = "" if cause is None else "".join(traceback.format_exception(cause))
        return _Answer(found, trace, tuple(log_lines))


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
