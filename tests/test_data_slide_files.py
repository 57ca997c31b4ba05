"""The slide is its files: one record per slide, whatever the format, wherever files are listed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from zarrs import ome_zarr
from zoomin.data.check import images_to_check, manifest_problems
from zoomin.data.find import open_dataset
from zoomin.data.folders import list_images, read_folders
from zoomin.data.manifest import read_manifest
from zoomin.data.slide_files import one_per_slide
from zoomin.errors import DataError, ImageError
from zoomin.geometry import Region
from zoomin.images.formats.dicom_header import read_dicom_header
from zoomin.images.open_image import open_image
from zoomin.inference import find_images

WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
SYNTAX = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big": "1.2.840.10008.1.2.2",
}


def element(group: int, number: int, vr: str, value: bytes, order: str = "<", explicit: bool = True) -> bytes:
    value += (b" " if vr not in ("UI", "SQ", "OB") else b"\0") * (len(value) % 2)
    head = struct.pack(f"{order}HH", group, number)
    if not explicit:
        return head + struct.pack(f"{order}I", len(value)) + value
    if vr in ("SQ", "OB"):
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}I", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def dicom(
    path: Path,
    series: str,
    instance: str,
    flavour: str = "VOLUME",
    syntax: str = "explicit",
    sop: str = WSI,
    container: str = "",
    pixels: int = 0,
) -> Path:
    """A header as far as the series, with a nested sequence of undefined length before it."""
    order, explicit = ">" if syntax == "big" else "<", syntax != "implicit"

    def own(group: int, number: int, vr: str, value: bytes) -> bytes:
        return element(group, number, vr, value, order, explicit)

    undefined = struct.pack(f"{order}I", 0xFFFFFFFF)
    item = struct.pack(f"{order}HH", 0xFFFE, 0xE000) + undefined
    ends = struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0) + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack(f"{order}HH", 0x0008, 0x1140) + (b"SQ\0\0" if explicit else b"") + undefined
    body = own(0x0008, 0x0008, "CS", f"ORIGINAL\\PRIMARY\\{flavour}\\NONE".encode())
    body += own(0x0008, 0x0016, "UI", sop.encode()) + own(0x0008, 0x0018, "UI", instance.encode())
    body += sequence + item + own(0x0020, 0x000E, "UI", b"9.9") + ends
    body += own(0x0020, 0x000D, "UI", b"1.2") + own(0x0020, 0x000E, "UI", series.encode())
    body += own(0x0028, 0x0010, "US", b"\1\0")
    body += own(0x0040, 0x0512, "LO", container.encode())
    if pixels:
        side = struct.pack(f"{order}I", pixels)
        body += own(0x0048, 0x0006, "UL", side) + own(0x0048, 0x0007, "UL", side)
    body += b"\0" * (4000 if flavour == "VOLUME" else 10)
    if syntax == "deflated":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    meta = element(0x0002, 0x0010, "UI", SYNTAX[syntax].encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + meta + body)
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("syntax", SYNTAX)
def test_the_header_in_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    header = read_dicom_header(dicom(tmp_path / "a.dcm", "1.2.3", "1.2.3.4", "LABEL", syntax))
    assert header is not None
    assert header[:4] == ("1.2.3", "1.2.3.4", WSI, ("ORIGINAL", "PRIMARY", "LABEL", "NONE"))
    assert header.syntax == SYNTAX[syntax]
    assert header.is_slide and not header.is_volume


def test_what_is_no_header(tmp_path: Path) -> None:
    whole = dicom(tmp_path / "a.dcm", "1.2.3", "1.2.3.4").read_bytes()
    for size in (0, 100, 131):
        (tmp_path / "cut.dcm").write_bytes(whole[:size])
        assert read_dicom_header(tmp_path / "cut.dcm") is None
    for size in (140, 170, 250):  # what is missing is empty: it is no slide, and goes with no other
        (tmp_path / "cut.dcm").write_bytes(whole[:size])
        found = read_dicom_header(tmp_path / "cut.dcm")
        assert found is None or found.series == ""
    assert read_dicom_header(picture(tmp_path / "a.png")) is None
    assert read_dicom_header(tmp_path / "gone.dcm") is None


def slides(root: Path) -> Path:
    """A slide of five files in a folder of its own in each class, and two slides of two in a class folder."""
    for name, series, folder in (("s1", "1.1", "neg/s1"), ("s2", "1.2", "pos/s2")):
        for level in range(3):
            dicom(root / folder / f"{name}_{level}.dcm", series, f"{series}.{level}")
        dicom(root / folder / "a_label.dcm", series, f"{series}.8", "LABEL")
        dicom(root / folder / "b_overview.dcm", series, f"{series}.9", "OVERVIEW")
    for series in ("1.3", "1.4"):
        for level in range(2):
            dicom(root / "pos" / f"{series}_{level}.dcm", series, f"{series}.{level}")
    return root


def test_a_dicom_slide_counts_once_everywhere(tmp_path: Path) -> None:
    root = slides(tmp_path)
    wanted = ["neg/s1/s1_0.dcm", "pos/1.3_0.dcm", "pos/1.4_0.dcm", "pos/s2/s2_0.dcm"]
    names = [path.relative_to(root).as_posix() for path in list_images(root)]
    assert names == wanted
    assert open_dataset(root).counts() == {"neg": 1, "pos": 3}
    assert len(find_images([root])) == len(images_to_check([root])) == 4
    files = sorted(root.rglob("*.dcm"))
    assert len(files) == 14
    assert len(find_images(files)) == len(find_images([str(root / "*/*.dcm"), root])) == 4
    assert len(images_to_check(files)) == len(one_per_slide(files)) == 4


def test_copies_in_two_folders_are_two_but_parts_in_two_folders_an_error(tmp_path: Path) -> None:
    for folder in ("neg/s1", "pos/s2"):
        for level in range(2):
            dicom(tmp_path / folder / f"l{level}.dcm", "1.1", f"1.1.{level}")
    assert open_dataset(tmp_path).counts() == {"neg": 1, "pos": 1}
    (tmp_path / "neg/s1/l0.dcm").unlink()
    (tmp_path / "pos/s2/l1.dcm").unlink()
    with pytest.raises(
        DataError, match=r"l1\.dcm and .*l0\.dcm are files of one slide .* in the folders of two"
    ):
        open_dataset(tmp_path)


def test_levels_in_folders_of_their_own_are_one_slide(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As some archives unpack: a folder for each instance. The largest level is opened, whatever its name."""
    for label, series in (("neg", "1.1"), ("pos", "1.2")):
        for level, folder in enumerate(("c", "b", "a")):
            pixels = 64 >> level
            dicom(
                tmp_path / label / folder / "x.dcm",
                series,
                f"{series}.{level}",
                container=series,
                pixels=pixels,
            )
        dicom(tmp_path / label / "0" / "label.dcm", f"9.{series}", f"9.{series}.1", "LABEL", container=series)
        dicom(tmp_path / label / "0" / "thumb.dcm", series, f"{series}.8", "OVERVIEW", container=series)
    main = [tmp_path / label / "c/x.dcm" for label in ("neg", "pos")]
    assert list_images(tmp_path / "neg")[0] == main[0]
    assert [record.image for record in open_dataset(tmp_path)] == main
    assert find_images([tmp_path]) == find_images([tmp_path / "neg", tmp_path / "pos"]) == main
    assert find_images([tmp_path / "pos/a", tmp_path / "pos/c"]) == [main[1]]
    assert find_images([str(tmp_path / "*/*/*.dcm")]) == main
    assert [record.image for record in images_to_check([tmp_path])] == main
    assert "levels of this slide stand in other folders" in caplog.text
    rows = "image,label\nneg/c/x.dcm,neg\npos/c/x.dcm,pos\nneg/a/x.dcm,neg\n"
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(DataError, match=r"rows 2 and 4 name files of one slide.*one row per slide, such as"):
        read_manifest(tmp_path / "list.csv")


