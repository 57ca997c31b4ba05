"""Which images a run takes and how they are served: settings, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import require, require_all
from ..images.augmentation import Augmentation
from ..images.physical import microns
from ..images.timeouts import READ_TIMEOUT, check_timeout
from ..model.choices import KINDS, TargetKind

__all__ = ["DataConfig", "ManifestColumns", "Residence"]

Residence = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class ManifestColumns:
    """Names of the columns of a manifest CSV."""

    image: str = "image"
    """Column of paths of images, relative to the folder of the CSV or absolute; or URLs of TIFFs or
    OME-Zarrs."""

    label: str = "label"
    """Column of class names; for another `data.target`, what that kind's own column holds, where there is
    none."""

    group: str = "group"
    """Column of groups, such as patients: images of one group are never on different sides of a split."""

    split: str = "split"
    """Column of splits: train, val (or valid, validation) or test."""

    mpp: str = "mpp"
    """Column of microns per level-0 pixel."""

    annotation: str = "annotation"
    """Column of paths of polygons (GeoJSON, ASAP XML), nucleus centres (.mat) or a mask image: the ROI."""

    mask: str = "mask"
    """Column of paths of mask images, nonzero inside the ROI."""

    foreground: str = "foreground"
    """Column of paths of mask images, or of polygons, of what is worth reading (`model.foreground`)."""

    series: str = "series"
    """Column that says which image of a TIFF or OME-Zarr that holds several, by number or name; of an
    OME-Zarr the plane too, as "z=4"."""

    labels: str = "labels"
    """Column of target labels: names separated by semicolons, "none" for none of them; without this column, a
    column of 0 and 1 for each label."""

    value: str = "value"
    """Column of target values: numbers."""

    grade: str = "grade"
    """Column of target grades: numbers, or names in the order of `data.classes`."""

    time: str = "time"
    """Column of times (target survival): until the event, or until nothing more is known."""

    event: str = "event"
    """Column of events (target survival): 1 where the event happened at that time, 0 where it had not
    happened yet."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split, and how they are served."""

    root: str
    """The images: a manifest CSV, a folder with a manifest.csv or one folder per class, or a layout that
    zoomin recognises, such as the colon-cancer data as downloaded."""

    target: TargetKind | Literal["auto"] = "auto"
    """What is learned: "classes", one of several; "labels", any of several; "value", a number; "grade",
    classes in an order; "survival", a time that may be censored; "auto": what the columns of the manifest
    say, classes where it has a column label."""

    channels: list[int | str] | None = None
    """Channels of TIFFs or OME-Zarrs that the network sees, by name or number from 1, such as [6, 2] or
    [DAPI, CD8]; their samples stay what they are, and are standardised by the training images. null: red,
    green and blue."""

    classes: list[str] | None = None
    """The classes in their order, the negative one first, or the grades, the lowest first; by default those
    found, in natural order. Of several labels: their names, which are columns of 0 and 1 where the manifest
    has no column of labels."""

    columns: ManifestColumns = field(default_factory=ManifestColumns)
    """Names of the columns of the manifest CSV."""

    batch_size: int = 5
    """Images per batch; the last batch of an epoch may be smaller. 5 fits large images and small GPUs."""

    val_fraction: float = 0.2
    """Share of the training images held out for validation, from 0 to 0.5, where the data have no such
    split. A fifth leaves enough of a hundred images to train on, and enough to see a trend."""

    test_fraction: float = 0.0
    """Share of the images held out for testing, from 0 to 0.5, where the data have no such split; 0: none."""

    seed: int = 0
    """Seed of the splits, of the order of training images and of their augmentation."""

    resident: Residence = "auto"
    """"always" keeps all pixels in memory; "never" decodes images again for each batch; "auto" keeps
    those that are not slides or pyramids while they fill less than a quarter of the free memory."""

    threads: int = 4
    """Images decoded in parallel; does not change results. 4 threads hide the latency of most disks."""

    mpp: float | str | None = None
    """Microns per level-0 pixel of images whose manifest does not give it, instead of a missing or wrong
    tag of the file; "0.6m" is in metres."""

    cache_mb: int = 1024
    """Megabytes for overviews of images that stay on disk, so that only the first epoch decodes them; 0
    keeps none. Does not change results."""

    prefetch: int = 1
    """Batches whose overviews are read from disk while an earlier batch computes; 0: none. Does not change
    results. 1 is enough where reading is faster than computing."""

    max_failures: int = 10
    """Number of images that may be unreadable during a run; they are left out and recorded. One
    more stops the run: 10 tolerate a few damaged files, but not a missing drive."""

    read_timeout: float | None = READ_TIMEOUT
    """Seconds after which opening an image, or a single read, is given up, such as on a network drive that
    does not respond; null: never. 120 outlast a slow drive, and are soon enough for a dead one."""

    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of training images."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: naming the one that is out of range.
        """
        if self.mpp is not None:
            microns(self.mpp, "data.mpp")
        least_of = {"batch_size": 1, "threads": 1, "seed": 0, "cache_mb": 0, "prefetch": 0, "max_failures": 0}
        needs = {
            name: (getattr(self, name) >= least, f"at least {least}") for name, least in least_of.items()
        }
        if self.channels:
            coloured = [n for n in ("brightness", "contrast", "stain") if getattr(self.augmentation, n)]
            require(
                not coloured,
                f"data.augmentation.{coloured[0] if coloured else ''}",
                "a change of colours, and data.channels is set",
                "Set it to 0: samples of other channels are not colours.",
            )
        for name in ("val_fraction", "test_fraction"):
            needs[name] = (0 <= getattr(self, name) <= 0.5, "from 0 to 0.5")
        needs["target"] = (self.target in ("auto", *KINDS), f"auto, {', '.join(KINDS)}")
        require_all(self, needs, "data.")
        check_timeout(self.read_timeout, "data.read_timeout")
