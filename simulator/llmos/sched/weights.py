"""What the Unix schedulers share: weights from nice values, and virtual time.

- A nice level is worth about 10 % of the processor: each weight is 1.25 times the next.
- Virtual time is service that a task of weight 1024 (nice 0) would have had: it grows faster for a
  light task, slower for a heavy one. If all virtual times stay together, service follows the weights.
- It is kept in parts of 1/FINE of a unit of service, because a unit may be as large as a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NICE_0: Final = 1024
"""The weight of nice 0."""
LEAST_NICE: Final = -20
FINE: Final = 2**20
"""Parts of a unit of service in which virtual time is kept, so that not even a token is rounded away."""

WEIGHTS: Final = (
    88761, 71755, 56483, 46273, 36291,
    29154, 23254, 18705, 14949, 11916,
    9548, 7620, 6100, 4904, 3906,
    3121, 2501, 1991, 1586, 1277,
    1024, 820, 655, 526, 423,
    335, 272, 215, 172, 137,
    110, 87, 70, 56, 45,
    36, 29, 23, 18, 15,
)  # fmt: skip
"""The weights of nice -20 to 19 (sched_prio_to_weight in kernel/sched/core.c)."""


def weight(nice: int) -> int:
    """Return the weight of a nice value; outside of -20..19 it is that of the nearest.

    Source: kernel/sched/core.c, sched_prio_to_weight.
    """
    return WEIGHTS[min(max(nice - LEAST_NICE, 0), len(WEIGHTS) - 1)]


def virtual(delta: int, weight: int) -> int:
    """Return the virtual time that `delta` of service is for a task of `weight`, rounded down.

    Source: kernel/sched/fair.c, calc_delta_fair. Differs: the kernel multiplies by the inverse of the
    weight, 2^32 / weight, and may be off by a few millionths; this is exact before rounding.
    """
    return delta * NICE_0 // weight


@dataclass(slots=True, eq=False)
class Clock:
    """The virtual time of one task, or of a group: when it last began to count, and service since.

    It is taken from the sum, so that charging 3 and then 4 gives exactly what charging 7 gives.
    """

    weight: int
    start: int = 0
    """Virtual time (in parts) at which it began to count."""
    used: int = 0
    """Service since then."""

    @property
    def vruntime(self) -> int:
        """Its virtual time, in parts."""
        return self.start + virtual(self.used * FINE, self.weight)

    def restart(self, vruntime: int, weight: int) -> None:
        """Count from `vruntime` on, with `weight`."""
        self.start, self.used, self.weight = vruntime, 0, weight
