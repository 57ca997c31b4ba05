"""Images in a bucket, read through the protocol of S3 as they are from a disk, and what goes wrong there.

    pip install 'zoomin-net[remote]' 'moto[server]'
    python benchmarks/object_storage.py

A server of the protocol (moto) runs beside it. A pyramidal TIFF, a COG, one that tifffile decodes and
an OME-Zarr, as a folder and zipped, are put into a bucket; each is opened by its s3:// address, and its views
are compared with those of the local file. Then each of the errors is provoked. Exits non-zero if a view
differs, or an error does not name the address and a remedy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from zoomin import open_image
from zoomin.errors import ImageError
from zoomin.geometry import Region

SIDE = 1024
BOXES = [Region(700, 500, 200, 150), Region(0, 0, 64, 64)]


def written(folder: Path) -> dict[str, Path]:
    """An image of every kind, by its name in the bucket."""
    import rasterio
    import zarr
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    half = pixels.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3)).round().astype(np.uint8)
    for name, codec in (("pyramid.tif", "zlib"), ("jpegxl.tif", "jpegxl")):
        with tifffile.TiffWriter(folder / name) as file:
            options = {"photometric": "rgb", "tile": (128, 128), "compression": codec}
            file.write(pixels, subifds=1, **options)
            file.write(half, subfiletype=1, **options)
    size = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    where = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.5, 0.5)}
    with rasterio.open(folder / "plain.tif", "w", driver="GTiff", **size, **where) as file:
        file.write(pixels.transpose(2, 0, 1))
    plain, cog = str(folder / "plain.tif"), str(folder / "cog.tif")
    copy(plain, cog, driver="COG", blocksize=128, resampling="average")
    group = zarr.open_group(str(folder / "image.zarr"), mode="w", zarr_format=2)
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "type": "space"} for n in "yx"]
    levels = []
    for number, level in enumerate((pixels, half)):
        group.create_array(str(number), data=level.transpose(2, 0, 1), chunks=(3, 128, 128))
        scale = [{"type": "scale", "scale": [1, 2**number, 2**number]}]
        levels.append({"path": str(number), "coordinateTransformations": scale})
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    shutil.make_archive(str(folder / "image.zarr"), "zip", folder / "image.zarr")
    names = "pyramid.tif", "jpegxl.tif", "cog.tif", "image.zarr", "image.zarr.zip"
    return {name: folder / name for name in names}


def upload(files: dict[str, Path]) -> None:
    """Everything into the bucket."""
    import s3fs

    storage = s3fs.S3FileSystem()
    storage.mkdir("slides")
    for name, path in files.items():
        storage.put(str(path), f"slides/{name}", recursive=path.is_dir())


def refused(what: str, call: Callable[[], object], *words: str) -> bool:
    """Whether a call is refused with an error that names the words."""
    try:
        call()
    except ImageError as error:
        missing = [word for word in words if word not in str(error)]
        print(f"{'right' if not missing else 'WRONG'}: {what}: {error}")
        return not missing
    print(f"WRONG: {what}: opened")
    return False


def main() -> int:
    """Compare, provoke, say."""
    server, address = served()
    os.environ.update(
        AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=address, AWS_EC2_METADATA_DISABLED="true",
    )  # fmt: skip
    try:
        return 0 if compared() else 1
    finally:
        server.terminate()


def served() -> tuple[subprocess.Popen[bytes], str]:
    """The server, in a process of its own: GDAL may wait for it while it holds this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(120):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.5)
    return server, f"http://127.0.0.1:{port}"


def compared() -> bool:
    """Whether every view is that of the local file, and every error as it should be."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        upload(files)
        for name, path in files.items():
            there, here = open_image(f"s3://slides/{name}"), open_image(path)
            same = (there.height, there.width, there.mpp) == (here.height, here.width, here.mpp)
            for scale in (1.0, 0.5):
                same &= all(bool((there.read([b], scale) == here.read([b], scale)).all()) for b in BOXES)
            print(f"{'right' if same else 'WRONG'}: s3://slides/{name}: {type(there).__name__}, as on disk")
            good &= same
            there.close()
        for name in ("none.tif", "none.zarr", "none.zarr.zip"):
            address = f"s3://slides/{name}"
            good &= refused("no such file", lambda a=address: open_image(a), address, "Check the")  # type: ignore[misc]
        address = "s3://nowhere/a.tif"
        good &= refused("no such bucket", lambda: open_image(address), address, "Check the address")
        good &= without_credentials()
    return good


def without_credentials() -> bool:
    """Errors where nothing says who asks, of every storage whose package is installed."""
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    s3fs.S3FileSystem.clear_instance_cache()
    address = "s3://slides/cog.tif"
    good = refused("no credentials", lambda: open_image(address), address, "credentials")
    for scheme, package in (("gs", "gcsfs"), ("az", "adlfs")):
        sys.modules[package] = None  # type: ignore[assignment]
        other = f"{scheme}://bucket/a.tif"
        good &= refused(
            f"{package} is not installed",
            lambda a=other: open_image(a),
            other,
            f"pip install {package}",  # type: ignore[misc]
        )
    return good


if __name__ == "__main__":
    sys.exit(main())
