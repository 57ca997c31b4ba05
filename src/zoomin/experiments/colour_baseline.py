"""A trivial baseline: 36 colour statistics of the whole image and a support vector machine.

A method that looks for tiny objects must beat what the colours of the whole image say. Run it with

    python -m zoomin.experiments.colour_baseline --root DIR --folds-dir DIR --out colour_baseline.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import rgb_to_hsv
from scipy.stats import skew
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from ..data.find import open_dataset
from ..data.manifest import Manifest
from ..data.splits import kfold
from ..datasets.colon_cancer import colon_cancer_folds, fold_indices
from ..files import write_json
from ..geometry import Region
from ..images.image import Image
from ..images.open_image import open_image

__all__ = ["STATISTICS", "colour_baseline", "colour_statistics", "colour_table", "main"]

_CHANNELS = ("red", "green", "blue", "hue", "saturation", "value")
_MEASURES = ("mean", "sd", "skewness", "p10", "p50", "p90")
STATISTICS = tuple(f"{channel}_{measure}" for channel in _CHANNELS for measure in _MEASURES)

Folds = Sequence[tuple[Int[Tensor, " train"], Int[Tensor, " held"]]]


def colour_statistics(image: Image) -> Float[np.ndarray, " statistics"]:
    """Mean, standard deviation, skewness, and 10th, 50th and 90th percentile of each of six channels.

    The channels are red, green, blue, hue, saturation and value, each in [0, 1]; `STATISTICS` names the 36
    numbers in their order.

    Args:
        image: read whole, at full resolution.

    Raises:
        ImageError: if it cannot be read.
    """
    pixels = image.read([Region(0, 0, image.width, image.height)], 1.0)[0]
    rgb = pixels.flatten(1).numpy().astype(np.float32) / 255
    channels = np.concatenate([rgb, rgb_to_hsv(rgb.T).T])
    mean, spread = channels.mean(1, dtype=np.float64), channels.std(1, dtype=np.float64)
    skewness = np.zeros_like(spread)
    varied = spread > 1e-6  # the skewness of a constant is taken to be 0
    skewness[varied] = skew(channels[varied].astype(np.float64), axis=1)
    measures = [mean, spread, skewness, *np.percentile(channels, (10, 50, 90), axis=1)]
    return np.stack(measures, axis=1).ravel()


def colour_table(manifest: Manifest) -> Float[np.ndarray, "images statistics"]:
    """The colour statistics of every image.

    Raises:
        ImageError: if an image cannot be read.
    """
    return np.stack([colour_statistics(open_image(record.image, mpp=record.mpp)) for record in manifest])


def colour_baseline(
    manifest: Manifest, folds: Folds, table: Float[np.ndarray, "images statistics"] | None = None
) -> dict[str, Any]:
    """Cross-validate a support vector machine on the colour statistics.

    Standardised statistics, radial basis functions, scikit-learn's defaults (C = 1, gamma = "scale"): nothing
    is tuned.

    Args:
        manifest: labelled images.
        folds: places in the manifest to train on and held out, such as `fold_indices` or `kfold` give them.
        table: what `colour_table` gave, where it has been computed before.

    Returns:
        accuracy (mean over folds), pooled_accuracy (over all held-out predictions), and that of each fold.

    Raises:
        DataError: if a label is missing.
        ImageError: if an image cannot be read.
    """
    labels = manifest.targets().numpy()
    values = colour_table(manifest) if table is None else table
    each, truth, predictions = [], [], []
    for train, held in ((train.numpy(), held.numpy()) for train, held in folds):
        machine = make_pipeline(StandardScaler(), SVC()).fit(values[train], labels[train])
        predicted = machine.predict(values[held])
        each.append(float(accuracy_score(labels[held], predicted)))
        truth.append(labels[held])
        predictions.append(predicted)
    pooled = float(accuracy_score(np.concatenate(truth), np.concatenate(predictions)))
    return {"accuracy": statistics.fmean(each), "pooled_accuracy": pooled, "folds": each}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the baseline on the authors' folds and on stratified ten-folds of five shuffles."""
    parser = argparse.ArgumentParser(prog="python -m zoomin.experiments.colour_baseline", description=__doc__)
    parser.add_argument("--root", required=True, help="the data set, such as CRCHistoPhenotypes_2016_04_28")
    parser.add_argument("--folds-dir", help="folder of the authors' folds; without it only stratified ones")
    parser.add_argument("--out", required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    manifest = open_dataset(options.root)
    table = colour_table(manifest)
    repeats = [colour_baseline(manifest, kfold(manifest, 10, seed), table) for seed in range(5)]
    result: dict[str, Any] = {
        "stratified": {
            "accuracy": statistics.fmean(one["accuracy"] for one in repeats),
            "sd": statistics.stdev(one["accuracy"] for one in repeats),
            "repeats": repeats,
        }
    }
    if options.folds_dir:
        folds = fold_indices(manifest, colon_cancer_folds(options.folds_dir))
        result["authors"] = colour_baseline(manifest, folds, table)
    result["statistics"] = list(STATISTICS)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(options.out), result)
    return result


if __name__ == "__main__":
    for _name, _scores in main().items():
        if isinstance(_scores, dict):
            print(f"{_name}: {100 * _scores['accuracy']:.1f} %")