def test_copies_of_a_slide_whose_levels_stand_apart(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        for level in range(3):
            dicom(tmp_path / copy / str(level) / "x.dcm", "1.1", f"1.1.{level}", pixels=64 >> level)
    assert list_images(tmp_path) == [tmp_path / "one/0/x.dcm", tmp_path / "two/0/x.dcm"]


def test_other_dicom_files_are_images_of_their_own(tmp_path: Path) -> None:
    for slice_ in range(3):
        dicom(tmp_path / f"{slice_}.dcm", "1.1", f"1.1.{slice_}", sop="1.2.840.10008.5.1.4.1.1.2")
    assert len(list_images(tmp_path)) == 3


def test_a_manifest_that_names_two_files_of_a_slide(tmp_path: Path) -> None:
    slides(tmp_path)
    rows = ["image,label,split", "neg/s1/s1_0.dcm,neg,train", "pos/1.3_0.dcm,pos,train"]
    (tmp_path / "list.csv").write_text("\n".join([*rows, "neg/s1/s1_1.dcm,neg,test", ""]))
    with pytest.raises(DataError, match=r"rows 2 and 4 name files of one slide: s1_0\.dcm, s1_1\.dcm"):
        read_manifest(tmp_path / "list.csv")
    records = images_to_check([tmp_path / "list.csv"])
    assert len(records) == 3  # all rows are looked at, and the doubt is told
    assert any("further files of a slide" in problem for problem in manifest_problems(records))


def ome(path: Path, files: list[str], images: int = 1, companion: str = "") -> None:
    data = "".join(
        f'<TiffData FirstC="{c}" IFD="0"><UUID FileName="{name}">urn:uuid:{c}</UUID></TiffData>'
        for c, name in enumerate(files)
    )
    each = [data] if images == 1 else [f'<TiffData><UUID FileName="{n}">u</UUID></TiffData>' for n in files]
    body = "".join(f'<Image ID="Image:{i}"><Pixels>{own}</Pixels></Image>' for i, own in enumerate(each))
    if companion:
        (path.parent / companion).write_text(f'<OME xmlns="http://x">{body}</OME>')
        body = f'<BinaryOnly MetadataFile="{companion}" UUID="u"/>'
    text = f'<?xml version="1.0"?><OME xmlns="http://x">{body}</OME>'
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), description=text, metadata=None)


