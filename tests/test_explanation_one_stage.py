"""Explanations of one-stage attention sampling: one attention map over the whole image, no tiles."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from test_explanation_account import NAMES, check_sums, picture
from training_examples import make_images, run_config
from zoomin import explain, load_model, predict
from zoomin.annotations.mask import MaskAnnotation
from zoomin.app.cli import main
from zoomin.app.viewer.collect import OTHER_MODEL, collect
from zoomin.app.viewer.describe import describe, overview
from zoomin.baselines import CNN, CNNConfig
from zoomin.baselines.ats import ATS, ATSConfig
from zoomin.errors import ConfigError
from zoomin.explanation import Explanation, overlay_figure
from zoomin.explanation.draw import counts
from zoomin.explanation.index import read_index, write_index
from zoomin.geometry import Region
from zoomin.inference.attention_on_roi import explanation_on_roi
from zoomin.model.targets import TARGETS
from zoomin.training.fit import fit

MODES = ["exact", "systematic", "multinomial", "top"]


def network(kind: str = "classes", *, known: bool = True) -> ATS:
    torch.manual_seed(0)
    names = NAMES[kind]
    net = ATS(
        ATSConfig(
            scale=0.2,
            sub_tile_size=9,
            n_samples=6,
            n_classes=len(names),
            class_names=names,
            target=kind,  # type: ignore[arg-type]
            value_mean=3.0,
            value_std=2.0,
        )
    ).eval()
    with torch.no_grad():
        last = [m for m in net.attention.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        last.weight *= 20
    if known:
        net.head.keep_mean(torch.rand(9, net.head.in_features))
    return net


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("known", [True, False])
def test_every_sampling_adds_up_and_answers_as_predict_does(mode: str, known: bool) -> None:
    net = network(known=known)
    images = [picture(1), picture(2, 80, 44), picture(3)]
    rows = predict(images, net, sampling=mode, replicates=3, seed=4)
    for row, one in zip(rows, explain(images, net, sampling=mode, replicates=3, seed=4), strict=True):
        check_sums(one)
        assert (one.mean_logits is not None) == known
        assert row.label == one.prediction
        assert row.probabilities == pytest.approx(tuple(one.probabilities.tolist()), abs=1e-5)
        assert row.standard_error == pytest.approx(one.standard_error, nan_ok=True)


@pytest.mark.parametrize("kind", list(TARGETS))
def test_every_target_adds_up(kind: str, tmp_path: Path) -> None:
    [one] = explain([picture()], network(kind))
    check_sums(one)
    loaded = Explanation.load(one.save(tmp_path))
    assert loaded.one_stage
    check_sums(loaded)


def test_the_map_is_the_attention_over_the_image() -> None:
    net, image = network(), picture(1)
    [one] = explain([image], net, sampling="exact")
    view = image.read([Region(0, 0, image.width, image.height)], 0.2).float()
    logits = net.attention((view - net.mean) / net.std)[0].detach()
    torch.testing.assert_close(one.beta[0], logits.flatten().softmax(0).view(logits.shape))
    rows, columns = logits.shape
    assert one.tiles.tolist() == [[0, 0, image.width, image.height]]
    assert one.attention.tolist() == [[1.0]]
    heat = one.heat_map(rows, columns)
    torch.testing.assert_close(heat, one.beta[0] * rows * columns, rtol=1e-4, atol=1e-5)
    centre = one.sub_tiles[:, :2] + one.sub_tiles[:, 2:] / 2
    cell = torch.stack([(one.position % columns) + 0.5, one.position // columns + 0.5], 1).double()
    expected = cell * torch.tensor([image.width / columns, image.height / rows])
    assert bool(((centre - expected).abs() <= 1).all())
    assert one.weight == pytest.approx(one.beta.flatten()[one.position], abs=1e-6)


def test_the_attention_is_held_against_the_roi() -> None:
    [one] = explain([picture()], network(), sampling="exact")
    mask = torch.zeros(90, 130, dtype=torch.bool)
    mask[:, :65] = True
    found = explanation_on_roi(one, MaskAnnotation(mask.numpy(), 90, 130))
    assert found is not None
    assert found.area == pytest.approx(0.5, abs=1e-3)
    half = one.heat_map(1, 2)[0] / 2
    assert found.attention == pytest.approx(float(half[0]), abs=0.02)


def test_pictures_and_files_show_no_tiles(tmp_path: Path) -> None:
    [one] = explain([picture()], network(), sampling="systematic")
    read = len(one.places().weight)
    positions = one.beta[0].numel()
    assert counts(one) == f"{read} sub-tiles read, of {positions:,} positions"
    document = json.loads(one.save(tmp_path).read_text(encoding="utf-8"))
    assert (document["stages"], document["tiles"], document["n_tiles_drawn"]) == (1, [], 0)
    assert document["map_rows"] * document["map_columns"] == positions
    assert len(document["sub_tiles"]) == read
    features = one.to_geojson()["features"]
    assert {f["properties"]["name"] for f in features} == {f"sub-tile {k + 1}" for k in range(read)}
    assert all("attention of the tile" not in f["properties"]["measurements"] for f in features)
    cells = one.to_geojson(attention_cells=True)["features"][read:]
    assert len(cells) == int((one.beta * positions > 1).sum())
    figure = one.figure()
    figure.canvas.draw()
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert f"attention over {one.beta.shape[1]} x {one.beta.shape[2]} positions" in titles
    texts = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert len(figure.subfigs) == 2 and not any("Tiles" in text for text in texts)
    overlay_figure(one).canvas.draw()


def test_a_run_is_trained_explained_reported_and_viewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = make_images(tmp_path / "images", n=12), tmp_path / "run"
    model = ATSConfig(scale=0.5, sub_tile_size=16, n_samples=4, features="lenet_released")
    fit(replace(run_config(root, run, epochs=1), model=model), progress=False)
    images = [str(path) for path in sorted(root.rglob("*.png"))[:3]]
    words = ["explain", *images, "--run", str(run)]
    assert main(words) == 0
    assert "3 of 3 images explained" in capsys.readouterr().out
    assert main([*words, "--resume", "true"]) == 0
    assert "3 of 3 images explained, 3 of them before" in capsys.readouterr().out
    collection = collect(run)
    assert collection.doubt == ""
    index = read_index(run / "explanations")
    write_index(replace(index, model="0" * 16), tmp_path / "other")
    assert overview(collect(run, explanations=tmp_path / "other"), "")["doubt"] == OTHER_MODEL
    folder = collection.shown[0].explanation
    assert folder is not None
    expected = {"panel.png", "overlay.png", "top.png", "explanation.geojson", "attention.ome.tif"}
    assert expected <= {path.name for path in folder.iterdir()}
    shown = describe(collection, 0, "")
    assert shown["explanation"]["stages"] == 1 and shown["explanation"]["tiles"] == 0
    assert shown["explanation"]["account"]["start_words"] == "With nothing seen"
    one = Explanation.load(folder)
    check_sums(one)
    head = load_model(run).head
    assert head.mean_feature is not None
    torch.testing.assert_close(one.baseline, head(head.mean_feature).detach())
    assert main(["report", "--run", str(run), "--images", "2", "--panels", "true"]) == 0
    page = next(run.glob("report*.html")).read_text(encoding="utf-8")
    assert "With nothing seen: " in page and "without explanations" not in page
    shutil.rmtree(run / "explanations")
    assert main(["report", "--run", str(run), "--images", "2"]) == 0
    assert len(collect(run).shown) == 2  # what a report explains is kept, of this kind of model too


def test_models_without_sub_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"CNN draws no sub-tiles to explain.*of the baseline ats"):
        explain([picture()], CNN(CNNConfig()))
