"""One operation in many variants, side by side: how fast, how near to the roofline, how exact, how large.

- A variant is how the weights are stored and which way the kernel is run; `VARIANTS` has all of them.
- Timed as a calibration is: cold inputs, two passes of shuffled rounds, the tenth percentile. The
  difference of the passes stands beside each time: what is not larger than that means nothing.
- The roofline is that of this very run: for each kind of arithmetic the most FLOP/s that anything here
  reached, and of the memory the most bytes per second.
- What a machine lacks, or what takes too long, is left out with the reason.
"""

import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from llmos.costs.decoder import SHAPES, ModelShape
from llmos.costs.ops import Matmul, Op, show_op
from llmos.costs.profile import Spread
from llmos.errors import ProfileError, did_you_mean
from llmos.kernels.calibrate import cpu_pressure, in_silence
from llmos.kernels.device import EAGER, Device, Examined, open_device
from llmos.kernels.grids import attention_ops, layer_ops
from llmos.kernels.rounds import Progress
from llmos.quantile import quantile

VARIANTS: dict[str, tuple[str, str]] = {
    EAGER: ("dense", EAGER),
    "int8": ("int8", EAGER),
    "int4": ("int4", EAGER),
    "int8-dynamic": ("int8-dynamic", EAGER),
    "2:4": ("2:4", EAGER),
    "pruned": ("dense", "pruned"),
    "blocked": ("dense", "blocked"),
    "triton": ("dense", "triton"),
    "compiled": ("dense", "compiled"),
    "compiled-dynamic": ("dense", "compiled-dynamic"),
    "cuda-graph": ("dense", "cuda-graph"),
}
"""How a product's weights are stored, and the way it is run."""
OF_ANY_OPERATION = (EAGER, "compiled", "compiled-dynamic", "cuda-graph")
USUAL = tuple(name for name in VARIANTS if not name.startswith("compiled"))
"""Unless others are asked for: compiling takes seconds for each shape."""
KINDS = ("matmul", "attention", "layers")
DTYPES = ("fp32", "bf16", "fp16")
EXAMPLE = (1024, 512, 64)
"""The product that the documentation works out by hand."""
FEWEST, MOST = 3, 20  # Rounds in each of the two passes.
MOST_BYTES = 2**32  # Of the operands of one operation.
PROBE = "probe"
PROBES = {"cpu": (512, 1024, 1024), "cuda": (8192, 8192, 8192), "null": (512, 1024, 1024)}
"""A product large enough to reach the most FLOP/s of a device."""


@dataclass(frozen=True, slots=True)
class Case:
    """One operation in one variant."""

    variant: str
    op: Op
    way: str = EAGER


@dataclass(frozen=True, slots=True)
class Timed:
    """What was measured of a case: seconds, from the fastest sample to the ninetieth percentile.

    noise: how far the two passes are apart, relative; of_roofline: the least time that this machine
    could need over the time that it took.
    """

    case: Case
    seconds: float
    low: float
    high: float
    samples: int
    noise: float
    examined: Examined
    of_roofline: float = 0.0

    @property
    def flops_per_s(self) -> float:
        """What it computed in a second."""
        return self.case.op.flops / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """What it moved in a second, each operand once."""
        return self.case.op.bytes / self.seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """All that one run measured, and on what.

    launches: seconds of an operation on almost nothing, for each way that was used.
    """

    device: str
    driver: str
    torch: str
    threads: str
    clock: str
    pressure_percent: float | None
    peak_flops: dict[str, float]
    bandwidth_bytes_per_s: float
    launches: dict[str, float]
    noise: Spread
    rows: tuple[Timed, ...]
    left_out: tuple[str, ...]


