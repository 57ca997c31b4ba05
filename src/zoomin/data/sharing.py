"""How the images of a step are dealt to the processes that train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Share", "dealt"]


class Share(NamedTuple):
    """Which part of every batch is that of this process.

    Attributes:
        rank: of the process, from 0.
        of: number of processes.
    """

    rank: int = 0
    of: int = 1


def dealt(costs: Sequence[int], of: int) -> list[list[int]]:
    """Places dealt so that the sums of their costs are near each other: the dearest first, to who has least.

    A place may be the only one of a process; where there are fewer places than processes, some have none.

    Args:
        costs: of each place, such as the pixels of its image.
        of: number of processes.

    Returns:
        The places of each process, ascending.

    Example:
        >>> dealt([9, 1, 5, 4, 1], 2)
        [[0, 1], [2, 3, 4]]
    """
    parts: list[list[int]] = [[] for _ in range(of)]
    loads = [0] * of
    for place in sorted(range(len(costs)), key=lambda place: (-costs[place], place)):
        least = min(range(of), key=lambda rank: (loads[rank], len(parts[rank]), rank))
        parts[least].append(place)
        loads[least] += costs[place]
    return [sorted(part) for part in parts]
