"""Learning on a frozen trunk: closed forms, gated attention, the taught model, plan and commands."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from training_examples import run_config
from zoomin import explain, load_model, predict
from zoomin.app.cli import main
from zoomin.app.commands.train import TRAIN
from zoomin.data.config import DataConfig
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.errors import ConfigError, DataError
from zoomin.explanation.draw import start
from zoomin.model.config import ZoomInConfig
from zoomin.model.feature_files import settings_of
from zoomin.model.networks import GatedFeatures, GatedHead, feature_network, has_cells
from zoomin.model.targets import target_named
from zoomin.model.zoom_in import ZoomIn
from zoomin.training.calibration import calibrated
from zoomin.training.fit import fit
from zoomin.training.frozen import likeness
from zoomin.training.frozen.classify import classify
from zoomin.training.frozen.copies import WIDTH, bags_of, fit_copies
from zoomin.training.frozen.embeddings import Embedder, image_key
from zoomin.training.frozen.learn import Learned, learn, make_embedder
from zoomin.training.frozen.linear import balanced_ridge, logistic, principal
from zoomin.training.frozen_config import FrozenConfig
from zoomin.training.plan import negative_class, plan
from zoomin.training.recipe import add_model_arguments, add_run_arguments, plan_defaults

TRUNK = "tf_efficientnet_lite0"
FROZEN = FrozenConfig(
    enabled=True,
    few_tiles=4,
    cell_tiles=0,
    folds=2,
    copies=2,
    fold_copies=1,
    epochs=20,
    batch_size=4,
    learning_rate=5e-3,
    components=16,
)
TWO = target_named("classes", ["empty", "square"])
SHORT = "--frozen.epochs 2 --frozen.folds 2 --frozen.copies 1".split()
MODEL = ZoomInConfig(
    tile_size=64,
    sub_tile_size=64,
    tile_scale=0.5,
    sub_tile_scale=1 / 64,
    n_samples=3,
    sampling="top",
    tile_attention=f"pyramid:{TRUNK}",
    position_attention="uniform",
    features=f"timm:{TRUNK}",
    pretrained=True,
    normalize_features=False,
    context_side=64,
    class_names=("empty", "square"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of twelve tiles; a square, inside one tile, makes the class."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(60, 90, (190, 250, 3), dtype=np.uint8)
        if number % 2:
            y, x = 64 * rng.integers(0, 2) + 12, 64 * rng.integers(0, 3) + 12
            pixels[y : y + 40, x : x + 40] = (250, 30, 30)
        kind = folder / ("empty", "square")[number % 2]
        kind.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> ZoomInDataModule:
    return ZoomInDataModule(DataConfig(str(root), val_fraction=0.0, threads=1), progress=False, model=MODEL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def embedder(data: ZoomInDataModule, cache: Path) -> Embedder:
    return make_embedder(MODEL, replace(FROZEN, cache=str(cache)), data)


@pytest.fixture(scope="module")
def learned(data: ZoomInDataModule, embedder: Embedder) -> Learned:
    return learn(MODEL, FROZEN, data, data.splits["train"], 0, embedder=embedder)


# --------------------------------------------------------------------------- closed forms


def test_principal_components_are_uncorrelated() -> None:
    x = torch.randn(200, 6) @ torch.randn(6, 6)
    x[:, 3] = 2.0  # does not vary
    z = principal(x, 4)(x)
    assert z.shape == (200, 4)
    covariance = z.T @ z / len(z)
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=1e-4, rtol=0)


def test_ridge_weighs_both_sides_alike() -> None:
    positive, negative = torch.randn(5, 3) + 4, torch.randn(500, 3)
    [score] = balanced_ridge(positive, negative, 3, [1.0])
    assert score(positive).mean() > 0.5
    assert score(negative).mean() < -0.5


def test_logistic_knows_absent_classes() -> None:
    labels = torch.tensor([0, 2]).repeat(20)
    x = torch.randn(40, 5) + 3 * labels[:, None]
    logits = logistic(x, labels, 3, 1.0)(x)
    assert (logits.argmax(1) == labels).float().mean() > 0.9
    assert (logits[:, 1] < -20).all()


def test_calibration_undoes_a_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 2, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    found = calibrated(5 * logits + torch.tensor([1.0, -1.0]), labels, TWO)
    assert found.scale == pytest.approx(0.2, rel=0.15)
    torch.testing.assert_close(
        (5 * found.scale * logits + found.scale * torch.tensor([1.0, -1.0]) + found.shift).diff(dim=1),
        logits.diff(dim=1),
        atol=0.4,
        rtol=0.15,
    )


@pytest.mark.parametrize(("kind", "n"), [("classes", 24), ("classes", 200), ("labels", 24), ("labels", 200)])
def test_few_images_answered_rightly_make_no_answer_certain(kind: str, n: int) -> None:
    """Perfectly separated logits: a scale that grew without end called the next image 0.999999."""
    labels = torch.arange(2 * n) % 2
    margin = (2 * labels - 1) * torch.linspace(0.5, 2, 2 * n)
    logits, truth, target = torch.stack([-margin, margin], 1), labels, TWO
    if kind == "labels":
        target = target_named("labels", "ab")
        truth = torch.stack([labels, 1 - labels], 1).float()
        logits = torch.stack([margin, -margin], 1)
    found = calibrated(logits, truth, target)
    surest = target.answers(found.scale * logits + found.shift).max()
    assert 1 - 1 / n < surest < 1 - 1 / (100 * n)


def test_calibration_weighs_what_stands_beside() -> None:
    """Logits that are a sum in equal parts get that weight; logits that tell nothing get next to none."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3000, 2, generator=generator)
    labels = torch.multinomial((first + second).softmax(1), 1, generator=generator)[:, 0]
    assert calibrated(first, labels, TWO, second).beside == pytest.approx(1.0, abs=0.25)
    noise = torch.randn(3000, 2, generator=generator)
    assert abs(calibrated(first, labels, TWO, noise).beside) < 0.15
    assert calibrated(first, labels, TWO).beside == 0


