#!/usr/bin/env bash
# Belief refuted: a manylinux wheel with GDAL inside runs on any slim image of Linux that has Python.
# Seen: of the libraries that the GDAL in rasterio's wheel names as needed, the wheel brings all but those of the C and
#   C++ runtime, libz.so.1, which Python needs too, and libexpat.so.1. The system must have it, which the manylinux policy
#   permits to ask. Where it lacks, as in slim images, `import rasterio` fails: "libexpat.so.1: cannot open shared object
#   file" (not tried here: only what the wheel brings is checked).
# Versions: rasterio 1.4.4 (GDAL 3.10.3), pyelftools 0.32, x86-64 Linux, Python 3.11. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    rasterio==1.4.4 pyelftools==0.32
found=$(PYTHONPATH="$folder/site" python3 - "$folder/site/rasterio.libs" <<'PYTHON'
import re, sys
from pathlib import Path
from elftools.elf.elffile import ELFFile

libraries = {path.name: path for path in Path(sys.argv[1]).iterdir()}
borrowed = set()
for path in libraries.values():
    with path.open("rb") as file:
        for tag in ELFFile(file).get_section_by_name(".dynamic").iter_tags("DT_NEEDED"):
            if tag.needed not in libraries:
                borrowed.add(tag.needed)
runtime = r"(ld-linux.*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|util|resolv))\.so\.\d+"
print(sorted(name for name in borrowed if not re.fullmatch(runtime, name)))
PYTHON
)
expected="['libexpat.so.1', 'libz.so.1']"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
