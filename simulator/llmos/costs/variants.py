"""What becomes of an iteration's cost when a model is made smaller, shared, recorded or guessed ahead.

- `prune` and `shard` make another `ModelShape`: fewer heads and channels, or one device's part of them.
- `Graph` and `Speculative` stand before a model and answer `predict` in its place.
- `variant` puts together what somebody asks for. All of it is a what-if: a profile says what operations
  cost, and nobody has timed these combinations of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from llmos.costs.decoder import Composition, ModelShape
from llmos.costs.iteration import IterationModel, Predicts
from llmos.costs.model import Cost, CostModel
from llmos.errors import ProfileError

GRAPHS = ("eager", "static", "dynamic")
"""How operations get to the device:

- eager: one by one, each with a launch
- static: a whole iteration in one launch, recorded beforehand for 1, 2, 4, 8, ... requests
- dynamic: one by one, but the compiler has made one of every two that it can
"""
MULTIPLE = 8
"""Channels that are left after pruning are so many, or twice, three times ...: tensor cores want that."""


@dataclass(frozen=True, slots=True)
class Guessing:
    """A draft model guesses `tokens` tokens a round, of which each is right with probability `acceptance`."""

    draft: ModelShape
    tokens: int
    acceptance: float


def variant(
    costs: CostModel, shape: ModelShape, graph: str = "eager", guessing: Guessing | None = None
) -> Predicts:
    """What predicts iterations of `shape` that are run in that way.

    graph: one of `GRAPHS`, for the draft model too.
    """
    model = Graph(IterationModel(costs, shape), graph)
    if guessing is None:
        return model
    draft = Graph(IterationModel(costs, guessing.draft), graph)
    return Speculative(model, draft, guessing.tokens, guessing.acceptance)


def prune(shape: ModelShape, share: float) -> ModelShape:
    """The shape without that share (0 to below 1) of the MLP's channels and of the heads, at least one left.

    Heads go in groups, each with its keys and values, so that the KV cache shrinks as well.
    Source: X. Ma et al., LLM-Pruner, NeurIPS 2023: what depends on each other goes together.
    Differs: what the model then says is worse, and nothing here knows how much.
    """
    kept = max(1, round(shape.kv_heads * (1 - share)))
    channels = max(1, round(shape.ffn * (1 - share) / MULTIPLE)) * MULTIPLE
    heads = shape.heads // shape.kv_heads * kept
    return replace(shape, heads=heads, kv_heads=kept, ffn=min(channels, shape.ffn))


def shard(shape: ModelShape, devices: int, all_reduce: str = "ring") -> ModelShape:
    """The part of the shape that each of `devices` devices has: tensor parallelism.

    Heads, MLP channels and vocabulary are dealt out. Each layer's attention and MLP end with an
    all-reduce of tokens x hidden numbers, and so does the embedding; the logits are gathered.
    Raises ProfileError when they cannot be dealt out evenly.
    Source: M. Shoeybi et al., Megatron-LM, 2019, section 3.
    Differs: a device either computes or sends; no all-reduce is hidden behind a product.
    """
    parts = {"heads": shape.heads, "kv_heads": shape.kv_heads, "ffn": shape.ffn, "vocab": shape.vocab}
    if wrong := [name for name, count in parts.items() if count % devices]:
        even = [n for n in range(1, shape.kv_heads + 1) if not any(count % n for count in parts.values())]
        raise ProfileError(
            f"{parts[wrong[0]]} {wrong[0]} cannot be dealt out evenly to {devices} devices",
            hint=f"this model can be shared by: {', '.join(map(str, even))}",
        )
    shares: dict[str, Any] = {name: count // devices for name, count in parts.items()}
    return replace(shape, devices=devices, all_reduce=all_reduce, **shares)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model whose operations get to the device as `how`, one of `GRAPHS`, says.

    - eager: what the model predicts.
    - static: all launches but one are saved. The batch is filled up to the next recorded size with rows
      that cost as much as any. Batches that read prompts are not recorded, and run eagerly.
    - dynamic: a launch is saved for each residual sum that is one with the norm after it (all but the last,
      behind which only some rows go on), and for each rotation that is one with the KV write.

    Source: the sizes are recorded as vLLM's CUDA graphs are, for decoding only; what is fused is what
    TorchInductor makes of elementwise operations (Ansel et al., PyTorch 2, ASPLOS'24).
    Differs: fused operations save launches, not the bytes between them. Recording and compiling take no
    time, nor do a dynamic graph's guards.
    """

    model: IterationModel
    how: str = "eager"

    def predict(self, composition: Composition) -> Cost:
        """The cost of an iteration of that batch, which is not empty."""
        if self.how == "static" and not composition.prefill:
            padded = _recorded(composition)
            return self._without(self.model.launches(padded) - 1, self.model.predict(padded))
        saved = 3 * self.model.shape.layers - 1 if self.how == "dynamic" else 0
        return self._without(saved, self.model.predict(composition))

    def _without(self, launches: int, cost: Cost) -> Cost:
        """The cost with so many launches fewer; one is always left."""
        saved, least = launches * self.model.launch_s, self.model.launch_s
        seconds, low, high = (max(time - saved, least) for time in (cost.seconds, cost.low, cost.high))
        return Cost(seconds, low, high, cost.source)


def _recorded(composition: Composition) -> Composition:
    """The batch, filled up to the next power of two."""
    missing = (1 << (len(composition.decode) - 1).bit_length()) - len(composition.decode)
    return replace(
        composition,
        decode=composition.decode + (1,) * missing,
        sampled=composition.sampled + missing * (1 + composition.guesses),
    )


def tokens_per_round(guesses: int, acceptance: float) -> float:
    """How many tokens a round of `guesses` guesses yields in the mean, the one that is always right included.

    Source: Y. Leviathan et al., Fast Inference from Transformers via Speculative Decoding, ICML 2023, eq. 1.
    """
    return sum(acceptance**i for i in range(guesses + 1))


@dataclass(frozen=True, slots=True)
class Speculative:
    """A model whose next `guesses` tokens a draft guesses, one by one; then it checks all of them at once.

    An iteration of a batch that writes is the part of a round in which one token comes out: a round is
    `guesses` iterations of the draft and one of the model with `guesses` tokens more of each request.
    While prompts are read nothing is guessed; both models read them.

    Source: Y. Leviathan et al., ICML 2023, section 3.
    Differs: every request gets the mean number of tokens in every round, guesses are right independently
    of each other, and what was guessed in vain takes no KV blocks. Drawing from two distributions to
    keep the model's own costs nothing.
    """

    model: Predicts
    draft: Predicts
    guesses: int
    acceptance: float

    def predict(self, composition: Composition) -> Cost:
        """The cost of an iteration of that batch, which is not empty."""
        alone = self.draft.predict(composition)
        if composition.prefill:
            return _sum([(1.0, self.model.predict(composition)), (1.0, alone)])
        checked = replace(
            composition,
            decode=tuple(context + self.guesses for context in composition.decode),
            sampled=composition.sampled * (1 + self.guesses),
            guesses=self.guesses,
        )
        once = 1 / tokens_per_round(self.guesses, self.acceptance)
        return _sum([(once, self.model.predict(checked)), (once * self.guesses, alone)])


def _sum(parts: Iterable[tuple[float, Cost]]) -> Cost:
    """The costs added up, each so many times; the source is that of the first."""
    each = list(parts)
    return Cost(
        sum(times * cost.seconds for times, cost in each),
        sum(times * cost.low for times, cost in each),
        sum(times * cost.high for times, cost in each),
        each[0][1].source,
    )
