from __future__ import annotations

import csv
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from baseline_examples import check_contract
from zoomin.app.cli import main
from zoomin.baselines.abmil import ABMIL, ABMILConfig
from zoomin.baselines.clam import CLAM, CLAMConfig
from zoomin.baselines.dsmil import DSMIL, DSMILConfig
from zoomin.baselines.transmil import TransMIL, TransMILConfig
from zoomin.data import feature_extraction
from zoomin.data.feature_extraction import FeatureConfig, encode_images
from zoomin.data.manifest import Record
from zoomin.data.opening import open_record
from zoomin.errors import BatchReadError, ConfigError, DataError, ImageError, WriteError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.open_image import open_image
from zoomin.inference import predict
from zoomin.model.feature_files import FeatureFile, feature_path, read_features, stored_dims, write_features
from zoomin.model.networks import feature_network
from zoomin.runtime import image_work
from zoomin.runtime.executor import Executor, Lost
from zoomin.runtime.faults import Faults
from zoomin.runtime.locks import lock_folder

CONFIG = FeatureConfig("lenet_released", crop_size=20, chunk_size=4)
MODELS = [
    ABMILConfig(crop_size=20, hidden=8),
    CLAMConfig(crop_size=20, width=12, hidden=8, instances=2),
    DSMILConfig(crop_size=20, query_width=8),
    TransMILConfig(crop_size=20, width=8, heads=2, landmarks=4),
]
KINDS = [ABMIL, CLAM, DSMIL, TransMIL]


@pytest.fixture
def images(tmp_path):
    """Paths of three images, one of them no image."""
    rng = np.random.default_rng(0)
    paths = []
    for name, size in (("a", (60, 44, 3)), ("b", (33, 35, 3))):
        paths.append(tmp_path / "images" / f"{name}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(paths[-1])
    paths.append(tmp_path / "images" / "broken.png")
    paths[-1].write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    return paths


def encoded(paths, out, config=CONFIG):
    return encode_images([Record(path, None) for path in paths], out, config)


def test_every_crop_is_encoded_and_a_bad_image_is_told_of(images, tmp_path):
    rows = encoded(images, tmp_path / "out")
    assert [(row.status, row.crops) for row in rows] == [("ok", 9), ("ok", 4), ("error", None)]
    assert "broken.png" in rows[2].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.h5", "b.h5", "features.csv"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, _ = feature_network("lenet_released")
    found = read_features(tmp_path / "out" / "a.h5")
    boxes = [Region(x, y, 20, 20) for y in (0, 20, 40) for x in (0, 20, 40)]
    views = open_image(images[0]).read(boxes, 1.0).float()
    torch.testing.assert_close(found.features, network((views - 127.5) / 127.5), rtol=1e-4, atol=1e-5)
    assert found.coords.tolist() == [[box.x, box.y] for box in boxes]


def test_whatever_one_image_fails_with_the_others_go_on(images, tmp_path, monkeypatch):
    def reader(record, *args):
        if record.image == images[0]:
            raise SyntaxError("not a TIFF file")  # what Pillow raises on one kind of file
        return open_record(record, *args)

    monkeypatch.setattr(feature_extraction, "open_record", reader)
    rows = encoded(images[:2], tmp_path / "out")
    assert [row.status for row in rows] == ["error", "ok"]
    assert "a.png: cannot be read (SyntaxError: not a TIFF file)" in rows[0].error
    monkeypatch.setattr(image_work, "Faults", lambda: Faults(1))
    with pytest.raises(SyntaxError):
        encoded(images[:2], tmp_path / "other")


def test_two_jobs_do_not_share_a_folder(images, tmp_path):
    with lock_folder(tmp_path), pytest.raises(WriteError, match="another job writes here"):
        encoded(images, tmp_path)


def test_others_can_read_the_file(images, tmp_path):
    encoded(images[:1], tmp_path)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["features"].shape == (9, 48) and file["features"].dtype == np.float32
        assert file["coords"].shape == (9, 2) and file["coords"].dtype.kind == "i"
        assert file["coords"].attrs["patch_size_level0"] == 20


def test_what_is_there_is_kept_but_not_mixed(images, tmp_path):
    encoded(images[:1], tmp_path)
    before = (tmp_path / "a.h5").stat().st_mtime_ns
    assert [row.status for row in encoded(images[:2], tmp_path)] == ["kept", "ok"]
    assert (tmp_path / "a.h5").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="made with other settings"):
        encoded(images[:2], tmp_path, replace(CONFIG, crop_size=10))


