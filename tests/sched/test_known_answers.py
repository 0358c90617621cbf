"""Answers that were computed by others: the OSTEP homework simulators and textbooks."""

import json
from pathlib import Path

import pytest
from machines import cores, execute, task

from llmos.process.program import Compute, EndJob, Io
from llmos.sched.base import Task, Why
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.mlfq import MLFQ
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.sched.sjf import SJF
from llmos.sched.srtf import SRTF
from llmos.sched.stride import Stride

ORACLES = Path(__file__).parents[1] / "oracles"
SCALE = 1000  # the homework allows fractional lengths


def cases(name):
    return [pytest.param(case, id=case["id"]) for case in json.loads((ORACLES / name).read_text())["cases"]]


def joined(runs):
    """Join contiguous pieces of the same job: the tools print one line per quantum or level."""
    out = []
    for start, end, job in runs:
        if out and out[-1][1] == start and out[-1][2] == job:
            out[-1] = (out[-1][0], end, job)
        else:
            out.append((start, end, job))
    return out


@pytest.mark.parametrize("case", cases("ostep_sched_fifo_sjf_rr.json"))
def test_ostep_fifo_sjf_rr(case):
    given = case["input"]
    policy = {"FIFO": FCFS, "SJF": SJF, "RR": lambda: RoundRobin(int(given["quantum"] * SCALE))}[
        given["policy"]
    ]
    jobs = [task(str(j["id"]), round(j["length"] * SCALE)) for j in given["jobs"]]
    ran = execute(cores(policy, *jobs))
    lengths = {str(j["id"]): j["length"] for j in given["jobs"]}
    for name, expected in case["expected"]["per_job"].items():
        t = ran.task(name)
        assert t.first_run_ns / SCALE == pytest.approx(expected["response"], abs=0.005)
        assert t.finish_ns / SCALE == pytest.approx(expected["turnaround"], abs=0.005)
        assert t.waiting_ns / SCALE == pytest.approx(expected["wait"], abs=0.005)
        assert t.cpu_ns == round(lengths[name] * SCALE)
    if all(float(length).is_integer() for length in lengths.values()):
        trace = [
            (t["t"] * SCALE, (t["t"] + t["ran"]) * SCALE, str(t["job"])) for t in case["expected"]["trace"]
        ]
        assert ran.runs == joined(trace)


def burst(length, every):
    """Steps of a job that does I/O after every `every` units of CPU time, except at its end."""
    done = 0
    while done < length:
        step = min(every or length, length - done)
        done += step
        yield Compute(step)
        if done < length:
            yield Io("disk")


@pytest.mark.parametrize("case", cases("ostep_mlfq.json"))
def test_ostep_mlfq(case):
    given = case["input"]
    top_first = [str(q) for q in reversed(range(given["n_queues"]))]

    def policy():
        return MLFQ(
            levels=given["n_queues"],
            quantum=[given["quantum_by_queue"][q] for q in top_first],
            allotment=[given["allotment_in_quanta_by_queue"][q] for q in top_first],
            boost=given["boost_every"],
            stay_after_io=given["stay_after_io"],
            io_bump=given["io_bump_front"],
        )

    jobs = [task(str(j["id"]), *burst(j["length"], j["io_every"]), at=j["arrival"]) for j in given["jobs"]]
    ran = execute(cores(policy, *jobs, io=given["io_time"]))
    expected = [(a, b, str(job)) for a, b, job, _ in case["expected"]["runs"] if job is not None]
    assert ran.runs == joined(expected)
    for name, answer in case["expected"]["per_job"].items():
        t = ran.task(name)
        assert t.first_run_ns - t.arrival_ns == answer["response"]
        assert t.finish_ns - t.arrival_ns == answer["turnaround"]


BOOK = {
    "FIFO": lambda _: FCFS(),
    "SJF": lambda _: SJF(),
    "STCF": lambda _: SRTF(),
    "RR": lambda given: RoundRobin(given["quantum"]),
    "PRIORITY": lambda _: Priority(),
}


@pytest.mark.parametrize(
    "case", [p for p in cases("textbook_known_answers.json") if "jobs" in p.values[0]["input"]]
)
def test_textbook(case):
    given, expected = case["input"], case["expected"]
    jobs = [task(j["id"], j["length"], at=j["arrival"], priority=j.get("priority", 0)) for j in given["jobs"]]
    state = execute(cores(lambda: BOOK[given["policy"]](given), *jobs, convention="textbook")).outcome.state
    done = list(state.tasks.values())
    means = {
        "avg_turnaround": sum(t.finish_ns - t.arrival_ns for t in done) / len(done),
        "avg_response": sum(t.first_run_ns - t.arrival_ns for t in done) / len(done),
        "avg_wait": sum(t.waiting_ns for t in done) / len(done),
    }
    for name, answer in expected.items():
        assert means[name] == pytest.approx(answer, abs=0.005)


def test_textbook_stride():
    """OSTEP ch. 9: tickets 100, 50, 250 give the order A B C C C A C C."""
    jobs = [task(name, 1000, tickets=n) for name, n in (("A", 100), ("B", 50), ("C", 250))]
    runs = execute(cores(lambda: Stride(10), *jobs, until_ns=80)).runs
    order = "".join(name * ((end - start) // 10) for start, end, name in runs)
    assert order == "ABCCCACC"


def test_edf_by_hand():
    """Liu and Layland's first example of a set that fixed priorities miss: C=2,T=5 and C=4,T=7 (U=0.97)."""

    def periodic(name, wcet, period):
        steps = [Compute(wcet), EndJob()] * 100
        return task(name, *steps, period_ns=period, jobs=70 // period)

    policies = {"edf": EDF, "fixed": Priority}
    missed = {}
    for name, policy in policies.items():
        tasks = periodic("A", 2, 5), periodic("B", 4, 7)
        tasks[0].__dict__["priority"], tasks[1].__dict__["priority"] = 1, 2
        ran = execute(cores(policy, *tasks))
        missed[name] = sum(t.deadline_misses for t in ran.outcome.state.tasks.values())
        assert [len(ran.task(n).jobs) for n in "AB"] == [14, 10]
    # Rate monotonic: B runs 2-5 and needs one more, at 7 at the latest, but A takes 5-7.
    assert missed["edf"] == 0
    assert missed["fixed"] > 0


def test_a_policy_is_a_plain_object():
    """The contract needs no simulator: a list of tasks will do."""
    policy = SJF()
    for pid, length in enumerate([5, 3, 9]):
        policy.enqueue(Task(pid=pid, name=str(pid), remaining=length), Why.ARRIVAL, now=0)
    assert [policy.pick(0).pid for _ in range(3)] == [1, 0, 2]
    assert policy.pick(0) is None
