"""Write what a version of zoomin answers, as text, for `tests/test_compatibility.py` of later versions.

    PYTHONPATH=OLD/src python tests/compatibility/make.py 90ae2b5

Weights and pixels follow formulas, so that no binary file is needed; with another version of the library in
the path the numbers become those of that version.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent
ARRAYS, PICTURES, RUN = "arrays", "pictures", "run.json"
SIZES = ((40, 40), (90, 61))  # of the images, rows and columns: one tile, and several


def weights_of(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """The same weights on every machine: whole numbers of a hash, divided by powers of two.

    In networks with batch normalization they keep the size of what passes, which deep ones need.
    """
    state, is_deep = {}, any(name.endswith("running_var") for name in shapes)
    for place, (name, shape) in enumerate(sorted(shapes.items())):
        index = torch.arange(max(1, math.prod(shape)), dtype=torch.int64)
        mixed = ((index + 977 * place) * 2654435761 % 2**32) >> 16
        scale = 2 if name.startswith("head") else 4 if "attention" in name else 1
        state[name] = (scale * (mixed.float() / 2**15 - 1) / 4).reshape(shape)
        if is_deep and len(shape) > 1 and not name.startswith("head"):
            state[name] *= 2.0 ** -round(math.log2(math.prod(shape[1:])) / 2 - 3.3)
        elif (
            is_deep
            and len(shape) < 2
            and name.endswith(("running_var", "running_mean", "num_batches_tracked", "weight"))
        ):
            state[name] = torch.full(shape, 0.0 if name.endswith("running_mean") else 1.0)
    return state


def pixels_of(height: int, width: int) -> Tensor:
    """An image, uint8 (3, height, width)."""
    index = torch.arange(3 * height * width, dtype=torch.int64)
    blocks = (index // 7 * 40503 % 2**16) >> 8
    return blocks.to(torch.uint8).reshape(3, height, width)


def models() -> dict[str, nn.Module]:
    """The networks, small: Zoom-In, its trunks, and the baselines."""
    from zoomin import baselines
    from zoomin.model import ZoomIn, ZoomInConfig

    names = {"n_classes": 2, "class_names": ("cat", "dog")}
    small = {"tile_size": 40, "sub_tile_size": 9, "n_samples": 6, **names}
    lite0 = "timm:tf_efficientnet_lite0"
    networks = {"tile_attention": lite0, "position_attention": lite0, "features": lite0, "pretrained": False}
    own = {"abmil": {"crop_size": 20}, "ats": {"n_samples": 4, "features": "lenet_released"}}
    kinds = {"abmil": "ABMIL", "ats": "ATS", "clam": "CLAM", "cnn": "CNN", "dsmil": "DSMIL", "ips": "IPS"}
    kinds |= {"mrmil": "MRMIL", "transmil": "TransMIL", "zoommil": "ZoomMIL"}
    return {
        "zoom_in": ZoomIn(ZoomInConfig(**small)),
        "zoom_in_resnet16": ZoomIn(ZoomInConfig(**{**small, "features": "resnet16", "sub_tile_size": 16})),
        "zoom_in_lite0": ZoomIn(ZoomInConfig(**{**small, "sub_tile_size": 32, **networks})),
        **{
            name: getattr(baselines, kind)(getattr(baselines, f"{kind}Config")(**own.get(name, {}), **names))
            for name, kind in kinds.items()
        },
    }


def images_in(folder: Path) -> list[Path]:
    """Write the images."""
    from PIL import Image

    paths = [folder / f"{number}.png" for number in range(len(SIZES))]
    for path, size in zip(paths, SIZES, strict=True):
        Image.fromarray(pixels_of(*size).permute(1, 2, 0).numpy()).save(path)
    return paths


def _model(model: nn.Module) -> dict[str, object]:
    from zoomin.inference import load_model, predict

    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(weights_of(shapes))
    with tempfile.TemporaryDirectory() as name:
        saved = model.save_pretrained(name)
        loaded = load_model(saved)
        config = json.loads((saved / "config.json").read_text())
    images = [pixels_of(*size)[None] for size in SIZES]
    answers = []
    for how in ({}, {"sampling": "multinomial", "seed": 3}, {"sampling": "systematic", "replicates": 2}):
        rows = [vars(predict(image, loaded, **how)[0]) for image in images]
        answers.append({"settings": how, "rows": rows})
    return {"config.json": config, "shapes": shapes, "answers": answers}


def _explanation(model: nn.Module) -> dict[str, object]:
    from zoomin.inference import explain

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        [found] = explain(pixels_of(*SIZES[1])[None], model.eval(), sampling="systematic", seed=1)
        found.save(folder)
        with np.load(folder / "arrays.npz") as arrays:
            numbers = {key: {"type": str(a.dtype), "values": a.tolist()} for key, a in arrays.items()}
        pictures = {
            path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode()
            for path in sorted(folder.rglob("*.png"))
        }
        document = json.loads((folder / "explanation.json").read_text())
    return {"explanation.json": document, ARRAYS: numbers, PICTURES: pictures}


def _run() -> dict[str, object]:
    from training_examples import make_images
    from zoomin.inference import load_model, predict, write_predictions
    from zoomin.training.fit import fit
    from zoomin.training.recipe import read_recipe

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            "model: {tile_size: 24, sub_tile_size: 19, tile_scale: 0.5, sub_tile_scale: 0.5, n_samples: 4,"
            " features: lenet_released, foreground: {method: otsu}}\n"
            f"data: {{root: {make_images(folder / 'data')}, batch_size: 4, val_fraction: 0.25, threads: 1,"
            " augmentation: {flips: true}}\n"
            "train: {epochs: 1, device: cpu, evaluation_replicates: 2, contrastive_from_epoch: 0}\n"
        )
        run = fit(read_recipe(recipe, ["--out", str(folder / "run")]), progress=False).folder
        rows = predict(sorted((folder / "data").rglob("*.png"))[:2], load_model(run))
        write_predictions(rows, ("empty", "square"), run / "predictions.csv")
        names = (
            "config.yaml",
            "manifest.csv",
            "splits.json",
            "versions.json",
            "metrics.csv",
            "predictions.csv",
        )
        return {name: (run / name).read_text().replace(str(folder), "FOLDER") for name in names}


def main(version: str) -> None:
    """Write the files of a version, but for those that are there."""
    out = FOLDER / version
    out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    found = models()
    for name, model in found.items():
        _write(out / f"{name}.json", lambda model=model: _model(model))
    _write(out / "explanation.json", lambda: _explanation(found["zoom_in"]))
    _write(out / RUN, _run)


def _write(path: Path, make: Callable[[], dict[str, object]]) -> None:
    if path.exists():
        return
    values = make()
    path.write_text(json.dumps(values, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))
    main(sys.argv[1])
