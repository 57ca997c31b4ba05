#!/usr/bin/env bash
# Belief refuted: what rasterio opens without an error it opens whole: a multiplex OME-TIFF of 8 channels has 8 bands.
# Seen: it has one, of grey, the first channel; all eight are subdatasets, which nothing points to unless asked.
#   tifffile gives the image of 8 channels. A pipeline on GDAL that takes one band for a grey image classifies DAPI
#   alone. Stored as samples of one directory, the same 8 channels are bands.
# Versions: rasterio 1.4.4 (GDAL 3.10.3), tifffile 2026.3.3, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3 rasterio==1.4.4
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np, rasterio, tifffile

channels = np.arange(8, dtype=np.uint8)[:, None, None] + np.zeros((8, 64, 64), np.uint8)
tifffile.imwrite("multiplex.ome.tif", channels, photometric="minisblack", metadata={"axes": "CYX"})
tifffile.imwrite("bands.tif", channels, photometric="minisblack", planarconfig="separate")
for name in ("multiplex.ome.tif", "bands.tif"):
    with rasterio.open(name) as file:
        print(name, "GDAL:", file.count, "bands,", len(file.subdatasets), "subdatasets,", file.colorinterp[0].name,
              int(file.read(1).max()), "tifffile:", tifffile.imread(name).shape[0])
PYTHON
)
expected="multiplex.ome.tif GDAL: 1 bands, 8 subdatasets, gray 0 tifffile: 8
bands.tif GDAL: 8 bands, 0 subdatasets, gray 0 tifffile: 8"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
