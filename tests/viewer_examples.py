"""What the viewer's tests show: an explanation made by hand, and a server in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from zoomin.app.viewer.collection import Collection
from zoomin.app.viewer.server import address, application, listen, start
from zoomin.app.viewer.service import Pictures
from zoomin.explanation import Explanation
from zoomin.explanation.blocks import BlockEvidence, block_attention
from zoomin.geometry import Region
from zoomin.images.image import Image

CLASSES = ("normal", "tumour")


def example_explanation(
    image: Image,
    at: tuple[int, int],
    *,
    tile_size: int = 1024,
    sub_tile_size: int = 64,
    cells: int = 32,
    blocks: int = 0,
) -> Explanation:
    """Attention that peaks at a place, two drawn tiles, and sub-tiles of which the heaviest lies there.

    Args:
        image: what is explained.
        at: x, y, level-0 pixels.
        tile_size: level-0 pixels.
        sub_tile_size: level-0 pixels.
        cells: along a side of the attention maps.
        blocks: tiles along a side of a block; 0: there are no blocks.
    """
    rows, columns = -(-image.height // tile_size), -(-image.width // tile_size)
    row, column = at[1] // tile_size, at[0] // tile_size
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    near = torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 2.0)
    attention = (4 * near).flatten().softmax(0).view(rows, columns)
    neighbour = column - 1 if column else column + 1
    tiles = torch.tensor(
        [[c * tile_size, row * tile_size, tile_size, tile_size] for c in (column, neighbour)]
    )
    i, j = (torch.tensor((at[1], at[0])) % tile_size * cells // tile_size).tolist()
    beta = torch.zeros(2, cells, cells)
    beta[0, i, j] = 8
    beta[1, 2, 3] = 5
    beta = beta.flatten(1).softmax(1).view(2, cells, cells)
    offsets = torch.tensor([[0, 0], [150, 40], [-170, 90], [60, -200], [300, 300], [-400, 250]])
    corner = torch.tensor(at) - sub_tile_size // 2
    sub_tiles = torch.cat([corner + offsets, torch.full_like(offsets, sub_tile_size)], 1)
    weight = torch.tensor([0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    contribution = weight[:, None] * torch.tensor(
        [[-2.0, 3], [1, -1], [-1, 1], [0.5, 0.2], [-1, 2], [0, 0.3]]
    )
    bias = torch.tensor([0.1, -0.1])
    crops = image.read([Region(*box) for box in sub_tiles.tolist()], 1.0)
    scale = min(1.0, 256 / max(image.height, image.width))
    return Explanation(
        image=image.name,
        size=(image.height, image.width),
        classes=CLASSES,
        logits=contribution.sum(0) + bias,
        bias=bias,
        overview=image.read([Region(0, 0, image.width, image.height)], scale)[0],
        tile_size=float(tile_size),
        attention=attention,
        tiles=tiles.double(),
        alpha=attention[row, [column, neighbour]],
        beta=beta,
        sub_tiles=sub_tiles.double(),
        weight=weight,
        contribution=contribution,
        tile=torch.zeros(6, dtype=torch.int64),
        position=torch.arange(6),
        replicate=torch.arange(6),
        crops=crops,
        tile_crops=crops[:1],
        blocks=_blocks(attention, (row, column), tile_size, blocks) if blocks else (),
        mean_logits=bias.clone(),
        standard_error=0.012,
        truth="tumour",
    )


def _blocks(
    attention: torch.Tensor, at: tuple[int, int], tile_size: int, many: int
) -> tuple[BlockEvidence, ...]:
    """The block around the tile at a row and a column, and its neighbour."""
    side, (row, column) = many * tile_size, (place // many for place in at)
    beside = column - 1 if column else column + 1
    regions = torch.tensor([[c * side, row * side, side, side] for c in (column, beside)]).double()
    alpha = block_attention(attention, many)[row, [column, beside]]
    inside = torch.full((2, many, many), 1 / many**2)
    return (BlockEvidence(float(side), regions, alpha, inside, torch.zeros(0, 3, 1, 1, dtype=torch.uint8)),)


@contextmanager
def running(collection: Collection, pictures: Pictures | None = None, **options: Any) -> Iterator[str]:
    """The address of a viewer that runs in a thread."""
    pictures = pictures or Pictures(threads=2)
    sockets = listen("127.0.0.1", 0)
    site = application(collection, pictures, **options)
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        server = start(site, sockets)
        ready.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield address(sockets, "127.0.0.1")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
        pictures.close()


def save_png(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """Smooth colours, so that JPEG changes little."""
    from PIL import Image as PillowImage

    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 4, 5, generator=generator)
    pixels = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")[0]
    PillowImage.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy()).save(path)
    return path
