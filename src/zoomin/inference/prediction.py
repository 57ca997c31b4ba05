"""Predict and explain over many images: one row an image, whatever happens to the others.

An image's answer depends on the model, the seed and the image alone: every image gets the same key, so that
neither its batch, nor its place in the list, nor the number of threads changes its draws. (Up to the rounding
of the last digits, which convolutions owe to the batch they run in.)
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..baselines import Baseline, BaselineOutput
from ..classifiers import Classifier, load, zoom_in
from ..data.find import open_dataset
from ..data.manifest import SPLITS, Manifest
from ..errors import CheckpointError, DataError, ImageError, ZoomInError
from ..explanation import Explanation, Provenance, explain_output
from ..files import write_json
from ..model.output import ZoomInOutput
from ..model.sampling import design
from ..model.storage import model_fingerprint
from ..progress import progress_bar
from .pipeline import Opened, Sources, find_images, look
from .predictions import NO_FOREGROUND, InferenceConfig, Prediction, Summary, pixels_read, write_predictions

__all__ = [
    "Failure",
    "InferenceConfig",
    "Prediction",
    "Summary",
    "evaluate",
    "evaluation_manifest",
    "explain",
    "find_images",
    "iter_explanations",
    "iter_predictions",
    "load_model",
    "predict",
    "probability_standard_error",
    "write_predictions",
]


class Failure(NamedTuple):
    """An image that could not be read.

    Attributes:
        image: its path, or name.
        error: why.
    """

    image: str
    error: Exception


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """The model of a finished run, Zoom-In or a competitor, in evaluation mode.

    Args:
        path: a run folder (its `model/` is taken), or a folder that `save_pretrained` wrote.
        device: where to compute.

    Raises:
        CheckpointError: if there is no model, or it is damaged or of another configuration.
    """
    folder = Path(path)
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "no such folder"
        raise CheckpointError(kind, where=folder, remedy="Give the folder of a run, or its model/ folder.")
    inner = folder / "model"
    if not inner.is_dir() and (folder / "checkpoints").is_dir():
        raise CheckpointError(
            "this run has no model/ yet", where=folder, remedy="Its training has not finished: resume it."
        )
    return load(inner if inner.is_dir() else folder, device)


def predict(
    images: Sources,
    model: Classifier,
    *,
    sampling: str = "auto",
    n_samples: int | None = None,
    replicates: int = 8,
    seed: int = 0,
    exact_budget: int = 512,
    batch_size: int = 8,
    threads: int = 4,
    prefetch: int = 1,
    read_timeout: float | None = 120.0,
    mpp: float | str | None = None,
    precision: str = "32-true",
    device: str | torch.device | None = None,
    progress: bool = False,
) -> list[Prediction]:
    """Classify images; one that cannot be read becomes a row with status "error", the others go on.

    The features of the replicates are averaged before the head; the standard error is that of
    `probability_standard_error`. Every image has the same key, derived from `seed`: same seed, same answer,
    whatever the batch, the order and the number of threads.

    Args:
        images: paths, images or records (a manifest), or a (B, 3, H, W) tensor (uint8, or float in [0, 1]).
        model: what `load_model` gave.
        sampling: see `InferenceConfig`, as for all that follow.
        n_samples: sub-tiles an image and replicate; by default the model's.
        replicates: estimates to average.
        seed: of the draws.
        exact_budget: most sub-tiles that "auto" enumerates.
        batch_size: most images that the network sees at once.
        threads: images opened ahead of the network.
        prefetch: batches whose overviews are read ahead.
        read_timeout: seconds after which a single read is given up.
        mpp: microns per level-0 pixel of files whose tag is missing or wrong.
        precision: of the networks.
        device: move the model there first; by default it computes where it is.
        progress: show a progress bar on stderr.

    Returns:
        A prediction an image, in their order.

    Raises:
        ConfigError: if a value is out of range.

    Example:
        >>> from zoomin.model import ZoomIn, ZoomInConfig
        >>> net = ZoomIn(ZoomInConfig(tile_size=32, sub_tile_size=9, class_names=("cat", "dog")))
        >>> [row] = predict(torch.zeros(1, 3, 40, 50, dtype=torch.uint8), net)
        >>> row.label in ("cat", "dog"), row.sampling, row.standard_error
        (True, 'exact', 0.0)
    """
    drawn = sampling, n_samples, replicates, seed, exact_budget
    config = InferenceConfig(*drawn, batch_size, threads, prefetch, read_timeout, mpp, precision)
    return list(iter_predictions(images, model, config, device=device, progress=progress))


def iter_predictions(
    images: Sources,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Iterator[Prediction]:
    """`predict`, a prediction at a time, for lists of images of any length.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave.
        config: how to look.
        device: move the model there first.
        progress: show a progress bar on stderr.
    """
    config = config or InferenceConfig()

    def read(output: ZoomInOutput | BaselineOutput, opened: Sequence[Opened], mode: str) -> list[Prediction]:
        return _predictions(output, opened, mode, model, config)

    def failed(name: str, error: Exception) -> Prediction:
        message = str(error) or type(error).__name__
        n = _samples_asked(model, config)
        return Prediction(
            name, None, (), math.nan, config.sampling, n, config.replicates, config.seed, 0, "error", message
        )

    total = len(images) if isinstance(images, Sized) and not isinstance(images, (str, Path)) else None
    with progress_bar("Predicting", total, shown=progress) as bar:
        for prediction in look(images, model, config, device, read, failed):
            bar.advance()
            yield prediction


def explain(
    images: Sources,
    model: Classifier,
    *,
    sampling: str = "auto",
    n_samples: int | None = None,
    replicates: int = 8,
    seed: int = 0,
    exact_budget: int = 512,
    batch_size: int = 8,
    threads: int = 4,
    prefetch: int = 1,
    read_timeout: float | None = 120.0,
    mpp: float | str | None = None,
    precision: str = "32-true",
    device: str | torch.device | None = None,
) -> list[Explanation]:
    """The evidence behind what `predict` answers with the same arguments.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave.
        sampling: how to draw.
        n_samples: sub-tiles an image and replicate.
        replicates: estimates to average.
        seed: of the draws.
        exact_budget: most sub-tiles that "auto" enumerates.
        batch_size: most images that the network sees at once.
        threads: images opened ahead of the network.
        prefetch: batches whose overviews are read ahead.
        read_timeout: seconds after which a single read is given up.
        mpp: microns per level-0 pixel of files whose tag is missing or wrong.
        precision: of the networks.
        device: move the model there first.

    Raises:
        ConfigError: if a value is out of range.
        ImageError: at the first image that cannot be read.
    """
    drawn = sampling, n_samples, replicates, seed, exact_budget
    config = InferenceConfig(*drawn, batch_size, threads, prefetch, read_timeout, mpp, precision)
    explanations = []
    for found in iter_explanations(images, model, config, device=device):
        if isinstance(found, Failure):
            error = found.error
            raise error if isinstance(error, ZoomInError) else ImageError(str(error), where=found.image)
        explanations.append(found)
    return explanations


def iter_explanations(
    images: Sources,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
) -> Iterator[Explanation | Failure]:
    """`explain`, an image at a time; one that cannot be read becomes a failure, the others go on.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave.
        config: how to look.
        device: move the model there first.
    """
    config = config or InferenceConfig()
    fingerprint = model_fingerprint(model, zoom_in(model).config)

    def read(output: ZoomInOutput, opened: Sequence[Opened], mode: str) -> list[Explanation | Failure]:
        rows = _predictions(output, opened, mode, model, config)
        return [
            *explain_output(
                output,
                opened,
                model.head,
                model.config.classes,
                provenances=[Provenance(fingerprint, mode, r.n_samples, r.replicates, r.seed) for r in rows],
                standard_errors=[row.standard_error for row in rows],
            )
        ]

    yield from look(images, model, config, device, read, Failure)


def evaluate(
    manifest: Manifest,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    out: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Judge a model on labelled images; classes are matched by name, in the model's order.

    Args:
        manifest: images and their labels.
        model: what `load_model` gave.
        config: how to look.
        out: folder for `predictions.csv` and `metrics.json`; by default nothing is written.
        device: move the model there first.
        progress: show a progress bar on stderr.

    Returns:
        The metrics of `classification_metrics` over the images that could be read, with `classes`,
        `n_images`, `failed` (names and errors), `no_foreground` (names), `sampling` (images of each
        design) and `seed`.

    Raises:
        DataError: if a label is missing or unknown to the model, or no image could be read.
    """
    from ..metrics import classification_metrics  # its libraries are heavy, and predicting needs none

    config = config or InferenceConfig()
    targets = manifest.with_classes(model.config.classes).targets()
    rows = list(iter_predictions(manifest, model, config, device=device, progress=progress))
    if out is not None:
        labels = [record.label or "" for record in manifest]
        write_predictions(rows, model.config.classes, Path(out) / "predictions.csv", labels=labels)
    read = [index for index, row in enumerate(rows) if row.label is not None]
    if not read:
        first = rows[0].error if rows else "the list is empty"
        raise DataError(
            f"none of the {len(rows)} images could be read; the first: {first}",
            where=manifest.source,
            remedy="Mend the images.",
        )
    probabilities = torch.tensor([rows[index].probabilities for index in read])
    result = {
        "classes": list(model.config.classes),
        "failed": {row.image: row.error for row in rows if row.label is None},
        "no_foreground": [row.image for row in rows if row.status == NO_FOREGROUND],
        "sampling": dict(Counter(rows[index].sampling for index in read)),
        "seed": config.seed,
        **classification_metrics(
            probabilities, targets[read], groups=[manifest.records[index].group for index in read]
        ),
    }
    if out is not None:
        write_json(Path(out) / "metrics.json", result)
    return result


