"""`zoomin view`."""

from __future__ import annotations

import sys

from jsonargparse import ArgumentParser, Namespace

from .command import Command, option, say

__all__ = ["VIEW"]


def _build_view(parser: ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=str,
        default=[],
        help="image files, folders or glob patterns; by default all explained",
    )
    parser.add_argument("--run", type=str, required=True, help="folder of a finished run")
    option(
        parser,
        "--explanations",
        None,
        "folder that explain wrote; by default explanations in that of the run",
    )
    option(
        parser,
        "--manifest",
        None,
        "a CSV with labels, annotations and MPP of the images; by default the run's own",
    )
    option(
        parser,
        "--compare",
        None,
        "folder of a second run: its explanations beside those of --run, panned and zoomed together",
    )
    parser.add_argument(
        "--port", type=int | None, default=None, help="by default the first free port from 8765 up"
    )
    option(
        parser,
        "--host",
        "127.0.0.1",
        "address to listen on; by default only this computer can connect (through an SSH tunnel, too)",
    )
    option(parser, "--open", False, "open the page in a browser")


def _view(parser: ArgumentParser, options: Namespace) -> int:
    from ..viewer.run import view

    def ready(address: str, count: int, shared: bool) -> None:
        say(f"{count} image{'s' * (count != 1)}: {address}")
        say("Stop with Ctrl-C.")
        if shared:
            print(
                f"warning: everybody who reaches {options.host} and has this address can see the images; "
                "nothing is encrypted. Without --host, only this computer can.",
                file=sys.stderr,
            )

    view(
        options.run,
        options.images,
        explanations=options.explanations,
        manifest=options.manifest,
        compare=options.compare,
        host=options.host,
        port=options.port,
        open_browser=options.open,
        ready=ready,
    )
    return 0


VIEW = Command(
    "view explained images in a browser, from the overview to full resolution",
    "[IMAGES ...] --run FOLDER [--port PORT] [--open] [options]",
    "  zoomin view --run runs/first --open\n"
    "  zoomin view slides/a.svs --run runs/first\n"
    "  zoomin view --run runs/first --compare runs/second --open\n"
    "  ssh -L 8765:localhost:8765 server zoomin view --run runs/first --port 8765",
    _build_view,
    _view,
)
