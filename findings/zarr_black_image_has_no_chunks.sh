#!/usr/bin/env bash
# Belief refuted: a Zarr array that was written whole holds chunks, so that one without any was never filled.
# Seen: zarr-python 3 leaves out each chunk that equals the fill value (write_empty_chunks is off), in versions 2 and 3
#   of the format, sharded or not. A black image, written whole, is its metadata alone, byte for byte an array that was
#   created and never written; nchunks_initialized is 0 for both. A reader cannot tell black from missing.
# Versions: zarr 3.1.6, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 zarr==3.1.6
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
from pathlib import Path
import numpy as np, zarr

def files(name):
    return {p.relative_to(name).as_posix(): p.read_bytes() for p in Path(name).rglob("*") if p.is_file()}

for version, shards in ((2, None), (3, None), (3, (64, 64))):
    how = dict(shape=(64, 64), chunks=(32, 32), shards=shards, dtype="uint8", zarr_format=version)
    black, never = f"black{version}{shards}", f"never{version}{shards}"
    written = zarr.create_array(black, **how)
    written[:] = np.zeros((64, 64), np.uint8)
    zarr.create_array(never, **how)
    again = zarr.open_array(black)
    kept = zarr.create_array(f"kept{version}{shards}", **how, config={"write_empty_chunks": True})
    kept[:] = 0
    print(f"version {version}, shards {shards}: same files {files(black) == files(never)}, "
          f"chunks {again.nchunks_initialized}, with write_empty_chunks {kept.nchunks_initialized > 0}")
PYTHON
)
expected='version 2, shards None: same files True, chunks 0, with write_empty_chunks True
version 3, shards None: same files True, chunks 0, with write_empty_chunks True
version 3, shards (64, 64): same files True, chunks 0, with write_empty_chunks True'
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
