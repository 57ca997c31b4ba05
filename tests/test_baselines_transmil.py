from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv1d, layer_norm

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.transmil import PPEG, NystromAttention, TransMIL, TransMILConfig, pseudo_inverse
from zoomin.errors import ConfigError
from zoomin.images.batch import as_batch


def small(**settings) -> TransMIL:
    torch.manual_seed(0)
    base = {"crop_size": 20, "width": 8, "heads": 2, "landmarks": 4, "dropout": 0.0, "n_classes": 3}
    return TransMIL(TransMILConfig(**{**base, **settings}))


def by_hand(layer: NystromAttention, x: torch.Tensor, exact: bool) -> torch.Tensor:
    """Attention of one bag, head by head: in full, or by equation 8 with landmarks of equal segments."""
    width, heads = x.shape[1], layer.heads
    q, k, v = (x @ w.T for w in layer.to_qkv.weight.split(width))
    parts = []
    for head in range(heads):
        own = slice(head * width // heads, (head + 1) * width // heads)
        qh, kh, vh = q[:, own] * (heads / width) ** 0.5, k[:, own], v[:, own]
        if exact:
            read = (qh @ kh.T).softmax(1) @ vh
        else:
            segments = torch.arange(len(x)).chunk(layer.landmarks)
            qm, km = (torch.stack([t[s].mean(0) for s in segments]) for t in (qh, kh))
            inverse = torch.linalg.pinv((qm @ km.T).softmax(1))
            read = (qh @ km.T).softmax(1) @ inverse @ (qm @ kh.T).softmax(1) @ vh
        beside = conv1d(vh.T[:, None], layer.beside.weight[head, :, :, 0][None], padding=16)[:, 0].T
        parts.append(read + beside)
    return torch.cat(parts, 1) @ layer.out[0].weight.T + layer.out[0].bias


def test_the_pseudo_inverse_converges_each_matrix_on_its_own():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.rand(3, 5, 5, generator=generator).mul(3).softmax(2) + torch.eye(5)
    found = pseudo_inverse(matrices, 12)
    torch.testing.assert_close(found, torch.linalg.pinv(matrices), rtol=1e-3, atol=1e-4)
    other = torch.cat([matrices[:1], 100 * matrices[1:]])
    torch.testing.assert_close(pseudo_inverse(other)[0], pseudo_inverse(matrices)[0])


def test_of_as_many_landmarks_as_tokens_attention_is_exact():
    torch.manual_seed(0)
    layer = NystromAttention(8, 2, 7, 0.0)
    with torch.no_grad():
        layer.to_qkv.weight[:16] *= 6  # a matrix that is not all but singular
    x = torch.randn(2, 7, 8)
    wanted = torch.stack([by_hand(layer, bag, exact=True) for bag in x])
    torch.testing.assert_close(layer(x), wanted, rtol=0.05, atol=0.02)


def test_landmarks_are_means_of_segments():
    torch.manual_seed(0)
    layer = NystromAttention(8, 2, 3, 0.0)
    with torch.no_grad():
        layer.to_qkv.weight[:16] *= 6
    x = torch.randn(1, 12, 8)
    torch.testing.assert_close(layer(x)[0], by_hand(layer, x[0], exact=False), rtol=0.05, atol=0.02)


def test_ppeg_is_three_convolutions_and_the_tokens():
    layer = PPEG(4)
    x = torch.randn(2, 9, 4)
    grid = x.transpose(1, 2).reshape(2, 4, 3, 3)
    wanted = grid + sum(convolution(grid) for convolution in layer.convolutions)
    torch.testing.assert_close(layer(x), wanted.reshape(2, 4, 9).transpose(1, 2))
    assert [c.kernel_size[0] for c in layer.convolutions] == [7, 5, 3]


def test_a_bag_becomes_a_square_and_a_token():
    """Algorithm 1: ten crops, of which the first six are repeated."""
    net = small(landmarks=50)
    image = ragged()[1]
    h = net.first(net.bags(as_batch([image])).instances)
    x = torch.cat([net.token[None], h, h[:6]])[None]

    def attend(x, block):
        norm, attention = block
        return x + attention(layer_norm(x, (8,), norm.weight, norm.bias))

    x = attend(x, net.attention_1)
    x = torch.cat([x[:, :1], net.places(x[:, 1:])], 1)
    x = attend(x, net.attention_2)
    torch.testing.assert_close(net([image]).features, net.norm(x[:, 0]), rtol=1e-4, atol=1e-5)


def test_contract(tmp_path):
    check_contract(small(dropout=0.1), tmp_path)


def test_learns():
    torch.manual_seed(0)
    config = TransMILConfig(crop_size=16, width=32, heads=4, landmarks=16)
    assert learn(TransMIL(config), 25, 3e-3) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="multiple of heads"):
        TransMILConfig(width=10, heads=4)
    with pytest.raises(ConfigError, match="landmarks is 0"):
        TransMILConfig(landmarks=0)
