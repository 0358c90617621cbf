"""Cases: the same from the same seed, just, and graded as the statement promises."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from llmos.assignment import mlfq
from llmos.assignment.case import Case, Job, play
from llmos.assignment.feedback import judge
from llmos.process.program import MS
from llmos.sched.mlfq import MLFQ

# What one wrong line does to a right solution, and the topics whose rule it breaks.
WRONG = {
    "no boost": (
        "return (now // self.boost + 1) * self.boost",
        "return None",
        {"boost"},
    ),
    "the boost forgets blocked tasks": (
        "for pid in self.notes:",
        "for pid in [task.pid for task in self.queues[0]]:",
        {"boost"},
    ),
    "the boost refills nothing": (
        "self.notes[pid] = self.fresh(0)",
        'self.notes[pid]["level"] = 0',
        {"boost"},
    ),
    "blocking refills, so that a job can game the scheduler": (
        "if why == Why.BLOCKED:\n            self.end_of_turn(task)",
        "if why == Why.BLOCKED:\n            self.refill(task)",
        {"io"},
    ),
    "a newcomer never preempts": (
        "            return victim",
        "            return None",
        {"preemption", "io", "llm"},
    ),
    "a task that sinks goes to the head": (
        "            queue.append(task)",
        "            queue.insert(0 if why == Why.EXPIRED and self.sank(task) else len(queue), task)",
        {"levels", "io", "boost", "llm"},
    ),
    "round robin": (
        'lower = min(note["level"] + 1, self.levels - 1)',
        "lower = 0",
        {"levels", "preemption", "io", "boost", "llm"},
    ),
    "first come, first served": (
        '        return self.notes[task.pid]["left"]',
        "        return None",
        {"basics", "levels", "preemption", "io", "boost", "llm"},
    ),
}


# What some of these lines call.
MORE = """
    def refill(self, task):
        self.notes[task.pid] = self.fresh(self.notes[task.pid]["level"])

    def sank(self, task):
        note = self.notes[task.pid]
        return note["level"] > 0 and note == self.fresh(note["level"])
"""


def policy(source):
    """The class that a student's source defines, here and now."""
    space = {}
    exec(source + MORE, space)  # noqa: S102
    return space["MLFQ"]


def wrong_topics(solution, cases):
    lost = set()
    for case in cases:
        yours = play(case, lambda case=case: solution(**case.parameters), 5000)
        if judge(case, mlfq.reference(case), yours):
            lost.add(case.topic)
    return lost


@pytest.fixture(scope="module")
def cases(topics):
    return [mlfq.case(topic, seed) for topic in topics.values() for seed in (1, 101, 2**63)]


def test_a_right_solution_is_right_in_every_case(cases, right):
    assert wrong_topics(policy(right), cases) == set()


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_costs_the_topics_of_its_rule_and_no_others(mistake, cases, right):
    line, wrong_line, topics = WRONG[mistake]
    assert right.count(line) == 1
    assert wrong_topics(policy(right.replace(line, wrong_line)), cases) == topics


def test_every_case_of_a_topic_catches_each_of_its_mistakes(cases, topics):
    for case in cases:
        for name in topics[case.topic].catches:
            yours = play(case, lambda name=name, case=case: mlfq.MISTAKES[name](case.parameters), 5000)
            assert judge(case, mlfq.reference(case), yours), (case, name)


def test_a_seed_makes_the_same_case_each_time(topics):
    for topic in topics.values():
        assert mlfq.case(topic, 5) == mlfq.case(topic, 5)
        assert mlfq.case(topic, 5).work != mlfq.case(topic, 6).work


def test_the_points_are_a_hundred():
    assert sum(topic.points * 5 for topic in mlfq.TOPICS) == 100


def test_the_example_of_the_statement_is_what_the_reference_does(root):
    statement = (root / "assignments/mlfq/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) ms \| (\d+) ms \| ([AB]) \|", statement, re.MULTILINE)
    told = [(int(start) * MS, int(end) * MS, name) for start, end, name in rows]
    parameters = {"levels": 3, "quantum": [4 * MS, 8 * MS, 16 * MS], "allotment": [1, 1, 1], "boost": 0}
    jobs = [Job("A", 0, (20 * MS,)), Job("B", 6 * MS, (2 * MS, 3 * MS, 3 * MS))]
    played = mlfq.reference(Case("example", "", "", parameters, jobs))
    names = {1: "A", 2: "B"}
    assert len(told) == 8
    decided = [(decision.t, names[decision.task]) for decision in played.decisions]
    joined = [told[0], *(row for before, row in pairwise(told) if row[2] != before[2])]
    assert decided == [(start, name) for start, _, name in joined]
    assert played.events[-1].t == told[-1][1]


def test_the_points_of_the_statement_are_those_of_the_topics(root):
    statement = (root / "assignments/mlfq/README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| (\w+) \| [^|]* \| (\d+) \|$", statement, re.MULTILINE))
    assert told == {topic.name: str(topic.points * 5) for topic in mlfq.TOPICS}


def test_one_class_serves_cores_and_engines_without_being_told(topics):
    core, engine = (mlfq.case(topics[name], 3) for name in ("levels", "llm"))
    assert (core.in_engine, engine.in_engine) == (False, True)
    for case in (core, engine):
        played = play(replace(case), lambda case=case: MLFQ(**case.parameters))
        assert played.done
        assert {task.name for task in case.work} == {
            event.name for event in played.events if type(event).__name__ == "Arrive"
        }
