"""Embeddings of frozen trunks are computed once per image, whatever the batch that it comes in."""

from __future__ import annotations

import pytest
import torch

from zoomin.data.batch import Batch
from zoomin.images.array import images_of
from zoomin.images.resident import ResidentImages
from zoomin.training.embedding_cache import EmbeddingCache


def batch_of(*rows: int) -> Batch:
    """Images that are told apart by their only grey value, the row of the manifest."""
    pixels = torch.tensor(rows, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
    return Batch(
        ResidentImages(images_of(pixels)), torch.zeros(len(rows), dtype=torch.int64), torch.tensor(rows)
    )


def test_an_image_is_embedded_once_and_kept_in_order() -> None:
    seen: list[list[int]] = []

    def embed(batch: Batch) -> list[torch.Tensor]:
        rows = batch.index.tolist()
        seen.append(rows)
        return [torch.full((1 + row % 2, 5), float(row), requires_grad=True) * 2 for row in rows]

    cache = EmbeddingCache()
    first = cache.of(batch_of(7, 2, 4), embed)
    assert [(len(one), float(one[0, 0])) for one in first] == [(2, 14.0), (1, 4.0), (1, 8.0)]
    again = cache.of(batch_of(4, 9, 2, 9), embed)
    assert [float(one[0, 0]) for one in again] == [8.0, 18.0, 4.0, 18.0]
    assert seen == [[7, 2, 4], [9]], "only images not seen before, each once"
    assert not any(one.requires_grad for one in first + again)
    cache.of(batch_of(2, 7), embed)
    assert len(seen) == 2


def test_what_fails_is_not_kept() -> None:
    cache = EmbeddingCache()

    def fail(batch: Batch) -> list[torch.Tensor]:
        raise OSError("the drive is gone")

    with pytest.raises(OSError, match="gone"):
        cache.of(batch_of(1, 2), fail)
    assert len(cache.of(batch_of(1, 2), lambda batch: [torch.ones(1, 2) for _ in batch.index])) == 2