# --------------------------------------------------------------------------- gated attention


def test_gated_head_sees_the_overview() -> None:
    plain, head = GatedHead(2, 3, 4), GatedHead(2, 3, 4, overview=5)
    features, seen = torch.rand(6, 2 * (3 + 1)), torch.randn(6, 5)
    with torch.no_grad():
        plain.weight.copy_(head.weight[:, :6])
        plain.bias.copy_(head.bias)
        added = head.context(seen)
        torch.testing.assert_close(head(torch.cat([features, seen], 1)), plain(features) + added)
        torch.testing.assert_close(added, seen @ head.weight[:, 6:].T)
    with pytest.raises(ConfigError, match="gate_overview"):
        replace(MODEL, gate_overview=True)


def test_gated_head_is_gated_attention() -> None:
    features, head = GatedFeatures(torch.nn.Identity(), 6, 4, 5, copies=3).eval(), GatedHead(3, 5, 2)
    crops, alpha = torch.randn(7, 6), torch.rand(7).softmax(0)
    with torch.no_grad():
        said = head((alpha[:, None] * features.behind(crops)).sum(0, keepdim=True))[0]
        h, g = features.copies(features.project(crops).expand(3, 7, 4))
        attention = (g + alpha.log()).softmax(1)
        pooled = torch.einsum("kn,knw->kw", attention, h)
        expected = head.weight @ pooled.flatten() + head.bias
    torch.testing.assert_close(said, expected)


def test_copies_learn_their_own_images() -> None:
    labels = torch.arange(40) % 2
    x = [torch.randn(5, 3) for _ in labels]
    for one, label in zip(x, labels, strict=True):
        one[2] += 6 * label
    rows = [torch.arange(30), torch.arange(10, 40), torch.arange(40)]  # of different numbers
    config = replace(FROZEN, epochs=40, learning_rate=1e-2)
    bags = bags_of(x)
    fitted = fit_copies(bags, labels, rows, TWO, config, 0)
    logits = fitted.logits(bags)
    assert logits.shape == (3, 40, 2)
    assert ((logits.argmax(2) == labels).float().mean(1) > 0.9).all()
    evidence = fitted.evidence(bags, TWO)[..., 1].mean(0)[labels == 1]
    assert (evidence.argmax(1) == 2).float().mean() > 0.8
    again = fit_copies(bags, labels, rows, TWO, config, 0)
    assert torch.equal(again.logits(bags), logits)


