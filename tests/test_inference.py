from __future__ import annotations

import csv
import gc
import json
import math
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from slides import picture, pyramid
from zoomin.data import opening
from zoomin.data.manifest import Manifest, Record, read_manifest, write_manifest
from zoomin.errors import CheckpointError, ConfigError, DataError, ImageError
from zoomin.images.allocator import release_memory
from zoomin.images.array import ArrayImage
from zoomin.images.cache import HANDLES
from zoomin.images.open_image import open_image
from zoomin.images.streamed import StreamedImages
from zoomin.inference import (
    InferenceConfig,
    Prediction,
    answer_standard_error,
    evaluate,
    evaluation_manifest,
    explain,
    find_images,
    iter_predictions,
    load_model,
    pipeline,
    predict,
    write_predictions,
)
from zoomin.inference.config import InferenceSettings
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.targets import target_of

CONFIG = ZoomInConfig(tile_size=40, sub_tile_size=9, n_samples=6, class_names=("cat", "dog"))


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    torch.manual_seed(0)
    model = ZoomIn(CONFIG).eval()
    with torch.no_grad():  # sharp attention and a decided head, so that sampling matters
        model.head.weight.mul_(20)
        for network in (model.tile_attention, model.position_attention):
            for parameter in network.parameters():
                parameter.mul_(2)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of many sizes: smaller than a tile, non-square, and of several tiles."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(80, 80), (30, 20), (100, 61), (41, 200), (120, 90), (8, 8)]):
        blocks = rng.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
        pixels = blocks.repeat(10, 0).repeat(10, 1)[:height, :width]
        PillowImage.fromarray(pixels).save(root / f"{number}.png")
    return root


def close(one: Prediction, other: Prediction) -> bool:
    numbers = (*one.probabilities, one.standard_error), (*other.probabilities, other.standard_error)
    rest = [replace(row, probabilities=(), standard_error=0.0) for row in (one, other)]
    return rest[0] == rest[1] and numbers[0] == pytest.approx(numbers[1], abs=2e-5)


@pytest.mark.parametrize("sampling", ["auto", "exact", "systematic", "multinomial", "top"])
def test_batch_threads_and_order_change_nothing(net: ZoomIn, folder: Path, sampling: str) -> None:
    images = find_images([folder])
    first = predict(images, net, sampling=sampling, batch_size=1, threads=1, seed=3)
    assert [row.image for row in first] == [str(path) for path in images]
    for batch_size, threads in ((3, 1), (3, 4), (8, 8)):
        again = predict(images, net, sampling=sampling, batch_size=batch_size, threads=threads, seed=3)
        assert all(close(a, b) for a, b in zip(first, again, strict=True))
    backwards = predict(images[::-1], net, sampling=sampling, batch_size=4, seed=3)
    assert all(close(a, b) for a, b in zip(first, backwards[::-1], strict=True))


def test_seed_decides(net: ZoomIn, folder: Path) -> None:
    image = folder / "4.png"
    answers = {predict(image, net, sampling="multinomial", seed=s)[0].probabilities for s in (0, 0, 1, 2)}
    assert len(answers) == 3


def test_auto_enumerates_what_fits_the_budget(net: ZoomIn, folder: Path) -> None:
    positions = math.prod(net.map_size)
    small, large = predict([folder / "1.png", folder / "4.png"], net, exact_budget=positions)
    assert (small.sampling, small.replicates, small.standard_error) == ("exact", 1, 0.0)
    assert 0 < small.n_samples <= positions
    assert (large.sampling, large.replicates, large.n_samples) == ("systematic", 8, 6)
    assert large.standard_error > 0
    assert predict(folder / "1.png", net, exact_budget=positions - 1)[0].sampling == "systematic"


@pytest.mark.parametrize("sampling", ["systematic", "multinomial"])
def test_many_replicates_agree_with_exact_within_the_standard_error(
    net: ZoomIn, folder: Path, sampling: str
) -> None:
    images = find_images([folder])
    exact = predict(images, net, sampling="exact")
    drawn = predict(images, net, sampling=sampling, replicates=400, seed=1)
    for truth, row in zip(exact, drawn, strict=True):
        place = row.probabilities.index(max(row.probabilities))
        distance = abs(row.probabilities[place] - truth.probabilities[place])
        assert distance < 4 * row.standard_error + 1e-5
        assert row.standard_error < 0.05
    assert max(row.standard_error for row in drawn) > 1e-4


