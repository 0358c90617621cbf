"""Timing a grid of operations in rounds: samples in, rows and a noise floor out.

- First everything runs once: to warm up, and to learn what the budget has room for.
- Then two scouting rounds find where a curve bends: between such a row and its neighbours, whose straight
  line misses it most, further sizes join the grid.
- Then the grid is measured twice, one pass after the other, each in as many rounds as fit. A round
  takes one sample of every operation, of the small ones some, in a new order: a slow minute spreads over
  all of them, and what varies most is asked most often.
- Between the samples run probes, as `steady` has them. A row's time is the tenth percentile of its samples,
  times how much longer the probes usually took than their own tenth percentile. So it is of the machine's
  usual speed, and found in its fast moments, which repeat: on an idle machine two passes were 1.7 % apart in
  the median, and 3.7 % when every sample was divided by the slowdown of its own moment.
- Ctrl-C ends the measuring early when there is enough for rows; else it goes through.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llmos.costs.holdout import by_kind
from llmos.costs.iteration import relative_fit
from llmos.costs.ops import Op, make_op, op_fields, show_family, show_op
from llmos.costs.profile import Link, Row, Spread
from llmos.errors import ProfileError
from llmos.kernels.device import Device
from llmos.kernels.steady import FAST, PRODUCT, Steady
from llmos.quantile import quantile

FEWEST_ROUNDS, WANTED_ROUNDS, MOST_ROUNDS = 3, 6, 12  # of each of the two passes
SCOUTING_ROUNDS = 2
MOST_REFINED = 0.08  # As many sizes, as a share of the grid, join it where it bends most.
STRAIGHT = 0.15  # As far as a row may be from its neighbours' line, in logarithms: noise is that large.
PROBE_EVERY = 8  # samples
SMALL_S, VISITS = 100e-6, 4  # An operation that takes less has so many samples a round.
SLOWEST_SAMPLE = 1 / 300  # A single run may take this much of the budget.
LEAST_PART = 0.3  # Of the budget, for the rounds, however long warming up took.

# Hears, as measuring goes on, how far it is (0 to 1) and what it is doing.
Progress = Callable[[float, str], None]


@dataclass
class Rounds:
    """The measuring of one device under way: samples so far, and what is worth a note.

    passes: the samples of each, in seconds. steady: knows how slow the machine was meanwhile.
    """

    device: Device
    deadline: float
    budget_s: float
    progress: Progress
    notes: list[str] = field(default_factory=list)
    passes: list[dict[Op, list[float]]] = field(default_factory=list)
    refined: list[Op] = field(default_factory=list)
    steady: Steady = field(init=False)
    _kept: dict[Op, float] = field(default_factory=dict)  # with the wall time of its samples in a round
    _visits: dict[Op, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steady = Steady(lambda: self.device.sample(PRODUCT))

    def warm_up(self, ops: Iterable[Op]) -> None:
        """Run each operation once, and keep those that the budget allows to be timed often enough."""
        slow: set[tuple[object, ...]] = set()
        left_out: list[Op] = []
        missing: dict[str, set[str]] = {}
        for op in ops:
            curve = (op.family, op.dims[1:])
            if lack := self.device.lacks(op):
                missing.setdefault(lack, set()).add(show_family(op))
                continue
            if curve not in slow:
                self.progress(0.05, f"warming up {show_op(op)}")
                if self.device.sample(op) < self.budget_s * SLOWEST_SAMPLE:
                    self._keep(op)
                    continue
                slow.add(curve)  # Larger ones are slower still.
            left_out.append(op)
        left_out += self._shed()
        self.notes += [f"left out, {lack}: {', '.join(sorted(what))}" for lack, what in missing.items()]
        self.notes += _left_out(left_out)

    def _keep(self, op: Op) -> None:
        """Add an operation to the grid, having seen what it takes."""
        start = time.monotonic()
        self._visits[op] = VISITS if self.device.sample(op) < SMALL_S else 1
        self._kept[op] = self._visits[op] * (time.monotonic() - start)

    def _shed(self) -> list[Op]:
        """Take out the slowest operations until the rest can be timed in enough rounds."""
        # On a machine that is busy otherwise warming up may take it all: then the budget is overrun.
        left = max(self.deadline - time.monotonic(), LEAST_PART * self.budget_s)
        affordable = left / (2 * WANTED_ROUNDS)
        by_time = sorted(self._kept, key=lambda op: self._kept[op])
        total, shed = sum(self._kept.values()), []
        while by_time and total > affordable:
            shed.append(by_time.pop())
            total -= self._kept.pop(shed[-1])
        return shed

    def measure_limits(self) -> tuple[float, float]:
        """Seconds of a launch, and bytes per second of a copy."""
        self.progress(0.1, "memory bandwidth and launch overhead")
        launches = [self.device.launch() for _ in range(50)]
        rates = [self.device.copy_rate() for _ in range(20)]
        return _seven_digits(quantile(launches, 0.1)), _seven_digits(quantile(rates, 0.9))

    def measure(self) -> bool:
        """Time the whole grid in two passes, until the rounds or the budget are spent.

        Returns whether nobody interrupted it.
        """
        if not self._kept:
            raise ProfileError("the budget is too short to time anything", hint="give it more: --budget 60s")
        middle = (time.monotonic() + self.deadline) / 2
        try:
            rounds = self._pass(MOST_ROUNDS, middle)
            self._pass(rounds, self.deadline)
        except KeyboardInterrupt:
            if not self.passes or min(map(len, self.passes[0].values())) < FEWEST_ROUNDS:
                raise
            self.notes.append("interrupted before its end")
            return False
        return True

    def refine(self) -> None:
        """Add sizes to the grid around the rows that their neighbours predict worst: cliffs, and knees."""
        self.progress(0.1, "looking for bends")
        try:
            scouted = {op: min(self.device.sample(op) for _ in range(SCOUTING_ROUNDS)) for op in self._kept}
        except KeyboardInterrupt:
            self.notes.append("interrupted while looking for bends")
            return
        wanted = max(1, round(MOST_REFINED * len(self._kept)))
        for op in bends(scouted)[:wanted]:
            if op not in self._kept:
                self._keep(op)
                self.refined.append(op)
        self._shed()

    def _pass(self, rounds: int, until: float) -> int:
        """Take samples of each operation in up to that many rounds, and say how many it were."""
        samples: dict[Op, list[float]] = {op: [] for op in self._kept}
        self.passes.append(samples)
        order = [op for op in self._kept for _ in range(self._visits[op])]
        for done in range(rounds):
            if done >= FEWEST_ROUNDS and time.monotonic() > until:
                return done
            random.Random(len(self.passes) * 1000 + done).shuffle(order)
            for number, op in enumerate(order):
                if number % 16 == 0:
                    self._tell(done, rounds, number / len(order), op)
                if number % PROBE_EVERY == 0:
                    self.steady.run()
                samples[op].append(self.device.sample(op))
        return rounds

    def _tell(self, done: int, rounds: int, part: float, op: Op) -> None:
        by_rounds = (len(self.passes) - 1 + (done + part) / rounds) / 2
        by_time = 1 - (self.deadline - time.monotonic()) / self.budget_s
        fraction = min(0.99, 0.1 + 0.9 * max(by_rounds, by_time))
        self.progress(fraction, f"pass {len(self.passes)} of 2, round {done + 1}: {show_op(op)}")

    def rows(self) -> tuple[Row, ...]:
        """One row per operation: from its fastest sample to the ninetieth percentile."""
        rows, usual = [], self.steady.usual_of_fast()
        for op in sorted(self._kept, key=lambda op: (op.family, op.dims[1:], op.dims[0])):
            samples = [usual * sample for done in self.passes for sample in done[op]]
            low, middle, high = map(_seven_digits, (min(samples), _time(samples), quantile(samples, 0.9)))
            rows.append(Row(op, middle, low, high, len(samples)))
        return tuple(rows)

    def peaks(self) -> dict[str, float]:
        """The best FLOP/s seen, by dtype: the roof of this machine's roofline."""
        peaks: dict[str, float] = {}
        for row in self.rows():
            if row.op.flops:
                rate = _seven_digits(row.op.flops / row.seconds)
                peaks[row.op.arithmetic] = max(rate, peaks.get(row.op.arithmetic, 0.0))
        return peaks

    def links(self) -> dict[str, Link]:
        """Latency and bandwidth of each link that something was copied over."""
        copies: dict[str, list[Row]] = {}
        for row in self.rows():
            if row.op.link != "memory":
                copies.setdefault(row.op.link, []).append(row)
        return {name: _link(rows) for name, rows in copies.items()}

    def noise(self) -> Spread | None:
        """How far the second pass is from the first, or None when one of them was cut short."""
        differences = self._differences()
        return Spread.of([each for _, each in differences]) if differences else None

    def noise_of(self) -> dict[str, Spread]:
        """The same for each kind of operation that there are enough of."""
        return by_kind(self._differences())

    def _differences(self) -> list[tuple[Op, float]]:
        """How far the second pass of each operation is from the first; none when one was cut short."""
        if len(self.passes) < 2 or min(map(len, self.passes[1].values())) < FEWEST_ROUNDS:
            return []
        first, second = self.passes
        return [(op, abs(_time(second[op]) / _time(first[op]) - 1)) for op in self._kept]


