"""The picture tiles that a browser asks for: their place in the image, and their pixels as JPEG.

A *picture tile* is a square of the page's map, not a tile of the model. Zoom 0 is one picture tile that holds
the whole image; each further zoom doubles the resolution, up to full resolution at `max_zoom`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ...geometry import Region
from ...images.image import Image

__all__ = ["PICTURE_TILE", "EncodedTile", "Place", "Pyramid", "encode_png", "picture_tile"]

PICTURE_TILE = 512  # pixels along a side
_QUALITY = 85


@dataclass(frozen=True)
class EncodedTile:
    """An encoded picture.

    Attributes:
        body: the file.
        kind: its media type.
    """

    body: bytes
    kind: str


@dataclass(frozen=True)
class Place:
    """Where a picture tile lies.

    Attributes:
        region: level-0 pixels; reaches beyond the border at the right and at the bottom.
        scale: of the picture tile, a power of two.
    """

    region: Region
    scale: float


@dataclass(frozen=True)
class Pyramid:
    """The picture tiles of an image.

    Attributes:
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.

    Example:
        >>> pyramid = Pyramid(height=1000, width=3000)
        >>> pyramid.max_zoom, pyramid.place(3, 5, 1)
        (3, Place(region=Region(x=2560, y=512, width=512, height=512), scale=1.0))
        >>> pyramid.place(3, 6, 0) is None
        True
    """

    height: int
    width: int

    @property
    def max_zoom(self) -> int:
        """The zoom of full resolution."""
        squares = -(-max(self.height, self.width) // PICTURE_TILE)
        return (squares - 1).bit_length()

    def place(self, zoom: int, column: int, row: int) -> Place | None:
        """Where a picture tile lies; None where there is none."""
        if not 0 <= zoom <= self.max_zoom:
            return None
        shrink = 1 << (self.max_zoom - zoom)
        side = PICTURE_TILE * shrink
        x, y = column * side, row * side
        if not (0 <= x < self.width and 0 <= y < self.height):
            return None
        return Place(Region(x, y, side, side), 1 / shrink)


def picture_tile(image: Image, place: Place) -> EncodedTile:
    """The pixels of a picture tile: JPEG, or WebP with the outside transparent at the border.

    Raises:
        ImageError: if the image cannot be read there.
    """
    pixels = image.read([place.region], place.scale)[0].permute(1, 2, 0).cpu().numpy()
    rows = min(PICTURE_TILE, int(np.ceil((image.height - place.region.y) * place.scale)))
    columns = min(PICTURE_TILE, int(np.ceil((image.width - place.region.x) * place.scale)))
    if (rows, columns) == (PICTURE_TILE, PICTURE_TILE):
        picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
        return _encode(picture, "jpeg", quality=_QUALITY, subsampling=0)
    framed = np.zeros((PICTURE_TILE, PICTURE_TILE, 4), dtype=np.uint8)
    framed[:rows, :columns, :3] = pixels[:rows, :columns]
    framed[:rows, :columns, 3] = 255
    return _encode(PillowImage.fromarray(framed), "webp", quality=_QUALITY, method=1)


def encode_png(pixels: NDArray[np.uint8]) -> EncodedTile:
    """An array (height, width, 3 or 4) as PNG."""
    return _encode(PillowImage.fromarray(pixels), "png", compress_level=3)


def _encode(picture: PillowImage.Image, name: str, **options: int) -> EncodedTile:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return EncodedTile(file.getvalue(), f"image/{name}")
