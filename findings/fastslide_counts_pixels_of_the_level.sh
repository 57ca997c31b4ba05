#!/usr/bin/env bash
# Belief refuted: fastslide's `read_region(location, level, size)` is OpenSlide's: locations in level-0 pixels, always the size asked for.
# Seen: the location counts pixels of the level that is read, a region that reaches beyond the border comes back smaller, and
#   an uncompressed TIFF, which OpenSlide reads, opens and then cannot be read. Code written for OpenSlide reads another
#   place at every level but the first, without an error.
# Versions: fastslide 0.8.1, openslide-python 1.4.7, openslide-bin 4.0.1.2, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    fastslide==0.8.1 openslide-python==1.4.7 openslide-bin==4.0.1.2 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import fastslide
import numpy as np
import openslide
import tifffile

columns = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
pixels = np.stack([columns, columns, columns], axis=-1)
for name, codec in (("a.tif", "lzw"), ("b.tif", None)):
    options = {"photometric": "rgb", "tile": (64, 64), "compression": codec, "metadata": None}
    with tifffile.TiffWriter(name) as file:
        file.write(pixels, **options)
        file.write(pixels[::2, ::2], subfiletype=1, **options)
one, other = openslide.OpenSlide("a.tif"), fastslide.FastSlide.from_file_path("a.tif")
left = np.asarray(one.read_region((64, 0), 1, (8, 8)))[0, 0, 0]
right = other.read_region((64, 0), 1, (8, 8)).numpy()[0, 0, 0]
print(f"location (64, 0) at level 1: OpenSlide column {left}, fastslide column {right}")
sizes = np.asarray(one.read_region((224, 0), 0, (64, 64))).shape[:2], other.read_region((224, 0), 0, (64, 64)).numpy().shape[:2]
print(f"beyond the border: OpenSlide {sizes[0]}, fastslide {sizes[1]}")
openslide.OpenSlide("b.tif").read_region((0, 0), 0, (8, 8))
try:
    fastslide.FastSlide.from_file_path("b.tif").read_region((0, 0), 0, (8, 8))
    print("uncompressed: both read")
except Exception as error:
    print("uncompressed: OpenSlide reads, fastslide", type(error).__name__)
PYTHON
)
expected="location (64, 0) at level 1: OpenSlide column 64, fastslide column 128
beyond the border: OpenSlide (64, 64), fastslide (64, 32)
uncompressed: OpenSlide reads, fastslide RuntimeError"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
