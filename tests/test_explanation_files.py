from __future__ import annotations

import json
import zipfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from zoomin.errors import DataError
from zoomin.explanation import Explanation, Provenance, Source
from zoomin.explanation.draw import start
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.georeference import Georeference
from zoomin.inference import explain
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.storage import model_fingerprint

NET = ZoomInConfig(
    n_classes=3, tile_size=40, sub_tile_size=9, n_samples=6, class_names=("none", "cat", "d/ög")
)


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    torch.manual_seed(0)
    return ZoomIn(NET).eval()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    noise = np.random.default_rng(0).integers(256, size=(91, 130, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(path)
    return path


@pytest.fixture(scope="module")
def explanation(net: ZoomIn, image: Path) -> Explanation:
    [one] = explain(image, net, sampling="multinomial", replicates=3, seed=7)
    georeference = Georeference("EPSG:32633", (0.5, 0.0, 1000.25, 0.0, -0.5, 2000.0))
    source = replace(one.source, mpp=0.2527, bounds=Region(3, 4, 80, 70), georeference=georeference)
    return replace(one, truth="cat", source=source)


def same(one: Explanation, other: Explanation) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__]
    return all(
        torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else a == b for a, b in pairs
    )


def test_every_number_comes_back(explanation: Explanation, tmp_path: Path) -> None:
    path = explanation.save(tmp_path / "one")
    assert path == tmp_path / "one" / "explanation.json"
    assert same(Explanation.load(path), explanation)
    assert same(Explanation.load(path.parent), explanation)
    assert not list(path.parent.rglob("*.part"))


def test_the_baseline_comes_back(explanation: Explanation, tmp_path: Path) -> None:
    known = replace(explanation, mean_logits=torch.tensor([0.1, -0.2, 0.3]), is_overview_first=None)
    document = json.loads(known.save(tmp_path).read_text(encoding="utf-8"))
    assert same(Explanation.load(tmp_path), known)
    assert document["baseline"] == {
        "none": pytest.approx(0.1),
        "cat": pytest.approx(-0.2),
        "d/ög": pytest.approx(0.3),
    }
    for name, k in zip(document["classes"], range(3), strict=True):
        total = document["baseline"][name] + sum(one["added"][name] for one in document["sub_tiles"])
        assert total == pytest.approx(float(known.logits[k]), abs=1e-4)
    assert document["n_sub_tiles_read"] == len(known.places().weight)
    collection = known.to_geojson(top=0)
    added = [f["properties"]["measurements"].get("added to cat", 0) for f in collection["features"]]
    total = collection["zoomin"]["baseline"]["cat"] + sum(added)
    assert total == pytest.approx(collection["zoomin"]["logits"]["cat"], abs=1e-4)


def test_explanations_of_the_version_before_load(explanation: Explanation, tmp_path: Path) -> None:
    """They know no baseline and no context."""
    path = explanation.save(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in (
        *("baseline", "baseline_probabilities", "n_sub_tiles_read", "context"),
        "account_starts_from",
    ):
        document.pop(name)
    for one in document["sub_tiles"]:
        one.pop("added")
    path.write_text(json.dumps(document), encoding="utf-8")
    loaded = Explanation.load(path)
    assert loaded.context is None
    assert same(replace(loaded, context=explanation.context, is_overview_first=False), explanation)
    assert start(loaded).startswith("With no sub-tile read: ")
    assert torch.equal(loaded.baseline, loaded.bias)
    loaded.figure().canvas.draw()


def test_saving_again_leaves_nothing_of_the_old_one(
    net: ZoomIn, explanation: Explanation, tmp_path: Path
) -> None:
    explanation.save(tmp_path)
    for folder in (tmp_path, tmp_path / "crops"):  # by a process that was killed
        (folder / "a.png.0123abcd.part").touch()
    [other] = explain(torch.zeros(1, 3, 20, 20, dtype=torch.uint8), net, sampling="top", n_samples=1)
    other.save(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert len(list((tmp_path / "crops").iterdir())) == 2 * len(other.crops) + len(other.tile_crops)
    assert same(Explanation.load(tmp_path), other)


def test_no_torn_file_is_seen(
    explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation.save(tmp_path)
    before = (tmp_path / "arrays.npz").read_bytes()

    def torn(file: BinaryIO, **arrays: object) -> None:
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", torn)
    with pytest.raises(KeyboardInterrupt):
        explanation.save(tmp_path)
    assert (tmp_path / "arrays.npz").read_bytes() == before and not (tmp_path / "explanation.json").exists()


def test_a_single_replicate_has_no_standard_error(net: ZoomIn, tmp_path: Path) -> None:
    [one] = explain(torch.zeros(1, 3, 50, 50, dtype=torch.uint8), net, sampling="multinomial", replicates=1)
    one.save(tmp_path)
    assert json.loads((tmp_path / "explanation.json").read_text())["standard_error"] is None
    again = Explanation.load(tmp_path)
    assert again.standard_error != again.standard_error


def test_json_tells_others_what_there_is(explanation: Explanation, image: Path, tmp_path: Path) -> None:
    document = json.loads(explanation.save(tmp_path).read_text(encoding="utf-8"))
    assert document["image"] == str(image)
    assert (document["height"], document["width"], document["mpp"]) == (91, 130, 0.2527)
    assert document["file"] == {
        "path": str(image.resolve()),
        "bytes": image.stat().st_size,
        "modified_ns": image.stat().st_mtime_ns,
    }
    assert document["bounds"] == {"x": 3, "y": 4, "width": 80, "height": 70}
    assert document["georeference"]["transform"][2] == 1000.25
    assert document["prediction"] == explanation.label
    assert document["truth"] == "cat"
    assert sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert (document["sampling"], document["replicates"], document["seed"]) == ("multinomial", 3, 7)
    heaviest = document["sub_tiles"][0]
    assert heaviest["width"] == 9
    assert set(heaviest["contribution"]) == set(NET.class_names)
    with PillowImage.open(tmp_path / heaviest["crop"]) as crop:
        assert crop.size == (9, 9)
    assert document["tiles"][0]["alpha"] == float(explanation.alpha[explanation.top_tiles()[0]])
    total = sum(sub_tile["weight"] for sub_tile in document["sub_tiles"])
    assert total == pytest.approx(float(explanation.weight.sum()), abs=1e-5)  # fewer than the JSON may list


def test_arrays_are_plain_numpy(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path)
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["sub_tiles"].shape == (18, 4)
        assert arrays["contribution"].shape == (18, 3)
        assert arrays["attention"].sum() == pytest.approx(1, abs=1e-5)


def test_sub_tiles_of_even_weight_are_ordered_by_their_evidence(net: ZoomIn, tmp_path: Path) -> None:
    one = even_explanation(net)
    strength = one.places().evidence.abs()
    assert bool((strength.diff() <= 0).all())
    of_tiles = torch.zeros(len(one.tiles)).index_add(0, one.tile, one.evidence())
    assert bool((of_tiles[one.top_tiles()].abs().diff() <= 1e-6).all())
    one.save(tmp_path)
    loaded = Explanation.load(tmp_path)
    assert same(loaded, one)
    for shown in (one, loaded):
        assert_crops_lie_in_their_boxes(shown)
    headings = [part.get_suptitle() for part in loaded.figure().subfigs]
    assert any("strongest evidence (all weigh alike)" in text for text in headings)


def test_saved_before_orders_were_keeps_its_crops_at_their_boxes(net: ZoomIn, tmp_path: Path) -> None:
    """Version 1 kept crops by weight, those of equal weight by their boxes, and tiles by attention."""
    new = even_explanation(net)
    bare = replace(new, order=None, tile_order=None)
    crops = cut(bare.places().regions[: len(new.crops)])
    tile_crops = cut(bare.tiles[bare.top_tiles()][: len(new.tile_crops)])
    old = replace(bare, crops=crops, tile_crops=tile_crops, context=None)
    path = old.save(tmp_path)
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    loaded = Explanation.load(tmp_path)
    assert loaded.order is None and loaded.tile_order is None
    assert loaded.places().regions.tolist() != new.places().regions.tolist()
    assert_crops_lie_in_their_boxes(loaded)


@pytest.mark.parametrize("name", ["order", "tile_order"])
def test_an_order_that_misses_a_place_is_told(explanation: Explanation, tmp_path: Path, name: str) -> None:
    wrong: Any = {name: torch.zeros_like(getattr(explanation, name))}
    replace(explanation, **wrong).save(tmp_path)
    with pytest.raises(DataError, match=f"{name} does not name each of"):
        Explanation.load(tmp_path)


PIXELS = torch.from_numpy(np.random.default_rng(3).integers(256, size=(3, 80, 120), dtype=np.uint8))


def even_explanation(net: ZoomIn) -> Explanation:
    """Of an image read whole with the same attention everywhere."""
    even = deepcopy(net)
    for module in (even.tile_attention, even.position_attention):
        for parameter in module.parameters():
            torch.nn.init.zeros_(parameter)
    [one] = explain(PIXELS[None], even, sampling="exact")
    return one


def cut(boxes: Tensor) -> Tensor:
    return ArrayImage(PIXELS).read([Region(*box) for box in boxes.long().tolist()], 1.0)


def assert_crops_lie_in_their_boxes(one: Explanation) -> None:
    assert torch.equal(one.crops, cut(one.places().regions[: len(one.crops)]))
    assert torch.equal(one.tile_crops, cut(one.tiles[one.top_tiles()][: len(one.tile_crops)]))


def test_a_hundred_thousand_sub_tiles(explanation: Explanation, tmp_path: Path) -> None:
    n = 100_000
    pick = torch.arange(n) % len(explanation.sub_tiles)
    boxes = torch.stack([torch.arange(n) * 1.0, pick * 1.0, pick + 9.0, pick + 9.0], 1).double()
    names = "weight contribution tile position replicate".split()
    picked: Any = {name: getattr(explanation, name)[pick] for name in names}
    large = replace(explanation, sub_tiles=boxes, order=None, **picked)
    large.save(tmp_path)
    assert (tmp_path / "explanation.json").stat().st_size < 100_000
    assert (tmp_path / "arrays.npz").stat().st_size < 5_000_000
    assert same(Explanation.load(tmp_path), large)


def test_fractions_of_pixels_survive(explanation: Explanation, tmp_path: Path) -> None:
    scaled = replace(explanation, tile_size=40 * 1.979, tiles=explanation.tiles * 1.979)
    scaled.save(tmp_path)
    assert same(Explanation.load(tmp_path), scaled)
    assert json.loads((tmp_path / "explanation.json").read_text())["tiles"][0]["width"] == 40 * 1.979


@pytest.mark.parametrize("name", ["arrays.npz", "overview.png", "crops/sub_tile_01.png"])
def test_a_missing_file_is_named(explanation: Explanation, tmp_path: Path, name: str) -> None:
    explanation.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{Path(name).name}.*missing.*zoomin explain"):
        Explanation.load(tmp_path)


def test_nothing_is_read_beyond_the_folder_and_the_bytes(explanation: Explanation, tmp_path: Path) -> None:
    path = explanation.save(tmp_path / "one")
    text = path.read_text()
    (tmp_path / "other.png").write_bytes((tmp_path / "one" / "overview.png").read_bytes())
    path.write_text(text.replace('"overview.png"', '"../other.png"'))
    with pytest.raises(DataError, match="outside the folder"):
        Explanation.load(path)
    path.write_text(text)
    arrays = tmp_path / "one" / "arrays.npz"
    with zipfile.ZipFile(arrays) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(arrays, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:10] + header + content[128:] if name == "logits.npy" else content)
    with pytest.raises(DataError, match="declares the shape"):
        Explanation.load(path)


def test_a_torn_header_and_missing_tiles_are_damage(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path)
    path = tmp_path / "arrays.npz"
    with np.load(path) as arrays:
        whole = dict(arrays)
    for name, value in (("tile", 99), ("tile", -1), ("position", 10**12)):
        np.savez_compressed(path, **{**whole, name: np.full_like(whole[name], value)})
        with pytest.raises(DataError, match=f"{name} numbers one"):
            Explanation.load(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': ('<f4'\n")
    with pytest.raises(DataError, match="Explain the image again"):
        Explanation.load(tmp_path)


@pytest.mark.parametrize("name", ["arrays.npz", "overview.png", "explanation.json"])
def test_a_damaged_file_is_told(explanation: Explanation, tmp_path: Path, name: str) -> None:
    explanation.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    with pytest.raises(DataError, match="Explain the image again"):
        Explanation.load(tmp_path)


def test_other_folders_and_versions_are_refused(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no explanation here"):
        Explanation.load(tmp_path)
    path = explanation.save(tmp_path)
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(DataError, match="version 3 of the format"):
        Explanation.load(tmp_path)
    path.write_text("{}")
    with pytest.raises(DataError, match="not an explanation"):
        Explanation.load(tmp_path)


def test_source_knows_what_became_of_the_file(tmp_path: Path, net: ZoomIn) -> None:
    path = tmp_path / "a.png"
    PillowImage.new("RGB", (50, 40)).save(path)
    [one] = explain(path, net)
    assert one.source.changed() is None
    PillowImage.new("RGB", (50, 41), (9, 9, 9)).save(path)
    assert one.source.changed() == "changed"
    path.unlink()
    assert one.source.changed() == "gone"
    assert Source().changed() is None


def test_provenance_is_that_of_the_prediction(net: ZoomIn, explanation: Explanation) -> None:
    fingerprint = model_fingerprint(net, net.config)
    assert explanation.provenance == Provenance(fingerprint, "multinomial", 6, 3, 7)
    assert len(fingerprint) == 16
    other = ZoomIn(NET)
    assert model_fingerprint(other, other.config) != fingerprint
    other.load_state_dict(net.state_dict())
    assert model_fingerprint(other, other.config) == fingerprint
    assert model_fingerprint(other, replace(NET, tile_size=41)) != fingerprint
    assert model_fingerprint(other, replace(NET, chunk_size=1)) == fingerprint
