"""Written pyramids: read back by independent decoders, averaged right, in the memory of a few rows."""

import numpy as np
import openslide
import pytest
import rasterio
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from zoomin.errors import ConfigError
from zoomin.images.write_pyramid import level_sizes, write_pyramid

GLASS = (240, 241, 243)


def canvas(height, width):
    """Smooth colours, with glass on the left and at the top, padded to whole tiles."""
    rng = np.random.default_rng(0)
    size = (-(-height // 128) * 128, -(-width // 128) * 128, 3)
    pixels = gaussian_filter(rng.uniform(0, 255, size), (12, 12, 0))
    pixels = np.clip((pixels - 127) * 12 + 127, 0, 255).astype(np.uint8)
    pixels[:256], pixels[:, :128] = GLASS, GLASS
    return pixels


def write(path, pixels, height, width, **options):
    asked = []

    def paint(x, y):
        asked.append((x, y))
        window = pixels[y : y + 128, x : x + 128]
        return None if (window == GLASS).all() else Image.fromarray(window)

    write_pyramid(path, height, width, paint, tile=128, background=GLASS, quality=95, **options)
    return asked


@pytest.mark.parametrize(("height", "width"), [(700, 901), (128, 1000), (100, 60), (513, 257)])
def test_levels_average_what_was_painted(tmp_path, height, width):
    pixels, path = canvas(height, width), tmp_path / "a b.tif"
    rows = []
    asked = write(path, pixels, height, width, row_done=lambda: rows.append(1))
    assert asked == [(x, y) for y in range(0, height, 128) for x in range(0, width, 128)]
    assert len(rows) == -(-height // 128)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        levels = [page.asarray() for page in file.pages]
    assert [level.shape[:2] for level in levels] == level_sizes(height, width, 128)
    for k, level in enumerate(levels):
        n, (h, w) = 2**k, level.shape[:2]
        wanted = pixels[: h * n, : w * n].reshape(h, n, w, n, 3).mean((1, 3))
        assert np.abs(level - wanted).mean() < 3  # chroma is stored at half the resolution
        assert abs((level - wanted).mean()) < 0.6


def test_openslide_and_gdal_read_it(tmp_path):
    path, (height, width) = tmp_path / "a.tif", (700, 901)
    pixels = canvas(height, width)
    write(path, pixels, height, width, mpp=0.25)
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.dimensions == (width, height)
        assert [size[::-1] for size in slide.level_dimensions] == level_sizes(height, width, 128)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        region = np.asarray(slide.read_region((300, 400), 0, (200, 100)).convert("RGB")).astype(int)
    assert np.abs(region - pixels[400:500, 300:500]).mean() < 1.5
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2, 4, 8]
        assert np.abs(file.read().transpose(1, 2, 0).astype(int) - pixels[:height, :width]).mean() < 1.5
        assert file.tags()["TIFFTAG_RESOLUTIONUNIT"].startswith("3")


def test_flat_tiles_cost_next_to_nothing(tmp_path):
    write_pyramid(tmp_path / "a.tif", 20_000, 30_000, lambda x, y: None, background=GLASS)
    assert (tmp_path / "a.tif").stat().st_size < 0.04 * 20_000 * 30_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        thumbnail = np.asarray(slide.get_thumbnail((300, 300)))
    assert np.abs(thumbnail.astype(int) - GLASS).max() <= 1


@pytest.mark.parametrize("wrong", [{"height": 0}, {"tile": 100}, {"quality": 0}])
def test_what_cannot_be_written_is_refused(tmp_path, wrong):
    size = {"height": 100, "width": 100, **wrong}
    with pytest.raises(ConfigError):
        write_pyramid(tmp_path / "a.tif", paint=lambda x, y: None, **size)
