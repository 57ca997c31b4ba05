"""The viewer's pictures and its server; the page is tested in test_app_viewer_page.py."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from viewer_examples import example_explanation, running, save_png
from zoomin.annotations.mask import MaskAnnotation
from zoomin.app.viewer import collection as collections
from zoomin.app.viewer.collection import Collection, ShownImage
from zoomin.app.viewer.describe import describe
from zoomin.app.viewer.figure import map_item
from zoomin.app.viewer.layers import attention_tile, roi_tile
from zoomin.app.viewer.outlines import outlines
from zoomin.app.viewer.pyramid import PICTURE_TILE, EncodedTile, Pyramid, picture_tile
from zoomin.app.viewer.server import is_loopback, listen
from zoomin.app.viewer.service import Busy, Pictures
from zoomin.errors import ConfigError, ImageError
from zoomin.explanation import Explanation
from zoomin.explanation.evidence import STAGES
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.cache import Cache
from zoomin.images.open_image import open_image

# --------------------------------------------------------------------------- picture tiles


@pytest.mark.parametrize("size", [(1, 1), (512, 513), (1000, 3000), (100_000, 200_000)])
def test_picture_tiles_cover_the_image_at_every_zoom(size: tuple[int, int]) -> None:
    pyramid = Pyramid(*size)
    for zoom in range(pyramid.max_zoom + 1):
        side = PICTURE_TILE << (pyramid.max_zoom - zoom)
        rows, columns = -(-size[0] // side), -(-size[1] // side)
        last = pyramid.place(zoom, columns - 1, rows - 1)
        assert last is not None
        assert last.region == Region((columns - 1) * side, (rows - 1) * side, side, side)
        assert last.scale * side == PICTURE_TILE
        assert pyramid.place(zoom, columns, 0) is None
        assert pyramid.place(zoom, 0, rows) is None
    assert pyramid.place(0, 0, 0).region.width >= max(size)
    assert pyramid.place(pyramid.max_zoom + 1, 0, 0) is None
    assert pyramid.place(pyramid.max_zoom, 10**9, 10**9) is None


def pixels_of(picture: EncodedTile) -> np.ndarray:
    return np.asarray(PillowImage.open(io.BytesIO(picture.body)))


def test_picture_tile_is_what_the_image_reads(tmp_path: Path) -> None:
    image = open_image(save_png(tmp_path / "a.png", 700, 1100))
    pyramid = Pyramid(image.height, image.width)
    inner = picture_tile(image, pyramid.place(2, 0, 0))
    assert inner.kind == "image/jpeg"
    expected = image.read([Region(0, 0, 512, 512)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.abs(pixels_of(inner).astype(int) - expected).mean() < 3
    border = picture_tile(image, pyramid.place(2, 2, 1))
    assert border.kind == "image/webp"
    seen = pixels_of(border)
    assert (seen[:188, :76, 3] == 255).all()
    assert (seen[188:, :, 3] == 0).all() and (seen[:, 76:, 3] == 0).all()
    expected = image.read([Region(1024, 512, 76, 188)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.abs(seen[:188, :76, :3].astype(int) - expected).mean() < 5


# --------------------------------------------------------------------------- layers

AT = 1300, 850


@pytest.fixture(scope="module")
def image() -> ArrayImage:
    return ArrayImage(torch.full((3, 1501, 2203), 200, dtype=torch.uint8), name="grey")


@pytest.fixture(scope="module")
def one(image: ArrayImage) -> Explanation:
    return example_explanation(image, AT, tile_size=256, cells=16)


def values(one: Explanation, stage: str, region: Region, pixels: int) -> np.ndarray:
    step = region.width / pixels
    origin = float(region.y), float(region.x)
    return one.heat_map(pixels, pixels, (step, step), origin=origin, stage=stage).numpy()


def test_layers_are_the_heat_map_of_the_explanation(one: Explanation) -> None:
    """At two pixels per cell, over whole tiles: what `Explanation.heat_map` says."""
    side, cells = 256, 16
    region = Region(1024, 768, 512, 512)
    rows, columns = one.attention.shape
    grown = one.heat_map(1501, 2203)
    step = side // (2 * cells)
    expected = grown[768 : 768 + 512 : step, 1024 : 1024 + 512 : step].numpy()
    np.testing.assert_allclose(values(one, "both", region, 4 * cells), expected, rtol=1e-5)
    tiles = values(one, "tiles", region, 2)
    wanted = one.attention[3:5, 4:6] * rows * columns
    np.testing.assert_allclose(tiles, wanted.numpy(), rtol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("zoom", [0, 1, 2, 3])
def test_attention_peaks_at_its_place_at_every_zoom(one: Explanation, stage: str, zoom: int) -> None:
    pyramid = Pyramid(*one.size)
    cell = 256 if stage == "tiles" else 16
    best, found = -1.0, (0.0, 0.0)
    for row in range(4):
        for column in range(5):
            place = pyramid.place(zoom, column, row)
            if place is None:
                continue
            found_values = values(one, stage, place.region, 256)
            if found_values.max() > best:
                best = found_values.max()
                at = np.argwhere(found_values == best).mean(0)
                step = place.region.width / 256
                found = place.region.x + (at[1] + 0.5) * step, place.region.y + (at[0] + 0.5) * step
    reach = max(cell, place_side(pyramid, zoom) / 256)
    assert abs(found[0] - AT[0]) <= reach and abs(found[1] - AT[1]) <= reach


def place_side(pyramid: Pyramid, zoom: int) -> int:
    return PICTURE_TILE << (pyramid.max_zoom - zoom)


def test_averages_keep_the_mean(one: Explanation) -> None:
    whole = Region(0, 0, 9 * 256, 9 * 256)
    upper = values(one, "both", whole, 90)[:60]  # 6 of 9 rows of tiles
    assert upper.mean() == pytest.approx(1, rel=1e-3)


def test_attention_is_clear_at_its_mean_and_beyond_the_border(one: Explanation) -> None:
    pyramid = Pyramid(*one.size)
    picture = pixels_of(attention_tile(one, "tiles", pyramid.place(0, 0, 0)))
    shrink = 256 / place_side(pyramid, 0)
    x, y = int(AT[0] * shrink), int(AT[1] * shrink)
    assert picture[y, x, 3] > 100
    assert picture[2, 2, 3] == 0
    assert (picture[int(1501 * shrink) + 1 :, :, 3] == 0).all()
    assert (picture[:, int(2203 * shrink) + 1 :, 3] == 0).all()


def test_even_attention_shows_nothing(image: ArrayImage) -> None:
    one = example_explanation(image, AT, tile_size=256, cells=16)
    even = replace(one, attention=torch.full_like(one.attention, 1 / one.attention.numel()))
    picture = pixels_of(attention_tile(even, "tiles", Pyramid(*one.size).place(0, 0, 0)))
    assert picture[..., 3].max() == 0


def test_roi_is_outlined_where_it_is_and_the_smallest_shows() -> None:
    mask = np.zeros((1501, 2203), dtype=bool)
    mask[800:1000, 1200:1500] = True
    mask[100:103, 300:303] = True
    annotation = MaskAnnotation(mask, 1501, 2203)
    pyramid = Pyramid(1501, 2203)
    full = pixels_of(roi_tile(annotation, pyramid.place(3, 2, 1)))  # x from 1024, y from 512
    assert full.shape == (512, 512, 4)
    line = full[..., 3] == 255
    assert np.flatnonzero(line[400]).tolist() == [174, 175, 476, 477]
    assert np.flatnonzero(line[:, 300]).tolist() == [286, 287, 488, 489]
    small = pixels_of(roi_tile(annotation, pyramid.place(0, 0, 0)))
    assert (small[6:20, 30:46, 3] == 255).sum() > 10


# --------------------------------------------------------------------------- making pictures


def picture(size: int = 10) -> EncodedTile:
    return EncodedTile(b"x" * size, "image/png")


def test_a_picture_asked_for_by_many_is_made_once() -> None:
    pictures, made, gate = Pictures(threads=2), [], threading.Event()

    def make() -> EncodedTile:
        gate.wait(5)
        made.append(1)
        return picture()

    async def ask() -> None:
        waiting = [asyncio.ensure_future(pictures.get("k", make)) for _ in range(50)]
        await asyncio.sleep(0)
        assert pictures.waiting == 1
        waiting[0].cancel()
        gate.set()
        assert {one.body for one in await asyncio.gather(*waiting[1:])} == {b"x" * 10}
        await pictures.get("k", make)

    asyncio.run(ask())
    pictures.close()
    assert (len(made), pictures.waiting, pictures.bytes) == (1, 0, 10)


def test_what_nobody_waits_for_is_not_made() -> None:
    pictures, made, gate = Pictures(threads=1), [], threading.Event()

    def make(key: int) -> EncodedTile:
        gate.wait(5)
        made.append(key)
        return picture()

    async def ask() -> None:
        waiting = [asyncio.ensure_future(pictures.get(k, lambda k=k: make(k))) for k in range(20)]
        await asyncio.sleep(0.05)
        for task in waiting[1:19]:
            task.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(waiting[0], waiting[19])

    asyncio.run(ask())
    pictures.close()
    assert made == [0, 19]


def test_memory_and_waiting_are_bounded_and_errors_are_not_kept() -> None:
    pictures = Pictures(threads=1, cache_bytes=100, most_waiting=3)

    def fail() -> EncodedTile:
        raise ImageError("damaged", where="a.tif")

    async def ask() -> None:
        for k in range(50):
            await pictures.get(k, lambda: picture(30))
            assert pictures.bytes <= 100
        with pytest.raises(ImageError):
            await pictures.get("bad", fail)
        assert (await pictures.get("bad", lambda: picture(5))).body == b"x" * 5
        gate = threading.Event()
        waiting = [
            asyncio.ensure_future(pictures.get((k,), lambda: gate.wait(5) and picture())) for k in range(3)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await pictures.get("more", picture)
        gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    pictures.close()


def test_kept_makes_once_keeps_few_and_forgets_failures() -> None:
    kept: Cache[int] = Cache(2)
    made: list[int] = []

    def make(k: int) -> int:
        made.append(k)
        time.sleep(0.01)
        return k

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: kept.get_or_make("a", lambda: make(1)), range(8))) == {1}
    assert made == [1]
    for k in range(5):
        kept.get_or_make(k, lambda k=k: make(k))
    assert len(kept) == 2
    with pytest.raises(ValueError, match="no"):
        kept.get_or_make("bad", lambda: int("no"))
    assert kept.get_or_make("bad", lambda: 7) == 7


# --------------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("run")
    return _collection(folder)


def _collection(folder: Path) -> Collection:
    (folder / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    save_png(folder / "other.png", 600, 900, seed=3)
    shown = save_png(folder / "shown.png", 1501, 2203)
    one = example_explanation(open_image(shown), AT, tile_size=256, cells=16)
    one.save(folder / "explanations" / "shown")
    mask = np.zeros((1501, 2203), np.uint8)
    mask[800:1000, 1200:1500] = 255
    PillowImage.fromarray(mask).save(folder / "mask.png")
    saved = folder / "explanations" / "shown"
    return Collection(
        folder,
        [
            ShownImage(shown, 0.5, "tumour", "tumour", 0.9, saved, mask=folder / "mask.png"),
            ShownImage(folder / "damaged.png", None, "normal", None, None, None),
            ShownImage(folder / "gone.png", None, "normal", "tumour", 0.7, saved),
            ShownImage(folder / "other.png", None, None, "normal", 0.6, saved),
        ],
    )


@pytest.fixture(scope="module")
def site(collection: Collection) -> Iterator[str]:
    with running(collection) as address:
        yield address


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_only_who_has_the_printed_address_is_answered(collection: Collection) -> None:
    places = ["", "viewer.js", "bokeh.js", "images.json", "image/0.json", "image/0/pixels/0/0/0", "nothing"]
    with running(collection, secret="geheim") as address:
        for place in places:
            for wrong in ("", "?token=", "?token=Geheim", "?token=geheim2"):
                status, headers, body = ask(address + place + wrong)
                assert status == 403 and "Set-Cookie" not in headers
                assert b"Open the address that zoomin view has printed" in body or place == ""
        status, headers, _ = ask(f"{address}?token=geheim")
        cookie = headers["Set-Cookie"]
        assert status == 200 and "HttpOnly" in cookie and "SameSite=Lax" in cookie
        known = {"Cookie": cookie.split(";")[0]}
        assert [ask(address + place, **known)[0] for place in places] == [200] * 6 + [404]
        assert ask(f"{address}images.json", Cookie=known["Cookie"] + "x")[0] == 403
        assert ask(f"{address}?token=geheim", Host="evil.example")[0] == 403


def test_no_answer_tells_where_the_files_lie(collection: Collection, site: str) -> None:
    folder = collection.shown[0].path.parent
    for place in ("images.json", *(f"image/{n}.json" for n in range(len(collection.shown)))):
        text = ask(site + place)[2].decode()
        assert str(folder) not in text and str(folder.parent) not in text
    assert '"path": "shown.png"' in ask(f"{site}images.json")[2].decode()


def test_everything_the_page_needs_is_served_from_here(site: str) -> None:
    status, headers, body = ask(site)
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    page = body.decode()
    assert "http://" not in page and "https://" not in page
    for name in ("viewer.css", "viewer.js", "icon.svg", "bokeh.js"):
        assert name in page
        status, headers, body = ask(site + name)
        assert status == 200 and body
    script = ask(site + "bokeh.js", **{"Accept-Encoding": "gzip"})
    assert script[1]["Content-Encoding"] == "gzip" and len(script[2]) < 500_000


def test_list_and_answers(site: str) -> None:
    listed = json.loads(ask(site + "images.json")[2])
    assert [one["name"] for one in listed["images"]] == ["shown.png", "damaged.png", "gone.png", "other.png"]
    assert [one["right"] for one in listed["images"]] == [True, None, False, None]
    shown = json.loads(ask(site + "image/0.json")[2])
    assert (shown["height"], shown["width"], shown["mpp"], shown["roi"]) == (1501, 2203, 0.5, True)
    assert shown["problem"] is None and shown["explanation_problem"] is None
    assert sum(one["probability"] for one in shown["explanation"]["classes"]) == pytest.approx(1)
    first = shown["explanation"]["list"][0]
    assert first["region"] == [AT[0] - 32, AT[1] - 32, 64, 64]
    assert first["weight"] == pytest.approx(0.4)
    assert first["added"] == pytest.approx({"normal": -0.8, "tumour": 1.2})


def test_the_account_adds_up(site: str) -> None:
    explanation = json.loads(ask(site + "image/0.json")[2])["explanation"]
    account = explanation["account"]
    parts = [account[name]["evidence"] for name in ("start", "numbered", "others")]
    assert sum(parts) == pytest.approx(account["end"]["evidence"], abs=1e-5)
    assert account["numbered"]["count"] + account["others"]["count"] == explanation["sub_tiles"]
    assert account["end"]["probability"] == pytest.approx(
        max(c["probability"] for c in explanation["classes"])
    )
    assert account["start_words"] == "With nothing seen" and account["overview"] is None


def test_what_cannot_be_shown_says_so(site: str) -> None:
    damaged = json.loads(ask(site + "image/1.json")[2])
    assert "damaged.png" in damaged["problem"]["where"] and damaged["problem"]["remedy"]
    assert damaged["explain"].startswith("zoomin explain ") and "map" not in damaged
    gone = json.loads(ask(site + "image/2.json")[2])
    assert gone["problem"] and gone["explanation"]["list"]  # the saved evidence still shows
    assert ask(site + "image/2/crop/0")[0] == 200
    other = json.loads(ask(site + "image/3.json")[2])
    assert "2203 x 1501 pixels, this one has 900 x 600" in other["explanation_problem"]["what"]
    assert other["explanation"] is None and other["map"]


def test_an_image_written_again_shows_a_warning_and_its_explanation(tmp_path: Path) -> None:
    path = save_png(tmp_path / "again.png", 600, 900)
    open_as = open_image(path)
    one = example_explanation(open_as, (300, 300), tile_size=256, cells=16)
    found = path.stat()
    identity = (str(path.resolve()), found.st_size, found.st_mtime_ns)
    replace(one, source=replace(one.source, identity=identity)).save(tmp_path / "explanations" / "again")
    entry = ShownImage(path, explanation=tmp_path / "explanations" / "again")
    assert describe(Collection(tmp_path, [entry]), 0, "")["explanation_problem"] is None
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))
    shown = describe(Collection(tmp_path, [entry]), 0, "")
    assert "rewritten" in shown["explanation_problem"]["what"]
    assert shown["explanation"]["list"] and shown["map"]


def test_outlines_are_level_0_boxes(collection: Collection) -> None:
    drawn = outlines(collection.explanation(0))
    assert drawn.tiles[0] == [1280, 768, 256, 256]
    item = json.dumps(describe(collection, 0, "t")["map"])
    assert "image/0/pixels/{Z}/{X}/{Y}?s=t" in item
    plot = describe(collection, 0, "t")["map"]["doc"]["roots"][0]["attributes"]
    source = next(
        r["attributes"] for r in plot["renderers"] if r["attributes"].get("name") == "drawn_tiles_halo"
    )
    data = dict(source["data_source"]["attributes"]["data"]["entries"])
    assert (data["left"][0], data["right"][0], data["top"][0], data["bottom"][0]) == (1280, 1536, -768, -1024)


def test_numbers_stand_beside_boxes_and_within_those_that_touch(collection: Collection) -> None:
    drawn = outlines(collection.explanation(0))
    numbers = [each._replace(is_inside=k == 0) for k, each in enumerate(drawn.numbers)]
    plot = map_item(Pyramid(1501, 2203), 0, "t", replace(drawn, numbers=numbers), roi=False)
    shown = plot["doc"]["roots"][0]["attributes"]["renderers"]
    [source] = [r["attributes"] for r in shown if r["attributes"].get("name") == "sub_tile_numbers"]
    data = dict(source["data_source"]["attributes"]["data"]["entries"])
    x = drawn.sub_tiles[drawn.numbers[0].rank][0]
    assert (data["x"][0], data["baseline"][0]) == (x, "top")
    x, _, width, _ = drawn.sub_tiles[drawn.numbers[1].rank]
    assert (data["x"][1], data["baseline"][1]) == (x + width, "middle")


def test_pictures_are_served(site: str, collection: Collection) -> None:
    status, headers, body = ask(site + "image/0/pixels/3/1/1?s=x")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert body == picture_tile(collection.image(0), Pyramid(1501, 2203).place(3, 1, 1)).body
    for name in (*STAGES, "roi"):
        status, headers, body = ask(site + f"image/0/{name}/0/0/0")
        assert (status, headers["Content-Type"]) == (200, "image/png")
    crop = PillowImage.open(io.BytesIO(ask(site + "image/0/crop/0")[2]))
    assert crop.size == (64, 64)


OTHER_PLACES = [
    "secret.txt",
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/%2e%2e/etc/passwd",
    "image/../secret.txt",
    "image/0/../../secret.txt",
    "image/..%2f..%2fsecret.txt/pixels/0/0/0",
    "static/js/bokeh.min.js",
    "viewer.js/../collection.py",
    "collection.py",
    "page/viewer.js",
    "//etc/passwd",
    "image/0/pixels/0/0",
    "image/0/secrets/0/0/0",
    "image/-1.json",
    "image/4.json",
    "image/99999999999999999999.json",
    "image/4/pixels/0/0/0",
    "image/0/pixels/-1/0/0",
    "image/0/pixels/0/-1/0",
    "image/0/pixels/1.5/0/0",
    "image/0/pixels/0/1/0",
    "image/0/pixels/4/0/0",
    "image/0/pixels/3/999999999/999999999",
    "image/0/pixels/999999999/0/0",
    "image/0/pixels/3/9999999999999999999999/0",
    "image/0/pixels/nan/0/0",
    "image/0/crop/999999999",
    "image/1/both/0/0/0",
    "image/3/roi/0/0/0",
]


@pytest.mark.parametrize("address", OTHER_PLACES)
def test_nothing_else_is_served(site: str, address: str) -> None:
    status, _, body = ask(site + address)
    assert status in (400, 404, 500)
    assert b"secret" not in body and b"root:" not in body and b"Traceback" not in body
    assert status != 500 or address.startswith("image/1/")  # the damaged image's own message


def test_foreign_pages_cannot_reach_in(site: str, collection: Collection) -> None:
    assert ask(site + "images.json", Host="evil.example")[0] == 403
    assert ask(site + "images.json", Host="evil.example:8765")[0] == 403
    for through in ("localhost:9000", "127.0.0.1:1234", "[::1]:80"):  # a tunnel on any port
        assert ask(site + "images.json", Host=through)[0] == 200
    with running(collection, any_host=True) as open_site:
        assert ask(open_site + "images.json", Host="lab.example:8765")[0] == 200


def test_a_hundred_fast_requests_are_answered_in_bounded_memory(collection: Collection) -> None:
    pictures = Pictures(threads=2, cache_bytes=200_000)
    with running(collection, pictures) as site, ThreadPoolExecutor(16) as pool:
        places = [(3, x, y) for x in range(5) for y in range(3)] + [
            (2, x, y) for x in range(3) for y in range(2)
        ]
        urls = [f"{site}image/0/pixels/{z}/{x}/{y}" for z, x, y in places * 5][:100]
        answers = pool.map(ask, urls)
        listed = ask(site + "images.json")  # is answered in between
        assert listed[0] == 200
        assert {status for status, _, _ in answers} == {200}
    assert pictures.bytes <= 200_000 and pictures.waiting == 0


def test_an_image_that_breaks_while_shown_tells_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(ArrayImage):
        def read(self, regions, scale):
            raise ImageError("cannot be decoded", where=self.name)

    monkeypatch.setattr(
        "zoomin.images.open_image.open_image",
        lambda path, mpp: Breaking(np.zeros((9, 9), np.uint8)),
    )
    with running(Collection(tmp_path, [ShownImage(tmp_path / "a.png")])) as site:
        status, headers, body = ask(site + "image/0/pixels/0/0/0")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (500, "image/svg+xml", "no-store")
    assert b"cannot be read" in body


def test_ports() -> None:
    first = listen("127.0.0.1", 0)
    taken = first[0].getsockname()[1]
    with pytest.raises(ConfigError, match=rf"127.0.0.1:{taken}.*--port"):
        listen("127.0.0.1", taken)
    for wrong in (99999, -1):
        with pytest.raises(ConfigError, match=f"no port {wrong}"):
            listen("127.0.0.1", wrong)
    some = listen("127.0.0.1", None)
    assert some[0].getsockname()[1] > 0
    for one in first + some:
        one.close()


def test_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.8.8", "::1", "viewer.localhost"]))
    assert not any(
        map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.evil.example"])
    )


def test_loads_few(collection: Collection) -> None:
    assert collections._OPEN_IMAGES <= 8
    assert collection.explanation(1) is None
