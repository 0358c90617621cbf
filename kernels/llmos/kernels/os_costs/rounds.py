"""Sampling the probes in turn: samples in, figures out.

- A round takes one sample of every probe, in a new order each time.
- A figure is the median of its samples: many are differences of two timings, of which neither end means
  anything. `low` and `high` are the tenth and the ninetieth percentile.
- A difference that is not above zero in nine of ten samples is lost in the noise, and left out.
- Ctrl-C ends the measuring and keeps what there is enough of.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from llmos.costs.system import WHAT, Measured
from llmos.kernels.rounds import Progress
from llmos.quantile import quantile

FEWEST_ROUNDS, MOST_ROUNDS = 3, 40

Sample = Callable[[], Mapping[str, float]]
"""Takes one sample: seconds, by the names of `llmos.costs.system.WHAT`."""

Probe = Callable[[], AbstractContextManager[Sample]]
"""Prepares the sampling of something, and clears up after it."""


class LackError(Exception):
    """Something that cannot be measured on this machine, and why."""


LACKS = (LackError, OSError, MemoryError)


@dataclass
class SystemRounds:
    """The measuring of an operating system under way: samples so far, and what is worth a note."""

    progress: Progress
    notes: list[str] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, probes: AbstractContextManager[Mapping[str, Probe]], deadline: float) -> None:
        """Take samples until `deadline` (of time.monotonic) or the rounds are spent."""
        try:
            with probes as known, ExitStack() as stack:
                self._rounds(self._opened(known, stack), deadline)
        except KeyboardInterrupt:
            self.notes.append("interrupted before its end")

    def _opened(self, probes: Mapping[str, Probe], stack: ExitStack) -> dict[str, Sample]:
        samplers: dict[str, Sample] = {}
        for what, probe in probes.items():
            self.progress(0.0, what)
            try:
                samplers[what] = stack.enter_context(probe())
            except LACKS as error:
                self._leave_out(what, error)
        return samplers

    def _rounds(self, samplers: dict[str, Sample], deadline: float) -> None:
        begun = time.monotonic()
        for done in range(MOST_ROUNDS):
            if done >= FEWEST_ROUNDS and time.monotonic() > deadline:
                return
            for what in random.Random(done).sample(list(samplers), len(samplers)):
                by_time = (time.monotonic() - begun) / max(deadline - begun, 1e-9)
                self.progress(min(0.99, max(done / MOST_ROUNDS, by_time)), what)
                try:
                    found = samplers[what]()
                except LACKS as error:
                    del samplers[what]
                    self._leave_out(what, error)
                    continue
                for name, seconds in found.items():
                    self.samples.setdefault(name, []).append(seconds)

    def _leave_out(self, what: str, error: Exception) -> None:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.notes.append(f"{what} left out: {why}")

    def figures(self) -> tuple[dict[str, Measured], list[str]]:
        """What was measured often enough and stands out of the noise; and a note for what does not."""
        figures, missing = {}, []
        for name in sorted(self.samples, key=[*WHAT].index):
            samples = self.samples[name]
            low, middle, high = (_four_digits(quantile(samples, part)) for part in (0.1, 0.5, 0.9))
            if len(samples) < FEWEST_ROUNDS:
                missing.append(f"{name} left out: only {len(samples)} of {FEWEST_ROUNDS} samples")
            elif low <= 0:
                missing.append(f"{name} left out: it is lost in the noise")
            else:
                figures[name] = Measured(middle, low, high, len(samples))
        return figures, missing


def _four_digits(value: float) -> float:
    return float(f"{value:.3e}")
