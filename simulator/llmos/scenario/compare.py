"""Schedulers side by side: the same scenario, the same seeds, one column each.

- All schedulers see the same arrivals and demands: a workload depends on the seed, never on the
  policy.
- A mean over several seeds carries its 95 % confidence interval (Student's t over the seeds). One
  seed has no interval, and none is invented.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom (any statistics textbook).
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds; the true mean lies within +- `half_width` with 95 % confidence (None: one seed)."""

    mean: float
    half_width: float | None
    n: int


def estimate(values: list[float]) -> Estimate:
    """Return the mean of `values` (one per seed, at least one) with its 95 % confidence interval."""
    n = len(values)
    mean = sum(values) / n
    if n == 1:
        return Estimate(mean, None, n)
    deviation = sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    t = T_95[n - 2] if n - 2 < len(T_95) else 1.96
    return Estimate(mean, t * deviation / sqrt(n), n)


@dataclass(slots=True)
class Column:
    """What one scheduler did: a number per metric and seed, and the samples of all seeds pooled."""

    scheduler: str
    values: dict[str, list[float]] = field(default_factory=dict)
    """Metric name -> one value per seed (`llmos.trace.metrics`)."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """"cpu.response", "llm.ttft", ... -> one value per task, over all seeds (ns)."""
    hashes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """Columns for one scenario; `profile` names the source of the costs and its error."""

    scenario: str
    question: str
    profile: str
    seeds: list[int]
    columns: list[Column]
