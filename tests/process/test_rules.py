"""The rules of some courses and tools: OSTEP's process states and several CPUs; jobs that are given up."""

import json
from pathlib import Path

import pytest
from machines import cores, execute, task

from llmos.process.balance import Balancing
from llmos.process.cores import Rules
from llmos.process.dispatcher import Costs
from llmos.process.program import Compute, EndJob, Io, Lock, Sleep, Unlock
from llmos.scenario.machine import CacheSpec, Injection, SharedSpec
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.in_turn import InTurn
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.records import Status
from llmos.trace.state import State

ORACLES = Path(__file__).parents[1] / "oracles"


def cases(name):
    return [pytest.param(case, id=case["id"]) for case in json.loads((ORACLES / name).read_text())["cases"]]


# --- process states and I/O ---------------------------------------------------------------------------


def states_per_tick(events, pids, end):
    """What every process is in each tick [t, t+1), as the homework prints it."""
    state, rows, i = State(), [], 0
    for t in range(end):
        while i < len(events) and events[i].t <= t:
            state.apply(events[i])
            i += 1
        rows.append([state.tasks[pid].status for pid in pids])
    return rows


PRINTED = {"READY": Status.READY, "BLOCKED": Status.BLOCKED, "DONE": Status.TERMINATED}


@pytest.mark.parametrize("case", cases("ostep_process_states_io.json"))
def test_ostep_process_states(case):
    opts = case["input"]["opts"]
    io = int(opts[opts.index("-L") + 1]) if "-L" in opts else 5
    programs = [
        [step for word in words for step in {"cpu": [1], "io": [1, Io("disk")], "io_done": [1]}[word]]
        for words in case["input"]["programs"].values()
    ]
    jobs = [task(f"P{i}", *steps) for i, steps in enumerate(programs)]
    rules = Rules(keep_on_io="SWITCH_ON_END" in opts)
    ran = execute(cores(lambda: InTurn(io_first="IO_RUN_IMMEDIATE" in opts), *jobs, io=io, rules=rules))
    expected = [row.split("|")[1 : 1 + len(jobs)] for row in case["expected"]["rows"]]
    wanted = [[PRINTED.get(word, Status.RUNNING) for word in row] for row in expected]
    assert states_per_tick(ran.events, range(1, len(jobs) + 1), len(wanted)) == wanted
    assert ran.outcome.state.now == case["expected"]["total_time"]


def test_a_core_that_is_kept_is_kept_for_one():
    """Two cores, one queue: C may not use core 0 while A waits, and A comes back to it though 1 is free.

    A 0-1 on cpu 0, waits until 6, 6-7 on cpu 0. B 0-4 on cpu 1, then C 4-5 there.
    """
    spec = cores(
        FCFS, task("A", 1, Io("disk"), 1), task("B", 4), task("C", 1), count=2, rules=Rules(keep_on_io=True)
    )
    spans = {(s.start_ns, s.end_ns, s.cpu, s.pid) for s in execute(spec).outcome.state.spans}
    assert spans == {(0, 1, 0, 1), (6, 7, 0, 1), (0, 4, 1, 2), (4, 5, 1, 3)}


def test_nobody_steals_a_task_that_keeps_its_core():
    """A (core 0) keeps its core for its I/O until 6; core 1 is idle and must not take it away."""
    spec = cores(
        FCFS, task("A", 1, Io("disk"), 1), task("B", 1), task("C", 1), count=2, per_core=True,
        balancing=Balancing(steal=True), rules=Rules(keep_on_io=True),
    )  # fmt: skip
    ran = execute(spec)
    assert ran.outcome.ok
    assert ran.task("A").migrations == 0


def test_a_task_that_keeps_its_core_comes_back_to_it_however_busy_its_queue_is():
    """C is dealt to cpu 0, which is kept for A until 6; A still goes there, not to cpu 1, idle from 1 on."""
    spec = cores(
        FCFS, task("A", 1, Io("disk"), 1), task("B", 1), task("C", 1, affinity=frozenset({0})), count=2,
        per_core=True, balancing=Balancing(placement="least"), rules=Rules(keep_on_io=True),
    )  # fmt: skip
    ran = execute(spec)
    assert ran.outcome.ok
    assert (ran.task("A").migrations, ran.task("C").finish_ns) == (0, 8)


