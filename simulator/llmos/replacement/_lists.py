"""What policies made of lists share: who is first on one, and lists that must not grow for ever.

A list is an OrderedDict with its oldest key first: finding the oldest, moving to the end and forgetting are
O(1). Ghosts are keys without a place: only the memory that they had one.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Any

from llmos.replacement.base import NONE, Key


def first(keys: Iterable[Key], spared: Container[Key]) -> Key | None:
    """Return the first of `keys` who is not spared; None if all are."""
    if spared is NONE:
        return next(iter(keys), None)
    return next((key for key in keys if key not in spared), None)


def trim(ghosts: OrderedDict[Key, Any], most: int) -> None:
    """Forget the oldest of the `ghosts` until there are at most `most`."""
    while len(ghosts) > most:
        ghosts.popitem(last=False)


def drawn(keys: Iterable[Key], figure: str = "") -> list[tuple[Key, str]]:
    """Return `keys` as `ReplacementPolicy.show` gives them, with the same figure for each."""
    return [(key, figure) for key in keys]
