"""Shared models: what the folder says, what is sent to the hub, what comes back, and what the hub refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, errors

from zoomin import load_model
from zoomin.app.cli import main
from zoomin.errors import CheckpointError, ConfigError
from zoomin.files import write_json
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.hub import FILES
from zoomin.model.storage import model_fingerprint

SECRET = "patient-17"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run whose files name images and folders of one hospital."""
    folder = tmp_path / SECRET
    config = ZoomInConfig(
        tile_size=40,
        sub_tile_size=9,
        n_samples=6,
        class_names=("no", "yes"),
        mpp=0.5,
        tile_mpp=4.0,
        sub_tile_mpp=2.0,
    )
    torch.manual_seed(0)
    net = ZoomIn(config)
    net.readers = ("openslide",)
    net.save_pretrained(folder / "model")
    settings = {"seed": 3, "data": {"root": f"/{SECRET}"}, "train": {"epochs": 2, "weights": f"/{SECRET}/w"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    write_json(folder / "splits.json", {"train": [f"{SECRET}.svs", "b.svs"], "test": ["c.svs"]})
    write_json(folder / "versions.json", {"zoomin": "0.1.0", "packages": {"torch": "2.9"}})
    scores = {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "auroc": None, "failed": {SECRET: "damaged"}}
    write_json(folder / "metrics.json", {"epoch": 1, "skipped": [SECRET], "test": scores})
    return folder


def test_a_folder_says_what_it_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "needles"
    assert main(["share", str(run), "--to", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\nUse it with --run {out}\n"
    assert {path.name for path in out.iterdir()} == set(FILES)
    assert not any(SECRET in path.read_text(errors="replace").replace(str(out), "") for path in out.iterdir())
    before, after = load_model(run), load_model(out)
    assert model_fingerprint(before, before.config) == model_fingerprint(after, after.config)
    summary = json.loads((out / "training.json").read_text())
    assert summary["images"] == {"train": 2, "test": 1}
    assert summary["settings"] == {"train": {"epochs": 2}} and summary["seed"] == 3
    assert summary["metrics"]["test"]["accuracy"] == 0.9
    card = ModelCard.load(out / "README.md")
    assert card.data.library_name == "zoomin" and card.data.pipeline_tag == "image-classification"
    for text in (
        "classes: no, yes",
        "0.5 microns per pixel",
        "| test | 0.900 (0.800 to 0.950) |",
        "2 train, 1 test",
    ):
        assert text in card.text
    again = tmp_path / "again"
    assert main(["share", str(out), "--to", str(again)]) == 0
    assert (again / "training.json").read_text() == (out / "training.json").read_text()
    assert main(["share", str(run), "--to", str(out)]) == 2
    assert "the folder is not empty. Give a new folder." in capsys.readouterr().err
    assert main(["share", str(run), "--to", str(out / "README.md")]) == 74
    assert "README.md: a file, not a folder." in capsys.readouterr().err


def test_what_is_sent_to_the_hub(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = tmp_path / "sent"
    calls = Mock()

    def upload(self: object, *, folder_path: Path, **how: Any) -> SimpleNamespace:
        shutil.copytree(folder_path, sent)
        calls.upload(**how)
        return SimpleNamespace(oid="c0ffee")

    for name in ("create_repo", "create_branch"):
        call = getattr(calls, name)
        monkeypatch.setattr(
            huggingface_hub.HfApi, name, lambda self, *words, call=call, **how: call(*words, **how)
        )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert main(["share", str(run), "--to", "hf://lab/needles@v1"]) == 0
    assert "--run hf://lab/needles@c0ffee" in capsys.readouterr().out
    calls.create_repo.assert_called_once_with("lab/needles", private=True, exist_ok=True)
    calls.create_branch.assert_called_once_with("lab/needles", branch="v1", exist_ok=True)
    (how,) = [call.kwargs for call in calls.upload.call_args_list]
    assert (how["repo_id"], how["revision"]) == ("lab/needles", "v1")
    assert sorted(how["allow_patterns"]) == sorted(FILES) == sorted(path.name for path in sent.iterdir())
    assert not any(SECRET in path.read_text(errors="replace") for path in sent.iterdir())
    assert "zoomin predict IMAGES --run hf://lab/needles@v1" in (sent / "README.md").read_text()


def test_a_model_of_the_hub_is_loaded_wherever_a_run_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    folder = tmp_path / "cache"
    main(["share", str(run), "--to", str(folder)])
    asked = Mock(return_value=str(folder))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 80)).save("a.png")
    for address in ("hf://lab/needles@v1", Path("hf://lab/needles@v1")):
        assert load_model(address).config.classes == ("no", "yes")
    assert main(["predict", "a.png", "--run", "hf://lab/needles", "--mpp=0.5"]) == 0
    assert main(["explain", "a.png", "--run", "hf://lab/needles", "--mpp=0.5", "--pictures=false"]) == 0
    assert (tmp_path / "explanations" / "index.json").is_file() and not (tmp_path / "hf:").exists()
    assert [(call.args, call.kwargs["revision"]) for call in asked.call_args_list] == [
        *[(("lab/needles",), "v1")] * 2,
        *[(("lab/needles",), None)] * 2,
    ]
    assert all(sorted(call.kwargs["allow_patterns"]) == sorted(FILES) for call in asked.call_args_list)


def test_what_the_hub_refuses(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    response = Mock(headers={})  # of whichever client the library has
    refused = {
        errors.RepositoryNotFoundError(
            "gone", response=response
        ): r"no such model on the hub\..*hf auth login",
        errors.RevisionNotFoundError("gone", response=response): "there is no revision 'v1'",
        errors.LocalEntryNotFoundError("not found"): "not in the cache of this computer.*HF_HUB_OFFLINE",
        errors.OfflineModeIsEnabled("offline"): "HF_HUB_OFFLINE is set. Unset it",
        errors.HFValidationError("too long"): "not a valid name of a model",
        errors.HfHubHTTPError("500 Server Error", response=response): r"the hub refuses \(500 Server Error\)",
    }
    for error, said in refused.items():
        monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock(side_effect=error))
        with pytest.raises((CheckpointError, ConfigError), match=f"^hf://lab/needles@v1: .*{said}"):
            load_model("hf://lab/needles@v1")
    for address in ("hf://needles", "hf://a/b/c", "hf://lab/needles@"):
        with pytest.raises(ConfigError, match="not the address of a model on the hub"):
            load_model(address)
    assert main(["share", "hf://lab/needles", "--to", "folder"]) == 2


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The whole way through huggingface_hub, which fetches nothing when it is told so."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"not in the cache of this computer"):
        load_model("hf://lab/needles")
