"""The published data sets: how each is prepared, and of which miniature."""

from __future__ import annotations

from ..runtime.plugins import Registry
from .camelyon16 import Camelyon16Config, prepare_camelyon16
from .colon_cancer import prepare_colon_cancer
from .deep_pcb import DeepPcbConfig, prepare_deep_pcb
from .fmow import FmowConfig, prepare_fmow
from .hei_med import prepare_hei_med
from .needle_camelyon import NeedleCamelyonConfig, prepare_needle_camelyon
from .needle_mnist import NeedleMnistConfig, prepare_needle_mnist
from .prepared import DataSet, NoSettings
from .traffic_signs import GtsdbConfig, prepare_gtsdb, prepare_swedish

__all__ = ["PUBLISHED", "DataSet"]


PUBLISHED: Registry[DataSet] = Registry(
    "zoomin.datasets",
    {
        "colon-cancer": DataSet(
            "100 colon-cancer images; is there an epithelial nucleus?",
            NoSettings,
            prepare_colon_cancer,
            "colon-cancer",
        ),
        "needle-mnist": DataSet(
            "401 MNIST digits on a canvas; is one of them a 3?",
            NeedleMnistConfig,
            prepare_needle_mnist,
            "mnist",
        ),
        "needle-camelyon": DataSet(
            "crops of Camelyon16; is there a small metastasis?",
            NeedleCamelyonConfig,
            prepare_needle_camelyon,
            "camelyon16",
        ),
        "swedish-signs": DataSet(
            "Swedish road scenes; no sign, or a speed limit?",
            NoSettings,
            prepare_swedish,
            "swedish-signs",
        ),
        "gtsdb": DataSet(
            "German road scenes; no sign, or a speed limit, or any sign?", GtsdbConfig, prepare_gtsdb, "gtsdb"
        ),
        "fmow": DataSet("satellite images of ten kinds of place", FmowConfig, prepare_fmow, "fmow"),
        "camelyon16": DataSet(
            "slides of lymph nodes; is there a metastasis?",
            Camelyon16Config,
            prepare_camelyon16,
            "camelyon16",
        ),
        "hei-med": DataSet(
            "fundus photographs; is there an exudate?", NoSettings, prepare_hei_med, "hei-med"
        ),
        "deep-pcb": DataSet(
            "circuit boards; is there a defect?", DeepPcbConfig, prepare_deep_pcb, "deep-pcb"
        ),
    },
    lambda thing: isinstance(thing, DataSet),
    "a zoomin.datasets.prepared.DataSet",
)
