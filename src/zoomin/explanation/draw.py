"""The parts of pictures: the image, the attention over it, the ROI, crops, how an answer adds up.

Axes count level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..annotations.annotation import Annotation
from ..geometry import Region
from ..model.choices import UNLIKE_WORDS, is_unlike
from .palette import AGAINST, BLOCK, FOR, HEAT_TOP, ROI, TILE, heat_colours, heat_rgba
from .scale_bar import draw_scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from .evidence import Evidence

__all__ = [
    "NUMBERED",
    "NumberLabel",
    "colour_words",
    "counts",
    "doubt",
    "draw_account",
    "draw_box",
    "draw_crop",
    "draw_heat",
    "draw_image",
    "draw_legend",
    "draw_map",
    "draw_roi",
    "draw_sub_tile",
    "draw_sub_tiles",
    "draw_tiles",
    "number_labels",
    "signed",
    "start",
    "start_note",
    "start_words",
    "surroundings",
    "title",
    "without_ticks",
    "write_number",
]

NUMBERED = 10  # heaviest places that carry a number, in the image and at their crops
_NEUTRAL = "#6b7280"
_NUMBER = 7.5  # points, the numbers of boxes
_ADJOINING = 1e-3  # level-0 pixels between boxes that touch
_CHARACTER = 0.66  # width of a digit and its share of a space between numbers, in font sizes


def title(explanation: Evidence) -> str:
    """The answer in one line: the image, the prediction and how sure it is, the truth where it is known."""
    kind = explanation.kind
    verdict = kind.verdict(explanation.probabilities.tolist(), explanation.standard_error)
    truth = "" if explanation.truth is None else f" (truth: {kind.truth_words(explanation.truth)})"
    name = PurePath(explanation.image).name or explanation.image
    name = name if len(name) <= 48 else "…" + name[-47:]
    return f"{name}: {verdict}{truth}"


def doubt(explanation: Evidence) -> str:
    """What speaks against trusting the answer, as text; "" where nothing does.

    Example:
        >>> from types import SimpleNamespace
        >>> doubt(SimpleNamespace(ood_p_value=0.02, abstained="probability 0.700 is below 0.8"))
        'Abstained: probability 0.700 is below 0.8; unlike the training images (p = 0.020)'
    """
    why = explanation.abstained
    words = [f"abstained: {why}"] if why and why != UNLIKE_WORDS else []
    if is_unlike(explanation.ood_p_value):
        gives_none = "abstained: " if why == UNLIKE_WORDS else ""
        words.append(f"{gives_none}{UNLIKE_WORDS} (p = {explanation.ood_p_value:.3f})")
    joined = "; ".join(words)
    return joined[:1].upper() + joined[1:]


def start(explanation: Evidence) -> str:
    """Where the answer starts, and what the overview adds, as text."""
    text = f"{start_words(explanation)}: {explanation.label} {explanation.answer_text(explanation.baseline)}"
    if explanation.overview_added is None:
        return text
    answer = explanation.answer_text(explanation.baseline + explanation.overview_added)
    return f"{text}; with the overview: {answer}"


def start_note(explanation: Evidence) -> str:
    """Why an account does not start from the mean of the training images, as text; "" where it does."""
    if explanation.mean_logits is not None:
        return ""
    first = {True: "the overview", False: "the head's bias", None: "what the head knows without sub-tiles"}
    return (
        "The mean of the training images is not known, so the account starts from "
        f"{first[explanation.is_overview_first]}"
    )


def start_words(explanation: Evidence) -> str:
    """What the model knows where the answer starts."""
    if explanation.mean_logits is not None:
        return "With nothing seen"
    return "With nothing seen but the overview" if explanation.is_overview_first else "With no sub-tile read"


def counts(explanation: Evidence) -> str:
    """What was read, as text; a sub-tile drawn several times is read once."""
    read, drawn, tiles = (
        len(explanation.places().weight),
        len(explanation.tiles),
        explanation.attention.numel(),
    )
    if explanation.one_stage:
        return f"{read} sub-tiles read, of {explanation.beta.numel():,} positions"
    blocks = []
    for stage in reversed(explanation.blocks):
        blocks.append(f", in {len(stage.regions)} of {stage.count(explanation.size)} blocks")
    return f"{read} sub-tiles read in {drawn} of {tiles} tiles{''.join(blocks)}"


def colour_words(explanation: Evidence) -> str:
    """What the colours of sub-tiles say, as text."""
    if explanation.kind.has_probabilities:
        return f"orange: for {explanation.label!r}; blue: against it"
    return f"orange: raises {explanation.label}; blue: lowers it"


def without_ticks(axes: Axes) -> None:
    """A picture needs none."""
    axes.set_xticks([])
    axes.set_yticks([])


def draw_image(axes: Axes, explanation: Evidence, *, grey: float = 0.0) -> None:
    """The overview, as far as asked without its colours, with a scale bar below.

    Args:
        axes: where to draw.
        explanation: whose overview.
        grey: 0 for the colours as they are, 1 for none, and paler: attention shows the better.
    """
    height, width = explanation.size
    pixels = explanation.overview.float() / 255
    plain = 0.15 + 0.75 * pixels.mean(0, keepdim=True)
    shown = pixels + grey * (plain - pixels)
    axes.imshow(shown.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    without_ticks(axes)
    draw_scale_bar(axes, explanation.source.mpp)


def draw_heat(axes: Axes, explanation: Evidence, shown: Float[Tensor, "h w"], *, grey: float = 1.0) -> None:
    """Attention on the scale of all pictures over the pale image, clear where it is below its mean."""
    height, width = explanation.size
    draw_image(axes, explanation, grey=grey)
    axes.imshow(heat_rgba(shown.numpy()), extent=(0, width, height, 0), zorder=2)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def draw_legend(figure: FigureBase, axes: Sequence[Axes], into: Axes | None = None) -> None:
    """The scale of the attention, beside the axes that show it, or lying in axes of its own."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    colours = ListedColormap(heat_colours()[:, :3] / 255)  # the scale itself is opaque
    shown = ScalarMappable(LogNorm(1, HEAT_TOP), colours)
    if into is None:
        bar = figure.colorbar(shown, ax=list(axes), fraction=0.04, pad=0.02, aspect=32, extend="max")
    else:
        bar = figure.colorbar(shown, cax=into, orientation="horizontal", extend="max")
    along = bar.ax.yaxis if into is None else bar.ax.xaxis
    bar.ax.tick_params(labelsize=7.5)
    bar.ax.minorticks_off()
    bar.set_ticks([1, 10, 100, 1000])
    along.set_major_formatter("{x:g}")
    bar.set_label("attention, times uniform", fontsize=7.5)