def test_a_stopped_task_keeps_no_core():
    """A keeps the core for its I/O of 1-6, but is stopped at 3; so B has it from then on."""
    inject = [Injection(name="A", at_ns=at, signal=signal) for at, signal in ((3, "STOP"), (20, "CONT"))]
    spec = cores(
        FCFS, task("A", 1, Io("disk"), 1), task("B", 4), rules=Rules(keep_on_io=True), injections=inject
    )
    assert execute(spec).runs == [(0, 1, "A"), (3, 7, "B"), (20, 21, "A")]


# --- several CPUs -------------------------------------------------------------------------------------

TICK = 1000
DRAWN_BY_THE_TOOL = "multi-040"  # three queues: whose queue is looked into is drawn by the tool's own dice


@pytest.mark.parametrize("case", cases("ostep_multi_cpu_cache.json"))
def test_ostep_several_cpus(case):
    if case["id"] == DRAWN_BY_THE_TOOL:
        pytest.skip("the victim is drawn by the tool's own generator")
    given, expected = case["input"], case["expected"]
    jobs = [task(j["name"], j["length"] * TICK, working_set_bytes=j["working_set"]) for j in given["jobs"]]
    spec = cores(
        FCFS, *jobs, count=given["cpus"], per_core=given["per_cpu_queues"],
        balancing=Balancing(peek_ns=given["peek_interval"] * TICK if given["per_cpu_queues"] else 0),
        rules=Rules(rotate_ns=given["quantum"] * TICK, whole_ns=TICK),
        cache=CacheSpec(
            size_bytes=given["cache_size"], warmup_ns=given["warmup_time"] * TICK,
            warm_rate=given["warm_rate"] * 1000,
        ),
    )  # fmt: skip
    ran = execute(spec)
    state = ran.outcome.state
    assert {t.name: t.finish_ns for t in state.tasks.values()} == {
        name: t * TICK for name, t in expected["per_job_finish"].items()
    }
    for cpu, schedule in enumerate(expected["schedule_by_cpu"]):
        wanted = [(a * TICK, b * TICK, name) for a, b, name in schedule if name]
        got = [(s.start_ns, s.end_ns, state.tasks[s.pid].name) for s in state.spans if s.cpu == cpu]
        assert got == wanted
    for cpu, changes in enumerate(expected["warm_set_changes_by_cpu"]):
        assert warm_sets(ran, cpu) == [((t + 1) * TICK, names) for t, names in changes if t]


def warm_sets(ran, cpu):
    """(time, warm tasks) whenever the warm tasks of a core change."""
    warm, changes = set(), []
    for e in ran.of(ev.Warm):
        if e.cpu == cpu:
            before = set(warm)
            warm = (warm | {e.task}) - set(e.evicted)
            if warm != before:
                names = sorted(ran.outcome.state.tasks[pid].name for pid in warm)
                changes.append((e.t, names))
    return changes


def test_after_a_rotation_nobody_has_a_claim_to_his_core():
    """A, B on two cores, C waits, quantum 10: the queue at 10 is C A B, so cpu 0 takes C and 1 takes A."""
    spec = cores(FCFS, task("A", 20), task("B", 20), task("C", 20), count=2, rules=Rules(rotate_ns=10))
    spans = {(s.start_ns, s.cpu, s.pid) for s in execute(spec).outcome.state.spans}
    assert {(0, 0, 1), (0, 1, 2), (10, 0, 3), (10, 1, 1)} <= spans


def test_the_quantum_of_a_rotation_is_on_one_clock():
    """B comes at 7 on the core of A, which is done at 8; the turn that began at 8 ends at 10, not at 18."""
    ran = execute(
        cores(FCFS, task("A", 8), task("B", 5, at=7), task("C", 5, at=7), rules=Rules(rotate_ns=10))
    )
    assert ran.runs == [(0, 8, "A"), (8, 10, "B"), (10, 15, "C"), (15, 18, "B")]


def test_whole_steps():
    """Bursts of 15 and 0 in steps of 10: A keeps the core to 20, B for one step; a call takes no step."""
    ran = execute(cores(FCFS, task("A", 15, Sleep(5), 10), task("B", 0), rules=Rules(whole_ns=10)))
    assert ran.runs == [(0, 20, "A"), (20, 30, "B"), (30, 40, "A")]
    assert ran.task("B").finish_ns == 30


