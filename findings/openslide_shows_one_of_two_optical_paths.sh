#!/usr/bin/env bash
# Belief refuted: a DICOM slide of two optical paths (two images of every tile, as stained and fluorescent) is
#   refused by OpenSlide, which has no word for them, or both are there to choose from.
# Seen: it opens without a word. Of frames that count from left to right (TILED_FULL) the first path is shown; of
#   frames that say where they lie (TILED_SPARSE) the last one. The properties repeat the list of paths; which one is shown they do not say.
# Versions: openslide-python 1.4.7, openslide-bin 4.0.1.2, pydicom 3.0.2, numpy 2.4.6, Python 3.11, Linux.
#   Date: 2026-11-29.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 pydicom==3.0.2 pillow==13.0.0 openslide-python==1.4.7 openslide-bin==4.0.1.2
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
from pathlib import Path

import numpy as np, openslide
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SLIDE, SIDE, TILE = "1.2.840.10008.5.1.4.1.1.77.1.6", 128, 64


def item(**values):
    one = Dataset()
    for name, value in values.items():
        setattr(one, name, value)
    return one


def slide(tiling):
    """Four tiles by a first path, all 10, and the same four by a second one, all 200."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = SLIDE, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    measures = item(PixelSpacing=[0.0005, 0.0005], SliceThickness="0.001")
    paths = [item(OpticalPathIdentifier=str(path), OpticalPathDescription=f"path {path}") for path in (1, 2)]
    ds = item(
        SOPClassUID=SLIDE, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, Modality="SM",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(), ContainerIdentifier="glass", Rows=TILE, Columns=TILE,
        TotalPixelMatrixColumns=SIDE, TotalPixelMatrixRows=SIDE, NumberOfFrames=8, SamplesPerPixel=3,
        PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelRepresentation=0, DimensionOrganizationType=tiling, NumberOfOpticalPaths=2,
        TotalPixelMatrixFocalPlanes=1, OpticalPathSequence=paths,
        SharedFunctionalGroupsSequence=[item(PixelMeasuresSequence=[measures])],
    )  # fmt: skip
    if tiling == "TILED_SPARSE":
        ds.PerFrameFunctionalGroupsSequence = [
            item(
                OpticalPathIdentificationSequence=[item(OpticalPathIdentifier=str(path))],
                PlanePositionSlideSequence=[
                    item(
                        ColumnPositionInTotalImagePixelMatrix=1 + x * TILE, RowPositionInTotalImagePixelMatrix=1 + y * TILE,
                        XOffsetInSlideCoordinateSystem="0", YOffsetInSlideCoordinateSystem="0",
                        ZOffsetInSlideCoordinateSystem="0",
                    )
                ],
            )
            for path in (1, 2) for y in range(2) for x in range(2)
        ]  # fmt: skip
    pixels = np.repeat(np.array([10, 200], np.uint8), 4 * TILE * TILE * 3)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
    ds.file_meta = meta
    folder = Path(tiling)
    folder.mkdir()
    ds.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm"


for tiling in ("TILED_FULL", "TILED_SPARSE"):
    with openslide.OpenSlide(slide(tiling)) as opened:
        shown = np.asarray(opened.read_region((0, 0), 0, (SIDE, SIDE)))[..., :3]
        print(tiling, "shows", sorted(set(shown.ravel().tolist())))
PYTHON
)
expected="TILED_FULL shows [10]
TILED_SPARSE shows [200]"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-29 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
