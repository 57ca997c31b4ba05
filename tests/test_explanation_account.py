"""Accounts of answers: with nothing seen, what the overview adds, what each sub-tile adds; their sum."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoomin.explanation import Explanation, overlay_figure
from zoomin.explanation.draw import start, start_note
from zoomin.images.array import ArrayImage
from zoomin.inference import explain
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.networks import GatedHead, LinearHead
from zoomin.model.targets import TARGETS

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
NAMES = {
    "classes": ("none", "cat", "dog"),
    "labels": ("red", "blue"),
    "value": ("area",),
    "grade": ("0", "1", "2", "3"),
    "survival": ("log_hazard",),
}
HEADS = {
    "plain": {},
    "view": {"context_side": 32},
    "gated": {"gate_copies": 3, "normalize_features": False},
    "overview": {
        "gate_copies": 3,
        "gate_overview": True,
        "normalize_features": False,
        "tile_attention": "pyramid:tf_efficientnet_lite0",
    },
}


def network(head: str, kind: str = "classes", names: tuple[str, ...] | None = None) -> ZoomIn:
    """A network with random weights that knows a mean of training images."""
    torch.manual_seed(0)
    names = names or NAMES[kind]
    config = ZoomInConfig(
        n_classes=len(names),
        class_names=names,
        target=kind,  # type: ignore[arg-type]
        value_mean=7.0,
        value_std=3.0,
        tile_size=40,
        sub_tile_size=9,
        n_samples=5,
        gate_components=8,
        gate_width=6,
        **HEADS[head],  # type: ignore[arg-type]
    )
    net = ZoomIn(config).eval()
    net.head.keep_mean(torch.randn(20, net.head.in_features).abs())
    return net


def picture(seed: int = 0, height: int = 90, width: int = 130) -> ArrayImage:
    generator = torch.Generator().manual_seed(seed)
    return ArrayImage(
        torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8), name="p"
    )


def check_sums(one: Explanation) -> None:
    """All parts sum to the logits, in the tensors, in the account and in what is written."""
    beside = torch.zeros_like(one.logits) if one.overview_added is None else one.overview_added
    torch.testing.assert_close(one.baseline + beside + one.added.sum(0), one.logits, **CLOSE)
    torch.testing.assert_close(one.baseline + beside + one.places().added.sum(0), one.logits, **CLOSE)
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, **CLOSE)
    for label in one.classes:
        account = one.account(label)
        assert account.start + account.overview + float(account.added.sum()) == pytest.approx(
            account.end, abs=1e-3
        )
    written = one.to_geojson(top=0)["zoomin"]
    account = one.account()
    assert written["evidence at the start"] == account.start
    assert written.get("evidence of the overview", 0) == account.overview


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("head", list(HEADS))
def test_every_head_and_target_adds_up(head: str, kind: str, tmp_path: Path) -> None:
    net = network(head, kind)
    images = [picture(1), picture(2, 39, 41)]
    for one in explain(images, net, sampling="systematic", replicates=3):
        assert one.mean_logits is not None
        torch.testing.assert_close(one.baseline, net.head(net.head.mean_feature).detach())
        assert (one.overview_added is not None) == (head in ("view", "overview"))
        check_sums(one)
        check_sums(Explanation.load(one.save(tmp_path)))
        document = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
        assert document["account_starts_from"] == "training mean"
        for name in one.classes:
            parts = [document["baseline"][name], document.get("overview_added", {}).get(name, 0.0)]
            parts += [place["added"][name] for place in document["sub_tiles"]]
            assert sum(parts) == pytest.approx(document["logits"][name], abs=1e-3)


@pytest.mark.parametrize("mode", ["exact", "multinomial", "top"])
def test_two_classes_add_up_in_every_sampling(mode: str) -> None:
    for head in HEADS:
        [one] = explain([picture()], network(head, names=("no", "yes")), sampling=mode)
        check_sums(one)


def test_the_account_is_drawn_with_the_overview() -> None:
    [one] = explain([picture()], network("overview"))
    assert one.overview_added is not None
    [account] = [axes for axes in overlay_figure(one).findobj() if _ticks(axes)[-1:] == ["answer"]]
    assert _ticks(account)[:3] == ["nothing\nseen", "overview", "1"]
    first, overview = account.patches[-2], account.patches[0]
    assert first.get_height() == pytest.approx(one.account().start)
    assert overview.get_height() == pytest.approx(one.account().overview)
    assert "; with the overview: " in start(one) and start(one).startswith("With nothing seen: ")
    assert start_note(one) == ""
    one.figure().canvas.draw()


def _ticks(artist: object) -> list[str]:
    found = getattr(artist, "get_xticklabels", list)()
    return [text.get_text() for text in found]


def test_an_image_of_mean_features_adds_nothing() -> None:
    """Copies that attend to different sub-tiles each have their own share in what is usual."""
    torch.manual_seed(0)
    head = GatedHead(2, 3, 4)
    mean = torch.rand(1, 6)
    head.keep_mean(mean)
    torch.testing.assert_close(head(head.mean_feature), head.weight @ mean[0] + head.bias)
    gates = torch.tensor([[5.0, 1.0], [1.0, 9.0], [2.0, 2.0]])
    crops = torch.cat([gates[..., None] * mean.view(1, 2, 3), gates[..., None]], 2).flatten(1)
    weight = torch.tensor([0.5, 0.3, 0.2])
    whole = (weight @ crops).expand(3, -1)
    contribution, total = head.contributions(crops, weight, whole)
    shares, parts = head.shares(crops, weight, whole), head.mean_parts(8)
    torch.testing.assert_close(shares.sum(0), torch.ones(2))
    torch.testing.assert_close(shares.mean(1), total)
    assert parts is not None
    torch.testing.assert_close(contribution, shares @ parts)


def test_the_mean_of_gated_attention_is_that_of_what_the_layer_sees() -> None:
    torch.manual_seed(0)
    for head in (GatedHead(3, 5, 2, overview=4), LinearHead(19, 2)):
        seen = torch.randn(7, 19)
        assert head.mean_feature is None and head.mean_parts(15) is None
        head.keep_mean(seen)
        torch.testing.assert_close(head.seen(head.mean_feature[None])[0], seen.mean(0))


def test_models_that_know_no_mean_say_so(tmp_path: Path) -> None:
    """As earlier versions saved them; so do the explanations that these wrote."""
    for head, first, words in (
        ("overview", "overview", "With nothing seen but the overview: "),
        ("gated", "bias", "With no sub-tile read: "),
    ):
        net = network(head)
        net.head.mean_feature = None
        [one] = explain([picture()], ZoomIn.from_pretrained(net.save_pretrained(tmp_path / head)))
        assert one.mean_logits is None and one.overview_added is None and one.usual is None
        assert torch.equal(one.baseline, one.bias)
        check_sums(one)
        assert start(one).startswith(words) and start_note(one)
        path = one.save(tmp_path / f"{head} explained")
        loaded = Explanation.load(path)
        assert start(loaded) == start(one)
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document.pop("account_starts_from") == first
        path.write_text(json.dumps(document), encoding="utf-8")
        old = Explanation.load(path)
        assert start(old).startswith("With no sub-tile read: ")
        check_sums(old)
        overlay_figure(old).canvas.draw()
        old.figure().canvas.draw()


def test_explanations_of_earlier_versions_keep_their_account() -> None:
    """They knew the mean, and spread what the overview adds over the sub-tiles."""
    [one] = explain([picture()], network("view"))
    old = replace(one, usual=None, overview_added=None)
    check_sums(old)
    assert torch.equal(old.baseline, one.baseline)


def test_text_fits_the_pictures() -> None:
    """Many small steps are written smaller, and the note has a line of its own."""
    net = network("overview")
    with torch.no_grad():
        net.head.weight *= 1e-3
    [one] = explain([picture()], net, n_samples=16)
    figure = overlay_figure(one)
    figure.canvas.draw()
    [account] = [axes for axes in figure.findobj() if _ticks(axes)[-1:] == ["answer"]]
    boxes = [text.get_window_extent() for text in account.texts]
    assert len(boxes) == 14
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
    net.head.mean_feature = None
    [one] = explain([picture()], net)
    figure = one.figure()
    figure.canvas.draw()
    heads = [text for text in figure.findobj() if "is not known" in str(getattr(text, "get_text", str)())]
    assert heads and all(text.get_window_extent().x1 <= figure.bbox.x1 for text in heads)
