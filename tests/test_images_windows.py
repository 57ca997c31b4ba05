"""Windows over stored blocks: covered exactly, each block read once, in pieces of bounded size."""

from __future__ import annotations

import numpy as np
import pytest

from zoomin.images import windows
from zoomin.images.windows import Window, count_blocks, pieces


def blocks_of(window: Window, block: tuple[int, int]) -> set[tuple[int, int]]:
    """Row and column of the blocks that a window touches, one by one."""
    return {
        (y // block[0], x // block[1])
        for y in range(window.y0, window.y1)
        for x in range(window.x0, window.x1)
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("block", [(8, 8), (5, 12), (1, 40)])
def test_pieces_cover_every_window_and_touch_each_block_once(seed, block, monkeypatch):
    monkeypatch.setattr(windows, "_PIECE", 256)
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (7, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 25, (7, 2))], 1)  # some without area
    covered = [np.zeros((100, 100), dtype=int) for _ in boxes]
    read: list[tuple[int, int]] = []
    for piece in pieces(boxes, block):
        blocks = blocks_of(piece.window, block)
        read += blocks
        assert len(blocks) == count_blocks(piece.window, block)
        assert piece.window.area <= 256 or len(blocks) == 1
        for index, part in piece.parts:
            x0, y0, x1, y1 = piece.window
            assert x0 <= part.x0 < part.x1 <= x1 and y0 <= part.y0 < part.y1 <= y1
            covered[index][part.y0 : part.y1, part.x0 : part.x1] += 1
    for (x0, y0, x1, y1), found in zip(boxes.tolist(), covered, strict=True):
        expected = np.zeros((100, 100), dtype=int)
        expected[y0:y1, x0:x1] = 1
        assert (found == expected).all()
    assert len(read) == len(set(read))
    assert set(read) == set().union(*(blocks_of(Window(*box), block) for box in boxes.tolist()))


def test_nothing_to_read():
    assert list(pieces(np.array([[3, 3, 3, 9], [0, 5, 4, 5]]), (8, 8))) == []
