"""What every image can do, whatever its format: give its size and read regions at a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from torch import Tensor

from ..geometry import Region, TileGrid

__all__ = ["Image", "ImageBatch", "Started", "layout_of", "reader_of"]


@runtime_checkable
class Image(Protocol):
    """A source of pixels of any size.

    Attributes:
        height: level-0 pixels.
        width: level-0 pixels.
        mpp: microns per level-0 pixel, or None where unknown.
        background: the red, green and blue (0 to 255) found beyond the border.
        name: what to call the image in messages and tables, usually its path.
    """

    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def mpp(self) -> float | None: ...  # noqa: D102
    @property
    def background(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Read regions of one size at a scale, area-averaged; beyond the border lies the background.

        Output pixel (i, j) averages the box that it covers in level-0 pixels. h and w are the regions'
        height and width times `scale`, rounded half up, at least one.

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the pixels cannot be decoded, or the regions are not of one size.
        """
        ...


def layout_of(image: Image) -> tuple[int, torch.dtype]:
    """Channels of an image's views and their type: three of bytes, unless it was opened for its channels."""
    channels: tuple[str, ...] | None = getattr(image, "channels", None)
    return (3, torch.uint8) if channels is None else (len(channels), torch.float32)


def reader_of(image: object) -> str:
    """What decodes an image: OpenSlide, GDAL, tifffile, zarr, "whole" for files decoded whole, or a kind."""
    image = getattr(image, "source", image)  # of one that is brought to another resolution
    found: str = getattr(image, "reader", type(image).__name__)
    return found


def reader_words(name: str) -> str:
    """What `reader_of` gives, in the names of libraries.

    Example:
        >>> reader_words("whole"), reader_words("GDAL")
        ('Pillow or imagecodecs', 'GDAL')
    """
    return "Pillow or imagecodecs" if name == "whole" else name


class Started(NamedTuple):
    """A read that has begun.

    Attributes:
        views: wait for the views; to be called once.
        cancel: read no further: the views are not wanted any more.
    """

    views: Callable[[], Shaped[Tensor, "n c h w"]]
    cancel: Callable[[], None]


@runtime_checkable
class ImageBatch(Protocol):
    """Several images behind one batched read: all that the model knows of pixels.

    Attributes:
        sizes: height and width of each image in level-0 pixels, on `device`.
        device: where views are delivered.
        names: one per image.
    """

    @property
    def sizes(self) -> Int[Tensor, "batch 2"]: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102

    def __len__(self) -> int: ...  # noqa: D105

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> Shaped[Tensor, "n c h w"]:
        """Read one region of each indexed image, all of one size, at one scale.

        Args:
            image_index: which image of the batch each row reads.
            regions: x, y, width, height in level-0 pixels; all rows share width and height.
            scale: in (0, 1].

        Returns:
            uint8 views on `device`, red-green-blue, or float32 samples of the channels that images were
            opened for; where an image lends itself, in channels-last memory.

        Raises:
            ConfigError: if the scale is not in (0, 1], or regions do not fit how images are turned.
            ImageError: if the regions are not of one size; a BatchReadError, if some images cannot be
                decoded, or not in time: the others have been read.
        """
        return self.start(image_index, regions, scale).views()

    def start(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> Started:
        """Begin to `read`, where reading takes time; the answer gives the views, and raises what `read` does.

        Args:
            image_index: as for `read`.
            regions: as for `read`.
            scale: as for `read`.
        """
        ...

    def prefetch(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> None:
        """Say what will be read soon, such as an overview; reading may begin. Returns at once.

        Args:
            image_index: which image of the batch each row will be read from.
            regions: x, y, width, height in level-0 pixels; all rows share width and height.
            scale: in (0, 1].
        """
        ...

    def select(self, indices: Int[Tensor, " chosen"] | Sequence[int]) -> ImageBatch:
        """Some of the images, in the order given."""
        ...

    def foreground(self, grid: TileGrid) -> Bool[Tensor, " tiles"] | None:
        """Which tiles can hold anything, on `device`; None where no image of the batch has a mask.

        Args:
            grid: the tiles of this batch's images.

        Raises:
            ImageError: if an overview or a mask file cannot be read.
        """
        ...

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same images with views delivered on another device."""
        ...
