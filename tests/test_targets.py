"""Every kind of target under one contract: loss, answers, metrics; trained, saved, explained, reported."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from training_examples import MODEL, run_config
from zoomin import explain, load_model, predict
from zoomin.app.cli import main
from zoomin.app.report import ReportConfig, write_report
from zoomin.app.report.collect import read_predictions, read_truth
from zoomin.app.report.numbers import kaplan_meier
from zoomin.app.viewer.collection import Collection, ShownImage
from zoomin.app.viewer.describe import overview
from zoomin.data.config import DataConfig, ManifestColumns
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.find import open_dataset
from zoomin.data.manifest import read_manifest, write_manifest
from zoomin.data.splits import holdout, kfold
from zoomin.data.trainable import check_trainable
from zoomin.errors import ConfigError, DataError
from zoomin.explanation import Explanation
from zoomin.explanation.draw import title
from zoomin.inference.evaluation import evaluate
from zoomin.metrics.labels import label_scores
from zoomin.metrics.survival import concordance, survival_metrics
from zoomin.model.config import ZoomInConfig
from zoomin.model.targets import TARGETS, Target, score_names, target_named, target_of
from zoomin.model.targets.pooling import group_metrics, pool, pool_truth
from zoomin.model.zoom_in import ZoomIn
from zoomin.training.config import CrossvalConfig, TrainConfig
from zoomin.training.crossval import crossval
from zoomin.training.fit import fit
from zoomin.training.frozen_config import FrozenConfig


class Case(NamedTuple):
    """A kind of target with the words of some images."""

    names: tuple[str, ...]
    words: tuple[str, ...]


CASES = {
    "classes": Case(("empty", "red", "blue"), ("empty", "red", "blue", "red", "empty", "blue")),
    "labels": Case(("red", "blue"), ("red", "none", "red;blue", "blue", "red;blue?", "none")),
    "value": Case(("area",), ("0.5", "2", "-1", "3.25", "8", "0")),
    "grade": Case(("0", "1", "2"), ("0", "1", "2", "2", "1", "0")),
    "survival": Case(("log_hazard",), ("5", "3+", "1", "8", "2", "9+")),
}
KINDS = pytest.mark.parametrize("kind", list(TARGETS))
OTHERS = pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind != "classes"])


def target(kind: str) -> Target:
    return target_named(kind, CASES[kind].names, 2.0, 3.0)


def draw(folder: Path, n: int = 24) -> Path:
    """A CSV of dark images with red squares, blue ones, or both, and all that could be learned of them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,label,labels,red,blue,value,grade,time,event,group"]
    for number in range(n):
        red, blue = number % 3, number % 2
        pixels = rng.integers(0, 60, (48, 48, 3), dtype=np.uint8)
        for k in range(red):
            y, x = rng.integers(0, 32, 2) if k else (2, 2)
            pixels[y : y + 12, x : x + 12] = (255, 0, 0)
        if blue:
            pixels[30:44, 30:44] = (0, 0, 255)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        labels = ";".join(name for name, there in (("red", red), ("blue", blue)) if there) or "none"
        time, event = 10 - 3 * red + 0.1 * number, int(number % 4 != 3)
        cells = ("blue" if blue else "grey", labels, int(red > 0), blue, red * 1.5, red, time, event)
        rows.append(",".join(map(str, (f"{number:02d}.png", *cells, f"p{number // 2}"))))
    (folder / "all.csv").write_text("\n".join(rows) + "\n")
    return folder / "all.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are tested by those of the metrics, charts by those of the report."""
    monkeypatch.setattr("zoomin.metrics.bootstrap._TIMES", 60)
    monkeypatch.setattr("zoomin.app.report.charts._svg", lambda figure, name: "<svg></svg>")


# --------------------------------------------------------------------------- words, loss, answers


@KINDS
def test_words_become_numbers_and_come_back(kind: str) -> None:
    own, (names, words) = target(kind), CASES[kind]
    truth = own.truth([*words, None])
    assert len(truth) == len(words) + 1
    assert own.known(truth).tolist() == [True] * len(words) + [False]
    if own.has_probabilities:
        sure = torch.nn.functional.one_hot(truth[:-1], len(names)).double() if own.picks_one else truth[:-1]
        said = [own.decide(row) for row in sure.nan_to_num().tolist()]
        assert said == [word.replace(";blue?", "") for word in words]
        with pytest.raises(KeyError):
            own.truth(["unheard of"])
    else:
        with pytest.raises(ValueError, match="could not convert"):
            own.truth(["unheard of"])


