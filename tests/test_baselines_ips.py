from __future__ import annotations

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.ips import IPS, CrossAttention, IPSConfig
from zoomin.errors import ConfigError
from zoomin.geometry import Region, TileGrid
from zoomin.images.batch import as_batch

SMALL = IPSConfig(tile_size=20, memory=3, scanned=2, heads=2, head_width=8, n_classes=3)


def small(**settings) -> IPS:
    torch.manual_seed(0)
    net = IPS(IPSConfig.from_dict({**SMALL.to_dict(), **settings}))
    with torch.no_grad():
        net.attention.to_keys.weight *= 20  # scores that differ
    return net


def tiles_of(net: IPS, image) -> torch.Tensor:
    """Features of all tiles, from the definition."""
    boxes = [Region(x, y, 20, 20) for y in range(0, image.height, 20) for x in range(0, image.width, 20)]
    return net.features((image.read(boxes, 1.0).float() - net.mean) / net.std)


def heads_of(attention: CrossAttention, tiles: torch.Tensor) -> torch.Tensor:
    """Attention of each head to tiles (equations 1 and 2), head by head."""
    query, keys = attention.to_query.weight @ attention.query, tiles @ attention.to_keys.weight.T
    width = len(query) // attention.heads
    parts = [slice(h * width, (h + 1) * width) for h in range(attention.heads)]
    return torch.stack([(keys[:, p] @ query[p] / width**0.5).softmax(0) for p in parts])


def scan(net: IPS, tiles: torch.Tensor) -> list[int]:
    """Algorithm 1 of the publication, for one image, in the tiles' own order."""
    c = net.config
    kept = list(range(min(c.memory, len(tiles))))
    for start in range(c.memory, len(tiles), c.scanned):
        some = kept + list(range(start, min(start + c.scanned, len(tiles))))
        score = heads_of(net.attention, tiles[some]).mean(0)
        kept = [some[i] for i in score.argsort(descending=True)[: c.memory]]
    return kept


def test_cross_attention_is_the_papers():
    attention = CrossAttention(6, 2, 4, 0.0)
    tiles = torch.randn(5, 6)
    heads = heads_of(attention, tiles)
    values = tiles @ attention.to_values.weight.T
    read = torch.cat([heads[0] @ values[:, :4], heads[1] @ values[:, 4:]])
    hidden = attention.norm_1(attention.query + attention.out(read))
    expected = attention.norm_2(hidden + attention.inner(hidden))
    padded = torch.cat([tiles, torch.full((2, 6), 9.0)])[None]
    inside = torch.tensor([[True] * 5 + [False] * 2])
    torch.testing.assert_close(attention(padded, inside)[0], expected)


def test_the_scan_is_the_papers():
    """Of a batch of images of many sizes, one of fewer tiles than the memory."""
    net = small(memory=5).eval()
    images = [*ragged(), ragged()[0]]
    batch = as_batch(images)
    tile, inside = net.select(batch, TileGrid.of(batch.sizes, 20), torch.arange(5))
    for row, there, image in zip(tile, inside, images, strict=True):
        assert sorted(row[there].tolist()) == sorted(scan(net, tiles_of(net, image)))
    assert inside.sum(1).tolist() == [5, 5, 5, 4, 5]


def test_what_was_kept_is_classified():
    net = small().eval()
    for image in ragged():
        tiles = tiles_of(net, image)
        kept = tiles[scan(net, tiles)][None]
        expected = net.attention(kept, torch.ones(1, kept.shape[1], dtype=torch.bool))
        out = net([image])
        torch.testing.assert_close(out.features, expected, rtol=1e-4, atol=1e-5)
        assert out.views_read.tolist() == [len(tiles)]


def test_gradients_come_from_the_kept_tiles_alone():
    net = small(dropout=0.0).train()
    batch = as_batch(ragged())
    seen = []
    net.features.register_forward_hook(lambda _, given, out: seen.append((len(given[0]), out.requires_grad)))
    net(batch)
    assert sum(n for n, learns in seen if learns) == 4 * 3
    assert sum(n for n, learns in seen if not learns) == 9 + 10 + 9 + 4
    assert net.training and net.features.training and net.attention.dropout.training


def test_the_scan_is_in_evaluation_mode():
    """Statistics of batch normalisation move once per step, by the tiles that are kept."""
    net = small(features="resnet16").train()
    net(ragged())
    counts = [m.num_batches_tracked for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {int(n) for n in counts} == {1}


def test_tiles_are_shuffled_while_training():
    net = small(memory=1, scanned=1).train()
    grid = TileGrid.of(torch.tensor([[60, 44], [33, 35]]), 20)
    order, listed = net._order(grid, torch.tensor([3, 4]))
    assert order[0].tolist() != list(range(9)) and sorted(order[0].tolist()) == list(range(9))
    assert sorted(order[1, :4].tolist()) == [0, 1, 2, 3] and listed[1].sum() == 4
    alone, _ = net._order(TileGrid.of(torch.tensor([[33, 35]]), 20), torch.tensor([4]))
    assert alone[0].tolist() == order[1, :4].tolist()


def test_contract(tmp_path):
    check_contract(small(), tmp_path)


def test_learns():
    torch.manual_seed(0)
    config = IPSConfig(tile_size=16, memory=2, scanned=2, heads=2, head_width=8, dropout=0.0)
    assert learn(IPS(config), 30, 3e-3) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="memory is 0"):
        IPSConfig(memory=0)
    with pytest.raises(ConfigError, match="dropout is 1"):
        IPSConfig(dropout=1.0)
