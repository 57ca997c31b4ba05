"""How to look at images, and predictions: one row an image, written to CSV as they come."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import ConfigError
from ..files import whole_text
from ..geometry import view_size
from ..images.physical import microns
from ..model.config import ZoomInConfig
from ..model.output import ZoomInOutput
from ..model.sampling import DESIGNS

__all__ = ["NO_FOREGROUND", "InferenceConfig", "Prediction", "Summary", "pixels_read", "write_predictions"]

NO_FOREGROUND = "no foreground"  # status of an image that was predicted from all of its tiles


@dataclass(frozen=True)
class InferenceConfig:
    """How to look at images.

    Attributes:
        sampling: "auto", "exact", "systematic", "multinomial" or "top". "auto" enumerates ("exact") images
            of at most `exact_budget` sub-tiles and draws ("systematic") in the others.
        n_samples: N, sub-tiles an image and replicate; by default the model's.
        replicates: independent estimates whose features are averaged; exact and top need and take one.
        seed: of the draws.
        exact_budget: most sub-tiles (tiles times positions) that "auto" enumerates.
        batch_size: most images that the network sees at once.
        threads: images that are opened ahead of the network, at once.
        prefetch: batches whose overviews are read from disk while the network is at work on another; 0: none.
        read_timeout: seconds after which opening an image, or a single read, is given up; none: never.
        mpp: microns per level-0 pixel of files of which no manifest tells it, in place of a missing or wrong
            tag; "0.6m" are metres.
        precision: "32-true", or "bf16-mixed" for networks in bfloat16: faster where the processor has
            instructions for it (GPUs; CPUs with AMX), rounded to three digits.
    """

    sampling: str = "auto"
    n_samples: int | None = None
    replicates: int = 8
    seed: int = 0
    exact_budget: int = 512
    batch_size: int = 8
    threads: int = 4
    prefetch: int = 1
    read_timeout: float | None = 120.0
    mpp: float | str | None = None
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot be.
        """
        if self.sampling != "auto" and self.sampling not in DESIGNS:
            raise ConfigError(
                f"unknown sampling {self.sampling!r}",
                where="sampling",
                remedy=f"Choose one of auto, {', '.join(DESIGNS)}.",
            )
        if self.mpp is not None:
            microns(self.mpp)
        for name in ("n_samples", "replicates", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}", where=name, remedy="Give at least 1.")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ConfigError(
                f"unknown precision {self.precision!r}",
                where="precision",
                remedy="Choose 32-true or bf16-mixed.",
            )
        if self.prefetch < 0:
            raise ConfigError(f"prefetch is {self.prefetch}", where="prefetch", remedy="Give 0 or more.")
        if self.read_timeout is not None and self.read_timeout <= 0:
            raise ConfigError(
                f"read_timeout is {self.read_timeout}",
                where="read_timeout",
                remedy="Give a positive number of seconds, or null.",
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(
                f"seed is {self.seed}", where="seed", remedy="Give a number from 0 to 2^63 - 1."
            )


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        image: its path, or name.
        label: the class of highest probability; None where the image failed.
        probabilities: of each class, in the order of the model's classes; empty where the image failed.
        standard_error: of the predicted class's probability, owed to drawing sub-tiles; 0 for exact and top,
            NaN where a single replicate cannot tell.
        sampling: the design that was used.
        n_samples: sub-tiles that one replicate was asked for; for exact, those that there are.
        replicates: estimates that were averaged.
        seed: of the draws.
        pixels_read: pixels of all views that the network read, at their scales.
        status: "ok"; "no foreground" where none was found in the image, so that all of its tiles were looked
            at; "error" where it could not be read.
        error: why the image failed.
        decoded_pixels: pixels of stored blocks that were decoded for it, or of the whole image where it was
            decoded whole.
    """

    image: str
    label: str | None
    probabilities: tuple[float, ...]
    standard_error: float
    sampling: str
    n_samples: int
    replicates: int
    seed: int
    pixels_read: int
    status: str = "ok"
    error: str = ""
    decoded_pixels: int = 0


@dataclass(frozen=True)
class Summary:
    """What became of a list of images.

    Attributes:
        done: images predicted.
        failed: images that could not be read, each with its error.
        counts: images predicted as each class.
    """

    done: int
    failed: tuple[tuple[str, str], ...]
    counts: Mapping[str, int]


def write_predictions(
    predictions: Iterable[Prediction],
    classes: Sequence[str],
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
) -> Summary:
    """Write predictions to a CSV as they come.

    Rows go to `path` + ".part", each flushed at once, so that an interrupted job keeps what it has; the
    complete file then replaces an older one in one step.

    Args:
        predictions: may be an iterator.
        classes: of the model.
        path: the CSV.
        labels: the true label of each image, for a column of its own.
    """
    done, failed, counts = 0, [], dict.fromkeys(classes, 0)
    truth = ["label"] if labels is not None else []
    with whole_text(path, keep=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        probabilities = [f"prob_{name}" for name in classes]
        drawn = "standard_error sampling n_samples replicates seed pixels_read decoded_pixels".split()
        writer.writerow(["image", *truth, "prediction", *probabilities, *drawn, "status", "error"])
        for index, row in enumerate(predictions):
            values = [f"{p:.6f}" for p in row.probabilities] or [""] * len(classes)
            error = "" if math.isnan(row.standard_error) else f"{row.standard_error:.6f}"
            known = [labels[index]] if labels is not None else []
            how = [error, row.sampling, row.n_samples, row.replicates, row.seed]
            how += [row.pixels_read, row.decoded_pixels]
            writer.writerow([row.image, *known, row.label or "", *values, *how, row.status, row.error])
            file.flush()
            if row.label is None:
                failed.append((row.image, row.error))
            else:
                done, counts[row.label] = done + 1, counts[row.label] + 1
    return Summary(done, tuple(failed), counts)


def pixels_read(output: ZoomInOutput, config: ZoomInConfig) -> Int[Tensor, " batch"]:
    """Pixels of the tiles attended to, of the drawn tiles and of the sub-tiles that each image gave."""
    side_1 = view_size(config.tile_size, config.tile_scale)
    side_2 = view_size(config.tile_size, config.sub_tile_scale)
    count = output.attention.log_alpha.isfinite().sum(1)
    tiles = torch.bincount(output.tiles.image, minlength=len(count))
    sub_tiles = torch.bincount(output.sub_tiles.image, minlength=len(count))
    return count * side_1**2 + tiles * side_2**2 + sub_tiles * config.sub_tile_size**2