@dataclass
class _Rounds:
    """The measuring under way."""

    device: Device
    deadline: float
    budget_s: float
    progress: Progress
    passes: list[dict[Case, list[float]]] = field(default_factory=lambda: [{}, {}])
    left_out: list[str] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)  # FLOP/s of the probes, by kind of arithmetic

    def warm_up(self, cases: Sequence[Case]) -> None:
        """Run each case once, and keep those that can be run."""
        for number, case in enumerate(cases):
            self.progress(0.4 * number / len(cases), f"warming up {case.variant} {show_op(case.op)}")
            lack = self.device.lacks(case.op, case.way)
            why = f"{case.variant}: {lack}" if lack else self._first_runs(case)
            if not why:
                self.passes[0][case], self.passes[1][case] = [], []
            elif case.variant != PROBE and why not in self.left_out:
                self.left_out.append(why)

    def _first_runs(self, case: Case) -> str:
        """Run a case twice; why it cannot be timed, or ""."""
        what = f"{case.variant}, {show_op(case.op)}"
        if case.op.bytes > MOST_BYTES:
            return f"{what}: its operands are more than {MOST_BYTES >> 30} GiB"
        at_best = case.op.flops / self.rates.get(case.op.arithmetic, math.inf)
        if at_best > self.budget_s:  # Nobody can interrupt a product that takes minutes.
            return f"{what}: {at_best:.3g} s a run, at best, is too slow for a budget of {self.budget_s:g} s"
        try:
            self.device.sample(case.op, case.way)
            seconds = self.device.sample(case.op, case.way)
        except (ProfileError, RuntimeError, MemoryError) as error:  # RuntimeError: torch finds no memory.
            return f"{what}: {' '.join(str(error).split())[:160] or type(error).__name__}"
        if seconds * 2 * FEWEST > self.budget_s:
            return f"{what}: {seconds:.3g} s a run is too slow for a budget of {self.budget_s:g} s"
        if case.variant == PROBE:
            self.rates[case.op.arithmetic] = case.op.flops / seconds
        return ""

    def examined(self, case: Case) -> Examined:
        """How exact a case is, and what it keeps; of a probe nothing, nor where there is no memory for it."""
        if case.variant == PROBE:
            return Examined(None, 0)
        try:
            return self.device.examine(case.op, case.way)
        except (RuntimeError, MemoryError) as error:
            why = " ".join(str(error).split())[:160] or type(error).__name__
            self.left_out.append(f"the error of {case.variant}, {show_op(case.op)}: {why}")
            return Examined(None, 0)

    def measure(self) -> None:
        """Time all of them in two passes, until the rounds or the time are spent."""
        middle = (time.monotonic() + self.deadline) / 2
        for number, (samples, until) in enumerate(zip(self.passes, (middle, self.deadline), strict=True)):
            order = list(samples)
            for done in range(MOST):
                if done >= FEWEST and time.monotonic() > until:
                    break
                part = (number + done / MOST) / 2
                self.progress(0.4 + 0.5 * part, f"pass {number + 1} of 2, round {done + 1}")
                random.Random(1000 * number + done).shuffle(order)
                for case in order:
                    samples[case].append(self.device.sample(case.op, case.way))

    def timed(self, case: Case, examined: Examined) -> Timed:
        """The times of one case."""
        first, second = (quantile(samples[case], 0.1) for samples in self.passes)
        every = [*self.passes[0][case], *self.passes[1][case]]
        middle = quantile(every, 0.1)
        noise = abs(second / first - 1)
        return Timed(case, middle, min(every), quantile(every, 0.9), len(every), noise, examined)


