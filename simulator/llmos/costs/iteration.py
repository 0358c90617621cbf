"""The cost of one iteration of an LLM engine, summed from the costs of its operations.

- One iteration sends `tokens` new tokens (of all requests together) through every layer, while the
  attention reads the keys and values of `context` tokens.
- The law is a + b*tokens + c*context seconds. a and b are fitted to sums of predicted operations;
  c is the bytes of keys and values of one token over the memory bandwidth.
- A straight line through a curve with a knee is wrong in places: `fit` says by how much, and the
  interval includes it.
- a, b and c keep nine digits, so that sums of them round alike on every machine.

Source: the operations are those of a decoder with grouped-query attention and a gated MLP; the law
follows the fitted decode law of DistServe (Zhong et al., OSDI'24).
Differs: norms, rotary, activation and the attention's arithmetic count as one launch each, with no
time of their own; one device, no communication.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmos.costs.model import CostModel
from llmos.costs.ops import DTYPE_BYTES, Matmul, VectorAdd
from llmos.costs.profile import Spread
from llmos.errors import ProfileError, did_you_mean

# Token counts of the fit, from one decoding request to a usual engine's largest iteration.
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
# Only the last token of each request needs the vocabulary; more than this rarely end in one iteration.
MOST_SAMPLED = 64
# Two norms, rotary, KV write, attention and activation: launched, and taken to cost no more than that.
SMALL_OPS_PER_LAYER = 6


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder: `kv_heads` below `heads` is grouped-query attention.

    tied: the embedding is also the output matrix. dtype: a key of `DTYPE_BYTES`, for weights and KV.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    dtype: str = "bf16"

    @property
    def qkv_width(self) -> int:
        """Outputs of the joint query, key and value projection."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def parameters(self) -> int:
        """Weights of the whole model, norms included."""
        attention = self.hidden * (self.qkv_width + self.heads * self.head_dim)
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * layer + (1 if self.tied else 2) * self.vocab * self.hidden + self.hidden

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token keeps, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * DTYPE_BYTES[self.dtype]


SHAPES = {
    "tiny-20m": ModelShape(6, 512, 8, 4, 64, 1536, 2048, tied=True, dtype="fp32"),
    "qwen3-0.6b": ModelShape(28, 1024, 16, 8, 128, 3072, 151_936, tied=True),
    "llama-2-7b": ModelShape(32, 4096, 32, 32, 128, 11_008, 32_000),
    "llama-3-8b": ModelShape(32, 4096, 32, 8, 128, 14_336, 128_256),
    "llama-3-70b": ModelShape(80, 8192, 64, 8, 128, 28_672, 128_256),
}


@dataclass(frozen=True, slots=True)
class IterationCost:
    """The law `base_s + per_token_s * tokens + per_context_s * context`, in seconds.

    low, high: factors on it, between which the operations' own predictions and the fit's residuals
    lie. fit: the line's relative distance from the sums that it was fitted to; worst: its largest.
    """

    base_s: float
    per_token_s: float
    per_context_s: float
    source: str
    low: float = 1.0
    high: float = 1.0
    fit: Spread | None = None
    worst: float = 0.0

    def seconds(self, tokens: int, context: int) -> float:
        """The time of an iteration of that many new tokens over that much context (tokens)."""
        return self.base_s + self.per_token_s * tokens + self.per_context_s * context


def model_shape(name: str, dtype: str | None = None) -> ModelShape:
    """The named shape, with its weights in `dtype` when that is given.

    Raises ProfileError when there is no such shape or dtype.
    """
    if name not in SHAPES:
        hint = did_you_mean(name, SHAPES) or f"there are: {', '.join(SHAPES)}"
        raise ProfileError(f"unknown model shape {name[:80]!r}", hint=hint)
    if dtype is None:
        return SHAPES[name]
    if dtype not in DTYPE_BYTES:
        raise ProfileError(f"unknown dtype {dtype[:80]!r}", hint=f"there are: {', '.join(DTYPE_BYTES)}")
    return replace(SHAPES[name], dtype=dtype)


def operations(shape: ModelShape, tokens: int) -> list[tuple[int, Matmul | VectorAdd]]:
    """The timed operations of one iteration, each with how often it is run."""
    hidden, dtype, width = shape.hidden, shape.dtype, shape.heads * shape.head_dim
    return [
        (shape.layers, Matmul(tokens, hidden, shape.qkv_width, dtype)),
        (shape.layers, Matmul(tokens, width, hidden, dtype)),
        (shape.layers, Matmul(tokens, hidden, 2 * shape.ffn, dtype)),  # gate and up in one
        (shape.layers, Matmul(tokens, shape.ffn, hidden, dtype)),
        (2 * shape.layers, VectorAdd(tokens * hidden, dtype)),  # the two residual sums
        (1, Matmul(min(tokens, MOST_SAMPLED), hidden, shape.vocab, dtype)),
    ]


def fit_iteration(costs: CostModel, shape: ModelShape, tokens: Sequence[int] = TOKENS) -> IterationCost:
    """The linear law nearest to the predicted sums at those token counts (at least two of them).

    Nearest in relative error, so that a decode step counts as much as a prefill; neither
    coefficient is below zero. An engine whose iterations stay small is served better by a fit to
    its own counts. Raises ProfileError when the profile knows nothing of the shape's dtype.
    """
    profile = costs.profile
    launches = shape.layers * SMALL_OPS_PER_LAYER * profile.launch_s
    sums, lows, highs = [], [], []
    for count in tokens:
        parts = [(times, costs.predict(op)) for times, op in operations(shape, count)]
        sums.append(launches + sum(times * cost.seconds for times, cost in parts))
        lows.append(launches + sum(times * cost.low for times, cost in parts))
        highs.append(launches + sum(times * cost.high for times, cost in parts))
    base, per_token = _fit(tokens, sums)
    base, per_token = _nine_digits(base), _nine_digits(per_token)
    line = [base + per_token * count for count in tokens]
    errors = [abs(fitted / total - 1) for fitted, total in zip(line, sums, strict=True)]
    return IterationCost(
        base,
        per_token,
        _nine_digits(shape.kv_bytes_per_token / (profile.bandwidth_bytes_per_s * profile.memory_efficiency)),
        source=f"fitted to sums of operations ({profile.provenance})",
        low=min(low / fitted for low, fitted in zip(lows, line, strict=True)),
        high=max(high / fitted for high, fitted in zip(highs, line, strict=True)),
        fit=Spread.of(errors),
        worst=max(errors),
    )


def _fit(xs: Sequence[int], ys: Sequence[float]) -> tuple[float, float]:
    """The a and b, neither negative, that make the sum of ((a + b*x - y) / y)**2 least."""
    weights = [1 / (y * y) for y in ys]
    w = sum(weights)
    wx = sum(weight * x for weight, x in zip(weights, xs, strict=True))
    wy = sum(weight * y for weight, y in zip(weights, ys, strict=True))
    wxx = sum(weight * x * x for weight, x in zip(weights, xs, strict=True))
    wxy = sum(weight * x * y for weight, x, y in zip(weights, xs, ys, strict=True))
    determinant = w * wxx - wx * wx
    b = (w * wxy - wx * wy) / determinant if determinant > 0 else 0.0
    a = (wy - b * wx) / w
    if b < 0:
        return wy / w, 0.0
    if a < 0:
        return 0.0, wxy / wxx
    return a, b


def _nine_digits(value: float) -> float:
    return float(f"{value:.8e}")
