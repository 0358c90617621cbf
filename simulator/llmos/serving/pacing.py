"""How long an engine's iterations take: a law for as long as the batch stays the same.

- An engine asks for the `Pace` of a batch when it begins one. While nobody joins or leaves, iteration
  after iteration takes `first_ns`, then `growth_ns` more each time, since every context grows.
- A pace holds for `iterations`; then the engine asks again. None means for as long as the batch lasts.
- `Law` is three coefficients. Anything else that answers `pace` will do: the predictions of a profile,
  or a real engine that does the work and says how long it took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from llmos.serving.engine import Batch


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
