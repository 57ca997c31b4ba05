"""`zoomin demo`: make images with tiny objects, learn to find them, evaluate on unseen ones, report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..annotations.open_annotation import open_annotation
from ..annotations.rescaled import BoxAnnotation
from ..classifiers import load_model
from ..data.config import DataConfig
from ..data.manifest import Manifest
from ..datasets.synthetic.needles import NeedleConfig, make_needles
from ..explanation import Explanation, overlay_figures
from ..geometry import Region
from ..inference.attention_on_roi import touches
from ..inference.config import InferenceConfig
from ..inference.evaluation import evaluate
from ..inference.explanations import explain
from ..model.config import ZoomInConfig
from ..runtime.locks import lock_folder
from ..training.config import RunConfig, TrainConfig
from ..training.fit import fit
from .report import ReportConfig, write_report

__all__ = ["DemoResult", "demo_config", "run_demo"]

PICTURE, PAGE = "where_it_looked.png", "index.html"
GALLERY = 12  # images in the report
HEAVIEST = 5  # sub-tiles of each positive image that must prove themselves


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        folder: of the report.
        run: folder of the training run.
        metrics: on the test images.
        hit_share: share of the heaviest sub-tiles of positive test images that touch a needle.
        chance_share: the same for sub-tiles placed anywhere alike.
    """

    folder: Path
    run: Path
    metrics: Mapping[str, Any]
    hit_share: float
    chance_share: float


def demo_config(*, quick: bool = False, seed: int = 0) -> tuple[NeedleConfig, RunConfig]:
    """What the demo draws and how it trains; data root and run folder are still to be filled in.

    Args:
        quick: smaller in everything, to see that it works.
        seed: of images, weights and draws.
    """
    needles = NeedleConfig(seed=seed)
    model = ZoomInConfig(
        tile_size=100,
        sub_tile_size=24,
        tile_scale=0.2,
        sub_tile_scale=0.25,
        n_samples=16,
        tile_attention="lenet_relu",
        position_attention="lenet_relu",
        features="lenet_released",
    )
    train = TrainConfig(epochs=16, contrastive_from_epoch=12, negative_class=True, device="cpu")
    if quick:
        needles = replace(needles, n_train=120, n_val=20, n_test=40, min_size=200, max_size=300)
        train = replace(train, epochs=20, contrastive_from_epoch=None, evaluation_replicates=4)
    return needles, RunConfig(DataConfig(root="", batch_size=8), model, train, seed=seed)


def run_demo(
    out: str | Path = "report",
    work: str | Path = "demo",
    *,
    quick: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: bool = True,
) -> DemoResult:
    """Make images, train, evaluate, explain, and write the report.

    Images and run are kept in `work`: a second demo with the same settings only evaluates and reports, an
    interrupted one resumes.

    Args:
        out: folder of the report: index.html, predictions.csv, metrics.json, a picture.
        work: folder of images and run.
        quick: fewer and smaller images, fewer epochs.
        seed: of images, weights and draws.
        say: prints what is going on.
        progress: show progress bars.

    Raises:
        WriteError: if one of the folders cannot be written to.
    """
    out, work = Path(out), Path(work)
    with lock_folder(out):
        pass  # tell before the minutes of training, not after them
    needles, run = demo_config(quick=quick, seed=seed)
    root = work / f"needles-{_digest(needles)}"
    manifest = make_needles(root, needles, progress=progress)
    say(f"Images: {len(manifest)} of {needles.min_size} to {needles.max_size} pixels, in {root}")
    run = replace(run, data=replace(run.data, root=str(root), classes=list(manifest.classes)), resume=True)
    run = replace(run, out=str(work / f"run-{_digest((needles, run))}"))
    say(f"Training for {run.train.epochs} epochs; the run is in {run.out}")
    fitted = fit(run, progress=progress)
    model = load_model(fitted.folder)
    test = manifest.subset(i for i, record in enumerate(manifest) if record.split == "test")
    how = InferenceConfig(seed=seed)
    metrics = evaluate(test, model, how, out=out)
    positive = test.subset((test.targets() > 0).nonzero()[:, 0])
    explanations = explain(positive, model, seed=seed)
    rois = _rois(positive, explanations)
    result = DemoResult(out, fitted.folder, metrics, *_hits(explanations, rois))
    _write_report(result, root, explanations, rois, progress)
    return result


def _digest(settings: object) -> str:
    """A separate folder name for other settings."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def _rois(manifest: Manifest, explanations: Sequence[Explanation]) -> list[BoxAnnotation]:
    found = [
        open_annotation(r, *e.size, place=e.source.georeference)
        for r, e in zip(manifest, explanations, strict=True)
    ]
    return [roi for roi in found if roi is not None]


def _hits(explanations: Sequence[Explanation], rois: Sequence[BoxAnnotation]) -> tuple[float, float]:
    """Share of the heaviest sub-tiles that touch a needle, and of all sub-tiles that there could be."""
    touched, could = [], []
    for explanation, roi in zip(explanations, rois, strict=True):
        regions = explanation.places().regions[:HEAVIEST]
        touched += touches(roi, regions.double()).tolist()
        height, width = explanation.size
        whole = (roi.read([Region(0, 0, width, height)], 1.0) > 0).float()
        side = int(regions[0, 2]) // 2 * 2 + 1
        could.append(float(torch.nn.functional.max_pool2d(whole, side, stride=1, padding=side // 2).mean()))
    return sum(touched) / max(len(touched), 1), sum(could) / max(len(could), 1)


def _write_report(
    result: DemoResult,
    root: Path,
    explanations: Sequence[Explanation],
    rois: Sequence[BoxAnnotation],
    progress: bool,
) -> None:
    """The report of the run, as `zoomin report` writes it, and a picture of two positive images."""
    found = [k for k, e in enumerate(explanations) if int(e.logits.argmax()) > 0] or [0]
    shown = found[:: max(1, len(found) // 2)][:2]
    figure = overlay_figures(
        [replace(explanations[k], image=Path(explanations[k].image).name) for k in shown],
        [rois[k] for k in shown],
        columns=2,
    )
    figure.savefig(result.folder / PICTURE)
    config = ReportConfig(
        run=str(result.run),
        predictions=str(result.folder / "predictions.csv"),
        labels=str(root / "manifest.csv"),
        images=GALLERY,
    )
    write_report(
        config,
        result.folder / PAGE,
        known=explanations,
        title="zoomin demo: is there a needle, a tiny blue cross, in the image?",
        evaluated=f"{result.metrics['n_images']} test images that the model has not seen",
        extra="It learned from one label per image; the masks of the needles were never shown to it. "
        f"{result.hit_share:.0%} of the {HEAVIEST} heaviest sub-tiles of each positive test image touch a "
        f"needle; placed at random, {result.chance_share:.1%} would.",
        progress=progress,
    )
