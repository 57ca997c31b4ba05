"""Random changes of training images, made on the crops that are read: orientation, place and colour.

An augmented image has its own coordinates: those of the image after its shift, flips and turns. Colours
change by one law per image, so that its tiles and sub-tiles, and its background, agree at every scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ..errors import ConfigError
from ..geometry import TileGrid
from .augmentation import Augmentation
from .image import ImageBatch, Started

__all__ = ["AugmentationDraw", "AugmentedBatch", "augment_batch", "turn"]

# An orientation is 4 t + 2 v + h: transposed if t, then upside down if v, then left to right if h.
_FLIPS = (0, 1, 2, 3)
_TURNS = (0, 6, 3, 5)  # by 0, 90, 180 and 270 degrees, against the clock
_ALL = tuple(range(8))

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok & Johnston 2001).
_HED = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))


@dataclass(frozen=True)
class AugmentationDraw:
    """What was drawn for each image of a batch.

    Attributes:
        orientation: 0 to 7, the eight symmetries of the square: 4 if transposed, then + 2 if upside down,
            then + 1 if mirrored left to right.
        brightness: factor of all values.
        contrast: factor of the distance from mid-grey.
        stain_scale: factor of the amounts of haematoxylin, eosin and DAB.
        stain_shift: what is added to these amounts, in optical density.
        shift: pixels, across and down, by which the image was moved before it was turned.
    """

    orientation: Int[Tensor, " batch"]
    brightness: Float[Tensor, " batch"]
    contrast: Float[Tensor, " batch"]
    stain_scale: Float[Tensor, "batch 3"]
    stain_shift: Float[Tensor, "batch 3"]
    shift: Int[Tensor, "batch 2"]

    @classmethod
    def of(cls, orientation: Int[Tensor, " batch"] | Sequence[int]) -> AugmentationDraw:
        """Images in the given orientations, their colours unchanged."""
        chosen = torch.as_tensor(orientation, dtype=torch.int64)
        n = len(chosen)
        ones, still = torch.ones(n), torch.zeros(n, 2, dtype=torch.int64)
        return cls(chosen, ones, ones, torch.ones(n, 3), torch.zeros(n, 3), still)

    @classmethod
    def sample(cls, config: Augmentation, n: int, generator: torch.Generator) -> AugmentationDraw:
        """Draw the changes of n images.

        A change that is switched on or off leaves what is drawn for the others as it is.

        Example:
            >>> generator = torch.Generator().manual_seed(0)
            >>> AugmentationDraw.sample(Augmentation(flips=True), 5, generator).orientation
            tensor([1, 2, 0, 0, 0])
        """
        uniform = torch.rand(n, 9, generator=generator, device=generator.device)
        whole = 2 * uniform - 1
        moved = 2 * torch.rand(n, 2, generator=generator, device=generator.device) - 1
        choices = _ALL if config.flips and config.quarter_turns else _FLIPS if config.flips else _TURNS
        allowed = torch.tensor(
            choices if config.flips or config.quarter_turns else (0,), device=uniform.device
        )
        return cls(
            orientation=allowed[(uniform[:, 0] * len(allowed)).long().clamp(max=len(allowed) - 1)],
            brightness=1 + config.brightness * whole[:, 1],
            contrast=1 + config.contrast * whole[:, 2],
            stain_scale=1 + config.stain * whole[:, 3:6],
            stain_shift=config.stain * whole[:, 6:9],
            shift=(config.shift * moved).round().long(),
        )

    def select(self, indices: Int[Tensor, " n"]) -> AugmentationDraw:
        """What was drawn for some of the images."""
        return AugmentationDraw(
            self.orientation[indices],
            self.brightness[indices],
            self.contrast[indices],
            self.stain_scale[indices],
            self.stain_shift[indices],
            self.shift[indices],
        )

    def to(self, device: torch.device | str) -> AugmentationDraw:
        """The same draw on another device."""
        return AugmentationDraw(
            self.orientation.to(device),
            self.brightness.to(device),
            self.contrast.to(device),
            self.stain_scale.to(device),
            self.stain_shift.to(device),
            self.shift.to(device),
        )


def augment_batch(images: ImageBatch, config: Augmentation, generator: torch.Generator) -> ImageBatch:
    """The images, changed at random; the batch itself where nothing is switched on."""
    if not config.active:
        return images
    return AugmentedBatch(images, AugmentationDraw.sample(config, len(images), generator))


class AugmentedBatch:
    """An `ImageBatch` of changed images, in their own coordinates.

    Views are those of the changed images wherever the wrapped batch's views are exact.

    Args:
        batch: the images as they are.
        draw: one row per image.

    Raises:
        ConfigError: if `draw` is of another number of images.
    """

    def __init__(self, batch: ImageBatch, draw: AugmentationDraw) -> None:
        """Look at the draw once; nothing is read."""
        if len(draw.orientation) != len(batch):
            raise ConfigError(f"a draw of {len(draw.orientation)} for {len(batch)} images")
        self._batch = batch
        self._turned = bool((draw.orientation != 0).any())
        self._moved = self._turned or bool((draw.shift != 0).any())
        self._transposed = bool((draw.orientation >= 4).any())
        self._stained = bool(((draw.stain_scale != 1) | (draw.stain_shift != 0)).any())
        self._graded = bool(((draw.brightness != 1) | (draw.contrast != 1)).any())
        self.draw = draw.to(batch.device)
        self._stain_matrix, self._stain_offset = (part.to(batch.device) for part in _stain_map(draw))

    def __len__(self) -> int:
        """Number of images."""
        return len(self._batch)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self._batch.device

    @property
    def names(self) -> Sequence[str]:
        """Name of each image."""
        return self._batch.names

    @cached_property
    def sizes(self) -> Int[Tensor, "batch 2"]:
        """Height and width of each changed image, level-0 pixels."""
        sizes = self._batch.sizes
        return torch.where((self.draw.orientation >= 4)[:, None], sizes.flip(1), sizes)

    def to(self, device: torch.device | str) -> AugmentedBatch:
        """The same changed images with views delivered on another device."""
        return AugmentedBatch(self._batch.to(device), self.draw)

    def select(self, indices: Int[Tensor, " n"] | Sequence[int]) -> AugmentedBatch:
        """Some of the changed images, in the order given."""
        chosen = torch.as_tensor(indices, device=self.device)
        return AugmentedBatch(self._batch.select(chosen), self.draw.select(chosen))

    def foreground(self, grid: TileGrid) -> Bool[Tensor, " tiles"] | None:
        """Which tiles of the changed images can hold anything: looked up in the images as they are."""
        return self._batch.foreground(replace(grid, regions=self.source_regions(grid.image, grid.regions)))

    def prefetch(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> None:
        """Say what will be read soon (see `images.image.ImageBatch`)."""
        self._batch.prefetch(image_index, self.source_regions(image_index, regions), scale)

    def source_regions(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"]
    ) -> Int[Tensor, "n 4"]:
        """Where regions of the changed images lie in the images as they are.

        Annotations speak of images as they are: look them up there.

        Args:
            image_index: which image each row is of.
            regions: x, y, width, height in level-0 pixels of the changed images.

        Example:
            >>> from zoomin.images.batch import as_batch
            >>> images = as_batch(torch.zeros(1, 3, 50, 90, dtype=torch.uint8))
            >>> mirrored = AugmentedBatch(images, AugmentationDraw.of([1]))
            >>> mirrored.source_regions(torch.tensor([0]), torch.tensor([[10, 0, 20, 20]])).tolist()
            [[60, 0, 20, 20]]
        """
        orientation = self.draw.orientation[image_index]
        height, width = self.sizes[image_index].unbind(1)
        x, y, w, h = regions.unbind(1)
        x = torch.where(orientation & 1 > 0, width - x - w, x)
        y = torch.where(orientation & 2 > 0, height - y - h, y)
        straight, transposed = torch.stack([x, y, w, h], 1), torch.stack([y, x, h, w], 1)
        source = torch.where((orientation >= 4)[:, None], transposed, straight)
        return torch.cat([source[:, :2] - self.draw.shift[image_index], source[:, 2:]], 1)

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> Shaped[Tensor, "n c h w"]:
        """Read one region of each indexed image (see `images.image.ImageBatch`).

        Raises:
            ConfigError: if some image is turned by a quarter and the regions are not square.
            ImageError: if the regions are not of one size.
        """
        return self.start(image_index, regions, scale).views()

    def start(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> Started:
        """Begin to read (see `images.image.ImageBatch`).

        Raises:
            ConfigError: if some image is turned by a quarter and the regions are not square.
        """
        if self._transposed and not bool((regions[:, 2] == regions[:, 3]).all()):
            raise ConfigError(
                "regions that are not square cannot be read from images rotated by a quarter turn",
                where="augmentation.quarter_turns",
                remedy="Read square regions, or switch quarter turns off.",
            )
        source = self.source_regions(image_index, regions) if self._moved else regions
        started = self._batch.start(image_index, source, scale)

        def views() -> Shaped[Tensor, "n c h w"]:
            read = started.views()
            turned = turn(read, self.draw.orientation[image_index]) if self._turned else read
            return self._recolour(turned, image_index)

        return Started(views, started.cancel)

    def _recolour(
        self, views: Shaped[Tensor, "n c h w"], image_index: Int[Tensor, " n"]
    ) -> Shaped[Tensor, "n c h w"]:
        if not (self._stained or self._graded):
            return views
        values = views.float()
        if self._stained:
            values = _stain(values, self._stain_matrix[image_index], self._stain_offset[image_index])
        if self._graded:
            contrast = self.draw.contrast[image_index].view(-1, 1, 1, 1)
            brightness = self.draw.brightness[image_index].view(-1, 1, 1, 1)
            values = ((values - 127.5) * contrast + 127.5) * brightness
        return values.add_(0.5).clamp_(0, 255).to(torch.uint8)


def turn(views: Shaped[Tensor, "n c h w"], orientation: Int[Tensor, " n"]) -> Shaped[Tensor, "n c h w"]:
    """Bring each view into its orientation (see `AugmentationDraw`): one gather of pixels, channels-last.

    Views that are not square can be mirrored, not transposed.

    The eight orientations of the pixels' places are made once; each view takes its own.
    """
    n, channels, height, width = views.shape
    places = torch.arange(height * width, device=views.device).view(height, width)
    orders = []
    for code in _ALL if height == width else _FLIPS:
        turned = places.T if code & 4 else places
        turned = turned.flip(0) if code & 2 else turned
        orders.append((turned.flip(1) if code & 1 else turned).flatten())
    first = torch.arange(n, device=views.device) * (height * width)
    order = (torch.stack(orders)[orientation] + first[:, None]).flatten()
    pixels = views.permute(0, 2, 3, 1).reshape(-1, channels)
    return pixels.index_select(0, order).view(n, height, width, channels).permute(0, 3, 1, 2)


def _stain_map(draw: AugmentationDraw) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """The changed amounts of stains as one affine map of optical densities.

    With the stains in the rows of M, amounts s make densities d = M^T s: M^T diag(scale) M^-T and M^T shift.
    """
    stains = torch.tensor(_HED, dtype=torch.float64, device=draw.stain_scale.device)
    stains = stains / stains.norm(dim=1, keepdim=True)
    matrix = stains.T @ (draw.stain_scale.double()[:, :, None] * torch.linalg.inv(stains.T))
    return matrix.float(), (draw.stain_shift.double() @ stains).float()


def _stain(
    values: Float[Tensor, "n 3 h w"], matrix: Float[Tensor, "n 3 3"], offset: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 h w"]:
    """Map the optical densities of values from 0 to 255: white is 0, black is finite."""
    density = torch.log10(256 / (values + 1))
    with torch.autocast(values.device.type, enabled=False):
        density = torch.einsum("nij,njhw->nihw", matrix, density) + offset[:, :, None, None]
    return 256 * torch.pow(10.0, -density) - 1
