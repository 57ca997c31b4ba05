"""What the frozen network of a baseline sees of images: made once, kept in memory and, asked for, on disk.

On disk the crops of a bag share the files of `embeddings`, so that methods of one trunk and one side of crops
embed the images once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...baselines.baseline import Baseline, Encode, Rows
from ...errors import BatchReadError, ImageError
from ...images.augment import AugmentedBatch
from ...images.image import ImageBatch
from ...model.feature_files import FeatureFile
from ...model.storage import model_fingerprint
from .embeddings import crop_settings, folder_of, image_key, kept

__all__ = ["KnownFeatures"]


class _Known(NamedTuple):
    """Rows of an image, and the CPU seconds that it took to make them."""

    rows: Float[Tensor, "n dims"]
    seconds: float


class KnownFeatures:
    """Answers a baseline with what its frozen network made of images before.

    Args:
        net: the baseline.
        network: its frozen network.
        cache: folder of the files; None: memory alone.

    Attributes:
        made_seconds: of the processor, spent on making features.
    """

    def __init__(self, net: Baseline[Any], network: nn.Module, cache: str | None) -> None:
        """Nothing is known yet."""
        self._net, self._config, self._frozen = net, net.config, network
        self._cache = None if cache is None else Path(cache)
        self._known: dict[str, _Known] = {}
        self.made_seconds = 0.0

    @torch.no_grad()
    def __call__(self, batch: ImageBatch, rows: Rows, encode: Encode) -> Float[Tensor, "n dims"]:
        """The rows of a batch. Images that are augmented differ every time, and are made anew.

        Raises:
            BatchReadError: if pixels cannot be read.
            ImageError: if a file of the cache cannot be read.
        """
        if isinstance(batch, AugmentedBatch):
            return encode(self._frozen, batch)
        new = [place for place, name in enumerate(batch.names) if name not in self._known]
        failures: dict[int, ImageError] = {}
        for some in [[place] for place in new] if self._cache else [new] if new else []:
            try:
                self._make(batch, some, rows, encode)
            except BatchReadError as error:
                failures |= {some[place]: failure for place, failure in error.failures.items()}
        if failures:
            raise BatchReadError.of(failures)
        return torch.cat([self._known[name].rows for name in batch.names]).to(batch.device)

    def seconds_of(self, names: list[str]) -> float:
        """What it took to make the rows of some images, now or in an earlier run, CPU seconds."""
        return sum(self._known[name].seconds for name in names if name in self._known)

    def _make(self, batch: ImageBatch, some: list[int], rows: Rows, encode: Encode) -> None:
        """Make the rows of some images together; where there are files, of one, from its file."""
        if self._cache is None:
            began = time.process_time()
            made = encode(self._frozen, batch.select(some)).split(rows.numbers[some].tolist())
            seconds = (time.process_time() - began) / len(some)
            self.made_seconds += seconds * len(some)
            self._known |= {
                batch.names[place]: _Known(own, seconds) for place, own in zip(some, made, strict=True)
            }
            return
        [place], how = some, self._how(rows)

        def make() -> list[FeatureFile]:
            places = rows.places.split(rows.numbers.tolist())[place]
            with self._net.computed_by("auto"):
                return [FeatureFile(encode(self._frozen.eval(), batch.select([place])), places)]

        path = folder_of(self._cache, rows.kind, how) / f"{image_key(Path(batch.names[place]))}.h5"
        found, seconds, is_new = kept(path, make, how)
        self.made_seconds += seconds if is_new else 0.0
        self._known[batch.names[place]] = _Known(found, seconds)

    def _how(self, rows: Rows) -> dict[str, Any]:
        """What the rows depend on."""
        how = crop_settings(self._config, self._config.features, rows.side, rows.side, rows.scale)
        if not self._config.pretrained:  # weights drawn at random are of this network alone
            how["weights"] = model_fingerprint(self._frozen, self._config)
        return how
