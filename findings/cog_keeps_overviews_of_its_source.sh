#!/usr/bin/env bash
# Belief refuted: gdal_translate -of COG -co RESAMPLING=AVERAGE gives averaged overviews.
# Seen: where the source has overviews, such as GDAL's default NEAREST ones, they are copied and the option has no
#   effect; -co OVERVIEWS=IGNORE_EXISTING makes them anew.
# Versions: rasterio 1.4.4 (GDAL 3.10.3), tifffile 2026.3.3, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3 rasterio==1.4.4
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np, rasterio
from rasterio.enums import Resampling
from rasterio.shutil import copy

board = np.zeros((1, 1024, 1024), np.uint8)
board[:, ::2, ::2] = 200  # every fourth pixel: the mean of 2 x 2 is 50
size = dict(driver="GTiff", width=1024, height=1024, count=1, dtype="uint8", tiled=True)
with rasterio.open("source.tif", "w", **size) as file:
    file.write(board)
with rasterio.open("source.tif", "r+") as file:
    file.build_overviews([2], Resampling.nearest)
for name, options in (("default", {}), ("ignore", {"OVERVIEWS": "IGNORE_EXISTING"})):
    copy("source.tif", f"{name}.tif", driver="COG", RESAMPLING="AVERAGE", **options)
    with rasterio.open(f"{name}.tif", overview_level=0) as file:
        print(name, sorted(set(file.read(1)[:64, :64].ravel().tolist())))
PYTHON
)
expected="default [200]
ignore [50]"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
