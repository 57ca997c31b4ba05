#!/usr/bin/env bash
# Belief refuted: GDAL's colour interpretation 'palette' of a TIFF means that its PhotometricInterpretation is 3 (palette).
# Seen: grey images whose zero is white, and one-bit grey images, are told as 'palette' too, with a colour table
#   that the file does not hold.
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

grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
files = {
    "minisblack 8": lambda: tifffile.imwrite("a.tif", grey, photometric="minisblack"),
    "miniswhite 8": lambda: tifffile.imwrite("a.tif", grey, photometric="miniswhite"),
    "minisblack 1": lambda: tifffile.imwrite("a.tif", grey > 99, photometric="minisblack"),
}
for name, write in files.items():
    write()
    with rasterio.open("a.tif") as file:
        print(name, file.colorinterp[0].name)
PYTHON
)
expected="minisblack 8 gray
miniswhite 8 palette
minisblack 1 palette"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
