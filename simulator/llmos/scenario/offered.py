"""Offered load: arrivals as fast as the machine can just bear, or not.

- `load = 0.7` asks for a Poisson stream that keeps the processor busy 70 % of the time, whatever the
  work costs on this machine. So a scenario says the same on a fast machine as on a slow one.
- load = work that arrives per time / work that the processor can do per time (queueing's rho). For
  tasks the work is CPU time, over all cores; waiting and the kernel's own work do not count.
- For requests it is the time that each takes in a full batch: its share of an iteration for every
  output token, and the time its prompt adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Final

from llmos.costs.model import CostModel
from llmos.process.program import Compute
from llmos.process.program import Work as Operation
from llmos.scenario import positions
from llmos.scenario.machine import RequestSpec, TaskSpec
from llmos.scenario.units import LONGEST_NS
from llmos.serving.pacing import Foreseen

UNIT_NS: Final = 10**9
"""The mean gap with which such arrivals are drawn, before anybody knows what the work costs."""

MOST_CALLS: Final = 100_000
"""A program with more system calls than this is too long to add up."""


class EndlessError(ValueError):
    """A program's length cannot be told beforehand."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A workload at `path` that asks for `load`: its members are `first` to `last` - 1 of their list."""

    path: positions.Path
    load: Fraction
    start_ns: int
    first: int
    last: int


def pace_tasks(tasks: list[TaskSpec], offer: Offer, cores: int, costs: CostModel | None) -> None:
    """Move the arrivals of the offer's tasks so that `cores` cores get its load.

    Raises EndlessError if a program is too long to add up.
    """
    members = tasks[offer.first : offer.last]
    total = sum(_task_ns(task, costs) for task in members)
    gap = Fraction(total, max(len(members), 1)) / (offer.load * cores)
    tasks[offer.first : offer.last] = [
        replace(t, arrival_ns=_moved(t.arrival_ns, offer, gap)) for t in members
    ]


def pace_requests(requests: list[RequestSpec], offer: Offer, pacing: Foreseen, slots: int) -> None:
    """Move the arrivals of the offer's requests so that a full batch of the engine gets its load."""
    members = requests[offer.first : offer.last]
    taken = (Fraction(pacing.request_ns(r.prompt, r.output, slots)) for r in members)
    gap = sum(taken, Fraction(0)) / max(len(members), 1) / offer.load
    requests[offer.first : offer.last] = [
        replace(r, arrival_ns=_moved(r.arrival_ns, offer, gap)) for r in members
    ]


def _moved(arrival_ns: int, offer: Offer, gap_ns: Fraction) -> int:
    return min(offer.start_ns + round((arrival_ns - offer.start_ns) * gap_ns / UNIT_NS), LONGEST_NS)


def _task_ns(task: TaskSpec, costs: CostModel | None) -> int:
    calls = list(islice(_work(task, costs), MOST_CALLS + 1))
    if len(calls) > MOST_CALLS:
        raise EndlessError
    return sum(calls)


def _work(task: TaskSpec, costs: CostModel | None) -> Iterator[int]:
    """The CPU time of each system call of the task's program, 0 for those that need none."""
    for call in task.program():
        if isinstance(call, Operation) and not call.device and costs is not None:
            yield costs.predict(call.op).ns * call.count
        else:
            yield call.ns if isinstance(call, Compute) else 0
