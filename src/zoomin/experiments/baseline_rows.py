"""Rows that several experiments share: Zoom-In, and baselines on the same data with the same training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .columns import COSTS
from .experiment import Experiment, Outcome, Setting
from .figures import scores_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCORES", "compared", "draw_scores"]

SCORES = (
    *("accuracy", "balanced_accuracy", "auroc", "tiles", "pixels", *COSTS),
    *("tile_spearman", "position_spearman", "roi_ratio"),
)


def draw_scores(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy, balanced accuracy and AUROC of every row."""
    columns = [("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy"), ("auroc", "AUROC")]
    return scores_figure(outcomes, columns, "accuracy", "test images, %")


def compared(
    name: str,
    title: str,
    source: str,
    zoom_in: Setting,
    ats: Mapping[str, Any],
    side: int,
    more: Sequence[Setting] = (),
    *,
    notes: Sequence[str] = (),
) -> Experiment:
    """An experiment on a data set with a test split: Zoom-In, ATS, a CNN on shrunk images, and others.

    Args:
        name: of the experiment and the data set.
        title: of the table.
        source: where in the paper.
        zoom_in: the first row.
        ats: changes of the recipe that make it one-stage attention sampling.
        side: of the shrunk images of the CNN.
        more: further rows.
        notes: of the table.
    """
    recipe = zoom_in.recipe
    features = {"model.features": ats["model.features"]} if "model.features" in ats else {}
    return Experiment(
        name=name,
        title=title,
        source=source,
        data_set=name,
        settings=(
            zoom_in,
            Setting(
                "ats",
                "ATS (one stage)",
                recipe,
                {"model.name": "ats", **ats},
                {"model.sub_tile_size": 32, "model.n_samples": 8, "model.features": "lenet_released"},
            ),
            Setting(
                "cnn",
                f"CNN, images shrunk to {side}",
                recipe,
                {"model.name": "cnn", "model.side": side, **features},
                {"model.side": 96, "model.features": "lenet_released"},
            ),
            *more,
        ),
        columns=SCORES,
        draw=draw_scores,
        measures=("cost", "attention"),
        notes=("The network of the best validation epoch is evaluated once on the test images.", *notes),
    )
