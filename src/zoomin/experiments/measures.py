"""What is measured of a trained network: its cost, its attention against the ROI, an explanation to draw."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..annotations.open_annotation import annotation_of
from ..classifiers import Classifier, load, zoom_in
from ..data.datamodule import BatchKey, ZoomInDataModule
from ..data.manifest import Record
from ..explanation import Explanation
from ..images.open_image import open_image
from ..inference.attention_on_roi import measure_records
from ..inference.config import InferenceConfig
from ..inference.explanations import iter_explanations
from ..inference.prediction import predict
from ..training.config import RunConfig
from .cost import cost_of_step, task_around

__all__ = ["MEASURES", "Measured"]

_PREDICTED = 4  # images, whose cost differs little
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


@dataclass(frozen=True)
class Measured:
    """A trained network, and where it is measured.

    Attributes:
        net: the network.
        run: its configuration.
        data: the images.
        split: of the images it was not trained on: "val" or "test".
        folder: for files.
        brief: as little as shows that it works.
    """

    net: Classifier
    run: RunConfig
    data: ZoomInDataModule
    split: str
    folder: Path
    brief: bool

    def evaluated(self) -> list[Record]:
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
    """Of the annotated images among those evaluated; nothing where attention has no two stages."""
    if not at.net.zooms:
        return {}
    at.net.eval()
    found = measure_records(zoom_in(at.net), at.evaluated()).to_dict(points=True)
    return {**found, "roi_ratio": found["mean_ratio"]}


def _explanation(at: Measured) -> dict[str, Any]:
    """The first annotated image among those evaluated, explained and saved."""
    if not at.net.zooms:
        return {}
    at.net.eval()
    for record in at.evaluated():
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


def _prediction(at: Measured) -> dict[str, Any]:
    """What it costs to classify some images from their files by the network as it is saved."""
    import resource  # POSIX alone

    records = at.evaluated()
    records = records[:: max(1, len(records) // _PREDICTED)][: 2 if at.brief else _PREDICTED]
    with tempfile.TemporaryDirectory() as folder:
        net = load(at.net.save_pretrained(folder), at.net.device)
    started = time.process_time()
    rows = predict(records, net, InferenceConfig(replicates=1, batch_size=1))
    seconds = time.process_time() - started
    done = [row for row in rows if row.label is not None]
    images = [open_image(record.image, mpp=record.mpp) for record in records]
    pixels = max(1, sum(image.height * image.width for image in images))
    return {
        "images": len(done),
        "cpu_seconds": seconds / max(1, len(done)),
        "decoded_share": sum(row.decoded_pixels for row in done) / pixels,
        "read_share": sum(row.pixels_read for row in done) / pixels,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
    }


MEASURES: dict[str, Callable[[Measured], dict[str, Any]]] = {
    "cost": _cost,
    "attention": _attention,
    "explanation": _explanation,
    "prediction": _prediction,
}
