"""Small valid files of every kind that the program reads, and what it does with each: see mutations.py."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np
import tifffile
import torch
import yaml
from PIL import Image
from scipy.io import savemat

if TYPE_CHECKING:
    from zoomin import ZoomIn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

SIDE = 96  # pixels of the images, and of those that the annotations belong to
Read = Callable[[Path], object]


class Sample(NamedTuple):
    """A valid file, or a folder of some.

    Attributes:
        kind: what reads it, a key of `READS`.
        name: of the file or folder below the folder of samples.
        part: the file that is mutated, for a folder; "" for a file.
    """

    kind: str
    name: str
    part: str = ""


class _Record(NamedTuple):
    """What names an annotation."""

    annotation: Path | None = None
    mask: Path | None = None


def read_image(path: Path) -> None:
    """Open it, look at all of it from far, at two places from near, and into its tables."""
    from zoomin.geometry import Region
    from zoomin.images.describe import describe
    from zoomin.images.open_image import open_image

    image = open_image(path)
    scale = min(1.0, 64 / max(image.width, image.height))
    image.read([Region(0, 0, image.width, image.height)], scale)
    image.read([Region(0, 0, 32, 32), Region(image.width - 32, image.height - 32, 32, 32)], 1.0)
    describe(path, image=image)


def read_annotation(path: Path, mask: bool = False) -> None:
    """The share of ROI in the image and in its tiles."""
    from zoomin.annotations.open_annotation import open_annotation
    from zoomin.geometry import Region

    found = open_annotation(_Record(mask=path) if mask else _Record(annotation=path), SIDE, SIDE)
    assert found is not None
    found.read([Region(x, y, 32, 32) for x in (0, 32, 64) for y in (0, 32, 64)], 0.5)
    assert found.empty in (True, False)


def read_h5(path: Path) -> None:
    """As bags are read."""
    from zoomin.model.feature_files import read_features, settings_of

    read_features(path, mpp=0.5)
    settings_of(path)


def read_recipe(path: Path) -> None:
    """As experiments read it."""
    from zoomin.training.recipe import read_recipe as read

    read(path)


def read_manifest(path: Path) -> None:
    """As training reads it."""
    from zoomin.data.manifest import read_manifest as read
    from zoomin.data.trainable import check_trainable

    check_trainable(read(path))


def read_model(path: Path) -> None:
    """Load it, and let it answer once."""
    from zoomin.classifiers import load_model

    net = load_model(path)
    if net.n_samples <= 16 and net.config.resolution is None:
        net(torch.zeros(1, 3, SIDE, SIDE), keys=torch.zeros(1, dtype=torch.int64))


def read_checkpoint(path: Path) -> None:
    """As a resumed run reads it."""
    from zoomin.training.checkpoints import epochs_done

    epochs_done(path, {"config": {"seed": 0}, "data": "x"}, 10)


def read_explanation(path: Path) -> None:
    """As reports and the viewer read it."""
    from zoomin.explanation import Explanation
    from zoomin.explanation.index import read_index

    read_index(path)
    one = Explanation.load(path / "one")
    one.to_geojson()
    assert len(one.places().weight) >= 0


def read_predictions(path: Path) -> None:
    """As parts of a table are merged."""
    from zoomin.inference.prediction_table import merge_predictions

    merge_predictions([path], path.with_name("merged.csv"))


READS: dict[str, Read] = {
    "image": read_image,
    "annotation": read_annotation,
    "mask": lambda path: read_annotation(path, mask=True),
    "features": read_h5,
    "recipe": read_recipe,
    "manifest": read_manifest,
    "model": read_model,
    "checkpoint": read_checkpoint,
    "explanation": read_explanation,
    "predictions": read_predictions,
}


def make_samples(folder: Path) -> list[Sample]:
    """Write all samples; the same bytes every time, but for what HDF5 and ZIP say of the time."""
    samples = [*_images(folder), *_tiffs(folder), *_annotations(folder), *_tables(folder), *_runs(folder)]
    (folder / "samples.json").write_text(json.dumps(samples))
    return samples


def read_samples(folder: Path) -> list[Sample]:
    """The samples that `make_samples` wrote."""
    return [Sample(*fields) for fields in json.loads((folder / "samples.json").read_text())]


def _images(folder: Path) -> list[Sample]:
    from slides import picture

    pixels = picture(SIDE, SIDE)
    image, options = Image.fromarray(pixels), {"b.jpg": {"progressive": True}, "b.png": {"dpi": (300, 300)}}
    modes = {"a.png": "RGB", "b.png": "P", "c.png": "LA", "a.jpg": "RGB", "b.jpg": "L", "c.jpg": "CMYK"}
    modes |= {"a.bmp": "RGB", "a.gif": "P", "a.webp": "RGB", "a.ppm": "RGB", "d.png": "I;16", "e.png": "1"}
    for name, mode in modes.items():
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        one = Image.fromarray(grey) if mode == "I;16" else image.convert(mode)
        one.save(folder / name, **options.get(name, {}))
    _jpeg2000(folder / "a.jp2", pixels)
    _dicom(folder / "a.dcm", image)
    return [Sample("image", name) for name in (*modes, "a.jp2", "a.dcm")]


def _jpeg2000(path: Path, pixels: np.ndarray) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2"))


def _dicom(path: Path, image: Image.Image) -> None:
    """A slide of one JPEG frame, as OpenSlide reads it."""
    import io

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    frame = io.BytesIO()
    image.save(frame, format="JPEG")
    slide, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.MediaStorageSOPClassUID = slide.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = slide.SOPInstanceUID = "1.2.3"
    slide.ImageType, slide.Modality = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "SM"
    slide.StudyInstanceUID, slide.SeriesInstanceUID, slide.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
    slide.Rows = slide.Columns = slide.TotalPixelMatrixColumns = slide.TotalPixelMatrixRows = SIDE
    slide.SamplesPerPixel, slide.PhotometricInterpretation, slide.PlanarConfiguration = 3, "YBR_FULL_422", 0
    slide.BitsAllocated = slide.BitsStored = 8
    slide.HighBit, slide.PixelRepresentation, slide.NumberOfFrames = 7, 0, 1
    slide.DimensionOrganizationType = "TILED_FULL"
    slide.NumberOfOpticalPaths = slide.TotalPixelMatrixFocalPlanes = 1
    slide.PixelData = encapsulate([frame.getvalue()])
    slide["PixelData"].is_undefined_length = True
    slide.file_meta = meta
    slide.save_as(path, enforce_file_format=True)


def _tiffs(folder: Path) -> list[Sample]:
    from slides import MPP, by_gdal, geotiff, picture, pyramid
    from test_images_damage import APERIO

    pixels = picture(2 * SIDE, 2 * SIDE)
    pyramid(folder / "a.svs", pixels, compression="jpeg", description=APERIO)
    pyramid(folder / "pyramid.tif", pixels)
    pyramid(folder / "big.tif", pixels, bigtiff=True, compression="lzw")
    pyramid(folder / "a.ome.tif", pixels, ome=True, sub_ifds=True, metadata={"PhysicalSizeX": MPP})
    geotiff(folder / "geo.tif", pixels, compress="deflate")
    by_gdal(folder / "cog.tif", pixels, "COG", COMPRESS="ZSTD")
    plain = {
        "strips.tif": {"compression": "packbits"},
        "planes.tif": {"planarconfig": "separate", "compression": "zlib"},
        "predictor.tif": {"compression": "lzw", "predictor": True},
        "motorola.tif": {"byteorder": ">", "tile": (32, 32)},
        "j2k.tif": {"compression": "jpeg2000", "tile": (64, 64)},
        "zstd.tif": {"compression": "zstd", "rowsperstrip": 16},
    }
    for name, how in plain.items():
        order = {"byteorder": how.pop("byteorder")} if "byteorder" in how else {}
        data = np.moveaxis(pixels, -1, 0) if "planarconfig" in how else pixels
        tifffile.imwrite(folder / name, data, photometric="rgb", **order, **how)
    deep = pixels.astype(np.uint16) * 257
    tifffile.imwrite(folder / "deep.tif", deep, photometric="rgb", compression="zlib", predictor=True)
    tifffile.imwrite(folder / "float.tif", deep[..., 0] / np.float32(65535), photometric="minisblack")
    names = ["a.svs", "pyramid.tif", "big.tif", "a.ome.tif", "geo.tif", "cog.tif", *plain]
    return [Sample("image", name) for name in (*names, "deep.tif", "float.tif")]


def _annotations(folder: Path) -> list[Sample]:
    import shapely

    from zoomin.annotations.asap import write_asap
    from zoomin.annotations.geojson import write_geojson
    from zoomin.annotations.polygons import Outline

    hole = shapely.box(5, 5, 60, 60).difference(shapely.box(20, 20, 30, 30))
    outlines = [Outline(hole, "Tumor"), Outline(shapely.Point(60, 60).buffer(20), "Normal: Positive")]
    write_asap(folder / "asap.xml", outlines)
    write_geojson(folder / "qupath.geojson", outlines)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[10:40, 20:70] = 1
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask).convert("P").save(folder / "mask.gif")
    tifffile.imwrite(folder / "mask.tif", mask, compression="zlib", photometric="minisblack")
    centres = np.random.default_rng(0).uniform(0, SIDE, (9, 2))
    savemat(folder / "nuclei.mat", {"detection": centres})
    savemat(folder / "packed.mat", {"detection": centres}, do_compression=True)
    savemat(folder / "old.mat", {"detection": centres}, format="4")
    names = ("asap.xml", "qupath.geojson", "nuclei.mat", "packed.mat", "old.mat", "mask.png")
    masks = ("mask.png", "mask.gif", "mask.tif")
    return [*(Sample("annotation", name) for name in names), *(Sample("mask", name) for name in masks)]


def _tables(folder: Path) -> list[Sample]:
    from zoomin.data.csv_table import read_table

    rng = np.random.default_rng(0)
    for name, options in (("a.h5", {}), ("packed.h5", {"compression": "gzip", "chunks": (4, 8)})):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("features", data=rng.normal(size=(12, 8)).astype(np.float32), **options)
            file.create_dataset("coords", data=rng.integers(0, 900, (12, 2)))
            file["coords"].attrs.update({"unit": "um", "mpp": 0.5, "patch_size": 64})
            file.attrs["zoomin"] = json.dumps({"crop_size": 32, "scale": 1.0})
    model = {"tile_size": 32, "sub_tile_size": 9, "n_samples": 3}
    recipe = {"data": {"root": "images", "batch_size": 2}, "model": model, "train": {"epochs": 2}, "seed": 1}
    (folder / "recipe.yaml").write_text("# a recipe\n" + yaml.safe_dump(recipe))
    (folder / "same.yaml").write_text("data: &data\n  root: images\nmodel: {}\ntrain: {epochs: 3}\nseed: 2\n")
    lines = ["image,label,group,split,mpp,annotation"]
    lines += [f"a.png,{kind},g{n},train,0.5," for n, kind in enumerate(("yes", "no"))]
    lines += [f"{kind}.png,{label},g,{split},," for kind, label, split in (("b", 1, "val"), ("c", 0, "test"))]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "semicolon.csv").write_text('image;label\n"a.png";"yes"\n"b.png";"no"\n', encoding="utf-16")
    assert read_table(folder / "manifest.csv", "image", "").rows
    names = {"a.h5": "features", "packed.h5": "features", "recipe.yaml": "recipe", "same.yaml": "recipe"}
    names |= {"manifest.csv": "manifest", "semicolon.csv": "manifest"}
    return [Sample(kind, name) for name, kind in names.items()]


def _runs(folder: Path) -> list[Sample]:
    from zoomin import ZoomIn, ZoomInConfig, explain
    from zoomin.explanation import Entry, Index
    from zoomin.explanation.index import write_index

    torch.manual_seed(0)
    net = ZoomIn(ZoomInConfig(tile_size=32, sub_tile_size=9, n_samples=3)).eval()
    net.save_pretrained(folder / "model")
    (one,) = explain([folder / "a.png"], net)
    one.save(folder / "explained" / "one")
    write_index(Index("m", one.classes, (Entry.of(one, "one"),)), folder / "explained")
    weights = {f"net.{name}": value for name, value in net.head.state_dict().items()}
    known = {"config": {"seed": 0}, "data": "x", "rows": [{"epoch": 0, "train_loss": 0.5}]}
    (folder / "run" / "checkpoints").mkdir(parents=True)
    checkpoint = {"state_dict": weights, "epoch": 0, "zoomin": known}
    torch.save(checkpoint, folder / "run" / "checkpoints" / "last.ckpt")
    _predict(folder, net)
    parts = [("model", "model", part) for part in ("config.json", "model.safetensors")]
    parts += [("explanation", "explained", part) for part in ("index.json", "one/explanation.json")]
    parts += [("explanation", "explained", part) for part in ("one/arrays.npz", "one/overview.png")]
    parts += [("checkpoint", "run", "checkpoints/last.ckpt"), ("predictions", "predictions.csv", "")]
    return [Sample(*part) for part in parts]


def _predict(folder: Path, net: ZoomIn) -> None:
    """A table of predictions of two images, one of which fails."""
    from zoomin.inference.prediction_table import predict_into

    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13))
    predict_into([folder / "a.png", folder / "broken.png"], net, folder / "predictions.csv")
    (folder / "broken.png").unlink()


def copy_sample(samples: Path, sample: Sample, folder: Path) -> tuple[Path, Path]:
    """A copy of a sample in a folder that was empty: what is read, and the file to mutate."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, target = samples / sample.name, folder / sample.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
        if sample.kind == "manifest":
            for name in ("a.png", "b.png", "c.png"):
                shutil.copy(samples / name, folder / name)
    return target, target / sample.part if sample.part else target