# --------------------------------------------------------------------------- the model


def check_mean(net: ZoomIn, data: ZoomInDataModule, first: int = 0) -> None:
    """Explanations start from the mean of what the head sees of the images learned from.

    Of a taught attention, the tiles are those of one that has not seen the image: `first` skips their part.
    """
    with torch.no_grad():
        seen = net.head.seen(net(data.store.select(data.splits["train"])).features)
    assert net.head.mean_feature is not None
    mean = net.head.seen(net.head.mean_feature[None])[0]
    torch.testing.assert_close(mean[first:], seen.mean(0)[first:], atol=1e-2, rtol=1e-2)
    assert torch.cosine_similarity(mean, seen.mean(0), dim=0) > 0.95


def test_embeddings_are_kept(data: ZoomInDataModule, cache: Path, embedder: Embedder) -> None:
    rows = data.splits["train"][:2]
    known = embedder.of(rows)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.h5")}
    other = make_embedder(MODEL, replace(FROZEN, cache=str(cache)), data)
    again = other.of(rows)
    assert other.made_seconds == 0
    assert torch.equal(known[0].sub_tiles, again[0].sub_tiles)
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())
    assert known[0].sub_tiles.shape == (12, 1280)
    assert known[0].context is not None and known[0].context.shape == (1280,)


def test_learned_model_predicts_and_explains(root: Path, learned: Learned, tmp_path: Path) -> None:
    assert learned.report["head"] == "gated"
    assert learned.report["reads"] == {"sampling": "top", "n_samples": 3}
    learned.net.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    images = sorted(root.rglob("*.png"))
    rows = predict(images, model)
    assert {row.sampling for row in rows} == {"top"}
    assert np.mean([row.label == Path(row.image).parent.name for row in rows]) >= 0.9
    assert rows[0].pixels_read == 12 * 32**2 + 3 * 64**2
    for one in explain(images[-2:], model):
        torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-4, rtol=1e-4)
        assert one.overview_added is not None and start(one).startswith("With nothing seen: ")
        parts = one.baseline + one.overview_added + one.added.sum(0)
        torch.testing.assert_close(parts, one.logits, atol=1e-4, rtol=1e-4)
        assert one.weight.sum().item() == pytest.approx(1, abs=1e-4)
    drawn = predict(images[-1:], model, sampling="systematic", n_samples=3, replicates=4)[0]
    assert drawn.standard_error > 0


def test_embeddings_answer_as_pixels_do(data: ZoomInDataModule, learned: Learned, embedder: Embedder) -> None:
    assert learned.net.config.gate_overview
    rows = data.splits["train"]
    check_mean(learned.net, data, first=2 * WIDTH)
    keys = torch.arange(len(rows))
    logits, drawn = classify(learned.net, embedder.of(rows), keys)
    with torch.no_grad():
        out = learned.net(data.store.select(rows), keys=keys)
    torch.testing.assert_close(logits, out.logits, atol=1e-2, rtol=1e-2)
    assert drawn.tolist() == [3] * len(rows)


