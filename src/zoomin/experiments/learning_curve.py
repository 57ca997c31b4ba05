"""How small an object can be learned from image labels: AUROC on generated slides over share and number.

Trains a recipe on the training slides of one or more folders from `zoomin data make slides`, evaluates it
once on their test slides, and measures whether the heaviest sub-tiles lie on the needles. Nothing is selected
on the test slides: the network of the last epoch is evaluated.

    python -m zoomin.experiments.learning_curve slides/share_1.00 --recipe recipes/gigapixel_slides.yaml \
      --n_train 20 --n_train 40 --runs runs/curve --out results/learning_curve.json

adds one row per run to the JSON file; a run that stands there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..classifiers import Classifier, load_model
from ..data.find import open_dataset
from ..data.manifest import Manifest, write_manifest
from ..files import write_json
from ..inference.attention_on_roi import image_and_roi, touches
from ..metrics import classification_metrics
from ..training.config import RunConfig
from ..training.fit import fit, tiles_of
from ..training.recipe import read_recipe
from ..training.task import evaluation_keys

__all__ = ["evaluate_slides", "main", "run_one"]

_PLACES = ("textures", "background", "needles")  # paths of the machine that made the slides
TOP = 10  # heaviest sub-tiles of a positive slide that are looked up in its annotation


@torch.no_grad()
def evaluate_slides(
    net: Classifier, manifest: Manifest, rows: Sequence[int], *, replicates: int = 2, seed: int = 0
) -> dict[str, Any]:
    """Metrics of a network on some slides, and how often its heaviest sub-tiles touch the needles.

    Args:
        net: a network.
        manifest: slides, labels and annotations.
        rows: which of them.
        replicates: estimates averaged.
        seed: of the draws.
    """
    net.eval()
    probabilities, hits, attended = [], [], []
    targets = manifest.with_classes(net.config.classes).targets()
    for row in rows:
        record = manifest.records[row]
        image, roi = image_and_roi(record, tiles_of(net.config))
        keys = evaluation_keys(seed, torch.tensor([row]))
        out: Any = net([image], keys=keys, replicates=replicates, sampling="systematic")
        probabilities.append(out.logits[0].float().softmax(0))
        if net.zooms and targets[row] > 0 and roi is not None:
            hit, weight = touches(roi, out.sub_tiles.regions.double()), out.sub_tiles.weight
            hits.append(float(hit[weight.argsort(descending=True)[:TOP]].float().mean()))
            attended.append(float((weight * hit).sum()))
    metrics = classification_metrics(torch.stack(probabilities), targets[torch.tensor(rows)])
    return {
        **metrics,
        "top_sub_tiles_on_roi": sum(hits) / len(hits) if hits else None,
        "weight_on_roi": sum(attended) / len(attended) if attended else None,
    }


def run_one(folder: Path, config: RunConfig, n_train: int | None, replicates: int) -> dict[str, Any]:
    """Train on the first `n_train` training slides of a folder and evaluate on its test slides.

    Args:
        folder: what `zoomin data make slides` wrote.
        config: the recipe; its data root and its splits are replaced.
        n_train: training slides, in turn negative and positive; None: all.
        replicates: estimates averaged in evaluation.
    """
    manifest = open_dataset(folder)
    rows = {split: [i for i, r in enumerate(manifest) if r.split == split] for split in ("train", "test")}
    training = manifest.subset(rows["train"][:n_train])
    listed = Path(config.out + ".csv")
    listed.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(training, listed)
    config = replace(config, data=replace(config.data, root=str(listed), val_fraction=0.0))
    started = time.perf_counter()
    result = fit(config)
    trained = time.perf_counter() - started
    net = load_model(result.folder)
    evaluated = evaluate_slides(net, manifest, rows["test"], replicates=replicates, seed=config.seed)
    recipe = json.loads((folder / "slides.json").read_text(encoding="utf-8"))
    return {
        "slides": folder.name,
        "slides_config": {key: value for key, value in recipe["config"].items() if key not in _PLACES},
        "n_train": len(training),
        "seed": config.seed,
        "epochs": config.train.epochs,
        "train_seconds": round(trained),
        "judge_seconds": round(time.perf_counter() - started - trained),
        "date": time.strftime("%Y-%m-%d"),
        "threads": torch.get_num_threads(),
        **evaluated,
    }


def _distinguishing(options: Sequence[str]) -> list[str]:
    """The options that change what is learned; a run that was interrupted is the run that was not."""
    before = ["", *options]
    return [
        word
        for word, previous in zip(options, before, strict=False)
        if "--resume" not in (word, previous) and not word.startswith("--resume=")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="learning_curve", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of generated slides")
    parser.add_argument("--recipe", type=Path, required=True, help="YAML, as for zoomin train")
    parser.add_argument("--name", help="of the recipe in the table; its file's name by default")
    parser.add_argument("--n_train", type=int, action="append", help="training slides; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replicates", type=int, default=2, help="estimates averaged in evaluation")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning_curve"), help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of all rows")
    known, options = parser.parse_known_args(arguments)
    rows: list[dict[str, Any]] = json.loads(known.out.read_text()) if known.out.is_file() else []
    name = known.name or known.recipe.stem
    for folder in known.folders:
        for count in known.n_train or [None]:
            run = f"{name}-{folder.name}-{count or 'all'}-{known.seed}"
            if any(row["run"] == run for row in rows):
                continue
            given = [*options, "--seed", str(known.seed), "--out", str(known.runs / run)]
            row = run_one(folder, read_recipe(known.recipe, given), count, known.replicates)
            rows.append({"run": run, "recipe": name, "options": _distinguishing(options), **row})
            write_json(known.out, rows)
            print(f"{run}: AUROC {row['auroc']}, sub-tiles on ROI {row['top_sub_tiles_on_roi']}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
