#!/usr/bin/env bash
# Belief refuted: a TIFF compressed with JPEG 2000 or PNG can be converted by a GDAL that has the drivers of these formats.
# Seen: the drivers are there, but TIFF has codecs of its own: 'missing codec'. tifffile reads such files through
#   imagecodecs. Advising gdal_translate for them does not help.
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

y, x = np.mgrid[:64, :64]
pixels = np.stack([x * 2, y * 2, x + y], -1).astype(np.uint8)
with rasterio.Env() as env:
    drivers = env.drivers()
    print("drivers", "JP2OpenJPEG" in drivers, "PNG" in drivers)
for codec in ("zlib", "png", "jpeg2000", "jpegxl"):
    tifffile.imwrite("a.tif", pixels, photometric="rgb", compression=codec)
    try:
        with rasterio.open("a.tif") as file:
            answer = "reads" if np.array_equal(file.read().transpose(1, 2, 0), pixels) else "differs"
    except rasterio.errors.RasterioIOError as error:
        answer = "missing codec" if "missing codec" in str(error) else str(error)
    print(codec, answer, np.array_equal(tifffile.imread("a.tif"), pixels))
PYTHON
)
expected="drivers True True
zlib reads True
png missing codec True
jpeg2000 missing codec True
jpegxl missing codec True"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
