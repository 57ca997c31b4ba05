"""Your own reader: a made-up format, checked by the contract that every reader of zoomin keeps.

The format: 4096 bytes of header (height, width), then raw pixels, one grey byte each. To have it opened by
`open_image` and the `zoomin` command, make it a plug-in: examples/plugin_package, docs/extend.md.

    python examples/own_reader.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from zoomin import ZoomIn, ZoomInConfig
from zoomin.images.stored import Level, StoredImage
from zoomin.images.windows import Window
from zoomin.testing import READER_CHECKS, ReaderCase, check_reader

HEADER = 4096


class GreyImage(StoredImage):
    """A `.grey` file; `StoredImage` makes views of any scale out of `decode`."""

    def close(self) -> None:
        """Nothing is kept open between reads."""

    def decode(self, level: int, window: Window) -> np.ndarray:
        """The red, green and blue of a window: its rows alone are read from the disk."""
        rows = np.memmap(self.path, np.uint8, "r", HEADER, (self.height, self.width))
        grey = rows[window.y0 : window.y1, window.x0 : window.x1]
        return np.repeat(grey[:, :, None], 3, axis=2)


def open_grey(path: Path, mpp: float | None = None) -> GreyImage:
    """Read the header; no pixel."""
    with path.open("rb") as file:
        height, width = (int(side) for side in np.frombuffer(file.read(8), "<u4"))
    return GreyImage(path, [Level.of((height, width), (height, width), (1, width))], mpp=mpp)


def write_grey(path: Path, grey: np.ndarray) -> Path:
    """Write grey pixels (height, width)."""
    path.write_bytes(np.array(grey.shape, "<u4").tobytes().ljust(HEADER, b"\0") + grey.tobytes())
    return path


def main(folder: Path) -> None:
    """Write a file, check the reader, classify the image."""
    y, x = np.mgrid[:300, :400]
    grey = (120 + 100 * np.sin(x / 31) * np.cos(y / 23)).astype(np.uint8)
    path = write_grey(folder / "a.grey", grey)
    check_reader(ReaderCase(lambda: open_grey(path), np.repeat(grey[:, :, None], 3, axis=2), shrunk=1))
    print(f"the reader keeps all {len(READER_CHECKS)} parts of the contract")

    net = ZoomIn(ZoomInConfig(tile_size=64, sub_tile_size=15, n_samples=4)).eval()
    image = open_grey(path, mpp=0.5)
    print("classes:", net([image]).logits.softmax(1).shape[1], "of", image)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
