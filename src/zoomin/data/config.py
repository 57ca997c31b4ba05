"""Which images a run takes and how they are served: settings, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import ConfigError
from ..images.augmentation import Augmentation
from ..images.physical import microns
from ..images.timeouts import READ_TIMEOUT, check_timeout

__all__ = ["DataConfig", "ManifestColumns", "Residence"]

Residence = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class ManifestColumns:
    """Names of the columns of a manifest CSV.

    Attributes:
        image: path of the image, relative to the folder of the CSV or absolute.
        label: name of the class.
        group: images of one group never stand on two sides of a split, usually the patient.
        split: train, val (or valid, validation) or test.
        mpp: microns per level-0 pixel.
        annotation: path of polygons (GeoJSON, ASAP XML), nucleus centres (.mat) or a mask image.
        mask: path of a mask image, nonzero inside the ROI.
        foreground: path of a mask image, or of polygons, of what is worth looking at (`model.foreground`).
    """

    image: str = "image"
    label: str = "label"
    group: str = "group"
    split: str = "split"
    mpp: str = "mpp"
    annotation: str = "annotation"
    mask: str = "mask"
    foreground: str = "foreground"


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split, and how they are served.

    Attributes:
        root: a manifest CSV, a folder with manifest.csv or with one folder a class, or the colon-cancer data.
        classes: the classes in their order, the negative one first; by default those found, in natural order.
        columns: names of the columns of the manifest CSV.
        batch_size: images a batch; the last batch of an epoch may be smaller.
        val_fraction: share of the training images held out for validation where the data has no such split.
        test_fraction: share held out for testing where the data has no such split.
        seed: of the splits, of the order of training images and of their augmentation.
        resident: "always" keeps all pixels in memory, "never" decodes images again for each batch, "auto"
            keeps those that are no slides or pyramids while they fill less than a quarter of the free memory.
        threads: images decoded at a time; no result depends on it.
        mpp: microns per level-0 pixel of images of which the manifest does not tell it, in place of a missing
            or wrong tag of the file; "0.6m" are metres.
        cache_mb: megabytes for overviews of images that stay on disk, so that only the first epoch decodes
            them; 0 keeps none. No result depends on it.
        prefetch: batches whose overviews are read from disk while an earlier batch is at work; 0: none. No
            result depends on it.
        max_failures: images that may turn out to be unreadable while a run goes on; they are left out, and
            recorded. One more stops the run.
        read_timeout: seconds after which a single read, or opening an image, is given up, such as on a
            network drive that does not answer; none: never.
        augmentation: random changes of training images.
    """

    root: str
    classes: list[str] | None = None
    columns: ManifestColumns = field(default_factory=ManifestColumns)
    batch_size: int = 5
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    seed: int = 0
    resident: Residence = "auto"
    threads: int = 4
    mpp: float | str | None = None
    cache_mb: int = 1024
    prefetch: int = 1
    max_failures: int = 10
    read_timeout: float | None = READ_TIMEOUT
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: naming the one that is out of range.
        """
        if self.mpp is not None:
            microns(self.mpp, "data.mpp")
        least_of = {"batch_size": 1, "threads": 1, "seed": 0, "cache_mb": 0, "prefetch": 0, "max_failures": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(
                    f"{value} is too small", where=f"data.{name}", remedy=f"Give at least {least}."
                )
        check_timeout(self.read_timeout, "data.read_timeout")
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 0.5:
                raise ConfigError(f"{value} is out of range", where=f"data.{name}", remedy="Give 0 to 0.5.")
