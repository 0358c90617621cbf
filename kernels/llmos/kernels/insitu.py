"""Learning from whole iterations of a model what micro-benchmarks cannot tell.

- Batches of every sort (decodes, prompts in chunks, both) are run in shuffled rounds: each once whole,
  with nobody watching, and once operation by operation. Their operands are as warm or cold as a
  model's are.
- The rows of the operations take the place of rows that were timed alone.
- Each sample is divided by the slowdown of its moment, as `steady` has it; a probe's time is the unit.
- What is missing from their sum to the whole is fitted: a scale, and an overhead for each operation.
- A third of the batches teach nothing: they are predicted, and tell the error, beside the noise floor
  of the same batches measured twice. All of that is the profile's `iterations`.
- Ctrl-C keeps what was measured when it is enough; else nothing is learnt of the model.
"""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from llmos.costs.decoder import SHAPES, Composition, ModelShape, model_shape, operations
from llmos.costs.iteration import IterationModel, relative_fit
from llmos.costs.model import CostModel
from llmos.costs.ops import DecodeAttention, Matmul, Op, PrefillAttention
from llmos.costs.profile import IterationFit, Profile, Row, Spread
from llmos.errors import ProfileError
from llmos.kernels.device import Device
from llmos.kernels.rounds import Progress
from llmos.kernels.steady import PROBE, Sample, Steady
from llmos.quantile import quantile

DTYPES = ("fp32", "bf16", "fp16")  # What a model can compute in.
LARGEST_MODEL = 2 * 10**9  # Parameters.
LONGEST = 1024  # Context, in tokens.
DECODING = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
PROMPTS = (2, 4, 8, 16, 32, 64, 128, 256)
MIXED, HELD_OUT = 24, 30
FEWEST_ROUNDS, WANTED_ROUNDS, MOST_ROUNDS = 3, 6, 24
CUT = 8  # One part in so many of the samples, at either end, does not count.


class Iterations(Protocol):
    """A model that can be run."""

    def seconds(self, batch: Composition) -> float:
        """The time of one iteration of that batch, with nobody watching its parts."""
        ...

    def parts(self, batch: Composition) -> dict[Op, list[float]]:
        """The times of each operation in one iteration of that batch: one for each of its runs."""
        ...


@dataclass(frozen=True, slots=True)
class PretendedIterations:
    """What a pretended device makes of a model: the sum of its operations, and so much for each."""

    device: Device
    shape: ModelShape
    scale: float = 1.05
    overhead_s: float = 1e-6

    def seconds(self, batch: Composition) -> float:
        ops = operations(self.shape, batch)
        spent = sum(times * self.device.sample(op) for times, op in ops)
        return self.scale * spent + self.overhead_s * sum(times for times, _ in ops)

    def parts(self, batch: Composition) -> dict[Op, list[float]]:
        taken: defaultdict[Op, list[float]] = defaultdict(list)
        for times, op in operations(self.shape, batch):
            taken[op] += [self.device.sample(op)] * times
        return taken


