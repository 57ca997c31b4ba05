#!/usr/bin/env bash
# Belief refuted: rasterio.Env(GDAL_CACHEMAX=64) gives GDAL 64 megabytes of block cache, as GDAL_CACHEMAX=64 in the
#   environment does: GDAL documents that small numbers are megabytes.
# Seen: the option is 64 bytes. Nothing is kept, silently: a block that is read twice is decoded twice (here the file
#   is overwritten between two reads of one handle, and the second read shows it). 64 << 20 keeps it, and so does the
#   environment's 64. "64MB", which GDAL takes too, is a TypeError.
# Versions: rasterio 1.4.4 (GDAL 3.10.3), numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 rasterio==1.4.4
cd "$folder"
cat > twice.py <<'PYTHON'
import sys, warnings
import numpy as np, rasterio
from rasterio.windows import Window

warnings.simplefilter("ignore")
given = eval(sys.argv[1])
options = {} if given is None else {"GDAL_CACHEMAX": given}
profile = dict(driver="GTiff", width=256, height=256, count=1, dtype="uint8", tiled=True, blockxsize=128, blockysize=128)
with rasterio.open("a.tif", "w", **profile) as file:
    file.write(np.full((1, 256, 256), 7, np.uint8))
try:
    with rasterio.Env(**options):
        file = rasterio.open("a.tif")
        file.read(window=Window(0, 0, 128, 128))
    with open("a.tif", "r+b") as raw:
        data = raw.read()
        raw.seek(0)
        raw.write(data.replace(bytes([7]) * 128, bytes([9]) * 128))
    with rasterio.Env(**options):
        value = int(file.read(window=Window(0, 0, 128, 128)).max())
    print({7: "kept", 9: "read again"}[value])
except TypeError:
    print("TypeError")
PYTHON
export PYTHONPATH="$folder/site"
found=$(for given in 64 '64<<20' '"64MB"'; do echo "Env $given: $(python3 twice.py "$given")"; done
        echo "environment 64: $(GDAL_CACHEMAX=64 python3 twice.py None)")
expected='Env 64: read again
Env 64<<20: kept
Env "64MB": TypeError
environment 64: kept'
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
