#!/usr/bin/env bash
# Belief refuted: two libraries that decode JPEG with libjpeg-turbo return the same bytes for the same tile of a TIFF.
# Seen: they differ by up to two levels of 255: 'the pixels at full resolution' are those of
#   a decoder. Tests that compare readers need a tolerance, and caches of features the decoder's name.
# Versions: rasterio 1.4.4 (GDAL 3.10.3), tifffile 2026.3.3, numpy 2.4.6, imagecodecs 2026.3.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3 rasterio==1.4.4 imagecodecs==2026.3.6
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np, rasterio, tifffile

y, x = np.mgrid[:128, :128]
pixels = np.stack([x, y, x + y], -1).astype(np.uint8)
tifffile.imwrite("a.tif", pixels, photometric="rgb", tile=(64, 64), compression="jpeg")
with rasterio.open("a.tif") as file:
    by_gdal = file.read().transpose(1, 2, 0).astype(int)
difference = np.abs(by_gdal - tifffile.imread("a.tif"))
print("largest", int(difference.max()))
PYTHON
)
expected="largest 2"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
