"""How long an engine's iterations take: a law for as long as the batch stays the same.

- An engine asks for the `Pace` of a batch when it begins one. While nobody joins or leaves, iteration
  after iteration takes `first_ns`, then `growth_ns` more each time, since every context grows.
- A pace holds for `iterations`; then the engine asks again. None means for as long as the batch lasts.
- `Law` is three coefficients. `Predicted` is what a cost profile says of a model's operations, or of
  those of a variant (`llmos.costs.variants`). Anything else that answers `pace` will do: a real engine
  does the work and says how long it took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from llmos.costs.decoder import BLOCK_TOKENS, Composition

if TYPE_CHECKING:
    from llmos.costs.iteration import Predicts
    from llmos.serving.engine import Batch

STRETCH = 256
"""A prediction is drawn as a straight line until the longest context is a multiple of so many tokens."""


class Pace(NamedTuple):
    """Iteration number j (1, 2, ...) of a batch takes `first_ns + (j - 1) * growth_ns` nanoseconds."""

    first_ns: float
    growth_ns: float = 0.0
    iterations: int | None = None


class Pacing(Protocol):
    """Where an engine's times come from."""

    def pace(self, batch: Batch) -> Pace:
        """Return how long the next iterations of `batch` take."""
        ...


@runtime_checkable
class Foreseen(Pacing, Protocol):
    """A pacing that can tell beforehand, so that arrivals can ask for a load."""

    def request_ns(self, prompt: int, output: int, slots: int) -> float:
        """Return what a request of so many tokens takes of the engine's time when all `slots` are in use.

        That is its share of the iterations in which it decodes, and what its prompt adds to others.
        """
        ...


@dataclass(frozen=True, slots=True)
class Law:
    """An iteration takes base + per_token * tokens + per_context * context nanoseconds.

    context: the tokens, of all requests together, whose keys and values it reads.
    """

    base_ns: float
    per_token_ns: float
    per_context_ns: float = 0.0

    def pace(self, batch: Batch) -> Pace:
        first = self.base_ns + self.per_token_ns * batch.tokens + self.per_context_ns * batch.context
        return Pace(first, self.per_context_ns * batch.tokens)

    def request_ns(self, prompt: int, output: int, slots: int) -> float:
        context = prompt + output / 2
        decode = self.base_ns / slots + self.per_token_ns + self.per_context_ns * context
        return output * decode + prompt * self.per_token_ns


@dataclass(frozen=True, slots=True)
class Predicted:
    """An iteration takes what `model` predicts for its batch.

    While nobody joins or leaves, the contexts grow and the time with them: by a straight line to where
    the longest is a multiple of `STRETCH`. Both ends keep nine digits, to be alike on every machine.
    """

    model: Predicts
    block_tokens: int = BLOCK_TOKENS

    def pace(self, batch: Batch) -> Pace:
        now = composition(batch, self.block_tokens)
        first = self._ns(now)
        if now.prefill:
            return Pace(first, 0.0, 1)
        ahead = STRETCH - max(now.decode) % STRETCH
        later = Composition(
            (), tuple(context + ahead for context in now.decode), now.sampled, self.block_tokens
        )
        return Pace(first, float(f"{(self._ns(later) - first) / ahead:.8e}"), ahead)

    def request_ns(self, prompt: int, output: int, slots: int) -> float:
        others = Composition((), (prompt + output // 2,) * slots, slots, self.block_tokens)
        joined = Composition(((prompt, prompt),), others.decode, slots, self.block_tokens)
        decode = self._ns(others)
        return output * decode / slots + self._ns(joined) - decode

    def _ns(self, batch: Composition) -> float:
        return float(f"{self.model.predict(batch).seconds * 1e9:.8e}")


def composition(batch: Batch, block_tokens: int = BLOCK_TOKENS) -> Composition:
    """What the first iteration of `batch` is to the cost model; ask before it ends."""
    return Composition(
        tuple((share.tokens, share.context) for share in batch.shares if share.tokens > 1),
        tuple(share.context for share in batch.shares if share.tokens == 1),
        sum(share.samples for share in batch.shares),
        block_tokens,
    )