def test_standard_error_is_the_spread_of_repeated_predictions(net: ZoomIn, folder: Path) -> None:
    rows = [predict(folder / "4.png", net, sampling="multinomial", seed=seed)[0] for seed in range(40)]
    spread = torch.tensor([row.probabilities[0] for row in rows]).std()
    told = torch.tensor([row.standard_error for row in rows]).square().mean().sqrt()
    assert float(told / spread) == pytest.approx(1, rel=0.35)


def test_standard_error_is_the_delta_method(net: ZoomIn) -> None:
    replicates = torch.randn(5, 2, net.head.in_features, generator=torch.Generator().manual_seed(0)) * 0.1
    mean = replicates.mean(0).requires_grad_()
    p = net.head(mean).softmax(1).amax(1)
    (gradient,) = torch.autograd.grad(p.sum(), mean)
    centred = replicates - replicates.mean(0)
    covariance = torch.einsum("rbd,rbe->bde", centred, centred) / 4
    expected = (torch.einsum("bd,bde,be->b", gradient, covariance, gradient) / 5).sqrt()
    torch.testing.assert_close(answer_standard_error(net, replicates), expected)
    assert bool(answer_standard_error(net, replicates[:1]).isnan().all())


def test_top_is_certain_and_one_replicate_cannot_tell(net: ZoomIn, folder: Path) -> None:
    image = folder / "4.png"
    top = predict(image, net, sampling="top")[0]
    assert (top.standard_error, top.replicates, top.n_samples) == (0.0, 1, 6)
    assert math.isnan(predict(image, net, sampling="systematic", replicates=1)[0].standard_error)


def test_pixels_read_are_counted(net: ZoomIn) -> None:
    # 1 tile: 4 x 4 at s1, 8 x 8 at s2, and 2 x 3 sub-tiles of 9 x 9.
    image = ArrayImage(torch.zeros(3, 40, 40, dtype=torch.uint8))
    row = predict([image], net, sampling="multinomial", n_samples=2, replicates=3)[0]
    assert row.pixels_read == 16 + 64 + 6 * 81


