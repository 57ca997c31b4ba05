"""`zoomin bench` and `zoomin doctor`: the machine and the installation."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from .command import Command, print_rich, say

__all__ = ["BENCH", "DOCTOR"]


def _build_nothing(parser: ArgumentParser) -> None:
    """A command without options."""


def _doctor(parser: ArgumentParser, options: Namespace) -> int:
    from ..console_tables import checks_table
    from ..doctor import examine

    checks = examine()
    print_rich(checks_table(checks))
    broken = [check for check in checks if check.status == "broken"]
    say(f"{len(broken)} things are broken." if broken else "Everything required works.")
    return int(bool(broken))


def _bench(parser: ArgumentParser, options: Namespace) -> int:
    raise AssertionError("bench parses its own options")


BENCH = Command(
    "measure speed against a simple reference implementation",
    "[options]",
    "  zoomin bench --help",
    _build_nothing,
    _bench,
)

DOCTOR = Command("check the installation", "", "  zoomin doctor", _build_nothing, _doctor)