def draw_map(axes: Axes, values: Float[Tensor, "u v"], box: Sequence[float]) -> None:
    """A tile's own attention map over its pixels, clear where it is below the mean of the tile."""
    x, y, width, height = box
    colours = heat_rgba((values * values.numel()).numpy())
    axes.imshow(colours, extent=(x, x + width, y + height, y), interpolation="nearest")


def draw_sub_tiles(
    axes: Axes, explanation: Evidence, count: int = NUMBERED, *, tile: int | None = None
) -> None:
    """Outlines of the heaviest places, thin: orange speaks for the predicted class, blue against it.

    The first `NUMBERED` carry their numbers, those that overlap together.

    Args:
        axes: where to draw.
        explanation: whose places.
        count: most places outlined.
        tile: draw the places of this tile alone, a row of `tiles`.
    """
    places = explanation.places()
    regions = places.regions[:count]
    colours = [FOR if value >= 0 else AGAINST for value in places.evidence[:count].tolist()]
    chosen = [k for k in range(len(regions)) if tile is None or int(places.tile[k]) == tile]
    for k in reversed(chosen):
        draw_box(axes, regions[k].tolist(), colours[k], 1.1)
    inches = axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi
    spans = [abs(end - start) for start, end in (axes.get_xlim(), axes.get_ylim())]
    points = min(72 * inch / max(span, 1e-9) for inch, span in zip(inches, spans, strict=True))
    for label in number_labels(explanation, count, legible=1.3 * _NUMBER / max(points, 1e-9)):
        if label.rank in chosen:
            write_number(axes, regions[label.rank].tolist(), label, colours[label.rank])


class NumberLabel(NamedTuple):
    """Text of a box that carries a number.

    Attributes:
        rank: of the box.
        text: the numbers of all boxes that it stands for.
        is_inside: whether it belongs within the box, as beside it lies another one.
    """

    rank: int
    text: str
    is_inside: bool


