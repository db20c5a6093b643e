"""Chains of workflows: the first of each may run, and each other one is held until one has ended.

With as many chains as workflows may run at once, the ends alone start the next ones. A chain that
runs dry leaves room, which the second half of the longest chain then takes.
"""

from __future__ import annotations

from collections.abc import Iterable

Chain = list[str]


def chains_of(left: Iterable[tuple[str, str | None]]) -> list[Chain]:
    """Return the chains of unfinished workflows.

    Args:
        left: Each with the workflow that it is held behind, if it is held. One that has ended holds
            nothing any more.
    """
    behind = dict(left)
    next_of = {before: after for after, before in behind.items() if before in behind}
    chains = []
    for first, before in behind.items():
        if before is None or before not in behind:
            chain = [first]
            while (following := next_of.get(chain[-1])) is not None:
                chain.append(following)
            chains.append(chain)
    return chains


def split(chains: list[Chain], limit: int) -> list[str]:
    """Split the longest chains until there are `limit`; return the firsts of the new ones.

    A chain of one can't be split.
    """
    released = []
    while 0 < len(chains) < limit:
        longest = max(chains, key=len)
        if len(longest) < 2:
            break
        middle = (len(longest) + 1) // 2
        chains.append(longest[middle:])
        del longest[middle:]
        released.append(chains[-1][0])
    return released
