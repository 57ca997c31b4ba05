"""What notebooks show: images, answers, explanations and runs; small, and never an error."""

from __future__ import annotations

import io
import math
from inspect import unwrap
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from matplotlib.text import Text
from PIL import Image as PillowImage

from viewer_examples import example_explanation
from zoomin import open_image, plot
from zoomin.errors import ConfigError
from zoomin.images.array import ArrayImage
from zoomin.images.formats.raster import open_raster
from zoomin.images.resampled import at_mpp
from zoomin.inference.predictions import Prediction, Predictions
from zoomin.runtime.notebook import table
from zoomin.training.results import FitResult


def pixels_of(png):
    with PillowImage.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def prediction(image="folder/a<b>.png", **values):
    known = {"label": "tumor", "probabilities": (0.25, 0.75), "standard_error": 0.01234} | values
    return Prediction(
        image=image, sampling="systematic", n_samples=4, replicates=2, seed=0, pixels_read=90, **known
    )


def test_images_show_themselves_at_low_magnification(tmp_path):
    colour = torch.zeros(3, 600, 1024, dtype=torch.uint8)
    colour[0, :, 512:] = 200
    small = pixels_of(ArrayImage(colour, mpp=0.5)._repr_png_())
    assert small.shape == (300, 512, 3)
    assert small[150, 100].tolist() == [0, 0, 0] and small[150, 400].tolist() == [200, 0, 0]
    tifffile.imwrite(tmp_path / "a.tif", colour.permute(1, 2, 0).numpy(), tile=(256, 256), compression="zlib")
    for image in (open_image(tmp_path / "a.tif"), at_mpp(ArrayImage(colour, mpp=0.5), 1.0)):
        assert np.array_equal(pixels_of(image._repr_png_()), small)


def test_images_that_take_long_or_have_gone_show_their_text(tmp_path):
    wide = np.zeros((8000, 8000), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "wide.tif", wide, tile=(512, 512), compression="zlib")
    slow = open_raster(tmp_path / "wide.tif")
    assert slow._repr_png_() is None and slow.decoded_pixels == 0
    tifffile.imwrite(tmp_path / "a.tif", wide[:4000, :4000], tile=(512, 512), compression="zlib")
    gone = open_raster(tmp_path / "a.tif")
    assert gone._repr_png_() is not None
    gone.close()
    (tmp_path / "a.tif").unlink()
    assert gone._repr_png_() is None and "a.tif" in repr(gone)


def test_predictions_are_a_list_and_a_table():
    failed = prediction(
        "b.png", label=None, probabilities=(), standard_error=math.nan, status="error", error="cut"
    )
    rows = Predictions([prediction(), failed])
    assert isinstance(rows, list) and rows[0].label == "tumor"
    shown = rows._repr_html_()
    assert "a&lt;b&gt;.png" in shown and "0.250, 0.750" in shown and "0.0123" in shown
    assert "<td>cut</td>" in shown and "nan" not in shown
    assert shown.count("<tr>") == 3
    assert "first 30" in Predictions([prediction()] * 40)._repr_html_()
    assert prediction()._repr_html_().count("<tr>") == 2


@pytest.mark.parametrize("size", [(300, 400), (37, 900)])
def test_explanations_show_the_attention(size):
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    image = ArrayImage(torch.stack([x % 256, y % 256, y % 9]).to(torch.uint8), name="<example>")
    one = example_explanation(image, (20, 20), tile_size=100, sub_tile_size=24, cells=20)
    drawn = pixels_of(one._repr_png_())
    assert drawn.shape[:2] == tuple(one.overview.shape[1:])
    heat = one.heat_map(*drawn.shape[:2]).numpy()
    plain = np.abs(np.diff(drawn.astype(int), axis=2)).sum(2)  # the pale image is nearly grey
    assert plain[heat > 4].mean() > plain[heat <= 1].mean()
    shown = one._repr_html_()
    assert "&lt;example&gt;" in shown and "With nothing seen" in shown and "data:image/png;base64," in shown


def test_plot_draws_what_is_at_hand():
    image = ArrayImage(torch.full((3, 60, 90), 200, dtype=torch.uint8), name="plain")
    one = example_explanation(image, (20, 20), tile_size=30, sub_tile_size=8, cells=6)
    texts = [{text.get_text() for text in plot(what).findobj(Text)} for what in (image, one, [one, one])]
    assert "plain" in texts[0] and any("With nothing seen" in text for text in texts[1] & texts[2])
    single, both = plot(one), plot([one, one])
    assert both.get_figwidth() == 2 * single.get_figwidth()
    assert any("Tiles" in text.get_text() for text in plot(one, panel=True).findobj(Text))
    wrong = ((3, "is 3"), ("a.png", "is 'a.png'"), (prediction(), "of the type Prediction"))
    for what, said in (*wrong, ([], "an empty list"), ([prediction()], "a list of Prediction")):
        with pytest.raises(ConfigError, match=rf"{said}\. Give what zoomin\.explain or zoomin\.open_image"):
            unwrap(plot)(what)  # without the type checker of the tests


def test_runs_show_their_scores():
    metrics = {"seconds": 12.345, "val": {"accuracy": 0.91234, "auroc": None, "intervals": [0, 1]}}
    shown = FitResult(Path("runs/first"), Path("runs/first/model"), metrics, [{"epoch": 0}])._repr_html_()
    assert "run in runs/first" in shown and "<th>validation: accuracy</th><td>0.912</td>" in shown
    assert "<th>epochs</th><td>1</td>" in shown and "auroc" not in shown and "intervals" not in shown
    assert FitResult(Path("a"), Path("b"), {"val": 3}, [])._repr_html_() is None


def test_an_empty_table_has_a_title():
    assert table("0 images", []) == "<p><b>0 images</b></p><table><tr></tr></table>"
