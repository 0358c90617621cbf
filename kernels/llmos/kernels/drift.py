"""Whether a profile still holds: a few of its rows are timed again.

- The ratio of now over then says how far the machine has drifted; 1.0 is not at all.
- Beside it stands the noise floor of the profile: a drift within it means nothing.
"""

import random
import time
from dataclasses import dataclass

from llmos.costs.profile import Profile, Row, Spread
from llmos.errors import ProfileError
from llmos.kernels.device import open_device
from llmos.kernels.steady import FAST, PRODUCT, Steady
from llmos.quantile import quantile

PROBES = 12
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Drift:
    """How the machine compares with its profile: time now over time then.

    ratio: the median over the probes; low, high: the extremes; probes: each row with its own ratio;
    noise: the profile's noise floor, None when it has none.
    """

    ratio: float
    low: float
    high: float
    probes: tuple[tuple[Row, float], ...]
    noise: Spread | None

    @property
    def within_noise(self) -> bool:
        """Whether the drift is no larger than what two measurements in a row differ by."""
        return self.noise is not None and abs(self.ratio - 1) <= self.noise.p95


def check_profile(profile: Profile, device: str = "cpu", *, budget_s: float = 2.0) -> Drift:
    """Time a dozen rows of the profile again, for about `budget_s` seconds.

    Raises ProfileError when the profile was not measured, or the device is not there.
    """
    if profile.kind != "measured" or not profile.rows:
        raise ProfileError(
            f"profile {profile.name} was not measured: there is nothing to check",
            hint="measure this machine: llmos calibrate --quick",
        )
    affordable = [row for row in profile.rows if row.seconds < budget_s / (2 * PROBES * ROUNDS)]
    rows = _spread_out(affordable or [min(profile.rows, key=lambda row: row.seconds)])
    deadline = time.monotonic() + budget_s
    samples: dict[int, list[float]] = {index: [] for index in range(len(rows))}
    with open_device(device) as machine:
        steady = Steady(lambda: machine.sample(PRODUCT))
        for row in rows:
            machine.sample(row.op)  # warms up, and is thrown away
        for turn in range(ROUNDS):
            if turn >= 2 and time.monotonic() > deadline:
                break
            for index in random.Random(turn).sample(range(len(rows)), len(rows)):
                steady.run()
                samples[index].append(machine.sample(rows[index].op))
    usual = steady.usual_of_fast()  # As the rows are.
    probes = tuple(
        (row, usual * quantile(samples[index], FAST) / row.seconds) for index, row in enumerate(rows)
    )
    ratios = [ratio for _, ratio in probes]
    return Drift(quantile(ratios, 0.5), min(ratios), max(ratios), probes, profile.noise)


def _spread_out(rows: list[Row]) -> list[Row]:
    """About a dozen rows, evenly spread over the profile's order (kind, dtype, curve, size)."""
    step = max(1, len(rows) // PROBES)
    return rows[step // 2 :: step][:PROBES]
