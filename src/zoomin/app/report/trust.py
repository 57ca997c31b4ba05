"""How far answers are to be trusted: what abstaining gives, and images unlike the training images."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from ...metrics.intervals import wilson
from ...model.choices import UNLIKE_WORDS, expected_unlike
from .charts import risk_chart
from .findings import Findings
from .numbers import risk_coverage

__all__ = ["Fact", "risk", "trust_facts"]


class Fact(NamedTuple):
    """A row of the table of scores.

    Attributes:
        name: what it is.
        value: as text.
        interval: likewise, "" where there is none.
        note: what to know of it.
    """

    name: str
    value: str
    interval: str = ""
    note: str = ""


def trust_facts(findings: Findings) -> list[Fact]:
    """What was answered where some images were not, and how many are unlike the training images."""
    facts, known = [], [a for a in findings.answered if a.ood_p_value is not None]
    total = len(findings.answered)
    given = [a for a in findings.answered if not a.abstained]
    if len(given) < total:
        note = "the others abstained; the scores count all"
        facts.append(Fact("share answered", f"{len(given) / total:.3f}", note=note))
    if given and len(given) < total:
        right = sum(bool(findings.is_right(a)) for a in given) / len(given)
        low, high = wilson(right, len(given))
        facts.append(Fact("accuracy where answered", f"{right:.3f}", f"{low:.3f} to {high:.3f}"))
    if known:
        usual = f"of {len(known)} images like those, {expected_unlike(len(known))} would be"
        facts.append(Fact(UNLIKE_WORDS, str(sum(a.unlike for a in known)), note=usual))
    return facts


def risk(
    findings: Findings, probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> tuple[str, str]:
    """What abstaining from the least sure answers would give: a chart, and words.

    Args:
        findings: of classes or grades.
        probabilities: of images with a label.
        labels: their classes.
    """
    target = findings.target
    decided = target.truth([target.decide(row) for row in probabilities.tolist()])
    found = risk_coverage(probabilities.gather(1, decided[:, None])[:, 0], decided == labels)
    half = next(k for k, share in enumerate(found.coverage) if share >= 0.5)
    words = (
        "Risk and coverage: were only the surest images answered (abstain_below), this share of them would "
        f"be wrong. All answered: {found.risk[-1]:.3f}; the surest {100 * found.coverage[half]:.0f} %, of "
        f"probability {found.least[half]:.2f} and more: {found.risk[half]:.3f}. "
        f"Mean over all shares: {found.area:.3f}."
    )
    return risk_chart(found, name="risk"), words
