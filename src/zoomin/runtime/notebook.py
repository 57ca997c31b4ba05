"""What notebooks show of images, answers and runs: small, quickly made, and never an error."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Mapping
from html import escape
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "number", "or_nothing", "picture", "png", "table"]

P = ParamSpec("P")
T = TypeVar("T")
SIDE = 512  # longest side of a picture, pixels


def or_nothing(show: Callable[P, T | None]) -> Callable[P, T | None]:
    """What a method shows; None, with which a notebook shows the text instead, where it fails.

    Example:
        >>> or_nothing(lambda: 1 / 0)() is None
        True
    """

    @functools.wraps(show)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return show(*args, **kwargs)
        except Exception:  # a file that has gone must not hide the result of the cell
            return None

    return quiet


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 3) as a file."""
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def picture(data: bytes) -> str:
    """A PNG as an element of a page."""
    return f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def number(value: object) -> str:
    """A number as a table shows it; other values as text.

    Example:
        >>> number(0.123456), number(12), number(None)
        ('0.123', '12', '')
    """
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(title: str, rows: Mapping[str, object] | list[Mapping[str, object]]) -> str:
    """A title, and a table: of names and values, or of rows whose first one has the names of the columns.

    Example:
        >>> table("a run", {"loss": 0.5})
        '<p><b>a run</b></p><table><tr><th>loss</th><td>0.5</td></tr></table>'
    """

    def cells(values: list[object], tag: str) -> str:
        return "".join(f"<{tag}>{escape(number(value))}</{tag}>" for value in values)

    if isinstance(rows, list):
        names: list[object] = list(rows[0]) if rows else []
        lines = [cells(names, "th"), *(cells(list(row.values()), "td") for row in rows)]
    else:
        lines = [f"<th>{escape(name)}</th>{cells([value], 'td')}" for name, value in rows.items()]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<p><b>{escape(title)}</b></p><table>{body}</table>"
