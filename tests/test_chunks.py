"""Chunks and activation checkpointing: the same numbers in less memory, for images of any shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from zoomin.errors import ConfigError, ImageError
from zoomin.images.array import ArrayImage
from zoomin.images.batch import ResidentImages, StreamedImages
from zoomin.images.image import Started
from zoomin.model import ZoomIn, ZoomInConfig, chunks
from zoomin.model.losses import classification_loss, entropy_loss

CONFIG = ZoomInConfig(
    tile_size=24, sub_tile_size=9, tile_scale=0.25, sub_tile_scale=0.5, n_samples=5, chunk_size=8
)
ODD = [(1, 90), (90, 1), (1, 1), (5, 7), (50, 49), (24, 24), (73, 25)]  # in tiles of 24


def odd_images(sizes=ODD):
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes)
    return [ArrayImage(p, name=f"{tuple(p.shape)}") for p in pixels]


def step(net, images, **options):
    """Gradients of a training step, and the bytes that the forward pass keeps for it."""
    net.zero_grad()
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    contrast = torch.tensor([i % 2 > 0 for i in range(len(images))])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = net(images, keys=torch.arange(len(images)), contrast=contrast, **options)
    loss = classification_loss(out.logits, torch.arange(len(images)) % 2)
    loss = loss + out.contrast_logits.logsumexp(1).sum()
    loss = loss + entropy_loss(out.attention.log_alpha, out.tiles.log_beta, out.tiles.image, 1.0)
    loss.backward()
    return [parameter.grad.clone() for parameter in net.parameters()], sum(kept.values())


@pytest.mark.parametrize(
    "networks",
    [
        {},
        {"features": "resnet16", "tile_attention": "resnet16", "position_attention": "resnet16"},
        {"features": "lenet_released", "normalize_features": False},
    ],
    ids=["lenet", "resnet16", "released"],
)
def test_checkpointing_changes_no_gradient_and_no_statistic(networks):
    torch.manual_seed(0)
    config = replace(CONFIG, **{"sub_tile_size": 20, **networks})
    nets = [ZoomIn(replace(config, checkpoint=checkpoint)) for checkpoint in ("never", "always")]
    nets[1].load_state_dict(nets[0].state_dict())
    images = odd_images([(100, 80), (50, 49), (120, 24)])
    (plain, much), (again, little) = (step(net.train(), images) for net in nets)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
    assert all(grad.abs().sum() > 0 for grad in plain)
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name]), name
    assert little < much / 3


def test_auto_checkpoints_large_stages_alone(monkeypatch):
    net = ZoomIn(CONFIG).train()
    images = odd_images([(100, 80)])
    _, kept = step(net, images)
    monkeypatch.setattr(chunks, "CHECKPOINT_PIXELS", 20 * 6**2)  # 20 tiles of stage 1 have as many
    _, same = step(net, images)
    monkeypatch.setattr(chunks, "CHECKPOINT_PIXELS", 20 * 6**2 - 1)
    _, less = step(net, images)
    assert less < same <= kept


def test_nothing_is_kept_or_computed_again_without_gradients(monkeypatch):
    monkeypatch.setattr(chunks, "checkpoint", None)
    net = ZoomIn(replace(CONFIG, checkpoint="always")).eval()
    with torch.no_grad():
        net(odd_images())


@pytest.mark.parametrize("sampling", ["multinomial", "systematic", "exact", "top"])
def test_images_of_any_shape_stand_in_one_batch(sampling):
    """Single rows, columns and pixels, images smaller than a tile, tiles that the border cuts."""
    torch.manual_seed(0)
    net = ZoomIn(
        replace(CONFIG, sub_tile_scale=0.25)
    ).eval()  # 36 positions in a tile: "exact" encodes them all
    images = odd_images()
    keys = torch.arange(len(images))
    with torch.no_grad():
        together = net(images, keys=keys, sampling=sampling)
        streamed = net(StreamedImages(images), keys=keys, sampling=sampling)
        for i, image in enumerate(images):
            alone = net([image], keys=keys[i : i + 1], sampling=sampling)
            torch.testing.assert_close(alone.logits[0], together.logits[i], atol=1e-5, rtol=1e-4)
    assert together.attention.grid.count.tolist() == [4, 4, 1, 1, 9, 1, 8]
    assert torch.equal(together.logits, streamed.logits)
    assert together.logits.isfinite().all()
    torch.testing.assert_close(together.attention.alpha.sum(1), torch.ones(len(images)))
    grads, _ = step(net.train(), images, sampling=sampling)
    assert all(grad.isfinite().all() for grad in grads)


def test_views_are_read_in_large_reads_and_seen_in_small_chunks(monkeypatch):
    reads, calls = [], []

    class Watched(ResidentImages):
        def read(self, image_index, regions, scale):
            reads.append(len(regions))
            return super().read(image_index, regions, scale)

    net = ZoomIn(CONFIG).eval()
    net.tile_attention.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    images = Watched(odd_images([(240, 240)]))
    monkeypatch.setattr(chunks, "READ_PIXELS", 32 * 6**2)
    with torch.no_grad():
        net.attend_tiles(images)
    assert sum(reads) == sum(calls) == 100
    assert max(calls) <= 8 and max(reads) <= 32 and len(reads) == 4


def test_the_choice_of_checkpointing_is_checked():
    with pytest.raises((ConfigError, TypeCheckError), match="checkpoint"):
        ZoomInConfig.from_dict({"checkpoint": "sometimes"})


def test_large_views_are_passed_few_at_a_time(monkeypatch):
    net, seen = ZoomIn(replace(CONFIG, chunk_size=100)).eval(), []
    net.tile_attention.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    images = odd_images([(96, 120)])  # 20 tiles, seen at 6 x 6
    whole = net(images, keys=torch.zeros(1, dtype=torch.int64)).logits
    monkeypatch.setattr(chunks, "CPU_PIXELS", 3 * 36)
    parts = net(images, keys=torch.zeros(1, dtype=torch.int64)).logits
    assert seen[0] == 20 and max(seen[1:]) == 3 and sum(seen[1:]) == 20
    assert torch.allclose(whole, parts)


def test_the_next_views_are_on_their_way_while_some_are_worked_on(monkeypatch):
    events = []

    class Watched(ResidentImages):
        def start(self, image_index, regions, scale):
            events.append("start")
            return super().start(image_index, regions, scale)

    net = ZoomIn(CONFIG).eval()
    net.tile_attention.register_forward_hook(lambda module, args, out: events.append("work"))
    images = Watched(odd_images([(240, 240)]))
    monkeypatch.setattr(chunks, "READ_PIXELS", 40 * 6**2)
    with torch.no_grad():
        net.attend_tiles(images)
    reads = [i for i, event in enumerate(events) if event == "start"]
    assert len(reads) == 3 and events[:3] == ["start", "start", "work"]
    assert events[-1] == "work" and events.count("work") >= 100 / 8


def test_a_read_that_fails_stops_those_on_their_way():
    cancelled = []

    class Failing(ResidentImages):
        def start(self, image_index, regions, scale):
            def fail():
                raise ImageError("broken")

            return Started(fail, lambda: cancelled.append(len(regions)))

    net = ZoomIn(CONFIG).eval()
    images = Failing(odd_images([(240, 240)]))
    reader = chunks._read(images, [torch.zeros(1)] * 3, [torch.zeros(1, 4)] * 3, 1.0)
    with pytest.raises(ImageError, match="broken"):
        list(reader)
    assert cancelled == [1]
    with pytest.raises(ImageError, match="broken"):
        net.attend_tiles(images)
