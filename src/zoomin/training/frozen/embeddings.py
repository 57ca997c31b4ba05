"""What the frozen trunks of a model see of images: made once, kept on disk, the same for every run.

A file of features per image and kind, in the HDF5 layout of `model.feature_files`. Its name tells the image
(path, size and time of change), its folder what the embedding depends on: trunk, weights, size and scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...baselines.baseline import BaselineConfig
from ...data.datamodule import ZoomInDataModule
from ...errors import ImageError
from ...files import json_digest, user_cache
from ...geometry import TileGrid, sub_tile_regions
from ...images.image import ImageBatch
from ...images.stored import identity_of
from ...images.tissue import attended_tiles
from ...images.urls import url_of
from ...model.chunks import Chunks
from ...model.config import ZoomInConfig
from ...model.engine import Engine
from ...model.feature_files import FeatureFile, read_features, settings_of, write_features
from ...model.networks import (
    CELLS_PREFIX,
    CellTrunk,
    Embedding,
    PyramidAttention,
    cells_of,
    whole_of,
)
from ...model.storage import model_fingerprint
from ...model.zoom_in import ZoomIn
from ...progress import track

__all__ = ["Cells", "Embedded", "Embedder", "crop_settings", "folder_of", "image_key", "kept", "on_cells"]

_CROPS = 1024  # embedded at a time
_SAME_FOLDER = {"wholes": "sub_tiles"}  # those that gated attention without cells sees
_SECONDS = "cpu_seconds"  # in the settings of a file: what it took to make it


@dataclass(frozen=True)
class Embedded:
    """What the trunks see of one image.

    Attributes:
        sub_tiles: f's trunk of the sub-tile of each tile that is used.
        tiles: the tile attention's of each of these tiles; None where it is uniform.
        context: f's of the view of the whole image; None where the model has none.
    """

    sub_tiles: Float[Tensor, "tiles dims"]
    tiles: Float[Tensor, "tiles channels"] | None
    context: Float[Tensor, " dims"] | None


class Cells(NamedTuple):
    """What the cells of the sub-tiles of an image show.

    Attributes:
        maps: of each cell.
        whole: of the sub-tile that it is in, the last features.
    """

    maps: Float[Tensor, "tiles cells channels"]
    whole: Float[Tensor, "tiles dims"]


class Embedder:
    """Embeds the images of a data module by the trunks of a model, and keeps them.

    Args:
        net: whose trunks see; position attention is uniform, so that a tile has one sub-tile.
        data: the images.
        cache: folder of the files; None: `user_cache("features")`.
        progress: show progress bars.
    """

    def __init__(
        self,
        net: ZoomIn,
        data: ZoomInDataModule,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        """Nothing is read yet."""
        self._net, self._data = net, data
        self._cache = user_cache("features") if cache is None else Path(cache)
        self._progress = progress
        self._known: dict[int, Embedded] = {}
        self._seconds: dict[int, float] = {}
        self._made_seconds = 0.0
        self._counted: frozenset[str] = frozenset()  # kinds whose seconds another embedder counts
        self._networks: dict[str, nn.Module] = {}
        self._engine = Engine("auto")
        self._folders = {
            kind: folder_of(self._cache, _SAME_FOLDER.get(kind, kind), how)
            for kind, how in self._kinds().items()
        }

    def of(self, rows: Int[Tensor, " rows"]) -> list[Embedded]:
        """The embeddings of some rows of the manifest; those on disk are not made again.

        Raises:
            ImageError: if pixels, or a file of the cache, cannot be read.
        """
        for row in self._unknown(rows):
            self._known[row] = self._one(row)
        return [self._known[row] for row in rows.tolist()]

    def _unknown(self, rows: Int[Tensor, " rows"]) -> Iterable[int]:
        """Those of some rows that are still to be embedded or read from disk, behind a bar."""
        left = [row for row in rows.tolist() if row not in self._known]
        title = "Embedding cells" if isinstance(self._net.features, CellTrunk) else "Embedding"
        return track(left, title, shown=self._progress and bool(left))

    @cached_property
    def finer(self) -> Embedder:
        """What embeds the cells of the sub-tiles by the same trunk; itself, where it does so.

        Raises:
            ConfigError: if the trunk has no maps of the strides that cells see.
        """
        config = self._net.config
        if isinstance(self._net.features, CellTrunk):
            return self
        bare = replace(on_cells(config), tile_attention="uniform")
        finer = Embedder(ZoomIn(bare), self._data, self._cache, self._progress)
        finer._counted = frozenset({"wholes"})
        return finer

    def cells_of(self, rows: Int[Tensor, " rows"]) -> list[Cells]:
        """What the cells of the sub-tiles of some rows show, where the model has cells.

        Raises:
            ImageError: if pixels, or a file of the cache, cannot be read.
        """
        network = self._net.features
        assert isinstance(network, CellTrunk)
        parts = [one.sub_tiles.split([network.maps.dims, network.whole], 1) for one in self.of(rows)]
        return [Cells(maps.unflatten(1, (network.cells, -1)), whole) for maps, whole in parts]

    def seen_by(self, net: ZoomIn) -> Embedder:
        """What embeds images as a model sees them that was learned on this trunk."""
        return self.finer if net.config.features.startswith(CELLS_PREFIX) else self

    def readable(
        self, rows: Int[Tensor, " rows"], note: Callable[[int, ImageError], None]
    ) -> Int[Tensor, " readable"]:
        """The rows that can be embedded; their embeddings are then known.

        Args:
            rows: of the manifest.
            note: called with each of the others; may raise to give up.
        """
        for row in self._unknown(rows):
            try:
                self._known[row] = self._one(row)
            except ImageError as error:
                note(row, error)
        return torch.tensor([row for row in rows.tolist() if row in self._known], dtype=torch.int64)

    def seconds_of(self, rows: Int[Tensor, " rows"]) -> float:
        """What it took to make the embeddings of some rows, now or in an earlier run, CPU seconds."""
        own = sum(self._seconds.get(row, 0.0) for row in rows.tolist())
        return own + sum(other.seconds_of(rows) for other in self._others)

    @property
    def made_seconds(self) -> float:
        """CPU seconds spent on making embeddings."""
        return self._made_seconds + sum(other.made_seconds for other in self._others)

    @property
    def _others(self) -> list[Embedder]:
        """What embeds cells, once it is wanted."""
        finer = vars(self).get("finer", self)
        return [] if finer is self else [finer]

    def _kinds(self) -> dict[str, dict[str, Any]]:
        """What each kind of embedding that the model needs depends on."""
        config = self._net.config
        side = config.tile_size
        kinds = {"sub_tiles": crop_settings(config, config.features, side, config.sub_tile_size, 1.0)}
        if isinstance(self._net.features, CellTrunk):
            trunk = whole_of(config.features)
            kinds["wholes"] = crop_settings(config, trunk, side, config.sub_tile_size, 1.0)
        if isinstance(self._net.tile_attention, PyramidAttention):
            kinds["tiles"] = crop_settings(config, config.tile_attention, side, side, config.tile_scale)
        if config.context_side:
            kinds["context"] = crop_settings(config, config.features, side, config.context_side, 1.0)
        if not config.pretrained:  # weights drawn at random are of this network alone
            for kind in kinds.values():
                kind["weights"] = model_fingerprint(self._net, self._net.config)
        return kinds

    def _one(self, row: int) -> Embedded:
        """The embeddings of an image, from disk or made."""
        record = self._data.manifest.records[row]
        name = f"{image_key(record.image, record.series)}.h5"
        found: dict[str, Tensor | None] = {"tiles": None, "context": None, "wholes": None}
        for kind, folder in self._folders.items():

            def make(kind: str = kind) -> Iterator[FeatureFile]:
                return self._make(kind, self._data.store.select(torch.tensor([row])).to(self._net.device))

            found[kind], seconds, is_new = kept(folder / name, make, self._kinds()[kind])
            own = 0.0 if kind in self._counted else seconds
            self._seconds[row] = self._seconds.get(row, 0.0) + own
            self._made_seconds += seconds if is_new else 0.0
        sub_tiles, context = found["sub_tiles"], found["context"]
        assert sub_tiles is not None
        others = (found[kind] for kind in ("tiles", "wholes"))
        if any(other is not None and len(other) != len(sub_tiles) for other in others):
            raise ImageError(
                "the cache's files of an image do not fit", where=name, remedy=f"Remove {self._cache}."
            )
        if found["wholes"] is not None:
            sub_tiles = torch.cat([sub_tiles, found["wholes"]], 1)
        return Embedded(sub_tiles, found["tiles"], None if context is None else context[0])

    def _make(self, kind: str, batch: ImageBatch) -> Iterator[FeatureFile]:
        """One kind of embedding of an image, some thousand crops at a time."""
        net, config = self._net.eval(), self._net.config
        if kind == "context":
            with torch.no_grad(), net.computed_by("auto"):
                yield FeatureFile(net.read_context(batch), torch.zeros(1, 2, dtype=torch.int64))
            return
        grid = TileGrid.of(batch.sizes, config.tile_size)
        regions = grid.regions[attended_tiles(batch, grid).tiles]
        side, scale = config.tile_size, config.tile_scale
        if kind in ("sub_tiles", "wholes"):
            middle = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
            regions = sub_tile_regions(regions, middle, (1, 1), config.sub_tile_size)
            side, scale = config.sub_tile_size, 1.0
        chunks = Chunks(config.chunk_size, "never", net.mean, net.std, self._engine)
        for part in regions.split(_CROPS):
            own = torch.zeros(len(part), dtype=torch.int64, device=part.device)
            with torch.no_grad():
                seen = chunks.apply(self._network(kind), batch, own, part, side, scale)
            yield FeatureFile(seen, part[:, :2])

    def _network(self, kind: str) -> nn.Module:
        """The trunk that makes a kind of embedding."""
        if kind not in self._networks:
            net, attention = self._net, self._net.tile_attention
            trunk = net.features
            if isinstance(trunk, CellTrunk):
                trunk = trunk.encoder if kind == "wholes" else trunk.maps
            if kind == "tiles" and isinstance(attention, PyramidAttention):
                trunk = Embedding(attention)
            self._networks[kind] = trunk.eval()
        return self._networks[kind]


def on_cells(config: ZoomInConfig) -> ZoomInConfig:
    """A model on the cells of the same trunk: enlarged by two, so that a chunk has a quarter of the views."""
    chunk = max(1, config.chunk_size // 4)
    return replace(config, features=cells_of(config.features), context_side=0, chunk_size=chunk)


def image_key(path: Path, series: str | None = None) -> str:
    """Tells an image file from all others, and from what it was before it was changed.

    Args:
        path: of the file.
        series: which image of it, None for the main one.

    Raises:
        ImageError: if it is not there.
    """
    stem = path.stem if url_of(path) is not None else path.resolve().stem
    part = [] if series is None else [series]
    return f"{stem}-{json_digest([*identity_of(path), *part])}"


def crop_settings(
    config: ZoomInConfig | BaselineConfig, trunk: str, tile_size: int, crop_size: int, scale: float
) -> dict[str, Any]:
    """What the embeddings of the crops of a grid depend on."""
    return {
        "mean": config.mean,
        "std": config.std,
        "mpp": config.resolution,
        "foreground": str(config.foreground),
        "pretrained": config.pretrained,
        "tile_size": tile_size,
        "trunk": trunk,
        "crop_size": crop_size,
        "scale": scale,
        **({"channels": channels} if (channels := getattr(config, "channels", ())) else {}),
        "engine": 2,  # 1 made wrong embeddings with OpenVINO at many sides
    }


def folder_of(cache: Path, kind: str, how: dict[str, Any]) -> Path:
    """The folder of one kind of embedding."""
    return cache / f"{kind}-{json_digest(how)}"


def kept(
    path: Path, make: Callable[[], Iterable[FeatureFile]], how: dict[str, Any]
) -> tuple[Float[Tensor, "n dims"], float, bool]:
    """The embeddings of a file, which is made where it is missing.

    Args:
        path: of the file.
        make: its parts.
        how: it is made.

    Returns:
        The embeddings, the CPU seconds that it took to make them, and whether that was now.

    Raises:
        ImageError: if pixels, or the file, cannot be read.
    """
    is_new = not path.is_file()
    if is_new:
        settings = dict(how)

        def parts() -> Iterator[FeatureFile]:
            began = time.process_time()
            for part in make():
                settings[_SECONDS] = time.process_time() - began
                yield part

        write_features(path, parts(), settings)  # which it writes last
    made = settings_of(path) or {}
    return read_features(path).features, float(made.get(_SECONDS, 0.0)), is_new
