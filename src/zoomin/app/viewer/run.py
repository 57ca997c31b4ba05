"""`zoomin view`, from the folder of a run to a page that answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import ZoomInError
from .collect import collect
from .collection import Collection
from .pyramid import EncodedTile
from .server import address, application, is_loopback, listen, serve
from .service import Pictures

__all__ = ["view"]

logger = logging.getLogger(__name__)


def view(
    run: str | Path,
    images: Sequence[str] = (),
    *,
    explanations: str | Path | None = None,
    manifest: str | Path | None = None,
    compare: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    ready: Callable[[str, int, bool], None] = lambda address, count, shared: None,
) -> None:
    """Show images and their explanations until interrupted. The model is never run.

    The address has a secret token, without which nothing is shown.

    Args:
        run: folder of the run.
        images: files, folders or glob patterns; by default all that are explained.
        explanations: folder that `zoomin explain` wrote; by default that of the run.
        manifest: a CSV with labels, annotations and MPP; by default that of the run.
        compare: folder of a second run, whose explanations of the images are shown beside those of the first.
        host: to listen on; others than the loopback let other computers connect.
        port: by default the first free one.
        open_browser: open the page.
        ready: called with the address, the number of images, and whether other computers can connect.

    Raises:
        ConfigError: if the port cannot be used.
        DataError: if there is nothing to show.
    """
    collection = collect(run, images, explanations=explanations, manifest=manifest)
    other = None if compare is None else collect(compare, images, manifest=manifest)
    for shown in filter(None, (collection, other)):
        if shown.doubt:
            logger.warning("%s: %s.", shown.run, shown.doubt)
    shared = not is_loopback(host)
    sockets = listen(host, port)
    secret = secrets.token_urlsafe(24)
    place = address(sockets, host, secret, "" if other is None else "compare.html")
    pictures = Pictures()

    def started() -> None:
        ready(place, len(collection.shown), shared)
        if open_browser:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, place)

    async def answer() -> None:
        first = asyncio.create_task(_open_first(collection, pictures))  # lives as long as it is held
        site = application(collection, pictures, other=other, any_host=shared, secret=secret)
        await serve(site, sockets, started)
        first.cancel()

    try:
        asyncio.run(answer())
    finally:
        pictures.close()


async def _open_first(collection: Collection, pictures: Pictures) -> None:
    """Load what draws a page and draw the first image, while the browser is on its way.

    A failure is reported to whoever asks for the same.
    """

    def problem() -> object:
        from .describe import describe

        return describe(collection, 0, "")["problem"]

    def overview() -> EncodedTile:
        from .draw import draw

        return draw(collection, 0, "pixels", (0, 0, 0))

    with suppress(ZoomInError, OSError, MemoryError, LookupError):
        if collection.shown and await pictures.run(problem) is None:
            await pictures.get(("", 0, "pixels", (0, 0, 0)), overview)
