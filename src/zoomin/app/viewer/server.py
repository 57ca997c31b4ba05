"""The viewer's server: one port, relative addresses, images by their number, nothing from outside."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import ipaddress
import json
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import tornado.httpserver
import tornado.httputil
import tornado.netutil
import tornado.web

from ...errors import ConfigError, ZoomInError
from .collection import Collection
from .pyramid import PICTURE_TILE, EncodedTile
from .service import Busy, Pictures

__all__ = ["DEFAULT_PORT", "address", "application", "is_loopback", "listen", "serve", "start"]

DEFAULT_PORT = 8765
_PORTS_TRIED = 20
_LAST_PORT = 65535
_PAGE = ("index.html", "compare.html", "viewer.css", "viewer.js", "compare.js", "icon.svg")
OTHER = "other"  # where the second run is
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SAFETY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self' data:; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_NO_SECRET = "Open the address that zoomin view has printed, with its token"
_NUMBER = "([0-9]{1,9})"


class _Site(NamedTuple):
    collection: Collection
    pictures: Pictures
    token: str
    any_host: bool
    secret: str | None
    place: str = ""
    other: Collection | None = None


class _Handler(tornado.web.RequestHandler):
    """Checks who asks, sends what others make, and turns errors into answers."""

    def initialize(self, site: _Site) -> None:
        self.site = site
        self._work: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", _SAFETY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def prepare(self) -> None:
        """Another site's name in the address means that a foreign page reaches for the images."""
        name = (tornado.httputil.split_host_and_port(self.request.host.lower()))[0].strip("[]")
        if not self.site.any_host and not is_loopback(name):
            raise tornado.web.HTTPError(403)
        self._check_secret()

    def _check_secret(self) -> None:
        """Whoever came once by the printed address is known by a cookie from then on."""
        secret = self.site.secret
        if secret is None:
            return
        name = f"zoomin-{hashlib.sha256(secret.encode()).hexdigest()[:8]}"  # another one for every viewer
        given = self.get_query_argument("token", "")
        if hmac.compare_digest(given.encode(), secret.encode()):
            self.set_cookie(name, secret, expires_days=None, httponly=True, samesite="Lax")
        elif not hmac.compare_digest((self.get_cookie(name) or "").encode(), secret.encode()):
            raise tornado.web.HTTPError(403, reason=_NO_SECRET)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")

    def number(self, text: str) -> int:
        """The index of an image that the viewer was started with."""
        if int(text) >= len(self.site.collection.shown):
            raise tornado.web.HTTPError(404)
        return int(text)

    def on_connection_close(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def until_closed(self, work: Awaitable[None]) -> None:
        """Do something that ends when the browser goes away."""
        self._work = asyncio.ensure_future(work)
        try:
            await self._work
        except asyncio.CancelledError:
            self.set_status(499, "Client Closed Request")

    def send(self, body: bytes, kind: str, *, keep: bool) -> None:
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "private, max-age=86400" if keep else "no-store")
        self.finish(body)


class _Page(_Handler):
    """The page itself, its style and its script; their names are fixed."""

    async def get(self, name: str = "index.html") -> None:
        body = (resources.files(__package__) / "page" / (name or "index.html")).read_bytes()
        kind = _KINDS[(name or "index.html").rsplit(".", 1)[1]]
        self.send(body, f"{kind}; charset=utf-8", keep=False)


class _Bokeh(_Handler):
    """Bokeh's script, as the installed package has it."""

    async def get(self) -> None:
        zipped = "gzip" in self.request.headers.get("Accept-Encoding", "")
        body = await self.site.pictures.run(lambda: _bokeh_script(zipped))
        if zipped:
            self.set_header("Content-Encoding", "gzip")
        self.send(body, "text/javascript; charset=utf-8", keep=True)


class _List(_Handler):
    """The list of images."""

    async def get(self) -> None:
        def make() -> bytes:
            from .describe import overview

            return json.dumps(overview(self.site.collection, self.site.token, self.site.other)).encode()

        self.send(await self.site.pictures.run(make), "application/json", keep=False)


class _Image(_Handler):
    """What is shown about one image."""

    async def get(self, index: str) -> None:
        number = self.number(index)

        def make() -> bytes:
            from .describe import describe

            return json.dumps(describe(self.site.collection, number, self.site.token)).encode()

        self.send(await self.site.pictures.run(make), "application/json", keep=False)


class _Picture(_Handler):
    """A picture of the map, or the crop of a sub-tile."""

    async def get(self, index: str, name: str, *place: str) -> None:
        number = self.number(index)
        numbers = tuple(int(text) for text in place)
        await self.until_closed(self._send(number, name, numbers))

    async def _send(self, index: int, name: str, place: tuple[int, ...]) -> None:
        def make() -> EncodedTile:
            from .draw import draw

            return draw(self.site.collection, index, name, place)

        try:
            picture = await self.site.pictures.get((self.site.place, index, name, place), make)
            self.send(picture.body, picture.kind, keep=True)
        except LookupError as error:
            raise tornado.web.HTTPError(404) from error
        except Busy as error:
            raise tornado.web.HTTPError(503) from error
        except (ZoomInError, OSError, MemoryError):
            self.set_status(500)
            self.send(_UNREADABLE.encode(), "image/svg+xml", keep=False)


