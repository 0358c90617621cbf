"""SimSo's model of overheads, written as a scenario: the same jobs end at the same times, to a rounding."""

import json
from pathlib import Path

import pytest

from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run

CASES = json.loads((Path(__file__).parents[1] / "oracles" / "simso_overheads.json").read_text())["cases"]
POLICIES = {"EDF_mono": "edf", "RM_mono": "rm"}


def scenario(given, *, rules=True):
    """SimSo holds the core for every event and for the decision after it, saves and loads around them."""
    save, load = given["save"], given["load"]
    release = given["activate"] + given["schedule"]
    completion = save + given["terminate"] + given["schedule"]
    lines = [
        'question = "When do the jobs end?"',
        f'until = "{given["duration_ms"]} ms"',
        "[cpu]",
        f'scheduler = "{POLICIES[given["scheduler"]]}"',
        f"rules = {{ whole_entries = {str(rules).lower()}, abort_on_miss = {str(given['abort']).lower()} }}",
        "[cpu.costs]",
        f'release = "{release} ns"',
        f'completion = "{completion} ns"',
        f'interrupt_context = "{save} ns"',
        f'context_load = "{load} ns"',
        f'preemption_work = "{given["preemption"]} ns"',
    ]
    for i, task in enumerate(given["tasks"], start=1):
        lines += [
            "[[task]]",
            f'name = "T{i}"',
            f'arrival = "{task["O"]} ms"',
            f'period = "{task["T"]} ms"',
            f'burst = "{task["C"]} ms"',
        ]
    return build(load_text("\n".join(lines)))


def ends(spec):
    tasks = run(spec).state.tasks.values()
    return {task.name: [(job.release_ns, job.finish_ns, job.aborted) for job in task.jobs] for task in tasks}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_jobs_end_when_simso_ends_them(case):
    found = ends(scenario(case["input"]))
    for name, jobs in case["expected"].items():
        for (release, end, aborted), mine in zip(jobs, found[name], strict=False):
            assert (mine[0], mine[2]) == (release, aborted)
            # The tool cuts a job's rest to whole cycles whenever it is interrupted.
            assert mine[1] == (end if end is None else pytest.approx(end, abs=50))


def test_without_whole_entries_they_do_not():
    """The mutation: decisions in the middle of a batch, and no loading after an interrupt for nothing."""
    wrong = [
        case["id"]
        for case in CASES
        if any(
            mine[1] is not None and end is not None and abs(mine[1] - end) > 50
            for name, jobs in case["expected"].items()
            for (_, end, _), mine in zip(jobs, ends(scenario(case["input"], rules=False))[name], strict=False)
        )
    ]
    assert len(wrong) >= 3
