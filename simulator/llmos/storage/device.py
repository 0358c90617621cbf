"""A device with a service time and a queue.

- Requests are served first come, first served, by `servers` in parallel (0 = as many as there are
  requests). Completion raises an interrupt, which is the kernel's affair.
- A request may fail, if whoever has made it says what is to happen then. It takes its time all the same.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from llmos.trace.events import IoDone, IoStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.engine.order import Order
    from llmos.engine.simulation import Simulation
    from llmos.trace.log import Log


class Device:
    """A device called `name` that takes `service_ns` per request unless the request says otherwise."""

    def __init__(
        self, sim: Simulation, log: Log, order: Order, *, name: str, service_ns: int, servers: int = 1,
        bytes_per_s: int = 0,
    ) -> None:  # fmt: skip
        self.sim = sim
        self.emit = log.emit
        self.order = order
        self.name = name
        self.service_ns = service_ns
        self.servers = servers
        self.bytes_per_s = bytes_per_s
        """How fast it transfers data, beyond the service time; 0 = at once."""
        self.busy = 0
        self.paused_until = 0
        self.failures = 0
        """So many requests will fail, of those that end next."""
        self.queue: deque[tuple[int, int, Callable[[], None], Callable[[], None] | None]] = deque()

    def submit(
        self, pid: int, ns: int | None, done: Callable[[], None], failed: Callable[[], None] | None = None
    ) -> None:
        """Queue a request of task `pid`; `done` is called when it has been served.

        `failed` is called in its place if the device fails; without it the request cannot fail.
        """
        self.queue.append((pid, self.service_ns if ns is None else ns, done, failed))
        self._serve()

    def transfer_ns(self, size_bytes: int) -> int:
        """Return how long a request for so many bytes takes."""
        rate = self.bytes_per_s
        return self.service_ns + (-(-size_bytes * 10**9 // rate) if rate else 0)

    def pause(self, ns: int) -> None:
        """Begin no request for `ns`; what is being served goes on."""
        self.paused_until = max(self.paused_until, self.sim.now + ns)
        self.sim.at(self.paused_until, self.order.came, self._serve)

    def fail(self, requests: int) -> None:
        """Let so many requests fail, first of all those that are being served."""
        self.failures += requests

    def _serve(self) -> None:
        if self.sim.now < self.paused_until:
            return
        while self.queue and (self.busy < self.servers or not self.servers):
            pid, ns, done, failed = self.queue.popleft()
            self.busy += 1
            self.emit(IoStart(self.sim.now, task=pid, device=self.name, service_ns=ns))
            self.sim.at(self.sim.now + ns, self.order.came, self._done, pid, done, failed)

    def _done(self, pid: int, done: Callable[[], None], failed: Callable[[], None] | None) -> None:
        self.busy -= 1
        if failed and self.failures:
            self.failures -= 1
            self.emit(IoDone(self.sim.now, -1, pid, "input/output error", device=self.name, error="EIO"))
            failed()
        else:
            self.emit(IoDone(self.sim.now, task=pid, device=self.name))
            done()
        self._serve()
