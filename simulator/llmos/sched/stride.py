"""Stride scheduling, charged per client."""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

from llmos.sched.base import SLICE, Scheduler, Service, Task, Why

STRIDE_1 = 2**20


@dataclass(slots=True)
class _Client:
    """Who is charged: its tickets, what it has used since it joined, and its waiting tasks."""

    order: int
    tickets: int
    joined_at: int = 0
    """Pass with which the client last joined."""
    used: int = 0
    """Service since then."""
    active: int = 0
    """Tasks that are ready or running."""
    ready: deque[Task] = field(default_factory=deque)

    @property
    def pass_(self) -> int:
        # From the sum, so that charging 3 and then 4 gives exactly what charging 7 gives.
        return self.joined_at + self.used * STRIDE_1 // self.tickets


class Stride(Scheduler):
    """Stride: shares of the processor in proportion to tickets, exactly, without dice.

    Every client has a pass, which grows by service divided by tickets; the client with the smallest
    pass runs. So nobody is ever further than one quantum from the share that the tickets promise.
    A client that comes back from a pause starts at the present pass: rest cannot be saved up.
    In an LLM engine, charged in tokens per tenant, this is fair queueing of tenants.

    Parameters:
        quantum: service per turn.

    Source: Waldspurger and Weihl 1995; OSTEP ch. 9. Ties go to the client that was seen first.
    """

    def __init__(self, quantum: Service = SLICE) -> None:
        self._quantum = quantum
        self._clients: dict[str, _Client] = {}
        self._heap: list[tuple[int, int, _Client]] = []
        self._present = 0

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        client = self._client(task)
        if why in (Why.ARRIVAL, Why.WAKEUP):
            if not client.active:
                client.joined_at, client.used = max(client.pass_, self._present), 0
                client.tickets = task.tickets
            client.active += 1
        if why is Why.PREEMPTED:
            client.ready.appendleft(task)
        else:
            client.ready.append(task)
        heappush(self._heap, (client.pass_, client.order, client))

    def pick(self, now: int) -> Task | None:
        # A client's entry goes stale when its pass grows or its tasks have all been picked.
        while self._heap:
            pass_, _, client = heappop(self._heap)
            if client.ready and pass_ == client.pass_:
                self._present = pass_
                task = client.ready.popleft()
                if client.ready:
                    heappush(self._heap, (pass_, client.order, client))
                return task
            if client.ready and pass_ < client.pass_:
                heappush(self._heap, (client.pass_, client.order, client))
        return None

    def quantum(self, task: Task, now: int) -> int:
        return self._quantum

    def charge(self, task: Task, service: int, now: int) -> None:
        self._client(task).used += service

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._client(task).active -= 1

    def reason(self, task: Task, now: int) -> str:
        client = self._client(task)
        return f"smallest pass, {client.pass_ / STRIDE_1:.6g}, with {client.tickets} tickets"

    def _client(self, task: Task) -> _Client:
        name = task.client or f"#{task.pid}"
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(len(self._clients), task.tickets)
        return client
