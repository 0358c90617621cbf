"""Submissions: a right one in a student's style, and a way to let one play a case."""

import textwrap
from dataclasses import replace

import pytest

from llmos.assignment import mlfq, sandbox
from llmos.assignment.box import Limits
from llmos.assignment.grading import grade_cases

RIGHT = """\
from llmos.sched.base import Scheduler, Why


class MLFQ(Scheduler):
    def __init__(self, levels, quantum, allotment, boost):
        self.levels = levels
        self.quanta = quantum
        self.allotment = allotment
        self.boost = boost
        self.queues = [[] for _ in range(levels)]
        self.notes = {}

    def fresh(self, level):
        return {"level": level, "left": self.quanta[level], "turns": self.allotment[level]}

    def end_of_turn(self, task):
        note = self.notes[task.pid]
        if note["left"] > 0:
            return
        note["turns"] -= 1
        if note["turns"] > 0:
            note["left"] = self.quanta[note["level"]]
        else:
            lower = min(note["level"] + 1, self.levels - 1)
            self.notes[task.pid] = self.fresh(lower)

    def enqueue(self, task, why, now):
        if why == Why.ARRIVAL:
            self.notes[task.pid] = self.fresh(0)
        if why == Why.EXPIRED:
            self.end_of_turn(task)
        queue = self.queues[self.notes[task.pid]["level"]]
        if why == Why.PREEMPTED:
            queue.insert(0, task)
        else:
            queue.append(task)

    def pick(self, now):
        for queue in self.queues:
            if queue:
                return queue.pop(0)

    def quantum(self, task, now):
        return self.notes[task.pid]["left"]

    def charge(self, task, service, now):
        self.notes[task.pid]["left"] -= service

    def preempts(self, newcomer, running, now):
        victim = max(running, key=lambda task: self.notes[task.pid]["level"])
        if self.notes[newcomer.pid]["level"] < self.notes[victim.pid]["level"]:
            return victim

    def remove(self, task, why, now):
        if why == Why.BLOCKED:
            self.end_of_turn(task)
        else:
            del self.notes[task.pid]

    def next_tick(self, now):
        if self.boost:
            return (now // self.boost + 1) * self.boost

    def tick(self, now):
        for level in range(self.levels - 1, 0, -1):
            self.queues[0].extend(self.queues[level])
            self.queues[level] = []
        for pid in self.notes:
            self.notes[pid] = self.fresh(0)
        return "boost"

    def reason(self, task, now):
        return "because I say so"
"""

# Small where that makes a test quick, large where a busy machine would make it fail.
LIMITS = Limits(load_s=20, decision_s=20, case_s=60, memory_bytes=256 << 20, print_bytes=100_000, events=500)
PLAIN = sandbox.Sandbox("the test wants it so")


@pytest.fixture(scope="session")
def right():
    """The source of a right solution, written from the statement with lists."""
    return RIGHT


@pytest.fixture(scope="session")
def topics():
    return {topic.name: topic for topic in mlfq.TOPICS}


@pytest.fixture(scope="session")
def basic_case(topics):
    return replace(mlfq.case(topics["basics"], 7), name="basics 7")


@pytest.fixture
def submit(tmp_path, basic_case):
    """Grade a source on one case (or on several); the rows of the report come back."""

    def submit(source, cases=None, place=PLAIN, limits=LIMITS):
        path = tmp_path / "mlfq.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return grade_cases(path, "MLFQ", cases or [basic_case], mlfq.reference, place, limits)

    return submit


@pytest.fixture(params=["plain", "sandboxed"])
def place(request):
    """Both ways to run a student's file, as far as this machine has them."""
    if request.param == "plain":
        return PLAIN
    found = sandbox.find()
    if found.why_not:
        pytest.skip(found.why_not)
    return found


@pytest.fixture
def inside():
    """The sandbox, where there is one."""
    found = sandbox.find()
    if found.why_not:
        pytest.skip(found.why_not)
    return found
