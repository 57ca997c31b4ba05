from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.nn.functional import one_hot

from browser import visit
from training_examples import make_images, run_config
from zoomin.app.cli import COMMANDS, _parser, main
from zoomin.app.commands.command import Command
from zoomin.app.report import ReportConfig, ReportResult, write_report
from zoomin.app.report.collect import origin_of_run, read_predictions
from zoomin.app.report.findings import Findings
from zoomin.app.report.html_tables import answer_table
from zoomin.app.report.numbers import calibration, class_scores, curves
from zoomin.app.report.trust import risk, trust_facts
from zoomin.app.viewer.collect import collect
from zoomin.data.manifest import Record, read_manifest
from zoomin.errors import CheckpointError, ConfigError, DataError
from zoomin.inference import load_model
from zoomin.inference.config import InferenceConfig
from zoomin.inference.explain_folder import explain_into
from zoomin.model.targets import target_named
from zoomin.training.config import CrossvalConfig
from zoomin.training.crossval import crossval
from zoomin.training.fit import fit

QUICK = InferenceConfig(replicates=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose positive images have masks, in a manifest with all three splits."""
    folder = tmp_path_factory.mktemp("report")
    make_images(folder / "images", n=12)
    lines = ["image,label,split,mask"]
    for number, path in enumerate(sorted((folder / "images").rglob("*.png"), key=lambda p: p.name)):
        mask = ""
        if path.parent.name == "square":
            mask = f"masks/{path.name}"
            (folder / "masks").mkdir(exist_ok=True)
            bright = (np.asarray(PillowImage.open(path)).max(2) == 255).astype(np.uint8) * 255
            PillowImage.fromarray(bright).save(folder / mask)
        split = ("train", "train", "train", "train", "val", "val", "test", "test")[number % 8]
        lines.append(f"images/{path.parent.name}/{path.name},{path.parent.name},{split},{mask}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return fit(run_config(folder / "list.csv", folder / "run"), progress=False).folder


@pytest.fixture(scope="module")
def result(run: Path) -> ReportResult:
    return write_report(ReportConfig(run=str(run), images=4), inference=QUICK)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn for `result` alone, which is made before."""
    monkeypatch.setattr("zoomin.app.report.charts._svg", lambda figure, name: "<svg></svg>")


def page(result: ReportResult) -> str:
    return result.path.read_text(encoding="utf-8")


def copied(run: Path, place: Path) -> Path:
    """The run and its images somewhere else, to be damaged."""
    shutil.copytree(run.parent, place / "there", ignore=shutil.ignore_patterns("explanations"))
    moved = place / "there" / "run"
    for name in ("manifest.csv", "splits.json"):
        text = (moved / name).read_text(encoding="utf-8")
        (moved / name).write_text(text.replace(str(run.parent), str(moved.parent)), encoding="utf-8")
    return moved


def held_out_images(run: Path) -> list[Path]:
    """The images of the test split."""
    return [Path(record.image) for record in read_manifest(run / "manifest.csv") if record.split == "test"]


def write_predictions_csv(
    path: Path, probabilities: Sequence[Sequence[float]], classes: Sequence[str], labels: Sequence[str] | None
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        truth = ["label"] if labels is not None else []
        writer.writerow(["image", *truth, *(f"prob_{name}" for name in classes)])
        for number, row in enumerate(probabilities):
            writer.writerow([f"{number}.png", *([labels[number]] if labels is not None else []), *row])
    return path


class Addresses(HTMLParser):
    """Every attribute that makes a browser load something, and what it names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.without_alt = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href"):
            if given.get(name):
                self.found.append((tag, str(given[name])))
        if "id" in given:
            self.ids.append(str(given["id"]))
        self.without_alt += tag == "img" and "alt" not in given


# --------------------------------------------------------------------------- a training run


def test_run_alone_is_enough(run: Path, result: ReportResult) -> None:
    assert result.path == run / "report.html"
    assert result.findings.evaluated == "2 test images"
    assert result.explained == 2
    text = page(result)
    for words in ("ROC", "Precision and recall", "Calibration", "Confusion matrix", "Training", "3 epochs"):
        assert words in text
    assert "Attention against the annotated truth" in text
    assert "git_commit" not in text  # the commit stands there under its own name
    assert json.loads((run / "versions.json").read_text())["packages"]["torch"] in text
    assert (run / "config.yaml").read_text().splitlines()[0] in text


def test_command_line_says_where(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "page.html"
    assert main(["report", f"--run={run}", f"--out={out}", "--images=2", "--replicates=2"]) == 0
    assert out.is_file()
    assert str(out) in capsys.readouterr().out


def test_page_names_nothing_outside(result: ReportResult) -> None:
    text = page(result)
    assert "http:" not in text
    assert "https:" not in text
    parser = Addresses()
    parser.feed(text)
    outside = [found for found in parser.found if not found[1].startswith(("#", "data:"))]
    assert outside == []
    targets = {address[1:] for _, address in parser.found if address.startswith("#")}
    assert targets <= set(parser.ids)
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.without_alt == 0
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)", text)) <= {f"#{name}" for name in parser.ids}


def test_commands_shown_can_be_given(run: Path, result: ReportResult) -> None:
    [command] = result.findings.origin.commands
    program, name, *words = command.split()
    chosen = COMMANDS[name]
    assert program == "zoomin"
    assert isinstance(chosen, Command)
    parsed = _parser(name, chosen, words).parse_args(words)
    assert parsed.train.epochs == 3
    assert parsed.out != str(run)


def test_predictions_are_kept(
    run: Path, result: ReportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [a.probabilities for a in result.findings.answers]
    asked: list[int] = []

    def count(images: Sequence[Record], *rest: object, **named: object) -> object:
        asked.append(len(images))
        return iter(())

    monkeypatch.setattr("zoomin.app.report.answers.iter_predictions", count)
    config, out = ReportConfig(run=str(run), images=0, annotated=0), tmp_path / "again.html"
    again = write_report(config, out, inference=QUICK)
    assert asked == [0]
    assert [a.probabilities for a in again.findings.answers] == [
        pytest.approx(probabilities, abs=1e-6) for probabilities in before
    ]
    asked.clear()
    with pytest.raises((StopIteration, RuntimeError)):
        write_report(config, out, inference=InferenceConfig(replicates=2, seed=1))
    assert asked == [2]  # another seed, other draws


def test_falls_back_on_validation_images_and_says_so(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path)
    splits = json.loads((moved / "splits.json").read_text())
    (moved / "splits.json").write_text(json.dumps({**splits, "test": []}))
    found = write_report(ReportConfig(run=str(moved), images=0), inference=QUICK)
    assert found.findings.evaluated == "2 validation images"
    assert "read the numbers as an upper bound" in page(found)
    trained = write_report(ReportConfig(run=str(moved), split="train", images=0), inference=QUICK)
    assert "say nothing about new images" in page(trained)
    with pytest.raises(DataError, match="no image in the split 'test'"):
        write_report(ReportConfig(run=str(moved), split="test"))


def test_images_deleted_after_training(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path)
    shutil.rmtree(moved.parent / "images")
    (moved / "predictions-test.csv").unlink(missing_ok=True)
    found = write_report(ReportConfig(run=str(moved), images=4), inference=QUICK)
    assert len(found.findings.failed) == 2
    assert "2 of 2 images could not be read" in page(found)
    assert "No image could be read" in page(found)
    assert "there is none to show" in page(found)


def test_images_deleted_after_a_first_report(run: Path, tmp_path: Path, result: ReportResult) -> None:
    moved = copied(run, tmp_path)
    write_report(ReportConfig(run=str(moved), images=0, annotated=0), inference=QUICK)
    shutil.rmtree(moved.parent / "images")
    found = write_report(ReportConfig(run=str(moved), images=4), inference=QUICK)
    assert len(found.findings.answered) == 2
    assert found.explained == 0
    assert "no such file" in page(found)


def test_run_without_model(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path)
    (moved / "predictions-test.csv").unlink(missing_ok=True)
    shutil.rmtree(moved / "model")
    with pytest.raises(CheckpointError, match="no model/ yet"):
        write_report(ReportConfig(run=str(moved)))
    with pytest.raises(CheckpointError, match="no such folder"):
        write_report(ReportConfig(run=str(tmp_path / "nowhere")))


def test_model_gone_but_predictions_kept(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path)
    write_report(ReportConfig(run=str(moved), images=0), inference=QUICK)
    shutil.rmtree(moved / "model")
    found = write_report(ReportConfig(run=str(moved), images=2))
    assert len(found.findings.answered) == 2
    assert "the model is gone" in page(found)


def test_explanations_are_kept_and_used_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = copied(run, tmp_path)
    config = ReportConfig(run=str(moved), images=4)
    write_report(replace(config, images=0, annotated=0), inference=QUICK)
    assert not (moved / "explanations").exists()
    assert write_report(config, inference=QUICK).explained == 2
    shown = collect(moved).shown  # what `zoomin view` shows
    assert sorted(one.path.name for one in shown) == sorted(p.name for p in held_out_images(moved))
    assert {one.label for one in shown} == {"empty", "square"} and all(one.prediction for one in shown)
    asked: list[str] = []
    monkeypatch.setattr("zoomin.app.report.saved.explain", lambda images, *rest: asked.append("look"))
    assert write_report(config, inference=QUICK).explained == 2
    assert asked == []
    shutil.rmtree(moved.parent / "images")
    shutil.rmtree(moved / "model")
    assert write_report(config).explained == 2  # nothing is left but what was kept
    first, second = sorted((moved / "explanations").glob("*/explanation.json"))
    text = json.loads(first.read_text())
    text["probabilities"] = dict.fromkeys(text["probabilities"], 0.5)
    first.write_text(json.dumps(text))
    second.write_text("{")
    assert write_report(config).explained == 0  # not evidence for these answers


def test_a_report_leaves_what_explain_wrote_as_it_is(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = copied(run, tmp_path)
    image = held_out_images(moved)[0]
    explain_into([image], load_model(moved), moved / "explanations", InferenceConfig(replicates=2, seed=5))
    [document] = (moved / "explanations").glob("*/explanation.json")
    before = document.read_bytes()
    config = ReportConfig(run=str(moved), images=4)
    assert write_report(config, inference=QUICK).explained == 2
    assert document.read_bytes() == before and document.with_name("panel.png").is_file()
    index = moved / "explanations" / "index.json"
    assert len(json.loads(index.read_text())["images"]) == 2
    index.write_text(index.read_text().replace(json.loads(index.read_text())["model"], "other"))
    assert write_report(config, inference=QUICK).explained == 2
    assert "not kept for the viewer" in caplog.text and "another model" in caplog.text


# --------------------------------------------------------------------------- a cross-validation


def test_crossval(tmp_path: Path) -> None:
    make_images(tmp_path / "images", n=8)
    config = run_config(tmp_path / "images", tmp_path / "cv", epochs=2, data_val_fraction=0.0)
    crossval(config, CrossvalConfig(folds=2, seeds=(0, 1)), progress=False)
    found = write_report(ReportConfig(run=str(tmp_path / "cv"), images=4))
    text = page(found)
    assert len(found.findings.answers) == 16
    assert "2 seeds, each evaluated separately" in text
    assert text.count("data:image/webp") == 4
    assert "best epoch of each fold on its held-out images (the paper" in text
    assert "Accuracy on held-out images by epoch" in text
    assert found.findings.origin.commands[0].startswith("zoomin crossval --config ")
    with pytest.raises(ConfigError, match="evaluated on the images that it held out"):
        write_report(ReportConfig(run=str(tmp_path / "cv"), split="test"))
    (tmp_path / "cv" / "crossval.json").unlink()
    with pytest.raises(CheckpointError, match="has not finished"):
        write_report(ReportConfig(run=str(tmp_path / "cv")))


def test_interval_of_several_seeds_is_that_of_one(tmp_path: Path) -> None:
    """Three seeds that say the same are no more evidence than one."""
    from zoomin.app.report.findings import Answer, Findings
    from zoomin.app.report.sections import metrics_section

    rows = [(f"{n}.png", "b" if n % 2 else "a", 0.2 + 0.6 * ((n * 7) % 10) / 10) for n in range(20)]
    one = tuple(Answer(name, label, (1 - p, p), seed=0) for name, label, p in rows)
    three = tuple(Answer(name, label, (1 - p, p), seed=s) for s in range(3) for name, label, p in rows)
    found = [
        metrics_section(Findings("t", target_named("classes", ["a", "b"]), answers, "x"))["metrics"]
        for answers in (one, three)
    ]
    assert found[0][:3] == found[1][:3]


# --------------------------------------------------------------------------- predictions and labels


def test_multi_class_predictions(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = ("none", "50", "70 <b>&", "80")
    labels = torch.randint(4, (60,), generator=generator)
    logits = torch.randn(60, 4, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, 4)
    names = [classes[int(k)] for k in labels]
    path = write_predictions_csv(tmp_path / "p.csv", logits.softmax(1).tolist(), classes, names)
    found = write_report(ReportConfig(predictions=str(path)))
    assert found.path == tmp_path / "p.html"
    text = page(found)
    assert "70 <b>&" not in text
    assert "70 &lt;b&gt;&amp;" in text
    assert text.count('<th scope="row">70 &lt;b&gt;&amp;</th>') == 2  # of the matrix and of the scores
    assert "None of them can be shown" in text


def test_labels_beside_predictions(tmp_path: Path) -> None:
    path = write_predictions_csv(tmp_path / "p.csv", [[0.9, 0.1], [0.2, 0.8]], ("a", "b"), None)
    found = write_report(ReportConfig(predictions=str(path)))
    assert "labels of these images are unknown" in page(found)
    truth = tmp_path / "truth.csv"
    truth.write_text("image,label\nfar/0.png,a\nfar/1.png,a\n", encoding="utf-8")
    evaluated = write_report(ReportConfig(predictions=str(path), labels=str(truth)))
    assert [a.label for a in evaluated.findings.answers] == ["a", "a"]
    truth.write_text("image,label\nfar/0.png,a\nfar/1.png,c\n", encoding="utf-8")
    with pytest.raises(DataError, match="the label 'c'; the classes are a, b"):
        write_report(ReportConfig(predictions=str(path), labels=str(truth)))


def test_one_class_only_has_no_auroc(tmp_path: Path) -> None:
    path = write_predictions_csv(tmp_path / "p.csv", [[0.9, 0.1], [0.2, 0.8]], ("a", "b"), ["a", "a"])
    text = page(write_report(ReportConfig(predictions=str(path))))
    assert "not defined" in text
    assert "all images are of one class" in text
    assert "ROC curves" not in text
    assert "Reliability diagram" in text


def test_zero_correct_predictions(tmp_path: Path) -> None:
    path = write_predictions_csv(tmp_path / "p.csv", [[0.9, 0.1], [0.2, 0.8]], ("a", "b"), ["b", "a"])
    text = page(write_report(ReportConfig(predictions=str(path))))
    assert "Accuracy 0.000 (95 % interval 0.000 to 0.658)" in text
    assert "2 of 2 wrong answers are here" in text


def test_bad_predictions_are_told(tmp_path: Path) -> None:
    bad = tmp_path / "p.csv"
    bad.write_text("image,prediction\na.png,cat\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns prob_CLASS"):
        write_report(ReportConfig(predictions=str(bad)))
    bad.write_text("image,prob_a,prob_b\na.png,0.5,much\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 2"):
        write_report(ReportConfig(predictions=str(bad)))
    bad.write_text("image,prob_a,prob_b\n", encoding="utf-8")
    with pytest.raises(DataError, match="no prediction"):
        write_report(ReportConfig(predictions=str(bad)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nothing to report on"),
        ({"run": "r", "labels": "l.csv"}, "labels without predictions"),
        ({"predictions": "p.csv", "split": "test"}, "used as they are"),
        ({"run": "r", "images": -1}, "images is -1"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ReportConfig(**settings)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- numbers


def test_calibration_of_a_calibrated_and_of_an_overconfident_classifier() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(20_000, generator=generator, dtype=torch.float64)
    labels = (torch.rand(20_000, generator=generator) < p).long()
    honest = torch.stack([1 - p, p], 1)
    assert calibration(honest, labels).error < 0.02
    boasting = (honest > 0.5).double()
    shares = calibration(boasting, labels)
    assert shares.error == pytest.approx(0.25, abs=0.02)  # right in 3 of 4, always certain
    assert len(shares.bins) == 1


def test_curves_and_scores_of_classes() -> None:
    probabilities = torch.tensor(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.6, 0.3, 0.1]], dtype=torch.float64
    )
    labels = torch.tensor([0, 1, 1, 0])
    members = one_hot(labels, 3).double()
    roc, precision = curves(probabilities, members, ("a", "b", "c"))
    assert [curve.name for curve in roc] == [curve.name for curve in precision] == ["a", "b"]
    assert roc[0].area == roc[1].area == 1.0
    said = one_hot(probabilities.argmax(1), 3) > 0
    a, b, c = class_scores(probabilities, members, said, ("a", "b", "c"))
    assert (a.images, a.precision, a.recall) == (2, pytest.approx(2 / 3), 1.0)
    assert (b.precision, b.recall, b.auroc) == (1.0, 0.5, 1.0)
    assert (c.images, c.precision, c.recall, c.auroc, c.average_precision) == (0, None, None, None, None)


# --------------------------------------------------------------------------- in a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.browser
def test_in_a_browser_offline(result: ReportResult, scheme: str) -> None:
    with visit(result.path.as_uri(), scheme=scheme, offline=True) as seen:  # type: ignore[arg-type]
        page = seen.page
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        assert page.locator(".card img").evaluate_all("all => all.every(i => i.naturalWidth > 100)")
        assert page.locator("svg path").count() > 20
        assert seen.requests == [result.path.as_uri()]
        seen.shoot(f"report-{scheme}", full=True)
        assert seen.errors == []


@pytest.mark.browser
def test_sorting_and_filtering(tmp_path: Path) -> None:
    chances = [[0.9, 0.1], [0.35, 0.65], [0.05, 0.95], [0.6, 0.4]]
    path = write_predictions_csv(tmp_path / "p.csv", chances, ("a", "b"), ["a", "a", "b", "b"])
    found = write_report(ReportConfig(predictions=str(path)))
    with visit(found.path.as_uri(), width=500, height=800, offline=True) as seen:
        page = seen.page

        def first(column: int) -> list[str]:
            return page.locator("#answers tbody tr:not([hidden])").evaluate_all(
                f"rows => rows.map(row => row.cells[{column}].textContent)"
            )

        assert first(0) == ["1.png", "3.png", "0.png", "2.png"]  # the worst first
        page.get_by_role("button", name="probability of b").click()
        assert first(5) == ["0.100", "0.400", "0.650", "0.950"]
        page.get_by_role("button", name="probability of b").click()
        assert first(0) == ["2.png", "1.png", "3.png", "0.png"]
        assert page.locator("#answers th[aria-sort=descending]").count() == 1
        page.locator("form[data-table] select").select_option("wrong")
        assert first(0) == ["1.png", "3.png"]
        cards = page.locator(".card:not([hidden]) b")
        assert cards.all_text_contents() == ["1.png", "3.png", "0.png", "2.png"]
        page.locator("form[data-gallery] select[name=order]").select_option("merit:-1")
        assert cards.all_text_contents() == ["2.png", "0.png", "3.png", "1.png"]
        page.locator("form[data-gallery] select[name=truth]").select_option("b")
        assert cards.all_text_contents() == ["2.png", "3.png"]
        page.locator("form[data-gallery] input").fill("nothing")
        assert cards.count() == 0
        assert page.get_by_text("No image fits").is_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0  # a narrow window scrolls tables, not the page
        cut = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert page.locator(".scroll:not(.tall)").evaluate_all(cut) == []  # only the list of images is wider
        seen.shoot("report-narrow", full=True)
        assert seen.errors == []


@pytest.mark.browser
def test_a_picture_opens_in_full_size(result: ReportResult) -> None:
    with visit(result.path.as_uri(), offline=True) as seen:
        seen.page.locator(".card .open").first.click()
        [large, small] = seen.page.evaluate(
            "[document.querySelector('dialog img').src, document.querySelector('.card .open img').src]"
        )
        assert large == small
        assert seen.errors == []


@pytest.mark.browser
def test_panels_open(result: ReportResult, tmp_path: Path) -> None:
    assert "data-panel" not in page(result)  # by default the picture itself opens
    config = ReportConfig(run=str(result.path.parent), images=1, panels=True)
    with_panels = write_report(config, tmp_path / "panels.html", inference=QUICK)
    with visit(with_panels.path.as_uri(), offline=True) as seen:
        seen.page.locator(".card .open").first.click()
        assert seen.page.locator("dialog img").is_visible()
        sides = seen.page.evaluate(
            "[...document.querySelectorAll('dialog img, .card .open img')].map(i => i.naturalHeight)"
        )
        assert sides[-1] > sides[0]  # the whole panel has more rows than the picture in the gallery
        assert "predicted" in seen.page.locator("dialog p").inner_text()
        seen.page.keyboard.press("Escape")
        assert not seen.page.locator("dialog").is_visible()
        assert seen.errors == []


def test_a_run_says_itself_that_its_many_numbers_are_classes(tmp_path: Path) -> None:
    rows = [f"{number}.png,{number % 40},train" for number in range(120)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,split", *rows]))
    with pytest.raises(ConfigError, match="A value"):
        read_manifest(tmp_path / "manifest.csv", files_required=False)
    origin = origin_of_run(tmp_path, target_named("classes", [str(number) for number in range(40)]))
    assert origin.counts["train"] == {str(number): 3 for number in range(40)}
    origin = origin_of_run(tmp_path, target_named("value", ["label"]))
    assert origin.counts["train"] == {"label": 120}


def test_what_was_not_answered_and_what_is_unlike_are_told(tmp_path: Path) -> None:
    """From a table of predictions to the rows of the scores, the words of the chart and the cells."""
    rows = [
        "image,label,prediction,prob_a,prob_b,standard_error,ood_p_value,abstained,status,error",
        "1.png,a,a,0.9,0.1,0,0.6,,ok,",
        "2.png,b,b,0.2,0.8,0,0.03,,no foreground,",
        "3.png,b,abstained,0.6,0.4,0,0.5,probability 0.600 is below 0.7,ok,",
        "4.png,b,,,,,,,error,cannot be read",
    ]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    target, answers = read_predictions(tmp_path / "p.csv")
    assert target.names == ("a", "b") and [a.unlike for a in answers] == [False, True, False, False]
    found = Findings("t", target, answers, "4 images")
    assert [(f.name, f.value) for f in trust_facts(found)] == [
        ("share answered", "0.667"),
        ("accuracy where answered", "1.000"),
        ("unlike the training images", "1"),
    ]
    _, words = risk(found, *found.tensors())
    assert "All answered: 0.333; the surest 67 %, of probability 0.80 and more: 0.000" in words
    table = answer_table(found)
    assert ("like training, p", True) in table["columns"] and ("abstained", False) in table["columns"]
    texts = [cell["text"] for row in table["rows"] for cell in row["cells"]]
    assert "0.030" in texts and "probability 0.600 is below 0.7" in texts
