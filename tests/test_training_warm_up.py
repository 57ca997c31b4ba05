"""The warm-up of the attention, frozen trunks and what is remembered of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_examples import run_config, tiny_images

from zoomin.data.datamodule import BatchKey, ZoomInDataModule
from zoomin.data.needles import NeedleConfig, make_needles
from zoomin.errors import ConfigError
from zoomin.geometry import TileGrid
from zoomin.training.config import TrainConfig, WarmUp
from zoomin.training.fit import fit, new_task
from zoomin.training.warm_up import log_mean_exp, warm_up
