"""What the network read of an image, with which weight, what each piece said, and a picture of it.

The head is linear, so the logits are the sum of the sub-tiles' contributions plus the bias, exactly and for
every way of sampling. Nothing here is inferred after the fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from .annotations.base import Annotation
from .errors import ConfigError
from .estimators import segment_sum
from .geometry import Region
from .images.base import Image
from .output import ZoomInOutput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import SubplotSpec

__all__ = ["Explanation", "Places", "explain_output", "overlay_figure", "overlay_figures"]

OVERVIEW_SIDE = 768  # longest side of the thumbnail, pixels
CROPS = 8  # sub-tiles of highest weight whose pixels are kept


class Places(NamedTuple):
    """Distinct places that were zoomed into, heaviest first.

    Attributes:
        regions: x, y, width, height, level-0 pixels.
        weight: their share of the feature; a place drawn several times counts with the sum.
        contribution: what each adds to the logit of each class.
    """

    regions: Int[Tensor, "places 4"]
    weight: Float[Tensor, " places"]
    contribution: Float[Tensor, "places classes"]


@dataclass(frozen=True)
class Explanation:
    """The evidence for the answer to one image.

    Attributes:
        image: name of the image.
        size: its height and width, level-0 pixels.
        classes: names of the classes.
        logits: of each class; `bias` plus the sum of `contribution`.
        bias: of the head.
        overview: the whole image as a thumbnail.
        tile_size: side of a tile, level-0 pixels.
        attention: attention over the tiles; sums to 1.
        tiles: x, y, width, height of the tiles drawn, level-0 pixels.
        alpha: attention of each drawn tile.
        beta: attention map inside each drawn tile; each sums to 1.
        sub_tiles: x, y, width, height of the sub-tiles drawn, level-0 pixels; of all replicates.
        weight: weight of each sub-tile in the feature of the image.
        contribution: what each sub-tile adds to the logit of each class.
        crops: pixels of the heaviest places, in the order of `places()`.
    """

    image: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    logits: Float[Tensor, " classes"]
    bias: Float[Tensor, " classes"]
    overview: UInt8[Tensor, "3 h w"]
    tile_size: int
    attention: Float[Tensor, "rows columns"]
    tiles: Int[Tensor, "drawn 4"]
    alpha: Float[Tensor, " drawn"]
    beta: Float[Tensor, "drawn u v"]
    sub_tiles: Int[Tensor, "n 4"]
    weight: Float[Tensor, " n"]
    contribution: Float[Tensor, "n classes"]
    crops: UInt8[Tensor, "crops 3 side side"]

    @property
    def probabilities(self) -> Float[Tensor, " classes"]:
        """Softmax of the logits."""
        return self.logits.softmax(0)

    @property
    def label(self) -> str:
        """The class of highest probability."""
        return self.classes[int(self.logits.argmax())]

    def places(self) -> Places:
        """The distinct sub-tiles, heaviest first."""
        return _places(self.sub_tiles, self.weight, self.contribution)

    def evidence(self, label: str | None = None) -> Float[Tensor, " n"]:
        """What each sub-tile says for a class, the predicted one by default: positive speaks for it.

        The contribution to its logit minus the mean over classes, which softmax does not see.

        Raises:
            ConfigError: if there is no such class.
        """
        label = self.label if label is None else label
        if label not in self.classes:
            known = ", ".join(self.classes)
            raise ConfigError(f"unknown class {label!r}", where="label", remedy=f"Choose one of {known}.")
        return _speaks_for(self.contribution, self.classes.index(label))

    def heat_map(self, height: int, width: int) -> Float[Tensor, "height width"]:
        """Attention as a picture of the whole image, relative to looking everywhere alike (1).

        Tile attention times position attention where a tile was drawn; elsewhere tile attention, spread
        evenly.

        Args:
            height: rows of the picture.
            width: columns of the picture.
        """
        rows, columns = self.attention.shape
        y = (torch.arange(height) + 0.5) * (self.size[0] / height)
        x = (torch.arange(width) + 0.5) * (self.size[1] / width)
        row, column = (y // self.tile_size).long(), (x // self.tile_size).long()
        heat = self.attention[row][:, column] * (rows * columns)
        if not len(self.tiles):
            return heat
        drawn = torch.full((rows, columns), -1)
        drawn[self.tiles[:, 1] // self.tile_size, self.tiles[:, 0] // self.tile_size] = torch.arange(
            len(self.tiles)
        )
        which = drawn[row][:, column]
        u, v = self.beta.shape[1:]
        i = ((y % self.tile_size) * u / self.tile_size).long()
        j = ((x % self.tile_size) * v / self.tile_size).long()
        density = self.beta[which.clamp(min=0), i[:, None], j[None, :]] * (u * v)
        return torch.where(which >= 0, heat * density, heat)


def explain_output(
    output: ZoomInOutput, images: Sequence[tuple[str, Image]], head: nn.Linear, classes: Sequence[str]
) -> list[Explanation]:
    """The evidence behind an output of the network, an explanation an image.

    Args:
        output: of the batch.
        images: name and image of each of the batch; their thumbnails and heaviest sub-tiles are read again.
        head: the linear head that made the logits.
        classes: names of the classes.

    Raises:
        ImageError: if pixels cannot be read.
    """
    sub_tiles, tiles = output.sub_tiles, output.tiles
    with torch.no_grad():
        contribution = (sub_tiles.weight[:, None] * (sub_tiles.features @ head.weight.T)).float().cpu()
    bias = head.bias.detach().float().cpu()
    explanations = []
    for index, (name, image) in enumerate(images):
        mine, drawn = sub_tiles.image == index, tiles.image == index
        regions, weight = sub_tiles.regions[mine].cpu(), sub_tiles.weight[mine].float().cpu()
        said = contribution[mine.cpu()]
        explanations.append(
            Explanation(
                image=name,
                size=(image.height, image.width),
                classes=tuple(classes),
                logits=output.logits[index].detach().float().cpu(),
                bias=bias,
                overview=_overview(image),
                tile_size=output.attention.grid.tile_size,
                attention=output.attention.map(index).detach().float().cpu(),
                tiles=tiles.regions[drawn].cpu(),
                alpha=tiles.log_alpha[drawn].detach().exp().float().cpu(),
                beta=tiles.maps[drawn].detach().float().cpu(),
                sub_tiles=regions,
                weight=weight,
                contribution=said,
                crops=_crops(image, _places(regions, weight, said).regions[:CROPS]),
            )
        )
    return explanations


def _places(
    regions: Int[Tensor, "n 4"], weight: Float[Tensor, " n"], contribution: Float[Tensor, "n classes"]
) -> Places:
    distinct, place = torch.unique(regions, dim=0, return_inverse=True)
    weights = segment_sum(weight, place, len(distinct))
    contributions = segment_sum(contribution, place, len(distinct))
    order = weights.argsort(descending=True, stable=True)
    return Places(distinct[order], weights[order], contributions[order])


def _overview(image: Image) -> UInt8[Tensor, "3 h w"]:
    scale = min(1.0, OVERVIEW_SIDE / max(image.height, image.width))
    return image.read([Region(0, 0, image.width, image.height)], scale)[0].cpu().contiguous()


def _crops(image: Image, regions: Int[Tensor, "n 4"]) -> UInt8[Tensor, "n 3 side side"]:
    if not len(regions):
        return torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    return image.read([Region(*region) for region in regions.tolist()], 1.0).cpu().contiguous()


# --------------------------------------------------------------------------- the picture

_PANEL = 4.2  # inches, width of the image and of the attention
_FOR, _AGAINST, _ROI = "#d7301f", "#2b6cb0", "#00e676"


def overlay_figure(explanation: Explanation, roi: Annotation | None = None) -> Figure:
    """A picture of where the model looked and what it found there.

    Left, the image with the sub-tiles that were read (red speaks for the predicted class, blue against it,
    the stronger the more) and the outline of the ROI; middle, the attention; right, the heaviest sub-tiles.

    Args:
        explanation: what to show.
        roi: the annotated truth of this image, outlined where given.

    Returns:
        A matplotlib figure that belongs to no window: save it with `figure.savefig(path)`.
    """
    return overlay_figures([explanation], [roi])


def overlay_figures(explanations: Sequence[Explanation], rois: Sequence[Annotation | None]) -> Figure:
    """`overlay_figure` of several images, one above the other.

    Args:
        explanations: what to show, at least one.
        rois: the annotated truth of each image, or None.
    """
    from matplotlib.figure import Figure

    heights = [_row_height(explanation) for explanation in explanations]
    figure = Figure(figsize=(2 * _PANEL + 2.6, sum(heights)), dpi=110, layout="constrained")
    rows = figure.subfigures(len(explanations), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, explanation, roi in zip(rows, explanations, rois, strict=True):
        _draw_row(part, explanation, roi)
    return figure


def _row_height(explanation: Explanation) -> float:
    """Inches."""
    height, width = explanation.size
    return min(max(_PANEL * height / width, 2.6), 7.0) + 0.55


def _draw_row(part: SubFigure, explanation: Explanation, roi: Annotation | None) -> None:
    grid = part.add_gridspec(1, 3, width_ratios=[_PANEL, _PANEL, 2.4])
    best = float(explanation.probabilities.max())
    title = f"{_short(explanation.image)}:  {explanation.label}, probability {best:.2f}"
    part.suptitle(title, fontsize=10, x=0.01, ha="left", weight="bold")
    truth = None if roi is None else _roi_share(roi, explanation)
    left, middle = part.add_subplot(grid[0]), part.add_subplot(grid[1])
    _draw_sub_tiles(left, explanation)
    _draw_heat(middle, explanation)
    for axes in (left, middle):
        _finish(axes, explanation, truth)
    roi_note = "" if truth is None else "; ROI outlined in green"
    left.set_title(f"{len(explanation.sub_tiles)} sub-tiles read{roi_note}", fontsize=9)
    middle.set_title("attention, times its mean", fontsize=9)
    _draw_crops(part, grid[2], explanation)


def _draw_sub_tiles(axes: Axes, explanation: Explanation) -> None:
    from matplotlib.patches import Rectangle

    height, width = explanation.size
    axes.imshow(explanation.overview.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
    places = explanation.places()
    said = _for_label(explanation, places)
    strongest = max(float(said.abs().max()), 1e-12) if len(said) else 1.0
    for region, value in reversed(list(zip(places.regions.tolist(), said.tolist(), strict=True))):
        strength = abs(value) / strongest
        axes.add_patch(
            Rectangle(
                (region[0], region[1]),
                region[2],
                region[3],
                fill=False,
                edgecolor=_FOR if value >= 0 else _AGAINST,
                linewidth=0.6 + 1.4 * strength,
                alpha=0.3 + 0.7 * strength,
            )
        )


def _draw_heat(axes: Axes, explanation: Explanation) -> None:
    """Attention on a logarithmic scale over the image in grey, transparent where it is below its mean."""
    from matplotlib.colors import LogNorm

    height, width = explanation.size
    extent = (0, width, height, 0)
    grey = explanation.overview.float().mean(0)
    axes.imshow(grey.numpy(), cmap="gray", vmin=0, vmax=400, extent=extent)
    heat = explanation.heat_map(*explanation.overview.shape[1:])
    norm = LogNorm(1, max(float(heat.max()), 10.0), clip=True)
    strength = torch.as_tensor(norm(heat.numpy()).filled(0)).sqrt()
    shown = axes.imshow(heat.numpy(), cmap="inferno", norm=norm, alpha=strength.numpy(), extent=extent)
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.045, pad=0.02)
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # the scale itself is opaque
    bar.ax.tick_params(labelsize=7)


def _draw_crops(part: SubFigure, place: SubplotSpec, explanation: Explanation) -> None:
    """The heaviest sub-tiles in two columns, framed by what they say."""
    places = explanation.places()
    said = _for_label(explanation, places)
    grid = place.subgridspec((CROPS + 1) // 2, 2)
    for k, crop in enumerate(explanation.crops):
        axes = part.add_subplot(grid[k // 2, k % 2])
        axes.imshow(crop.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{float(places.weight[k]):.1%} ({float(said[k]):+.2f})", fontsize=7, pad=2)
        for spine in axes.spines.values():
            spine.set_color(_FOR if said[k] >= 0 else _AGAINST)
            spine.set_linewidth(2)


def _finish(axes: Axes, explanation: Explanation, truth: Float[Tensor, "h w"] | None) -> None:
    height, width = explanation.size
    if truth is not None and float(truth.max()) > 0:
        rows, columns = truth.shape
        x = (torch.arange(columns) + 0.5) * (width / columns)
        y = (torch.arange(rows) + 0.5) * (height / rows)
        level = float(truth.max()) / 2
        axes.contour(x.numpy(), y.numpy(), truth.numpy(), levels=[level], colors=[_ROI], linewidths=0.9)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def _for_label(explanation: Explanation, places: Places) -> Float[Tensor, " places"]:
    return _speaks_for(places.contribution, explanation.classes.index(explanation.label))


def _speaks_for(contribution: Float[Tensor, "n classes"], k: int) -> Float[Tensor, " n"]:
    return contribution[:, k] - contribution.mean(1)


def _roi_share(roi: Annotation, explanation: Explanation) -> Float[Tensor, "h w"]:
    height, width = explanation.size
    scale = explanation.overview.shape[1] / height
    return roi.read([Region(0, 0, width, height)], min(1.0, scale))[0]


def _short(name: str) -> str:
    return name if len(name) <= 60 else "…" + name[-59:]