@pytest.mark.parametrize("head", ["gated", "linear"])
def test_inner_folds_say_what_is_unlike(
    data: ZoomInDataModule, embedder: Embedder, head: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What new images are compared with is what the saved model sees of the training images."""
    frozen, rows = replace(FROZEN, head=head, teach=False, epochs=2), data.splits["train"]
    assert learn(MODEL, frozen, data, rows, 0, embedder=embedder).net.head.reference is None  # of 12 images
    monkeypatch.setattr(likeness, "FEWEST", 12)
    found = learn(MODEL, frozen, data, rows, 0, embedder=embedder).net.save_pretrained(tmp_path)
    model = ZoomIn.from_pretrained(found)
    reference = model.head.reference
    assert reference is not None and len(reference.held_out) == 12
    with torch.no_grad():
        features = model(data.store.select(rows)).features
    check_mean(model, data)
    seen = model.head.seen(features)[:, : len(reference.mean)]
    torch.testing.assert_close(seen.mean(0), reference.mean, atol=1e-2, rtol=1e-2)
    assert seen.shape[1] == (2 * WIDTH if head == "gated" else 1280)
    assert sum(p > 1 / 13 for p in model.head.ood_p_values(features) if p is not None) >= 11


def test_linear_head_sees_the_whole_image(
    data: ZoomInDataModule, embedder: Embedder, root: Path, tmp_path: Path
) -> None:
    frozen = replace(FROZEN, head="linear")
    found = learn(MODEL, frozen, data, data.splits["train"], 0, embedder=embedder)
    assert found.report["reads"]["sampling"] == "exact"
    model = ZoomIn.from_pretrained(found.net.save_pretrained(tmp_path))
    [one] = explain(sorted(root.rglob("*.png"))[:1], model)
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-4, rtol=1e-4)
    rows = data.splits["train"][:3]
    logits, _ = classify(model, embedder.of(rows), torch.zeros(3, dtype=torch.int64))
    with torch.no_grad():
        expected = model(data.store.select(rows)).logits
    torch.testing.assert_close(logits, expected, atol=1e-2, rtol=1e-2)


def test_auto_chooses_where_tiles_are_few(data: ZoomInDataModule, embedder: Embedder) -> None:
    frozen = replace(FROZEN, few_tiles=16, epochs=2)
    found = learn(MODEL, frozen, data, data.splits["train"], 0, embedder=embedder)
    losses = {name: scores["log_loss"] for name, scores in found.report["held_out"].items()}
    assert set(losses) == {"gated", "linear"}
    assert found.report["head"] == min(losses, key=losses.__getitem__)
    assert found.net.config.prediction_sampling == "exact"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of lines at random places; a gap of three pixels in one of them makes the class."""
    folder = tmp_path_factory.mktemp("lines")
    rng = np.random.default_rng(1)
    for number in range(48):
        pixels, x, starts = np.zeros((320, 320), dtype=np.uint8), int(rng.integers(4, 20)), []
        while x < 305:
            width = int(rng.integers(4, 9))
            pixels[:, x : x + width] = 255
            starts.append((x, width))
            x += width + int(rng.integers(10, 30))
        y = int(rng.integers(20, 300))
        x, width = starts[int(rng.integers(len(starts)))]
        if number % 2:
            pixels[y : y + 3, x : x + width] = 0
        kind = folder / ("whole", "broken")[number % 2]
        kind.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(kind / f"{number}.png")
    return folder


def test_cells_see_what_last_features_do_not(lines: Path, cache: Path, tmp_path: Path) -> None:
    model = replace(MODEL, tile_size=160, sub_tile_size=160, tile_attention="uniform", class_names=())
    data = ZoomInDataModule(DataConfig(str(lines), val_fraction=0.0, threads=1), progress=False, model=model)
    frozen = replace(FROZEN, few_tiles=16, folds=3, cache=str(cache), trunk_below=1.0, components=64)
    frozen = replace(frozen, cell_tiles=4)
    rows = data.splits["train"]
    embedder = make_embedder(model, frozen, data)
    found = learn(model, frozen, data, rows, 0, embedder=embedder)
    auroc = {head: scores["auroc"] for head, scores in found.report["held_out"].items()}
    assert auroc["cells"] > 0.8 > max(auroc["gated"], auroc["linear"])
    assert found.report["head"] == "cells"
    assert found.net.config.features == f"cells:{TRUNK}"
    found.net.save_pretrained(tmp_path)
    saved = ZoomIn.from_pretrained(tmp_path)
    keys = torch.zeros(4, dtype=torch.int64)
    logits, drawn = classify(saved, embedder.seen_by(saved).of(rows[:4]), keys)
    with torch.no_grad():
        out = saved(data.store.select(rows[:4]))
        torch.testing.assert_close(out.logits, found.net(data.store.select(rows[:4])).logits)
    torch.testing.assert_close(logits, out.logits, atol=1e-2, rtol=1e-2)
    assert drawn.tolist() == [4] * 4
    [one] = explain(sorted((lines / "broken").glob("*.png"))[:1], load_model(tmp_path))
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-4, rtol=1e-4)
    assert one.weight.sum().item() == pytest.approx(1, abs=1e-4)
    keys = {image_key(record.image) for record in data.manifest.subset(rows)}
    made = [settings_of(path) or {} for path in cache.rglob("*.h5") if path.stem in keys]
    seconds = sum(settings["cpu_seconds"] for settings in made)
    assert embedder.seconds_of(rows) == pytest.approx(seconds)  # last features count once
    alone = learn(model, replace(frozen, head="cells"), data, rows, 0)  # embeds the cells only
    torch.testing.assert_close(alone.logits, found.logits, atol=1e-3, rtol=1e-3)


