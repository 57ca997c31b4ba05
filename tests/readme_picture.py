"""The first picture of the README is what the demo makes: stamped when taken over, compared in the tests.

    zoomin demo --out report && python tests/readme_picture.py report/where_it_looked.png

The stamp holds the demo's settings, and a thumbnail of what the picture's code draws of made-up evidence.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from viewer_examples import example_explanation
from zoomin.annotations.mask import MaskAnnotation
from zoomin.app.demo import demo_config
from zoomin.explanation import overlay_figure
from zoomin.images.array import ArrayImage

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "where_it_looked.png"
_SIDE = 48  # of the thumbnail, pixels


def drawn() -> NDArray[np.uint8]:
    """A thumbnail of the picture of made-up evidence, as it is drawn now."""
    y, x = torch.meshgrid(torch.arange(300), torch.arange(400), indexing="ij")
    image = ArrayImage(torch.stack([x // 2, y // 2, (x + y) // 4]).to(torch.uint8), name="example")
    mask = np.zeros((300, 400), dtype=bool)
    mask[120:140, 190:210] = True
    one = example_explanation(image, (200, 130), tile_size=100, sub_tile_size=24, cells=20)
    buffer = io.BytesIO()
    overlay_figure(one, MaskAnnotation(mask, 300, 400)).savefig(buffer, format="png", dpi=60)
    with PillowImage.open(buffer) as picture:
        return np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE), PillowImage.Resampling.BOX))


def stamped(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """The settings and the thumbnail in the stamp of a picture."""
    with PillowImage.open(path) as picture:
        text = picture.text  # type: ignore[attr-defined]
    return text["settings"], np.frombuffer(bytes.fromhex(text["drawn"]), np.uint8).reshape(_SIDE, _SIDE, 3)


def settings() -> str:
    """Those of the demo."""
    return repr(demo_config())


def take_over(path: Path) -> None:
    """Write a picture that the demo made into the documentation, with its stamp."""
    info = PngInfo()
    info.add_text("settings", settings())
    info.add_text("drawn", drawn().tobytes().hex(), zip=True)
    with PillowImage.open(path) as picture:
        picture.convert("P", palette=PillowImage.Palette.ADAPTIVE, colors=256).save(
            PICTURE, pnginfo=info, optimize=True
        )


if __name__ == "__main__":
    take_over(Path(sys.argv[1]))
