"""What one iteration of an LLM engine costs, from the costs of its operations.

- `IterationModel.predict` sums the predictions of all operations of a batch, times the `scale` that
  whole iterations were seen to take, and `overhead_s` for each operation, where the profile has been
  fitted to a real engine (`Profile.iterations`). Parts of the sum are kept, so that asking for one
  more iteration is a few look-ups.
- `fit_iteration` draws a straight line through it: a + b*tokens + c*context seconds, of `tokens` new
  tokens and `context` tokens whose keys and values are read, of all requests together. a and b are
  fitted to sums of predicted operations; c is the bytes of keys and values of one token over the
  memory bandwidth.
- A straight line through a curve with a knee is wrong in places: `fit` says by how much, and the
  interval includes it.
- a, b and c keep nine digits, so that sums of them round alike on every machine.

Source: the law follows the fitted decode law of DistServe (Zhong et al., OSDI'24).
Differs: in the law, norms, rotary, activation and the attention's arithmetic count as one launch
each, with no time of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmos.costs.decoder import (
    SHAPES,
    Composition,
    ModelShape,
    Operations,
    decode_operations,
    model_shape,
    operations,
    prefill_operations,
    sampling_operations,
    token_operations,
)
from llmos.costs.model import EXACT, INTERPOLATED, RESIDUAL, ROOFLINE, Cost, CostModel
from llmos.costs.ops import Matmul, VectorAdd
from llmos.costs.profile import IterationFit, Profile, Spread

__all__ = [
    "SHAPES", "Composition", "IterationCost", "IterationModel", "ModelShape", "fit_iteration", "model_shape",
    "operations", "predict_iteration", "relative_fit",
]  # fmt: skip

# Token counts of the fit, from one decoding request to a usual engine's largest iteration.
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
# Only the last token of each request needs the vocabulary; more than this rarely end in one iteration.
MOST_SAMPLED = 64
# Two norms, rotary, KV write, attention and activation: launched, and taken to cost no more than that.
SMALL_OPS_PER_LAYER = 6

UNSURE = (EXACT, INTERPOLATED, RESIDUAL, ROOFLINE)
"""The ways of predicting, from the surest to the least sure."""


_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """A sum over some operations: how many, their times, and the least sure way (of `UNSURE`)."""

    count: int
    seconds: float
    low: float
    high: float
    unsure: int


class IterationModel:
    """Predictions of whole iterations of one model, from one profile.

    Where the profile was fitted to iterations of this very model, the interval comes from those that
    were held out; where to others in the same dtype, scale and overhead are taken over.
    """

    def __init__(self, costs: CostModel, shape: ModelShape) -> None:
        self.costs = costs
        self.shape = shape
        fit = _fit_for(costs.profile, shape)
        self._scale, self._overhead_s = (fit.scale, fit.overhead_s) if fit else (1.0, 0.0)
        own = fit is not None and _shape_of(fit) == shape
        self._holdout = fit.holdout if fit and own else None
        self._parts: dict[_Key, _Part] = {}
        told = f"; scaled as its {fit.model} {fit.dtype}" if fit else ""
        self._sources = [
            f"sum of operations, at worst {way} ({costs.profile.provenance}{told})" for way in UNSURE
        ]

    def predict(self, composition: Composition) -> Cost:
        """The cost of an iteration of that batch, which is not empty.

        Raises ProfileError when the profile knows nothing of the shape's dtype.
        """
        count, unsure, seconds, low, high = 0, 0, 0.0, 0.0, 0.0
        for key in self._keys(composition):
            part = self._parts.get(key)
            if part is None:
                part = self._parts[key] = self._sum(self._operations(key))
            count += part.count
            seconds += part.seconds
            low += part.low
            high += part.high
            unsure = max(unsure, part.unsure)
        overhead = self._overhead_s * count
        seconds = self._scale * seconds + overhead
        if self._holdout:
            error = 1 + self._holdout.p95
            return Cost(seconds, seconds / error, seconds * error, self._sources[unsure])
        return Cost(
            seconds, self._scale * low + overhead, self._scale * high + overhead, self._sources[unsure]
        )

    def _keys(self, composition: Composition) -> Iterator[_Key]:
        """What names the parts of the sum."""
        yield "tokens", composition.tokens, 0
        for new, context in composition.prefill:
            yield "prefill", new, context
        if composition.decode:
            yield composition.layout, len(composition.decode), composition.padded
        if composition.sampled:
            yield "sampling", composition.sampled, 0

    def _operations(self, key: _Key) -> Operations:
        match key:
            case "tokens", tokens, _:
                return token_operations(self.shape, tokens)
            case "prefill", new, context:
                return prefill_operations(self.shape, new, context)
            case "sampling", rows, _:
                return sampling_operations(self.shape, rows)
        layout, batch, padded = key
        return decode_operations(self.shape, batch, padded, layout)

    def _sum(self, ops: Operations) -> _Part:
        parts = [(times, self.costs.predict(op)) for times, op in ops]
        return _Part(
            sum(times for times, _ in ops),
            sum(times * cost.seconds for times, cost in parts),
            sum(times * cost.low for times, cost in parts),
            sum(times * cost.high for times, cost in parts),
            max(_unsure(cost) for _, cost in parts),
        )


def predict_iteration(costs: CostModel, shape: ModelShape, composition: Composition) -> Cost:
    """The cost of one iteration; who asks for many asks one `IterationModel`."""
    return IterationModel(costs, shape).predict(composition)


def _unsure(cost: Cost) -> int:
    return next(
        (rank for rank, way in enumerate(UNSURE) if cost.source.startswith(f"{way} (")), len(UNSURE) - 1
    )


def _fit_for(profile: Profile, shape: ModelShape) -> IterationFit | None:
    """What iterations of this model taught, or else those of another one in its dtype."""
    fits = [fit for fit in profile.iterations if fit.dtype == shape.dtype]
    return next((fit for fit in fits if _shape_of(fit) == shape), fits[0] if fits else None)


def _shape_of(fit: IterationFit) -> ModelShape | None:
    return model_shape(fit.model, fit.dtype, fit.weights) if fit.model in SHAPES else None


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
        parts = [(times, costs.predict(op)) for times, op in _timed(shape, count)]
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


def _timed(shape: ModelShape, tokens: int) -> list[tuple[int, Matmul | VectorAdd]]:
    """The operations of so many decoding requests that the law does not take for launches."""
    batch = Composition(decode=(1,) * tokens, sampled=min(tokens, MOST_SAMPLED))
    return [(times, op) for times, op in operations(shape, batch) if isinstance(op, Matmul | VectorAdd)]


def _fit(xs: Sequence[int], ys: Sequence[float]) -> tuple[float, float]:
    """The a and b, neither negative, that make the sum of ((a + b*x - y) / y)**2 least."""
    return relative_fit([1] * len(xs), xs, ys)


def relative_fit(us: Sequence[float], vs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """The a and b, neither negative, that make the sum of ((a*u + b*v - y) / y)**2 least."""
    weights = [1 / (y * y) for y in ys]
    uu = sum(weight * u * u for weight, u in zip(weights, us, strict=True))
    uv = sum(weight * u * v for weight, u, v in zip(weights, us, vs, strict=True))
    vv = sum(weight * v * v for weight, v in zip(weights, vs, strict=True))
    uy = sum(weight * u * y for weight, u, y in zip(weights, us, ys, strict=True))
    vy = sum(weight * v * y for weight, v, y in zip(weights, vs, ys, strict=True))
    determinant = uu * vv - uv * uv
    b = (uu * vy - uv * uy) / determinant if determinant > 0 else 0.0
    a = (uy - b * uv) / uu
    if b < 0:
        return uy / uu, 0.0
    if a < 0:
        return 0.0, vy / vv
    return a, b


def _nine_digits(value: float) -> float:
    return float(f"{value:.8e}")
