#!/usr/bin/env bash
# Belief refuted: `page.compression` of tifffile is always a member of COMPRESSION, so `page.compression.name` always works.
# Seen: a TIFF without the tag Compression, which TIFF 6.0 defines as uncompressed and others read, has the plain number 1,
#   and `.name` raises AttributeError; the same holds for PhotometricInterpretation. Code that catches AttributeError as
#   damage then calls a valid file damaged.
# Versions: tifffile 2026.3.3, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 tifffile==2026.3.3
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import struct

import numpy as np
import tifffile

tifffile.imwrite("a.tif", np.zeros((8, 8), np.uint8), photometric="minisblack", metadata=None)
with tifffile.TiffFile("a.tif") as file:
    page = file.pages.first
    print("with the tag", type(page.compression).__name__, page.compression.name)
    entry = page.tags["Compression"].offset
data = bytearray(open("a.tif", "rb").read())
struct.pack_into("<H", data, entry, 260)  # another tag's number in its place
open("b.tif", "wb").write(data)
with tifffile.TiffFile("b.tif") as file:
    page = file.pages.first
    print("without", type(page.compression).__name__, hasattr(page.compression, "name"), page.asarray().size)
PYTHON
)
expected="with the tag COMPRESSION NONE
without int False 64"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