def number_labels(
    explanation: Evidence, outlined: int = NUMBERED, *, legible: float = 0.0
) -> list[NumberLabel]:
    """The places that carry numbers; boxes that overlap share a label.

    Args:
        explanation: whose places.
        outlined: boxes that are drawn, the heaviest.
        legible: side of a box that a number fits into, level-0 pixels; smaller ones that touch share a label.
    """
    drawn = explanation.places().regions[:outlined]
    groups: dict[int, list[str]] = {}
    is_inside = {}
    for k, box in enumerate(drawn[:NUMBERED]):
        distance = (drawn[:, :2] - box[:2]).abs()
        sides = torch.where(drawn[:, :2] > box[:2], box[2:], drawn[:, 2:])
        overlaps, touches = (distance < sides - _ADJOINING).all(1), (distance <= sides + _ADJOINING).all(1)
        joined = touches if float(box[2:].min()) < legible else overlaps
        first = next((k0 for k0 in groups if joined[k0]), k)
        groups.setdefault(first, []).append(str(k + 1))
        is_inside[k] = bool((touches & ~overlaps).any())
    return [NumberLabel(first, " ".join(numbers), is_inside[first]) for first, numbers in groups.items()]


def write_number(axes: Axes, box: Sequence[float], label: NumberLabel, colour: str) -> None:
    """A number at an upper corner of its box: the one with space for it in the picture, else within."""
    from matplotlib.patheffects import withStroke

    x, y, width, height = box
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    room = 0.12 * (right - left)
    is_left, is_low = x + width > right - room, y < top + 0.06 * (bottom - top)
    is_inside = label.is_inside or (is_left and x < left + room)
    at = (x if is_left else x + width, y + height if is_low else y)
    axes.annotate(
        label.text,
        (x, y) if is_inside else at,
        xytext=(2, -2) if is_inside else (-1.5 if is_left else 1.5, 0),
        textcoords="offset points",
        ha="left" if is_inside or not is_left else "right",
        va="top" if is_inside else "center",
        color=colour,
        fontsize=_NUMBER,
        weight="bold",
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
        zorder=6,
        clip_on=True,
    )


def draw_tiles(axes: Axes, explanation: Evidence) -> None:
    """Outlines of the tiles drawn, and of the blocks that hold them where there are such."""
    for stage in explanation.blocks:
        for box in stage.regions.tolist():
            draw_box(axes, box, BLOCK, 1.4)
    for box in [] if explanation.one_stage else explanation.tiles.tolist():
        draw_box(axes, box, TILE, 0.9)


