"""Tests of feasibility for several cores that share one ready queue.

- All of them are sufficient: what they pass is safe, and what they do not pass they cannot judge,
  unless nobody at all can serve it.
"""

from __future__ import annotations

from fractions import Fraction

from llmos.sched.periodic import TaskSet, Verdict, hopeless, out_of_scope, sum_of_shares, utilisation


def global_edf(tasks: TaskSet, cores: int) -> Verdict:
    """Test density <= m - (m-1) × the greatest density: sufficient for EDF on m cores."""
    test, source = "density bound of global EDF", "Goossens, Funk and Baruah 2003"
    most = max((task.density for task in tasks), default=Fraction(0))
    bound, shown = cores - (cores - 1) * most, f"{cores} - {cores - 1} × {most}"
    return hopeless(tasks, cores, test, source) or _compare(tasks, "density", bound, shown, test, source)


def global_dm(tasks: TaskSet, cores: int) -> Verdict:
    """Test density <= m/2 (1 - the greatest) + the greatest: sufficient for DM on m cores.

    For RM too, where deadlines are the ends of the periods.
    """
    test, source = "density bound of global deadline monotonic", "Bertogna, Cirinei and Lipari 2005"
    most = max((task.density for task in tasks), default=Fraction(0))
    bound, shown = Fraction(cores, 2) * (1 - most) + most, f"{cores}/2 (1 - {most}) + {most}"
    late = next((task for task in tasks if task.due_ns > task.period_ns), None)
    if late is not None:
        return Verdict(None, test, (f"{late.name} is due after its next release: not for this test",), source)
    return hopeless(tasks, cores, test, source) or _compare(tasks, "density", bound, shown, test, source)


def edf_us(tasks: TaskSet, cores: int) -> Verdict:
    """Test U <= m²/(2m-1): sufficient for EDF-US with its own threshold."""
    test, source = "utilisation bound of EDF-US", "Srinivasan and Baruah 2002"
    bound, shown = Fraction(cores**2, 2 * cores - 1), f"{cores}²/(2×{cores} - 1)"
    return _unless(tasks, cores, test, source) or _compare(tasks, "share", bound, shown, test, source)


def rm_us(tasks: TaskSet, cores: int) -> Verdict:
    """Test U <= m²/(3m-2): sufficient for RM-US with its own threshold."""
    test, source = "utilisation bound of RM-US", "Andersson, Baruah and Jonsson 2001"
    bound, shown = Fraction(cores**2, 3 * cores - 2), f"{cores}²/(3×{cores} - 2)"
    return _unless(tasks, cores, test, source) or _compare(tasks, "share", bound, shown, test, source)


def necessary(tasks: TaskSet, cores: int) -> Verdict:
    """Test what no policy can do without: U <= m, and that every task alone fits a core."""
    test, source = "necessary conditions", "by counting"
    line = f"{sum_of_shares(tasks)} <= {cores}, and every task alone fits a core: no more is known"
    return hopeless(tasks, cores, test, source) or Verdict(None, test, (line,), source)


def _unless(tasks: TaskSet, cores: int, test: str, source: str) -> Verdict | None:
    return hopeless(tasks, cores, test, source) or out_of_scope(tasks, test, source, late=False)


def _compare(tasks: TaskSet, what: str, bound: Fraction, shown: str, test: str, source: str) -> Verdict:
    total = utilisation(tasks) if what == "share" else sum((task.density for task in tasks), Fraction(0))
    ok = total <= bound
    end = "sure to meet all deadlines" if ok else "above the bound, the test cannot tell"
    line = f"{sum_of_shares(tasks, what)} {'<=' if ok else '>'} {float(bound):.4g} = {shown}: {end}"
    return Verdict(ok or None, test, (line,), source)
