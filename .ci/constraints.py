"""Print `name==version` of everything that the project and its dev extra need here, transitively."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirements: list[str]) -> dict[str, str]:
    """Installed version of every distribution that the requirements lead to."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        for extra in {"", *need.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError as error:
                raise SystemExit(f"{name}: not installed. Run make install first.") from error
            versions[name] = found.version.split("+")[0]  # without the local part, such as +cpu
            further = [Requirement(text) for text in found.requires or []]
            waiting += [each for each in further if not each.marker or each.marker.evaluate({"extra": extra})]
    return versions


def wanted(project: dict[str, Any], *extras: str) -> list[str]:
    """What a project and some of its extras require; extras may name others of the same project."""
    needs = list(project["dependencies"]) if not extras else wanted(project)
    for text in (text for extra in extras for text in project["optional-dependencies"][extra]):
        need = Requirement(text)
        needs += wanted(project, *need.extras) if need.name == project["name"] else [text]
    return list(dict.fromkeys(needs))


if __name__ == "__main__":
    pyproject = Path(__file__).resolve().parent.parent / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    found = closure(wanted(project, "dev"))
    lines = [f"{name}=={version}" for name, version in sorted(found.items())]
    print("\n".join(["# Written by `make constraints`: the versions that CI runs on.", *lines]))
