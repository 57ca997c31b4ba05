"""From an output of the network to explanations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from ..geometry import Region
from ..images.formats.channels import shown
from ..images.image import Image
from ..images.stored import identity_of
from ..images.urls import exists
from ..model.estimators import segment_sum
from ..model.networks import LinearHead
from ..model.output import Explained, Looked
from ..model.targets import Target
from .blocks import BlockEvidence, block_attention
from .evidence import Provenance, Source
from .explanation import Explanation

__all__ = ["CROPS", "explain_output"]

OVERVIEW_SIDE = 1024  # longest side of the thumbnail, pixels
CROPS = 12  # sub-tiles of highest weight whose pixels are kept
TILE_CROPS = 6  # tiles of highest attention whose pixels are kept
TILE_CROP_SIDE = 320  # longest side of those, pixels
CONTEXT = 3  # sides of a sub-tile along that of the picture of what surrounds it
CONTEXT_SIDE = 320  # longest side of that picture, pixels


@runtime_checkable
class Resampled(Protocol):
    """An image that is read at another MPP than that of its file.

    Attributes:
        source: the file's own image.
    """

    @property
    def source(self) -> Image: ...

    def to_source(self, boxes: Float64[Tensor, "n 4"]) -> Float64[Tensor, "n 4"]:
        """Boxes x, y, width, height in pixels of this image, in level-0 pixels of the file."""
        ...


def explain_output(
    output: Explained,
    images: Sequence[tuple[str, Image]],
    head: LinearHead,
    target: Target,
    *,
    provenances: Sequence[Provenance] = (),
    standard_errors: Sequence[float] = (),
    abstained: Sequence[str] = (),
) -> list[Explanation]:
    """The evidence behind an output of the network, an explanation an image.

    Args:
        output: of the batch.
        images: name and image of each of the batch; their thumbnails and heaviest sub-tiles are read again.
        head: that made the logits.
        target: what the logits mean.
        provenances: which model made each explanation, and with which settings.
        standard_errors: of each image's probability.
        abstained: why each gets no answer, "" where it gets one.

    Raises:
        ImageError: if pixels cannot be read.
    """
    sub_tiles = output.sub_tiles
    with torch.no_grad():
        whole = output.features[sub_tiles.image]
        parts = head.contributions(sub_tiles.features, sub_tiles.weight, whole)
        contribution, weight = (part.float().cpu() for part in parts)
        bias = head.bias.float().cpu().expand(len(images), -1)
        context = output.context if output.context is not None and output.context.shape[1] else None
        overview = None if context is None else head.context(context).float().cpu()
        bias = bias if overview is None else bias + overview
        mean = head.mean_feature
        mean_logits, usual = None if mean is None else head(mean).float().cpu(), _usual(output, head)
        if mean is not None and context is not None and overview is not None:
            overview = overview - head.context(mean[None, -context.shape[1] :]).float().cpu()
        p_values = head.ood_p_values(output.features.float())
    explanations = []
    for index, (name, image) in enumerate(images):
        own, looked = sub_tiles.image == index, output.looked(index)
        bare = Explanation(
            image=name,
            size=(image.height, image.width),
            classes=target.names,
            target=target,
            logits=output.logits[index].detach().float().cpu(),
            bias=bias[index].clone(),
            overview=_overview(image),
            **vars(looked),
            sub_tiles=sub_tiles.regions[own].double().cpu(),
            weight=weight[own.cpu()],
            contribution=contribution[own.cpu()],
            position=sub_tiles.position[own].cpu(),
            replicate=sub_tiles.replicate[own].cpu(),
            crops=torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
            tile_crops=torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
            mean_logits=mean_logits,
            usual=None if usual is None else usual[own.cpu()],
            overview_added=None if mean is None or overview is None else overview[index].clone(),
            is_overview_first=None if mean is not None else overview is not None,
            blocks=_blocks(output, looked, index),
            standard_error=standard_errors[index] if standard_errors else math.nan,
            ood_p_value=p_values[index],
            abstained=abstained[index] if abstained else "",
            source=_source(image.source if isinstance(image, Resampled) else image, name),
            provenance=provenances[index] if provenances else Provenance(),
        )
        explanations.append(_in_file(_with_pixels(bare, image), image))
    return explanations


def _usual(output: Explained, head: LinearHead) -> Float[Tensor, "n classes"] | None:
    """What the mean feature would add in the place of each sub-tile, by its weight in each copy."""
    own = output.sub_tiles
    parts = head.mean_parts(own.features.shape[1])
    if parts is None:
        return None
    shares = head.shares(own.features, own.weight, output.features[own.image])
    total = segment_sum(shares, own.image, len(output.logits))
    return (shares / total[own.image] @ parts).float().cpu()


def _blocks(output: Explained, looked: Looked, image: int) -> tuple[BlockEvidence, ...]:
    """The stages above the tiles, still without pixels."""
    found = []
    for stage, inner in pairwise(output.stages):
        side = stage.grid.tile_size
        many = side // inner.grid.tile_size
        own = inner.image == image
        regions = stage.grid.regions[inner.inside[own]].cpu()
        sums = block_attention(looked.attention, side // round(looked.tile_size))
        weight = sums[regions[:, 1] // side, regions[:, 0] // side]
        order = weight.argsort(descending=True, stable=True)
        maps = inner.log_p[own].detach().exp().float().reshape(-1, many, many)
        empty = torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
        boxes, maps = regions[order].double(), maps.cpu()[order]
        found.append(BlockEvidence(float(side), boxes, weight[order], maps, empty))
    return tuple(found)


def _with_pixels(bare: Explanation, image: Image) -> Explanation:
    """The explanation in the most informative order, with the crops that pictures show."""
    order, tile_order = bare.shown_orders()
    bare = replace(bare, order=order, tile_order=tile_order)
    heaviest = bare.places().regions[:CROPS].long()
    tiles = bare.tiles[bare.top_tiles()[: 0 if bare.one_stage else TILE_CROPS]].long()
    scale = min(1.0, TILE_CROP_SIDE / bare.tile_size)
    blocks = tuple(
        replace(
            one, crops=_crops(image, one.regions[:TILE_CROPS].long(), min(1.0, TILE_CROP_SIDE / one.size))
        )
        for one in bare.blocks
    )
    around = torch.cat([heaviest[:, :2] - heaviest[:, 2:] * (CONTEXT // 2), heaviest[:, 2:] * CONTEXT], 1)
    near = min(1.0, CONTEXT_SIDE / max(1, int(around[:1, 2:].sum()) // 2))
    return replace(
        bare,
        crops=_crops(image, heaviest, 1.0),
        context=_crops(image, around, near),
        tile_crops=_crops(image, tiles, scale),
        blocks=blocks,
    )


def _in_file(one: Explanation, image: Image) -> Explanation:
    """The same, its boxes in level-0 pixels of the file."""
    if not isinstance(image, Resampled):
        return one

    def in_file(side: float) -> float:
        box = torch.tensor([[0.0, 0.0, side, side]], dtype=torch.float64)
        return float(image.to_source(box)[0, 2])

    return replace(
        one,
        size=(image.source.height, image.source.width),
        tile_size=in_file(one.tile_size),
        tiles=image.to_source(one.tiles),
        sub_tiles=image.to_source(one.sub_tiles),
        blocks=tuple(
            replace(own, size=in_file(own.size), regions=image.to_source(own.regions)) for own in one.blocks
        ),
    )


def _overview(image: Image) -> UInt8[Tensor, "3 h w"]:
    scale = min(1.0, OVERVIEW_SIDE / max(image.height, image.width))
    return shown(image).read([Region(0, 0, image.width, image.height)], scale)[0].cpu().contiguous()


def _crops(image: Image, regions: Int[Tensor, "n 4"], scale: float) -> UInt8[Tensor, "n 3 h w"]:
    if not len(regions):
        return torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    return shown(image).read([Region(*region) for region in regions.tolist()], scale).cpu().contiguous()


def _source(image: Image, name: str) -> Source:
    path = getattr(image, "path", None) or Path(name)  # images in memory have a name alone
    identity = identity_of(path) if exists(path) else None
    return Source(
        identity=identity,
        mpp=image.mpp,
        bounds=getattr(image, "bounds", None),
        georeference=getattr(image, "georeference", None),
    )
