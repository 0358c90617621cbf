"""What a student reads: worked out by hand for a case of three lines."""

import pytest

from llmos.assignment import mlfq
from llmos.assignment.case import Case, Job, Prompt, play
from llmos.assignment.feedback import judge
from llmos.process.program import MS
from llmos.sched.mlfq import MLFQ

PARAMETERS = {"levels": 2, "quantum": [4 * MS, 8 * MS], "allotment": [1, 1], "boost": 0}


@pytest.fixture
def case():
    """A runs 0-4 and sinks; B, which arrives at 6, preempts it and is done at 8; then A again."""
    return Case(
        "by hand", "levels", "the rule", PARAMETERS, [Job("A", 0, (10 * MS,)), Job("B", 6 * MS, (2 * MS,))]
    )


def told(case, policy):
    return judge(case, mlfq.reference(case), play(case, policy)).splitlines()


def test_nothing_is_told_about_a_case_that_is_right(case):
    assert told(case, lambda: MLFQ(**PARAMETERS)) == []


def test_a_decision_that_was_not_taken(case):
    class Late(MLFQ):
        def preempts(self, newcomer, running, now):
            return None

    assert told(case, lambda: Late(**PARAMETERS)) == [
        "at 6 ms the first decision differs",
        "  expected: B runs (highest level, 0, with 4 ms of its quantum left)",
        "  yours:    A goes on (highest level, 1, with 8 ms of its quantum left)",
        "what happened before:",
        "       0 ms  A arrives",
        "       0 ms  A runs: highest level, 0, with 4 ms of its quantum left",
        "       4 ms  A goes on: highest level, 1, with 8 ms of its quantum left",
        "       6 ms  B arrives",
        "       6 ms  A is stopped: B goes first: highest level, 0, with 4 ms of its quantum left",
        "the case:",
        "  levels = 2, quantum = 4 ms / 8 ms, allotment = 1 / 1, boost = never",
        "  A arrives at 0 ms, computes 10 ms",
        "  B arrives at 6 ms, computes 2 ms",
        "the rule: the rule",
    ]


def test_a_decision_that_was_not_due(case):
    def hasty():
        return MLFQ(levels=2, quantum=[MS, 8 * MS])

    together = Case("", "", "", PARAMETERS, [Job("A", 0, (4 * MS,)), Job("B", 0, (4 * MS,))])
    assert told(together, hasty)[:3] == [
        "at 1 ms the first decision differs",
        "  expected: A goes on (highest level, 0, with 4 ms of its quantum left)",
        "  yours:    B runs (highest level, 0, with 1 ms of its quantum left)",
    ]


def test_another_task_at_the_same_time(case):
    class Backwards(MLFQ):
        def pick(self, now):
            for queue in self._queues:
                if queue:
                    return queue.pop()
            return None

    together = Case("", "", "", PARAMETERS, [Job("A", 0, (4 * MS,)), Job("B", 0, (4 * MS,))])
    assert told(together, lambda: Backwards(**PARAMETERS))[:3] == [
        "at 0 ms the first decision differs",
        "  expected: A runs (highest level, 0, with 4 ms of its quantum left)",
        "  yours:    B runs (highest level, 0, with 4 ms of its quantum left)",
    ]


def test_a_policy_that_idles(case):
    class Lazy(MLFQ):
        def pick(self, now):
            return super().pick(now) if now < 8 * MS else None

    lines = told(case, lambda: Lazy(**PARAMETERS))
    assert lines[0].startswith("at 8 ms: nothing can ever happen again, with 1 task unfinished")
    assert lines[1:4] == [
        "at 8 ms the first decision differs",
        "  expected: A runs (highest level, 1, with 6 ms of its quantum left)",
        "  yours:    nobody runs",
    ]


def test_a_broken_contract_is_told_with_its_time(case):
    class Broken(MLFQ):
        def quantum(self, task, now):
            return super().quantum(task, now) if now < 6 * MS else 0

    lines = told(case, lambda: Broken(**PARAMETERS))
    assert (
        lines[0]
        == "at 6 ms: your policy answered 0; the contract: quantum returns an int, at least 1, or None"
    )
    assert lines[1] == "  expected: B runs (highest level, 0, with 4 ms of its quantum left)"


def test_tokens_are_told_in_an_engine():
    parameters = {"levels": 2, "quantum": [8, 16], "allotment": [1, 1], "boost": 0}
    case = Case("", "", "", parameters, [Prompt("A", 0, 4, 8), Prompt("B", 0, 4, 8), Prompt("C", 0, 4, 8)])
    lines = told(case, lambda: MLFQ(levels=1, quantum=4))
    assert any("8 tokens of its quantum left" in line for line in lines)
    assert "  A arrives at 0 ms, has 4 tokens to read and 8 to write" in lines
