"""The networks of the paper (supplement, tables 5 and 6), and any `timm` model in their place."""

from .attention import ATTENTION_NETWORKS, Embedding, Maps, TimmAttention, attention_network, trunk_of
from .build import block_networks, build_networks, classifier
from .features import FEATURE_NETWORKS, feature_network
from .gated import GatedCopies, GatedFeatures, GatedHead
from .heads import LinearHead
from .own import with_own_names
from .pyramid import PyramidAttention, UniformAttention, pool_overview
from .small import SmallResNet

__all__ = [
    "ATTENTION_NETWORKS",
    "FEATURE_NETWORKS",
    "Embedding",
    "GatedCopies",
    "GatedFeatures",
    "GatedHead",
    "LinearHead",
    "Maps",
    "PyramidAttention",
    "SmallResNet",
    "TimmAttention",
    "UniformAttention",
    "attention_network",
    "block_networks",
    "build_networks",
    "classifier",
    "feature_network",
    "pool_overview",
    "trunk_of",
    "with_own_names",
]
