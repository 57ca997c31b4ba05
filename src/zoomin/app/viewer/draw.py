"""A picture by its name: of the image, of a layer, of a sub-tile."""

from __future__ import annotations

import numpy as np

from ...explanation.evidence import STAGES
from ...geometry import Region
from ...images.image import Image
from .collection import Collection
from .describe import LISTED
from .layers import attention_tile, roi_tile
from .pyramid import EncodedTile, Place, Pyramid, encode_png, picture_tile

__all__ = ["draw"]

_CROP_SIDE = 256  # maximum pixels along a side


def draw(collection: Collection, index: int, name: str, place: tuple[int, ...]) -> EncodedTile:
    """A picture of an image.

    Args:
        collection: the images.
        index: which of them.
        name: "pixels", a stage of the attention, "roi", or "crop".
        place: zoom, column and row of a picture tile; or the rank of a sub-tile.

    Raises:
        LookupError: if there is no such picture.
        ZoomInError: if it cannot be read.
    """
    if name == "crop":
        return _crop(collection, index, place[0])
    image = collection.image(index)
    where = Pyramid(image.height, image.width).place(*place)
    if where is None:
        raise LookupError("no such picture tile")
    return _layer(collection, index, name, image, where)


def _layer(collection: Collection, index: int, name: str, image: Image, where: Place) -> EncodedTile:
    if name == "pixels":
        return picture_tile(image, where)
    if name == "roi":
        annotation = collection.annotation(index)
        if annotation is None:
            raise LookupError("no annotation")
        return roi_tile(annotation, where)
    one = collection.explanation(index)
    if one is None:
        raise LookupError("no explanation")
    return attention_tile(one, next(stage for stage in STAGES if stage == name), where)


def _crop(collection: Collection, index: int, rank: int) -> EncodedTile:
    """The pixels of a sub-tile of the list: as they were saved, else read from the image."""
    one = collection.explanation(index)
    if one is None or rank >= LISTED:
        raise LookupError("no such sub-tile")
    if rank < len(one.crops):
        pixels = one.crops[rank]
    else:
        regions = one.places().regions
        if rank >= len(regions):
            raise LookupError("no such sub-tile")
        region = Region(*(round(side) for side in regions[rank].tolist()))
        scale = min(1.0, _CROP_SIDE / max(region.width, region.height))
        pixels = collection.image(index).read([region], scale)[0]
    return encode_png(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))
