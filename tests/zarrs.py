"""Small OME-Zarrs of every kind, written by zarr-python from pixels that the test knows."""

from __future__ import annotations

import zipfile

import numpy as np
import zarr

from slides import halved

MICRON = {"type": "space", "unit": "micrometer"}
RGB = [{"color": colour, "label": f"Channel {n}"} for n, colour in enumerate(("FF0000", "00FF00", "0000FF"))]


def axes_of(names, unit="micrometer"):
    kinds = {"t": "time", "c": "channel"}
    found = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    return [one | ({"unit": unit} if one["type"] == "space" and unit else {}) for one in found]


def metadata(axes, version, *, levels, mpp, unit="micrometer", name="", channels=RGB):
    """The attributes of an image group."""
    datasets = []
    for level in range(levels):
        scale = [mpp * 2**level if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    scales = {"axes": axes_of(axes, unit), "datasets": datasets, "name": name}
    found = {"multiscales": [scales | ({"version": version} if version == "0.4" else {})]}
    found |= {"omero": {"channels": list(channels)}} if channels else {}
    return {"ome": found | {"version": version}} if version == "0.5" else found


def ome_zarr(
    path,
    pixels,
    version="0.5",
    *,
    axes="cyx",
    levels=3,
    mpp=0.25,
    chunk=64,
    shard=None,
    compressor="auto",
    unit="micrometer",
    place="",
    name="",
    channels=RGB,
):
    """Write pixels (height, width, channels), of axes t and z one plane each, with averaged levels."""
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    group = group.require_group(place) if place else group
    group.attrs.update(
        metadata(axes, version, levels=levels, mpp=mpp, unit=unit, name=name, channels=channels)
    )
    for level in range(levels):
        planes = pixels.transpose(2, 0, 1) if "c" in axes else pixels[..., 0]
        shape = [1] * (len(axes) - planes.ndim) + list(planes.shape)
        order = [axis for axis in axes if axis not in "cyx"] + [
            axis for axis in ("c", "y", "x") if axis in axes
        ]
        array = planes.reshape(shape).transpose([order.index(axis) for axis in axes])
        sides = tuple(chunk if axis in "yx" else 1 for axis in axes)
        options = {"chunks": sides, "shape": array.shape, "dtype": array.dtype, "compressors": compressor}
        if version == "0.4":
            options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        if shard:
            options["shards"] = tuple(
                shard if axis in "yx" else n for axis, n in zip(axes, array.shape, strict=True)
            )
        group.create_array(str(level), **options)[:] = array
        if level < levels - 1:
            pixels = halved(pixels) if pixels.dtype == np.uint8 else pixels[::2, ::2]
    return path


def zipped(folder, path, *, below=""):
    """A ZIP archive, stored without compression, of a Zarr folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{below}{file.relative_to(folder).as_posix()}")
    return path