@KINDS
def test_loss_has_the_gradient_of_its_values(kind: str) -> None:
    own, words = target(kind), CASES[kind].words
    truth = own.truth(words)
    logits = torch.randn(len(words), len(own.names), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: own.loss(z, truth), (logits,))
    several = torch.stack([logits, 2 * logits])
    weight = torch.ones(2, len(words), dtype=torch.float64)
    both = own.copy_losses(several, torch.stack([truth, truth]), weight)
    torch.testing.assert_close(both[0], own.loss(logits, truth))
    torch.testing.assert_close(both[1], own.loss(2 * logits, truth))
    weight[:, -1] = 0  # an image that a copy does not see
    less = own.copy_losses(several, torch.stack([truth, truth]), weight)
    torch.testing.assert_close(less[0], own.loss(logits[:-1], truth[:-1]))


@KINDS
def test_the_loss_leads_to_the_truth(kind: str) -> None:
    own, words = target(kind), CASES[kind].words
    truth = own.truth(words)
    logits = torch.zeros(len(words), len(own.names), requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        optimiser.zero_grad()
        own.loss(logits, truth).backward()
        optimiser.step()
    scores = own.point_scores(own.answers(logits.detach()), truth)
    best = {"accuracy": 1.0, "auroc": 1.0, "r2": 1.0, "kappa": 1.0, "concordance": 1.0}
    assert scores[own.score] == pytest.approx(best[own.score], abs=1e-3)
    assert set(scores) == set(own.scores)


@KINDS
def test_slope_is_the_derivative_of_the_answer_shown(kind: str) -> None:
    own = target(kind)
    logits = torch.randn(5, len(own.names), dtype=torch.float64, requires_grad=True)
    answers = own.answers(logits)
    rows = answers.tolist()
    shown = [own.names.index(own.explained_name(row)) for row in rows]
    answers[torch.arange(5), shown].sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(own.slope(logits.detach()), logits.grad)
    assert all(own.answer_text(row, own.explained_name(row)) for row in rows)


@KINDS
def test_evidence_sums_as_the_parts_do(kind: str) -> None:
    own = target(kind)
    parts = torch.randn(7, len(own.names))
    torch.testing.assert_close(own.evidence(parts).sum(0), own.evidence(parts.sum(0)))
    evidence = torch.rand(4, 6, len(own.names))
    truth = own.truth(CASES[kind].words[:4])
    assert own.witnesses(evidence, truth).shape == (4, 6)
    assert own.empty(truth, 0).shape == (4,)


@KINDS
def test_metrics_have_intervals(kind: str) -> None:
    own = target(kind)
    words = [word for word in CASES[kind].words for _ in range(6)]
    truth = own.truth(words)
    torch.manual_seed(0)
    answers = own.answers(torch.randn(len(words), len(own.names)))
    groups = [f"p{row // 2}" for row in range(len(words))]
    for given in (None, groups):
        found = own.metrics(answers, truth, given)
        assert found["n_groups"] == (None if given is None else len(words) // 2)
        for name in own.scores:
            low, high = found[f"{name}_interval"]
            assert low <= found[name] <= high
        assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert own.metrics(answers, truth)["interval_reasons"] == {}
    few = own.metrics(answers[:4], truth[:4])
    assert few[f"{own.score}_interval"] is None or kind == "classes"
    with pytest.raises(DataError, match="not numbers"):
        own.point_scores(answers * torch.nan, truth)


def test_grades_cost_by_distance() -> None:
    grades = target_named("grade", "0123")
    p = torch.tensor([[0.1, 0.3, 0.3, 0.3]])
    assert grades.decide(p[0].tolist()) == "2"  # the median, not the first of the highest
    losses = [float(grades.loss(p.log(), torch.tensor([k]))) for k in range(4)]
    assert losses[0] > losses[3] > losses[1]


def test_too_many_images_for_an_interval_are_the_reason_given() -> None:
    generator = torch.Generator().manual_seed(0)
    risk, time = torch.rand(2, 4001, generator=generator)
    found = survival_metrics(risk, torch.stack([time, torch.ones(4001)], 1))
    assert 0.48 < found["concordance"] < 0.52 and found["concordance_interval"] is None
    assert "at most 4000" in found["interval_reasons"]["concordance"]


def test_names_of_scores_are_those_of_their_kind() -> None:
    for kind, case in CASES.items():
        own = target_named(kind, case.names)
        truth = own.truth(case.words)
        found = own.metrics(own.answers(torch.randn(len(truth), len(case.names))), truth)
        assert score_names(found) == own.scores
    assert score_names({"epoch", "val"}) == TARGETS["classes"].scores


def test_concordance_is_that_of_scikit_survival() -> None:
    """What `concordance_index_censored` of scikit-survival 0.25.0 gives for these numbers."""
    rng = np.random.default_rng(0)
    time = rng.integers(1, 12, 40).astype(float)
    event, risk = rng.random(40) < 0.6, rng.normal(size=40).round(1)
    assert concordance(risk, time, event) == pytest.approx(0.4197080291970803, abs=1e-12)
    assert concordance(risk, time, np.zeros(40, dtype=bool)) is None


def test_average_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.random((60, 2)).round(1), (rng.random((60, 2)) < 0.3).astype(float)
    found = label_scores(torch.tensor(p), torch.tensor(t))["average_precision"]
    expected = np.mean([average_precision_score(t[:, k], p[:, k]) for k in range(2)])
    assert found == pytest.approx(expected, abs=1e-12)


def test_cox_loss_is_the_partial_likelihood_of_a_known_example() -> None:
    own = target_named("survival", ["log_hazard"])
    score = torch.tensor([[0.5], [-0.2], [1.0]])
    truth = own.truth(["2", "3+", "1"])
    third = math.log(math.exp(0.5) + math.exp(-0.2) + math.exp(1.0)) - 1.0
    first = math.log(math.exp(0.5) + math.exp(-0.2)) - 0.5
    assert float(own.loss(score, truth)) == pytest.approx((third + first) / 2)
    assert float(own.loss(score, own.truth(["2+", "3+", "1+"]))) == 0.0


def test_kaplan_meier_of_a_textbook() -> None:
    times, shares = kaplan_meier([6.0, 6.0, 6.0, 7.0, 10.0], [True, True, True, True, False])
    assert times == [0, 6, 7, 10]
    assert shares == pytest.approx([1, 0.4, 0.2, 0.2])


# --------------------------------------------------------------------------- manifests


@OTHERS
def test_manifest_round_trip(kind: str, table: Path, tmp_path: Path) -> None:
    manifest = read_manifest(table, target=kind)
    again = read_manifest(_written(manifest, tmp_path))  # its columns say the kind
    assert again.target == kind
    assert [r.label for r in again] == [r.label for r in manifest]
    torch.testing.assert_close(again.targets(), manifest.targets())
    check_trainable(manifest)
    for train, held in [holdout(manifest, 0.25, 0), *kfold(manifest, 3, 0)]:
        groups = [{manifest.records[row].group for row in side.tolist()} for side in (train, held)]
        assert not groups[0] & groups[1]
        assert len(train) + len(held) == 24


def _written(manifest: object, folder: Path) -> Path:
    write_manifest(manifest, folder / "again.csv")  # type: ignore[arg-type]
    return folder / "again.csv"


def test_labels_in_columns_of_their_own(table: Path, tmp_path: Path) -> None:
    text = table.read_text().replace("labels", "other").replace(",label,", ",kind,")
    path = tmp_path / "columns.csv"
    path.write_text(text)
    manifest = read_manifest(path, classes=["red", "blue"], target="labels", files_required=False)
    listed = read_manifest(table, target="labels").with_classes(["red", "blue"])
    torch.testing.assert_close(manifest.targets(), listed.targets())
    assert manifest.counts() == {"red": 16, "blue": 12}
    path.write_text("image,red,blue,n\na.png,1,,7\nb.png,,,3\nc.png,0,0,1\n")
    found = read_manifest(path, target="labels", files_required=False)
    assert [record.label for record in found] == ["red;blue?", None, "none"]
    path.write_text("image,labels\na.png,red\nb.png,none;blue\n")
    with pytest.raises(DataError, match=r"row 3 has 'none;blue'.*Give none alone"):
        read_manifest(path, files_required=False)
    path.write_text("image,red\na.png,perhaps\n")
    with pytest.raises(DataError, match="'perhaps'"):
        read_manifest(path, classes=["red"], target="labels", files_required=False)


def test_doubtful_columns_ask(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"

    def write(column: str, cells: list[object]) -> Path:
        path.write_text(f"image,{column}\n" + "".join(f"{k}.png,{cell}\n" for k, cell in enumerate(cells)))
        return path

    with pytest.raises(ConfigError, match=r"30 different numbers.*--data.target value"):
        read_manifest(write("label", [k * 0.5 for k in range(30)]), files_required=False)
    assert read_manifest(path, target="classes", files_required=False).target == "classes"
    with pytest.raises(ConfigError, match=r"8 different numbers for 40.*from 0 to 17.5.* classes\? A"):
        read_manifest(write("label", [k % 8 * 2.5 for k in range(40)]), files_required=False)
    write("label", [k * 0.5 for k in range(30)])
    assert read_manifest(path, target="classes", files_required=False).target == "classes"
    assert read_manifest(path, files_required=False, labels_required=False).target == "classes"
    assert read_manifest(path, target="value", files_required=False).classes == ("value",)
    assert len(read_manifest(write("label", [k % 10 for k in range(60)]), files_required=False).classes) == 10
    with pytest.raises(ConfigError, match=r"'a;b'.*--data.target labels"):
        read_manifest(write("label", ["a", "a;b", "b"]), files_required=False)
    with pytest.raises(ConfigError, match="several targets: value, grade"):
        read_manifest(write("value,grade", ["1,2"] * 3), files_required=False)
    with pytest.raises(DataError, match="row 3 has 'many'"):
        read_manifest(write("value", [1, "many"]), files_required=False)
    found = read_manifest(write("value", [1, ""]), files_required=False, labels_required=False)
    with pytest.raises(DataError, match=r"1\.png .* has no value\. Fill in its value"):
        found.targets()
    with pytest.raises(DataError, match="no column 'time'"):
        read_manifest(path, target="survival", files_required=False)
    with pytest.raises(DataError, match="in the column 'event'"):
        read_manifest(write("time,event", ["1,perhaps"]), files_required=False)
    columns = ManifestColumns(value="defects")
    assert read_manifest(write("defects", [1, 2]), columns, files_required=False).classes == ("defects",)
    with pytest.raises(DataError, match="no CSV"):
        open_dataset(_folder(tmp_path), target="value")
    with pytest.raises(DataError, match="values differ"):
        check_trainable(read_manifest(write("value", [1, 1, 1]), files_required=False))
    with pytest.raises(DataError, match="1 events among 3"):
        check_trainable(read_manifest(write("time,event", ["1,1", "2,0", "3,0"]), files_required=False))


def _folder(folder: Path) -> Path:
    (folder / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "images" / "a" / "x.png")
    return folder / "images"


# --------------------------------------------------------------------------- trained, saved, explained


def test_answers_and_truths_read_as_people_write_them() -> None:
    labels, survival = target_named("labels", ("red", "blue")), target_named("survival", ("log_hazard",))
    cases: list[tuple[Target, tuple[float, ...], float, str | None, str]] = [
        (labels, (0.6, 0.87), 0.02, "blue;red?", "blue 87 ± 2 %, red 60 % (truth: blue, red unknown)"),
        (labels, (0.1, 0.2), math.nan, None, "none (blue 20 %)"),
        (target_named("classes", ("a;b", "c")), (0.88, 0.12), 0.02, "c", "a;b 88 ± 2 % (truth: c)"),
        (target_named("value", ("defects",)), (5.25,), 0.31, "4", "defects 5.25 ± 0.31 (truth: 4)"),
        (survival, (0.5,), math.nan, "3+", "log_hazard +0.50 (truth: none by 3)"),
    ]
    for kind, answer, error, truth, words in cases:
        shares = torch.tensor(answer)
        one = SimpleNamespace(
            image="a.png", kind=kind, probabilities=shares, standard_error=error, truth=truth
        )
        assert title(one) == f"a.png: {words}"
    two = target_named("classes", ("a", "b"))
    assert [
        two.answer_text([share, 1 - share], "a") for share in (1e-9, 0.004, 0.006, 0.994, 0.997, 1.0)
    ] == [
        "<1 %",
        "<1 %",
        "1 %",
        "99 %",
        ">99 %",
        ">99 %",
    ]
    many = target_named("labels", tuple("abcdef"))
    assert many.verdict([0.9] * 6) == "a 90 %, b 90 %, c 90 %, d 90 % and 2 more"


def test_a_time_does_not_read_as_a_log_hazard(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "image,prediction,log_hazard\na.png,-1.54356,-1.54356\n", encoding="utf-8"
    )
    (tmp_path / "t.csv").write_text("image,time,event\na.png,8.57,1\n", encoding="utf-8")
    config = ReportConfig(predictions=str(tmp_path / "p.csv"), labels=str(tmp_path / "t.csv"))
    page = unescape(write_report(config).path.read_text(encoding="utf-8"))
    assert "predicted -1.54 (truth: event at 8.57)" in page and "<td>event at 8.57</td>" in page
    one = ShownImage(
        tmp_path / "a.png",
        label="12+",
        prediction="-1.54356",
        names=("log_hazard",),
        names_something=False,
    )
    [shown] = overview(Collection(tmp_path, [one]), "t")["images"]
    assert (shown["label"], shown["prediction"]) == ("none by 12", "-1.54")
    [shown] = overview(Collection(tmp_path, [replace(one, names=("size",), label="4")]), "t")["images"]
    assert (shown["label"], shown["prediction"]) == ("4", "-1.544")


def test_report_and_viewer_list_several_labels_with_commas(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "image,prediction,prob_red,prob_blue\na.png,blue;red,0.6,0.87\nb.png,none,0.1,0.2\n", encoding="utf-8"
    )
    (tmp_path / "t.csv").write_text("image,labels\na.png,blue;red\nb.png,red\n", encoding="utf-8")
    config = ReportConfig(predictions=str(tmp_path / "p.csv"), labels=str(tmp_path / "t.csv"))
    page = unescape(write_report(config).path.read_text(encoding="utf-8"))
    assert "predicted blue 87 %, red 60 % (truth: blue, red)" in page and "none (blue 20 %)" in page
    assert 'data-truth="["red", "blue"]"' in page and "<td>blue, red</td>" in page
    shown = ShownImage(
        tmp_path / "a.png",
        label="red;blue",
        prediction="blue;red",
        names=("red", "blue"),
        explanation=tmp_path,
    )
    [listed] = overview(Collection(tmp_path, [shown]), "")["images"]
    assert (listed["label"], listed["prediction"], listed["right"]) == ("red, blue", "blue, red", True)


@OTHERS
def test_end_to_end(kind: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"data_target": kind, "data_test_fraction": 0.25, "epochs": 2, "data_batch_size": 8}
    result = fit(run_config(table, tmp_path / "run", **settings), progress=False)
    assert {"val", "test"} <= set(result.metrics)
    net = load_model(tmp_path / "run")
    own = target_of(net.config)
    assert own.kind == kind
    assert set(own.scores) <= set(result.metrics["test"])
    manifest = read_manifest(table, target=kind)
    rows = predict(list(manifest)[:3], net, sampling="exact")
    assert all(len(row.probabilities) == len(own.names) and row.standard_error == 0 for row in rows)
    [one] = explain([manifest.records[0]], net, sampling="systematic", replicates=2)
    torch.testing.assert_close(one.baseline + one.added.sum(0), one.logits, atol=1e-4, rtol=1e-4)
    start, overview, added, end = one.account()
    assert overview == 0
    assert start + float(added.sum()) == pytest.approx(end, abs=1e-3)
    assert one.figure() is not None
    again = Explanation.load(one.save(tmp_path / "one"))
    assert (again.kind, again.prediction, again.answer_text()) == (
        one.kind,
        one.prediction,
        one.answer_text(),
    )
    assert again.to_geojson()["zoomin"]["prediction"] == one.prediction
    out = tmp_path / "evaluated"
    found = evaluate(manifest, net, out=out)
    assert found["target"] == kind
    target_read, answers = read_predictions(out / "predictions.csv", lambda t: read_truth(str(table), t), own)
    assert target_read == own
    assert len(answers) == 24
    for words in (
        f"predict {table.parent} --run {tmp_path / 'run'} --out {tmp_path / 'p.csv'} --sampling exact",
        f"evaluate --run {tmp_path / 'run'}",
        f"report --run {tmp_path / 'run'} --images 2",
    ):
        assert main(words.split()) == 0, words
    shown = capsys.readouterr().out
    assert "24 of 24 images predicted" in shown
    with (tmp_path / "p.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert set(own.columns) <= set(header)
    page = next((tmp_path / "run").glob("report*.html")).read_text()
    assert own.scores[own.score] in page


@OTHERS
def test_train_needs_no_option_but_the_target(
    kind: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"train --data.root {table} --data.target {kind} --out {tmp_path / 'run'} --frozen.folds 2"
    assert main(f"{words} --frozen.copies 1 --frozen.fold_copies 1 --frozen.epochs 2".split()) == 0
    learned = load_model(tmp_path / "run")
    own = target_of(learned.config)
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("Held out in inner folds: ")]
    assert f"{own.scores[own.score]} " in line


@pytest.mark.parametrize("kind", ["labels", "survival"])
def test_crossval(kind: str, table: Path, tmp_path: Path) -> None:
    run = run_config(table, tmp_path / "cv", data_target=kind, epochs=1, data_batch_size=8)
    found = crossval(run, CrossvalConfig(folds=2), progress=False)
    own = target_named(kind, read_manifest(table, target=kind).classes)
    pooled = found["pooled"]["last_epoch"]["seeds"][0]
    assert pooled["n_images"] == 24
    assert set(own.scores) <= set(pooled)
    text = (tmp_path / "cv" / "crossval.md").read_text()
    assert own.scores[own.score] in text
    assert main(f"report --run {tmp_path / 'cv'} --images 0".split()) == 0


@pytest.mark.parametrize(
    ("kind", "few"),
    [("labels", False), ("labels", True), ("value", False), ("grade", False), ("survival", False)],
)
def test_on_a_frozen_trunk(
    kind: str, few: bool, table: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trunk = "test_resnet"  # of 96 features
    model = ZoomInConfig(
        tile_size=16,
        sub_tile_size=16,
        tile_scale=0.5,
        sub_tile_scale=1 / 16,
        n_samples=3,
        sampling="top",
        tile_attention=f"pyramid:{trunk}",
        position_attention="uniform",
        features=f"timm:{trunk}",
        pretrained=False,
        context_side=32,
        normalize_features=False,
    )
    frozen = FrozenConfig(
        enabled=True,
        cache=str(tmp_path_factory.getbasetemp() / "features"),
        few_tiles=16 if few else 4,
        folds=2,
        copies=2,
        fold_copies=1,
        epochs=3,
        components=16,
    )
    config = run_config(table, tmp_path / "run", data_target=kind, run_model=model, run_frozen=frozen)
    result = fit(replace(config, data=replace(config.data, val_fraction=0.25)), progress=False)
    net = load_model(tmp_path / "run")
    own = target_of(net.config)
    assert own.kind == kind
    held_out = result.metrics["learned"]["held_out"]
    assert set(held_out) == ({"gated", "linear"} if few else {"gated"})
    assert set(own.scores) <= set(held_out["gated"])
    [one] = explain([read_manifest(table, target=kind).records[1]], net)
    assert one.mean_logits is not None and one.usual is not None
    is_beside = net.config.gate_overview or net.config.context_side > 0
    assert (one.overview_added is not None) == is_beside
    beside = torch.zeros_like(one.logits) if one.overview_added is None else one.overview_added
    torch.testing.assert_close(one.baseline + beside + one.added.sum(0), one.logits, atol=1e-3, rtol=1e-3)


def test_what_is_for_classes_alone_is_refused(table: Path, tmp_path: Path) -> None:
    def refused(**settings: object) -> str:
        with pytest.raises(ConfigError) as caught:
            fit(run_config(table, tmp_path / "no", data_target="value", **settings), progress=False)
        return str(caught.value)

    assert "train.class_weights" in refused(class_weights="balanced")
    assert "train.negative_class" in refused(negative_class=True)
    assert "val_r2" in refused(monitor="val_auroc")
    for settings, why in (
        ({"n_classes": 1}, "1 for the target"),
        ({"target": "value"}, "Give one"),
    ):
        with pytest.raises(ConfigError, match=why):
            ZoomInConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown kind"):
        target_named("ordinal", "ab")
    assert TrainConfig(monitor="val_concordance").monitor == "val_concordance"


def test_values_learn_in_their_own_unit(table: Path) -> None:
    data = ZoomInDataModule(DataConfig(str(table), target="value", val_fraction=0.0), progress=False)
    assert data.labels.dtype == torch.float32
    assert data.target.kind == "value"
    net = ZoomIn(replace(MODEL, target="value", n_classes=1, value_mean=10.0, value_std=2.0))
    [row] = predict(list(data.manifest)[:1], net, sampling="exact")
    logits = net(torch.zeros(1, 3, 48, 48), sampling="exact").logits.detach()
    assert math.isfinite(row.probabilities[0])
    assert float(target_of(net.config).answers(logits)) == pytest.approx(10 + 2 * float(logits), rel=1e-6)


# --------------------------------------------------------------------------- groups


def test_groups_by_mean_max_and_noisy_or() -> None:
    two, labels, grades = (
        target_named(kind, "abc"[:n]) for kind, n in (("classes", 2), ("labels", 2), ("grade", 3))
    )
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    groups = ["x", "x", "y", None]
    assert pool(p, groups, two).answers.tolist() == [pytest.approx([0.65, 0.35]), pytest.approx([0.2, 0.8])]
    assert pool(p, groups, two, "max").answers[0].tolist() == pytest.approx([0.4, 0.6])
    assert pool(p, groups, two, "noisy_or").answers[0].tolist() == pytest.approx([0.36, 0.64])
    assert pool(p, groups, labels, "max").answers[0].tolist() == pytest.approx([0.9, 0.6])
    assert pool(p, groups, labels, "noisy_or").answers[0].tolist() == pytest.approx([0.94, 0.64])
    q = torch.tensor([[0.0, 0.9, 0.1], [0.5, 0.0, 0.5]])
    assert pool(q, ["x", "x"], grades, "max").answers[0].tolist() == pytest.approx([0.0, 0.9, 0.1])
    with pytest.raises(ConfigError, match="mean, max"):
        pool(q, ["x", "x"], grades, "noisy_or")
    pooled = pool(p, groups, two, "max")
    assert pooled.images == ((0, 1), (2,))
    differ = two.truth(["a", "b", "b", "a"])
    assert pool_truth(differ, pooled, two, "max").tolist() == [1, 1]
    with pytest.raises(DataError, match="'x' have different labels"):
        pool_truth(differ, pooled, two)
    assert group_metrics(p, differ, groups, two) is None
    own = labels.truth(["a", "b?", "none", "a;b"])
    assert pool_truth(own, pool(p, groups, labels), labels).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_groups_are_scored_and_written(table: Path, tmp_path: Path) -> None:
    manifest = read_manifest(table, target="value")
    config = replace(MODEL, target="value", n_classes=1, value_mean=1.5)
    torch.manual_seed(0)
    net = ZoomIn(config).eval()
    found = evaluate(manifest, net, out=tmp_path)
    assert found["n_images"] == 24
    assert found["groups"]["n_groups"] == 12
    assert found["groups"]["mae_interval"] is not None
    net.save_pretrained(tmp_path / "model")
    words = f"predict {table} --run {tmp_path} --out {tmp_path / 'p.csv'} --group_by event --pool max"
    assert main(words.split()) == 0
    with (tmp_path / "p.groups.csv").open(newline="") as file:
        groups = {row["group"]: row for row in csv.DictReader(file)}
    with (tmp_path / "p.csv").open(newline="") as file:
        values = [float(row["value"]) for row in csv.DictReader(file)]
    assert {name: row["images"] for name, row in groups.items()} == {"1": "18", "0": "6"}
    largest = max(value for number, value in enumerate(values) if number % 4 != 3)
    assert float(groups["1"]["value"]) == pytest.approx(largest, rel=1e-6)