def draw_roi(axes: Axes, explanation: Evidence, roi: Annotation) -> bool:
    """The outline of the ROI, thin, around it and below the attention; whether there was any to draw."""
    from matplotlib.patheffects import withStroke

    height, width = explanation.size
    scale = explanation.overview.shape[1] / height
    share = roi.read([Region(0, 0, width, height)], min(1.0, scale))[0]
    if float(share.max()) <= 0:
        return False
    around = max(1, max(share.shape) // 250)  # the line runs outside, so that it covers nothing inside
    side = 2 * around + 1
    grown = torch.nn.functional.max_pool2d(share[None].float(), side, stride=1, padding=around)[0]
    rows, columns = share.shape
    x = (torch.arange(columns) + 0.5) * (width / columns)
    y = (torch.arange(rows) + 0.5) * (height / rows)
    level = float(share.max()) / 2
    lines = axes.contour(x.numpy(), y.numpy(), grown.numpy(), levels=[level], colors=[ROI], linewidths=0.9)
    lines.set_path_effects([withStroke(linewidth=1.7, foreground="#00000099")])
    lines.set_zorder(1.5)
    return True


def draw_crop(
    axes: Axes, crop: Tensor, box: Sequence[float], mpp: float | None, colour: str, *, line: float = 2.0
) -> None:
    """The pixels of a box, framed, with a scale bar below."""
    x, y, width, height = box
    axes.imshow(crop.permute(1, 2, 0).numpy(), interpolation="nearest", extent=(x, x + width, y + height, y))
    axes.set_xlim(x, x + width)
    axes.set_ylim(y + height, y)
    without_ticks(axes)
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(line)
    draw_scale_bar(axes, mpp, share=0.5, font_size=6.5)


def surroundings(explanation: Evidence, k: int) -> UInt8[Tensor, "3 h w"] | None:
    """The place of rank k with its surroundings, three times as wide, if they were kept."""
    if explanation.context is None or k >= len(explanation.context):
        return None
    return explanation.context[k]


def draw_sub_tile(axes: Axes, explanation: Evidence, k: int) -> str:
    """The place of rank k, with what surrounds it where that was kept; its colour."""
    places, mpp = explanation.places(), explanation.source.mpp
    colour = FOR if places.evidence[k] >= 0 else AGAINST
    x, y, width, height = box = places.regions[k].tolist()
    shown = surroundings(explanation, k)
    if shown is None:
        draw_crop(axes, explanation.crops[k], box, mpp, colour)
        return colour
    draw_crop(axes, shown, (x - width, y - height, 3 * width, 3 * height), mpp, "#9ca3af", line=0.6)
    draw_box(axes, box, colour, 1.3)
    return colour


def signed(steps: Sequence[float]) -> list[str]:
    """What sub-tiles add, as text: two decimals, up to four where all are small; nothing has no sign.

    Example:
        >>> signed([0.9, -0.004]), signed([0.0012, -0.0003]), signed([])
        (['+0.90', '0.00'], ['+0.0012', '-0.0003'], [])
    """
    largest = max(map(abs, steps), default=0.0)
    digits = 2 if largest >= 0.05 else 3 if largest >= 0.005 else 4
    texts = [f"{step:+.{digits}f}" for step in steps]
    return [text if float(text) else text[1:] for text in texts]


def draw_account(axes: Axes, explanation: Evidence, *, size: float = 7.5) -> None:
    """How the answer adds up: the start, the numbered places, all others, the answer; a column each."""
    begin, overview, added, end = explanation.account()
    first = {True: "overview", False: "bias", None: "start"}[explanation.is_overview_first]
    columns = [("nothing\nseen" if explanation.mean_logits is not None else first, begin)]
    if explanation.overview_added is not None:
        columns.append(("overview", overview))
    columns += [(str(number), step) for number, step in enumerate(added[:NUMBERED].tolist(), 1)]
    if len(added) > NUMBERED:
        columns.append(("others", float(added[NUMBERED:].sum())))
    names, (_, *steps) = zip(*columns, strict=True)
    ends = [explanation.answer_text(logits) for logits in (explanation.baseline, explanation.logits)]
    level, levels = begin, [begin]
    axes.axhline(0, color="#d1d5db", lw=0.8, zorder=0)
    for place, step in enumerate(steps, 1):
        axes.bar(place, step, bottom=level, width=0.72, color=FOR if step >= 0 else AGAINST)
        axes.plot([place - 1.36, place + 0.36], [level, level], color=_NEUTRAL, lw=0.6)
        level += step
        levels.append(level)
    last = len(steps) + 1
    axes.bar([0, last], [begin, end], width=0.72, color=_NEUTRAL)
    span = max(*levels, 0.0) - min(*levels, 0.0) or 1.0
    axes.set_ylim(min(*levels, 0.0) - 0.2 * span, max(*levels, 0.0) + 0.2 * span)
    texts = [ends[0], *signed(steps), ends[1]]
    room = axes.bbox.width / axes.figure.dpi * 72 / (last + 1)  # points of a column
    fitting = min(size, room / (_CHARACTER * max(map(len, signed(steps)), default=1)))
    tops = [max(begin, 0), *(max(a, b) for a, b in pairwise(levels)), max(end, 0)]
    for place, (text, top) in enumerate(zip(texts, tops, strict=True)):
        bold = "bold" if place in (0, last) else "normal"
        axes.text(place, top + 0.02 * span, text, ha="center", va="bottom", fontsize=fitting, weight=bold)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_xticks(range(last + 1), [*names, "answer"], fontsize=size)
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)


def draw_box(axes: Axes, box: Sequence[float], colour: str, width: float) -> None:
    """The outline of a box, with a light seam that keeps it visible on dark pixels."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x, y, side_x, side_y = box
    frame = Rectangle((x, y), side_x, side_y, fill=False, edgecolor=colour, linewidth=width, zorder=5)
    frame.set_path_effects([withStroke(linewidth=width + 0.8, foreground="white", alpha=0.7)])
    axes.add_patch(frame)
