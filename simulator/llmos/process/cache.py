"""A core's cache, as far as scheduling feels it: who works fast there, because he has worked there.

- A task is cold on a core until it has worked there for `warmup_ns`; then it is warm, and works at
  `warm_rate` (ns of work per 1000 ns). What is left of the warm-up is kept while the task is away.
- The working sets of the warm tasks fit into `size_bytes`. Who becomes warm goes in first; then those
  that have been warm the longest are evicted until the rest fits. Who is evicted starts all over.
- Using the cache does not refresh a task's place in it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmos.process.task import Process


@dataclass(slots=True, kw_only=True)
class Cache:
    """The cache of one core.

    Source: OSTEP ch. 10 and the rules of its multi.py.
    """

    size_bytes: int
    warmup_ns: int
    warm_rate: int
    warm: deque[Process] = field(default_factory=deque)
    """The warm tasks, the newest first."""
    cold: dict[int, int] = field(default_factory=dict)
    """What is left of the warm-up, in ns of time on the core, by pid."""

    def cold_left(self, process: Process) -> int:
        """Return how long (ns) `process` must still work here until it is warm; 0 = it is warm."""
        return self.cold.get(process.pid, self.warmup_ns)

    def is_warm(self, process: Process) -> bool:
        """Whether the working set of `process` is in the cache."""
        return process in self.warm

    def used(self, process: Process, ran_ns: int) -> None:
        """Note that `process` has worked here for `ran_ns`."""
        self.cold[process.pid] = max(0, self.cold_left(process) - ran_ns)

    def warm_up(self, process: Process) -> list[Process]:
        """Put `process` in, and return those who had to go (it may be `process` itself)."""
        self.warm.appendleft(process)
        evicted = []
        while sum(other.working_set_bytes for other in self.warm) > self.size_bytes:
            other = self.warm.pop()
            self.cold[other.pid] = self.warmup_ns
            evicted.append(other)
        return evicted

    def lose_all(self) -> None:
        """Let everybody be cold."""
        self.warm.clear()
        self.cold.clear()

    def forget(self, process: Process) -> None:
        """Drop what is left of the warm-up of a task that has exited.

        Its working set stays until it is evicted.
        """
        self.cold.pop(process.pid, None)
