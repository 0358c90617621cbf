"""What one iteration of an LLM engine costs, from the costs of its operations.

- `IterationModel.predict` sums the predictions of all operations of a batch, times the `scale` that
  whole iterations were seen to take, and `overhead_s` for each operation, where the profile has been
  fitted to a real engine (`Profile.iterations`). Parts of the sum are kept, so that asking for one
  more iteration is a few look-ups.
- The interval is that of the iterations that were held out when the profile was fitted; else the
  operations' own intervals, summed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmos.costs.decoder import (
    SHAPES,
    Composition,
    ModelShape,
    Operations,
    decode_operations,
    model_shape,
    prefill_operations,
    sampling_operations,
    token_operations,
)
from llmos.costs.model import EXACT, INTERPOLATED, RESIDUAL, ROOFLINE, Cost, CostModel
from llmos.costs.profile import IterationFit, Profile

UNSURE = (EXACT, INTERPOLATED, RESIDUAL, ROOFLINE)
"""The ways of predicting, from the surest to the least sure."""


class Predicts(Protocol):
    """Whatever can say what an iteration costs: a model as it is, or a variant of one."""

    def predict(self, composition: Composition) -> Cost:
        """The cost of an iteration of that batch, which is not empty."""
        ...


_Key = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """A sum over some operations: how many, their times, and the least sure way (of `UNSURE`).

    launches: how many of them are launched; a collective's latency has it in it.
    """

    count: int
    launches: int
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
        self.own = fit if fit and _shape_of(fit) == shape else None
        """What iterations of this very model taught, if any were measured."""
        self.launch_s = self._scale * costs.profile.launch_s + self._overhead_s
        """What each operation takes before it begins."""
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
        for part in self._parts_of(composition):
            count += part.count
            seconds += part.seconds
            low += part.low
            high += part.high
            unsure = max(unsure, part.unsure)
        overhead = self._overhead_s * count
        seconds = self._scale * seconds + overhead
        if self.own:
            error = 1 + self.own.holdout.p95
            return Cost(seconds, seconds / error, seconds * error, self._sources[unsure])
        return Cost(
            seconds, self._scale * low + overhead, self._scale * high + overhead, self._sources[unsure]
        )

    def launches(self, composition: Composition) -> int:
        """How many operations an iteration of that batch launches."""
        return sum(part.launches for part in self._parts_of(composition))

    def _parts_of(self, composition: Composition) -> Iterator[_Part]:
        for key in self._keys(composition):
            part = self._parts.get(key)
            if part is None:
                part = self._parts[key] = self._sum(self._operations(key))
            yield part

    def _keys(self, composition: Composition) -> Iterator[_Key]:
        """What names the parts of the sum."""
        yield "tokens", composition.tokens, 0, 0
        for new, context in composition.prefill:
            yield "prefill", new, context, 0
        if composition.decode:
            yield composition.layout, len(composition.decode), composition.padded, 1 + composition.guesses
        if composition.sampled:
            yield "sampling", composition.sampled, 0, 0

    def _operations(self, key: _Key) -> Operations:
        match key:
            case "tokens", tokens, _, _:
                return token_operations(self.shape, tokens)
            case "prefill", new, context, _:
                return prefill_operations(self.shape, new, context)
            case "sampling", sampled, _, _:
                return sampling_operations(self.shape, sampled)
        layout, batch, padded, rows = key
        return decode_operations(self.shape, batch, padded, layout, rows)

    def _sum(self, ops: Operations) -> _Part:
        parts = [(times, self.costs.predict(op)) for times, op in ops]
        return _Part(
            sum(times for times, _ in ops),
            sum(times for times, op in ops if op.link == "memory"),
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
