"""A local HTTP server of a folder that answers requests of ranges and counts what it sends.

It is a process of its own: GDAL keeps Python's lock while it asks for some of what it needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

_COUNT = "/count-of-bytes"


class Traffic:
    """What the server has sent so far.

    Args:
        address: of the server.
    """

    def __init__(self, address):
        self._address = address

    @property
    def sent(self):
        with urlopen(self._address + _COUNT) as answer:
            return int(answer.read())


class _Counter:
    def __init__(self):
        self.sent, self._lock = 0, threading.Lock()

    def add(self, count):
        with self._lock:
            self.sent += count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, folder, counter, ranges):
        self.folder, self.counter, self.ranges = folder, counter, ranges
        super().__init__(*args)

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        if self.path == _COUNT:
            data = str(self.counter.sent).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        path = Path(self.folder) / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        status, start, stop = 200, 0, len(data)
        if asked and self.ranges:
            first, last = asked.groups()
            start = int(first) if first else max(0, len(data) - int(last))
            stop = min(len(data), int(last) + 1) if first and last else len(data)
            status = 206
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.wfile.write(data[start:stop])
            self.counter.add(stop - start)

    def log_message(self, *args):
        pass


@contextmanager
def serve(folder, *, ranges=True):
    """The address of a server of a folder, and its traffic."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(int(ranges))], stdout=subprocess.PIPE, text=True
    )
    try:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield address, Traffic(address)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    handler = partial(_Handler, folder=sys.argv[1], counter=_Counter(), ranges=sys.argv[2] == "1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
