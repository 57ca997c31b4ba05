"""What is measured of a trained network: its cost, its attention against the ROI, an explanation to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..annotations.open_annotation import annotation_of
from ..classifiers import Classifier, zoom_in
from ..data.datamodule import BatchKey, ZoomInDataModule
from ..data.manifest import Record
from ..explanation import Explanation
from ..images.open_image import open_image
from ..inference.attention_on_roi import measure_records
from ..inference.config import InferenceConfig
from ..inference.explanations import iter_explanations
from ..training.config import RunConfig
from .cost import cost_of_step, task_around

__all__ = ["MEASURES", "Measured"]


@dataclass(frozen=True)
class Measured:
    """A trained network, and where it is measured.

    Attributes:
        net: the network.
        run: its configuration.
        data: the images.
        split: of the images it has not learnt from: "val" or "test".
        folder: for files.
        brief: as little as shows that it works.
    """

    net: Classifier
    run: RunConfig
    data: ZoomInDataModule
    split: str
    folder: Path
    brief: bool

    def judged(self) -> list[Record]:
        """The images of the split, or of validation where it is empty."""
        rows = self.data.splits[self.split]
        rows = rows if rows.numel() else self.data.splits["val"]
        return [self.data.manifest.records[row] for row in rows.tolist()]


def _cost(at: Measured) -> dict[str, Any]:
    """Of a batch of training images."""
    rows = at.data.splits["train"][: 2 if at.brief else at.run.data.batch_size]
    batch = at.data.batch(BatchKey(tuple(rows.tolist()), -1, 0)).to(at.net.device)
    task = task_around(at.net, at.run.train)
    return asdict(cost_of_step(task, batch, repeats=1 if at.brief else 5, draws=1 if at.brief else 4))


def _attention(at: Measured) -> dict[str, Any]:
    """Of the annotated images among those judged; nothing where attention has no two stages."""
    if not at.net.explains:
        return {}
    at.net.eval()
    found = measure_records(zoom_in(at.net), at.judged()).to_dict(points=True)
    return {**found, "roi_ratio": found["mean_ratio"]}


def _explanation(at: Measured) -> dict[str, Any]:
    """The first annotated image among those judged, explained and saved."""
    if not at.net.explains:
        return {}
    at.net.eval()
    for record in at.judged():
        image = open_image(record.image, mpp=record.mpp)
        if annotation_of(record, image) is None:
            continue
        [found] = iter_explanations([record], at.net, InferenceConfig(sampling="systematic"))
        if isinstance(found, Explanation):
            found.save(at.folder / "explanation")
            files = {key: getattr(record, key) for key in ("image", "annotation", "mask")}
            return {
                "folder": at.folder.name,
                **{key: None if path is None else str(path) for key, path in files.items()},
            }
    return {}


MEASURES: dict[str, Callable[[Measured], dict[str, Any]]] = {
    "cost": _cost,
    "attention": _attention,
    "explanation": _explanation,
}
