"""Attention against the share of ROI, with a regression line and Spearman's coefficient: figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..inference.attention_on_roi import Pairs, spearman
from .experiment import Experiment, Outcome, Setting
from .figures import COLOURS, new_figure, nothing, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ATTENTION_ROI"]

_SINGLE = 6  # images of their own, as in the paper
_TILES = 12  # tiles of an image from which on tiles are drawn, positions below


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    shown = [o for o in outcomes if any(r["measured"].get("attention", {}).get("images") for r in o.results)]
    rows = max(1, len(shown))
    figure = new_figure(12.0, 6.2 * rows)
    parts: Any = figure.subfigures(rows, 1, squeeze=False)
    if not shown:
        nothing(figure.subplots())
    for part, outcome in zip(parts[:, 0], shown, strict=False):
        _draw_setting(part, outcome)
    return figure


def _draw_setting(part: Any, outcome: Outcome) -> None:  # noqa: ANN401 (a SubFigure)
    measured = [r["measured"]["attention"] for r in outcome.results if r["measured"].get("attention")]
    images = [image for one in measured for image in one["images"]]
    kind = "tiles" if len(images[0]["tiles"]) >= _TILES else "positions"
    top, bottom = part.subfigures(2, 1, height_ratios=(1, 1.15))
    part.suptitle(f"{outcome.setting.what}: attention and share of ROI of {kind}", fontsize=11)
    chosen = sorted(images, key=lambda image: -float(np.ptp(np.array(image[kind])[:, 1])))[:_SINGLE]
    for axes, image in zip(top.subplots(1, _SINGLE, sharey=True), chosen, strict=False):
        pairs = torch.tensor(image[kind])
        _scatter(axes, pairs, 9.0, ticks=3)
        correlation = image["tile_spearman" if kind == "tiles" else "position_spearman"]
        axes.set_title(f"{image['image']}\nrho = {_text(correlation)}", fontsize=8)
    for axes in top.axes[len(chosen) :]:
        axes.set_axis_off()
    top.supylabel("share of ROI", fontsize=9)
    axes = bottom.subplots()
    pairs = torch.tensor([row for image in images for row in image[kind]]).reshape(-1, 2)
    _scatter(axes, pairs, 5.0, alpha=0.35)
    name = "tile_spearman" if kind == "tiles" else "position_spearman"
    correlations = [one[name] for one in measured if one[name] is not None]
    paper = outcome.setting.published.get("tile_spearman")
    beside = "" if paper is None else f"; published: {paper}"
    rho = _text(float(np.mean(correlations)) if correlations else None)
    axes.set_title(f"annotated images: {len(images)}; rho = {rho}{beside}", fontsize=9)
    axes.set_xlabel("attention over its mean in the image (1: uniform attention)")
    axes.set_ylabel("share of ROI")


def _scatter(axes: Axes, pairs: Pairs, size: float, alpha: float = 0.6, ticks: int = 5) -> None:
    """The points and their regression line; logarithmic where attention spans more than a decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    x, y = pairs.clamp(min=1e-4).numpy().T[0], pairs.numpy().T[1]
    axes.scatter(x, y, s=size, color=COLOURS[0], alpha=alpha, lw=0, rasterized=True)
    wide = float(x.max()) > 10 * float(x.min())
    if wide:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=ticks) if wide else MaxNLocator(3))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    if spearman(pairs) is not None:
        shown = np.log10(x) if wide else x
        slope, intercept = np.polyfit(shown, y, 1)
        ends = np.array([shown.min(), shown.max()])
        axes.plot(10**ends if wide else ends, intercept + slope * ends, color=COLOURS[1], lw=1.5)
    axes.set_ylim(-0.04, 1.04)
    tidy(axes, "both")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


ATTENTION_ROI = Experiment(
    name="attention-roi",
    title="Attention against annotated ROI",
    source="Kong & Henao, CVPR 2022, supplement C, figure 7",
    data_set="colon-cancer",
    settings=(
        Setting("colon-cancer", "colon cancer", "colon_cancer"),
        Setting(
            "camelyon16",
            "Camelyon16",
            "camelyon16",
            published={"tile_spearman": 0.357},
            data_set="camelyon16",
        ),
    ),
    columns=("tile_spearman", "position_spearman", "roi_ratio", "best_accuracy", "accuracy"),
    draw=_draw,
    measures=("attention",),
    seeds=(0,),
    notes=(
        "Measured on images that the network was not trained on: the held-out ones of every fold, or the "
        "test images. Coefficients are over all tiles, or positions, of the images of a training together.",
        "Attention is divided by its mean in the image; lines are fitted on the scale that is drawn.",
        "Published on Camelyon16, over tiles: 0.357.",
        "Camelyon16 is expected in a folder of that name inside --data.",
    ),
)
