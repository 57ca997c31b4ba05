"""The viewer's page for explanations of one stage, and for heads that see the overview, in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from browser import visit
from test_app_viewer_page import opened
from viewer_examples import example_explanation, running, save_png
from zoomin.app.viewer.collect import collect
from zoomin.explanation import Entry, Explanation, Index
from zoomin.explanation.index import write_index
from zoomin.images.open_image import open_image


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image explained with an overview, and another explained in one stage."""
    run = tmp_path_factory.mktemp("stages")
    entries: list[Entry] = []
    for name in ("overview", "one_stage"):
        path = save_png(run / f"{name}.png", 1200, 1600)
        one = change(example_explanation(open_image(path), (700, 600), tile_size=400), name)
        one.save(run / "explanations" / name)
        entries.append(Entry.of(one, name))
    write_index(Index("a model", one.classes, tuple(entries)), run / "explanations")
    return run


def change(one: Explanation, name: str) -> Explanation:
    if name == "overview":
        added = torch.tensor([-0.4, 0.6])
        return replace(one, bias=one.bias + added, logits=one.logits + added, overview_added=added)
    return replace(
        one,
        one_stage=True,
        tile_size=1600.0,
        attention=torch.ones(1, 1),
        tiles=torch.tensor([[0.0, 0.0, 1600.0, 1200.0]]).double(),
        alpha=torch.ones(1),
        beta=one.beta[:1],
        tile_crops=one.tile_crops[:0],
    )


@pytest.mark.browser
def test_the_overview_is_a_row_of_the_account(run: Path) -> None:
    with running(collect(run)) as site, visit(f"{site}#0", width=400) as seen:
        opened(seen, 0)
        rows = [row.split("\t") for row in seen.page.inner_text("#account").splitlines()]
        assert [row[0] for row in rows] == ["With nothing seen", "Overview", "6 heaviest sub-tiles", "Answer"]
        *parts, total = [float(row[1].replace("\N{MINUS SIGN}", "-")) for row in rows]
        assert parts[1] == pytest.approx(0.5)
        assert sum(parts) == pytest.approx(total, abs=0.02)
        seen.shoot("viewer_account_overview", full=True)
        assert not seen.errors


@pytest.mark.browser
def test_one_stage_has_one_attention_and_no_tiles(run: Path) -> None:
    with running(collect(run)) as site, visit(f"{site}#0") as seen:
        opened(seen, 0)
        assert seen.page.is_visible("#show-tiles")
        seen.page.check("#stage-tiles", force=True)
        seen.page.evaluate("() => zoominView.show(1)")
        opened(seen, 1)
        assert not seen.page.is_visible("#show-tiles")
        shown = seen.page.inner_text("#stages").split()
        assert shown == ["Attention", "On", "Off"]
        assert seen.page.is_checked("#stage-both")
        renderers = "zoominView.state.view.model.renderers"
        assert seen.page.evaluate(f"() => {renderers}.find((each) => each.name === 'both').visible")
        note = " ".join(seen.page.inner_text("#evidence-note").split())
        assert note.startswith("6 sub-tiles read, of 1 024 positions.")
        seen.shoot("viewer_one_stage")
        seen.page.check("#stages input[value=off]", force=True)
        assert not seen.page.evaluate(f"() => {renderers}.find((each) => each.name === 'both').visible")
        seen.page.evaluate("() => zoominView.show(0)")
        opened(seen, 0)
        assert seen.page.inner_text("#stages").split() == ["Attention", "Both", "Tiles", "Positions", "Off"]
        assert not seen.errors
