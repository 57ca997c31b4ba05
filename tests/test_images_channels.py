"""Images of more than three channels: samples as stored, names, statistics, false colour, and a whole run."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from rasterio.transform import from_origin

from slides import geotiff
from training_examples import one_thread, run_config  # noqa: F401 (a fixture)
from zarrs import ome_zarr
from zoomin.data.check import check_images
from zoomin.data.manifest import Record
from zoomin.errors import ChannelsError, ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.formats.channels import ChannelImage, channel_statistics, shown
from zoomin.images.open_image import open_image, open_shown
from zoomin.images.resampled import at_mpp
from zoomin.inference import InferenceConfig, predict
from zoomin.inference.explain_folder import explain_into
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.networks.first_layer import adapted_weight
from zoomin.training.fit import fit
from zoomin.training.plan import plan

NAMES = ("DAPI", "CD3", "CD8", "CD20", "CK", "Ki67", "PD1", "AF")


def samples(dtype=np.uint16, height=96, width=128, channels=8):
    """Every channel unlike the others."""
    y, x = np.mgrid[:height, :width]
    planes = [1000 * (c + 1) + 7 * x + 3 * y + 100 * (x // 16 % 2) for c in range(channels)]
    planes = np.stack(planes, axis=-1)
    return (planes / 12000).astype(dtype) if np.dtype(dtype).kind == "f" else planes.astype(dtype)


def described(path, pixels, **options):
    """A GeoTIFF whose bands have descriptions."""
    geotiff(path, pixels, **options)
    with rasterio.open(path, "r+") as file:
        file.descriptions = NAMES[: pixels.shape[2]]
    return path


def ome_tiff(path, pixels):
    """A multiplex OME-TIFF: a directory for each channel, lower levels in sub-IFDs."""
    with tifffile.TiffWriter(path, ome=True) as file:
        metadata = {"axes": "CYX", "Channel": {"Name": list(NAMES)}, "PhysicalSizeX": 0.5}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
        common = {"tile": (32, 32), "photometric": "minisblack", "compression": "zlib"}
        file.write(pixels.transpose(2, 0, 1), subifds=1, metadata=metadata, **common)
        file.write(pixels[::2, ::2].transpose(2, 0, 1), subfiletype=1, metadata=None, **common)
    return path


def qptiff(path, pixels):
    """The layout of PerkinElmer QPI: the pages of a level one after the other, level by level.

    A thumbnail stands behind the first level, macro and label behind the last.
    """
    root = "PerkinElmer-QPI-ImageDescription"
    xml = f"<{root}><ImageType>{{}}</ImageType><Biomarker>{{}}</Biomarker></{root}>"
    with tifffile.TiffWriter(path) as file:
        common = {"photometric": "minisblack", "metadata": None, "software": "PerkinElmer-QPI"}
        for step in (1, 2, 4):
            kind = "FullResolution" if step == 1 else "ReducedResolution"
            for place, name in enumerate(NAMES):
                level = pixels[::step, ::step, place]
                file.write(
                    level,
                    tile=(16, 16),
                    description=xml.format(kind, name),
                    subfiletype=int(step > 1),
                    **common,
                )
            if step == 1:
                picture(file, (24, 32), xml.format("Thumbnail", ""))
        picture(file, (50, 90), xml.format("Overview", ""))
        picture(file, (40, 30), xml.format("Label", ""))
    return path


def picture(file, size, description):
    file.write(np.full((*size, 3), 200, np.uint8), photometric="rgb", metadata=None, description=description)


FILES = {
    "chunky.tif": lambda path, pixels: described(path, pixels, interleave="pixel"),
    "planar.tif": lambda path, pixels: described(path, pixels, interleave="band"),
    "multiplex.ome.tif": ome_tiff,
    "scan.qptiff": qptiff,
    "v04.zarr": lambda path, pixels: ome_zarr(
        path, pixels, "0.4", levels=2, channels=[{"label": name, "color": "FFFFFF"} for name in NAMES]
    ),
    "v05.zarr": lambda path, pixels: ome_zarr(
        path, pixels, axes="yxc", levels=2, channels=[{"label": name, "color": "FFFFFF"} for name in NAMES]
    ),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", FILES)
def test_samples_are_what_is_stored(name, dtype, tmp_path):
    pixels = samples(dtype)
    path = FILES[name](tmp_path / name, pixels)
    image = open_image(path, channels=["Ki67", 2, "cd20"])
    assert isinstance(image, ChannelImage) and image.channels == ("Ki67", "CD3", "CD20")
    assert (image.height, image.width) == pixels.shape[:2]
    views = image.read([Region(10, 20, 40, 30), Region(100, 80, 40, 30)], 1.0)
    assert views.dtype == torch.float32 and views.shape == (2, 3, 30, 40)
    wanted = pixels[20:50, 10:50][..., [5, 1, 3]].astype(np.float32)
    assert np.array_equal(views[0].permute(1, 2, 0).numpy(), wanted)
    assert np.array_equal(
        views[1, :, :16, :28].permute(1, 2, 0).numpy(), pixels[80:, 100:][..., [5, 1, 3]].astype(np.float32)
    )
    assert (views[1, :, 16:] == 0).all()  # beyond the border
    again = pickle.loads(pickle.dumps(image))
    assert torch.equal(again.read([Region(0, 0, 9, 9)], 1.0), image.read([Region(0, 0, 9, 9)], 1.0))
    image.close()


def test_averages_are_exact(tmp_path):
    pixels = samples()
    image = open_image(described(tmp_path / "a.tif", pixels, overviews=()), channels=[6])
    view = image.read([Region(0, 0, 128, 96)], 0.25)[0, 0].numpy()
    wanted = pixels[..., 5].reshape(24, 4, 32, 4).mean((1, 3))
    assert np.allclose(view, wanted, rtol=1e-6)
    half = at_mpp(open_image(tmp_path / "a.tif", mpp=0.5, channels=[6]), 1.0)
    assert np.allclose(
        half.read([Region(0, 0, 64, 48)], 1.0)[0, 0], pixels[..., 5].reshape(48, 2, 64, 2).mean((1, 3))
    )


def test_levels_and_the_map(tmp_path):
    image = open_image(described(tmp_path / "a.tif", samples(np.uint8)), channels=[1])
    assert len(image.levels) == 3 and image.georeference is not None
    assert image.mpp == pytest.approx(500_000, rel=0.01)
    scan = open_image(qptiff(tmp_path / "c.qptiff", samples()), channels=["Ki67", "CD3"])
    assert [(level.width, level.height) for level in scan.levels] == [(128, 96), (64, 48), (32, 24)]
    for step in (2, 4):  # each level has its own pages, a channel a page
        view = scan.read([Region(0, 0, 128, 96)], 1 / step)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(view, samples()[::step, ::step, [5, 1]].astype(np.float32))
    ome = open_image(ome_tiff(tmp_path / "b.ome.tif", samples()), channels=["CK"])
    assert (len(ome.levels), ome.mpp) == (2, 0.5)
    view = ome.read([Region(0, 0, 128, 96)], 0.5)[0, 0].numpy()
    assert np.array_equal(view, samples()[::2, ::2, 4].astype(np.float32))


def test_missing_samples_are_nought(tmp_path):
    pixels = samples(np.float32)
    pixels[:10, :10, 2], pixels[:10, 20:30, 2] = -9999, np.nan
    path = described(tmp_path / "a.tif", pixels, overviews=(), nodata=-9999)
    view = open_image(path, channels=[3]).read([Region(0, 0, 40, 40)], 1.0)[0, 0].numpy()
    assert (view[:10, :10] == 0).all() and (view[:10, 20:30] == 0).all() and (view[10:] > 0).all()


def test_what_is_not_there_is_named(tmp_path):
    path = described(tmp_path / "a.tif", samples(), overviews=())
    with pytest.raises(ImageError, match=r"no channel '9'.*It has 8: 1 DAPI, 2 CD3, .*data.channels"):
        open_image(path, channels=[1, 9])
    with pytest.raises(ImageError, match="no channel 'NIR'"):
        open_image(path, channels=["NIR"])
    with pytest.raises(ChannelsError, match=r"data.channels, such as '\[6, 2\]'"):
        open_image(path)
    with pytest.raises(ChannelsError, match=r"data\.channels"):
        open_image(ome_tiff(tmp_path / "b.ome.tif", samples()))
    from PIL import Image

    Image.new("RGB", (70, 70)).save(tmp_path / "c.png")
    with pytest.raises(ImageError, match="neither TIFF nor OME-Zarr"):
        open_image(tmp_path / "c.png", channels=[1])


def test_statistics_and_false_colour(tmp_path):
    pixels = samples()
    path = described(tmp_path / "a.tif", pixels, overviews=())
    image = open_image(path, channels=[6, 2])
    mean, std = channel_statistics([image])
    flat = pixels[..., [5, 1]].reshape(-1, 2).astype(float)
    assert np.allclose(mean, flat.mean(0), rtol=0.01) and np.allclose(std, flat.std(0), rtol=0.05)
    seen = open_shown(path)
    view = seen.read([Region(0, 0, 128, 96)], 1.0)[0]
    assert view.dtype == torch.uint8 and view.shape == (3, 96, 128)
    assert view.float().std() > 30  # stretched from the 1st to the 99th percentile
    assert torch.equal(
        view[2], shown(open_image(path, channels=[3])).read([Region(0, 0, 128, 96)], 1.0)[0][0]
    )
    two = shown(open_image(path, channels=[6, 2])).read([Region(0, 0, 8, 8)], 1.0)[0]
    assert (two[2] == 0).all()


def test_first_layers_follow_the_rule_of_timm():
    import timm

    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3)
    for channels in (1, 2, 4, 8):
        wanted = timm.models.adapt_input_conv(channels, weight)
        assert torch.allclose(adapted_weight(weight, channels), wanted)


@pytest.mark.parametrize("name", ["lenet", "resnet16", "timm:tf_efficientnet_lite0", "timm:resnet18"])
def test_networks_take_any_channels(name, tmp_path):
    attention = name if name.startswith("timm") else "lenet"
    config = ZoomInConfig(
        tile_size=64, sub_tile_size=32, tile_scale=0.5, sub_tile_scale=0.5, n_samples=2, features=name,
        tile_attention=attention, channels=("1", "2", "3", "4", "5"), mean=(0.0,) * 5, std=(1.0,) * 5,
    )  # fmt: skip
    net = ZoomIn(config)
    path = described(tmp_path / "a.tif", samples(channels=5), overviews=())
    out = net([open_image(path, channels=[1, 2, 3, 4, 5])])
    assert out.logits.shape == (1, 2)
    again = ZoomIn.from_pretrained(net.save_pretrained(tmp_path / "model"))
    assert again.config == config
    with pytest.raises(ConfigError, match="views of 3 channels for a model of 5"):
        net(torch.zeros(1, 3, 70, 70, dtype=torch.uint8))


def test_means_are_one_per_channel():
    with pytest.raises(ConfigError, match="3 numbers, std 3, for 4 channels"):
        ZoomInConfig(channels=("1", "2", "3", "4"))


def eight_bands(folder, n=16):
    """GeoTIFFs of eight 16-bit bands: a square in band 6 alone tells the classes apart."""
    rng = np.random.default_rng(0)
    for number in range(n):
        kind = number % 2
        pixels = rng.integers(900, 1100, (64, 64, 8)).astype(np.uint16)
        y, x = rng.integers(0, 40, 2)
        pixels[y : y + 24, x : x + 24, [0, 7]] += 4000  # in both classes
        if kind:
            y, x = rng.integers(0, 40, 2)
            pixels[y : y + 24, x : x + 24, 5] += 4000
        path = folder / ("empty", "square")[kind] / f"{number:02d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        described(path, pixels, overviews=())
    return folder


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    return eight_bands(tmp_path_factory.mktemp("bands"))


def test_eight_bands_from_plan_to_explanation(bands, tmp_path):
    config = run_config(
        bands,
        tmp_path / "run",
        epochs=14,
        learning_rate=0.01,
        data_channels=[6, 1, "AF"],
        contrastive_from_epoch=None,
    )
    assert plan(config.data).data.channels == [6, 1, "AF"]
    [checked] = check_images([Record(next(bands.glob("*/*.tif")), label=None)], channels=[6, 1])
    assert (checked.row.problem, checked.row.reader) == ("", "tifffile")
    assert checked.row.pixels.startswith("8 channels (DAPI, CD3")
    fit(config, progress=False)
    net = ZoomIn.from_pretrained(tmp_path / "run" / "model")
    assert net.config.channels == ("6", "1", "AF")
    assert 900 < net.config.mean[0] < 1900 and net.config.std[0] > 50
    paths = sorted(bands.glob("*/*.tif"))
    rows = list(predict(paths, net))
    right = [row.label == path.parent.name for row, path in zip(rows, paths, strict=True)]
    assert sum(right) >= 14, [(row.label, row.probabilities) for row in rows]
    summary = explain_into(paths[-1:], net, tmp_path / "explained", InferenceConfig())
    assert (summary.explained, len(summary.failed)) == (1, 0)
    described(tmp_path / "three.tif", samples(channels=3), overviews=())
    [row] = predict([tmp_path / "three.tif"], net)
    assert row.status == "error" and "no channel '6'" in row.error


def test_frozen_trunks_see_channels(bands, tmp_path):
    found = plan(run_config(bands, tmp_path / "run", data_channels=[6, 2]).data)
    config = run_config(bands, tmp_path / "run", data_channels=[6, 2])
    from dataclasses import replace

    frozen = replace(found.frozen, cache=str(tmp_path / "cache"), copies=2)
    model = replace(found.model, sub_tile_size=32, tile_size=32, context_side=0)
    result = fit(replace(config, model=model, frozen=frozen), progress=False)
    net = ZoomIn.from_pretrained(result.model)
    assert net.config.channels == ("6", "2") and len(net.config.mean) == 2


def test_colours_are_not_augmented(bands, tmp_path):
    from zoomin.images.augmentation import Augmentation

    with pytest.raises(ConfigError, match="samples of other channels are not colours"):
        run_config(bands, tmp_path, data_channels=[6], data_augmentation=Augmentation(brightness=0.1))
    run_config(bands, tmp_path, data_channels=[6], data_augmentation=Augmentation(flips=True))


def test_the_readers_of_training_images_are_kept(bands, tmp_path, caplog):
    fit(run_config(bands, tmp_path / "run", epochs=1, data_channels=[6]), progress=False)
    lines = (tmp_path / "run" / "readers.csv").read_text().splitlines()
    assert lines[0] == "image,reader" and len(lines) == 1 + 12 and lines[1].endswith(",tifffile")
    net = ZoomIn.from_pretrained(tmp_path / "run" / "model")
    assert net.readers == ("tifffile",)
    paths = sorted(bands.glob("*/*.tif"))[:2]
    list(predict(paths, net))
    assert "read by" not in caplog.text
    other = ome_zarr(tmp_path / "a.zarr", samples(height=64, width=64), levels=1, channels=())
    rows = list(predict([other, other, *paths], net))
    assert [row.status for row in rows] == ["ok"] * 4
    assert caplog.text.count("a.zarr: read by zarr, and the training images by tifffile") == 1


def side_car(path, values):
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in enumerate(values, start=1)
        if value is not None
    )
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize(
    ("missing", "wanted"),
    [((0, 0, 255, 7), [0, 0, 0, 0]), ((None, None, 7, None), [5, 255, 255, 7]), ((255,) * 4, [5, 0, 0, 7])],
)
def test_each_band_has_its_own_missing_value(mapped, missing, wanted, tmp_path):
    where = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)} if mapped else {}
    size = {"height": 16, "width": 16, "count": 4, "dtype": "uint8"}
    pixels = np.array(
        [5, 255, 255, 7] if missing[0] is None or missing[0] == 255 else [0, 0, 255, 7], np.uint8
    )
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size, **where) as file:
        file.write(np.broadcast_to(pixels[:, None, None], (4, 16, 16)))
    side_car(tmp_path / "a.tif", missing)
    image = open_image(tmp_path / "a.tif", channels=[1, 2, 3, 4])
    assert image.read([Region(0, 0, 4, 4)], 1.0)[0, :, 0, 0].tolist() == wanted
    assert open_image(tmp_path / "a.tif", channels=[4]).read([Region(0, 0, 4, 4)], 1.0).max() == wanted[3]


def test_two_scenes_of_channels_are_for_the_user_to_choose(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for scene in range(2):
            planes = np.full((4, 64, 64), scene + 1, np.uint16)
            file.write(planes, metadata={"axes": "CYX", "Name": f"scene {scene}"})
    with pytest.raises(ImageError, match=r"2 images of like size: 0 'scene 0'.*1 'scene 1'"):
        open_image(tmp_path / "a.ome.tif", channels=[1])
    for scene, series in enumerate((0, "scene 1")):
        image = open_image(tmp_path / "a.ome.tif", channels=[1], series=series)
        assert image.read([Region(0, 0, 8, 8)], 1.0).unique().tolist() == [scene + 1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_level_of_channels_shows_the_image(dtype, tmp_path):
    """A picture of the same aspect in the place of a level is left out, however dark the samples are."""
    y, x = np.mgrid[:240, :320]
    planes = np.stack([x // 4 + y // 12, x // 4, y // 3, (x // 40 + y // 40) % 2 * 90]).astype(dtype)
    other = np.random.default_rng(0).integers(0, 97, (4, 60, 80)).astype(dtype)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(planes, subifds=2, tile=(64, 64), metadata={"axes": "CYX"})
        file.write(planes[:, ::2, ::2], subfiletype=1, tile=(64, 64))
        file.write(other, subfiletype=1, tile=(64, 64))
    assert [level.width for level in open_image(tmp_path / "a.ome.tif", channels=[1]).levels] == [320, 160]


def ome_files(folder, pixels, before=""):
    """An OME-TIFF with a file for each channel, each with all metadata; it was renamed since."""
    data = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="a_c{c}.ome.tif">urn:uuid:{c}</UUID>'
        "</TiffData>"
        for c in range(pixels.shape[2])
    )
    height, width, count = pixels.shape
    for c in range(count):
        text = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{c}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
            f'Type="uint16" SizeX="{width}" SizeY="{height}" SizeC="{count}" SizeZ="1" SizeT="1">'
            f"{'<Channel/>' * count}{data}</Pixels></Image></OME>"
        )
        options = {"photometric": "minisblack", "metadata": None, "description": text, "tile": (32, 32)}
        tifffile.imwrite(folder / f"{before}a_c{c}.ome.tif", pixels[..., c], **options)


@pytest.mark.parametrize("before", ["", "renamed_"])
def test_channels_in_files_of_their_own(before, tmp_path):
    pixels = samples(channels=3)
    ome_files(tmp_path, pixels, before)
    for c in range(3):
        image = open_image(tmp_path / f"{before}a_c{c}.ome.tif", channels=[3, 1, 2])
        view = image.read([Region(0, 0, 128, 96)], 1.0)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(view, pixels[..., [2, 0, 1]])
        image.close()
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / f"{before}a_c0.ome.tif")
    assert "data.channels" in str(caught.value)
    assert ("tifffile.imread" in str(caught.value)) == (not before)  # which fills what it misses with zeros
    other = tmp_path / f"{before}a_c1.ome.tif"
    image = open_image(tmp_path / f"{before}a_c0.ome.tif", channels=[2])
    tifffile.imwrite(other, pixels[:48, :64, 0])
    with pytest.raises(ImageError, match="changed since it was opened"):
        image.read([Region(0, 0, 8, 8)], 1.0)


def test_an_ome_tiff_that_does_not_say_where_its_planes_are(tmp_path):
    """As libvips writes it: a page for each channel, its levels below it, no TiffData."""
    pixels = samples(channels=3)
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="128" '
        'SizeY="96" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5"></Pixels>'
        "</Image></OME>"
    )
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for c in range(3):
            kind = {"photometric": "minisblack", "metadata": None, "tile": (32, 32)}
            file.write(pixels[..., c], subifds=1, description=text, **kind)
            file.write(pixels[::2, ::2, c], subfiletype=1, **kind)
    image = open_image(tmp_path / "a.tif", channels=[3, 1])
    view = image.read([Region(0, 0, 128, 96)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(view, pixels[..., [2, 0]]) and image.mpp == 0.5
    with pytest.raises(ImageError, match=r"3 channels of one size.*If they are red, green and blue.*imread"):
        open_image(tmp_path / "a.tif")


def test_files_that_have_exchanged_their_names(tmp_path):
    """The UUID in each file says which channel it is, and counts more than its name."""
    pixels = samples(channels=3)
    ome_files(tmp_path, pixels)
    (tmp_path / "a_c0.ome.tif").rename(tmp_path / "x.tif")
    (tmp_path / "a_c2.ome.tif").rename(tmp_path / "a_c0.ome.tif")
    (tmp_path / "x.tif").rename(tmp_path / "a_c2.ome.tif")
    for c in range(3):
        image = open_image(tmp_path / f"a_c{c}.ome.tif", channels=[1, 2, 3])
        view = image.read([Region(0, 0, 128, 96)], 1.0)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(view, pixels)
        image.close()


@pytest.mark.parametrize("channels", [None, [1, 2, 3]])
def test_a_file_of_channels_that_is_missing_is_named(channels, tmp_path):
    ome_files(tmp_path, samples(channels=3))
    (tmp_path / "a_c1.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"one of 3 files of an image, of which a_c1\.ome\.tif is missing"):
        open_image(tmp_path / "a_c0.ome.tif", channels=channels)
