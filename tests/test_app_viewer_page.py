"""The viewer's page in a real headless Chromium, on a slide of a gigapixel."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from browser import Visit, visit
from giant_slide import GiantSlide, make_giant_slide
from viewer_examples import example_explanation, running, save_png
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
        page.check("input[value=tiles]", force=True)
        assert page.input_value("#opacity") == "50"  # of each layer its own
        page.check("input[value=both]", force=True)
        assert page.input_value("#opacity") == "100"
        _measured(seen, x, y)
        page.click("#theme")
        assert "dark" not in (page.get_attribute("html", "class") or "")
        assert seen.errors == []


def _measured(seen: Visit, x: float, y: float) -> None:
    """Two clicks measure a distance; a third begins another, dragging and wheel stay what they are."""
    page = seen.page
    page.keyboard.press("m")
    assert page.inner_text("#distance") == "Click both ends"
    resolution = looking(seen)["resolution"]
    page.mouse.click(x - 90, y - 40)
    page.mouse.move(x + 20, y + 10, steps=2)
    assert "px" in page.inner_text("#distance")
    page.mouse.click(x + 90, y + 40)
    page.mouse.move(x, y)  # does not change it
    said = page.inner_text("#distance")
    assert float(said.split("(")[1].split()[0].replace("\u202f", "").replace(",", "")) == pytest.approx(
        math.hypot(180, 80) * resolution, rel=0.02
    )
    seen.shoot("viewer-distance")
    page.mouse.click(x, y)
    page.mouse.wheel(0, -100)
    until(seen, lambda: looking(seen)["resolution"] < resolution)
    page.keyboard.press("Escape")
    assert page.is_hidden("#distance") and page.get_attribute("#measure", "aria-pressed") == "false"


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


@pytest.fixture(scope="module")
def second(run: Path, slide: GiantSlide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run, of three stages, that looked elsewhere in the slide; and an image of its own."""
    folder = tmp_path_factory.mktemp("second")
    x, y = slide.landmark
    elsewhere = (x - 3000, y + 2600)
    one = example_explanation(open_image(slide.path), elsewhere, sub_tile_size=256, blocks=4)
    one = replace(one, ood_p_value=0.02, abstained="unlike the training images")
    one.save(folder / "explanations" / "giant")
    small = save_png(folder / "small.png", 300, 400)
    plain = example_explanation(open_image(small), (120, 90), tile_size=64, sub_tile_size=16)
    plain.save(folder / "explanations" / "small")
    entries = (Entry.of(plain, "small"), Entry.of(one, "giant"))
    write_index(Index("a model", one.classes, entries), folder / "explanations")
    return folder


def each_pane(what: str) -> str:
    """What a script finds in both panes; nothing where one is not there yet."""
    inside = f"(({{document, zoominView}}) => zoominView?.state.view && {what})"
    return f"() => window.zoominCompare?.panes.map(({{frame}}) => {inside}(frame.contentWindow))"


@pytest.mark.browser
def test_drawn_blocks_are_outlined(second: Path) -> None:
    with running(collect(second)) as site, visit(f"{site}#1") as seen:
        opened(seen, 1)
        drawn = "zoominView.state.view.model.renderers.find((each) => each.name === 'drawn_blocks')"
        assert seen.page.evaluate(f"() => {drawn}.visible")
        note = seen.page.inner_text("#evidence-note")
        assert "in 2 blocks of 64" in note
        assert "abstained: unlike the training images (p = 0.020)" in seen.page.inner_text("#doubt").lower()
        assert "abstained, else tumour" in seen.page.inner_text(".verdict")
        assert "abstained, else tumour" in seen.page.inner_text("#image-1")
        assert seen.page.inner_text("#image-1").startswith("·")  # neither right nor wrong
        assert "abstained" not in seen.page.inner_text("#image-0")
        seen.page.select_option("#filter", "abstained")
        assert seen.page.locator("#images li:visible").count() == 1
        seen.page.select_option("#filter", "all")
        found = seen.page.evaluate(f"() => {drawn}.data_source.data")
        assert found["right"][0] - found["left"][0] == 4 * 1024 and len(found["left"]) == 2
        seen.shoot("viewer_blocks")
        seen.page.uncheck("#show-blocks")
        assert not seen.page.evaluate(f"() => {drawn}.visible")
        seen.page.evaluate("() => zoominView.show(0)")
        opened(seen, 0)
        assert not seen.page.is_visible("#show-blocks") and not seen.page.is_visible("#doubt")
        assert not seen.errors


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("dark", 1440), ("light", 400)])
def test_two_runs_side_by_side(run: Path, second: Path, scheme: Literal["light", "dark"], width: int) -> None:
    """The same image, panned and zoomed together; another image of another size, for itself."""
    views, ready = each_pane("zoominView.currentView()"), each_pane("document.body.dataset.ready")
    with (
        running(collect(run), other=collect(second)) as site,
        visit(f"{site}compare.html", scheme=scheme, width=width) as seen,
    ):
        until(seen, lambda: seen.page.evaluate(ready) == ["0", "1"])
        assert [
            *map(str, seen.page.evaluate("() => zoominCompare.panes.map(({name}) => name.textContent)"))
        ] == [
            run.name,
            second.name,
        ]
        left, right = seen.page.frames[1:3]
        left.evaluate("() => dispatchEvent(new Event('keydown'))")  # the left one leads
        left.evaluate("() => zoominView.flyTo(0)")

        def together() -> bool:
            one, other = seen.page.evaluate(views)
            return one["resolution"] <= 1 and all(
                abs(one[k] - other[k]) < 1e-6 for k in ("x", "y", "resolution")
            )

        until(seen, together)
        left.check("input[value=tiles]", force=True)
        assert right.evaluate("() => document.querySelector('input[value=tiles]').checked")
        left.evaluate("() => document.getElementById('fit').click()")
        until(seen, lambda: seen.page.evaluate(views)[1]["resolution"] > 2)
        seen.page.wait_for_timeout(1500)
        seen.shoot(f"viewer_compare_{scheme}_{width}", full=True)
        seen.page.select_option("section.pane:nth-of-type(2) select", "0")
        until(seen, lambda: seen.page.evaluate(ready) == ["0", "0"])
        assert seen.page.is_disabled("#link")
        before = seen.page.evaluate(views)[1]
        left.evaluate("() => zoominView.flyTo(0)")
        until(seen, lambda: seen.page.evaluate(views)[0]["resolution"] <= 1)
        assert seen.page.evaluate(views)[1] == before
        assert not seen.errors


@pytest.mark.browser
def test_two_images_of_a_run_from_the_page(second: Path) -> None:
    with running(collect(second)) as site, visit(site, width=1440) as seen:
        opened(seen, 0)
        seen.page.click("#compare")
        ready = (
            "() => window.zoominCompare?.panes.map(({frame}) => frame.contentDocument?.body?.dataset.ready)"
        )
        until(seen, lambda: seen.page.evaluate(ready) == ["0", "1"])
        assert not seen.page.frames[1].is_visible("header") and seen.page.frames[2].is_visible("#answer")
        assert not seen.errors


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
