"""The networks of the paper (supplement, tables 5 and 6), and any `timm` model in their place."""

from .attention import ATTENTION_NETWORKS, Embedding, TimmAttention, attention_network, trunk_of
from .build import block_networks, build_networks, classifier
from .cells import CELLS_PREFIX, CellTrunk, cells_of, has_cells, whole_of
from .features import FEATURE_NETWORKS, feature_network
from .gated import GatedCopies, GatedFeatures, GatedHead
from .heads import LinearHead
from .own import with_own_names
from .pyramid import PyramidAttention, UniformAttention, pool_overview
from .reference import Reference
from .small import SmallResNet

__all__ = [
    "ATTENTION_NETWORKS",
    "CELLS_PREFIX",
    "FEATURE_NETWORKS",
    "CellTrunk",
    "Embedding",
    "GatedCopies",
    "GatedFeatures",
    "GatedHead",
    "LinearHead",
    "PyramidAttention",
    "Reference",
    "SmallResNet",
    "TimmAttention",
    "UniformAttention",
    "attention_network",
    "block_networks",
    "build_networks",
    "cells_of",
    "classifier",
    "feature_network",
    "has_cells",
    "pool_overview",
    "trunk_of",
    "whole_of",
    "with_own_names",
]
