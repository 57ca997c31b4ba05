"""Readers, networks, baselines and data sets from other packages, found by their entry points.

A package names what it brings in its `pyproject.toml` (docs/extend.md):

    [project.entry-points."zoomin.readers"]
    dots = "zoomin_dots.reader:READER"

Nothing of a plug-in is imported before it is needed. One that does not work is reported by its name and its
package, and disturbs nothing else. What zoomin itself brings wins over a plug-in of the same name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import ConfigError

__all__ = ["GROUPS", "IF_PLUGGED_IN", "PlugIn", "Registry", "Targets", "plug_ins"]

GROUPS = ("zoomin.readers", "zoomin.networks", "zoomin.baselines", "zoomin.datasets")
IF_PLUGGED_IN = "If another package brings it, install that package; zoomin doctor lists the plug-ins."

Thing = TypeVar("Thing")


class PlugIn(NamedTuple):
    """An entry point of an installed package.

    Attributes:
        group: one of `GROUPS`.
        name: what it is called.
        target: the module and the object in it, "module:object".
        package: name and version of the package.
    """

    group: str
    name: str
    target: str
    package: str

    def __str__(self) -> str:
        """How messages name it."""
        return f"the plug-in {self.name!r} ({self.group}) of {self.package}"

    def load(self) -> Any:  # noqa: ANN401 (what a stranger's module holds)
        """Import it.

        Raises:
            ConfigError: naming the plug-in and its package, whatever goes wrong inside it.
        """
        try:
            return EntryPoint(self.name, self.target, self.group).load()
        except Exception as error:  # a stranger's module may raise anything
            raise self.broken(f"{type(error).__name__}: {error}") from error

    def broken(self, why: str) -> ConfigError:
        """The error that names it and says what is wrong with it."""
        return ConfigError(
            f"{self} does not work ({why})",
            remedy="Update or uninstall that package; zoomin doctor lists all.",
        )

    def warn(self, error: Exception) -> None:
        """Report, once in a process, that it is left out."""
        known = isinstance(error, ConfigError)
        _warn_once(str(error if known else self.broken(f"{type(error).__name__}: {error}")))


@cache
def _warn_once(text: str) -> None:
    warnings.warn(f"left out: {text}", RuntimeWarning, stacklevel=3)


@cache
def plug_ins(group: str) -> tuple[PlugIn, ...]:
    """The entry points of a group, by name; nothing of them is imported."""
    found = {
        PlugIn(
            group, point.name, point.value, f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        )
        for point in entry_points(group=group)
    }
    return tuple(sorted(found))


class Targets(Mapping[str, Any]):
    """Things of zoomin by name that are imported on first use, as plug-ins are.

    Args:
        targets: "module:object" of each name.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        """Import nothing yet."""
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (what the module holds)
        """Import the thing of a name."""
        return EntryPoint(name, self._targets[name], "").load()

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._targets)

    def __len__(self) -> int:
        """The number of names."""
        return len(self._targets)

    def __contains__(self, name: object) -> bool:
        """Whether there is something of that name; nothing is imported."""
        return name in self._targets


class Registry(Mapping[str, Thing], Generic[Thing]):
    """What zoomin brings of one kind, by name, and after it what plug-ins bring.

    Iteration gives names and imports nothing. `registry[name]` imports that plug-in and raises a ConfigError
    if it does not work; `values()` and `items()` import all, and leave out those that do not work with a
    warning.

    Args:
        group: of the entry points.
        built_in: what zoomin brings.
        fits: whether an object is of the kind.
        wanted: what a plug-in must be, for the message if it does not fit.
        prefix: of the names of the entry points of this kind, where a group has several.
    """

    def __init__(
        self,
        group: str,
        built_in: Mapping[str, Thing],
        fits: Callable[[object], bool],
        wanted: str,
        prefix: str = "",
    ) -> None:
        """Keep the built-in ones; look for nothing yet."""
        self.group = group
        self.built_in = built_in
        self.prefix = prefix
        self._fits = fits
        self._wanted = wanted

    def __getitem__(self, name: str) -> Thing:
        """The thing of a name.

        Raises:
            ConfigError: if it is a plug-in that does not work.
        """
        if name in self.built_in:
            return self.built_in[name]
        return self.load(self._outside()[name])

    def load(self, plug_in: PlugIn) -> Thing:
        """What a plug-in brings.

        Raises:
            ConfigError: if it does not work, or is of another kind.
        """
        thing: Thing = plug_in.load()
        if not self._fits(thing):
            raise plug_in.broken(f"{plug_in.target} is {type(thing).__name__}, not {self._wanted}")
        return thing

    def __iter__(self) -> Iterator[str]:
        """The names: zoomin's own first."""
        yield from self.built_in
        yield from self._outside()

    def __len__(self) -> int:
        """The number of names."""
        return len(self.built_in) + len(self._outside())

    def __contains__(self, name: object) -> bool:
        """Whether there is something of that name; nothing is imported."""
        return name in self.built_in or name in self._outside()

    def values(self) -> ValuesView[Thing]:
        """All that work."""
        return {**self.built_in, **self.outside()}.values()

    def items(self) -> ItemsView[str, Thing]:
        """All that work, by name."""
        return {**self.built_in, **self.outside()}.items()

    def outside(self) -> dict[str, Thing]:
        """What plug-ins bring and works, by name; a warning names each that does not."""
        found = {}
        for name, plug_in in self._outside().items():
            try:
                found[name] = self.load(plug_in)
            except ConfigError as error:
                plug_in.warn(error)
        return found

    def plug_in(self, name: str) -> PlugIn:
        """The entry point behind a name that is not built in."""
        return self._outside()[name]

    def takes(self, plug_in: PlugIn) -> bool:
        """Whether a plug-in is of this registry, by its group and the form of its name."""
        return plug_in.group == self.group and plug_in.name.startswith(self.prefix)

    def problem(self, plug_in: PlugIn) -> str:
        """What is wrong with a plug-in of this registry; empty if nothing is."""
        name = plug_in.name.removeprefix(self.prefix)
        if name in self.built_in:
            return f"the name {name!r} is taken by zoomin"
        if (winner := self._outside()[name]) != plug_in:
            return f"the name {name!r} is taken by {winner.package}"
        try:
            self.load(plug_in)
        except ConfigError as error:
            return error.what
        return ""

    def _outside(self) -> dict[str, PlugIn]:
        """The entry points by their names here, without those whose name is taken."""
        found: dict[str, PlugIn] = {}
        for plug_in in plug_ins(self.group):
            name = plug_in.name.removeprefix(self.prefix)
            if self.takes(plug_in) and name not in self.built_in:
                found.setdefault(name, plug_in)
        return found
