from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from viewer_examples import example_explanation
from zoomin.annotations.mask import MaskAnnotation
from zoomin.errors import ConfigError
from zoomin.explanation import Explanation, overlay_figure, overlay_figures
from zoomin.explanation.build import CROPS
from zoomin.explanation.draw import NumberLabel, colour_words, number_labels, signed, write_number
from zoomin.explanation.palette import heat_rgba
from zoomin.images.array import ArrayImage
from zoomin.inference import explain, predict
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.targets import target_named

MODES = ["exact", "systematic", "multinomial", "top"]


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    torch.manual_seed(0)
    config = ZoomInConfig(
        n_classes=3, tile_size=40, sub_tile_size=9, n_samples=6, class_names=("none", "cat", "dog")
    )
    return ZoomIn(config).eval()


def picture(height: int = 90, width: int = 130, seed: int = 0, name: str = "picture") -> ArrayImage:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
    return ArrayImage(pixels, name=name)


@pytest.fixture(scope="module")
def explanation(net: ZoomIn) -> Explanation:
    return explain(picture(), net, sampling="systematic", replicates=3)[0]


@pytest.mark.parametrize("mode", MODES)
def test_contributions_and_bias_sum_to_the_logits(net: ZoomIn, mode: str) -> None:
    images = [picture(seed=1), picture(41, 39, seed=2), picture(20, 200, seed=3)]
    for one in explain(images, net, sampling=mode, replicates=4):
        torch.testing.assert_close(one.contribution.sum(0) + one.bias, one.logits, atol=1e-4, rtol=0)
        places = one.places()
        torch.testing.assert_close(places.contribution.sum(0) + one.bias, one.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_added_and_the_baseline_sum_to_the_logits(net: ZoomIn, mode: str) -> None:
    net.head.mean_feature = torch.linspace(-1, 1, net.head.in_features)
    try:
        images = [picture(seed=1), picture(41, 39, seed=2), picture(20, 200, seed=3)]
        explained = explain(images, net, sampling=mode, replicates=4)
        expected = net.head(net.head.mean_feature).detach()
    finally:
        net.head.mean_feature = None
    for one in explained:
        torch.testing.assert_close(one.baseline, expected)
        assert not torch.allclose(one.baseline, one.bias)
        close = {"atol": 1e-4, "rtol": 0}
        torch.testing.assert_close(one.added.sum(0) + one.baseline, one.logits, **close)
        torch.testing.assert_close(one.places().added.sum(0) + one.baseline, one.logits, **close)
        torch.testing.assert_close(one.contribution.sum(0) + one.bias, one.logits, **close)
        for label in one.classes:
            start, overview, added, end = one.account(label)
            assert overview == 0
            assert start + float(added.sum()) == pytest.approx(end, abs=1e-4)


def test_without_a_mean_feature_the_account_starts_from_the_bias(explanation: Explanation) -> None:
    assert torch.equal(explanation.baseline, explanation.bias)
    assert torch.equal(explanation.added, explanation.contribution)


def test_places_are_found_once(explanation: Explanation) -> None:
    assert explanation.places() is explanation.places()


@pytest.mark.parametrize("mode", MODES)
def test_explains_what_predict_answers(net: ZoomIn, mode: str) -> None:
    images = [picture(seed=1), picture(41, 39, seed=2)]
    rows = predict(images, net, sampling=mode, seed=5)
    for row, one in zip(rows, explain(images, net, sampling=mode, seed=5), strict=True):
        assert row.label == one.label
        assert row.probabilities == pytest.approx(tuple(one.probabilities.tolist()), abs=1e-6)


def test_evidence_is_complete(explanation: Explanation) -> None:
    one = explanation
    assert one.size == (90, 130)
    assert one.overview.shape == (3, 90, 130)
    assert one.attention.shape == (3, 4)
    assert float(one.attention.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(one.beta.sum((1, 2)), torch.ones(len(one.tiles)))
    rows, columns = (one.tiles[:, :2] // 40).long().flip(1).unbind(1)
    torch.testing.assert_close(one.alpha, one.attention[rows, columns])
    assert len(one.sub_tiles) == 3 * 6
    assert bool((one.sub_tiles[:, 2:] == 9).all())


def test_places_are_distinct_and_heaviest_first(explanation: Explanation) -> None:
    places = explanation.places()
    assert len({tuple(region) for region in places.regions.tolist()}) == len(places.regions)
    assert bool((places.weight.diff() <= 0).all())
    assert float(places.weight.sum()) == pytest.approx(float(explanation.weight.sum()), abs=1e-5)
    assert len(explanation.crops) == min(CROPS, len(places.regions))


def test_crops_are_the_pixels_of_the_heaviest_places(explanation: Explanation) -> None:
    x, y, width, height = explanation.places().regions[0].long().tolist()
    pixels = torch.nn.functional.pad(picture().pixels, (9, 9, 9, 9), value=255)
    expected = pixels[:, y + 9 : y + 9 + height, x + 9 : x + 9 + width]
    assert torch.equal(explanation.crops[0], expected)
    assert explanation.context is not None
    assert torch.equal(explanation.context[0][:, 9:18, 9:18], expected)


def test_evidence_speaks_for_and_against(explanation: Explanation) -> None:
    assert explanation.evidence().shape == (18,)
    total = sum(explanation.evidence(name) for name in explanation.classes)
    assert isinstance(total, Tensor)
    torch.testing.assert_close(total, torch.zeros(18), atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match=r"unknown class 'bird'.*none, cat, dog"):
        explanation.evidence("bird")


def test_heat_map_is_attention_relative_to_the_mean(net: ZoomIn) -> None:
    # 80 x 120: whole tiles, all of them enumerated, a map pixel a position.
    [one] = explain(picture(80, 120), net, sampling="exact")
    rows, columns = net.map_size
    heat = one.heat_map(2 * rows, 3 * columns)
    assert float(heat.mean()) == pytest.approx(1, abs=1e-4)
    first = one.alpha[0] * one.beta[0] * 6 * rows * columns
    torch.testing.assert_close(heat[:rows, :columns], first)


def test_heat_map_spreads_tiles_that_were_not_drawn(net: ZoomIn) -> None:
    [one] = explain(picture(80, 120), net, sampling="top", n_samples=1)
    assert len(one.tiles) == 1
    rows, columns = net.map_size
    heat = one.heat_map(2 * rows, 3 * columns)
    drawn = int(one.tiles[0, 1]) // 40, int(one.tiles[0, 0]) // 40
    other = (1 - drawn[0], drawn[1])
    block = heat[other[0] * rows : (other[0] + 1) * rows, other[1] * columns : (other[1] + 1) * columns]
    torch.testing.assert_close(block, (one.attention[other] * 6).expand_as(block))


def test_overview_of_a_large_image_is_small(net: ZoomIn) -> None:
    [one] = explain(picture(40, 1600), net, sampling="top")
    assert one.overview.shape == (3, 26, 1024)


def test_picture_shows_everything(explanation: Explanation) -> None:
    mask = torch.zeros(90, 130, dtype=torch.bool)
    mask[20:40, 50:70] = True
    figure = overlay_figure(explanation, MaskAnnotation(mask.numpy(), 90, 130))
    part = figure.subfigs[0]
    image, _, crops, _ = part.axes
    assert len(image.patches) == min(10, len(explanation.places().regions))
    assert f"{len(explanation.places().weight)} sub-tiles read in" in image.get_title()
    assert "ROI" in image.get_title()
    [roi] = [artist for artist in image.collections if type(artist).__name__ == "QuadContourSet"]
    assert roi.get_zorder() < image.images[1].get_zorder()  # the attention lies above it
    texts = [text.get_text() for text in crops.texts]
    assert {"1", f"{float(explanation.places().weight[0]):.1%}"} <= set(texts)
    assert set(signed(explanation.places().evidence[:10].tolist())) <= set(texts)
    assert "With no sub-tile read:" in part.texts[1].get_text()
    assert explanation.label in part.texts[0].get_text()


def test_a_scale_bar_covers_nothing(explanation: Explanation) -> None:
    figure = overlay_figure(explanation)
    figure.canvas.draw()
    image, legend, crops, _ = figure.subfigs[0].axes
    [bar] = image.lines
    assert legend.get_tightbbox().y1 < bar.get_window_extent().y0
    assert bar.get_window_extent().y1 < image.get_window_extent().y0
    pictures = [shown.get_window_extent() for shown in crops.images]
    assert len(pictures) == len(crops.lines) == min(10, len(explanation.crops))
    for k, line in enumerate(crops.lines):
        assert not any(line.get_window_extent().overlaps(picture) for picture in pictures)
        assert line.get_window_extent().y1 < pictures[k].y0
    texts = [text.get_window_extent() for part in (figure.subfigs[0], crops) for text in part.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(texts) for b in texts[:k])


def adjoining() -> Explanation:
    """Six sub-tiles side by side that fill a corner of the image, the first of them a tile."""
    one = example_explanation(picture(240, 320), (150, 130), tile_size=80, sub_tile_size=80, cells=4)
    grid = [[x, y, 80, 80] for y in (80, 160) for x in (80, 160, 240)]
    return replace(one, sub_tiles=torch.tensor(grid, dtype=one.sub_tiles.dtype))


def test_numbers_of_boxes_that_touch_stand_within_their_own() -> None:
    one = adjoining()
    figure = overlay_figure(one)
    figure.canvas.draw()
    axes = figure.subfigs[0].axes[0]
    numbers = {text.get_text(): text.get_window_extent() for text in axes.texts}
    regions = one.places().regions.tolist()
    assert {label.is_inside for label in number_labels(one)} == {True} and len(regions) == 6
    for k, (x, y, width, height) in enumerate(regions):
        place = numbers[str(k + 1)].transformed(axes.transData.inverted())
        assert x <= place.x0 < place.x1 <= x + width
        assert y <= min(place.y0, place.y1) and max(place.y0, place.y1) <= y + height


def test_tiny_boxes_that_touch_share_their_numbers() -> None:
    one = adjoining()
    assert [label.text for label in number_labels(one)] == ["1", "2", "3", "4", "5", "6"]
    assert len(number_labels(one, legible=81.0)) < 6


@pytest.mark.parametrize(("at", "side"), [((0, 0), "left"), ((40, 40), "right")])
def test_a_number_stands_within_a_box_that_fills_the_picture(at: tuple[int, int], side: str) -> None:
    figure = Figure()
    axes = figure.add_subplot(xlim=(0, 80), ylim=(80, 0))
    box = [float(at[0]), float(at[1]), 80.0, 80.0]
    write_number(axes, box, NumberLabel(0, "1", is_inside=False), "black")
    [text] = axes.texts
    assert text.get_ha() == side


@pytest.mark.parametrize("name", ["/data/of/a/study/2031/images/case_17.png", "/data/" + "Slide_2031" * 9])
def test_headings_are_whole(explanation: Explanation, name: str) -> None:
    figure = overlay_figure(replace(explanation, image=name, truth="dog"))
    heading = figure.subfigs[0].texts[0]
    assert not heading.get_text().startswith("/data")
    figure.canvas.draw()
    assert heading.get_window_extent().x1 <= figure.bbox.width


def test_colours_are_told_in_the_words_of_the_target() -> None:
    cases = [
        (target_named("classes", ("cat", "dog")), "dog", "orange: for 'dog'; blue: against it"),
        (
            target_named("survival", ("log_hazard",)),
            "log_hazard",
            "orange: raises log_hazard; blue: lowers it",
        ),
    ]
    for kind, label, words in cases:
        assert colour_words(SimpleNamespace(kind=kind, label=label)) == words
    assert signed([0.004, -0.004, 0.9]) == ["0.00", "0.00", "+0.90"]


def test_colours_of_the_attention_compare_between_pictures() -> None:
    alike = heat_rgba(np.full((1, 1), 30.0, dtype=np.float32))
    among = heat_rgba(np.array([[0.5, 30.0, 90.0, 1e6]], dtype=np.float32))
    assert (alike[0, 0] == among[0, 1]).all()
    assert among[0, 0, 3] == 0
    light = among[0, 1:, :3].astype(int).sum(1)
    assert (np.diff(light) > 0).all() and (np.diff(among[0, :, 3].astype(int)) > 0).all()


def test_picture_without_roi_and_with_several_rows(explanation: Explanation, net: ZoomIn) -> None:
    other = explain(picture(300, 60, name="x" * 90), net, sampling="exact", exact_budget=10)[0]
    figure = overlay_figures([explanation, other], [None, None])
    assert len(figure.subfigs) == 2
    assert "ROI" not in figure.subfigs[0].axes[0].get_title()
    assert len(figure.subfigs[1].texts[0].get_text()) < 100
    figure.canvas.draw()
