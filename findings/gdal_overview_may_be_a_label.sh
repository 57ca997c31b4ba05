#!/usr/bin/env bash
# Belief refuted: an overview that GDAL lists shows the same picture as the band it belongs to.
# Seen: every directory marked as reduced (NewSubfileType 1) and smaller is listed, whatever its aspect and
#   content: the green label of a slide becomes the overview of factor 8; a reduced level without the mark is not.
# Versions: rasterio 1.4.4 (GDAL 3.10.3), tifffile 2026.3.3, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3 rasterio==1.4.4
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np, rasterio, tifffile

big = np.full((1200, 1680, 3), 90, np.uint8)
options = dict(photometric="rgb", metadata=None)
with tifffile.TiffWriter("slide.tif") as file:
    file.write(big, tile=(240, 240), **options)
    file.write(big[::4, ::4], tile=(240, 240), **options)
    file.write(np.full((90, 80, 3), (0, 160, 0), np.uint8), subfiletype=1, **options)
    file.write(np.full((80, 210, 3), (200, 0, 0), np.uint8), subfiletype=9, **options)
with rasterio.open("slide.tif") as file:
    count = len(file.overviews(1))
for level in range(count):
    with rasterio.open("slide.tif", overview_level=level) as file:
        print(file.width, file.height, file.read().mean((1, 2)).astype(int).tolist())
PYTHON
)
expected="80 90 [0, 160, 0]
210 80 [200, 0, 0]"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
