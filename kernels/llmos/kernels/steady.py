"""Taking a machine's moods out of what is timed on it.

- A core whose other thread somebody else uses, or one that runs hot, can be a third slower in one minute
  than in the next. No clock tells: the time is the program's own, and there is more of it.
- So a *probe* runs beside the samples: always the same iteration of the same model, or the same product.
  How much longer it takes than usual is the slowdown of the moment; an iteration is divided by that.
- What is usual is a matter of the calibration, and stands in the profile. So a validation tells the errors
  of the model from the drift of the machine; it reports both.

Source: paired measurements, as in Bulej et al., Duet Benchmarking, ICPE 2020; there the two run at once on
two cores, here by turns on one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from llmos.costs.decoder import Composition
from llmos.costs.ops import Matmul
from llmos.quantile import quantile

PROBE: Final = Composition(decode=(256,) * 4, sampled=4)
"""The probe of a model: an iteration that reads all of its weights, and some keys and values."""
PRODUCT: Final = Matmul(16, 512, 1024, "fp32")
"""The probe of a device: it computes about as long as it reads."""
FAST: Final = 0.1
"""The part of all moments that is fast."""
NEAR: Final = 2
"""So many probes before that of a sample, and after it, tell its slowdown, too: each can have a hiccup."""


class Sample(NamedTuple):
    """The seconds that something took, right after the probe of that number."""

    seconds: float
    probe: int


@dataclass
class Steady:
    """How slow the machine is at the moment, and was when a sample was taken.

    probe: runs what is always the same, and gives its time in seconds. usual_s: what that takes usually.
    slowdowns: those of all probes so far, 1 for none.
    """

    probe: Callable[[], float]
    usual_s: float = 1.0
    slowdowns: list[float] = field(default_factory=list)

    def run(self) -> int:
        """Run the probe; returns its number, for a sample."""
        self.slowdowns.append(self.probe() / self.usual_s)
        return len(self.slowdowns) - 1

    def slowdown(self) -> float:
        """Run the probe; returns how many times longer than usual things take now."""
        return self._around(self.run())

    def usual_of_fast(self) -> float:
        """How many times longer things usually take than in the machine's fast moments."""
        return self.usual() / quantile(self.slowdowns, FAST)

    def steadied(self, samples: Iterable[Sample]) -> list[float]:
        """Each sample in seconds of a machine as fast as usual; where `usual_s` is 1, in times of a probe."""
        return [sample.seconds / self._around(sample.probe) for sample in samples]

    def _around(self, number: int) -> float:
        """The median slowdown of that probe and of those near it, so far as they have run."""
        return quantile(self.slowdowns[max(0, number - NEAR) : number + NEAR + 1], 0.5)

    def usual(self) -> float:
        """The median slowdown: where `usual_s` is 1, what a probe usually takes, in seconds."""
        return quantile(self.slowdowns, 0.5)
