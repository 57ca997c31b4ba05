"""Several processes that train one network give what one process gives, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from test_processes import alive, until
from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.sharing import Share, dealt
from zoomin.errors import CheckpointError, ConfigError
from zoomin.files import plain
from zoomin.runtime.ranks import Ranks, check_ranks, started_ranks
from zoomin.training.config import CrossvalConfig
from zoomin.training.crossval import crossval
from zoomin.training.fit import fit, new_task
from zoomin.training.frozen_config import FrozenConfig
from zoomin.training.parallel import asked_ranks, share_embeddings, training_ranks

SOURCE = str(Path(__file__).parents[1] / "src")
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "job",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
    "SLURM_JOB_NODELIST": "localhost",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """13 images: nine to train on, of which the last step of six has three."""
    return make_images(tmp_path_factory.mktemp("images"), 13)


def started(words, **more):
    path = os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "zoomin", *words], env=environment, stderr=subprocess.PIPE, text=True
    )


def recipe(config, path):
    path.write_text(yaml.safe_dump(plain(config)))
    return ["train", "--config", str(path)]


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_two_processes_of_slurm_give_what_one_gives_and_one_resumes_them(images, tmp_path):
    base = run_config(
        images, tmp_path / "one", class_weights="balanced", data_batch_size=6, run_seed=3, gradient_clip=1.0
    )
    base = replace(base, model=replace(base.model, features="lenet"))
    one = fit(base, progress=False)
    pair = replace(
        base,
        out=str(tmp_path / "two"),
        data=replace(base.data, batch_size=3),
        train=replace(base.train, epochs=2, devices=2),
    )
    words, port = recipe(pair, tmp_path / "two.yaml"), free_port()
    ranks = [
        started(words, **SLURM, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), MASTER_PORT=port)
        for rank in (0, 1)
    ]
    for rank in ranks:
        errors = rank.communicate(timeout=900)[1]
        assert rank.returncode == 0, errors
    assert not list(tmp_path.glob("hpc_ckpt*")) and not list(Path.cwd().glob("hpc_ckpt*"))
    alone = replace(pair, resume=True, train=replace(base.train, epochs=3))
    with pytest.raises(CheckpointError, match="batch_size"):
        fit(alone, progress=False)
    resumed = fit(replace(alone, data=base.data), progress=False)
    for mine, theirs in zip(one.history, resumed.history, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert theirs[name] == pytest.approx(mine[name], rel=2e-4, abs=2e-5), (name, mine["epoch"])
    weights, others = (load_file(result.model / "model.safetensors") for result in (one, resumed))
    for name in weights:
        if not name.endswith("attention.4.bias"):  # the softmax forgets it: its gradient is rounding
            assert torch.allclose(weights[name], others[name], atol=1e-4), name
    assert resumed.metrics["val"]["auroc"] == pytest.approx(one.metrics["val"]["auroc"])


def test_a_process_that_is_killed_ends_the_job_and_the_others(images, tmp_path):
    config = run_config(images, tmp_path / "run", epochs=1000, devices=2, data_batch_size=1)
    words = recipe(config, tmp_path / "run.yaml")
    job = started(words)
    until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, 600)
    ranks = children(job.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    begin = time.monotonic()
    errors = job.communicate(timeout=300)[1]
    assert job.returncode == 128 + signal.SIGKILL
    assert "process 1 of 2 was ended by SIGKILL" in errors and time.monotonic() - begin < 120
    until(lambda: not any(map(alive, ranks)))


def children(parent):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--sort=pid", "--ppid", str(parent)], capture_output=True, text=True
    ).stdout.split()
    return [int(one) for one in found]


def test_images_are_dealt_by_cost_and_each_to_one(images):
    assert dealt([5, 1, 1, 1, 1, 1], 2) == [[0], [1, 2, 3, 4, 5]]
    assert dealt([1, 1], 3) == [[0], [1], []]
    config = run_config(images, images / "none", data_batch_size=2)
    data = ZoomInDataModule(config.data, progress=False, model=config.model)
    parts = [data.with_part(Share(rank, 3)) for rank in range(3)]
    for name in ("train", "val"):
        loaders = [getattr(part, f"{name}_dataloader")() for part in parts]
        batches = [list(loader) for loader in loaders]
        seen = sorted(row for part in batches for batch in part for row in batch.index.tolist())
        assert seen == data.splits[name].tolist()
        if name == "train":
            assert {len(part) for part in batches} == {2}  # six images of a step, and three
            for step in zip(*batches, strict=True):
                assert sorted(p for b in step for p in b.places.tolist()) == list(range(sum(map(len, step))))
    alone = data.train_dataloader()
    assert [len(batch) for batch in alone] == [2, 2, 2, 2, 1]


def test_who_is_told_by_the_variables():
    assert started_ranks({}) == Ranks()
    torchrun = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
    assert started_ranks(torchrun) == Ranks(3, 4, 1, 2, "torchrun")
    srun = {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0",
    }
    assert started_ranks(srun) == Ranks(2, 4, 0, 2, "srun")
    with pytest.raises(ConfigError, match="torchrun has started 4 processes, and each would train the whole"):
        check_ranks(started_ranks(torchrun), 1)
    with pytest.raises(ConfigError, match="is 2, and 4 processes were started"):
        check_ranks(started_ranks(torchrun), 2)
    assert Ranks().each(lambda: 5) == [5] and Ranks().first(lambda: 6) == 6


def test_what_runs_in_one_process_says_so(images, tmp_path):
    config = run_config(images, tmp_path / "run", devices=2)
    assert (
        asked_ranks(config) == 2 and asked_ranks(replace(config, train=replace(config.train, devices=1))) == 1
    )
    with pytest.raises(ConfigError, match=r"ask for 2 processes, and this is one\. .*zoomin train"):
        training_ranks(config)
    with pytest.raises(ConfigError, match="frozen trunk runs in one process"):
        asked_ranks(replace(config, frozen=FrozenConfig(enabled=True)))
    with pytest.raises(ConfigError, match=r"each fold in one process.*cv\.jobs"):
        crossval(config, CrossvalConfig(folds=2), progress=False)
    with pytest.raises(ConfigError, match="devices"):
        replace(config.train, devices=0)
    assert not (tmp_path / "run").exists() and np.isfinite(asked_ranks(config))


def test_embeddings_of_frozen_trunks_are_shared_out(images, monkeypatch):
    trunk = "timm:resnet10t"
    config = run_config(images, images / "none", freeze_trunks=True)
    config = replace(config, model=replace(config.model, tile_attention=trunk, position_attention=trunk))
    told, tasks = {}, []

    def each(self, call):  # two processes one after the other: each tells, and hears what has been told
        told[self.rank] = call()
        return list(told.values())

    monkeypatch.setattr(Ranks, "each", each)
    data = ZoomInDataModule(config.data, progress=False, model=config.model)
    for rank in (0, 1):
        task = new_task(config, data)
        share_embeddings(task.train(), data, Ranks(rank, 2))
        tasks.append(task)
    used = sorted(torch.cat([data.splits["train"], data.splits["val"]]).tolist())
    assert sorted([*told[0], *told[1]]) == used and abs(len(told[0]) - len(told[1])) <= 1
    second = tasks[1]
    monkeypatch.setattr(second.net, "embed_tiles", None)  # it knows all: nothing is embedded any more
    for batch in data.predict_dataloader():
        assert len(second.cached_embeddings(batch))
