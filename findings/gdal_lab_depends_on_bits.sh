#!/usr/bin/env bash
# Belief refuted: what GDAL returns for a CIE L*a*b* TIFF does not depend on the number of bits: colours, or the samples.
# Seen: 8 bits come back as four bands of red, green, blue and alpha, converted by libtiff; the same image with
#   16 bits as the three stored samples, without a name. Shown as they are, they look like wrong colours.
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

for dtype, unit in ((np.uint8, 1), (np.uint16, 257)):
    lab = np.zeros((32, 32, 3), dtype)
    lab[..., 0] = 128 * unit  # neutral grey: a* and b* are 0
    tifffile.imwrite("a.tif", lab, photometric="cielab")
    with rasterio.open("a.tif") as file:
        first = file.read()[:, 0, 0].tolist()
        stored = first[:3] == [128 * unit, 0, 0]
        print(np.dtype(dtype).name, [c.name for c in file.colorinterp], "stored" if stored else "converted")
PYTHON
)
expected="uint8 ['red', 'green', 'blue', 'alpha'] converted
uint16 ['undefined', 'undefined', 'undefined'] stored"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
