"""Images unlike the training images, answers that are not given: in rows, tables and explanations."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.text import Text
from sklearn.covariance import LedoitWolf
from torch import Tensor

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin import explain, load_model, predict
from zoomin.app.cli import main
from zoomin.baselines.cnn import CNN, CNNConfig
from zoomin.data.folders import read_folders
from zoomin.errors import ConfigError
from zoomin.explanation import Explanation
from zoomin.explanation.draw import doubt
from zoomin.inference.config import InferenceConfig
from zoomin.inference.evaluation import evaluate
from zoomin.inference.prediction_table import merge_predictions, predict_into
from zoomin.model.config import ZoomInConfig
from zoomin.model.networks import GatedHead, LinearHead, Reference
from zoomin.model.networks.reference import FEWEST
from zoomin.model.zoom_in import ZoomIn
from zoomin.training.fit import fit
from zoomin.training.frozen.inner_folds import Folds
from zoomin.training.frozen.likeness import compared_out_of_fold

MODEL = ZoomInConfig(
    tile_size=24,
    sub_tile_size=19,
    tile_scale=0.5,
    sub_tile_scale=0.5,
    n_samples=4,
    features="lenet_released",
    class_names=("empty", "square"),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("trust") / "images", 12)


@pytest.fixture
def net(images: Path) -> ZoomIn:
    """An untrained network whose reference is twenty images like these."""
    torch.manual_seed(0)
    net = ZoomIn(MODEL).eval()
    generator = torch.Generator().manual_seed(1)
    alike = torch.randint(0, 60, (40, 3, 48, 48), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        features = net(alike, sampling="exact").features
    net.head.reference = Reference.of(features[:20], features[20:])
    return net


def test_of_images_like_those_held_out_few_are_unlike() -> None:
    """Over many references and images, at most a share p has a p-value of p or less."""
    generator, p = torch.Generator().manual_seed(0), []
    for _ in range(60):
        train, held, new = torch.randn(3, 40, 6, generator=generator)
        found = Reference.of(train, held)
        assert found is not None
        p.append(found.p_value(new))
    values = torch.cat(p)
    for level in (0.05, 0.2, 0.5):
        share = float((values <= level).double().mean())
        assert share == pytest.approx(level, abs=0.03)


def test_of_images_held_out_fold_by_fold_few_are_unlike() -> None:
    """Copies that lean towards the images they learned from: only what they have not seen is compared."""
    generator, p, naive, where = torch.Generator().manual_seed(0), [], [], torch.arange(40)
    held = [where[where % 5 == fold] for fold in range(5)]
    folds = Folds([where[where % 5 != fold] for fold in range(5)], held)
    for _ in range(60):
        old, new = torch.randn(2, 40, 6, generator=generator)

        def copies(learned: Tensor, images: Tensor, own: Tensor = old) -> Tensor:
            drawn = torch.randn(2, 6, 6, generator=generator)  # every copy sees with eyes of its own
            seen = (images @ drawn).clone()
            seen[:, learned] *= 0.5 if images is own else 1.0
            return seen

        apart = [copies(train, old) for train in folds.train]
        state = generator.get_state()
        known = copies(where, old)
        generator.set_state(state)
        seen = copies(where, new).transpose(0, 1).flatten(1)
        found = compared_out_of_fold(known, apart, folds)
        assert found is not None and len(found.held_out) == 40
        p.append(found.p_value(seen))
        found.held_out = found.distance(known.transpose(0, 1).flatten(1)).sort().values
        naive.append(found.p_value(seen))
    for level in (0.05, 0.2):
        assert float((torch.cat(p) <= level).double().mean()) == pytest.approx(level, abs=0.03)
    assert float((torch.cat(naive) <= 0.05).double().mean()) > 0.5
    few = torch.randn(1, FEWEST - 1, 6)
    assert (
        compared_out_of_fold(few, [few, few], Folds([where[:9], where[9:18]], [where[9:18], where[:9]]))
        is None
    )


def test_the_p_value_is_the_share_of_those_as_far() -> None:
    train = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    held = torch.randn(FEWEST, 3, generator=torch.Generator().manual_seed(1))
    found = Reference.of(train, held)
    assert found is not None
    new = torch.tensor([[0.3, -1.0, 2.5], [50.0, 0.0, 0.0]])
    fitted = LedoitWolf().fit(train.double().numpy())
    own, others = (fitted.mahalanobis(some.double().numpy()) for some in (new, held))
    for far, p in zip(own, found.p_value(new).tolist(), strict=True):
        assert p == (1 + sum(other >= far for other in others)) / (FEWEST + 1)
    assert found.p_value(new)[1] == 0.05  # the least there is still counts as unlike
    assert Reference.of(train, held[1:]) is None


def test_a_gated_head_compares_what_its_linear_layer_sees() -> None:
    head = GatedHead(2, 3, 4, overview=5)
    features = torch.cat([torch.rand(6, 8), torch.randn(6, 5)], 1)
    seen = head.seen(features)
    torch.testing.assert_close(head(features), seen @ head.weight.T + head.bias)
    weight = torch.tensor([[2.0]]).expand(6, 8)
    twice = torch.cat([features[:, :8] * weight, features[:, 8:]], 1)
    torch.testing.assert_close(head.seen(twice), seen)  # how much was drawn is no difference


def test_a_saved_reference_comes_back_and_changes_no_answer(net: ZoomIn, tmp_path: Path) -> None:
    views = torch.randint(0, 255, (2, 3, 48, 48), dtype=torch.uint8)
    again = ZoomIn.from_pretrained(net.save_pretrained(tmp_path / "known"))
    rows, others = (predict(views, one, exact_budget=512) for one in (net, again))
    assert rows == others and rows[0].ood_p_value is not None
    net.head.reference = None
    bare = ZoomIn.from_pretrained(net.save_pretrained(tmp_path / "bare"))
    assert bare.head.reference is None
    plain = predict(views, bare, exact_budget=512)
    assert [row.probabilities for row in plain] == [row.probabilities for row in rows]
    assert all(row.ood_p_value is None and not row.unlike for row in plain)
    again.load_state_dict(bare.state_dict())
    assert again.head.reference is None


def test_answers_are_not_given_where_the_settings_say_so(net: ZoomIn, images: Path) -> None:
    paths = sorted(images.glob("*/*.png"))
    rows = predict(paths, net)
    least = sorted(max(row.probabilities) for row in rows)[5] + 1e-9
    some = predict(paths, net, abstain_below=least)
    for row, other in zip(rows, some, strict=True):
        sure = max(row.probabilities)
        assert other.probabilities == row.probabilities
        assert other.label == ("abstained" if sure < least else row.label)
        assert bool(other.abstained) == (sure < least)
    unlike = predict(paths, net, abstain_unlike=True)
    assert {row.abstained for row in unlike if row.unlike} == {"unlike the training images"}
    assert all(row.label == "abstained" if row.unlike else row.label in MODEL.class_names for row in unlike)
    assert any(row.unlike for row in unlike)  # bright squares were not among the reference


def test_what_the_model_cannot_tell_is_refused(images: Path) -> None:
    paths = sorted(images.glob("*/*.png"))[:1]
    bare = ZoomIn(MODEL)
    with pytest.raises(ConfigError, match=r"abstain_unlike.*validation images"):
        predict(paths, bare, abstain_unlike=True)
    for kind, names in (("labels", ("a", "b")), ("value", ("mm",)), ("survival", ("risk",))):
        other = ZoomIn(replace(MODEL, target=kind, n_classes=len(names), class_names=names))
        with pytest.raises(ConfigError, match=rf"abstain_below.*{kind}"):
            predict(paths, other, abstain_below=0.9)
    with pytest.raises(ConfigError, match="abstain_below"):
        predict(paths, bare, abstain_below=1.5)
    graded = ZoomIn(replace(MODEL, target="grade", class_names=("1", "2")))
    assert predict(paths, graded, abstain_below=1.0)[0].label == "abstained"


def test_tables_tell_and_can_be_joined_and_resumed(net: ZoomIn, images: Path, tmp_path: Path) -> None:
    config = InferenceConfig(exact_budget=0, replicates=2, abstain_below=1.0, abstain_unlike=True)
    records = read_folders(images).records
    parts = [tmp_path / f"{n}.csv" for n in (1, 2)]
    for number, part in enumerate(parts):
        summary = predict_into(list(records)[number::2], net, part, config)
        assert summary.abstained == summary.done == 6 and summary.unlike is not None
        assert sum(summary.counts.values()) == 0
    whole = merge_predictions(parts, tmp_path / "all.csv")
    assert whole.abstained == 12
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["prediction"] for row in rows} == {"abstained"}
    assert sum(row["abstained"] == "unlike the training images" for row in rows) == whole.unlike
    assert all(float(row["prob_square"]) <= 1 and 0 < float(row["ood_p_value"]) <= 1 for row in rows)
    again = predict_into(list(records)[::2], net, parts[0], config, resume=True)
    assert again.kept == 6 and again.abstained == 6
    groups = [replace(record, group="one") for record in records]
    predict_into(groups, net, tmp_path / "groups.csv", config)
    [row] = csv.DictReader((tmp_path / "groups.groups.csv").open(encoding="utf-8", newline=""))
    assert row["prediction"] == "abstained"


def test_evaluation_counts_what_is_answered(net: ZoomIn, images: Path, tmp_path: Path) -> None:
    manifest = read_folders(images)
    every = evaluate(manifest, net)
    assert "coverage" not in every and every["unlike_training"]
    rows = predict(manifest.records, net)
    least = sorted(max(row.probabilities) for row in rows)[4] + 1e-9
    some = evaluate(manifest, net, InferenceConfig(abstain_below=least), out=tmp_path)
    given = [(r, m) for r, m in zip(rows, manifest.records, strict=True) if max(r.probabilities) >= least]
    assert some["coverage"] == pytest.approx(len(given) / 12) and some["accuracy"] == every["accuracy"]
    right = sum(row.label == record.label for row, record in given) / len(given)
    assert some["answered"]["accuracy"] == pytest.approx(right)
    assert json.loads((tmp_path / "metrics.json").read_text())["coverage"] == some["coverage"]
    none = evaluate(manifest, net, InferenceConfig(abstain_below=1.0))
    assert none["coverage"] == 0 and "answered" not in none


def test_explanations_say_it_in_words_and_on_disk(net: ZoomIn, images: Path, tmp_path: Path) -> None:
    paths = sorted(images.glob("square/*.png"))
    found = explain(paths, net, abstain_below=1.0)
    rows = predict(paths, net)
    assert [one.ood_p_value for one in found] == [row.ood_p_value for row in rows]
    unlike = next(one for one in found if one.ood_p_value <= 0.05)
    assert unlike.prediction in MODEL.class_names  # what it would have been
    again = Explanation.load(unlike.save(tmp_path / "one"))
    assert (again.ood_p_value, again.abstained) == (unlike.ood_p_value, unlike.abstained)
    p = f"unlike the training images (p = {again.ood_p_value:.3f})"
    assert doubt(again) == f"Abstained: {again.abstained}; {p}"
    assert doubt(again) in str(again._repr_html_())
    assert any(doubt(again) in text.get_text() for text in again.figure().findobj(Text))
    document = json.loads((tmp_path / "one" / "explanation.json").read_text())
    del document["ood_p_value"], document["abstained"]  # as an earlier version wrote it
    (tmp_path / "one" / "explanation.json").write_text(json.dumps(document))
    old = Explanation.load(tmp_path / "one")
    assert old.ood_p_value is None and doubt(old) == ""


@pytest.mark.parametrize("baseline", [False, True])
def test_a_run_knows_its_training_images(
    tmp_path: Path, baseline: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_images(tmp_path / "images", 44)
    config = run_config(root, tmp_path / "run", data_val_fraction=0.5, epochs=1)
    if baseline:
        config = replace(config, model=CNNConfig(side=32, features="lenet_released"))
    result = fit(config, progress=False)
    assert result.metrics["unlike_training"]["images"] >= FEWEST
    model = load_model(result.folder)
    assert isinstance(model, CNN if baseline else ZoomIn) and isinstance(model.head, LinearHead)
    assert model.head.reference is not None
    main(["predict", str(root / "square"), "--run", str(result.folder), "--out", str(tmp_path / "p.csv")])
    assert "unlike the training images" in capsys.readouterr().out
    main(["evaluate", "--run", str(result.folder), "--split", "val", "--abstain_below", "0.5"])
    assert "share answered" in capsys.readouterr().out
    few = fit(
        replace(config, out=str(tmp_path / "few"), data=replace(config.data, val_fraction=0.1)),
        progress=False,
    )
    assert "it takes 19" in few.metrics["unlike_training"]["why_not"]
    assert load_model(few.folder).head.reference is None
