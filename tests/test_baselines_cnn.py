from __future__ import annotations

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.cnn import CNN, CNNConfig, read_whole
from zoomin.errors import ConfigError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.batch import as_batch


def test_an_image_is_read_whole_in_the_middle_of_the_square():
    wide = ArrayImage(torch.full((3, 20, 80), 200, dtype=torch.uint8))
    small = ArrayImage(torch.full((3, 10, 16), 100, dtype=torch.uint8))
    views = read_whole(as_batch([wide, small]), 40)
    background = wide.background[0]
    assert views.shape == (2, 3, 40, 40)
    assert (views[0, :, 15:25] == 200).all()
    assert (views[0, :, :15] == background).all() and (views[0, :, 25:] == background).all()
    assert (views[1, :, 15:25, 12:28] == 100).all()  # never enlarged
    assert int((views[1] == 100).sum()) == 3 * 10 * 16


def test_shrinking_is_the_exact_average():
    image = ragged()[1]
    [view] = read_whole(as_batch([image]), 30)
    expected = image.read([Region(0, -25, 90, 90)], 1 / 3)[0]
    assert torch.equal(view, expected)


def test_contract(tmp_path):
    check_contract(CNN(CNNConfig(side=40, n_classes=3)), tmp_path)


def test_batch_norm_sees_the_whole_batch():
    net = CNN(CNNConfig(side=32, features="resnet16", chunk_size=16)).train()
    calls = []
    net.features.register_forward_hook(lambda _, given, out: calls.append(len(given[0])))
    net(ragged())
    assert calls == [4]


def test_learns():
    torch.manual_seed(0)
    assert learn(CNN(CNNConfig(side=16, features="lenet_released")), 15, 1e-2) > 0.9


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="too small"):
        CNN(CNNConfig(side=8, features="lenet_released"))
    with pytest.raises(ConfigError, match="unknown feature network"):
        CNN(CNNConfig(features="vgg"))
    with pytest.raises(ConfigError, match="side is 0"):
        CNNConfig(side=0)
    with pytest.raises(ConfigError, match="names for 2 classes"):
        CNNConfig(class_names=("a",))
