"""The viewer's page in a real headless Chromium, on a slide of a gigapixel."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Visit, visit
from giant_slide import GiantSlide, make_giant_slide
from viewer_examples import example_explanation, running
from zoomin.app.viewer.collect import collect
from zoomin.errors import DataError
from zoomin.explanation import Entry, Index
from zoomin.explanation.index import write_index
from zoomin.images.open_image import open_image

PIXEL = """([x, y]) => {
  const canvas = zoominView.state.view.canvas_view.primary.canvas;
  const ratio = canvas.width / canvas.getBoundingClientRect().width;
  return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data];
}"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> GiantSlide:
    return make_giant_slide(tmp_path_factory.mktemp("slides") / "giant.tif")


@pytest.fixture(scope="module")
def run(slide: GiantSlide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that explained the slide, and another that was deleted since."""
    run = tmp_path_factory.mktemp("run")
    one = example_explanation(open_image(slide.path), slide.landmark, sub_tile_size=256)
    one.save(run / "explanations" / "giant")
    gone = slide.path.with_name("gone.tif")
    entries = [
        Entry.of(one, "giant"),
        Entry(str(gone), "normal", "tumour", {"normal": 0.3, "tumour": 0.7}, 0.02, "giant"),
    ]
    write_index(Index("a model", one.classes, tuple(entries)), run / "explanations")
    x, y = slide.landmark
    ring = [
        [x - 700, y - 600],
        [x + 700, y - 600],
        [x + 700, y + 600],
        [x - 700, y + 600],
        [x - 700, y - 600],
    ]
    roi = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (run / "roi.geojson").write_text(json.dumps(roi), encoding="utf-8")
    rows = f"image,label,annotation\n{slide.path},tumour,roi.geojson\n{gone},normal,\n"
    (run / "manifest.csv").write_text(rows, encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def site(run: Path, slide: GiantSlide) -> Iterator[str]:
    (slide.path.with_name("damaged.svs")).write_bytes(b"II*\0damaged")
    names = [str(slide.path), str(slide.path.with_name("gone.tif")), str(slide.path.with_name("damaged.svs"))]
    with running(collect(run, names)) as address:
        yield address


def until(seen: Visit, what: Callable[[], Any], seconds: float = 180) -> Any:
    """Wait for something to become true; the page's policy forbids playwright's own way of evaluating."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        seen.page.wait_for_timeout(30)  # requests are noted meanwhile
    return found


def opened(seen: Visit, index: int = 0) -> None:
    seen.page.wait_for_selector(f"body[data-ready='{index}']")


def looking(seen: Visit) -> dict[str, float]:
    return dict(seen.page.evaluate("() => zoominView.currentView()"))


def pixel(seen: Visit, x: float, y: float) -> list[int]:
    """The colour on the map, CSS pixels from its corner."""
    return list(seen.page.evaluate(PIXEL, [x, y]))


def middle(seen: Visit) -> list[int]:
    now = looking(seen)
    return pixel(seen, now["width"] / 2, now["height"] / 2)


@pytest.mark.browser
def test_from_the_overview_to_full_resolution(site: str, slide: GiantSlide) -> None:
    with visit(site, width=1440) as seen:
        page = seen.page
        opened(seen)
        start = looking(seen)
        assert start["resolution"] * start["width"] >= slide.side  # all of it
        until(seen, lambda: any("/pixels/" in url for url in seen.requests))
        assert page.inner_text("#run") and "32" in page.inner_text("#size")
        assert "gigapixels" in page.inner_text("#size")
        assert page.inner_text("#images li >> nth=0").split() == ["✓", "giant.tif", "88", "%", "tumour"]
        assert "± 1.2 %" in page.inner_text("#classes")
        assert page.inner_text("#scale").endswith("mm")
        page.wait_for_timeout(700)
        seen.shoot("viewer-overview-light")
        # the heaviest sub-tile lies on the yellow cross
        page.click("#place-0")
        until(seen, lambda: looking(seen)["resolution"] <= 1.0)
        now = until(seen, lambda: _at(seen, slide.landmark))
        assert abs(now["resolution"]) <= 1.0
        assert page.get_attribute("#place-0", "aria-current") == "true"
        until(seen, lambda: any("/pixels/6/" in url for url in seen.requests))  # the zoom of full resolution
        page.check("input[value=off]", force=True)
        until(seen, lambda: _close(middle(seen), (250, 220, 40)))
        page.check("input[value=both]", force=True)
        page.wait_for_timeout(700)
        seen.shoot("viewer-sub-tile")
        assert page.inner_text("#scale").endswith("µm")
        page.click("#fit")
        until(seen, lambda: looking(seen)["resolution"] * looking(seen)["width"] > slide.side)
        assert {url.split("/")[2] for url in seen.requests if url.startswith("http")} == {site.split("/")[2]}
        assert seen.errors == []


def _at(seen: Visit, place: tuple[int, int]) -> dict[str, float] | None:
    now = looking(seen)
    return now if abs(now["x"] - place[0]) < 1 and abs(now["y"] + place[1]) < 1 else None


def _close(seen: list[int], wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(seen, wanted, strict=False))


@pytest.mark.browser
def test_layers_opacity_wheel_and_drag(site: str, slide: GiantSlide) -> None:
    with visit(site, width=1440, scheme="dark") as seen:
        page = seen.page
        opened(seen)
        until(seen, lambda: any("/both/" in url for url in seen.requests))
        page.wait_for_timeout(600)
        seen.shoot("viewer-overview-dark")
        page.evaluate(
            "([x, y]) => zoominView.setView({x: x + 90, y: -y - 90, resolution: 1})", list(slide.landmark)
        )
        page.uncheck("#show-sub-tiles")
        page.fill("#opacity", "0")
        until(seen, lambda: _close(middle(seen), (30, 60, 200)))
        page.fill("#opacity", "100")
        page.check("input[value=tiles]", force=True)
        until(seen, lambda: any("/tiles/" in url for url in seen.requests))
        until(seen, lambda: not _close(middle(seen), (30, 60, 200)))
        full = until(seen, lambda: middle(seen))
        page.fill("#opacity", "50")
        until(seen, lambda: middle(seen) != full)
        page.check("input[value=positions]", force=True)
        until(seen, lambda: any("/positions/" in url for url in seen.requests))
        page.check("#show-tiles")
        page.check("#show-sub-tiles")
        page.uncheck("#show-roi")
        shown = "() => zoominView.state.view.model.renderers.filter((r) => r.visible).map((r) => r.name)"
        names = set(page.evaluate(shown))
        assert {"pixels", "positions", "drawn_tiles", "sub_tiles"} <= names
        assert not {"both", "tiles", "roi"} & names
        box = page.locator("#map").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = looking(seen)
        page.mouse.move(x, y)
        page.mouse.wheel(0, 400)
        until(seen, lambda: looking(seen)["resolution"] > before["resolution"])
        before = looking(seen)
        page.mouse.down()
        page.mouse.move(x + 100, y, steps=4)
        page.mouse.up()
        until(
            seen,
            lambda: (
                abs(looking(seen)["x"] - before["x"] + 100 * before["resolution"]) < 2 * before["resolution"]
            ),
        )
        for _ in range(25):  # fast: a hundred steps
            for step in (-200, 150, -180, 220):
                page.mouse.wheel(0, step)
        page.click("#theme")
        assert "dark" not in (page.get_attribute("html", "class") or "")
        assert seen.errors == []


@pytest.mark.browser
def test_what_cannot_be_shown_says_so_and_the_others_still_work(site: str) -> None:
    with visit(site, width=1440) as seen:
        page = seen.page
        opened(seen)
        page.click("#image-1")
        opened(seen, 1)
        assert "gone.tif" in page.inner_text("#problem")
        assert "✗" in page.inner_text("#image-1")
        assert page.locator("#places button").count() == 6  # the saved evidence is still there
        seen.shoot("viewer-image-gone")
        page.click("#image-2")
        opened(seen, 2)
        assert "damaged.svs" in page.inner_text("#problem")
        assert "zoomin explain" in page.inner_text("#answer")
        page.click("#image-0")
        opened(seen)
        assert page.locator("#problem").is_hidden()
        assert page.locator("#map .bk-Plot").count() == 1
        page.fill("#search", "damaged")
        assert page.locator("#images li:visible").count() == 1
        page.fill("#search", "")
        page.select_option("#filter", "wrong")
        assert page.locator("#images li:visible").all_inner_texts()[0].startswith("✗")
        assert seen.errors == []


def test_a_run_without_explanations_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="zoomin explain"):
        collect(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        collect(tmp_path / "none")


def test_collects_what_is_known(run: Path, slide: GiantSlide) -> None:
    first, second = collect(run).shown
    assert (first.path, first.label, first.prediction, first.right) == (slide.path, "tumour", "tumour", True)
    assert first.annotation == run / "roi.geojson" and first.explanation == run / "explanations" / "giant"
    assert (second.label, second.prediction, second.right) == ("normal", "tumour", False)
    assert second.probability == pytest.approx(0.7)
