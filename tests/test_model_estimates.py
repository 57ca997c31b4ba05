"""Which estimates a forward pass draws, and from which random numbers."""

from __future__ import annotations

import pytest
import torch

from zoomin.errors import ConfigError
from zoomin.model.estimates import Estimates, plan_estimates

CPU = torch.device("cpu")


def plan(keys: list[int], replicates: int, contrast: list[bool] | None = None) -> Estimates:
    chosen = None if contrast is None else torch.tensor(contrast)
    return plan_estimates(len(keys), CPU, None, torch.tensor(keys), 3, replicates, chosen)


def test_replicates_come_first_then_the_contrastive_estimates() -> None:
    found = plan([5, 6, 7], 2, [False, True, True])
    assert found.image.tolist() == [0, 1, 2, 0, 1, 2, 1, 2]
    assert found.replicate.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert found.contrast.tolist() == [False] * 6 + [True] * 2
    assert len(set(found.keys.tolist())) == 8, "no two estimates share their random numbers"


def test_an_image_draws_the_same_in_any_batch() -> None:
    alone, together = plan([6], 2, [True]), plan([5, 6, 7], 2, [True, True, False])
    assert alone.keys.tolist() == together.keys[together.image == 1].tolist()
    assert plan([5, 6, 7], 2).keys.tolist() == together.keys[:6].tolist()


def test_without_keys_the_generator_decides(generator: torch.Generator) -> None:
    first, second = (plan_estimates(2, CPU, generator, None, 1, 1, None).keys for _ in range(2))
    again = plan_estimates(2, CPU, torch.Generator().manual_seed(0), None, 1, 1, None).keys
    assert first.tolist() == again.tolist() != second.tolist()


@pytest.mark.parametrize(("n", "replicates", "name"), [(0, 1, "n_samples"), (1, 0, "replicates")])
def test_there_must_be_something_to_draw(n: int, replicates: int, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        plan_estimates(1, CPU, None, torch.tensor([1]), n, replicates, None)
