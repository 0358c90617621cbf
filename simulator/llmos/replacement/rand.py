"""Random replacement."""

from bisect import bisect_left
from collections import deque
from collections.abc import Container

from llmos.replacement.base import NONE, Dice, Key, ReplacementPolicy, Structure


class RandomChoice(ReplacementPolicy):
    """Random: lots are drawn who goes.

    It remembers nothing and costs nothing per hit, and has no worst case that a program could run into:
    in a loop that does not fit, where LRU and FIFO always miss, it hits now and then. On a program with
    locality it loses to LRU, since it throws out what is in use as readily as anything else.

    Parameters:
        draws: numbers from 0 up to 1 to use up first, in place of random ones (to replay an exercise).

    Source: OSTEP ch. 22 and its homework. Who is resident is numbered in the order of coming, from 0;
    out of n, the draw x means number int(x * n).
    Differs: if that one is spared, the next one that is not goes in its place.
    """

    name = "random"

    def __init__(self, rng: Dice, draws: list[float] | None = None) -> None:
        if any(not 0 <= draw < 1 for draw in draws or ()):
            raise ValueError("draws: they are 0 or more, and less than 1")
        self._rng = rng
        self._draws = deque(draws or ())
        self._clock = 0
        self._came: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._times: list[int] = []  # when each of `_keys` came: ascending, so a key is found by halving

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._clock += 1
        self._came[key] = self._clock
        self._keys.append(key)
        self._times.append(self._clock)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        pass

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        n = len(self._keys)
        first = int((self._draws.popleft() if self._draws else self._rng.random()) * n)
        in_turn = (self._keys[(first + step) % n] for step in range(n))
        return next((key for key in in_turn if key not in spared), None)

    def removed(self, key: Key) -> None:
        number = self._number(key)
        del self._came[key], self._keys[number], self._times[number]

    def reason(self, key: Key) -> str:
        return f"drawn: number {self._number(key)} of {len(self._keys)}, counted from 0"

    def show(self) -> Structure:
        return {"": [(key, "") for key in self._keys]}

    def _number(self, key: Key) -> int:
        return bisect_left(self._times, self._came[key])