def test_cells_of_many_tiles_are_read_in_part(data: ZoomInDataModule, cache: Path) -> None:
    frozen = replace(FROZEN, head="cells", cache=str(cache))
    embedder = make_embedder(MODEL, frozen, data)
    rows = data.splits["train"]
    found = learn(MODEL, frozen, data, rows, 0, embedder=embedder)
    assert found.report["reads"] == {"sampling": "top", "n_samples": 3}
    keys = torch.arange(len(rows))
    logits, drawn = classify(found.net, embedder.of(rows), keys)
    with torch.no_grad():
        out = found.net(data.store.select(rows), keys=keys)
    torch.testing.assert_close(logits, out.logits, atol=1e-2, rtol=1e-2)
    assert drawn.tolist() == [3] * len(rows)


def test_gates_weigh_the_cells_of_a_sub_tile() -> None:
    features, head = GatedFeatures(torch.nn.Identity(), 6, 4, 5, copies=3, cells=2).eval(), GatedHead(3, 5, 2)
    crops, alpha = torch.randn(7, 2, 6), torch.rand(7).softmax(0)
    with torch.no_grad():
        said = head((alpha[:, None] * features.behind(crops.flatten(1))).sum(0, keepdim=True))[0]
        h, g = features.copies(features.project(crops.flatten(0, 1)).expand(3, 14, 4))
        attention = (g + alpha.log().repeat_interleave(2)).softmax(1)
        expected = head.weight @ torch.einsum("kn,knw->kw", attention, h).flatten() + head.bias
    torch.testing.assert_close(said, expected)


def test_cells_are_tried_where_tiles_are_drawn(lines: Path, cache: Path) -> None:
    model = replace(MODEL, tile_size=160, sub_tile_size=160, n_samples=3, class_names=())
    data = ZoomInDataModule(DataConfig(str(lines), val_fraction=0.0, threads=1), progress=False, model=model)
    frozen = replace(FROZEN, folds=3, cache=str(cache), trunk_below=1.0, components=64)
    for cell_tiles, heads in ((3, {"gated"}), (4, {"gated", "cells"})):
        changed = replace(frozen, cell_tiles=cell_tiles)
        report = learn(model, changed, data, data.splits["train"][::2], 0).report
        assert set(report["held_out"]) == heads
        assert report["reads"] == {"sampling": model.sampling, "n_samples": 3}


def test_transformers_have_no_cells() -> None:
    assert has_cells(f"timm:{TRUNK}")
    assert not has_cells("timm:vit_tiny_patch16_224")
    with pytest.raises(ConfigError, match="stride 8"):
        feature_network("cells:vit_tiny_patch16_224", side=224)


def test_needs_a_pretrained_trunk(data: ZoomInDataModule) -> None:
    with pytest.raises(ConfigError, match="trunk"):
        make_embedder(replace(MODEL, features="lenet"), FROZEN, data)
    with pytest.raises(ConfigError, match="position"):
        make_embedder(replace(MODEL, position_attention="lenet"), FROZEN, data)


# --------------------------------------------------------------------------- plan and commands


def test_plan_follows_its_rules(root: Path) -> None:
    found = plan(DataConfig(str(root)))
    assert (found.model.tile_size, found.model.n_samples, found.model.context_side) == (64, 12, 448)
    assert found.model.tile_attention == "uniform"
    assert found.summary.images == 12
    assert any("'empty'" in line for line in found.lines)
    assert any("warning    only 6 images of the class empty: expect" in line for line in found.lines)


