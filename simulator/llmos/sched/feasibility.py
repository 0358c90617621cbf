"""Will all deadlines be met? Tests that answer before anything runs, and say why.

- The tests of this file are for one core; `explain` finds those that fit a policy, on several cores too.
- An irrational bound is compared exactly, as a power: (U/n + 1)^n <= 2.
- The tests assume preemption that costs nothing, jobs that wait for nothing but the core, and tasks
  that all are released at once some time. A period is the least time between two releases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Final

from llmos.errors import LlmosError, did_you_mean
from llmos.sched.base import duration
from llmos.sched.multicore import edf_us, global_dm, global_edf, necessary, rm_us
from llmos.sched.periodic import (
    PeriodicTask,
    TaskSet,
    Verdict,
    deadline_monotonic,
    hopeless,
    out_of_scope,
    rate_monotonic,
    sum_of_shares,
    utilisation,
)

MOST_STEPS: Final = 100_000
"""A test that needs more steps than this gives up: it cannot tell."""


@dataclass(frozen=True, slots=True)
class Response:
    """How the worst response time of a task was found."""

    task: PeriodicTask
    steps: tuple[int, ...]
    """The guesses (ns): each is the work that arrives before the guess before it is over."""
    ok: bool | None
    """Whether the last guess is the response time and in time; None if the search was given up."""

    @property
    def ns(self) -> int | None:
        """The worst response time; None if it is past the deadline, or unknown."""
        return self.steps[-1] if self.ok else None


# --- fixed priorities on one core -------------------------------------------------------------------


def liu_layland_bound(n: int) -> float:
    """The utilisation up to which any `n` tasks (at least 1) are safe under rate monotonic."""
    return float(n * (2 ** (1 / n) - 1))


def liu_layland(tasks: TaskSet) -> Verdict:
    """Test the utilisation against n(2^(1/n) - 1): sufficient for RM with deadlines = periods."""
    test, source = "utilisation bound of rate monotonic", "Liu and Layland 1973"
    if verdict := hopeless(tasks, 1, test, source) or out_of_scope(tasks, test, source):
        return verdict
    n, used = len(tasks), utilisation(tasks)
    ok = (used / n + 1) ** n <= 2 if n else True
    bound = f"{liu_layland_bound(n):.4g} = {n}(2^(1/{n}) - 1)" if n else "0"
    end = "rate monotonic is sure to meet all deadlines" if ok else "above the bound, the test cannot tell"
    return Verdict(
        ok or None, test, (f"{sum_of_shares(tasks)} {'<=' if ok else '>'} {bound}: {end}",), source
    )


def hyperbolic(tasks: TaskSet) -> Verdict:
    """Test whether the product of all (U + 1) is at most 2: sufficient for RM, and never weaker than U."""
    test, source = "hyperbolic bound of rate monotonic", "Bini, Buttazzo and Buttazzo 2003"
    if verdict := hopeless(tasks, 1, test, source) or out_of_scope(tasks, test, source):
        return verdict
    product = prod((task.share + 1 for task in tasks), start=Fraction(1))
    ok = product <= 2
    end = "rate monotonic is sure to meet all deadlines" if ok else "above the bound, the test cannot tell"
    factors = " × ".join(f"({task.share} + 1)" for task in tasks) or "1"
    line = f"{factors} = {float(product):.4g} {'<=' if ok else '>'} 2: {end}"
    return Verdict(ok or None, test, (line,), source)


def response_times(tasks: TaskSet) -> tuple[Response, ...]:
    """Find the worst response time of each task; `tasks` in the order of priority, the first most urgent.

    The worst case is a release together with all others (the critical instant). A task is answered
    after its own work and all more urgent work that comes until then: R = C + sum of ceil(R/T_j) C_j,
    solved by repetition from below. Deadlines must not be after the ends of the periods.

    Raises LlmosError if a deadline is.
    Source: Joseph and Pandya 1986; Audsley et al. 1993.
    """
    for task in tasks:
        if task.due_ns > task.period_ns:
            raise LlmosError(
                f"task {task.name} is due after its next release: this analysis knows one job of a task",
                hint="give it a deadline that is at most its period",
            )
    return tuple(_response(task, tasks[:rank]) for rank, task in enumerate(tasks))


def _response(task: PeriodicTask, urgent: TaskSet) -> Response:
    guess, steps = task.wcet_ns, [task.wcet_ns]
    for _ in range(MOST_STEPS):
        if guess > task.due_ns:
            return Response(task, tuple(steps), ok=False)
        longer = task.wcet_ns + sum(-(-guess // other.period_ns) * other.wcet_ns for other in urgent)
        if longer == guess:
            return Response(task, tuple(steps), ok=True)
        guess = longer
        steps.append(guess)
    return Response(task, tuple(steps), ok=None)


def response_time_analysis(tasks: TaskSet) -> Verdict:
    """Test fixed priorities exactly; `tasks` in the order of priority, the first most urgent."""
    test, source = "response-time analysis", "Joseph and Pandya 1986; Audsley et al. 1993"
    late = next((task for task in tasks if task.due_ns > task.period_ns), None)
    if late is not None:
        return Verdict(None, test, (f"{late.name} is due after its next release: not for this test",), source)
    answers = response_times(tasks)
    lines = tuple(_explain_response(answer) for answer in answers)
    oks = {answer.ok for answer in answers}
    return Verdict(False if False in oks else None if None in oks else True, test, lines, source)


def _explain_response(answer: Response) -> str:
    shown = [_time(ns) for ns in answer.steps]
    if len(shown) > 8:
        shown = [*shown[:4], "…", *shown[-3:]]
    end = {True: "<=", False: ">", None: "and still growing, given up; deadline"}[answer.ok]
    return f"{answer.task.name}: R = {' -> '.join(shown)} {end} {_time(answer.task.due_ns)}"


# --- earliest deadline first on one core ------------------------------------------------------------


def edf_utilisation(tasks: TaskSet) -> Verdict:
    """Test U <= 1: exact for EDF on one core if no deadline comes before the end of its period."""
    test, source = "utilisation test of EDF", "Liu and Layland 1973"
    if verdict := hopeless(tasks, 1, test, source) or out_of_scope(tasks, test, source):
        return verdict
    line = f"{sum_of_shares(tasks)} <= 1: EDF is sure to meet all deadlines"
    return Verdict(True, test, (line,), source)


def demand_ns(tasks: TaskSet, t: int) -> int:
    """The work (ns) that is both released and due in the first `t` ns, if all are released at 0."""
    return sum(max(0, (t - task.due_ns) // task.period_ns + 1) * task.wcet_ns for task in tasks)


def edf_demand(tasks: TaskSet) -> Verdict:
    """Test the demand of every interval: exact for EDF on one core, for any deadlines.

    All work that must be done within an interval has to fit into it. Only the time until the core
    would first be idle matters, and of that only deadlines; the search goes backwards from the end
    and jumps to the demand that it finds (QPA), so it looks at few of them.

    Source: Baruah, Rosier and Howell 1990; Zhang and Burns 2009 (QPA).
    """
    test = "processor demand test of EDF"
    source = "Baruah, Rosier and Howell 1990; Zhang and Burns 2009"
    if verdict := hopeless(tasks, 1, test, source):
        return verdict
    end = _end_of_search(tasks)
    if end is None:
        return Verdict(None, test, (f"the core stays busy for more than {MOST_STEPS:,} steps",), source)
    ok, looked = _search_demand(tasks, end)
    lines = [f"all released at once, the demand matters until {_time(end)}"]
    lines += [f"until {_time(t)}: demand {_time(h)}" for t, h in looked[:6]]
    if len(looked) > 6:
        lines.append(f"… {len(looked) - 6} more")
    if ok is None:
        lines.append(f"given up after {MOST_STEPS:,} steps")
    elif ok:
        lines.append("no interval demands more than its length: EDF is sure to meet all deadlines")
    else:
        t, h = looked[-1]
        lines.append(f"{_time(h)} of work are due within {_time(t)}: nobody can do that")
    return Verdict(ok, test, tuple(lines), source)


def _search_demand(tasks: TaskSet, end: int) -> tuple[bool | None, list[tuple[int, int]]]:
    """Look for a deadline up to `end` by which more is due than fits; also tell where it looked."""
    first = min((task.due_ns for task in tasks), default=0)
    looked: list[tuple[int, int]] = []
    t = _last_deadline_before(tasks, end + 1)
    for _ in range(MOST_STEPS):
        if t is None:
            return True, looked
        demand = demand_ns(tasks, t)
        looked.append((t, demand))
        if demand > t:
            return False, looked
        if demand <= first:  # whatever is due even earlier fits too
            return True, looked
        t = demand if demand < t else _last_deadline_before(tasks, t)
    return None, looked


def _last_deadline_before(tasks: TaskSet, t: int) -> int | None:
    """The latest deadline (ns) before `t`, if all are released at 0."""
    deadlines = (
        task.due_ns + (t - 1 - task.due_ns) // task.period_ns * task.period_ns
        for task in tasks
        if task.due_ns < t
    )
    return max(deadlines, default=None)


def _end_of_search(tasks: TaskSet) -> int | None:
    """The time (ns) after which the demand cannot be too high for the first time; None if unknown."""
    used = utilisation(tasks)
    ends = []
    if used < 1:
        # From here on the demand, at most U t + sum of (T - D) U, is below the line t.
        slack = sum((max(0, task.period_ns - task.due_ns) * task.share for task in tasks), Fraction(0))
        ends.append(max(int(slack / (1 - used)), max((task.due_ns for task in tasks), default=0)))
    if (busy := _busy_ns(tasks)) is not None:
        ends.append(busy)
    return min(ends, default=None)


def _busy_ns(tasks: TaskSet) -> int | None:
    """How long (ns) the core is busy without a pause after all are released at once."""
    busy = sum(task.wcet_ns for task in tasks)
    for _ in range(MOST_STEPS):
        longer = sum(-(-busy // task.period_ns) * task.wcet_ns for task in tasks)
        if longer == busy:
            return busy
        busy = longer
    return None


def _time(ns: int) -> str:
    """Write a time with all its digits: 1 ns may decide."""
    return duration(ns, 18)


# --- all that fit a policy --------------------------------------------------------------------------


def explain(tasks: TaskSet, policy: str, cores: int = 1) -> list[Verdict]:
    """Apply the tests that fit `policy` (edf, llf, rm, dm, priority, edf-us or rm-us) on `cores` cores.

    For "priority" the order of `tasks` is the order of priority, the most urgent first.
    Raises LlmosError if no test fits.
    """
    if cores < 1:
        raise LlmosError(f"there are {cores} cores", hint="give at least 1")
    tests = _TESTS.get(policy)
    if tests is None:
        raise LlmosError(
            f'no feasibility test fits the policy "{policy}"; there are tests for {", ".join(_TESTS)}',
            hint=did_you_mean(policy, list(_TESTS)),
        )
    return tests(tasks, cores)


def _for_edf(tasks: TaskSet, cores: int) -> list[Verdict]:
    return [global_edf(tasks, cores)] if cores > 1 else [edf_utilisation(tasks), edf_demand(tasks)]


def _for_llf(tasks: TaskSet, cores: int) -> list[Verdict]:
    return [necessary(tasks, cores)] if cores > 1 else _for_edf(tasks, 1)


def _for_rm(tasks: TaskSet, cores: int) -> list[Verdict]:
    if cores == 1:
        return [liu_layland(tasks), hyperbolic(tasks), response_time_analysis(rate_monotonic(tasks))]
    periods_are_deadlines = all(task.due_ns == task.period_ns for task in tasks)
    return [(global_dm if periods_are_deadlines else necessary)(tasks, cores)]


def _for_dm(tasks: TaskSet, cores: int) -> list[Verdict]:
    return [global_dm(tasks, cores)] if cores > 1 else [response_time_analysis(deadline_monotonic(tasks))]


def _for_priority(tasks: TaskSet, cores: int) -> list[Verdict]:
    return [necessary(tasks, cores) if cores > 1 else response_time_analysis(tasks)]


_TESTS: Final[Mapping[str, Callable[[TaskSet, int], list[Verdict]]]] = {
    "edf": _for_edf,
    "llf": _for_llf,
    "rm": _for_rm,
    "dm": _for_dm,
    "priority": _for_priority,
    "edf-us": lambda tasks, cores: [edf_us(tasks, cores)],
    "rm-us": lambda tasks, cores: [rm_us(tasks, cores)],
}