@pytest.mark.parametrize("companion", ["", "set.companion.ome"])
def test_an_ome_tiff_of_several_files(tmp_path: Path, companion: str) -> None:
    names = ["c2.ome.tif", "c0.ome.tif", "c1.ome.tif"]
    for name in names:
        ome(tmp_path / name, names, companion=companion)
    picture(tmp_path / "other.tif")
    assert [path.name for path in list_images(tmp_path)] == ["c2.ome.tif", "other.tif"]


def test_renamed_files_of_an_ome_tiff_are_one_image(tmp_path: Path) -> None:
    """By the UUID that each gives itself, whatever name the metadata give it."""
    data = "".join(
        f'<TiffData><UUID FileName="c{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>' for c in range(3)
    )
    for c, name in enumerate(("blue.tif", "green.tif", "c2.ome.tif")):
        body = f'UUID="urn:uuid:{c}"><Image ID="Image:0"><Pixels>{data}</Pixels></Image></OME>'
        options = {"description": f'<?xml version="1.0"?><OME xmlns="http://x" {body}', "metadata": None}
        tifffile.imwrite(tmp_path / name, np.zeros((16, 16), np.uint8), **options)
    picture(tmp_path / "other.tif")
    assert [path.name for path in list_images(tmp_path)] == ["blue.tif", "other.tif"]


def test_several_images_of_an_ome_data_set_are_several(tmp_path: Path) -> None:
    names = ["a.ome.tif", "b.ome.tif"]
    for name in names:
        ome(tmp_path / name, names, images=2)
    assert [path.name for path in list_images(tmp_path)] == names


def test_ome_files_whose_companion_is_gone(tmp_path: Path) -> None:
    for name in ("a.ome.tif", "b.ome.tif"):
        ome(tmp_path / name, ["a.ome.tif", "b.ome.tif"], companion="gone.companion.ome")
    (tmp_path / "gone.companion.ome").unlink()
    assert [path.name for path in list_images(tmp_path)] == ["a.ome.tif"]


def test_slides_with_an_index(tmp_path: Path) -> None:
    for name in ("s(0,0).jpg", "s(1,0).jpg", "s_map2.jpg", "s_macro.jpg", "other.jpg"):
        picture(tmp_path / name)
    index = "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=S(0,0).jpg\nImageFile(1,0)=s(1,0).jpg\n"
    (tmp_path / "s.vms").write_text(index + "MapFile=s_map2.jpg\nMacroImage=s_macro.jpg\n")
    assert [path.name for path in list_images(tmp_path)] == ["other.jpg", "s.vms"]
    for name in ("f-1.ndpi", "f-2.ndpi", "a1.svs", "a2.svs"):
        (tmp_path / name).write_bytes(b"II")
    (tmp_path / "f.ndpis").write_text(
        "[NanoZoomer Digital Pathology Image Set]\nImage0=f-1.ndpi\nImage1=f-2.ndpi\n"
    )
    (tmp_path / "a.afi").write_text(
        "<ImageList><Image><Path>a1.svs</Path></Image><Image><Path>a2.svs</Path></Image></ImageList>"
    )
    (tmp_path / "m.vrt").write_text(
        '<VRTDataset><SourceFilename relativeToVRT="1">other.jpg</SourceFilename></VRTDataset>'
    )
    assert [path.name for path in list_images(tmp_path)] == ["a1.svs", "f-1.ndpi", "m.vrt", "s.vms"]


