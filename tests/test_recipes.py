from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from gigapixel_jobs import GEOMETRY
from zoomin.app import cli
from zoomin.classifiers import config_class
from zoomin.data.config import DataConfig
from zoomin.data.find import open_dataset
from zoomin.data.splits import kfold
from zoomin.datasets.traffic_signs import CLASSES, SIGN_WEIGHTS
from zoomin.errors import ConfigError
from zoomin.experiments.colour_baseline import STATISTICS, colour_baseline, colour_statistics, main
from zoomin.images.array import ArrayImage
from zoomin.images.augmentation import Augmentation
from zoomin.images.foreground import Foreground
from zoomin.model import BlockStage
from zoomin.training.config import RunConfig, TrainConfig, WarmUp
from zoomin.training.recipe import read_recipe
from zoomin.training.recipe_files import find_recipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


MULTIPLY = "a: &a [x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {root: a}\ntrain: {epochs: }", r"train\.epochs: no value"),
        ("- data", "not a mapping from names to settings"),
        ("data: [", "not a readable YAML file"),
        ("model: 5", "required: data.root"),
    ],
)
def test_recipes_that_are_none_say_why(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MULTIPLY, "its aliases stand for more than 100000 values"),
        ("a: &a [*a]", "its aliases stand for more than"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("{" * 3000, "nested too deeply"),
    ],
    ids=["multiply", "itself", "deep", "deep_map"],
)
def test_recipes_that_explode_are_refused(text: str, words: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        find_recipe(path)
    assert cli.main(["train", "--config", str(path)]) == 2
    assert words in capsys.readouterr().err
    path.write_text("a: &a {x: 1}\nb: *a\n")
    assert find_recipe(path) == path


def recipe(name: str) -> RunConfig:
    """A recipe as a configuration; names that no configuration knows are errors."""
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    model = config_class(values["model"].get("name"))
    sections = {"model": model, "data": DataConfig, "train": TrainConfig}
    for section, kind in sections.items():
        inner = {
            k: tuple(v) if isinstance(v, list) and k != "classes" else v for k, v in values[section].items()
        }
        assert set(inner) <= {field.name for field in fields(kind)}
        if "foreground" in inner:
            inner["foreground"] = Foreground(**inner["foreground"])
        if "augmentation" in inner:
            inner["augmentation"] = Augmentation(**inner["augmentation"])
        if "blocks" in inner:
            inner["blocks"] = tuple(BlockStage(**block) for block in inner["blocks"])
        if "warm_up" in inner:
            inner["warm_up"] = WarmUp(**inner["warm_up"])
        values[section] = kind(**inner)
    return RunConfig(**values)


PAPER = {  # section 6 of the method: every row, and the text above the table; None: the paper does not say
    # lr, N, batch, epochs, tile, s1, s2, sub-tile, contrastive from epoch
    "colon_cancer": (1e-3, 10, 5, 100, 250, 0.1, 0.2, 27, 10),
    "needle_mnist": (None, None, None, None, None, 0.25, None, None, 10),
    "needle_camelyon": (1e-4, 30, 5, 150, 256, None, None, None, 10),
    "traffic_signs": (1e-3, 10, 32, 150, None, None, None, None, 10),
    "fmow": (1e-4, 30, 32, 200, 250, None, None, None, None),  # no category means "no object"
    "camelyon16": (1e-4, 100, 5, 200, 3200, None, None, None, 10),
}
PLACES = {  # where each column stands in a recipe
    "learning_rate": ("train", 0),
    "n_samples": ("model", 1),
    "batch_size": ("data", 2),
    "epochs": ("train", 3),
    "tile_size": ("model", 4),
    "tile_scale": ("model", 5),
    "sub_tile_scale": ("model", 6),
    "sub_tile_size": ("model", 7),
}


@pytest.mark.parametrize("name", list(PAPER))
def test_recipes_are_the_papers(name):
    run, row = recipe(name), PAPER[name]
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    free = {line.split(":")[0].strip() for line in lines if "# free" in line}
    for setting, (section, column) in PLACES.items():
        value = getattr(getattr(run, section), setting)
        if row[column] is None:
            assert setting in free or name == "needle_mnist", f"mark {setting} as free"
        else:
            assert value == row[column], setting
            assert setting not in free
    assert run.train.contrastive_epoch(run.model.n_classes) == row[8]
    assert run.train.betas == (0.9, 0.999)
    assert run.train.entropy_strength == 1e-5
    assert run.model.sampling == "multinomial"
    assert run.train.validation_sampling is None
    assert not run.data.augmentation.active
    if name != "colon_cancer":  # what the authors' code does there, the paper does not say
        assert (run.train.weight_decay, run.train.lr_step, run.train.gradient_clip) == (0.0, None, None)


def test_traffic_signs_have_the_published_weights():
    run = recipe("traffic_signs")
    assert tuple(run.data.classes) == CLASSES
    assert run.train.class_weights == SIGN_WEIGHTS == (0.1843, 2.3639, 1.5183, 3.1653)
    assert run.train.weights_of([1, 1, 1, 1]) == list(SIGN_WEIGHTS)


def test_needle_mnist_is_otherwise_as_needle_camelyon():
    mnist, camelyon = recipe("needle_mnist"), recipe("needle_camelyon")
    assert mnist.train == camelyon.train
    assert mnist.model.n_samples == camelyon.model.n_samples
    assert mnist.data.batch_size == camelyon.data.batch_size
    assert mnist.model.tile_size == camelyon.model.tile_size


def test_camelyon16_is_the_papers():
    """Section 6 of the method: row "Camelyon16" and the text above the table."""
    run = recipe("camelyon16")
    assert (run.train.learning_rate, run.model.n_samples, run.data.batch_size) == (1e-4, 100, 5)
    assert (run.train.epochs, run.model.tile_size, run.model.sub_tile_size) == (200, 3200, 100)
    assert (run.model.tile_scale, run.model.sub_tile_scale) == (1 / 32, 1 / 8)
    assert run.train.betas == (0.9, 0.999)
    assert run.train.contrastive_epoch(run.model.n_classes) == 10
    assert run.train.entropy_strength == 1e-5
    assert run.model.sampling == "multinomial"
    assert (run.train.weight_decay, run.train.lr_step, run.train.gradient_clip) == (0.0, None, None)
    assert run.data.resident == "never"
    assert {name: getattr(run.model, name) for name in GEOMETRY} == GEOMETRY
    lines = (RECIPES / "camelyon16.yaml").read_text().splitlines()
    free = {line.split(":")[0].strip() for line in lines if "# free" in line}
    assert {"sub_tile_size", "tile_scale", "sub_tile_scale"} <= free
    assert free.isdisjoint({"tile_size", "n_samples", "epochs", "learning_rate", "batch_size"})


def test_what_only_the_authors_code_says_is_marked():
    run = recipe("colon_cancer")
    train = run.train
    assert (train.weight_decay, train.lr_step, train.lr_gamma, train.gradient_clip) == (1e-5, 30, 0.9, 5.0)
    lines = (RECIPES / "colon_cancer.yaml").read_text().splitlines()
    marked = {line.split(":")[0].strip() for line in lines if line.endswith("# authors' code")}
    assert marked == {"weight_decay", "lr_step", "lr_gamma", "gradient_clip"}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_is_a_whole_run(name):
    run = recipe(name)
    assert run.out == f"runs/{name}"
    assert not run.resume


def test_colour_statistics_are_what_they_are_called():
    pixels = torch.zeros(3, 4, 6, dtype=torch.uint8)
    pixels[0, :, :3] = 255  # half of it red, half black
    values = dict(zip(STATISTICS, colour_statistics(ArrayImage(pixels)), strict=True))
    assert len(STATISTICS) == len(set(STATISTICS)) == 36
    assert values["red_mean"] == pytest.approx(0.5)
    assert values["red_sd"] == pytest.approx(0.5)
    assert values["red_skewness"] == pytest.approx(0)
    assert (values["red_p10"], values["red_p90"]) == (0, 1)
    assert values["blue_mean"] == values["blue_skewness"] == 0
    assert values["saturation_mean"] == pytest.approx(0.5)


def test_colours_tell_red_from_blue(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for number in range(12):
        kind = number % 2
        pixels = torch.randint(100, (8, 8, 3), generator=generator, dtype=torch.uint8)
        pixels[:, :, 2 * kind] += 120
        folder = tmp_path / "data" / ("red", "blue")[kind]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    manifest = open_dataset(tmp_path / "data")
    result = colour_baseline(manifest, kfold(manifest, 3, seed=0))
    assert result["accuracy"] == result["pooled_accuracy"] == 1.0
    assert len(result["folds"]) == 3


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28", "colon_cancer_folds")
def test_the_baseline_runs_on_the_real_images(data_root, tmp_path):
    out = tmp_path / "results" / "baseline.json"
    root, folds = data_root / "CRCHistoPhenotypes_2016_04_28", data_root / "colon_cancer_folds"
    result = main(["--root", str(root), "--folds-dir", str(folds), "--out", str(out)])
    assert json.loads(out.read_text()) == result
    assert 0.75 < result["authors"]["accuracy"] < 0.9
    assert 0.8 < result["stratified"]["accuracy"] < 0.9
