"""The published data sets: how each is prepared, and of which miniature."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .camelyon16 import Camelyon16Config, prepare_camelyon16
from .colon_cancer import ColonCancerConfig, prepare_colon_cancer
from .fmow import FmowConfig, prepare_fmow
from .needle_camelyon import NeedleCamelyonConfig, prepare_needle_camelyon
from .needle_mnist import NeedleMnistConfig, prepare_needle_mnist
from .prepared import Prepared
from .traffic_signs import GtsdbConfig, SwedishConfig, prepare_gtsdb, prepare_swedish

__all__ = ["PUBLISHED", "DataSet"]


class _Prepare(Protocol):
    def __call__(self, source: str, out: str, config: Any, *, partial: bool) -> Prepared: ...  # noqa: ANN401


class DataSet(NamedTuple):
    """A published data set.

    Attributes:
        config: dataclass of its settings.
        prepare: from the download to a manifest.
        miniature: the layout of its download in `miniatures.MINIATURES`.
    """

    config: type
    prepare: _Prepare
    miniature: str


PUBLISHED: dict[str, DataSet] = {
    "colon-cancer": DataSet(ColonCancerConfig, prepare_colon_cancer, "colon-cancer"),
    "needle-mnist": DataSet(NeedleMnistConfig, prepare_needle_mnist, "mnist"),
    "needle-camelyon": DataSet(NeedleCamelyonConfig, prepare_needle_camelyon, "camelyon16"),
    "swedish-signs": DataSet(SwedishConfig, prepare_swedish, "swedish-signs"),
    "gtsdb": DataSet(GtsdbConfig, prepare_gtsdb, "gtsdb"),
    "fmow": DataSet(FmowConfig, prepare_fmow, "fmow"),
    "camelyon16": DataSet(Camelyon16Config, prepare_camelyon16, "camelyon16"),
}
