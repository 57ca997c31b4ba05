"""The batched network and the per-image, per-tile loop are one: logits, gradients and draws, given keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from problems import exact_features, gradients_of, picture, small_network
from zoomin.errors import ConfigError
from zoomin.experiments.reference import forward_loop, prepare
from zoomin.images.array import ArrayImage
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.sampling import DESIGNS

SIZES = [(16, 48), (20, 40), (12, 44), (33, 17), (9, 7), (1, 1)]


def images(sizes: Sequence[tuple[int, int]] = SIZES) -> list[ArrayImage]:
    return [ArrayImage(picture(h, w, seed)) for seed, (h, w) in enumerate(sizes)]


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for name, gradient in a.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(b[name], gradient, atol=1e-4 * scale + 1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("sampling", DESIGNS)
@pytest.mark.parametrize("features", ["lenet", "resnet16"])
def test_loop_is_the_network(sampling: str, features: str) -> None:
    net = small_network(features=features).eval()
    keys, contrast = torch.arange(len(SIZES)) + 11, torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    batched = net(images(), keys=keys, sampling=sampling, contrast=contrast)
    loop = forward_loop(
        net, [prepare(net, image) for image in images()], keys=keys, sampling=sampling, contrast=contrast
    )
    torch.testing.assert_close(loop.logits, batched.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loop.contrast_logits, batched.contrast_logits, atol=1e-4, rtol=1e-4)
    for i in range(len(SIZES)):
        n_tiles = len(loop.log_alpha[i])
        torch.testing.assert_close(
            loop.log_alpha[i], batched.attention.log_alpha[i, :n_tiles], atol=1e-4, rtol=1e-4
        )
        attended = batched.tiles.index[batched.tiles.image == i]
        assert sorted(loop.log_beta[i]) == attended.tolist()
        drawn = {tuple(r) for r in batched.sub_tiles.regions[batched.sub_tiles.image == i].tolist()}
        assert drawn <= {tuple(r) for r in loop.regions[i].tolist()}
    weights = torch.randn(2, generator=torch.Generator().manual_seed(0))
    close(
        gradients_of(net, (batched.logits @ weights).sum() + (batched.contrast_logits @ weights).sum()),
        gradients_of(net, (loop.logits @ weights).sum() + (loop.contrast_logits @ weights).sum()),
    )


def test_loop_is_the_network_on_the_paper_s_recipe() -> None:
    torch.manual_seed(0)
    net = ZoomIn(ZoomInConfig())
    some = images([(500, 500), (500, 500)])
    keys = torch.tensor([4, 5])
    batched = net(some, keys=keys)
    loop = forward_loop(net, [prepare(net, image) for image in some], keys=keys)
    torch.testing.assert_close(loop.logits, batched.logits, atol=1e-4, rtol=1e-4)
    close(gradients_of(net, batched.logits[:, 0].sum()), gradients_of(net, loop.logits[:, 0].sum()))


def test_plain_draws_are_unbiased() -> None:
    """The draws that the benchmark times follow the paper's law too."""
    net = small_network()
    image = images()[2]
    prepared = prepare(net, image)
    torch.manual_seed(0)
    with torch.inference_mode():
        draws = forward_loop(net, [prepared] * 200).features
        exact = exact_features(net, image)
    error = draws.std(0) / 200**0.5
    assert ((draws.mean(0) - exact).abs() <= 5 * error + 1e-6).all()


def test_plain_draws_know_the_paper_s_law_alone() -> None:
    net = small_network()
    with pytest.raises(ConfigError, match="there are no keys"):
        forward_loop(net, [prepare(net, images()[0])], sampling="systematic")
