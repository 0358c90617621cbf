"""The real engine: the simulated one, with a model that does the work.

- `llmos.serving.Engine` takes every decision: who runs, which tokens, whose blocks. It asks its pacing
  how long an iteration takes; an `Executor` runs the iteration and says how long it took.
- So the simulated engine and the real one differ in nothing but where times come from, and both write
  the same log. Time is the processor's own: what the decisions take is not in it, nor are other programs.
- With a probe beside every iteration (`steady`), the engine's clock runs as if the machine were as fast as
  it usually is.
- Every batch is kept, with what it took, so that it can be predicted and run again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from llmos.kernels.llama import Chunk
from llmos.serving.pacing import Pace

if TYPE_CHECKING:
    from llmos.kernels.llama import Iterates
    from llmos.kernels.steady import Steady
    from llmos.kernels.watch import Watch
    from llmos.serving.engine import Batch, Share


class Ran(NamedTuple):
    """A batch that was run: the seconds that it took, and how slow the machine was then, 1 for as usual."""

    chunks: list[Chunk]
    taken: float
    slowdown: float

    @property
    def seconds(self) -> float:
        """What it would have taken had the machine been as fast as it usually is."""
        return self.taken / self.slowdown


@dataclass
class Executor:
    """Runs the batches of an engine on `model`, whose cache has all the blocks of the engine's KV memory."""

    model: Iterates
    watch: Watch
    steady: Steady | None = None
    ran: list[Ran] = field(default_factory=list)
    """The batches so far."""

    def pace(self, batch: Batch) -> Pace:
        """Run one iteration; requests that wrote a token know which it is."""
        chunks = [_chunk(share) for share in batch.shares]
        tokens, ran = self._run(chunks)
        self.ran.append(ran)
        writers = [share.request for share in batch.shares if share.samples]
        for request, token in zip(writers, tokens, strict=True):
            request.ids.append(token)
        return Pace(ran.seconds * 1e9, 0.0, 1)

    def again(self) -> list[Ran]:
        """Run all batches once more, in their order."""
        return [self._run(ran.chunks)[1] for ran in self.ran]

    def _run(self, chunks: list[Chunk]) -> tuple[list[int], Ran]:
        slowdown = self.steady.slowdown() if self.steady else 1.0
        tokens, taken = self.watch.whole(partial(self.model.iterate, chunks))
        return tokens, Ran(chunks, taken, slowdown)


def _chunk(share: Share) -> Chunk:
    """The tokens of a request that an iteration computes, and the blocks that hold its keys and values."""
    first, request = share.context - share.tokens, share.request
    ids = request.ids[first : share.context]
    return Chunk(ids, first, [page.frame for page in request.table], share.samples)