def test_folders_and_side_cars_that_go_with_a_slide(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "m.tif").rename(tmp_path / "m.mrxs")
    for name in "m/Slidedat.ini m/Data0000.dat a.tif.aux.xml a.tif.ovr a.tfw a.tif.msk a.xml".split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in (
        "m/preview.jpg",
        "z_files/0/0_0.jpg",
        "q/TileGroup0/0-0-0.jpg",
        "_v_/stack1/t.tif",
        "a.tif",
        "plain/b.png",
    ):
        picture(tmp_path / name)
    (tmp_path / "z.dzi").write_text("<Image/>")
    (tmp_path / "q/ImageProperties.xml").write_text("<IMAGE_PROPERTIES/>")
    (tmp_path / "v.vsi").write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["a.tif", "m.mrxs", "plain/b.png", "v.vsi"]
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in told] == [
        str(tmp_path / name) for name in ("z.dzi", "q/ImageProperties.xml")
    ]
    assert all("not read and left out. Export it as a pyramidal TIFF" in text for text in told)


def test_a_dicom_label_in_a_series_of_its_own(tmp_path: Path) -> None:
    """It has no levels, and belongs to the slide whose container it names."""
    for glass in "12":
        dicom(tmp_path / f"l{glass}.dcm", f"7.{glass}", f"9.{glass}", "LABEL", container=f"glass {glass}")
        dicom(tmp_path / f"v{glass}.dcm", f"1.{glass}", f"8.{glass}", container=f"glass {glass}")
    dicom(tmp_path / "other.dcm", "5.1", "6.1", "LABEL", container="glass 3")
    assert [path.name for path in list_images(tmp_path)] == ["other.dcm", "v1.dcm", "v2.dcm"]
    dicom(tmp_path / "again.dcm", "2.1", "3.1", container="glass 1")  # another scan of the same glass
    assert {path.name for path in list_images(tmp_path)} == {"again.dcm", "other.dcm", "v1.dcm", "v2.dcm"}


