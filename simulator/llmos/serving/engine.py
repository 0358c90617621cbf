"""An LLM engine: batches of requests under a token budget and, if it has one, a KV memory.

- It is a processor with many slots. The same dispatcher and the same policies that serve the cores
  fill it; service is counted in tokens.
- An iteration computes one token for each request that decodes and, with what is left of the token
  budget, prompt tokens of the others, in the order in which they were dispatched (chunked prefill).
- Its time comes from a `Pacing`: a law, a profile's predictions, or a real model that does the work. It
  cannot be interrupted: arrivals, ticks and preemption wait for its end.
- Every request needs KV blocks for what it has computed. When they run out, the youngest one loses its
  own: first of those who wait for a slot, then of those who have one. Who cannot get blocks is blocked.
- Iterations in which the batch cannot change are one event (`skip`); the log, written out by
  `llmos.trace.expand`, is the same as if they had been stepped one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from llmos.errors import LlmosError
from llmos.process.dispatcher import Dispatcher, Slot
from llmos.sched.base import Why
from llmos.serving.pacing import Pace, Pacing
from llmos.trace import events as ev
from llmos.trace.expand import iteration_ends

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.serving.kv import KvMemory
    from llmos.serving.request import Request
    from llmos.trace.log import Log


NO_BLOCK = "no free KV block"


@dataclass(slots=True)
class Share:
    """What one request gets of an iteration: `tokens` tokens computed, `context` tokens attended to."""

    slot: Slot
    request: Request
    tokens: int
    context: int
    decodes: bool

    @property
    def samples(self) -> bool:
        """Whether it computes all that the request has, so that an output token comes out."""
        return self.context == self.request.known


@dataclass(slots=True)
class Batch:
    """The iterations under way: who gets what, since when, and how many are done.

    `anchor` is when this composition began; the shares are those of its first iteration.
    """

    shares: list[Share]
    anchor: int
    pace: Pace = field(default_factory=lambda: Pace(0.0))
    done: int = 0
    last: int = 1
    """The number of the iteration at whose end the engine looks up again."""
    alarm: Alarm | None = field(default=None)

    @property
    def prefill(self) -> list[tuple[int, int]]:
        """Of each request that reads its prompt, the pid and how many tokens of it."""
        return [(share.request.pid, share.tokens) for share in self.shares if not share.decodes]

    @property
    def decode(self) -> list[int]:
        """The pids of those that write."""
        return [share.request.pid for share in self.shares if share.decodes]

    @property
    def tokens(self) -> int:
        """Tokens per iteration."""
        return sum(share.tokens for share in self.shares)

    @property
    def context(self) -> int:
        """The tokens that the first iteration attends to, of all requests together."""
        return sum(share.context for share in self.shares)


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
        pacing: Pacing,
        memory: KvMemory | None = None,
        skip: bool = True,
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.dispatcher = dispatcher
        self.order = order
        self.cpu = cpu
        self.token_budget = token_budget
        self.pacing = pacing
        self.memory = memory
        self.skip = skip
        self.requests: dict[int, Request] = {}
        self.unfinished = 0
        self.iterations = 0
        self._members: dict[int, Slot] = {}
        """The slots that are in use, by pid, in the order of dispatch."""
        self._waiting: dict[int, Request] = {}
        """Requests that have blocks but no slot, by pid, the one preempted last at the end."""
        self._blocked: list[Request] = []
        """Those who wait for blocks."""
        self._batch: Batch | None = None
        self._busy = False
        self._asked = False
        self._tick_due = False
        self._misses: dict[int, Alarm] = {}
        dispatcher.processor = self

    # --- requests -----------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """Take a new request into the queue.

        Raises LlmosError if it could never have all the KV blocks that it needs.
        """
        now = self.sim.now
        request.upfront = request.prompt
        request.burst = request.remaining = request.prompt + request.output - 1
        if self.memory and not self.memory.fits(request.burst):
            raise LlmosError(
                f"request {request.name} needs KV blocks for {request.burst} tokens; "
                f"there are {self.memory.blocks} of {self.memory.block_tokens} tokens",
                hint="give the engine more blocks, or shorten the request",
            )
        self.requests[request.pid] = request
        self.unfinished += 1
        request.arrival_ns = now
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
            self._waiting.pop(slot.task.pid, None)

    def halt(self, slot: Slot) -> None:
        if slot.handed_back:
            pid = slot.handed_back.pid
            self._members.pop(pid, None)
            if self.requests[pid].table:
                self._waiting[pid] = self.requests[pid]

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
        blocked = len(self._blocked)
        self._busy = True  # Who loses memory now may ask for a decision: it comes after this iteration.
        batch = self._batch = self._compose()
        self._busy = batch is not None
        if batch is None and len(self._blocked) > blocked:
            self.request()  # All who were picked wait for blocks now: let others have the slots.
        if batch:
            batch.last = batch.done + (self._horizon(batch) if self.skip else 1)
            self._set_alarm(batch)

    def _compose(self) -> Batch | None:
        """Give each member its tokens for the next iteration; a batch that has not changed goes on."""
        shares = self._shares()
        if not shares:
            return None
        old = self._batch
        if old and old.done != old.pace.iterations and all(share.decodes for share in old.shares + shares):
            pids = [share.request.pid for share in shares]
            if pids == old.decode:
                old.shares = [
                    Share(new.slot, new.request, 1, was.context, decodes=True)
                    for new, was in zip(shares, old.shares, strict=True)
                ]
                return old
        batch = Batch(shares, self.sim.now)
        batch.pace = self.pacing.pace(batch)
        return batch

    def _shares(self) -> list[Share]:
        """Share the token budget out: a token for each that decodes, the rest to prompts, in order."""
        members: list[tuple[Slot, Request]] = [(slot, slot.task) for slot in self._members.values()]  # type: ignore[misc]  # members have requests
        left = self.token_budget - sum(request.decoding for _, request in members)
        shares = []
        for slot, request in members:
            if request.pid not in self._members:
                continue  # it has lost its memory, and with it its place
            decodes = request.decoding
            if self.memory and not request.table:
                self._find(request, self.memory)
            tokens = 1 if decodes else min(left, request.known - request.computed)
            context = request.computed + tokens
            if tokens and (self.memory is None or self._has_room(request, context, self.memory)):
                left -= 0 if decodes else tokens
                shares.append(Share(slot, request, tokens, context, decodes))
        return [share for share in shares if share.request.pid in self._members]

    def _horizon(self, batch: Batch) -> int:
        """Return how many iterations can pass before a request, a quantum, a block or the pace ends."""
        if not all(share.decodes for share in batch.shares):
            return 1
        left = [share.request.remaining for share in batch.shares]
        left += [s.slot.quantum_left for s in batch.shares if s.slot.quantum_left is not None]
        if self.memory:
            left += [self.memory.left_in_block(share.request) for share in batch.shares]
        if batch.pace.iterations is not None:
            left.append(batch.pace.iterations - batch.done)
        return min(left)

    def _ends(self, batch: Batch, j: int) -> int:
        return iteration_ends(batch.anchor, j, batch.pace.first_ns, batch.pace.growth_ns)

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
        pace = (batch.pace.first_ns, batch.pace.growth_ns)
        self.emit(
            ev.Iterate(now, self.cpu, start=start, anchor=batch.anchor, first=batch.done + 1, count=count,
                       context=batch.context, pace=pace, prefill=batch.prefill, decode=batch.decode)
        )  # fmt: skip
        self.iterations += count
        batch.done, batch.alarm = batch.last, None
        for share in batch.shares:
            self._charge(share.slot, share.request, share.tokens * count)
        self.request()

    def _charge(self, slot: Slot, request: Request, tokens: int) -> None:
        was_decoding = request.decoding
        request.computed += tokens
        request.attained += tokens
        request.remaining -= tokens
        if was_decoding:
            request.written += tokens
        elif request.computed == request.known:
            request.written += 1
            if request.written == 1:
                self.emit(ev.FirstToken(self.sim.now, self.cpu, request.pid))
        if self.memory:
            self.memory.filled(request)
        if slot.quantum_left is not None:
            slot.quantum_left -= tokens
        if self.dispatcher.charge:
            self.dispatcher.charge(request, tokens, self.sim.now)
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
        if self.memory:
            self.memory.release(request)
            self._wake(self.memory)

    # --- KV memory ----------------------------------------------------------------------------------

    def _find(self, request: Request, memory: KvMemory) -> None:
        """Let a request that has no blocks share those of others that begin as it does."""
        tokens = memory.find(request)
        if tokens:
            request.computed += tokens
            request.remaining -= tokens
            self.emit(ev.Found(self.sim.now, self.cpu, request.pid, "the same beginning", tokens))

    def _has_room(self, request: Request, tokens: int, memory: KvMemory) -> bool:
        """Let `request` have blocks for its first `tokens` tokens, taken from younger ones if need be.

        The oldest request never gives any, so that somebody always gets on, however they take turns.
        """
        while not memory.make_room(request, tokens):
            victim = self._youngest(self._waiting) or self._youngest(self._members)
            if victim is None or _age(victim) <= _age(request):
                self._block(request)
                return False
            self._lose(victim, memory)
            if victim.pid in self._members:
                self._block(victim)
        return True

    def _youngest(self, pids: Iterable[int]) -> Request | None:
        return max((self.requests[pid] for pid in pids), key=_age, default=None)

    def _lose(self, victim: Request, memory: KvMemory) -> None:
        """Take all blocks from `victim`; it must compute again what it had computed."""
        memory.release(victim)
        self._waiting.pop(victim.pid, None)
        self.emit(ev.Lost(self.sim.now, self.cpu, victim.pid, NO_BLOCK, victim.computed))
        if victim.pid in self._members:
            _recompute(victim)
        else:
            self.dispatcher.change(victim, partial(_recompute, victim), NO_BLOCK)

    def _block(self, request: Request) -> None:
        """Let `request` leave its slot until there are blocks for it; those that it has it keeps for now."""
        slot = self._members.pop(request.pid)
        self._blocked.append(request)
        if request.table:
            self._waiting[request.pid] = request
        self.emit(ev.Block(self.sim.now, self.cpu, request.pid, NO_BLOCK, on="KV memory"))
        self.dispatcher.remove(slot, Why.BLOCKED)

    def _wake(self, memory: KvMemory) -> None:
        """Let those who wait for blocks be ready again, the oldest first, as far as there are enough."""
        left = memory.available
        for request in sorted(self._blocked, key=_age):
            left -= memory.missing(request, request.known)
            if left < 0:
                return
            self._blocked.remove(request)
            self.emit(ev.Wake(self.sim.now, task=request.pid, reason="there are KV blocks"))
            self.dispatcher.admit(request, Why.WAKEUP, self.cpu)


def _age(request: Request) -> tuple[int, int]:
    """What is less for older ones."""
    return request.arrival_ns, request.pid


def _recompute(request: Request) -> None:
    request.remaining += request.computed
    request.computed = 0