def test_failures_are_remembered_and_changed_images_encoded_again(images, tmp_path):
    out = tmp_path / "out"
    encoded(images, out)
    table = (out / "features.csv").read_text()
    (out / "features.csv").rename(out / "features.csv.part")  # as of a job that was killed after its last row
    assert [row.status for row in encoded(images, out)] == ["kept", "kept", "error"]
    assert (out / "features.csv").read_text() == table
    Image.new("RGB", (20, 20)).save(images[0])
    assert [(row.status, row.crops) for row in encoded(images, out)] == [
        ("ok", 1),
        ("kept", 4),
        ("error", None),
    ]
    images[0].write_bytes(b"damaged")
    assert [row.status for row in encoded(images, out)] == ["error", "kept", "error"]
    assert not (out / "a.h5").exists(), "features of what the image was before"
    (out / "b.h5").unlink()
    assert [row.status for row in encoded(images, out)] == ["error", "ok", "error"]


def test_only_retries_read_an_image_again_that_failed(images, tmp_path, monkeypatch):
    asked = []

    def reader(record, *args):
        asked.append(record.image.name)
        return open_record(record, *args)

    monkeypatch.setattr(feature_extraction, "open_record", reader)
    records = [Record(path, None) for path in images]
    encode_images(records, tmp_path / "out", CONFIG)
    encode_images(records, tmp_path / "out", CONFIG)
    assert asked == ["a.png", "b.png", "broken.png"]
    encode_images(records, tmp_path / "out", CONFIG, retry_failed=True)
    assert asked[3:] == ["broken.png"]


def test_workers_and_parts_make_the_same_files(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["data", "features", "images", "--features", "lenet_released", "--crop_size", "20"]
    assert main([*words, "--out", "whole"]) == 0
    assert main([*words, "--strict", "--jobs", "2", "--out", "workers"]) == 1
    for shard in ("1/2", "2/2"):
        main([*words, "--shard", shard])
    capsys.readouterr()
    assert main(["merge", "features.1-of-2"]) == 2
    assert "part 2 of 2 is missing" in capsys.readouterr().err
    assert main(["merge", "features.1-of-2", "features.2-of-2", "--out", "merged"]) == 0
    assert "2 images encoded, 0 kept, 1 failed" in capsys.readouterr().out
    whole = (tmp_path / "whole" / "features.csv").read_text()
    for other in ("workers", "merged"):
        assert (tmp_path / other / "features.csv").read_text() == whole.replace("/whole/", f"/{other}/")
        for name in ("a.h5", "b.h5"):
            here, there = (read_features(tmp_path / folder / name) for folder in ("whole", other))
            assert torch.equal(here.features, there.features) and torch.equal(here.coords, there.coords)
    (tmp_path / "features.2-of-2" / "features.csv.part").touch()
    assert main(["merge", "features.1-of-2", "features.2-of-2", "--out", "merged"]) == 2
    assert "it is not complete" in capsys.readouterr().err


def test_an_image_that_kills_its_workers_is_an_error_row(images, tmp_path):
    class Deadly(Executor):
        def work(self, start, tasks, *, gpus=False):
            yield 1, Lost("by SIGKILL")
            yield 0, start(0)(tasks[0])

    records = [Record(path, None) for path in images[:2]]
    rows = encode_images(records, tmp_path / "out", CONFIG, executor=Deadly(jobs=2))
    assert [row.status for row in rows] == ["ok", "error"]
    assert "b.png" in rows[1].error and "died by SIGKILL, 2 times" in rows[1].error


def test_a_file_is_whole_or_absent(tmp_path):
    def parts():
        yield FeatureFile(torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.int64))
        raise ImageError("gone", where="x")

    with pytest.raises(ImageError, match="gone"):
        write_features(tmp_path / "a.h5", parts(), {"crop_size": 1, "scale": 1.0})
    assert not (tmp_path / "a.h5").exists()