@pytest.mark.parametrize("group", ["", "p1"])
def test_two_scans_of_one_glass_slide_are_told(
    group: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for series in ("1.2.5", "1.2.6"):
        dicom(tmp_path / series / "0.dcm", series, f"{series}.1", container="glass")
    rows = [f"{series}/0.dcm,{label},{group}" for series, label in (("1.2.5", "a"), ("1.2.6", "b"))]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,group", *rows, ""]))
    read_manifest(tmp_path / "list.csv")
    assert ("scanned more than once" in caplog.text) == (not group)
    caplog.clear()
    read_folders(tmp_path)
    assert "the first is glass" in caplog.text


def czi(path: Path, slide: bytes, part: int) -> None:
    head = b"ZISRAWFILE".ljust(16, b"\0") + struct.pack("<qq4i", 512, 512, 1, 0, 0, 0)
    path.write_bytes(
        head + slide.ljust(16, b"\0") + bytes([part] * 16) + struct.pack("<i", part) + bytes(500)
    )


def test_a_czi_of_several_parts(tmp_path: Path) -> None:
    for name, slide, part in [
        ("s.czi", b"s", 0),
        ("s (1).czi", b"s", 1),
        ("s (2).czi", b"s", 2),
        ("t.czi", b"t", 0),
    ]:
        czi(tmp_path / name, slide, part)
    assert [path.name for path in list_images(tmp_path)] == ["s.czi", "t.czi"]
    for name in ("copy.czi", "t copy.czi"):  # copies are slides; identifiers of nothing but 0 are none
        czi(tmp_path / name, b"t", 0)
    for name in ("zero.czi", "zero2.czi"):
        czi(tmp_path / name, b"", 0)
    assert len(list_images(tmp_path)) == 6


def test_suffixes_of_large_tiffs(tmp_path: Path) -> None:
    for suffix in ("btf", "tf2", "tf8", "ome.btf"):
        tifffile.imwrite(tmp_path / f"a.{suffix}", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    assert len(list_images(tmp_path)) == 4


def test_a_virtual_raster_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.vrt").write_text('<VRTDataset rasterXSize="4" rasterYSize="4"></VRTDataset>')
    with pytest.raises(ImageError, match=r"a virtual raster of GDAL.*gdal_translate -of COG"):
        open_image(list_images(tmp_path)[0])


@pytest.mark.parametrize("name", ["1.2.3.{}", "IM_{}", "scan{}.ima"])
def test_dicom_slides_without_its_suffix_are_found_in_folders(tmp_path: Path, name: str) -> None:
    """Archives name files by their identifiers."""
    for number, label in enumerate(("neg", "pos")):
        (tmp_path / label).mkdir()
        for part in range(2):
            dicom(tmp_path / label / name.format(part), f"1.2.{number}", f"1.2.{number}.{part}")
        (tmp_path / label / "README").write_text("no image")
        (tmp_path / label / "notes.2").write_text("no image either")
    records = read_folders(tmp_path).records
    assert [record.label for record in records] == ["neg", "pos"]


def test_a_plane_of_an_image_of_several_files_is_refused_with_its_companion(tmp_path: Path) -> None:
    names = ["a.ome.tif", "b.ome.tif", "c.ome.tif"]
    for number, name in enumerate(names):
        ome(tmp_path / name, names, companion="set.companion.ome")
        with tifffile.TiffFile(tmp_path / name) as file:
            text = file.pages.first.description
        tifffile.imwrite(
            tmp_path / name, np.full((30, 40), number, np.uint8), description=text, metadata=None
        )
    with pytest.raises(ImageError, match=r"one of 3 files of an image .*, according to set\.companion\.ome"):
        open_image(tmp_path / names[0])
    planes = np.stack([tifffile.imread(tmp_path / name) for name in names], -1)
    tifffile.imwrite(tmp_path / "whole.tif", planes, photometric="rgb")  # as the remedy says
    view = open_image(tmp_path / "whole.tif").read([Region(0, 0, 40, 30)], 1.0)
    assert view[0].float().mean((1, 2)).tolist() == [0, 1, 2]


def test_a_time_point_of_several_files_is_exported_alone(tmp_path: Path) -> None:
    names = ["t0.ome.tif", "t1.ome.tif"]
    for number, name in enumerate(names):
        ome(tmp_path / name, names, companion="set.companion.ome")
        with tifffile.TiffFile(tmp_path / name) as file:
            text = file.pages.first.description
        pixels = np.full((30, 40, 3), number, np.uint8)
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", description=text, metadata=None)
    companion = tmp_path / "set.companion.ome"
    companion.write_text(companion.read_text().replace("<Pixels>", '<Pixels SizeT="2" SizeC="3">'))
    with pytest.raises(ImageError, match=r"of 2 time points .*Export one time point") as caught:
        open_image(tmp_path / names[1])
    assert "numpy.stack" not in str(caught.value)
    tifffile.imwrite(tmp_path / "one.tif", tifffile.imread(tmp_path / names[1]), photometric="rgb")
    view = open_image(tmp_path / "one.tif").read([Region(0, 0, 40, 30)], 1.0)
    assert (view == 1).all()


@pytest.mark.parametrize("length", [0, 4, 7, 9])
def test_a_tiff_that_is_cut_off_is_listed_for_whoever_opens_it(tmp_path: Path, length: int) -> None:
    whole = picture(tmp_path / "b.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:length])
    assert [path.name for path in list_images(tmp_path)] == ["a.tif", "b.tif"]


def test_a_dicomdir_is_no_image(tmp_path: Path) -> None:
    """It lists the files of a disc, and begins as they do."""
    meta = element(0x0002, 0x0002, "UI", b"1.2.840.10008.1.3.10") + element(
        0x0002, 0x0010, "UI", SYNTAX["explicit"].encode()
    )
    head = element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta))) + meta
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + head + element(0x0004, 0x1130, "CS", b"DISC"))
    dicom(tmp_path / "IMAGES" / "IM0", "1.1", "1.1.0")
    dicom(tmp_path / "IMAGES" / "IM1", "1.1", "1.1.1")
    assert len(list_images(tmp_path)) == 1


