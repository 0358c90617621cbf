"""Taking a machine's moods out of what is timed on it.

- A core whose other thread somebody else uses, or one that runs hot, can be a third slower in one minute
  than in the next. No clock tells: the time is the program's own, and there is more of it.
- So a *probe* runs before each sample: always the same iteration of the same model, or the same product.
  How much longer it takes than usual is the slowdown of the moment, and the sample is divided by that.
- What is usual is a matter of the calibration, and stands in the profile. So a validation tells the errors
  of the model from the drift of the machine; it reports both.

Source: paired measurements, as in Bulej et al., Duet Benchmarking, ICPE 2020; there the two run at once on
two cores, here by turns on one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from llmos.costs.decoder import Composition
from llmos.costs.ops import Matmul
from llmos.quantile import quantile

PROBE: Final = Composition(decode=(256,) * 4, sampled=4)
"""The probe of a model: an iteration that reads all of its weights, and some keys and values."""
PRODUCT: Final = Matmul(16, 512, 1024, "fp32")
"""The probe of a device: it computes about as long as it reads."""
LAST: Final = 3
"""The slowdown is the median of so many probes, for a probe can have a hiccup of its own."""


@dataclass
class Steady:
    """How slow the machine is at the moment.

    probe: runs what is always the same, and gives its time in seconds. usual_s: what that takes usually.
    slowdowns: those of all probes so far, 1 for none.
    """

    probe: Callable[[], float]
    usual_s: float = 1.0
    slowdowns: list[float] = field(default_factory=list)

    def slowdown(self) -> float:
        """Run the probe; returns how many times longer than usual things take now."""
        self.slowdowns.append(self.probe() / self.usual_s)
        return quantile(self.slowdowns[-LAST:], 0.5)

    def usual(self) -> float:
        """The median slowdown: where `usual_s` is 1, what a probe usually takes, in seconds."""
        return quantile(self.slowdowns, 0.5)
