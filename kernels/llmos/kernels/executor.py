"""The real engine: the simulated one, with a model that does the work.

- `llmos.serving.Engine` takes every decision: who runs, which tokens, whose blocks. It asks its pacing
  how long an iteration takes; an `Executor` runs the iteration and says how long it took.
- So the simulated engine and the real one differ in nothing but where times come from, and both write
  the same log. Time is the processor's own: what the decisions take is not in it, nor are other programs.
- Every batch is kept, with what it took, so that it can be predicted and run again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from llmos.kernels.llama import Chunk
from llmos.serving.pacing import Pace

if TYPE_CHECKING:
    from llmos.kernels.llama import Model
    from llmos.kernels.watch import Watch
    from llmos.serving.engine import Batch, Share


@dataclass
class Executor:
    """Runs the batches of an engine on `model`, whose cache has as many blocks as the engine's KV memory."""

    model: Model
    watch: Watch
    ran: list[tuple[list[Chunk], float]] = field(default_factory=list)
    """The batches so far, each with its time in seconds."""

    def pace(self, batch: Batch) -> Pace:
        """Run one iteration; requests that wrote a token know which it is."""
        chunks = [_chunk(share) for share in batch.shares]
        tokens, seconds = self.watch.whole(partial(self.model.iterate, chunks))
        self.ran.append((chunks, seconds))
        writers = [share.request for share in batch.shares if share.samples]
        for request, token in zip(writers, tokens, strict=True):
            request.ids.append(token)
        return Pace(seconds * 1e9, 0.0, 1)

    def again(self) -> list[float]:
        """Run all batches once more, in their order; return their times in seconds."""
        return [self.watch.whole(partial(self.model.iterate, chunks))[1] for chunks, _ in self.ran]


def _chunk(share: Share) -> Chunk:
    """The tokens of a request that an iteration computes, and the blocks that hold its keys and values."""
    first, request = share.context - share.tokens, share.request
    ids = request.ids[first : share.context]
    return Chunk(ids, first, [page.frame for page in request.table], share.samples)