def test_tensors_images_and_paths_give_the_same(net: ZoomIn, tmp_path: Path) -> None:
    pixels = torch.randint(256, (2, 3, 50, 60), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for number, image in enumerate(pixels):
        PillowImage.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    expected = [row.probabilities for row in predict(pixels, net)]
    for images in (
        pixels.float() / 255,
        [ArrayImage(image) for image in pixels],
        [str(tmp_path / "0.png"), tmp_path / "1.png"],
        [Record(tmp_path / f"{k}.png", None) for k in (0, 1)],
    ):
        found = [row.probabilities for row in predict(images, net)]
        assert found == [pytest.approx(row, abs=1e-5) for row in expected]
    assert [row.image for row in predict(pixels, net)] == ["image 0", "image 1"]


def test_training_mode_is_given_back(folder: Path) -> None:
    model = ZoomIn(CONFIG).train()
    predict(folder / "0.png", model)
    assert model.training


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "shape"),
        (torch.full((1, 3, 8, 8), 2.0), r"from 2 to 2, outside \[0, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), "a tensor of floating-point pixels that are not a number"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "int64"),
    ],
)
def test_wrong_tensors_are_refused(net: ZoomIn, tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predict(tensor, net)


# --------------------------------------------------------------------------- bad images


@pytest.fixture
def mixed(tmp_path: Path, folder: Path) -> list[Path]:
    """Good and bad images, alternating."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.jpg"
    PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-400])
    bad = [tmp_path / name for name in ("missing.png", "empty.png", "text.png", "cut.jpg")]
    good = sorted(folder.iterdir())
    return [path for pair in zip(bad, good, strict=False) for path in pair]


def test_bad_images_are_recorded_and_the_others_go_on(net: ZoomIn, mixed: list[Path]) -> None:
    rows = predict(mixed, net, batch_size=3, threads=2)
    assert [row.status for row in rows] == ["error", "ok"] * 4
    alone = predict(mixed[1::2], net, batch_size=1)
    assert all(close(a, b) for a, b in zip(rows[1::2], alone, strict=True))
    for row, path in zip(rows[::2], mixed[::2], strict=True):
        assert (row.label, row.probabilities, row.pixels_read) == (None, (), 0)
        assert row.image == str(path)
        assert path.name in row.error


class Failing(ArrayImage):
    """Opens, and cannot be read: a file on a disk that fails."""

    def read(self, regions: object, scale: float) -> torch.Tensor:
        raise ImageError("disk error", where=self.name, remedy="Mend the disk.")


class Streamed:
    """An image that is not in memory: any object that keeps the protocol."""

    def __init__(self, image: ArrayImage) -> None:
        self.height, self.width, self.mpp = image.height, image.width, image.mpp
        self.background, self.name, self.read = image.background, image.name, image.read


def test_an_image_that_fails_while_it_is_read_costs_only_itself(net: ZoomIn) -> None:
    pixels = torch.randint(256, (3, 90, 90), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    good = Streamed(ArrayImage(pixels, name="good"))
    bad = Streamed(Failing(pixels, name="bad"))
    rows = predict([good, bad, good], net, batch_size=8)
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert rows[1].error == "bad: disk error. Mend the disk."
    assert close(rows[0], rows[2])
    with pytest.raises(ImageError, match="disk error"):
        explain([good, bad], net)


class Surprising(ArrayImage):
    """Fails in a way that its reader did not foresee."""

    def read(self, regions: object, scale: float) -> torch.Tensor:
        raise KeyError("openslide.level[0].width")


def test_an_unexpected_error_costs_its_image_and_many_of_them_are_a_fault_of_the_program(net: ZoomIn) -> None:
    pixels = torch.randint(256, (3, 90, 90), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    good, bad = Streamed(ArrayImage(pixels, name="good")), Streamed(Surprising(pixels, name="bad"))
    rows = predict([*[bad] * 19, good, *[bad] * 19], net)
    assert [row.status for row in rows].count("error") == 38
    assert rows[0].error.startswith("bad: cannot be read (KeyError: 'openslide.level[0].width').")
    found = iter_predictions([good, *[bad] * 25], net, InferenceConfig(batch_size=2))
    assert [next(found).status for _ in range(20)] == ["ok"] + ["error"] * 19
    with pytest.raises(KeyError, match="level"):
        list(found)


def test_memory_does_not_grow_with_the_number_of_images(
    net: ZoomIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[ArrayImage] = weakref.WeakSet()
    most = 0
    real = opening.open_image

    def counted(path: Path, **options: object) -> ArrayImage:
        nonlocal most
        image = real(path, **options)
        alive.add(image)
        most = max(most, len(alive))
        return image

    monkeypatch.setattr(opening, "open_image", counted)
    rows = iter_predictions([folder / "0.png"] * 60, net, InferenceConfig("top", 1, batch_size=2, threads=2))
    assert sum(row.status == "ok" for row in rows) == 60
    gc.collect()
    assert most <= 12


def test_batches_are_bounded_in_pixels(net: ZoomIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", 100 * 110)
    sizes = []
    real = pipeline._run
    monkeypatch.setattr(
        pipeline, "_run", lambda group, *rest: sizes.append(len(group.opened)) or real(group, *rest)
    )
    rows = predict([folder / "0.png"] * 3 + [folder / "5.png"] * 3, net, sampling="top")
    assert len(rows) == 6
    assert sizes == [1, 1, 4]


def test_opening_is_not_far_ahead(net: ZoomIn, folder: Path) -> None:
    taken = 0

    def images() -> Iterator[Path]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield folder / "5.png"

    rows = iter_predictions(images(), net, InferenceConfig(batch_size=2, threads=2))
    next(rows)
    assert taken <= 8
    rows.close()


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pyramids that stay on disk, one with a block that cannot be decoded."""
    root = tmp_path_factory.mktemp("slides")
    paths = [pyramid(root / f"{seed}.tif", picture(392, 520, seed)) for seed in range(4)]
    with tifffile.TiffFile(paths[2]) as file:
        page = file.pages[2]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    with paths[2].open("r+b") as broken:
        broken.seek(offset)
        broken.write(b"\0" * count)
    return paths


def test_slides_are_read_ahead_with_the_same_answers(net: ZoomIn, slides: list[Path]) -> None:
    answers = []
    for prefetch in (0, 1, 3):
        config = InferenceConfig("systematic", batch_size=2, threads=2, replicates=2, prefetch=prefetch)
        answers.append(list(iter_predictions(slides, net, config)))
    for rows in answers:
        assert [row.status for row in rows] == ["ok", "ok", "error", "ok"]
        assert "2.tif" in rows[2].error and "cannot be decoded" in rows[2].error
        assert all(close(row, first) for row, first in zip(rows, answers[0], strict=True) if row.label)


def test_streamed_images_count_by_their_views_and_tell_what_was_decoded(
    net: ZoomIn, slides: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_image(slides[0])
    [row] = predict(image, net, sampling="top")
    assert 0 < row.decoded_pixels == image.decoded_pixels < 4 * 392 * 520
    views = 130 * 4**2 + 6 * 8**2 + 6 * 9**2  # 130 tiles, of which 6 are drawn, with a sub-tile each
    assert pipeline._Job(net, InferenceConfig("top"), set()).pixels_of(image) == views < 392 * 520
    sizes: list[int] = []
    real = pipeline._run
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", 3 * views)
    monkeypatch.setattr(
        pipeline, "_run", lambda group, *rest: sizes.append(len(group.opened)) or real(group, *rest)
    )
    predict([slides[0]] * 5, net, sampling="top")
    assert sizes == [3, 2]


def test_many_predictions_leave_nothing_behind(net: ZoomIn, slides: list[Path]) -> None:
    config = InferenceConfig("top", 1, batch_size=4, threads=2)
    list(iter_predictions([slides[0]] * 10, net, config))
    gc.collect()
    threads, files = threading.active_count(), len(HANDLES)
    batches = sum(type(thing) is StreamedImages for thing in gc.get_objects())
    assert sum(row.status == "ok" for row in iter_predictions([slides[0], slides[1]] * 20, net, config)) == 40
    gc.collect()
    assert threading.active_count() <= threads + 8 and len(HANDLES) <= files + 64
    assert sum(type(thing) is StreamedImages for thing in gc.get_objects()) == batches


def test_an_image_that_does_not_open_in_time_is_a_row(
    net: ZoomIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = threading.Event(), opening.open_image

    def slow(path: Path, **options: object) -> object:
        if path.name == "0.png":
            gate.wait(60)
        return real(path, **options)

    monkeypatch.setattr(opening, "open_image", slow)
    config = InferenceConfig("top", batch_size=2, threads=2, read_timeout=1.0)
    rows = list(iter_predictions([folder / "0.png", folder / "1.png"], net, config))
    gate.set()
    assert [row.status for row in rows] == ["error", "ok"]
    assert "0.png: reading did not finish within 1 seconds" in rows[0].error


# --------------------------------------------------------------------------- configuration and models


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling": "best"}, "unknown sampling 'best'.*auto, multinomial"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"replicates": 0}, "replicates is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_settings_are_checked(net: ZoomIn, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predict([], net, **options)


def test_settings_are_a_configuration_with_changes(net: ZoomIn, folder: Path) -> None:
    image = folder / "4.png"
    config = InferenceConfig(sampling="multinomial", seed=3)
    assert predict(image, net, config) == predict(image, net, sampling="multinomial", seed=3)
    assert predict(image, net, config, seed=4) == predict(image, net, sampling="multinomial", seed=4)
    assert [one.provenance.seed for one in explain(image, net, config, seed=4)] == [4]
    assert InferenceSettings.__annotations__.keys() == InferenceConfig.__annotations__.keys()
    with pytest.raises(ConfigError, match=r"unknown settings of inference: batch, sampler.*sampling, n_samp"):
        predict(image, net, batch=2, sampler="top")
    with pytest.raises(ConfigError, match="unknown settings"):
        explain(image, net, replicate=3)


def test_memory_is_given_back_after_slides(
    net: ZoomIn, slides: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[None] = []
    monkeypatch.setattr("zoomin.inference.pipeline.release_memory", lambda: given.append(None))
    predict(find_images([folder]), net, batch_size=2)
    assert not given  # images in memory need no threads
    predict(slides, net, batch_size=1)
    assert len(given) == len(slides)


def test_freed_memory_can_be_given_back_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    release_memory()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    release_memory()


def test_bfloat16_rounds_the_networks_alone(net: ZoomIn, folder: Path) -> None:
    exact, rounded = (
        predict(find_images([folder]), net, sampling="top", precision=precision)
        for precision in ("32-true", "bf16-mixed")
    )
    probabilities = [torch.tensor([row.probabilities for row in rows]) for rows in (exact, rounded)]
    assert not torch.equal(*probabilities)
    torch.testing.assert_close(*probabilities, atol=0.02, rtol=0)
    torch.testing.assert_close(probabilities[1].sum(1), torch.ones(len(rounded)), atol=1e-6, rtol=0)


def test_a_run_and_its_model_folder_load(net: ZoomIn, tmp_path: Path, folder: Path) -> None:
    net.save_pretrained(tmp_path / "run" / "model")
    for place in (tmp_path / "run", tmp_path / "run" / "model"):
        model = load_model(place)
        assert not model.training
        assert predict(folder / "0.png", model) == predict(folder / "0.png", net)


def test_models_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="a file, not a folder"):
        load_model(tmp_path / "file")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no model/ yet"):
        load_model(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_model(tmp_path / "empty")


# --------------------------------------------------------------------------- writing


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_written(net: ZoomIn, mixed: list[Path], tmp_path: Path) -> None:
    rows = predict(mixed, net)
    summary = write_predictions(rows, target_of(CONFIG), tmp_path / "deep" / "predictions.csv")
    assert (summary.done, len(summary.failed), sum(summary.counts.values())) == (4, 4, 4)
    written = read_rows(tmp_path / "deep" / "predictions.csv")
    columns = (
        "image prediction prob_cat prob_dog standard_error ood_p_value abstained sampling n_samples "
        "replicates seed pixels_read decoded_pixels status error"
    )
    assert list(written[0]) == columns.split()
    for row, line in zip(rows, written, strict=True):
        assert (line["image"], line["status"], line["error"]) == (row.image, row.status, row.error)
        assert line["prediction"] == (row.label or "")
        if row.label:
            assert float(line["prob_cat"]) == pytest.approx(row.probabilities[0], abs=1e-6)
        else:
            assert line["prob_cat"] == line["standard_error"] == ""
    assert not list((tmp_path / "deep").glob("*.part"))


def test_an_interrupted_job_keeps_its_rows_and_the_older_file(
    net: ZoomIn, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("older")

    def interrupted() -> Iterator[Prediction]:
        yield from predict(find_images([folder])[:2], net)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(interrupted(), target_of(CONFIG), path)
    assert path.read_text() == "older"
    assert len(read_rows(tmp_path / "predictions.csv.part")) == 2


# --------------------------------------------------------------------------- evaluation


@pytest.fixture
def labelled(folder: Path) -> Manifest:
    paths = sorted(folder.iterdir())
    records = tuple(
        Record(path, ("dog", "cat")[k % 2], split="test" if k > 3 else "train")
        for k, path in enumerate(paths)
    )
    return Manifest(records, ("dog", "cat"), folder)  # another order of classes than the model's


def test_evaluation_matches_classes_by_name(net: ZoomIn, labelled: Manifest, tmp_path: Path) -> None:
    metrics = evaluate(labelled, net, InferenceConfig(seed=2), out=tmp_path)
    rows = predict([record.image for record in labelled], net, seed=2)
    right = sum(row.label == record.label for row, record in zip(rows, labelled, strict=True))
    assert metrics["accuracy"] == pytest.approx(right / 6)
    assert metrics["classes"] == ["cat", "dog"]
    assert metrics["failed"] == {}
    assert sum(metrics["sampling"].values()) == metrics["n_images"] == 6
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    written = read_rows(tmp_path / "predictions.csv")
    assert [row["label"] for row in written] == [record.label for record in labelled]


def test_evaluation_tells_of_images_trained_on(
    labelled: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_manifest(labelled, tmp_path / "manifest.csv")
    assert len(evaluation_manifest(tmp_path)) == 2
    assert caplog.messages == []
    assert len(evaluation_manifest(tmp_path, split="all")) == 6
    assert caplog.messages[0].startswith("4 of these 6 images were trained on")


def test_evaluation_counts_what_failed(net: ZoomIn, labelled: Manifest, tmp_path: Path) -> None:
    missing = Record(tmp_path / "missing.png", "cat")
    metrics = evaluate(replace(labelled, records=(missing, *labelled.records)), net)
    assert metrics["n_images"] == 6
    assert list(metrics["failed"]) == [str(missing.image)]
    with pytest.raises(DataError, match=r"none of the 1 images.*missing\.png"):
        evaluate(replace(labelled, records=(missing,)), net)


def test_evaluation_refuses_unknown_and_missing_labels(net: ZoomIn, labelled: Manifest) -> None:
    bird = replace(labelled.records[0], label="bird")
    with pytest.raises(DataError, match=r"0\.png.*unknown class 'bird'.*cat.*dog"):
        evaluate(replace(labelled, records=(bird,)), net)
    with pytest.raises(DataError, match="no label"):
        evaluate(replace(labelled, records=(replace(bird, label=None),)), net)


def test_manifest_of_a_run(labelled: Manifest, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.csv.*--data\.root"):
        evaluation_manifest(tmp_path)
    write_manifest(labelled, tmp_path / "manifest.csv")
    assert len(evaluation_manifest(tmp_path)) == 2
    assert len(evaluation_manifest(tmp_path, split="all")) == 6
    assert len(evaluation_manifest(tmp_path, split="train")) == 4
    with pytest.raises(DataError, match="no image in the split 'val'"):
        evaluation_manifest(tmp_path, split="val")
    with pytest.raises(DataError, match="unknown split 'dev'"):
        evaluation_manifest(tmp_path, split="dev")
    splits = {
        "train": [],
        "val": [str(folder / "0.png")],
        "test": [str(folder / "1.png"), str(folder / "2.png")],
    }
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    assert [record.image.name for record in evaluation_manifest(tmp_path)] == ["1.png", "2.png"]
    assert [record.image.name for record in evaluation_manifest(tmp_path, split="val")] == ["0.png"]
    assert len(evaluation_manifest(tmp_path, tmp_path / "manifest.csv", "all")) == 6


# --------------------------------------------------------------------------- finding images


def test_find_images(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{k}.png" for k in range(6)]
    assert [path.name for path in find_images([folder])] == names
    assert [path.name for path in find_images([folder / "2.png", folder])] == [
        "2.png",
        *names[:2],
        *names[3:],
    ]
    assert [path.name for path in find_images([f"{folder}/[0-2].png"])] == names[:3]
    monkeypatch.chdir(folder.parent)
    assert [path.name for path in find_images([f"{folder.name}/*.png"])] == names
    assert find_images(["missing.png"]) == [Path("missing.png")]
    table = tmp_path / "list.csv"
    table.write_text(f"image\n{folder / '3.png'}\n")
    assert [record.image.name for record in find_images([], table)] == ["3.png"]
    assert len(read_manifest(table, labels_required=False)) == 1


@pytest.mark.parametrize("pattern", ["*.png", "."])
def test_nothing_found(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no image found"):
        find_images([pattern])
    with pytest.raises(DataError, match="no images given"):
        find_images([])


def test_only_decoders_of_lossy_images_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ZoomIn(CONFIG).eval()
    model.readers = ("GDAL",)
    pixels = picture(128, 128)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    PillowImage.fromarray(pixels).save(tmp_path / "b.webp", lossless=True)
    tifffile.imwrite(tmp_path / "c.tif", pixels, photometric="rgb", compression="zlib")
    paths = sorted(tmp_path.iterdir())
    assert [row.status for row in predict(paths, model)] == ["ok"] * 3
    assert "pixels may differ" not in caplog.text
    PillowImage.fromarray(pixels).save(tmp_path / "d.jpg")
    list(predict([*paths, tmp_path / "d.jpg"], model))
    assert "d.jpg: read by Pillow or imagecodecs, and the training images by GDAL: their" in caplog.text