def evaluation_manifest(
    run: str | Path, root: str | Path | None = None, split: str | None = None
) -> Manifest:
    """The labelled images to judge a run on.

    Args:
        run: folder of the run.
        root: images in any layout that training accepts; by default those that the run was trained with.
        split: "train", "val", "test" or "all"; by default "test" where there is one, else all.

    Raises:
        DataError: if there are no such images.
    """
    if split not in (None, "all", *SPLITS):
        raise DataError(f"unknown split {split!r}", where="split", remedy="Choose train, val, test or all.")
    folder = Path(run)
    table = folder / "manifest.csv"
    if root is None and not table.is_file():
        raise DataError("no manifest.csv in this run", where=run, remedy="Name the images with --data.root.")
    manifest = open_dataset(table if root is None else root)
    parts = [record.split for record in manifest]
    if root is None and (folder / "splits.json").is_file():
        names = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
        place = {os.path.abspath(name): part for part, listed in names.items() for name in listed}  # noqa: PTH100
        parts = [place.get(os.path.abspath(record.image)) for record in manifest]  # noqa: PTH100
    wanted = ("test" if "test" in parts else "all") if split is None else split
    chosen = manifest if wanted == "all" else manifest.subset(i for i, p in enumerate(parts) if p == wanted)
    if not len(chosen):
        raise DataError(
            f"no image in the split {wanted!r}",
            where=manifest.source,
            remedy="Choose another --split, or all.",
        )
    return chosen


