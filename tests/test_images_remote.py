"""Images at URLs: only the ranges that reads touch cross the network, and they cross it once."""

from __future__ import annotations

import csv
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from range_server import serve
from slides import by_gdal, geotiff, noise, pyramid
from training_examples import one_thread, run_config  # noqa: F401 (a fixture)
from zarrs import ome_zarr
from zoomin.data.check import check_images, images_to_check
from zoomin.data.manifest import Record, read_manifest, write_manifest
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images import remote
from zoomin.images.formats.gdal import SETTINGS, settings_of
from zoomin.images.formats.raster import RasterImage
from zoomin.images.formats.tiff_image import TiffImage
from zoomin.images.formats.zarr_image import ZarrImage
from zoomin.images.open_image import open_image
from zoomin.images.remote import remote_cache
from zoomin.images.urls import path_text, url_of
from zoomin.inference import find_images, predict
from zoomin.model import ZoomIn
from zoomin.training.fit import fit

SIDE = 1536
PIXELS = noise(SIDE, SIDE)  # compression gains nothing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    by_gdal(folder / "cog.tif", PIXELS, "COG", BLOCKSIZE=128, RESAMPLING="AVERAGE")
    pyramid(folder / "pyramid.tif", PIXELS, compression="jpegxl", compressionargs={"level": 100})
    geotiff(folder / "bands.tif", noise(SIDE, SIDE, channels=8), interleave="band", overviews=())
    ome_zarr(folder / "v05.zarr", PIXELS, levels=2, chunk=128)
    ome_zarr(folder / "v04.zarr", PIXELS, "0.4", levels=2, chunk=128)
    shutil.make_archive(str(folder / "v05.zarr"), "zip", folder / "v05.zarr")
    shutil.copy(folder / "v05.zarr.zip", folder / "v05.ozx")
    ome_zarr(folder / "sharded.zarr", PIXELS, levels=1, chunk=128, shard=1536)
    return folder


@pytest.fixture(autouse=True)
def forget():
    remote_cache().drop_all(lambda key: True)


