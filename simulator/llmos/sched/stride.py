"""Stride scheduling, charged per client."""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace

from llmos.sched.base import SLICE, Scheduler, Service, Structure, Task, Why

STRIDE_1 = 2**20


@dataclass(slots=True)
class _Client:
    """Who is charged: its tickets, what it has used since it joined, and its tasks."""

    order: int
    tickets: int
    pass_: int = 0
    joined_at: int = 0
    """Pass with which the client last joined, or had its tickets changed."""
    used: int = 0
    """Service since then."""
    active: set[int] = field(default_factory=set)
    """Tasks that are ready or running."""
    ready: deque[Task] = field(default_factory=deque)
    listed: bool = False
    """Whether it has an entry in the heap."""

    def join(self, pass_: int, tickets: int) -> None:
        """Go on from `pass_` with so many tickets."""
        self.pass_ = self.joined_at = pass_
        self.tickets, self.used = tickets, 0

    def charge(self, service: int) -> None:
        # From the sum, so that charging 3 and then 4 gives exactly what charging 7 gives.
        self.used += service
        self.pass_ = self.joined_at + self.used * STRIDE_1 // self.tickets


class Stride(Scheduler):
    """Stride: shares of the processor in proportion to tickets, exactly, without dice.

    Every client has a pass, which grows by service divided by tickets; the client with the smallest
    pass runs. So nobody is ever further than one quantum from the share that the tickets promise.
    A client that comes back from a pause starts at the present pass: rest cannot be saved up.
    In an LLM engine, charged in tokens per tenant, this is fair queueing of tenants.

    Parameters:
        quantum: service per turn.

    Source: Waldspurger and Weihl 1995; OSTEP ch. 9. Ties go to the client that was seen first.
    Differs: a client whose tickets change keeps its pass, and only its next service counts anew.
    """

    depends_on = frozenset({"tickets"})

    def __init__(self, quantum: Service = SLICE) -> None:
        self._quantum = quantum
        self._clients: dict[str, _Client] = {}
        # One entry for each client that may have a ready task. A pass only grows, so the pass noted
        # there is never too large; `pick` puts it right when the entry comes to the top.
        self._heap: list[tuple[int, int, _Client]] = []
        self._present = 0

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        client = self._client(task)
        if not client.active:
            client.join(max(client.pass_, self._present), task.tickets)
        elif task.tickets != client.tickets and (why is Why.CHANGED or not task.client):
            client.join(client.pass_, task.tickets)
        client.active.add(task.pid)
        if why is Why.PREEMPTED:
            client.ready.appendleft(task)
        else:
            client.ready.append(task)
        if not client.listed:
            client.listed = True
            heappush(self._heap, (client.pass_, client.order, client))

    def pick(self, now: int) -> Task | None:
        heap = self._heap
        while heap:
            pass_, order, client = heap[0]
            if not client.ready:
                client.listed = False
                heappop(heap)
            elif pass_ < client.pass_:
                heapreplace(heap, (client.pass_, order, client))
            else:
                self._present = pass_
                return client.ready.popleft()
        return None

    def quantum(self, task: Task, now: int) -> int:
        return self._quantum

    def charge(self, task: Task, service: int, now: int) -> None:
        self._client(task).charge(service)

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._client(task).active.remove(task.pid)

    def withdraw(self, task: Task, now: int) -> None:
        client = self._client(task)
        client.ready.remove(task)
        client.active.remove(task.pid)

    def reason(self, task: Task, now: int) -> str:
        client = self._client(task)
        return f"smallest {self._figure(task, client)}; it has {client.tickets}"

    def show(self, now: int) -> Structure:
        clients = sorted(self._clients.values(), key=lambda client: (client.pass_, client.order))
        return {"": [(task, self._figure(task, client)) for client in clients for task in client.ready]}

    def _figure(self, task: Task, client: _Client) -> str:
        return f"pass, {task.amount(client.pass_ // STRIDE_1)} a ticket"

    def _client(self, task: Task) -> _Client:
        name = task.client or f"#{task.pid}"
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(len(self._clients), task.tickets)
        return client