def probability_standard_error(
    model: Classifier, replicates: Float[Tensor, "replicates batch dims"]
) -> Float[Tensor, " batch"]:
    """Standard error of the predicted class's probability over the draws, by the delta method.

    With z_r = g(F_r) the logits of replicate r, p = softmax of the logits of the mean feature and k the
    predicted class, the derivative of p_k along replicate r is d_r = p_k (z_rk - sum_j p_j z_rj), and

        SE = sqrt( sum_r (d_r - mean d)^2 / (R (R - 1)) ).

    A single replicate gives NaN.
    """
    logits = model.head(replicates)
    p = model.head(replicates.mean(0)).softmax(1)
    best = p.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    derivative = p[rows, best] * (logits[:, rows, best] - (p * logits).sum(2))
    if len(replicates) < 2:
        return torch.full_like(derivative[0], torch.nan)
    error: Tensor = derivative.std(0, correction=1) / math.sqrt(len(replicates))
    return error


# --------------------------------------------------------------------------- one batch after another


def _predictions(
    output: ZoomInOutput | BaselineOutput,
    opened: Sequence[Opened],
    mode: str,
    model: Classifier,
    config: InferenceConfig,
) -> list[Prediction]:
    certain = not design(mode).random
    probabilities = output.logits.float().softmax(1)
    errors = probability_standard_error(model, output.replicates).float()
    empty: tuple[int, ...] = ()
    if isinstance(output, BaselineOutput):
        pixels, drawn = output.pixels_read, output.views_read
    else:
        pixels = pixels_read(output, zoom_in(model).config)
        drawn = torch.bincount(output.sub_tiles.image, minlength=len(opened))
        empty = output.attention.no_foreground
    n = _samples_asked(model, config)
    return [
        Prediction(
            image=name,
            label=model.config.classes[int(p.argmax())],
            probabilities=tuple(p.tolist()),
            standard_error=0.0 if certain else float(errors[index]),
            sampling=mode,
            n_samples=int(drawn[index]) if mode == "exact" else n,
            replicates=1 if certain else config.replicates,
            seed=config.seed,
            pixels_read=int(pixels[index]),
            status=NO_FOREGROUND if index in empty else "ok",
            decoded_pixels=int(getattr(image, "decoded_pixels", image.height * image.width)),
        )
        for index, ((name, image), p) in enumerate(zip(opened, probabilities.cpu(), strict=True))
    ]


def _samples_asked(model: Classifier, config: InferenceConfig) -> int:
    """N of one replicate, as configured, else as the model has it."""
    if config.n_samples is not None:
        return config.n_samples
    return model.n_samples if isinstance(model, Baseline) else model.config.n_samples