def bench(
    device: str,
    cases: Sequence[Case],
    *,
    budget_s: float = 20.0,
    progress: Progress = in_silence,
) -> Bench:
    """Time all of these cases on a device, and examine how exact they are.

    budget_s: about how long to measure, after the warming up. Raises ProfileError when the device is
    not there, or none of the cases can be run on it.
    """
    with open_device(device) as machine:
        pressures = [cpu_pressure()]
        rounds = _Rounds(machine, 0.0, budget_s, progress)
        rounds.warm_up([*_probes(cases, machine.kind), *cases])
        shown = [case for case in rounds.passes[0] if case.variant != PROBE]
        if not shown:
            raise ProfileError("nothing of this can be timed here", hint="; ".join(rounds.left_out)[:1000])
        rounds.deadline = time.monotonic() + budget_s
        rounds.measure()
        progress(0.9, "launch overhead, memory bandwidth and errors")
        launches = {way: min(machine.launch(way) for _ in range(5)) for way in _ways(shown)}
        copies = quantile([machine.copy_rate() for _ in range(10)], 0.9)
        every = [rounds.timed(case, rounds.examined(case)) for case in rounds.passes[0]]
        pressures.append(cpu_pressure())
        facts, clock = machine.facts, machine.clock
    peaks = _peaks(every)
    bandwidth = max(copies, *(timed.bytes_per_s for timed in every))
    rows = tuple(_placed(timed, peaks, bandwidth) for timed in every if timed.case in shown)
    progress(1.0, "done")
    return Bench(
        facts["device"], facts["driver"], facts["torch"], facts["threads"],
        f"{clock}; cold inputs; tenth percentile of the samples",
        max((known for known in pressures if known is not None), default=None),
        peaks, bandwidth, launches, Spread.of([timed.noise for timed in rows]), rows, tuple(rounds.left_out),
    )  # fmt: skip


def cases_of(
    kinds: Iterable[str],
    shapes: Sequence[tuple[int, int, int]] = (EXAMPLE,),
    dtypes: Sequence[str] = DTYPES,
    variants: Sequence[str] = USUAL,
    model: ModelShape = SHAPES["tiny-20m"],
) -> list[Case]:
    """What to time: products of these shapes in all variants, and what else a layer of `model` computes.

    Raises ProfileError when a name is unknown.
    """
    kinds = _known("kind of operation", kinds, (*KINDS, "all"))
    variants, dtypes = _known("variant", variants, VARIANTS), _known("dtype", dtypes, DTYPES)
    kinds = list(KINDS) if "all" in kinds else kinds
    cases: list[Case] = []
    for dtype in dtypes:
        if "matmul" in kinds:
            cases += [_product(name, Matmul(*shape, dtype)) for shape in shapes for name in variants]
        others = attention_ops(model, dtype, few=True) if "attention" in kinds else []
        others += layer_ops(model, dtype, few=True) if "layers" in kinds else []
        ways = [name for name in variants if name in OF_ANY_OPERATION]
        cases += [Case(name, op, VARIANTS[name][1]) for op in others for name in ways]
    return list(dict.fromkeys(cases))


def _product(variant: str, op: Matmul) -> Case:
    weights, way = VARIANTS[variant]
    fewer = max(1, op.n // 2) if way == "pruned" else op.n
    return Case(variant, replace(op, weights=weights, n=fewer), way)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    known, names = list(known), list(dict.fromkeys(names))
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
            raise ProfileError(f"unknown {what} {name[:40]!r}", hint=hint)
    return names


def _probes(cases: Sequence[Case], device: str) -> list[Case]:
    """A large product for each kind of arithmetic in these cases: the roof of the roofline."""
    made = {
        case.op.arithmetic: Matmul(
            *PROBES[device], getattr(case.op, "dtype", "fp32"),
            "int8-dynamic" if case.op.arithmetic == "int8" else "dense",
        )
        for case in cases
        if case.op.flops
    }  # fmt: skip
    return [Case(PROBE, op) for op in made.values()]


def _ways(cases: Iterable[Case]) -> list[str]:
    """The ways in which a launch differs from an eager one, and that."""
    used = {case.way for case in cases} & set(OF_ANY_OPERATION)
    return [way for way in OF_ANY_OPERATION if way == EAGER or way in used]


def _peaks(every: Iterable[Timed]) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for timed in every:
        if timed.case.op.flops:
            arithmetic = timed.case.op.arithmetic
            peaks[arithmetic] = max(peaks.get(arithmetic, 0.0), timed.flops_per_s)
    return peaks


def _placed(timed: Timed, peaks: dict[str, float], bandwidth: float) -> Timed:
    op = timed.case.op
    computing = op.flops / peaks[op.arithmetic] if op.flops else 0.0
    return replace(timed, of_roofline=max(computing, op.bytes / bandwidth) / timed.seconds)
