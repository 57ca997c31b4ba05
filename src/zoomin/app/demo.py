"""`zoomin demo`: make images with tiny objects, learn to find them, judge on unseen ones, show it all."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..annotations.base import Annotation
from ..annotations.open_annotation import open_annotation
from ..config import ZoomInConfig
from ..data.datamodule import DataConfig
from ..data.manifest import Manifest
from ..data.needles import NeedleConfig, make_needles
from ..explanation import Explanation, overlay_figures
from ..geometry import Region
from ..inference import InferenceConfig, evaluate, explain, load_model
from ..training.config import TrainConfig
from ..training.fit import FitResult, RunConfig, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DemoResult", "demo_config", "run_demo"]

PICTURE, CURVE, PAGE = "where_it_looked.png", "training.png", "index.html"
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
    """Make images, train, judge, explain, and write the report.

    Images and run are kept in `work`: a second demo with the same settings only judges and reports, an
    interrupted one goes on.

    Args:
        out: folder of the report: predictions.csv, metrics.json, pictures, index.html.
        work: folder of images and run.
        quick: fewer and smaller images, fewer epochs.
        seed: of images, weights and draws.
        say: where to tell what is going on.
        progress: show progress bars.
    """
    out, work = Path(out), Path(work)
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
    _write_report(result, fitted, explanations, rois)
    return result


def _digest(settings: object) -> str:
    """A folder name of its own for other settings."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def _rois(manifest: Manifest, explanations: Sequence[Explanation]) -> list[Annotation]:
    found = [open_annotation(r, *e.size) for r, e in zip(manifest, explanations, strict=True)]
    return [roi for roi in found if roi is not None]


def _hits(explanations: Sequence[Explanation], rois: Sequence[Annotation]) -> tuple[float, float]:
    """Share of the heaviest sub-tiles that touch a needle, and of all sub-tiles that there could be."""
    touched, could = [], []
    for explanation, roi in zip(explanations, rois, strict=True):
        regions = explanation.places().regions[:HEAVIEST]
        share = roi.read([Region(*region) for region in regions.tolist()], 1.0)
        touched += (share.flatten(1).amax(1) > 0).tolist()
        height, width = explanation.size
        whole = (roi.read([Region(0, 0, width, height)], 1.0) > 0).float()
        side = int(regions[0, 2]) // 2 * 2 + 1
        could.append(float(torch.nn.functional.max_pool2d(whole, side, stride=1, padding=side // 2).mean()))
    return sum(touched) / max(len(touched), 1), sum(could) / max(len(could), 1)


# --------------------------------------------------------------------------- the report


def _write_report(
    result: DemoResult, fitted: FitResult, explanations: Sequence[Explanation], rois: Sequence[Annotation]
) -> None:
    result.folder.mkdir(parents=True, exist_ok=True)
    found = [k for k, e in enumerate(explanations) if int(e.logits.argmax()) > 0] or [0]
    shown = found[:: max(1, len(found) // 3)][:3]
    figure = overlay_figures(
        [replace(explanations[k], image=Path(explanations[k].image).name) for k in shown],
        [rois[k] for k in shown],
    )
    figure.savefig(result.folder / PICTURE)
    _curve(fitted.history).savefig(result.folder / CURVE)
    (result.folder / PAGE).write_text(_page(result), encoding="utf-8")


def _curve(history: Sequence[Mapping[str, float | int]]) -> Figure:
    """Loss and accuracy of training and validation, epoch by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour in (("train", "#2b6cb0"), ("val", "#d7301f")):
            rows = [row for row in history if f"{part}_{name}" in row]
            epochs = [row["epoch"] + 1 for row in rows]
            axes.plot(epochs, [row[f"{part}_{name}"] for row in rows], label=part, color=colour)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _page(result: DemoResult) -> str:
    """One page that needs no other file."""
    metrics = result.metrics
    rows = ""
    for name in ("accuracy", "balanced_accuracy", "auroc"):
        interval = metrics.get(f"{name}_interval")
        if metrics[name] is not None:
            span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
            rows += f"<tr><td>{name.replace('_', ' ')}</td><td>{metrics[name]:.3f}</td><td>{span}</td></tr>\n"
    classes = [html.escape(name) for name in metrics["classes"]]
    head = "".join(f"<th>predicted {name}</th>" for name in classes)
    confusion = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{count}</td>' for count in counts)}</tr>\n"
        for name, counts in zip(classes, metrics["confusion_matrix"], strict=True)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>zoomin demo</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222 }}
body {{ max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ padding: .25rem .9rem; text-align: left }}
tr {{ border-bottom: 1px solid #ddd }} img {{ max-width: 100% }}
</style></head><body>
<h1>zoomin demo</h1>
<p>Is there a needle, a tiny blue cross, in the image? The model learnt it from one label an image; the masks
of the needles were never shown to it. Judged on {metrics["n_images"]} test images that it has not seen.</p>
<table><tr><th>metric</th><th>value</th><th>95 % interval</th></tr>
{rows}</table>
<table><tr><th>truth</th>{head}</tr>
{confusion}</table>
<h2>Where it looked</h2>
<p>{result.hit_share:.0%} of the {HEAVIEST} heaviest sub-tiles of each positive test image touch a needle;
placed at random, {result.chance_share:.1%} would. Above each sub-tile stand its weight and what it says for
the class predicted.</p>
<img alt="sub-tiles, attention and heaviest sub-tiles" src="{_embedded(result.folder / PICTURE)}">
<h2>Training</h2>
<img alt="loss and accuracy of each epoch" src="{_embedded(result.folder / CURVE)}">
</body></html>
"""


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
