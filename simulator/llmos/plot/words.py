"""What a figure calls things, and how it writes numbers.

- A metric is `world.quantity_statistic[_unit]`, as `llmos.trace.metrics` names it.
- A time is written in the largest of ns, µs, ms, s that the largest of its neighbours fills.
- Three significant digits: nobody reads more off a picture, and a seed would change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from llmos.trace.events import Run

WORLDS = {"cpu": "CPU tasks", "llm": "LLM requests"}
MEMBERS = {"cpu": "tasks", "llm": "requests"}
SUBJECTS = {**WORLDS, "memory": "Memory"}
STATISTICS = {"mean": "mean", "p50": "median", "p95": "95th percentile", "max": "longest"}

QUANTITIES = {
    "response": "Response time",
    "turnaround": "Turnaround time",
    "waiting": "Waiting time",
    "slowdown": "Slowdown",
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "tasks": "Tasks",
    "finished": "Finished",
    "preemptions": "Preemptions",
    "migrations": "Migrations",
    "deadline_misses": "Deadline misses",
    "switches": "Context switches",
    "throughput": "Throughput",
    "utilisation": "Utilisation",
    "overhead": "Kernel and switching",
    "tokens": "Token rate",
    "accesses": "References",
    "minor_faults": "Minor faults",
    "major_faults": "Major faults",
    "faults_per_1000": "Faults per 1,000 references",
    "evictions": "Evictions",
    "writebacks": "Evicted pages written",
    "oom_kills": "OOM kills",
    "page_cache_hit_ratio": "Page cache hit ratio",
    "readahead_wasted": "Pages read ahead in vain",
    "written_back": "Pages written back",
    "huge_faults": "Huge pages at the first touch",
    "huge_promotions": "Promotions to huge pages",
    "huge_splits": "Splits of huge pages",
    "huge_untouched": "Untouched parts of huge pages",
    "huge_cost": "Promoting, splitting and moving",
    "merging_saved": "Pages saved by merging",
    "merging_cost": "Scanning and merging",
    "tlb_first_miss_ratio": "TLB miss ratio, first level",
    "tlb_miss_ratio": "TLB miss ratio",
    "access": "Access time",
    "effective_access": "Effective access time",
}
# The field has other words for the same thing in the other world.
IN_LLM = {"response": "Time to first run", "turnaround": "End-to-end time", "tasks": "Requests"}

HIGHER = {"finished", "throughput", "utilisation", "tokens", "page_cache_hit_ratio", "merging_saved"}
NEITHER = {"tasks", "accesses", "written_back", "huge_faults", "huge_promotions", "huge_splits"}
SHARES = {"utilisation", "overhead", "tlb_first_miss_ratio", "tlb_miss_ratio", "page_cache_hit_ratio"}
RATES = {"throughput": "per s", "tokens": "tokens per s"}


@dataclass(frozen=True, slots=True)
class Unit:
    """What numbers are divided by, and what is then written behind them."""

    name: str
    size: float


TIMES = (Unit("s", 1e9), Unit("ms", 1e6), Unit("µs", 1e3), Unit("ns", 1.0))


def time_unit(longest_ns: float) -> Unit:
    """Return the largest unit of time that `longest_ns` fills."""
    return next((unit for unit in TIMES if longest_ns >= unit.size), TIMES[-1])


@dataclass(frozen=True, slots=True)
class Wording:
    """A metric in words: `better` is "lower", "higher" or "" when neither is."""

    world: str
    quantity: str
    statistic: str
    better: str
    kind: str
    """"time" (ns), "share" (0..1), "rate" (per second) or "number"."""

    @property
    def members(self) -> str:
        """What the metric is of: "CPU tasks"."""
        return SUBJECTS.get(self.world, self.world)

    def unit(self, values: Sequence[float]) -> Unit:
        """Return the unit in which `values` of this metric are best written together."""
        if self.kind == "time":
            return time_unit(max(values, default=0))
        return Unit("%", 0.01) if self.kind == "share" else Unit("", 1)

    def small_print(self, unit: Unit) -> str:
        """Return statistic, unit and direction: "mean in ms, lower is better"."""
        name = RATES.get(self.quantity, "") if self.kind == "rate" else unit.name
        what = " in ".join(filter(None, [self.statistic, name])) if self.statistic else name
        return ", ".join(filter(None, [what, f"{self.better} is better" if self.better else ""]))


def wording(metric: str) -> tuple[str, Wording]:
    """Return the title of a metric and the rest of its description; an unknown one keeps its own name."""
    world, _, rest = metric.rpartition(".")
    timed = rest.endswith("_ns")
    rest = rest.removesuffix("_ns")
    rate = rest.endswith("_per_s")
    rest = rest.removesuffix("_per_s")
    quantity, _, statistic = rest.rpartition("_")
    if statistic not in STATISTICS:
        quantity, statistic = rest, ""
    better = "higher" if quantity in HIGHER else "" if quantity in NEITHER else "lower"
    if quantity not in QUANTITIES:
        better = ""
    kind = "time" if timed else "rate" if rate else "share" if quantity in SHARES else "number"
    return name_of(quantity, world), Wording(world, quantity, STATISTICS.get(statistic, ""), better, kind)


def in_words(metric: str) -> str:
    """Return a metric's title as it stands within a sentence: "response time"."""
    title = wording(metric)[0]
    return title[:1].lower() + title[1:]


def is_metric(metric: str) -> bool:
    """Return whether a run can have such a metric, measured or not."""
    words = wording(metric)[1]
    return words.world in SUBJECTS and words.quantity in QUANTITIES


def name_of(quantity: str, world: str) -> str:
    """Return what a quantity is called in a world."""
    own = quantity.replace("_", " ").capitalize()
    return (IN_LLM.get(quantity) if world == "llm" else None) or QUANTITIES.get(quantity, own)


def number(value: float) -> str:
    """Write a number with three significant digits, and all digits of what is before the point."""
    if not isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1e9 or abs(value) < 1e-4:
        return f"{value:.2e}"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - floor(log10(abs(rounded))))}f}"


def duration(ns: float) -> str:
    """Write a time with the unit that fits it: 1_500_000 -> "1.5 ms"."""
    unit = time_unit(abs(ns))
    amount = ns / unit.size
    return f"{amount:,.0f} {unit.name}" if abs(amount) >= 1000 else f"{amount:.3g} {unit.name}"


def ranges(numbers: Sequence[int]) -> str:
    """Write whole numbers shortly: [0, 1, 2, 5, 6] -> "0–2, 5, 6"."""
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def seeds(numbers: Sequence[int]) -> str:
    """Write which seeds: "seed 3", "seeds 0–4"."""
    return f"seed{'s' if len(set(numbers)) > 1 else ''} {ranges(numbers)}" if numbers else ""


def caption(scenario: str, numbers: Sequence[int], convention: str, profile: str, *remarks: str) -> list[str]:
    """Return what stands below a figure: what was run (with the seeds `numbers`), and with which costs."""
    about = [
        f"Scenario {scenario}" if scenario else "",
        seeds(numbers),
        f"convention {convention}" if convention else "",
        *remarks,
    ]
    return [" · ".join(filter(None, about)), f"Costs: {profile}" if profile else ""]


def caption_of(header: Run, *remarks: str) -> list[str]:
    """Return what stands below a figure of one run."""
    return caption(header.scenario, [header.seed], header.convention, header.profile, *remarks)


def counted(n: int, one: str, many: str = "") -> str:
    """Write "1 core", "2 cores", "1,000 cores"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