def test_indices_that_name_files_elsewhere_or_as_others_write_them(tmp_path: Path) -> None:
    for name in ("tiles/a.png", "tiles/b.png", "x_1.png", "c0.tif", "c1.tif", "__MACOSX/x.png"):
        picture(tmp_path / name)
    source = '<SourceFilename relativeToVRT="1">tiles{}{}.png</SourceFilename>'
    text = f"<VRTDataset>{source.format('/', 'a')}{source.format(chr(92), 'b')}</VRTDataset>"
    (tmp_path / "m.vrt").write_text(text)
    uuids = "".join(f'<TiffData FirstC="{c}"><UUID FileName="c{c}.tif">u</UUID></TiffData>' for c in range(2))
    (tmp_path / "set.companion.ome").write_text(f"<OME><Image><Pixels>{uuids}</Pixels></Image></OME>")
    for name in ("s_DAPI.svs", "s_FITC.svs"):
        (tmp_path / name).write_bytes(b"II")
    paths = r"<Image><Path>C:\scan\s_DAPI.svs</Path></Image><Image><Path>s_FITC.svs</Path></Image>"
    (tmp_path / "s.AFI").write_text(f"<ImageList>{paths}</ImageList>")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["c0.tif", "m.vrt", "s_DAPI.svs", "x_1.png"]


