"""The model of gated attention that was fitted to embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...model.config import ZoomInConfig
from ...model.networks import GatedFeatures, GatedHead, PyramidAttention
from ...model.zoom_in import ZoomIn
from ..calibration import Calibration
from .copies import WIDTH, FittedCopies
from .linear import Affine

__all__ = ["EXACT", "gated_net"]

EXACT: dict[str, Any] = {"sampling": "exact", "prediction_sampling": "exact", "normalize_features": False}


def gated_net(
    config: ZoomInConfig,
    project: Affine,
    score: Affine | None,
    fitted: FittedCopies,
    copies: int,
    calibration: Calibration,
    overview: Affine | None,
) -> ZoomIn:
    """A complete model.

    Args:
        config: of the model whose features were embedded.
        project: from them to the components that the copies see.
        score: of the tile attention; None: it is uniform, and every sub-tile is read.
        fitted: copies of gated attention.
        copies: how many of them, the last ones, make the model.
        calibration: of the logits.
        overview: a linear model of the overview, which is added to them.
    """
    config = replace(
        config,
        gate_copies=copies,
        gate_components=project.weight.shape[1],
        gate_width=WIDTH,
        gate_overview=overview is not None,
        context_side=0,
        normalize_features=False,
    )
    if score is None:
        config = replace(config, tile_attention="uniform", **EXACT)
    else:
        config = replace(config, prediction_sampling=config.sampling)
    net = ZoomIn(config)
    f, head, attention = net.features, net.head, net.tile_attention
    assert isinstance(f, GatedFeatures) and isinstance(head, GatedHead)
    with torch.no_grad():
        f.project.weight.copy_(project.weight.T)
        f.project.bias.copy_(project.bias)
        for own, trained in zip(f.copies.parameters(), fitted.network.parameters(), strict=True):
            own.copy_(trained[-copies:])
        weight = fitted.weight[-copies:].permute(2, 0, 1).flatten(1) / copies
        bias = fitted.bias[-copies:].mean((0, 1))
        if overview is not None:
            weight = torch.cat([weight, calibration.beside * overview.weight.T], 1)
            bias = bias + calibration.beside * overview.bias
        head.weight.copy_(calibration.scale * weight)
        head.bias.copy_(calibration.scale * bias + calibration.shift)
        if score is not None:
            assert isinstance(attention, PyramidAttention)
            attention.logit.weight.copy_(score.weight.T)
            attention.logit.bias.copy_(score.bias)
    return net
