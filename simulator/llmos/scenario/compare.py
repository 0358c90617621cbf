"""Policies side by side: the same scenario, the same seeds, one column each.

- A column is a scheduler, a replacement policy of the memory, or one of each: of several schedulers and
  several replacement policies, every combination has its column.
- All policies see the same arrivals and demands: a workload depends on the seed, never on the policy.
- A mean over several seeds carries its 95 % confidence interval (Student's t over the seeds). One
  seed has no interval, and none is invented.
- The same work makes pairs: `Comparison.difference` compares a column with the first one seed by
  seed, so that what the seeds do to both cancels. Its interval is mostly much narrower than the two
  means' own: whether it holds 0 says whether the policies differ by more than chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from llmos.errors import LlmosError, RunError
from llmos.scenario.build import Choice, build, policy_of, worlds
from llmos.scenario.machine import Outcome, run
from llmos.scenario.memory import replacement_of
from llmos.scenario.points import seeds_of
from llmos.scenario.policies import label
from llmos.scenario.source import Findings, Scenario
from llmos.trace.metrics import QUANTITIES, WORLDS, metrics, samples

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

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def estimate(values: list[float]) -> Estimate:
    """Return the mean of `values` (one per seed, at least one) with its 95 % confidence interval."""
    n = len(values)
    mean = fmean(values)
    if n == 1:
        return Estimate(mean, None, n)
    deviation = stdev(values)  # exact before it is rounded: equal values have none
    return Estimate(mean, _t_95(n - 1) * deviation / sqrt(n), n)


def _t_95(freedom: int) -> float:
    """The quantile for so many degrees of freedom; beyond the table, its expansion about the normal one.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclass(slots=True)
class Column:
    """What one choice of policies did: a number per metric and seed, and the samples of all seeds pooled."""

    scheduler: str
    """"" if it is the scenario's own."""
    values: dict[str, list[float]] = field(default_factory=dict)
    """Metric name -> one value per seed (`llmos.trace.metrics`)."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """"cpu.response", "llm.ttft", ... -> one value per task, over all seeds (ns)."""
    hashes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Runs that did not do what they set out to do, and why; they have no numbers."""
    replacement: str = ""
    """"" if it is the scenario's own."""

    @property
    def name(self) -> str:
        """What the column is called: its policies."""
        return " + ".join(filter(None, (self.scheduler, self.replacement)))


@dataclass(slots=True)
class Comparison:
    """Columns for one scenario; `profile` names the source of the costs and its error."""

    scenario: str
    question: str
    profile: str
    seeds: list[int]
    columns: list[Column]
    convention: str = ""
    asked: Sequence[str] = ()
    """The metrics that the scenario's [compare] asks for."""

    def difference(self, column: Column, metric: str) -> Estimate | None:
        """How much more of `metric` the column has than the first one: mean of the seeds' differences.

        None for the first column itself, and where a seed has no such number under one of the two.
        """
        first = self.columns[0]
        here, there = column.values.get(metric, []), first.values.get(metric, [])
        if column is first or not len(here) == len(there) == len(self.seeds):
            return None
        return estimate([a - b for a, b in zip(here, there, strict=True)])


def compare(
    scenario: Scenario,
    schedulers: Sequence[Choice] | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    replacements: Sequence[Choice] | None = None,
    profile: str | None = None,
) -> Comparison:
    """Run `scenario` with each scheduler, each replacement policy and each seed.

    When neither kind of policy is given, both are as its [compare] says, as are the seeds; a path among
    those given starts at the current folder. `progress` gets the runs that are done and their total. A run
    that fails is noted in its column. Raises ScenarioError when a policy does not fit, and RunError when
    no run at all does what it set out to do.
    """
    plan = scenario.model.compare
    folder = Path()
    if schedulers is None and replacements is None and plan:
        schedulers, replacements, folder = plan.schedulers, plan.replacements, scenario.folder
    if seeds is None:
        seeds = seeds_of(scenario, plan.seeds if plan else 1)
    if not (schedulers or replacements) or not seeds:
        raise LlmosError(
            "there is nothing to compare",
            file=scenario.file,
            hint="name schedulers or replacement policies, or give the scenario a [compare]",
        )
    _fit(scenario, schedulers or (), replacements or (), folder)
    source = ""
    none: list[Choice | None] = [None]
    choices = list(product(schedulers or none, replacements or none))
    columns = [Column(_label(scheduler), replacement=_label(other)) for scheduler, other in choices]
    done = 0
    for (scheduler, replacement), column in zip(choices, columns, strict=True):
        for seed in seeds:
            spec = build(
                scenario, seed=seed, scheduler=scheduler, replacement=replacement, profile=profile,
                folder=folder,
            )  # fmt: skip
            outcome = run(spec, keep_spans=False)
            column.hashes.append(outcome.log_sha256)
            if outcome.ok:
                _add(column, outcome)
            else:
                column.failures.append(f"seed {seed}: {outcome.reason}")
            source = spec.profile
            done += 1
            if progress:
                progress(done, len(choices) * len(seeds))
    if not any(column.values for column in columns):
        raise RunError(f"{columns[0].name} with {columns[0].failures[0]}", file=scenario.file)
    return Comparison(
        scenario.name,
        scenario.question,
        source,
        list(seeds),
        columns,
        scenario.model.convention,
        plan.metrics if plan else (),
    )


def _label(choice: Choice | None) -> str:
    return "" if choice is None else label(choice)


def _fit(
    scenario: Scenario, schedulers: Sequence[Choice], replacements: Sequence[Choice], folder: Path
) -> None:
    """Try all policies before the first long run; raises ScenarioError with all their problems."""
    findings = Findings(None, {})
    for choice in replacements:
        replacement_of(scenario, choice, ("replacements",), findings, folder)
    for choice in schedulers:
        for world in worlds(scenario):
            policy_of(scenario, choice, world, ("schedulers",), findings, folder)
    findings.raise_any()


def _add(column: Column, outcome: Outcome) -> None:
    for name, value in metrics(outcome.state).items():
        column.values.setdefault(name, []).append(value)
    for world in WORLDS.values():
        for quantity in QUANTITIES:
            found = samples(outcome.state, world, quantity)
            if found:
                column.samples.setdefault(f"{world}.{quantity}", []).extend(found)
