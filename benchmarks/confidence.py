"""How sure answers are, and of what: calibration, and images unlike the training images.

    python benchmarks/confidence.py --out results/confidence.json --seeds 0 1 2
    python benchmarks/confidence.py --out results/confidence_colon.json --colon CRCHistoPhenotypes_2016_04_28
    python benchmarks/confidence.py --out frozen.json --crossval runs/uncalibrated runs/calibrated
    python benchmarks/confidence.py --out unlike.json --unlike recipe.yaml

Trains on generated needles (`zoomin demo --quick`, with 60 validation and 200 test images), once for each
seed; or on colon cancer (the recipe `colon_cancer`, 30 epochs, four parts out of five for training and
validation, the fifth for the test, each fifth once). Of the test images: log loss and expected calibration
error before and after the temperature; the share that is flagged as unlike the training images, as they are
and changed. Or compares the out-of-fold probabilities of two cross-validations alike but for
`--frozen.calibrate`. Or, with the recipe that `zoomin plan` writes, counts the colon-cancer images of ten
stratified folds that the models of the other nine flag as unlike (all sub-tiles read, from embeddings).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import cross_entropy

from zoomin import load_model, predict
from zoomin.app.demo import demo_config
from zoomin.app.report.numbers import calibration
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.manifest import Manifest, Record
from zoomin.data.splits import kfold
from zoomin.datasets.colon_cancer import read_colon_cancer
from zoomin.datasets.synthetic.needles import make_needles
from zoomin.files import write_csv, write_json
from zoomin.images.array import ArrayImage
from zoomin.metrics.intervals import wilson
from zoomin.model.choices import UNLIKE
from zoomin.model.networks import GatedFeatures
from zoomin.training.fit import fit, tiles_of
from zoomin.training.frozen.learn import learn, make_embedder
from zoomin.training.recipe import read_recipe

_RESAMPLES = 2000
_FOLDS = 5


class Run(NamedTuple):
    """A trained network and the images to measure it on.

    Attributes:
        folder: of the run.
        temperature: that was fitted.
        test: the images.
        classes: in the order of the model.
    """

    folder: Path
    temperature: float
    test: Sequence[Record]
    classes: tuple[str, ...]


def needles(work: Path, seeds: Sequence[int]) -> Iterator[Run]:
    """The demo, small, with more images to validate and to test."""
    for seed in seeds:
        config, run = demo_config(quick=True, seed=seed)
        root = work / f"needles-{seed}"
        manifest = make_needles(root, replace(config, n_val=60, n_test=200), progress=False)
        data = replace(run.data, root=str(root), classes=list(manifest.classes))
        yield _trained(replace(run, data=data, out=str(work / f"run-{seed}")), manifest)


def colon(work: Path, folder: Path, epochs: int) -> Iterator[Run]:
    """Each fifth of the images is once the test; the next one validates, the others are for training."""
    manifest = read_colon_cancer(folder)
    held = [part.tolist() for _, part in kfold(manifest, _FOLDS, 0)]
    for fold in range(_FOLDS):
        place = {row: "test" for row in held[fold]} | {row: "val" for row in held[(fold + 1) % _FOLDS]}
        parts = [place.get(row, "train") for row in range(len(manifest))]
        path = work / f"fold-{fold}.csv"
        rows = [[str(r.image), r.label, part] for r, part in zip(manifest.records, parts, strict=True)]
        write_csv(path, ["image", "label", "split"], rows)
        options = {"data.root": str(path), "train.epochs": epochs, "out": str(work / f"run-{fold}")}
        run = read_recipe("colon_cancer", options)
        records = [replace(r, split=part) for r, part in zip(manifest.records, parts, strict=True)]
        yield _trained(run, replace(manifest, records=tuple(records)))


def _trained(run: Any, manifest: Manifest) -> Run:  # noqa: ANN401 (a RunConfig)
    result = fit(replace(run, resume=True), progress=False)
    test = [record for record in manifest if record.split == "test"]
    classes = load_model(result.folder).config.classes
    return Run(result.folder, result.metrics["calibration"]["value"], test, classes)


def hue(image: Image.Image) -> Image.Image:
    """Turned by 56 degrees."""
    pixels = np.array(image.convert("HSV"))
    pixels[..., 0] += 40
    return Image.fromarray(pixels, "HSV").convert("RGB")


def darker(image: Image.Image) -> Image.Image:
    """To 60 % of its brightness."""
    return Image.fromarray((np.array(image) * 0.6).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as they are": lambda image: image,
    "hue turned by 56 degrees": hue,
    "60 % of the brightness": darker,
    "half the resolution": lambda image: image.resize(
        (image.width // 2, image.height // 2), Image.Resampling.BOX
    ),
    "twice the resolution": lambda image: image.resize(
        (image.width * 2, image.height * 2), Image.Resampling.BICUBIC
    ),
    "blurred, sigma 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
}


def opened(record: Record, change: Callable[[Image.Image], Image.Image]) -> ArrayImage:
    """An image of the test, changed."""
    pixels = np.array(change(Image.open(record.image).convert("RGB")))
    return ArrayImage(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), name=str(record.image))


def out_of_fold(folder: Path) -> tuple[Tensor, Tensor]:
    """Log probabilities and labels of a cross-validation."""
    with (folder / "out_of_fold.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("careful_prob_")]
    p = torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float64)
    labels = torch.tensor([names.index(f"careful_prob_{row['label']}") for row in rows])
    return p.clamp(1e-6).log(), labels  # of six decimals in the file


def compare(before: Path, after: Path) -> dict[str, Any]:
    """The same images, answered with and without calibration."""
    found: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat()}
    for name, folder in (("before", before), ("after", after)):
        logits, labels = out_of_fold(folder)
        found["images"] = len(labels)
        found[f"accuracy_{name}"] = float((logits.argmax(1) == labels).double().mean())
        found[f"log_loss_{name}"] = _interval(logits, labels, _log_loss)
        found[f"calibration_error_{name}"] = _interval(logits, labels, _error)
    return found


def flagged_out_of_fold(config: Path, folds: int = 10) -> dict[str, Any]:
    """p-values of images that a model on a frozen trunk has not learned from, by its inner folds."""
    run = read_recipe(config)
    manifest, model, p = read_colon_cancer(Path(str(run.data.root))), tiles_of(run.model), []
    assert model is not None
    rows = torch.arange(len(manifest))
    data = ZoomInDataModule(run.data, manifest, {"train": rows}, progress=False, model=model)
    embedder = make_embedder(model, run.frozen, data)
    for train, held in kfold(manifest, folds, 0):
        net = learn(model, run.frozen, data, train, run.seed, embedder=embedder).net
        gated = isinstance(net.features, GatedFeatures)
        seen = [net.features.behind(one.sub_tiles) if gated else one.sub_tiles for one in embedder.of(held)]
        features = torch.stack([each.mean(0) for each in seen])
        p += net.head.ood_p_values(features)
    values = torch.tensor([value for value in p if value is not None])
    share = float((values <= UNLIKE).double().mean())
    found = {"images": len(p), "flagged": [share, *wilson(share, len(values))]}
    return {**found, "mean_p": float(values.mean()), "date": datetime.now(UTC).date().isoformat()}


def measure(runs: Iterator[Run]) -> dict[str, Any]:
    """Everything, over the test images of all runs."""
    before, after, truth, temperatures = [], [], [], []
    flagged: dict[str, list[bool]] = {name: [] for name in CHANGES}
    for run in runs:
        model = load_model(run.folder)
        temperatures.append(run.temperature)
        for name, change in CHANGES.items():
            images = [opened(record, change) for record in run.test]
            rows = predict(images, model, sampling="systematic")
            flagged[name] += [row.unlike for row in rows]
            if name == "as they are":
                logits = (
                    torch.tensor([row.probabilities for row in rows], dtype=torch.float64).clamp(1e-12).log()
                )
                after.append(logits)
                before.append(logits * run.temperature)
                truth += [run.classes.index(str(record.label)) for record in run.test]
    labels = torch.tensor(truth)
    both = {"before": torch.cat(before), "after": torch.cat(after)}
    shares = {name: sum(each) / len(each) for name, each in flagged.items()}
    return {
        "test_images": len(labels),
        "temperatures": temperatures,
        "flagged": {name: [share, *wilson(share, len(flagged[name]))] for name, share in shares.items()},
        **{f"log_loss_{name}": _interval(each, labels, _log_loss) for name, each in both.items()},
        **{f"calibration_error_{name}": _interval(each, labels, _error) for name, each in both.items()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _log_loss(logits: Tensor, labels: Tensor) -> float:
    return float(cross_entropy(logits, labels))


def _error(logits: Tensor, labels: Tensor) -> float:
    return calibration(logits.softmax(1), labels).error


def _interval(logits: Tensor, labels: Tensor, score: Callable[[Tensor, Tensor], float]) -> list[float]:
    """A score, and the ends of its 95 % bootstrap interval over images."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(labels), (_RESAMPLES, len(labels)), generator=generator)
    found = sorted(score(logits[rows], labels[rows]) for rows in draws)
    return [score(logits, labels), found[_RESAMPLES // 40], found[-_RESAMPLES // 40 - 1]]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--colon", type=Path, help="the download; instead of needles")
    parser.add_argument("--epochs", type=int, default=30, help="of colon cancer")
    parser.add_argument(
        "--work", type=Path, help="folder of images and runs, kept; a second time, nothing is trained"
    )
    parser.add_argument("--crossval", type=Path, nargs=2, help="two folders: without, with calibration")
    parser.add_argument("--unlike", type=Path, help="recipe of zoomin plan for colon cancer")
    options = parser.parse_args()
    if options.crossval is not None or options.unlike is not None:
        found = compare(*options.crossval) if options.crossval else flagged_out_of_fold(options.unlike)
        print(found)
        write_json(options.out, found)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        runs = (
            needles(work, options.seeds)
            if options.colon is None
            else colon(work, options.colon, options.epochs)
        )
        found = measure(runs)
    for name, value in found.items():
        print(name, value)
    write_json(options.out, found)


if __name__ == "__main__":
    main()
