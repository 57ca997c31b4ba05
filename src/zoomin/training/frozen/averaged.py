"""A training from pixels whose network is the running average of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ...data.batch import Batch
from ...model.output import ZoomInOutput
from ...model.zoom_in import ZoomIn
from ..config import TrainConfig
from ..task import Draws
from ..zoom_in_task import ZoomInTask

__all__ = ["AveragedTask"]

_DECAY = 0.99  # of the average, per step; less at first, which would else remember the first weights
_WARM = 0.05  # share of the steps in which the learning rate rises, before it falls along a cosine


class AveragedTask(ZoomInTask):
    """AdamW, a cosine schedule with warm-up, and an exponential moving average of weights and statistics.

    What is validated, and comes out, is the average.
    """

    def __init__(
        self,
        net: ZoomIn,
        config: TrainConfig,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """Begin the average with the weights of the network."""
        super().__init__(net, config, seed, class_weights)
        self._average = AveragedModel(net, avg_fn=_average, use_buffers=True)
        self._average.requires_grad_(False)

    @property
    def averaged(self) -> ZoomIn:
        """The network of averaged weights."""
        net = self._average.module
        assert isinstance(net, ZoomIn)
        return net

    def train(self, mode: bool = True) -> AveragedTask:
        """Switch training on or off; the average and what does not learn stay as they are."""
        super().train(mode)
        self.averaged.eval()
        self.net.tile_attention.eval()
        return self

    def answer(self, batch: Batch, draws: Draws) -> ZoomInOutput:
        """What the network answers while it learns, and its average afterwards."""
        net = self.net if draws.learning else self.averaged
        out: ZoomInOutput = net(
            batch.images, keys=draws.keys, sampling=draws.sampling, replicates=draws.replicates
        )
        return out

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """One more step joins the average."""
        self._average.update_parameters(self.net)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, which leaves biases and norms; the rate rises, then falls along a cosine, step by step."""
        learning = [weight for weight in self.net.parameters() if weight.requires_grad]
        matrices = [weight for weight in learning if weight.ndim > 1]
        vectors = [weight for weight in learning if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        adam = torch.optim.AdamW(groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        warm = max(1, round(_WARM * steps))

        def factor(step: int) -> float:
            falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
            return min(1.0, (step + 1) / warm) * falling

        schedule = torch.optim.lr_scheduler.LambdaLR(adam, factor)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _average(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
    """The average of a weight after one more step."""
    decay = min(_DECAY, (1 + int(count)) / (10 + int(count)))
    return average.lerp(value, 1 - decay) if value.is_floating_point() else value