def test_two_images_of_one_name_are_refused(images, tmp_path):
    with pytest.raises(DataError, match="share a file"):
        encoded([images[0], tmp_path / "elsewhere" / "a.tif"], tmp_path / "out")


def test_files_of_other_programs_are_read(tmp_path):
    with h5py.File(
        tmp_path / "a.h5", "w"
    ) as file:  # as TRIDENT once wrote them: a batch of one, half precision
        file["features"] = np.ones((1, 5, 7), np.float16)
        file["coords"] = np.zeros((5, 2), np.int32)
    found = read_features(tmp_path / "a.h5")
    assert found.features.shape == (5, 7) and found.features.dtype == torch.float32
    assert stored_dims(tmp_path) == 7
    with pytest.raises(ImageError, match="7 features per crop where 9"):
        read_features(tmp_path / "a.h5", 9)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["feats"] = np.ones(3)
    with pytest.raises(ImageError, match="no array 'coords', but feats"):
        read_features(tmp_path / "b.h5")
    (tmp_path / "c.h5").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="not an HDF5 file"):
        read_features(tmp_path / "c.h5")
    with pytest.raises(DataError, match=r"no file of features"):
        stored_dims(tmp_path / "empty")


@pytest.mark.parametrize("kind, config", list(zip(KINDS, MODELS, strict=True)))
def test_mil_on_stored_features_is_mil_on_crops(images, tmp_path, kind, config):
    encoded(images[:2], tmp_path)
    torch.manual_seed(0)
    stored = kind(replace(config, features=f"stored:{tmp_path}")).eval()
    assert stored.features is None
    whole = kind(replace(config, features="lenet_released", std=(0.5, 0.5, 0.5))).eval()
    whole.load_state_dict(stored.state_dict(), strict=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole.features.load_state_dict(feature_network("lenet_released")[0].state_dict())
    opened = [open_image(path) for path in images[:2]]
    found, wanted = stored(opened), whole(opened)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    assert found.views_read.tolist() == [9, 4] and found.pixels_read.tolist() == [0, 0]


def test_contract_and_missing_files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name, n in (("a", 5), ("b", 3), ("c", 5), ("d", 1)):
        part = FeatureFile(torch.rand(n, 6, generator=generator), torch.zeros(n, 2, dtype=torch.int64))
        write_features(feature_path(tmp_path, f"{name}.png"), [part], {"crop_size": 1, "scale": 1.0})
    net = ABMIL(ABMILConfig(features=f"stored:{tmp_path}", hidden=4))
    pixels = torch.zeros(3, 4, 4, dtype=torch.uint8)
    images = [ArrayImage(pixels, name=f"{name}.png") for name in "abcd"]
    check_contract(net, tmp_path / "model", images)
    with pytest.raises(BatchReadError) as caught:
        net([images[0], ArrayImage(pixels, name="z.png")])
    assert list(caught.value.failures) == [1]
    rows = predict([ArrayImage(pixels, name="z.png"), images[0]], net)
    assert [row.status for row in rows] == ["error", "ok"] and "z.h5" in rows[0].error
    net.check_stored(["neg/a.png", "pos/b.png", "neg/a.png", "pos/z.png"])
    with pytest.raises(DataError, match=r"a\.h5: the images neg/a\.png and pos/a\.png share this file"):
        net.check_stored(["neg/a.png", "pos/a.png"])


def test_from_the_command_line(images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--features", "lenet_released", "--crop_size", "20", "--foreground.method", "otsu"]
    assert main(["data", "features", str(images[0].parent), "--out", str(out), *words]) == 0
    told = capsys.readouterr()
    assert "2 images encoded, 0 kept, 1 failed" in told.out and "broken.png" in told.err
    rows = list(csv.DictReader((out / "features.csv").open()))
    assert [row["status"] for row in rows] == ["ok", "ok", "error"]


def stored(path, features=None, coords=None, **attributes):
    features = np.ones((6, 4), np.float32) if features is None else features
    with h5py.File(path, "w") as file:
        file["features"] = features
        file["coords"] = np.arange(2 * len(features)).reshape(-1, 2) * 32 if coords is None else coords
        file["coords"].attrs.update(attributes)
    return path


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_name_file_and_row(tmp_path, bad):
    features = np.ones((6, 4), np.float32)
    features[3, 1] = features[5, 0] = bad
    with pytest.raises(ImageError, match=r"a\.h5: the features of row 3 \(and 1 more rows\) are not finite"):
        read_features(stored(tmp_path / "a.h5", features))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_places_that_are_no_numbers_name_file_and_row(tmp_path, bad):
    places = np.zeros((6, 2))
    places[1, 0] = bad
    with pytest.raises(ImageError, match=r"a\.h5: the coords of row 1 are not finite"):
        read_features(stored(tmp_path / "a.h5", coords=places))


@pytest.mark.parametrize("far", [2**63 + 5, 2**41])
def test_places_beyond_any_image(far, tmp_path):
    """Unsigned numbers of 64 bits became negative."""
    places = np.zeros((6, 2), dtype=np.uint64)
    places[1, 0] = far
    with pytest.raises(ImageError, match="which no image has"):
        read_features(stored(tmp_path / "a.h5", coords=places))


@pytest.mark.parametrize(
    ("unit", "size"), [("pm", 250_000.0), ("angstrom", 2500.0), ("inch", 0.25 / 25_400), ("Mm", 2.5e-13)]
)
def test_coordinates_in_any_unit_of_length(unit, size, tmp_path):
    path = stored(tmp_path / "a.h5", coords=np.arange(12).reshape(-1, 2) * 100 * size, unit=unit)
    assert read_features(path, mpp=0.25).coords.tolist() == (np.arange(12).reshape(-1, 2) * 100).tolist()


def test_features_that_are_no_numbers_are_told_before_the_training(tmp_path):
    from zoomin.data.datamodule import DataConfig, ZoomInDataModule
    from zoomin.training.fit import RunConfig, new_task

    rows = ["image,label"]
    for number in range(12):
        Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / f"s{number}.png")
        rows.append(f"s{number}.png,{number % 2}")
        features = np.random.default_rng(number).normal(size=(40, 16)).astype(np.float32)
        features[3] = np.nan if number == 3 else 0
        stored(tmp_path / f"s{number}.h5", features)
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    data = DataConfig(root=str(tmp_path / "m.csv"))
    config = RunConfig(data, model=ABMILConfig(n_classes=2, features=f"stored:{tmp_path}"))
    with pytest.raises(DataError, match=r"s3\.h5: the features of row 3 are not finite numbers"):
        new_task(config, ZoomInDataModule(data, progress=False))


@pytest.mark.parametrize("unit", ["um", "µm", "μm", "microns", np.bytes_(b"micrometers"), "px", "nm"])
def test_the_unit_of_the_coordinates_is_read(tmp_path, unit):
    """Microns at 0.25 microns per pixel are off by 4 where the unit is not looked at."""
    text = unit.decode() if isinstance(unit, bytes) else unit
    factor = {"px": 1.0, "nm": 250.0}.get(text, 0.25)
    wanted = np.array([[0, 0], [128, 64], [4096, 8192]])
    path = stored(tmp_path / "a.h5", np.ones((3, 4), np.float32), wanted * factor, unit=unit)
    assert read_features(path, mpp=0.25).coords.tolist() == wanted.tolist()
    with h5py.File(path, "r+") as file:
        file["coords"].attrs["mpp"] = 0.25
    assert read_features(path).coords.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", ["Unit", "UNITS", "coordinate_units", "coords_unit", "spatial_unit"])
def test_the_unit_is_read_by_any_of_its_names(tmp_path, name):
    wanted = np.array([[0, 0], [128, 64], [4096, 8192]])
    path = stored(tmp_path / "a.h5", np.ones((3, 4), np.float32), wanted * 0.25, **{name: "um"})
    assert read_features(path, mpp=0.25).coords.tolist() == wanted.tolist()


def test_units_of_the_file_and_units_that_cannot_be_used(tmp_path):
    path = stored(tmp_path / "a.h5", unit="um")
    with pytest.raises(ImageError, match="coordinates are in um, and the size of the image's pixels is"):
        read_features(path)
    assert len(read_features(path, places=False).features) == 6
    with pytest.raises(ImageError, match="unknown unit 'furlongs'"):
        read_features(stored(tmp_path / "b.h5", units="furlongs"))
    with h5py.File(stored(tmp_path / "c.h5"), "r+") as file:
        file.attrs["unit"] = "um"
    assert read_features(tmp_path / "c.h5", mpp=0.5).coords[1].tolist() == [128, 192]


@pytest.mark.parametrize("kind", ["link", "dangling", "raw", "virtual"])
def test_arrays_in_other_files_are_refused(tmp_path, kind):
    other, path = stored(tmp_path / "other.h5"), tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = np.zeros((6, 2), int)
        if kind in ("link", "dangling"):
            file["features"] = h5py.ExternalLink("other.h5" if kind == "link" else "gone.h5", "features")
        elif kind == "raw":
            (tmp_path / "raw").write_bytes(bytes(96))
            file.create_dataset("features", (6, 4), "f4", external=[(str(tmp_path / "raw"), 0, 96)])
        else:
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource(str(other), "features", (6, 4))
            file.create_virtual_dataset("features", layout)
    with pytest.raises(ImageError, match=r"a\.h5: the .*(link to another file|lie in other files)"):
        read_features(path)


@pytest.mark.parametrize("name", ["features", "coords"])
def test_terabytes_that_are_not_there_are_refused(tmp_path, name):
    with h5py.File(stored(tmp_path / "a.h5"), "r+") as file:
        del file[name]
        file.create_dataset(name, (1 << 31, 512), "f4", chunks=(1024, 512))
    with pytest.raises(
        ImageError, match=rf"the array '{name}' declares 4.1e\+03 GiB and stores next to nothing"
    ):
        read_features(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.ones((3, 4), np.complex64), r"the features are complex numbers \(complex64\).*real part"),
        (np.array([[b"0.1", b"2"]] * 3), r"the features are text, not numbers"),
        (np.array([["0.1", "2"]] * 3, dtype=h5py.string_dtype()), r"the features are text, not numbers"),
        (np.zeros(3, [("a", "f4"), ("b", "f4")]), r"the features are records of several fields \(a, b\)"),
        (h5py.Empty("f4"), r"the array 'features' is empty"),
    ],
)
def test_features_of_another_type_are_not_called_damaged(tmp_path, features, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = features, np.zeros((3, 2), np.int64)
    with pytest.raises(ImageError, match=words) as caught:
        read_features(tmp_path / "a.h5")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.pt", "a.npz"])
def test_complex_features_of_other_toolkits_lose_no_part_in_silence(tmp_path, name):
    if name.endswith(".pt"):
        torch.save(torch.ones(3, 4, dtype=torch.complex64), tmp_path / name)
    else:
        np.savez(tmp_path / name, features=np.ones((3, 4), np.complex128))
    with pytest.raises(ImageError, match=r"complex numbers \(complex.*The file is whole"):
        read_features(tmp_path / name, places=False)


def test_places_that_are_text(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = np.ones((3, 4), np.float32), np.array([[b"0", b"1"]] * 3)
    with pytest.raises(ImageError, match="the coords are text, not numbers"):
        read_features(tmp_path / "a.h5")
