"""What the frozen trunks of a model see of images: made once, kept on disk, the same for every run.

A file of features per image and kind, in the HDF5 layout of `model.feature_files`. Its name tells the image
(path, size and time of change), its folder what the embedding depends on: trunk, weights, size and scale.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...data.datamodule import ZoomInDataModule
from ...errors import ImageError
from ...geometry import TileGrid, sub_tile_regions
from ...images.image import ImageBatch
from ...images.stored import identity_of
from ...images.tissue import attended_tiles
from ...images.urls import url_of
from ...model.chunks import Chunks
from ...model.feature_files import FeatureFile, read_features, write_features
from ...model.networks import Embedding, PyramidAttention
from ...model.storage import model_fingerprint
from ...model.zoom_in import ZoomIn
from .engine import fastest

__all__ = ["Embedded", "Embedder", "default_cache"]

_CROPS = 1024  # embedded before they are written


@dataclass(frozen=True)
class Embedded:
    """What the trunks see of one image.

    Attributes:
        sub_tiles: f's trunk of the sub-tile of each tile that is looked at.
        tiles: the tile attention's of each of these tiles; None where it is uniform.
        context: f's of the view of the whole image; None where the model has none.
    """

    sub_tiles: Float[Tensor, "tiles dims"]
    tiles: Float[Tensor, "tiles channels"] | None
    context: Float[Tensor, " dims"] | None


def default_cache() -> Path:
    """The folder of embeddings in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zoomin" / "features"


class Embedder:
    """Embeds the images of a data module by the trunks of a model, and keeps them.

    Args:
        net: whose trunks see; position attention is uniform, so that a tile has one sub-tile.
        data: the images.
        cache: folder of the files; None: `default_cache`.
        on_image: called after each image that was not known.
    """

    def __init__(
        self,
        net: ZoomIn,
        data: ZoomInDataModule,
        cache: str | Path | None = None,
        on_image: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is read yet."""
        self._net, self._data = net, data
        self._cache = default_cache() if cache is None else Path(cache)
        self._on_image = on_image or (lambda: None)
        self._known: dict[int, Embedded] = {}
        self._networks: dict[str, nn.Module] = {}
        self._folders = {kind: self._cache / f"{kind}-{_hash(how)}" for kind, how in self._kinds().items()}

    def of(self, rows: Int[Tensor, " rows"]) -> list[Embedded]:
        """The embeddings of some rows of the manifest; those on disk are not made again.

        Raises:
            ImageError: if pixels, or a file of the cache, cannot be read.
        """
        for row in rows.tolist():
            if row not in self._known:
                self._known[row] = self._one(row)
        return [self._known[row] for row in rows.tolist()]

    def _kinds(self) -> dict[str, dict[str, Any]]:
        """What each kind of embedding that the model needs depends on."""
        config = self._net.config
        common: dict[str, Any] = {
            "mean": config.mean,
            "std": config.std,
            "mpp": config.mpp,
            "foreground": str(config.foreground),
        }
        common |= {"channels": config.channels} if config.channels else {}
        common |= {"pretrained": config.pretrained, "tile_size": config.tile_size}
        kinds: dict[str, dict[str, Any]] = {
            "sub_tiles": {**common, "trunk": config.features, "crop_size": config.sub_tile_size, "scale": 1.0}
        }
        if isinstance(self._net.tile_attention, PyramidAttention):
            kinds["tiles"] = {**common, "trunk": config.tile_attention, "crop_size": config.tile_size}
            kinds["tiles"]["scale"] = config.tile_scale
        if config.context_side:
            kinds["context"] = {
                **common,
                "trunk": config.features,
                "crop_size": config.context_side,
                "scale": 1.0,
            }
        if not config.pretrained:  # weights drawn at random are of this network alone
            for kind in kinds.values():
                kind["weights"] = model_fingerprint(self._net, self._net.config)
        return kinds

    def _one(self, row: int) -> Embedded:
        """The embeddings of an image, from disk or made."""
        name, made = f"{_image_key(self._data, row)}.h5", False
        found: dict[str, Tensor | None] = {"tiles": None, "context": None}
        for kind, folder in self._folders.items():
            path = folder / name
            if not path.is_file():
                batch, made = self._data.store.select(torch.tensor([row])).to(self._net.device), True
                write_features(path, self._make(kind, batch), self._kinds()[kind])
            found[kind] = read_features(path).features
        if made:
            self._on_image()
        sub_tiles, context = found["sub_tiles"], found["context"]
        assert sub_tiles is not None
        if found["tiles"] is not None and len(found["tiles"]) != len(sub_tiles):
            raise ImageError(
                "the cache's files of an image do not fit", where=name, remedy=f"Remove {self._cache}."
            )
        return Embedded(sub_tiles, found["tiles"], None if context is None else context[0])

    def _make(self, kind: str, batch: ImageBatch) -> Iterator[FeatureFile]:
        """One kind of embedding of an image, some thousand crops at a time."""
        net, config = self._net.eval(), self._net.config
        if kind == "context":
            with torch.no_grad():
                yield FeatureFile(net.see_context(batch), torch.zeros(1, 2, dtype=torch.int64))
            return
        grid = TileGrid.of(batch.sizes, config.tile_size)
        regions = grid.regions[attended_tiles(batch, grid).tiles]
        side, scale = config.tile_size, config.tile_scale
        if kind == "sub_tiles":
            middle = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
            regions = sub_tile_regions(regions, middle, (1, 1), config.sub_tile_size)
            side, scale = config.sub_tile_size, 1.0
        chunks = Chunks(config.chunk_size, "never", net.mean, net.std)
        for part in regions.split(_CROPS):
            own = torch.zeros(len(part), dtype=torch.int64, device=part.device)
            with torch.no_grad():
                seen = chunks.apply(self._network(kind), batch, own, part, side, scale)
            yield FeatureFile(seen, part[:, :2])

    def _network(self, kind: str) -> nn.Module:
        """The trunk that makes a kind of embedding, by the fastest engine."""
        if kind not in self._networks:
            net, attention = self._net, self._net.tile_attention
            trunk = net.features
            if kind == "tiles" and isinstance(attention, PyramidAttention):
                trunk = Embedding(attention)
            self._networks[kind] = fastest(trunk.eval(), net.device)
        return self._networks[kind]


def _hash(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _image_key(data: ZoomInDataModule, row: int) -> str:
    """Tells an image file from all others, and from what it was before it was changed."""
    record = data.manifest.records[row]
    path = record.image if url_of(record.image) is not None else record.image.resolve()
    name, size, changed = identity_of(record.image)
    part = [] if record.series is None else [record.series]
    return f"{path.stem}-{_hash([name, size, changed, *part])}"
