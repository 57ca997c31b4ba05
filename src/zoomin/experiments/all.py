"""Every experiment by its name. What they need is imported when one is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.plugins import Targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .experiment import Experiment

__all__ = ["EXPERIMENTS", "SUMMARIES"]

# A line of help for each; experiment a-b is A_B of the file a_b.py.
SUMMARIES = {
    "colon-cancer": "Zoom-In against baselines on ten folds, both protocols",
    "needle-camelyon": "crops of Camelyon16 with one small metastasis, or none",
    "needle-mnist": "the limitation, and the three remedies that the paper proposes",
    "traffic-signs": "Swedish or German road scenes: no sign, or a limit of 50, 70, 80",
    "fmow": "ten categories of the Functional Map of the World",
    "camelyon16": "whole slides of lymph nodes",
    "ablation": "lambda, N and contrastive learning (table 4)",
    "tradeoff": "time and memory against accuracy (table 3)",
    "memory": "memory and unique tiles by epoch (figure 4)",
    "attention-roi": "attention against annotated ROI (figure 7)",
    "interpretability": "from the overview to the sub-tiles on every data set (figure 6)",
    "comparison": "the default of zoomin train against other methods on the same trunk",
}
EXPERIMENTS: Mapping[str, Experiment] = Targets(
    {name: f"{__package__}.{name.replace('-', '_')}:{name.replace('-', '_').upper()}" for name in SUMMARIES}
)
