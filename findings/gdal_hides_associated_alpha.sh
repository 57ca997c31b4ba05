#!/usr/bin/env bash
# Belief refuted: GDAL tells associated (premultiplied) alpha from unassociated alpha when it reads a TIFF.
# Seen: both come back with the same colour interpretation and the same metadata; nothing says that colours are
#   already multiplied by their opacity. The tag ExtraSamples (338) must be read by other means.
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

pixels = np.full((32, 32, 4), (64, 32, 16, 128), np.uint8)
told = []
for kind in ("assocalpha", "unassalpha"):
    tifffile.imwrite(f"{kind}.tif", pixels, photometric="rgb", extrasamples=[kind])
    with rasterio.open(f"{kind}.tif") as file:
        bands = [file.tags(band, ns=space) for band in (1, 4) for space in (None, "IMAGE_STRUCTURE")]
        told.append(([c.name for c in file.colorinterp], file.tags(), file.tags(ns="IMAGE_STRUCTURE"), bands))
    with tifffile.TiffFile(f"{kind}.tif") as file:
        print(kind, "ExtraSamples", int(file.pages[0].extrasamples[0]))
print("alpha band", told[0][0][3], "- told alike:", told[0] == told[1])
PYTHON
)
expected="assocalpha ExtraSamples 1
unassalpha ExtraSamples 2
alpha band alpha - told alike: True"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
