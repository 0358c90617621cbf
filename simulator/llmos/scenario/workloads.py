"""Tasks and requests by the dozen: generated from distributions, or read from a trace.

- Each workload draws from random streams of its own, one per quantity, known by the workload's
  name: adding or changing one never shifts what another draws.
- The draws depend on the seed alone, never on a scheduler.
- What arrives comes in order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice, takewhile
from pathlib import Path
from random import Random
from typing import Any, Final

from llmos.engine.streams import stream
from llmos.scenario import traces
from llmos.scenario.arrivals import AllAtOnce, Arrival, Periodic, Poisson
from llmos.scenario.distributions import Distribution, draw, exponential
from llmos.scenario.offered import UNIT_NS
from llmos.scenario.units import LONGEST_NS, MOST_TOKENS
from llmos.scenario.work_tables import RequestWorkload, TaskWorkload

MOST_TASKS: Final = 1_000_000
"""Tasks and requests of one run, descendants included."""

Row = dict[str, Any]


def rows(workload: TaskWorkload | RequestWorkload, seed: int, folder: Path, tick_ns: int | None) -> list[Row]:
    """What the workload brings, one row each, in order of arrival; at most MOST_TASKS + 1.

    A row has `arrival` (ns) and what the trace or the distributions give: `burst` (ns), `prompt` and
    `output` (tokens), ... Raises ScenarioError when a trace cannot be read.
    """
    sizes = ("burst",) if isinstance(workload, TaskWorkload) else ("prompt", "output")
    most = MOST_TASKS + 1 if workload.count is None else workload.count
    if workload.trace is not None:
        path = folder / workload.trace
        found = traces.read(path, sizes, workload.columns, tick_ns=tick_ns, most=most)
        for row in found:
            row["arrival"] += workload.start
        found = [row for row in found if workload.until is None or row["arrival"] < workload.until]
        return sorted(found, key=lambda row: row["arrival"])
    return list(islice(_generated(workload, sizes, seed), most))


def _generated(workload: TaskWorkload | RequestWorkload, sizes: tuple[str, ...], seed: int) -> Iterator[Row]:
    def random(quantity: str) -> Random:
        return stream(seed, f"workload/{workload.name}/{quantity}")

    arrivals = _arrivals(workload.arrival, workload.start, random("arrival"))
    if workload.until is not None:
        end = workload.until
        arrivals = takewhile(lambda t: t < end, arrivals)
    drawn: list[tuple[str, Distribution, Random, int]] = []
    for name in sizes:
        source = getattr(workload, name)
        if source is not None:
            drawn.append((name, source, random(name), LONGEST_NS if name == "burst" else MOST_TOKENS))
    for arrival in arrivals:
        yield {"arrival": arrival} | {name: draw(source, r, most) for name, source, r, most in drawn}


def _arrivals(arrival: Arrival | None, start: int, random: Random) -> Iterator[int]:
    """Arrival times without end (ns); those past all time are cut to its end."""
    match arrival:
        case None | AllAtOnce():
            yield from (start for _ in count())
        case Periodic():
            yield from (min(start + i * arrival.every, LONGEST_NS) for i in count())
        case Poisson():
            gap = arrival.rate or Fraction(UNIT_NS)  # with a load, `offered` sees to the real gap
            mean = Decimal(gap.numerator) / Decimal(gap.denominator)
            yield from _after(start, lambda: round(exponential(mean, random)))
        case _:
            width = arrival.max - arrival.min + 1
            yield from _after(start, lambda: arrival.min + int(random.random() * width))


def _after(start: int, gap: Callable[[], int]) -> Iterator[int]:
    now = start
    while True:
        now = min(now + gap(), LONGEST_NS)
        yield now