@dataclass
class InSitu:
    """The measuring of one model under way.

    open: makes the model. learnt, held_out: the batches that teach, and those that check. wholes,
    parts: samples so far. steady: knows how slow the machine was when they were taken.
    """

    open: Callable[[], Iterations]
    deadline: float
    progress: Progress
    seed: int = 0
    learnt: list[Composition] = field(default_factory=list)
    held_out: list[Composition] = field(default_factory=list)
    wholes: dict[Composition, list[Sample]] = field(default_factory=dict)
    parts: dict[Op, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    steady: Steady = field(init=False)
    notes: list[str] = field(default_factory=list)
    rounds: int = 0

    def measure(self) -> bool:
        """Run all batches in rounds until the deadline; returns whether nobody interrupted it."""
        try:
            self.progress(0.0, "making the model")
            model = self.open()
            self._warm_up(model)
            self.steady = Steady(lambda: model.seconds(PROBE))
            while self._room() and (self.rounds < FEWEST_ROUNDS or time.monotonic() < self.deadline):
                self._round(model, self.rounds)
                self.rounds += 1
        except KeyboardInterrupt:
            self.notes.append("iterations: interrupted before the end")
            return False
        return True

    @property
    def enough(self) -> bool:
        """Whether there is something to learn from, and something to check it by."""
        return self.rounds >= FEWEST_ROUNDS

    def _room(self) -> bool:
        return bool(self.learnt and self.held_out) and self.rounds < MOST_ROUNDS

    def _warm_up(self, model: Iterations) -> None:
        """Run every batch once, and keep as many as can be run often enough."""
        began, took = time.monotonic(), {}
        model.seconds(PROBE)
        start = time.monotonic()
        model.seconds(PROBE)
        probe_took = time.monotonic() - start
        learnt, held_out = plan(self.seed)
        for batch in sorted({*learnt, *held_out}, key=lambda batch: batch.tokens):
            if time.monotonic() - began > (self.deadline - began) / 4:
                break
            self.progress(0.02, f"warming up an iteration of {_told(batch)}")
            start = time.monotonic()
            model.seconds(batch)
            took[batch] = time.monotonic() - start
        affordable = (self.deadline - time.monotonic()) / (2 * WANTED_ROUNDS)
        for batch in sorted(took, key=lambda batch: took[batch]):
            affordable -= took[batch] + probe_took
            if affordable > 0:
                self.wholes[batch] = []
        self.learnt = [batch for batch in learnt if batch in self.wholes]
        self.held_out = [batch for batch in held_out if batch in self.wholes]
        every = len({*learnt, *held_out})
        if left_out := every - len(self.wholes):
            self.notes.append(
                f"iterations: {left_out} of {every} batches left out as too slow for the budget"
            )

    def _round(self, model: Iterations, number: int) -> None:
        """Take a sample of every batch, whole and in parts, in a new order."""
        drawn = random.Random(self.seed * 1000 + number)
        turns = [(batch, whole) for batch in self.wholes for whole in (True, False)]
        drawn.shuffle(turns)
        teach = set(self.learnt)
        spent: dict[Composition, Sample] = {}
        for done, (batch, whole) in enumerate(turns):
            if done % 8 == 0:
                part = (number + done / len(turns)) / WANTED_ROUNDS
                self.progress(min(0.99, part), f"round {number + 1}: an iteration of {_told(batch)}")
            if whole:
                probe = self.steady.run()
                spent[batch] = Sample(model.seconds(batch), probe)
            elif batch in teach:
                probe = self.steady.run()
                for op, runs in model.parts(batch).items():
                    self.parts[op] += [Sample(seconds, probe) for seconds in runs]
        for batch, sample in spent.items():  # A round is kept whole, or not at all.
            self.wholes[batch].append(sample)

    @property
    def probe_s(self) -> float:
        """What a probe usually takes, in seconds."""
        return self.steady.usual()

    def rows(self) -> tuple[Row, ...]:
        """One row for each operation of the batches that teach."""
        rows, unit = [], self.probe_s
        for op in sorted(self.parts, key=lambda op: (op.family, op.dims[1:], op.dims[0])):
            samples = [multiple * unit for multiple in self.steady.steadied(self.parts[op])]
            low, middle, high = (
                float(f"{seconds:.6e}") for seconds in (min(samples), usual(samples), quantile(samples, 0.9))
            )
            rows.append(Row(op, middle, low, max(middle, high), len(samples)))
        return tuple(rows)

    def usual(self, batch: Composition, turn: slice = slice(None)) -> float:
        """The time of that batch, over some of the rounds or all of them."""
        return self.probe_s * usual(self.steady.steadied(self.wholes[batch][turn]))

    def noise(self) -> Spread:
        """How far the even rounds are from the odd ones."""
        odd, even = slice(1, None, 2), slice(0, None, 2)
        return Spread.of([abs(self.usual(b, odd) / self.usual(b, even) - 1) for b in self.wholes])


def usual(samples: Sequence[float]) -> float:
    """The mean of what is left of the samples without the smallest and the largest of them.

    Means add up to the mean of the whole, as medians and low quantiles do not. In four runs on a CPU
    that others used too it predicted held-out iterations better than medians did, and their total to
    1.3 %, where the tenth percentile was 6 to 16 % too low.
    """
    cut = len(samples) // CUT
    middle = sorted(samples)[cut : len(samples) - cut]
    return sum(middle) / len(middle)


def runnable(model: str, dtype: str | None = None, weights: str | None = None) -> ModelShape:
    """The shape of a model that can be run.

    Raises ProfileError when there is no such model or way of storing weights, it is too large, or torch has
    no such dtype.
    """
    shape = model_shape(model, dtype, weights)
    if shape.dtype not in DTYPES:
        raise ProfileError(f"no model runs in {shape.dtype}", hint=f"there are: {', '.join(DTYPES)}")
    if shape.parameters > LARGEST_MODEL:
        small = [name for name, each in SHAPES.items() if each.parameters <= LARGEST_MODEL]
        raise ProfileError(f"{model} is too large to be run here", hint=f"there are: {', '.join(small)}")
    return shape


def iterations_of(shape: ModelShape, device: Device) -> Iterations:
    """Iterations of that model on this device, for real or pretended."""
    if device.kind == "null":
        return PretendedIterations(device, shape)
    from llmos.kernels.watch import RealIterations

    return RealIterations(shape, device.kind, context=LONGEST)


def plan(seed: int) -> tuple[list[Composition], list[Composition]]:
    """The batches that teach, and those that are held out.

    To learn from: every size of a batch that decodes and of a prompt, and a mixture; the others are
    all mixture, so that they ask for sizes between.
    """
    drawn = random.Random(seed)
    learnt = [
        Composition(decode=(_log_uniform(drawn, 16, LONGEST),) * size, sampled=size)
        for size in DECODING
        for _ in range(2)
    ]
    for new in PROMPTS:
        past = _log_uniform(drawn, 16, LONGEST - new)
        learnt += [Composition(((new, context),), sampled=1) for context in (new, new + past)]
    mixed = [_mixture(drawn) for _ in range(MIXED + HELD_OUT)]
    return learnt + mixed[:MIXED], mixed[MIXED:]


def taught(profile: Profile, measured: InSitu, shape: ModelShape, model: str) -> Profile:
    """The profile with the rows of these operations, and what the iterations of `model` taught.

    When too little was measured, only the notes say so.
    """
    if not measured.enough:
        why = f"nothing was learnt of {model}: give it more time (--budget), or take a smaller model"
        return msgspec.structs.replace(profile, notes=(*profile.notes, *measured.notes, why))
    inside = measured.rows()
    rows = (*_without_twins(profile.rows, inside), *inside)
    peaks = profile.peak_flops | _peaks(profile, inside)
    others = tuple(
        fit
        for fit in profile.iterations
        if (fit.model, fit.dtype, fit.weights) != (model, shape.dtype, shape.weights)
    )
    profile = msgspec.structs.replace(profile, rows=rows, peak_flops=peaks, iterations=others)
    bare = IterationModel(CostModel(msgspec.structs.replace(profile, iterations=())), shape)

    def sums(batches: Sequence[Composition]) -> list[tuple[float, int, float]]:
        """For each batch the sum of its operations, their number, and its own time."""
        return [
            (
                bare.predict(batch).seconds,
                sum(times for times, _ in operations(shape, batch)),
                measured.usual(batch),
            )
            for batch in batches
        ]

    scale, overhead_s = relative_fit(*zip(*sums(measured.learnt), strict=True))
    errors = [
        abs((scale * total + overhead_s * count) / seconds - 1)
        for total, count, seconds in sums(measured.held_out)
    ]
    fit = IterationFit(
        model=model,
        dtype=shape.dtype,
        weights=shape.weights,
        scale=float(f"{scale:.6g}"),
        overhead_s=float(f"{overhead_s:.6g}"),
        holdout=Spread.of(errors),
        noise=measured.noise(),
        probe_s=float(f"{measured.probe_s:.6g}"),
    )
    note = (
        f"{len(inside)} rows were timed inside {model} {shape.dtype}: means, each sample divided by the "
        "slowdown that a probe showed beside it; inputs as warm as they are there"
    )
    return msgspec.structs.replace(
        profile, iterations=(*others, fit), notes=(*profile.notes, note, *measured.notes)
    )


def _peaks(profile: Profile, rows: Sequence[Row]) -> dict[str, float]:
    """The best FLOP/s of products, where the profile knows of no better."""
    peaks: dict[str, float] = {}
    for row in rows:
        kind = row.op.arithmetic
        if isinstance(row.op, Matmul):
            best = max(peaks.get(kind, 0.0), profile.peak_flops.get(kind, 0.0))
            peaks[kind] = max(best, float(f"{row.op.flops / row.seconds:.6e}"))
    return peaks


def _without_twins(rows: Sequence[Row], inside: Sequence[Row]) -> Iterator[Row]:
    """Of rows timed alone, those that no row from inside a model stands for.

    Those are of other curves, or larger or smaller than all that the model ran: between two rows of a
    curve there must not be one that was measured otherwise.
    """
    ranges: dict[tuple[object, ...], tuple[float, float]] = {}
    for row in inside:
        low, high = ranges.get(_curve(row.op), (math.inf, 0))
        ranges[_curve(row.op)] = min(low, row.op.dims[0]), max(high, row.op.dims[0])
    for row in rows:
        low, high = ranges.get(_curve(row.op), (math.inf, 0))
        if not low <= row.op.dims[0] <= high:
            yield row


def _curve(op: Op) -> tuple[object, ...]:
    """What a model fixes of an operation; of attention, batches vary two sizes."""
    return op.family, op.dims[2:] if isinstance(op, PrefillAttention | DecodeAttention) else op.dims[1:]


def _mixture(drawn: random.Random) -> Composition:
    """A batch as an engine may come by: often decodes alone, at times prompts, often both."""
    kind = drawn.choices(("decode", "prompt", "both"), (5, 2, 3))[0]
    decode: tuple[int, ...] = ()
    if kind != "prompt":
        longest = _log_uniform(drawn, 16, LONGEST)
        decode = tuple(drawn.randint(16, longest) for _ in range(_log_uniform(drawn, 1, DECODING[-1])))
    prefill = []
    for _ in range(0 if kind == "decode" else drawn.choice((1, 1, 2))):
        new = _log_uniform(drawn, 2, PROMPTS[-1])
        past = drawn.choice((0, drawn.randint(1, LONGEST - new)))
        prefill.append((new, new + past))
    return Composition(tuple(prefill), decode, len(decode) + drawn.randint(0, len(prefill)))


def _log_uniform(drawn: random.Random, low: int, high: int) -> int:
    return round(math.exp(drawn.uniform(math.log(low), math.log(high))))


def _told(batch: Composition) -> str:
    return f"{batch.tokens} tokens over {batch.context}"
