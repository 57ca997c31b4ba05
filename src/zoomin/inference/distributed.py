"""The work of inference in other processes: of this machine, or of a Ray cluster. They compute, we write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..classifiers import Classifier
from ..data.manifest import Record
from ..errors import ZoomInError
from ..progress import progress_bar
from ..runtime.executor import Executor
from ..runtime.faults import Faults
from ..runtime.image_work import Worker, guarded, iter_answers, take_place
from .config import InferenceConfig
from .pipeline import Answered, run_batches
from .prediction import failed_prediction, iter_predictions, predictions_of
from .predictions import Prediction
from .sources import Unreadable, name_of

__all__ = ["iter_found", "iter_numbered"]

T = TypeVar("T")
R = TypeVar("R")
ImageOrPath = str | Path | Record  # a record says more about an image than where it is
Answers = Callable[[Answered], Sequence[T]]


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
    answers = partial(predictions_of, model=model, config=config)
    found = iter_found(images, model, config, executor, answers, _alone, device)
    with progress_bar("Predicting", len(images), shown=progress) as bar:
        for place, one in found:
            bar.advance()
            if isinstance(one, ZoomInError):
                one = failed_prediction(Unreadable(name_of(images[place]), one), model, config)
            yield place, one


def _alone(image: ImageOrPath, found: Prediction) -> Prediction:
    return found


def iter_found(
    images: Sequence[ImageOrPath],
    model: Classifier,
    config: InferenceConfig,
    executor: Executor,
    answers: Answers[T],
    finish: Callable[[ImageOrPath, T], R],
    device: str | torch.device | None = None,
) -> Iterator[tuple[int, R | ZoomInError]]:
    """What comes of each image, or its error, with its place; in the order in which they come.

    Args:
        images: paths, or records of a manifest.
        model: what `load_model` gave.
        config: how to sample and run; each image is a batch of its own in other processes.
        executor: who computes.
        answers: what to make of an output of the network; can be pickled.
        finish: what to do with that, where it was computed; can be pickled.
        device: where; by default where the model is.

    Raises:
        ConfigError: if workers cannot start, or there is no such cluster.
        WriteError: if `finish` cannot write.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    if executor.alone:
        faults = Faults()
        for number, one in enumerate(run_batches(images, model, config, device, answers)):
            done = one.error if isinstance(one, Unreadable) else _finished(finish, images[number], one)
            faults.note(done if isinstance(done, ZoomInError) else None)
            yield number, done
        return
    place = Worker.of(model.device if device is None else device, executor)
    config = replace(config, batch_size=1, prefetch=0)
    start = partial(_Inference, model, config, answers, finish, place)
    yield from iter_answers(images, name_of, start, executor, gpus=place.device.type == "cuda")


def _finished(finish: Callable[[ImageOrPath, T], R], image: ImageOrPath, found: T) -> R | ZoomInError:
    return guarded(partial(finish, image, found), name_of(image))


class _Inference:
    """Answers one image after another, in a process of its own.

    Args:
        model: comes from another process.
        config: how to sample and run.
        answers: what to make of an output.
        finish: what to do with that.
        worker: where to compute.
        number: of this worker.
    """

    def __init__(
        self,
        model: Classifier,
        config: InferenceConfig,
        answers: Answers[Any],
        finish: Callable[[ImageOrPath, Any], Any],
        worker: Worker,
        number: int,
    ) -> None:
        """Take the model to the device."""
        model.to(take_place(worker, number))
        self.model, self.config, self.answers, self.finish = model, config, answers, finish
        self.warned: set[str] = set()

    def __call__(self, image: ImageOrPath) -> Any:  # noqa: ANN401 (what `finish` gives)
        """What comes of an image.

        Raises:
            ZoomInError: if it cannot be read.
        """
        (found,) = run_batches([image], self.model, self.config, None, self.answers, self.warned)
        if isinstance(found, Unreadable):
            raise found.error
        return self.finish(image, found)
