"""What a training gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.notebook import or_nothing, table
from .epoch_rows import Row

__all__ = ["FitResult"]


@dataclass(frozen=True)
class FitResult:
    """What `fit` made.

    Attributes:
        folder: of the run.
        model: folder of the saved network.
        metrics: what metrics.json holds.
        history: one row per epoch, what metrics.csv holds.
    """

    folder: Path
    model: Path
    metrics: dict[str, Any]
    history: list[Row]

    @or_nothing
    def _repr_html_(self) -> str | None:
        """Epochs, time and scores as a table."""
        rows: dict[str, object] = {
            "epochs": len(self.history) or None,
            "seconds": self.metrics.get("seconds"),
        }
        for part, words in (("val", "validation"), ("test", "test")):
            for name, value in self.metrics.get(part, {}).items():
                if isinstance(value, (int, float)):
                    rows[f"{words}: {name.replace('_', ' ')}"] = value
        return table(
            f"run in {self.folder}", {name: value for name, value in rows.items() if value is not None}
        )