def test_folders_of_slides_named_in_upper_case_or_by_xml(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("S/Slidedat.ini", "S/x.jpg", "_V_/stack1/t.tif", "T_files/0/0_0.jpg", "U_files/0/0_0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / name) if name.endswith(("jpg", "tif")) else (tmp_path / name).write_bytes(b"")
    for name in ("S.MRXS", "V.VSI"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / "T.xml").write_text(
        '<Image TileSize="254" xmlns="http://schemas.microsoft.com/deepzoom/2008"/>'
    )
    (tmp_path / "U.xml").write_text("<Notes/>")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["S.MRXS", "U_files/0/0_0.jpg", "V.VSI"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{tmp_path / 'T.xml'}: a Deep Zoom")


def linked(new: Path, old: Path, kind: str) -> Path:
    new.parent.mkdir(parents=True, exist_ok=True)
    if kind == "hard":
        new.hardlink_to(old)
    else:
        new.symlink_to(old)
    return new


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_is_another_name_of_one_slide(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = [picture(tmp_path / "neg" / f"{number}.png") for number in range(3)]
    for file in files:
        linked(tmp_path / "neg" / f"z{file.name}", file, kind)
    assert list_images(tmp_path / "neg") == files
    assert open_dataset(tmp_path).counts() == {"neg": 3}
    assert find_images([tmp_path]) == find_images([str(tmp_path / "neg/*.png")]) == files
    assert len(images_to_check([tmp_path])) == 3
    assert "3 images are left out: links" in caplog.text and "z0.png, which is" in caplog.text
    linked(tmp_path / "pos" / "other.png", files[1], kind)
    with pytest.raises(DataError, match=r"neg/1\.png and pos/other\.png are .* the folders of two classes"):
        open_dataset(tmp_path)
    rows = "image,label,split\nneg/0.png,neg,train\npos/other.png,neg,train\nneg/1.png,neg,test\n"
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(DataError, match=r"rows 3 and 4 name files of one slide: .*pos/other\.png, .*a link"):
        read_manifest(tmp_path / "list.csv")


def test_one_name_is_kept_and_of_two_the_one_that_is_no_link(tmp_path: Path) -> None:
    """A farm of links shows the names of the links; the names of what they lead to say nothing."""
    store, farm = tmp_path / "store", tmp_path / "farm"
    for number in range(2):
        linked(farm / f"slide {number}.png", picture(store / f"{number:032x}.png"), "symbolic")
    assert [path.name for path in list_images(farm)] == ["slide 0.png", "slide 1.png"]
    linked(store / "a link.png", store / f"{1:032x}.png", "symbolic")
    assert [path.name for path in list_images(store)] == [f"{number:032x}.png" for number in range(2)]


def test_links_to_folders_and_parts_of_slides(tmp_path: Path) -> None:
    for level in range(2):
        dicom(tmp_path / "store/s1" / f"l{level}.dcm", "1.1", f"1.1.{level}", pixels=64 >> level)
    (tmp_path / "store/z.zarr").mkdir()
    (tmp_path / "store/z.zarr/.zgroup").write_text('{"zarr_format": 2}')
    root = tmp_path / "set"
    for name in ("one", "two"):
        linked(root / "neg" / name, tmp_path / "store/s1", "symbolic")
        linked(root / "neg" / f"{name}.zarr", tmp_path / "store/z.zarr", "symbolic")
    names = [path.relative_to(root).as_posix() for path in list_images(root / "neg")]
    assert names == ["neg/one.zarr", "neg/one/l0.dcm"]
    linked(root / "pos/a.dcm", tmp_path / "store/s1/l1.dcm", "hard")  # of a level, not of the largest
    with pytest.raises(DataError, match=r"neg/one/l0\.dcm and pos/a\.dcm are files of one slide"):
        open_dataset(root)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("part", ["c1.ome.tif", "s (1).czi", "v(1,0).jpg"])
def test_a_link_to_a_part_of_a_slide_in_another_class(tmp_path: Path, part: str, kind: str) -> None:
    """The part is not in the list, which names the first file of its slide."""
    neg = tmp_path / "neg"
    neg.mkdir()
    for name in ("c0.ome.tif", "c1.ome.tif"):
        ome(neg / name, ["c0.ome.tif", "c1.ome.tif"])
    czi(neg / "s.czi", b"s", 0)
    czi(neg / "s (1).czi", b"s", 1)
    picture(neg / "v.jpg"), picture(neg / "v(1,0).jpg")
    (neg / "v.vms").write_text("[Virtual Microscope Specimen]\nImageFile=v.jpg\nImageFile(1,0)=v(1,0).jpg\n")
    picture(tmp_path / "pos/other.png")
    assert len(open_dataset(tmp_path)) == 4
    new = linked(tmp_path / "pos" / f"x{Path(part).suffix}", neg / part, kind)
    with pytest.raises(DataError, match="files of one slide"):
        open_dataset(tmp_path)
    first = {"c1.ome.tif": "c0.ome.tif", "s (1).czi": "s.czi", "v(1,0).jpg": "v.vms"}[part]
    (tmp_path / "list.csv").write_text(f"image,label\nneg/{first},neg\npos/{new.name},pos\n")
    with pytest.raises(DataError, match="rows 2 and 3 name files of one slide"):
        read_manifest(tmp_path / "list.csv")


def test_parts_of_a_czi_in_the_folders_of_two_classes(tmp_path: Path) -> None:
    for name, part in (("neg/s.czi", 0), ("pos/s (1).czi", 1)):
        (tmp_path / name).parent.mkdir()
        czi(tmp_path / name, b"s", part)
    with pytest.raises(DataError, match="files of one slide"):
        open_dataset(tmp_path)


def test_equal_indices_joined_by_a_hard_link_are_two_slides(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        picture(tmp_path / name / "t.jpg")
    (tmp_path / "s1/s.vms").write_text("[Virtual Microscope Specimen]\nImageFile=t.jpg\n")
    linked(tmp_path / "s2/s.vms", tmp_path / "s1/s.vms", "hard")
    assert len(list_images(tmp_path)) == 2


@pytest.mark.parametrize("place", ["", "0"])
def test_a_zarr_and_an_image_or_a_level_inside_of_it_are_one_slide(tmp_path: Path, place: str) -> None:
    """Both open the same pixels: of a collection its first image, of an image its finest level."""
    ome_zarr(tmp_path / "a.zarr", np.zeros((32, 32, 3), np.uint8), place=place)
    ome_zarr(tmp_path / "b.zarr", np.zeros((32, 32, 3), np.uint8))
    linked(tmp_path / "c.zarr", tmp_path / "a.zarr", "symbolic")
    for other in ("a.zarr/0", "c.zarr", "c.zarr/0"):
        (tmp_path / "list.csv").write_text(f"image,label\nb.zarr,x\n{other},y\na.zarr,x\n")
        with pytest.raises(DataError, match=r"rows 3 and 4 name files of one slide: .*row 4 \(a\.zarr\)"):
            read_manifest(tmp_path / "list.csv")
        records = images_to_check([tmp_path / "list.csv"])
        assert any("further files of a slide" in problem for problem in manifest_problems(records))
    (tmp_path / "list.csv").write_text("image,label\nb.zarr,x\na.zarr/0,y\n")
    assert len(read_manifest(tmp_path / "list.csv")) == 2