def test_a_step_ends_with_the_quantum():
    """Steps of 3, quantum 4: a burst that ends at 8 would keep its core to 9, and one at 10 to 12."""
    ran = execute(cores(lambda: RoundRobin(4), task("A", 6), task("B", 4), rules=Rules(whole_ns=3)))
    assert ran.runs == [(0, 4, "A"), (4, 8, "B"), (8, 12, "A")]


def test_a_full_quantum_is_charged_to_a_short_burst():
    """RR 10: A needs 3 and keeps the core to 10. Its exit after the I/O costs no quantum."""
    ran = execute(
        cores(
            lambda: RoundRobin(10),
            task("A", 3, Io("disk", 20)),
            task("B", 12),
            rules=Rules(full_quantum=True),
        )
    )
    assert ran.runs == [(0, 10, "A"), (10, 30, "B")]
    assert ran.task("A").finish_ns == 30


# --- jobs that are given up ---------------------------------------------------------------------------


def periodic(name, wcet, period, jobs, *steps, **more):
    each = [*(steps or (Compute(wcet),)), EndJob()]
    return task(name, *(each * jobs), period_ns=period, jobs=jobs, **more)


ABORT = Rules(abort_on_miss=True)


def test_a_first_job_that_is_late_before_its_release_is_handled_is_given_up_then():
    """Due at 2, and the release costs 5: it is given up at 5. The second is due at 22."""
    late = periodic("A", 1, 20, 2, deadline_ns=2)
    ran = execute(cores(EDF, late, rules=ABORT, costs=Costs(release_ns=5)))
    assert [(e.t, e.job) for e in ran.of(ev.Abort)] == [(5, 1), (22, 2)]
    assert ran.outcome.ok


def test_a_job_that_is_late_is_given_up_and_the_next_begins():
    """Period 10: the job of 12 is given up at 10, 20, 30; the task ends with its last job."""
    ran = execute(cores(EDF, periodic("A", 12, 10, 3), rules=ABORT))
    assert ran.outcome.ok
    jobs = ran.task("A").jobs
    assert [(j.release_ns, j.finish_ns, j.missed, j.aborted) for j in jobs] == [
        (0, 10, True, True),
        (10, 20, True, True),
        (20, 30, True, True),
    ]
    assert ran.task("A").cpu_ns == 30


def test_a_waiting_job_can_be_given_up_too():
    """A and B, deadline 10, 10 of work each: A is first, B never runs and is given up at 10."""
    both = [periodic(name, 10, 20, 2, deadline_ns=10) for name in "AB"]
    ran = execute(cores(EDF, *both, rules=ABORT))
    assert ran.runs == [(0, 10, "A"), (20, 30, "A")]
    assert [j.aborted for j in ran.task("B").jobs] == [True, True]


def test_a_job_that_waits_for_a_device_is_given_up_when_the_device_is_done():
    """I/O from 1 to 16, deadline 10: the request cannot be taken back, so the job ends at 16.

    Job 2 was released at 10 and begins at 16: 1, I/O 17-32, given up at 32, its deadline was 20.
    """
    steps = Compute(1), Io("disk", 15), Compute(1)
    ran = execute(cores(EDF, periodic("A", 0, 10, 2, *steps), rules=ABORT))
    assert ran.outcome.ok
    assert [(j.finish_ns, j.aborted) for j in ran.task("A").jobs] == [(16, True), (32, True)]


def test_a_job_that_is_given_up_lets_go_of_its_locks():
    """A has the lock from 0 on and is given up at 10 with it; B, which waits for it, gets it then."""
    a = periodic("A", 0, 10, 1, Lock("m"), Compute(12), Unlock("m"))
    b = task("B", 1, Lock("m"), 1, Unlock("m"), at=1)
    ran = execute(
        cores(lambda: RoundRobin(2), a, b, rules=ABORT, shared=[SharedSpec(name="m", kind="mutex")])
    )
    assert ran.outcome.ok
    assert ran.task("A").jobs[0].aborted
    (wake,) = [e for e in ran.of(ev.Wake) if e.task == ran.task("B").pid]
    assert wake.t == 10
