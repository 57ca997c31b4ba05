"""Check the installation: versions, devices, image formats, the network, and how to fix each."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from packaging.requirements import Requirement
from PIL import Image as PillowImage

from .._version import __version__
from ..geometry import Region
from ..runtime.extras import PACKAGES, install, missing
from ..runtime.plugins import GROUPS, Registry, plug_ins

__all__ = ["Check", "examine"]

_EXTRA = re.compile(r"""extra == ['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what.
        status: "ok"; "absent", optional and not there; or "broken".
        detail: what was found.
        remedy: what to do where it is not ok.
    """

    name: str
    status: Literal["ok", "absent", "broken"]
    detail: str
    remedy: str = ""


def examine() -> list[Check]:
    """Every check, in the order of a report; nothing is installed, changed or downloaded."""
    checks = [
        Check("zoomin", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    ]
    checks += _packages()
    checks += _devices()
    checks += [_guarded(f"read {name}", lambda name=name: _read_back(name)) for name in _PICTURES]  # type: ignore[misc]
    checks += [_guarded("read slides by OpenSlide", _slides), _guarded("read rasters by GDAL", _rasters)]
    checks.append(_guarded("cache", _cache))
    checks.append(_guarded("network", _forward))
    checks.append(_guarded("write here", _write))
    checks += _optional()
    if find_spec("torchvision") is not None:
        checks.append(_guarded("torchvision with torch", _vision))
    checks += _plug_ins()
    return checks


def _packages() -> Iterator[Check]:
    """Every requirement of the distribution, with its installed version."""
    try:
        wanted = [Requirement(text) for text in requires("zoomin-net") or []]
    except PackageNotFoundError:
        remedy = "Install it: pip install -e . in the folder of the repository."
        yield Check("packages", "broken", "zoomin-net is not installed as a package", remedy)
        return
    for need in wanted:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            yield Check(need.name, "broken", "not installed", f"pip install '{need.name}{need.specifier}'")
            continue
        if need.specifier.contains(found, prereleases=True):
            yield Check(need.name, "ok", found)
        else:
            remedy = f"pip install '{need.name}{need.specifier}'"
            yield Check(need.name, "broken", f"{found}, needed {need.specifier}", remedy)


def _devices() -> Iterator[Check]:
    yield Check("CPU", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for the network")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield _guarded(f"GPU {number}", lambda number=number: _gpu(number))  # type: ignore[misc]
    elif torch.backends.mps.is_available():
        yield Check("GPU", "ok", "Apple, device mps")
    else:
        yield Check(
            "GPU",
            "absent",
            "none that this PyTorch can use",
            "Not required, but training takes longer without.",
        )


def _gpu(number: int) -> str:
    torch.ones(8, device=f"cuda:{number}").sum().item()
    memory = torch.cuda.get_device_properties(number).total_memory
    return f"{torch.cuda.get_device_name(number)}, {memory / 2**30:.0f} GiB, device cuda:{number}"


_PIXELS = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)


def _tiff(path: Path, compression: str | None, pixels: np.ndarray = _PIXELS) -> None:
    import tifffile

    tifffile.imwrite(path, pixels, compression=compression)


_PICTURES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "PNG": (".png", lambda path: PillowImage.fromarray(_PIXELS).save(path)),
    "JPEG": (".jpg", lambda path: PillowImage.fromarray(_PIXELS).save(path)),
    "BMP": (".bmp", lambda path: PillowImage.fromarray(_PIXELS).save(path)),
    "TIFF": (".tif", lambda path: _tiff(path, None)),
    "TIFF, 16 bit": (".tif", lambda path: _tiff(path, None, _PIXELS.astype(np.uint16) * 257)),
    "TIFF, LZW": (".tif", lambda path: _tiff(path, "lzw")),
    "TIFF, deflate": (".tif", lambda path: _tiff(path, "zlib")),
    "TIFF, JPEG": (".tif", lambda path: _tiff(path, "jpeg")),
}


def _read_back(name: str) -> str:
    """Write a small picture and read it through the readers of the library."""
    from ..images.open_image import open_image

    suffix, write = _PICTURES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        write(path)
        image = open_image(path)
        if (image.height, image.width) != _PIXELS.shape[:2]:
            raise ValueError(f"read as {image.height} x {image.width} instead of 16 x 24")
    return "reads"


def _slides() -> str:
    """Write a tiled TIFF and read it through OpenSlide."""
    import openslide
    import tifffile

    from ..images.formats.slide import open_slide

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        tifffile.imwrite(path, np.tile(_PIXELS, (2, 2, 1)), tile=(16, 16), compression="zlib")
        _same(open_slide(path).read([Region(0, 0, 24, 16)], 1.0)[0])
    return f"OpenSlide {openslide.__library_version__}, openslide-python {openslide.__version__}"


def _rasters() -> str:
    """Write a tiled TIFF, read it through GDAL, and check for the drivers."""
    import rasterio
    import tifffile
    from rasterio.env import Env

    from ..images.formats.gdal import DRIVERS
    from ..images.formats.raster import open_raster

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raster.tif"
        tifffile.imwrite(path, np.tile(_PIXELS, (2, 2, 1)), tile=(16, 16), compression="zlib")
        _same(open_raster(path).read([Region(0, 0, 24, 16)], 1.0)[0])
    with Env() as env:
        there = env.drivers()
    missing = [name for name in DRIVERS if name not in there]
    if missing:
        raise ValueError(f"GDAL {rasterio.__gdal_version__} lacks the drivers {', '.join(missing)}")
    return f"GDAL {rasterio.__gdal_version__}, rasterio {rasterio.__version__}; drivers {', '.join(DRIVERS)}"


def _same(view: torch.Tensor) -> None:
    if not torch.equal(view, torch.from_numpy(_PIXELS).permute(2, 0, 1)):
        raise ValueError("the pixels read differ from those written")


def _cache() -> str:
    """Where tiled copies of huge PNG and JPEG are kept, and how large they are."""
    from ..images.formats.tiled_copy import cache_folder

    copies = list(cache_folder().glob("*.tif"))
    size = sum(copy.stat().st_size for copy in copies) / 1e9
    return f"{len(copies)} tiled copies of huge images, {size:.1f} GB, in {cache_folder()}"


def _forward() -> str:
    from ..model.config import ZoomInConfig
    from ..model.zoom_in import ZoomIn

    net = ZoomIn(ZoomInConfig(tile_size=64, sub_tile_size=15, n_samples=4))
    net(torch.zeros(1, 3, 96, 96, dtype=torch.uint8)).logits.sum().backward()
    return "forward and backward pass"


def _vision() -> str:
    """A torchvision that was built for another PyTorch fails when it is imported."""
    import_module("torchvision")
    return "fit each other"


def _write() -> str:
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        file.write(b"x")
    return "this folder is writable"


def _optional() -> Iterator[Check]:
    """Every package that an extra installs: its version, and what it is for."""
    try:
        wanted = [Requirement(text) for text in requires("zoomin-net") or []]
    except PackageNotFoundError:
        return  # which `_packages` reports
    for need in wanted:
        extra, package = _EXTRA.search(str(need.marker or "")), PACKAGES.get(need.name)
        if extra is None or package is None or extra[1] != package.extra:
            continue
        purpose, remedy = package.purpose, install(package.extra)
        try:
            found = version(need.name)
        except PackageNotFoundError:
            yield Check(need.name, "absent", f"not installed; {purpose}", remedy)
            continue
        if need.specifier.contains(found, prereleases=True):
            yield Check(need.name, "ok", f"{found}; {purpose}")
        else:
            yield Check(need.name, "broken", f"{found}, needed {need.specifier}; {purpose}", f"{remedy} -U")


def _plug_ins() -> Iterator[Check]:
    """What other packages bring, each imported to see whether it works."""
    from ..classifiers import BASELINES
    from ..datasets.registry import PUBLISHED
    from ..images.open_image import READERS
    from ..model.networks import ATTENTION_NETWORKS, FEATURE_NETWORKS

    registries: list[Registry[Any]] = [
        READERS, FEATURE_NETWORKS, ATTENTION_NETWORKS, BASELINES, PUBLISHED
    ]  # fmt: skip
    for plug_in in (each for group in GROUPS for each in plug_ins(group)):
        homes = [registry for registry in registries if registry.takes(plug_in)]
        problem = (
            homes[0].problem(plug_in) if homes else "its name starts with neither features. nor attention."
        )
        remedy = f"Update or uninstall {plug_in.package}." if problem else ""
        detail = f"{plug_in.package}: {problem or plug_in.target}"
        yield Check(f"{plug_in.group} {plug_in.name}", "broken" if problem else "ok", detail, remedy)


_REMEDIES = {
    "read": "Reinstall the readers: "
    "pip install --force-reinstall pillow tifffile imagecodecs openslide-bin openslide-python rasterio",
    "cache": "Set ZOOMIN_CACHE to a folder that can be read and written.",
    "network": "Reinstall PyTorch as https://pytorch.org/get-started says for this machine.",
    "GPU": "Update the driver, or install the PyTorch build for it; --device cpu works meanwhile.",
    "write": "Change to a folder of your own, or give one with --out.",
}


def _guarded(name: str, check: Callable[[], str]) -> Check:
    """Whatever goes wrong in a check is its result: a doctor does not faint."""
    try:
        return Check(name, "ok", check())
    except Exception as error:  # any failure at all is the finding
        for cause in (error, error.__cause__):
            if (known := missing(cause)) is not None:
                is_absent = isinstance(cause, ModuleNotFoundError)
                return Check(name, "absent" if is_absent else "broken", known.what, str(known.remedy))
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(name, "broken", detail, _REMEDIES.get(name.split()[0], f"Python: {sys.executable}"))
