#!/usr/bin/env bash
# A small HDF5 file can declare terabytes, and h5py reads what was never written as zeros.
#
# Seen on 2026-11-28 with h5py 3.16.0, numpy 2.4.6.
# Behaviour: a chunked data set of 4 TiB is created in a file of a few kilobytes; opening it and reading any rows of it
# succeeds and gives zeros. Only dataset.id.get_storage_size() tells that nothing is stored. A link to another file that
# is gone: `name in file` is True, file[name] is a KeyError, and only file.get(name, getlink=True) tells that it is a link.
# Refutes the beliefs: "the size of an HDF5 file bounds its arrays" and "what is in the file can be read from it".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --target site \
    h5py==3.16.0 numpy==2.4.6

cat > try.py <<'PYTHON'
import os

import h5py

with h5py.File("a.h5", "w") as file:
    file.create_dataset("features", (1 << 31, 512), "f4", chunks=(1024, 512))
    file["linked"] = h5py.ExternalLink("gone.h5", "features")
print("file below 10 kB:", os.path.getsize("a.h5") < 10_000)
with h5py.File("a.h5") as file:
    data = file["features"]
    print("declared TiB:", data.nbytes / 2**40, "stored bytes:", data.id.get_storage_size())
    rows = data[1_000_000_000:1_000_000_002]
    print("rows read:", rows.shape, "all zero:", not rows.any())
    print("listed:", sorted(file), "linked in file:", "linked" in file)
    try:
        file["linked"]
    except KeyError:
        print("not readable")
    print(type(file.get("linked", getlink=True)).__name__)
PYTHON

cat > expected <<'TEXT'
file below 10 kB: True
declared TiB: 4.0 stored bytes: 0
rows read: (2, 512) all zero: True
listed: ['features', 'linked'] linked in file: True
not readable
ExternalLink
TEXT

PYTHONPATH=site python3 -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