def size_of(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.parametrize(
    ("name", "kind", "share"),
    [
        ("cog.tif", RasterImage, 8),
        ("pyramid.tif", TiffImage, 2),  # levels that nothing vouches for are compared
        ("v05.zarr", ZarrImage, 8),
        ("v04.zarr", ZarrImage, 8),
        ("sharded.zarr", ZarrImage, 8),
        ("v05.zarr.zip", ZarrImage, 6),
        ("v05.ozx", ZarrImage, 6),
    ],
)
def test_few_bytes_are_read(name, kind, share, folder):
    boxes = [Region(700, 500, 200, 150), Region(1400, 1400, 100, 100)]
    with serve(folder) as (address, traffic):
        image = open_image(f"{address}/{name}")
        assert isinstance(image, kind) and image.name == f"{address}/{name}"
        local = open_image(folder / name)
        assert (image.height, image.width, image.mpp) == (SIDE, SIDE, local.mpp)
        views = image.read(boxes[:1], 1.0)
        assert torch.equal(views, local.read(boxes[:1], 1.0))
        read = traffic.sent
        assert read < size_of(folder / name) / share, (read, size_of(folder / name))
        again = pickle.loads(pickle.dumps(image))
        assert torch.equal(again.read(boxes[:1], 1.0), views)
        assert traffic.sent - read < 1_000  # kept
        image.read(boxes[1:], 1.0)
        image.close()


def test_channels_of_a_remote_tiff(folder):
    with serve(folder) as (address, traffic):
        image = open_image(f"{address}/bands.tif", channels=[6])
        view = image.read([Region(64, 64, 64, 64)], 1.0)[0, 0].numpy()
        assert np.array_equal(view, noise(SIDE, SIDE, channels=8)[64:128, 64:128, 5].astype(np.float32))
        assert traffic.sent < size_of(folder / "bands.tif") / 8
        assert image.georeference is not None


def test_what_goes_wrong_is_said(folder, tmp_path):
    Image.fromarray(PIXELS[:70, :70]).save(folder / "a.png")
    with serve(folder) as (address, _):
        for name in ("none.tif", "none.zarr"):
            with pytest.raises(ImageError, match=rf"{address}/{name}.*(no such file|no Zarr there)"):
                open_image(f"{address}/{name}")
        with pytest.raises(ImageError, match=r"PNG at a URL.*Download it"):
            open_image(f"{address}/a.png")
    with pytest.raises(ImageError, match=r"cannot be reached.*Check the address"):
        open_image(f"{address}/cog.tif")
    with serve(folder, ranges=False) as (address, _), pytest.raises(ImageError, match="whole files"):
        open_image(f"{address}/cog.tif")


def test_urls_are_paths():
    assert url_of(Path("s3://bucket/a.zarr")) == "s3://bucket/a.zarr"
    assert url_of("folder/https.tif") is None
    assert path_text(Path("https://host/a b.tif")) == "https://host/a b.tif"


def test_addresses_of_files_are_opened_and_other_schemes_named(tmp_path):
    path = tmp_path / "a b.png"
    Image.fromarray(PIXELS[:70, :70]).save(path)
    (tmp_path / "list.csv").write_text(f"image,label\n{path.as_uri()},x\n")
    assert read_manifest(tmp_path / "list.csv").records[0].image == path
    assert find_images([path.as_uri()]) == [path]
    assert [record.image for record in images_to_check([path.as_uri()])] == [path]
    for address in (path.as_uri(), Path(path.as_uri()), f"file://localhost{path}"):
        assert open_image(address).width == 70
    with pytest.raises(
        ImageError,
        match=r"ftp://host/a\.tif: the scheme ftp of this address is not read\. Use https, s3, gs or az",
    ):
        open_image("ftp://host/a.tif")
    with pytest.raises(ImageError, match="no such file"):
        open_image("file:///nowhere/a.tif")


def test_another_server_of_s3_is_that_of_aws_programs(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert settings_of(Path("s3://bucket/a.tif")) == SETTINGS
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000/")
    found = settings_of(Path("s3://bucket/a.tif"))
    assert (found["AWS_S3_ENDPOINT"], found["AWS_HTTPS"]) == ("localhost:9000", "NO")
    assert found["AWS_VIRTUAL_HOSTING"] == "FALSE"
    assert settings_of(Path("https://host/a.tif")) == settings_of(Path("a.tif")) == SETTINGS
    monkeypatch.setenv("AWS_S3_ENDPOINT", "own:1")  # GDAL's own variable stays
    assert settings_of(Path("s3://bucket/a.tif")) == SETTINGS


def test_storage_that_refuses_access_is_named(monkeypatch):
    def refusing(path):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(remote, "_files", refusing)
    with pytest.raises(ImageError, match=r"a\.tif: the storage refuses access \(Forbidden\).*credentials"):
        open_image("s3://bucket/a.tif")


def test_storage_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(ImageError, match=r"gcsfs.*zoomin-net\[remote\]"):
        open_image("gs://bucket/a.tif")


def test_a_manifest_of_urls_is_trained_and_predicted(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        pixels[20:36, 8:24, 1] = 255 * (number % 2)
        geotiff(tmp_path / f"{number}.tif", pixels, overviews=())
    with serve(tmp_path) as (address, _):
        table = tmp_path / "manifest.csv"
        with table.open("w") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "label"])
            rows.writerows([f"{address}/{n}.tif", ("empty", "square")[n % 2]] for n in range(8))
        manifest = read_manifest(table)
        write_manifest(manifest, tmp_path / "again.csv")
        assert read_manifest(tmp_path / "again.csv").records == manifest.records
        [found] = check_images(manifest.records[:1])
        assert (found.row.problem, found.row.image) == ("", f"{address}/0.tif")
        fit(run_config(table, tmp_path / "run", epochs=1), progress=False)
        net = ZoomIn.from_pretrained(tmp_path / "run" / "model")
        rows = list(predict([f"{address}/0.tif", Record(Path(f"{address}/1.tif"), label=None)], net))
        assert [row.status for row in rows] == ["ok", "ok"]
        assert rows[0].image == f"{address}/0.tif"
        shutil.rmtree(tmp_path / "run")
