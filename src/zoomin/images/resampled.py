"""Images brought to one resolution: the frame that a model works in, whatever the scanner."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Num, Shaped
from torch import Tensor

from ..errors import ImageError
from ..geometry import Region
from .averaging import common_size
from .image import Image, layout_of

__all__ = ["ResampledImage", "at_mpp"]


@runtime_checkable
class _Boxes(Protocol):
    def read_boxes(
        self, boxes: Float64[Tensor, "n 4"], rows: int, columns: int
    ) -> Shaped[Tensor, "n c rows columns"]: ...


class ResampledImage:
    """An image whose pixels have another size than those of its file.

    Its level-0 frame is the working frame: a pixel of it is a box of `factor` x `factor` level-0 pixels of
    the file, not necessarily whole ones. Views are averages of what the file stores, taken in one step, so
    nothing is averaged twice. `to_source` brings regions back into the frame of the file.

    Args:
        source: the image as it is stored.
        mpp: microns per pixel of the working frame.

    Raises:
        ImageError: if the size of the source's pixels is not known, or it cannot read fractional boxes.
    """

    georeference = None

    def __init__(self, source: Image, mpp: float) -> None:
        """Nothing is read."""
        if source.mpp is None:
            raise ImageError(
                f"the size of its pixels is not known, and {mpp:g} microns per pixel are asked for",
                where=source.name,
                remedy="Give it in the manifest (column mpp), or for all images: --data.mpp when training, "
                "--mpp when predicting, open_image(path, mpp=...) in Python.",
            )
        if not isinstance(source, _Boxes):
            raise ImageError(
                f"images of the kind {type(source).__name__} cannot be resampled",
                where=source.name,
                remedy="Give it a method read_boxes, or leave model.mpp out.",
            )
        self.source: Image = source
        self._boxes: _Boxes = source
        self.mpp: float | None = mpp
        self.factor = mpp / source.mpp
        self.height = max(1, int(source.height / self.factor + 0.5))
        self.width = max(1, int(source.width / self.factor + 0.5))

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def background(self) -> tuple[int, int, int]:
        """The source's."""
        return self.source.background

    @property
    def identity(self) -> Hashable | None:
        """Of the pixels at this resolution, for caches; None where the source has none."""
        own = getattr(self.source, "identity", None)
        return None if own is None else (own, self.factor)

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Of the source, where it was opened for its channels."""
        found: tuple[str, ...] | None = getattr(self.source, "channels", None)
        return found

    @property
    def decoded_pixels(self) -> int:
        """Stored pixels decoded so far, where the source counts them; else all of them."""
        return int(getattr(self.source, "decoded_pixels", self.source.height * self.source.width))

    def read(self, regions: Sequence[Region], scale: float) -> Shaped[Tensor, "n c h w"]:
        """Read regions of the working frame at a scale of it, area-averaged (see `images.image.Image`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size, or cannot be decoded.
        """
        _, _, rows, columns = common_size(regions, scale)
        if not regions:
            count, dtype = layout_of(self.source)
            return torch.empty(0, count, rows, columns, dtype=dtype)
        boxes = self.to_source(torch.tensor([tuple(region) for region in regions], dtype=torch.float64))
        return self._boxes.read_boxes(boxes, rows, columns)

    def to_source(self, boxes: Num[Tensor, "n 4"]) -> Float64[Tensor, "n 4"]:
        """Boxes x, y, width, height of the working frame in level-0 pixels of the file, fractions and all.

        Example:
            >>> from zoomin.images.array import ArrayImage
            >>> file = ArrayImage(torch.zeros(3, 80, 90, dtype=torch.uint8), mpp=0.25)
            >>> image = at_mpp(file, 0.5)
            >>> image.height, image.width, image.to_source(torch.tensor([[10, 20, 5, 5]])).tolist()
            (40, 45, [[20.0, 40.0, 10.0, 10.0]])
        """
        return boxes.double() * self.factor

    def _repr_png_(self) -> bytes | None:
        show = getattr(self.source, "_repr_png_", None)
        found: bytes | None = None if show is None else show()
        return found

    def close(self) -> None:
        """Close the source, where it can be closed."""
        close = getattr(self.source, "close", None)
        if close is not None:
            close()


def at_mpp(image: Image, mpp: float | None) -> Image:
    """An image whose level-0 frame has the given microns per pixel.

    Args:
        image: as it is stored; its own `mpp` is believed to the last digit: 0.2525 is not 0.25.
        mpp: microns per pixel; None leaves the image as it is.

    Returns:
        The image itself where the difference would be below half a pixel over its whole length.

    Raises:
        ImageError: if the size of the image's pixels is not known.
    """
    if mpp is None:
        return image
    if image.mpp is not None and abs(image.mpp / mpp - 1) * max(image.height, image.width) < 0.5:
        return image
    return ResampledImage(image, mpp)
