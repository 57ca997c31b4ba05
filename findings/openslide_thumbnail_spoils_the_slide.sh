#!/usr/bin/env bash
# Belief refuted: a damaged thumbnail of a slide is a fault of the thumbnail: asking for it raises, and the slide itself can still be read.
# Seen: OpenSlide opens the slide and tells the size of the thumbnail in its properties; decoding the thumbnail raises, and from
#   then on every read of that handle raises the same error, although the slide is whole. Ask the properties
#   openslide.associated.NAME.width, or decode associated images by a handle of their own.
# Versions: openslide-python 1.4.7, openslide-bin 4.0.1.2, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    openslide-python==1.4.7 openslide-bin==4.0.1.2 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np
import openslide
import tifffile

options = {"photometric": "rgb", "metadata": None, "description": "Aperio Image Library v11.2.1\r\n256x256|MPP = 0.25"}
pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
with tifffile.TiffWriter("a.svs") as file:
    file.write(pixels, tile=(64, 64), **options)
    file.write(pixels[:96, :128], rowsperstrip=96, compression="jpeg", **options)
with tifffile.TiffFile("a.svs") as file:
    start, count = file.pages[1].dataoffsets[0], file.pages[1].databytecounts[0]
data = bytearray(open("a.svs", "rb").read())
data[start + 2 : start + count] = bytes(count - 2)
open("a.svs", "wb").write(data)


def outcome(read):
    try:
        read()
    except Exception as error:
        return type(error).__name__
    return "read"


slide = openslide.OpenSlide("a.svs")
told = [slide.properties[f"openslide.associated.thumbnail.{side}"] for side in ("width", "height")]
print("properties", " x ".join(told))
print("slide before:", outcome(lambda: slide.read_region((0, 0), 0, (64, 64))))
print("thumbnail:", outcome(lambda: slide.associated_images["thumbnail"]))
print("slide after:", outcome(lambda: slide.read_region((0, 0), 0, (64, 64))))
print("slide by another handle:", outcome(lambda: openslide.OpenSlide("a.svs").read_region((0, 0), 0, (64, 64))))
PYTHON
)
expected="properties 128 x 96
slide before: read
thumbnail: OpenSlideError
slide after: OpenSlideError
slide by another handle: read"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