def bends(times: Mapping[Op, float]) -> list[Op]:
    """Operations between those whose time a line through their neighbours misses, the worst miss first.

    times: seconds of one run each. A miss within `STRAIGHT` is none.
    """
    curves: dict[tuple[object, ...], list[Op]] = {}
    for op in sorted(times, key=lambda op: op.dims[0]):
        curves.setdefault((op.family, op.dims[1:]), []).append(op)
    missed: list[tuple[float, Op]] = []
    for curve in curves.values():
        for before, here, after in zip(curve, curve[1:], curve[2:], strict=False):
            x0, x, x1 = (math.log(op.dims[0]) for op in (before, here, after))
            y0, y, y1 = (math.log(times[op]) for op in (before, here, after))
            miss = abs(y0 + (y1 - y0) * (x - x0) / (x1 - x0) - y)
            if miss > STRAIGHT:
                missed += [(miss, op) for op in (_between(before, here), _between(here, after)) if op]
    worst = sorted(missed, key=lambda each: (-each[0], each[1].family, each[1].dims))
    return list(dict.fromkeys(op for _, op in worst))


def _between(low: Op, high: Op) -> Op | None:
    """The operation in the geometric middle of two of one curve, if there is a whole number."""
    size = round(math.sqrt(low.dims[0] * high.dims[0]))
    if size in (low.dims[0], high.dims[0]):
        return None
    return make_op(low.kind, op_fields(low) | {low.sizes()[0]: size})


def _time(samples: Sequence[float]) -> float:
    return quantile(samples, FAST)


def _link(rows: Sequence[Row]) -> Link:
    """The line nearest to those times over their bytes, in relative distance."""
    sizes = [float(row.op.bytes) for row in rows]
    latency, per_byte = relative_fit([1.0] * len(rows), sizes, [row.seconds for row in rows])
    # Copies that only show latency say of the bandwidth that it is no less than this.
    fastest = max(size / row.seconds for size, row in zip(sizes, rows, strict=True))
    return Link(_seven_digits(latency), _seven_digits(1 / per_byte if per_byte else fastest))


def _seven_digits(value: float) -> float:
    return float(f"{value:.6e}")


def _left_out(ops: Iterable[Op]) -> list[str]:
    """One note per family for operations that the budget has no room for."""
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(show_family(op), []).append(op)
    return [
        f"left out as too slow for the budget: {len(slow)} of {family}, "
        f"from {show_op(min(slow, key=lambda op: op.flops))} up"
        for family, slow in groups.items()
    ]