@pytest.mark.parametrize(
    ("size", "side", "tiles", "reads"),
    [((800, 1360), 200, 28, 5), ((500, 500), 250, 4, 4), ((1958, 2196), 220, 90, 16), ((40, 90), 45, 2, 2)],
)
def test_plan_wastes_little(size: tuple[int, int], side: int, tiles: int, reads: int, tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", size[::-1]).save(folder / f"{number}.png")
    found = plan(DataConfig(str(tmp_path)))
    assert (found.model.tile_size, found.model.n_samples) == (side, reads)
    assert any(f"about {tiles} per image" in line for line in found.lines)
    assert any(line.startswith("cells      if AUROC") for line in found.lines)  # at most frozen.cell_tiles


def test_plan_leaves_no_slivers_of_images_of_several_sizes(tmp_path: Path) -> None:
    """A side that divides the median, 900, leaves an image of 904 a sub-tile of 4 pixels."""
    for number, side in enumerate((884, 892, 896, 900, 900, 904, 908, 916)):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("L", (side, side)).save(folder / f"{number}.png")
    found = plan(DataConfig(str(tmp_path)))
    assert found.model.tile_size == 229  # 4 x 229 = 916
    assert not any("at the border" in line for line in found.lines)
    asked = plan(DataConfig(str(tmp_path)), model={"tile_size": 224, "sub_tile_size": 224})
    [first] = [number for number, line in enumerate(asked.lines) if "at the border" in line]
    assert "at the border of 5 of 8 images" in asked.lines[first]
    assert "4 pixels of the image: --model.tile_size 229" in asked.lines[first + 1]


def test_quiet_leaves_the_warnings_of_a_plan(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOOMIN_QUIET", "1")
    assert TRAIN.build_late is not None
    parser = ArgumentParser()
    TRAIN.build(parser)
    TRAIN.build_late(parser, ["--data.root", str(root)])
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("warning    only 6 images")


def test_plan_follows_what_is_given(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (1360, 800)).save(folder / f"{number}.png")
    parser = run_parser()
    words = ["--data.root", str(tmp_path), "--model.sub_tile_size=224", "--model.n_samples", "4"]
    text = "\n".join(plan_defaults(parser, [*words, "--frozen.head", "cells"]))
    assert "224 pixels, about 28 per image" in text
    assert "then 4 sub-tiles: 25% of it" in text
    assert "gated, over cells of about 80 pixels" in text
    model = parser.parse_args(words).model
    assert (model.tile_size, model.sub_tile_size, model.n_samples) == (224, 224, 4)
    text = "\n".join(plan_defaults(run_parser(), [*words, "--frozen.teach", "false"]))
    assert "reading    all of them" in text


def run_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    add_run_arguments(parser)
    add_model_arguments(parser, [])
    return parser


def test_negative_class_by_name() -> None:
    assert negative_class(("exudate", "healthy"), "auto") == 1
    assert negative_class(("50", "70", "empty"), "auto") == 2
    assert negative_class(("a", "b", "c"), "auto") is None
    assert negative_class(("a", "b", "c"), "b") == 1
    with pytest.raises(DataError, match="no class"):
        negative_class(("a", "b"), "c")


def test_plan_writes_a_recipe_that_trains(root: Path, tmp_path: Path, cache: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    assert main(["plan", str(root), "--out", str(recipe)]) == 0
    assert "# N, sub-tiles drawn per image." in recipe.read_text(encoding="utf-8")
    short = [
        "--frozen.epochs",
        "2",
        "--frozen.folds",
        "2",
        "--frozen.copies",
        "1",
        "--frozen.cache",
        str(cache),
    ]
    out = tmp_path / "recipe"
    assert main(["train", "--config", str(recipe), "--out", str(out), *short]) == 0
    plain = tmp_path / "plain"
    assert main(["train", "--data.root", str(root), "--out", str(plain), *short]) == 0
    metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (out, plain)]
    assert metrics[0]["learned"] == metrics[1]["learned"]


def test_crossval_holds_folds_out(root: Path, tmp_path: Path, cache: Path) -> None:
    short = [
        "--frozen.epochs",
        "2",
        "--frozen.folds",
        "2",
        "--frozen.copies",
        "1",
        "--frozen.cache",
        str(cache),
    ]
    out = tmp_path / "cv"
    assert main(["crossval", "--data.root", str(root), "--out", str(out), "--cv.folds", "2", *short]) == 0
    result = json.loads((out / "crossval.json").read_text(encoding="utf-8"))
    assert result["pooled"]["last_epoch"]["accuracy"] is not None
    rows = (out / "out_of_fold.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 13


# --------------------------------------------------------------------------- images that cannot be read


@pytest.fixture
def broken(root: Path, tmp_path: Path) -> Path:
    """The images, one of which is cut off."""
    folder = tmp_path / "broken"
    shutil.copytree(root, folder)
    victim = folder / "square" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200])
    return folder


def test_an_unreadable_image_is_left_out(broken: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    words = ["--data.root", str(broken), "--frozen.cache", str(cache), *SHORT]
    assert main(["plan", str(broken)]) == 0
    assert main(["train", *words, "--out", str(out)]) == 0
    with (out / "skipped.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["stage"], Path(row["image"]).name) == ("train", "3.png") and row["error"]
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert [Path(name).name for name in metrics["skipped"]] == ["3.png"]
    known = json.loads((out / "splits.json").read_text(encoding="utf-8"))
    assert len(known["train"]) == 11
    strict = ["--data.max_failures", "0", "--out", str(tmp_path / "strict")]
    assert main(["train", *words, *strict]) != 0


def test_an_unreadable_image_is_in_no_fold(broken: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "cv"
    words = ["--data.root", str(broken), "--frozen.cache", str(cache), "--cv.folds", "2", *SHORT]
    assert main(["crossval", *words, "--out", str(out)]) == 0
    rows = (out / "out_of_fold.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 11 and not any("3.png" in row for row in rows)
    folds = json.loads((out / "crossval.json").read_text(encoding="utf-8"))["folds"]
    failed = [name for fold in folds for name in fold["failed"]]
    assert [Path(name).name for name in failed] == ["3.png"]
    assert "3.png" in (out / "skipped.csv").read_text(encoding="utf-8")


def test_an_image_that_vanishes_is_left_out(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vanishing"
    shutil.copytree(root, folder)
    config = DataConfig(str(folder), val_fraction=0.0, threads=1, resident="never", max_failures=1)
    data = ZoomInDataModule(config, progress=False, model=MODEL).without_unreadable()
    embedder = make_embedder(MODEL, replace(FROZEN, cache=str(tmp_path / "cache")), data)
    lost = data.manifest.records[4].image
    lost.unlink()
    rows = torch.tensor([3, 4, 5])
    assert embedder.readable(rows, data.note_unreadable).tolist() == [3, 5]
    assert list(data.failures.images("train")) == [str(lost)]
    data.manifest.records[5].image.unlink()
    with pytest.raises(DataError, match=r"data\.max_failures"):
        Embedder(ZoomIn(MODEL), data, tmp_path / "other").readable(rows, data.note_unreadable)


def test_a_missing_label_is_found_before_images_are_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number}.png,{'ab'[number % 2] if number else ''}" for number in range(8)]
    for number in range(8):
        (tmp_path / f"{number}.png").write_text("no image")
    (tmp_path / "list.csv").write_text("\n".join(["image,label", *rows]))
    config = run_config(tmp_path / "list.csv", tmp_path / "run", run_frozen=FrozenConfig(enabled=True))
    with pytest.raises(DataError, match=r"0\.png \(row 2\) has no label"):
        fit(config)
    (tmp_path / "list.csv").write_text(
        "\n".join(["image,label", *(f"{number}.png,a" for number in range(8))])
    )
    with pytest.raises(DataError, match=r"only the class 'a' in \d images\. Training needs at least two"):
        fit(config)
    assert not (tmp_path / "run").exists()