_UNREADABLE = f"""<svg xmlns="http://www.w3.org/2000/svg" width="{PICTURE_TILE}" height="{PICTURE_TILE}">
<defs><pattern id="h" width="24" height="24" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="24" height="24" fill="#e5e7eb"/><rect width="4" height="24" fill="#9ca3af"/></pattern></defs>
<rect width="100%" height="100%" fill="url(#h)"/><text x="50%" y="50%" fill="#b91c1c" font-size="28"
font-family="sans-serif" text-anchor="middle" stroke="#fff" stroke-width="6" paint-order="stroke"
>cannot be read</text></svg>"""


def application(
    collection: Collection,
    pictures: Pictures,
    *,
    other: Collection | None = None,
    any_host: bool = False,
    secret: str | None = None,
) -> tornado.web.Application:
    """The site.

    Args:
        collection: the images; no others can be reached.
        pictures: makes and keeps the pictures.
        other: those of a second run, to be compared.
        any_host: answer whatever name the browser knows this computer by; else only names of the loopback.
        secret: answer only who gives it as `?token=`, once; by default anybody.
    """
    token = secrets.token_hex(4)
    first = _Site(collection, pictures, token, any_host, secret, other=other)
    routes = _routes(first)
    if other is not None:
        routes += _routes(_Site(other, pictures, token, any_host, secret, OTHER))
    return tornado.web.Application(
        routes,
        default_handler_class=_Nothing,
        default_handler_args={"site": first},
        compress_response=True,
        log_function=lambda handler: None,
    )


def _routes(site: _Site) -> list[tuple[str, type[_Handler], dict[str, _Site]]]:
    page = "|".join(name.replace(".", r"\.") for name in _PAGE)
    start = f"/{site.place}" if site.place else ""
    image = f"{start}/image/{_NUMBER}"
    own = {"site": site}
    return [
        (f"{start}/({page})?", _Page, own),
        (rf"{start}/bokeh\.js", _Bokeh, own),
        (rf"{start}/images\.json", _List, own),
        (rf"{image}\.json", _Image, own),
        (rf"{image}/(pixels|both|tiles|positions|roi)/{_NUMBER}/{_NUMBER}/{_NUMBER}", _Picture, own),
        (rf"{image}/(crop)/{_NUMBER}", _Picture, own),
    ]


class _Nothing(_Handler):
    """Every other address."""

    async def get(self) -> None:
        raise tornado.web.HTTPError(404)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this computer, to itself.

    Example:
        >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int | None) -> list[socket.socket]:
    """Sockets on the port, or by default on the first free one from `DEFAULT_PORT` on.

    Raises:
        ConfigError: if there is no such port or host, or the port is taken or may not be used.
    """
    if port is not None and not 0 <= port <= _LAST_PORT:  # the system would take another one
        raise ConfigError(
            f"there is no port {port}", where="--port", remedy=f"Give one from 1 to {_LAST_PORT}, or none."
        )
    ports = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED), 0]
    for tried in ports:
        try:
            return tornado.netutil.bind_sockets(tried, host)
        except OSError as error:
            if port is not None or isinstance(error, socket.gaierror):
                raise ConfigError(
                    f"cannot listen on {host}:{tried} ({error.strerror or error})",
                    where="--port",
                    remedy="Give another --port, or none to use a free one; see --host.",
                ) from error
    raise AssertionError("port 0 is always free")


def start(site: tornado.web.Application, sockets: list[socket.socket]) -> tornado.httpserver.HTTPServer:
    """Answer from now on, in the running event loop."""
    server = tornado.httpserver.HTTPServer(site)
    server.add_sockets(sockets)
    return server


async def serve(
    site: tornado.web.Application, sockets: list[socket.socket], ready: Callable[[], None]
) -> None:
    """Answer until interrupted or terminated; `ready` is called when the first request would be answered."""
    server = start(site, sockets)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(name, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop.set))
    ready()
    await stop.wait()
    server.stop()
    await server.close_all_connections()


@lru_cache(2)
def _bokeh_script(zipped: bool) -> bytes:
    script = (resources.files("bokeh") / "server" / "static" / "js" / "bokeh.min.js").read_bytes()
    return gzip.compress(script, 4) if zipped else script


def address(sockets: list[socket.socket], host: str, secret: str | None = None, page: str = "") -> str:
    """What to type into a browser."""
    port = sockets[0].getsockname()[1]
    shown = "localhost" if is_loopback(host) else socket.gethostname()
    return f"http://{shown}:{port}/{page}" + ("" if secret is None else f"?token={secret}")
