"""Pages in a real headless Chromium that may not leave the machine: requests, errors, screenshots."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from outside import browser_missing, chromium

REPOSITORY = Path(__file__).resolve().parent.parent
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 180_000  # milliseconds: a busy machine may take long for a page, which is no fault of the page


@dataclass
class Visit:
    """A page, and everything that happened on it.

    Attributes:
        page: of playwright.
        requests: addresses asked for.
        errors: uncaught errors, errors on the console, failed requests.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def shoot(self, name: str, *, full: bool = False) -> Path:
        """Keep a picture among the artefacts ($ZOOMIN_ARTIFACTS, else artifacts/)."""
        path = artifacts() / f"{name}.png"
        self.page.screenshot(path=path, full_page=full)
        return path


def artifacts() -> Path:
    """The folder of screenshots, made where missing; git ignores it."""
    folder = Path(os.environ.get("ZOOMIN_ARTIFACTS") or REPOSITORY / "artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _failed(seen: Visit, request: Any) -> None:
    """Note a failure; a page that is left ends what it was loading."""
    if request.failure != "net::ERR_ABORTED":
        seen.errors.append(f"failed: {request.url} ({request.failure})")


@contextmanager
def visit(
    address: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = 1280,
    height: int = 900,
    offline: bool = False,
) -> Iterator[Visit]:
    """Open an address in a browser of its own.

    Args:
        address: http://… or file://…
        scheme: the colours that the reader prefers.
        width: of the window, pixels.
        height: of the window, pixels.
        offline: without any network.
    """
    from playwright.sync_api import sync_playwright

    missing = browser_missing()
    if missing:
        pytest.fail(missing, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}, offline=offline
            )
            context.set_default_timeout(_PATIENCE)
            seen = Visit(context.new_page())
            seen.page.on("request", lambda request: seen.requests.append(request.url))
            seen.page.on("requestfailed", lambda request: _failed(seen, request))
            seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
            seen.page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
            seen.page.goto(address)
            yield seen
        finally:
            browser.close()
