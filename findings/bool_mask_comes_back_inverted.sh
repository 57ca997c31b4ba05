#!/usr/bin/env bash
# Belief refuted: a mask that tifffile writes from a boolean array reads as the same mask in other libraries.
# Seen: tifffile chooses one bit with PhotometricInterpretation 0 (white is zero). tifffile and GDAL return what is
#   stored; Pillow applies the photometric and returns the complement.
# Versions: tifffile 2026.3.3, pillow 13.0.0, rasterio 1.4.4 (GDAL 3.10.3), numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3 rasterio==1.4.4 pillow==13.0.0
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np, rasterio, tifffile
from PIL import Image

mask = np.zeros((30, 40), bool)
mask[2:12, 3:23] = True  # 200 of 1200 pixels
tifffile.imwrite("mask.tif", mask)
with tifffile.TiffFile("mask.tif") as file:
    print(file.pages[0].photometric.name)
print("tifffile", int(np.count_nonzero(tifffile.imread("mask.tif"))))
with rasterio.open("mask.tif") as file:
    print("rasterio", int(np.count_nonzero(file.read(1))))
print("pillow", int(np.count_nonzero(np.asarray(Image.open("mask.tif")))))
PYTHON
)
expected="MINISWHITE
tifffile 200
rasterio 200
pillow 1000"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
