"""The map of one image as a Bokeh plot; its frame is level-0 pixels with y counted upwards, below 0."""

from __future__ import annotations

from typing import Any

from bokeh.core.properties import field, value
from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    HoverTool,
    InlineStyleSheet,
    PanTool,
    Plot,
    Quad,
    Range1d,
    TapTool,
    Text,
    TileRenderer,
    WheelZoomTool,
    WMTSTileSource,
)

from ...explanation.evidence import STAGES
from ...explanation.palette import AGAINST, BLOCK, FOR, TILE
from .outlines import Outlines
from .pyramid import PICTURE_TILE, Pyramid

__all__ = ["map_item"]

_TARGET = "map"
_MARGIN = 0.02  # of the image, around it at first


def map_item(pyramid: Pyramid, index: int, token: str, outlines: Outlines | None, *, roi: bool) -> Any:  # noqa: ANN401
    """The plot as what `Bokeh.embed.embed_item` takes.

    Args:
        pyramid: of the image.
        index: of the image, for the addresses of its picture tiles.
        token: of this start of the server, so that browsers do not show what they kept of another.
        outlines: drawn blocks, tiles and sub-tiles; None without an explanation.
        roi: whether there is an annotation.
    """
    plot = Plot(
        name="plot",
        x_range=Range1d(-_MARGIN * pyramid.width, (1 + _MARGIN) * pyramid.width, name="x"),
        y_range=Range1d(-(1 + _MARGIN) * pyramid.height, _MARGIN * pyramid.height, name="y"),
        toolbar_location=None,
        sizing_mode="stretch_both",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_alpha=0,
        min_border=0,
        lod_threshold=None,
        stylesheets=[InlineStyleSheet(css=".bk-Panel { display: none; }")],  # of attributions: there are none
    )
    wheel = WheelZoomTool(speed=1 / 400)
    plot.add_tools(PanTool(), wheel)
    plot.toolbar.active_scroll = wheel
    for name in ("pixels", *(STAGES if outlines else ()), *(("roi",) if roi else ())):
        renderer = TileRenderer(
            name=name,
            tile_source=_tiles(pyramid, f"image/{index}/{name}/{{Z}}/{{X}}/{{Y}}?s={token}"),
            alpha=0.85 if name in STAGES else 1,
            visible=name not in STAGES or name == "both",
            smoothing=name not in STAGES,
        )
        plot.renderers.append(renderer)
    if outlines:
        _add_outlines(plot, outlines)
    return json_item(plot, _TARGET)


def _tiles(pyramid: Pyramid, url: str) -> WMTSTileSource:
    """Addresses of picture tiles.

    Bokeh shows the last zoom that is not sharper than the screen: told that picture tiles have half of their
    pixels, it takes one that is at least as sharp as the screen.
    """
    nominal = PICTURE_TILE // 2
    side = PICTURE_TILE << pyramid.max_zoom
    return WMTSTileSource(
        url=url,
        tile_size=nominal,
        initial_resolution=side / nominal,
        min_zoom=0,
        max_zoom=pyramid.max_zoom,
        x_origin_offset=0,
        y_origin_offset=side,
        wrap_around=False,
    )


def _add_outlines(plot: Plot, outlines: Outlines) -> None:
    for kind, boxes, own, thick in (
        ("drawn_blocks", outlines.blocks, BLOCK, 3.0),
        ("drawn_tiles", outlines.tiles, TILE, 2.0),
    ):
        source = ColumnDataSource(_boxes(boxes), name=f"{kind}_source")
        for name, colour, width in ((f"{kind}_halo", "#111111", thick + 1.5), (kind, own, thick)):
            glyph = Quad(fill_alpha=0, line_color=colour, line_width=width, line_alpha=0.8, line_join="miter")
            plot.add_glyph(source, glyph, name=name)
    data = _boxes(outlines.sub_tiles)
    data["weight"] = [f"{weight:.2%}" for weight in outlines.weight]
    data["says"] = [f"{value:+.3f}" for value in outlines.evidence]
    data["colour"] = [FOR if value >= 0 else AGAINST for value in outlines.evidence]
    data["strength"] = outlines.strength
    sub_tiles = ColumnDataSource(data, name="sub_tiles_source")
    halo = Quad(fill_alpha=0, line_color="#ffffff", line_width=3.5, line_alpha="strength")
    plot.add_glyph(sub_tiles, halo, selection_glyph=None, nonselection_glyph=None, name="sub_tiles_halo")
    plain = Quad(fill_alpha=0, line_color="colour", line_width=2, line_alpha="strength")
    chosen = Quad(fill_alpha=0, line_color="colour", line_width=4, line_alpha=1)
    shown = plot.add_glyph(
        sub_tiles, plain, selection_glyph=chosen, nonselection_glyph=plain, name="sub_tiles"
    )
    plot.add_glyph(_numbers(outlines, data), _number_text(), name="sub_tile_numbers")
    label = f"for {outlines.label}"
    hover = HoverTool(
        renderers=[shown], tooltips=[("weight", "@weight"), (label, "@says")], attachment="horizontal"
    )
    plot.add_tools(hover, TapTool(renderers=[shown]))


def _numbers(outlines: Outlines, data: dict[str, list[Any]]) -> ColumnDataSource:
    """The numbers at an upper corner of their boxes: beside them, or within where another box touches."""
    return ColumnDataSource(
        {
            "x": [data["left" if each.is_inside else "right"][each.rank] for each in outlines.numbers],
            "top": [data["top"][each.rank] for each in outlines.numbers],
            "colour": [data["colour"][each.rank] for each in outlines.numbers],
            "number": [each.text for each in outlines.numbers],
            "baseline": ["top" if each.is_inside else "middle" for each in outlines.numbers],
            "down": [4 if each.is_inside else 0 for each in outlines.numbers],
        }
    )


def _number_text() -> Text:
    return Text(
        x="x",
        y="top",
        text="number",
        text_color="colour",
        text_font=value("system-ui, sans-serif"),
        text_font_style="bold",
        text_font_size="13px",
        text_baseline=field("baseline"),
        x_offset=3,
        y_offset=field("down"),
        padding=2,
        background_fill_color="#ffffff",
        background_fill_alpha=0.85,
        border_radius=3,
    )


def _boxes(regions: list[list[float]]) -> dict[str, list[Any]]:
    return {
        "left": [x for x, _, _, _ in regions],
        "right": [x + w for x, _, w, _ in regions],
        "top": [-y for _, y, _, _ in regions],
        "bottom": [-(y + h) for _, y, _, h in regions],
    }
