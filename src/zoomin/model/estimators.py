"""The expected feature from drawn samples: one linear form for all designs.

The expected feature F = sum_k a_k f_k is linear in the attention a and in the features f. Every design of
sampling.py estimates it as F^ = sum over the drawn k of kappa_k f_k, with kappa_k = u_k a_k, u_k constant and
E[u_k 1{k drawn}] = 1. Then

    E[dF^/da_k] = E[u_k 1{k drawn}] f_k = f_k = dF/da_k      and      E[dF^/df_k] = a_k = dF/df_k:

automatic differentiation of a fixed-weight sum is unbiased for the attention and for the features, without
a score-function term and without a custom backward. Nothing is divided by a small a_k, because

    u_k a_k = stop(kappa_k) exp(log a_k - stop(log a_k)).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

__all__ = ["expected_feature", "sample_weights", "segment_sum"]


def segment_sum(
    values: Num[Tensor, "n ..."], segment: Int[Tensor, " n"], n_segments: int
) -> Num[Tensor, "segments ..."]:
    """Sum the rows that share a segment; a segment without rows sums to 0.

    Example:
        >>> segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
        tensor([5., 0., 2.])
    """
    return values.new_zeros(n_segments, *values.shape[1:]).index_add(0, segment, values)


def sample_weights(log_attention: Float[Tensor, " n"], kappa: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Weights of drawn features: kappa in value, u da in gradient (method: the constant-weight form).

    Args:
        log_attention: log of the probability of each drawn cell; for two stages the sum of both logs.
        kappa: its constant weight, the product of both stages'.

    Example:
        >>> log_a = torch.tensor([0.5]).log().requires_grad_()
        >>> sample_weights(log_a, torch.tensor([0.25]))
        tensor([0.2500], grad_fn=<MulBackward0>)
    """
    return kappa.detach() * torch.exp(log_attention - log_attention.detach())


def expected_feature(
    features: Float[Tensor, "n dims"],
    log_attention: Float[Tensor, " n"],
    kappa: Float[Tensor, " n"],
    estimate: Int[Tensor, " n"],
    n_estimates: int,
) -> Float[Tensor, "estimates dims"]:
    """Estimate the expected feature of each estimate from its drawn sub-tiles (paper, equations 5 to 8).

    Args:
        features: features of the drawn sub-tiles, of all estimates together.
        log_attention: log alpha + log beta of each.
        kappa: constant weight of each, from the draws of both stages.
        estimate: the estimate that each sub-tile belongs to.
        n_estimates: how many there are.
    """
    weights = sample_weights(log_attention, kappa)
    return segment_sum(weights[:, None] * features.to(weights.dtype), estimate, n_estimates)
