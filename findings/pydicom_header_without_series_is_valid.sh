#!/usr/bin/env bash
# Belief refuted: a DICOM file that pydicom reads has SOPClassUID and SeriesInstanceUID, so a header can be taken as `found.SeriesInstanceUID`.
# Seen: pydicom reads and writes files without either (colour palettes and several of its own test files lack the series): the
#   attribute raises AttributeError, `get` gives None, and str(None) is the text 'None', by which all such files become one
#   series. Group by series only what has one.
# Versions: pydicom 3.0.2, Python 3.11, Linux. Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    pydicom==3.0.2
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

for name in "ab":
    palette = Dataset()
    palette.file_meta = FileMetaDataset()
    palette.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    palette.SOPClassUID = palette.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.39.1"
    palette.SOPInstanceUID = palette.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    palette.save_as(f"{name}.dcm", enforce_file_format=True)
found = [pydicom.dcmread(f"{name}.dcm") for name in "ab"]
print("written and read")
try:
    print("attribute:", found[0].SeriesInstanceUID)
except AttributeError as error:
    print("attribute:", type(error).__name__)
print("get:", found[0].get("SeriesInstanceUID"))
series = {str(one.get("SeriesInstanceUID")) for one in found}
print("files of one series by str(get):", 2 if len(series) == 1 else 1)
PYTHON
)
expected="written and read
attribute: AttributeError
get: None
files of one series by str(get): 2"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
