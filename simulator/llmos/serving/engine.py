"""A thin LLM engine: batches of requests under a token budget, no KV memory yet.

- It is a processor with many slots. The same dispatcher and the same policies that serve the cores
  fill it; service is counted in tokens.
- An iteration computes one token for each request that decodes and, with what is left of the token
  budget, prompt tokens of the others, in the order in which they were dispatched (chunked prefill).
- It takes base + per_token * tokens + per_context * context, from the cost model, and cannot be
  interrupted: arrivals, ticks and preemption wait for its end.
- Iterations in which the batch cannot change are one event (`skip`); the log, written out by
  `llmos.trace.expand`, is the same as if they had been stepped one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.process.dispatcher import Dispatcher, Slot
from llmos.sched.base import Why
from llmos.trace import events as ev
from llmos.trace.expand import Cost, iteration_ends

if TYPE_CHECKING:
    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.serving.request import Request
    from llmos.trace.log import Log


@dataclass(slots=True)
class Batch:
    """The iterations under way: who gets what, since when, and how many are done.

    `anchor` is when this composition began; `context` is the total context of its first iteration.
    """

    slots: list[Slot]
    prefill: list[tuple[int, int]]
    decode: list[int]
    anchor: int
    context: int
    done: int = 0
    last: int = 1
    """The number of the iteration at whose end the engine looks up again."""
    alarm: Alarm | None = field(default=None)

    @property
    def tokens(self) -> int:
        """Tokens per iteration."""
        return len(self.decode) + sum(chunk for _, chunk in self.prefill)


class Engine:
    """One accelerator that serves requests, as processor number `cpu`."""

    def __init__(
        self,
        sim: Simulation,
        log: Log,
        dispatcher: Dispatcher,
        order: Order,
        *,
        cpu: int,
        token_budget: int,
        cost: Cost,
        skip: bool = True,
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.dispatcher = dispatcher
        self.order = order
        self.cpu = cpu
        self.token_budget = token_budget
        self.cost = cost
        self.skip = skip
        self.requests: dict[int, Request] = {}
        self.unfinished = 0
        self.iterations = 0
        self._members: dict[int, Slot] = {}
        """The slots that are in use, by pid, in the order of dispatch."""
        self._batch: Batch | None = None
        self._busy = False
        self._asked = False
        self._tick_due = False
        self._misses: dict[int, Alarm] = {}
        dispatcher.processor = self

    # --- requests -----------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """Take a new request into the queue."""
        now = self.sim.now
        self.requests[request.pid] = request
        self.unfinished += 1
        request.arrival_ns = now
        request.upfront = request.prompt
        request.burst = request.remaining = request.prompt + request.output - 1
        if request.relative_deadline_ns is not None:
            deadline = request.deadline_ns = now + request.relative_deadline_ns
            self._misses[request.pid] = self.sim.at(deadline, self.order.decide, self._missed, request)
        self.emit(
            ev.Arrive(
                now,
                task=request.pid,
                name=request.name,
                world="request",
                priority=request.priority,
                tickets=request.tickets,
                client=request.client,
                deadline=-1 if request.deadline_ns is None else request.deadline_ns,
                prompt=request.prompt,
                output=request.output,
            )
        )
        self.dispatcher.admit(request, Why.ARRIVAL, self.cpu)

    def _missed(self, request: Request) -> None:
        deadline = request.deadline_ns or 0
        self.emit(ev.Miss(self.sim.now, task=request.pid, reason="not complete", deadline=deadline))

    # --- Processor: what the dispatcher asks of the engine ------------------------------------------

    def request(self, _dispatcher: Dispatcher | None = None) -> None:
        if self._busy:
            self._look_up_soon()
        elif not self._asked:
            self._asked = True
            self.sim.at(self.sim.now, self.order.decide, self._next)

    def begin(self, slot: Slot, overhead_ns: int) -> None:  # a batch changes for nothing
        if slot.task:
            self._members[slot.task.pid] = slot

    def halt(self, slot: Slot) -> None:
        if slot.handed_back:
            self._members.pop(slot.handed_back.pid, None)

    def sync(self, dispatcher: Dispatcher) -> None:
        """All service is charged at the end of an iteration, before anybody is asked."""

    def interrupt(self, cpu: int, irq: str, cost_ns: int, reason: str) -> None:
        """An iteration cannot be interrupted, and between two the engine takes no time."""

    def tick(self, dispatcher: Dispatcher) -> None:
        if self._busy:
            self._tick_due = True
            self._look_up_soon()
        else:
            self.dispatcher.tick()

    # --- iterations ---------------------------------------------------------------------------------

    def _next(self) -> None:
        """Decide who runs, and begin an iteration or a run of them."""
        if self._tick_due:
            self._tick_due = False
            self.dispatcher.tick()
        self._asked = False
        self.dispatcher.decide()
        batch = self._batch = self._compose()
        if batch:
            self._busy = True
            batch.last = batch.done + (self._horizon(batch) if self.skip else 1)
            self._set_alarm(batch)

    def _compose(self) -> Batch | None:
        """Give each member its tokens for the next iteration; a batch that has not changed goes on."""
        if not self._members:
            return None
        slots = list(self._members.values())
        requests: list[Request] = [slot.task for slot in slots]  # type: ignore[misc]  # members have tasks
        decode = [r.pid for r in requests if r.decoding]
        if len(decode) == len(slots):
            old = self._batch
            if old and old.decode == decode and not old.prefill:
                old.slots = slots
                return old
        left = self.token_budget - len(decode)
        prefill, context = [], 0
        for r in requests:
            if r.decoding:
                context += r.computed + 1
            elif left > 0:
                chunk = min(left, r.prompt - r.computed)
                left -= chunk
                prefill.append((r.pid, chunk))
                context += r.computed + chunk
        return Batch(slots, prefill, decode, self.sim.now, context)

    def _horizon(self, batch: Batch) -> int:
        """Return how many iterations can pass before a request or a quantum ends."""
        if batch.prefill:
            return 1
        left = [slot.task.remaining for slot in batch.slots if slot.task]
        left += [slot.quantum_left for slot in batch.slots if slot.quantum_left is not None]
        return min(left)

    def _ends(self, batch: Batch, j: int) -> int:
        return iteration_ends(batch.anchor, j, batch.tokens, batch.context, self.cost)

    def _set_alarm(self, batch: Batch) -> None:
        batch.alarm = self.sim.at(self._ends(batch, batch.last), self.order.iterated, self._ended)

    def _look_up_soon(self) -> None:
        """Something happened in the middle of a run: end it with the iteration that is under way."""
        batch, now = self._batch, self.sim.now
        if batch is None or batch.last == batch.done + 1 or batch.alarm is None:
            return
        low, high = batch.done + 1, batch.last
        while low < high:  # the first iteration that ends now or later
            middle = (low + high) // 2
            if self._ends(batch, middle) >= now:
                high = middle
            else:
                low = middle + 1
        if low < batch.last:
            self.sim.cancel(batch.alarm)
            batch.last = low
            self._set_alarm(batch)

    def _ended(self) -> None:
        """Hand out the tokens of the iterations that are done."""
        batch = self._batch
        if batch is None:
            return
        self._busy = False
        count, now = batch.last - batch.done, self.sim.now
        start = self._ends(batch, batch.done) if batch.done else batch.anchor
        self.emit(
            ev.Iterate(now, self.cpu, start=start, anchor=batch.anchor, first=batch.done + 1, count=count,
                       context=batch.context, prefill=batch.prefill, decode=batch.decode)
        )  # fmt: skip
        self.iterations += count
        batch.done, batch.alarm = batch.last, None
        chunks = dict(batch.prefill)
        for slot in batch.slots:
            request: Request = slot.task  # type: ignore[assignment]
            tokens = chunks.get(request.pid, 0) if not request.decoding else count
            if tokens:
                self._charge(slot, request, tokens)
        self.request()

    def _charge(self, slot: Slot, request: Request, tokens: int) -> None:
        was_decoding = request.decoding
        request.computed += tokens
        request.attained += tokens
        request.remaining -= tokens
        if slot.quantum_left is not None:
            slot.quantum_left -= tokens
        if self.dispatcher.charge:
            self.dispatcher.charge(request, tokens, self.sim.now)
        if request.decoding and not was_decoding:
            self.emit(ev.FirstToken(self.sim.now, self.cpu, request.pid))
        if request.remaining == 0:
            self._finish(slot, request)
        elif slot.quantum_left is not None and slot.quantum_left <= 0:
            self.dispatcher.expire(slot)

    def _finish(self, slot: Slot, request: Request) -> None:
        alarm = self._misses.pop(request.pid, None)
        if alarm:
            self.sim.cancel(alarm)
        del self._members[request.pid]
        self.unfinished -= 1
        self.emit(ev.Exit(self.sim.now, self.cpu, request.pid, "output complete"))
        self.dispatcher.remove(slot, Why.EXITED)
