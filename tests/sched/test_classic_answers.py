"""Answers by others for HRRN, predicted SJF, multilevel queues, the lottery and 4.4BSD."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from machines import cores, execute, task

from llmos.process.cores import Rules
from llmos.process.program import Compute, Io
from llmos.sched.base import Task, Why
from llmos.sched.bsd import BSD, ONE
from llmos.sched.hrrn import HRRN
from llmos.sched.lottery import Lottery
from llmos.sched.multilevel import Multilevel
from llmos.sched.sjf_predicted import GRAIN, PredictedSJF

ORACLES = Path(__file__).parents[1] / "oracles"
MS = 1_000_000
S = 1000 * MS


def cases(name, **having):
    found = json.loads((ORACLES / name).read_text())["cases"]
    return [pytest.param(c, id=c["id"]) for c in found if having.items() <= c.items()]


# --- HRRN ---------------------------------------------------------------------------------------------


def test_hrrn_as_stallings_has_it():
    """Stallings, table 9.4: arrivals 0 2 4 6 8, service 3 6 4 5 2.

    By hand: A 0-3. At 3 there is only B: 3-9. At 9 the ratios are C (5+4)/4 = 2.25, D (3+5)/5 = 1.6,
    E (1+2)/2 = 1.5: C 9-13. At 13: D (7+5)/5 = 2.4, E (5+2)/2 = 3.5: E 13-15, then D 15-20.
    """
    jobs = [task(n, c, at=a) for n, a, c in (("A", 0, 3), ("B", 2, 6), ("C", 4, 4), ("D", 6, 5), ("E", 8, 2))]
    ran = execute(cores(HRRN, *jobs))
    assert ran.runs == [(0, 3, "A"), (3, 9, "B"), (9, 13, "C"), (13, 15, "E"), (15, 20, "D")]
    turnarounds = [t.finish_ns - t.arrival_ns for t in ran.outcome.state.tasks.values()]
    assert sum(turnarounds) / 5 == 8.0


def test_hrrn_says_its_ratio():
    policy = HRRN()
    policy.enqueue(Task(pid=1, name="a", remaining=4 * MS), Why.ARRIVAL, 5 * MS)
    assert policy.show(15 * MS)[""][0][1] == "ratio 3.5: waited 10 ms for a burst of 4 ms"
    assert policy.reason(policy.pick(15 * MS), 15 * MS) == "ratio 3.5: waited 10 ms for a burst of 4 ms"
    request = Task(pid=2, name="r", remaining=40, unit="tokens")
    policy.enqueue(request, Why.ARRIVAL, 0)
    assert policy.reason(policy.pick(MS), MS) == "waited 1 ms for a burst of 40 tokens"


# --- predicted SJF ------------------------------------------------------------------------------------


def predictions(policy, bursts):
    """What `policy` predicts for each burst of one task, in units of service."""
    me, guesses = Task(pid=1, name="a"), []
    for burst in bursts:
        policy.enqueue(me, Why.WAKEUP, 0)
        guesses.append(Fraction(policy.key(me), GRAIN))
        policy.pick(0)
        policy.charge(me, burst, 0)
        policy.remove(me, Why.BLOCKED, 0)
    return guesses


def test_the_exponential_average_of_the_dinosaur_book():
    """Silberschatz, fig. "Prediction of the length of the next CPU burst": alpha = 1/2, first guess 10."""
    assert predictions(PredictedSJF(0.5, 10), [6, 4, 6, 4, 13, 13, 13, 0]) == [10, 8, 6, 6, 5, 9, 11, 12]


def test_an_average_by_hand_that_is_no_whole_number():
    # 0.3 * 4 + 0.7 * 10 = 8.2; 0.3 * 11 + 0.7 * 8.2 = 9.04; to a millionth, rounded down
    guesses = predictions(PredictedSJF(0.3, 10), [4, 11, 0])
    for guess, exact in zip(guesses, (Fraction(10), Fraction("8.2"), Fraction("9.04")), strict=True):
        assert 0 <= exact - guess <= Fraction(2, GRAIN)


def test_predicted_sjf_by_hand():
    """Two tasks with bursts of 2 and 6 and I/O of 1 between them; first guess 4, alpha 1.

    Both are predicted 4, so the smaller pid goes first: long 0-6, short 6-8. At 8 short blocks, long
    (back since 7, predicted 6) runs 8-14. At 14 short (back at 9) has 2: 14-16; then long, the only
    one, 16-22; short came back at 17: 22-24.
    """
    long = task("long", *[c for _ in range(3) for c in (Compute(6), Io("disk"))])
    short = task("short", *[c for _ in range(3) for c in (Compute(2), Io("disk"))])
    runs = execute(cores(lambda: PredictedSJF(1, 4), long, short, io=1)).runs
    assert [r for r in runs if r[1] - r[0] > 0] == [
        (0, 6, "long"), (6, 8, "short"), (8, 14, "long"), (14, 16, "short"),
        (16, 22, "long"), (22, 24, "short"),
    ]  # fmt: skip


def test_predicted_sjf_preempts_by_what_is_left_of_the_prediction():
    """First guess 6. A runs from 0; at 2 it is predicted to need 4 more. B, which arrives then, is a
    task of its own: predicted 6, no preemption. Once B has learned that its bursts are 1, it preempts.
    """
    a = task("A", 20)
    b = task("B", Compute(1), Io("disk"), Compute(1), at=2)
    runs = execute(cores(lambda: PredictedSJF(1, 6, preemptive=True), a, b, io=5)).runs
    assert runs[0] == (0, 20, "A")  # at 2 it has 4 left < 6, and later nobody comes
    c = task("C", 6, at=1)
    runs = execute(cores(lambda: PredictedSJF(1, 6, preemptive=True), b, c, io=5)).runs
    # C 1-7 (5 left when B comes at 2); B 7-8, I/O to 13, predicted 1.
    assert runs == [(1, 7, "C"), (7, 8, "B"), (13, 14, "B")]
    d = task("D", 30, at=8)
    runs = execute(cores(lambda: PredictedSJF(1, 6, preemptive=True), b, c, d, io=1)).runs
    # B back at 9, predicted 1; D began at 8 and is predicted 5 more: B takes its place at once.
    assert runs == [(1, 7, "C"), (7, 8, "B"), (8, 9, "D"), (9, 10, "B"), (10, 39, "D")]


# --- multilevel queue ---------------------------------------------------------------------------------


def classes(*jobs):
    """Tasks whose class is the first part of their name."""
    return [task(name, burst, at=at, group=name.split("-")[0]) for name, burst, at in jobs]


def test_a_multilevel_queue_by_hand():
    """Above, turns of 2; below, each to its end. below-1 (5) from 0; above-1 (3) and above-2 (4) at 1.

    By hand: below-1 0-1, preempted. above-1 1-3, above-2 3-5, above-1 5-6 done, above-2 6-8 done. Then
    below-1 8-12, before below-2 (2), which came at 2 and runs 12-14.
    """
    jobs = classes(("below-1", 5, 0), ("above-1", 3, 1), ("above-2", 4, 1), ("below-2", 2, 2))
    runs = execute(cores(lambda: Multilevel(["above", "below"], 2, ["below"]), *jobs)).runs
    assert runs == [
        (0, 1, "below-1"), (1, 3, "above-1"), (3, 5, "above-2"), (5, 6, "above-1"), (6, 8, "above-2"),
        (8, 12, "below-1"), (12, 14, "below-2"),
    ]  # fmt: skip


def test_a_preempted_task_has_the_rest_of_its_quantum():
    """low-1 and low-2 take turns of 4; high (2) comes at 3, when low-1 has 1 left: 5-6 is its turn's end."""
    jobs = classes(("low-1", 8, 0), ("low-2", 8, 0), ("high-1", 2, 3))
    runs = execute(cores(lambda: Multilevel(["high", "low"], 4), *jobs)).runs
    assert runs[:4] == [(0, 3, "low-1"), (3, 5, "high-1"), (5, 6, "low-1"), (6, 10, "low-2")]


def test_a_task_of_no_listed_group_is_in_the_last_queue():
    policy = Multilevel(["a", "b"])
    for pid, group in enumerate(("", "b", "a", "zebra")):
        policy.enqueue(Task(pid=pid, name=str(pid), group=group), Why.ARRIVAL, 0)
    assert [policy.pick(0).pid for _ in range(4)] == [2, 0, 1, 3]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"queues": []}, "queues: there must be"),
        ({"queues": ["a", "a"]}, "name it once"),
        ({"queues": ["a"], "fcfs": ["b"]}, 'no queue "b"; there are a'),
        ({"queues": ["a", "b"], "quantum": [1]}, "quantum: 1 values for 2"),
    ],
)
def test_multilevel_refuses_what_makes_no_sense(parameters, says):
    with pytest.raises(ValueError, match=says):
        Multilevel(**parameters)


# --- lottery ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("ostep_lottery.json"))
def test_ostep_lottery(case):
    given, expected = case["input"], case["expected"]["draws"]
    policy = Lottery(Random(0), draws=[d["random"] for d in expected])
    left = {j["id"]: j["length"] for j in given["jobs"]}
    for j in given["jobs"]:
        policy.enqueue(Task(pid=j["id"], name="", tickets=j["tickets"]), Why.ARRIVAL, 0)
    for draw in expected:
        winner = policy.pick(0)
        assert winner.pid == draw["job"]
        said = f"won with ticket {draw['winning_ticket']} of {draw['total_tickets']}"
        assert policy.reason(winner, 0) == said
        left[winner.pid] -= given["quantum"]
        if left[winner.pid] > 0:
            policy.enqueue(winner, Why.EXPIRED, 0)
        else:
            policy.remove(winner, Why.EXITED, 0)
    assert policy.pick(0) is None


@pytest.mark.parametrize("case", cases("ostep_lottery.json"))
def test_ostep_lottery_on_a_machine(case):
    """There the winner keeps the core for a whole quantum, even if it needs less."""
    given = case["input"]
    draws = [d["random"] for d in case["expected"]["draws"]]
    jobs = [task(str(j["id"]), j["length"], tickets=j["tickets"]) for j in given["jobs"]]
    spec = cores(lambda: Lottery(Random(0), draws, given["quantum"]), *jobs)
    ran = execute(replace(spec, cpu=replace(spec.cpu, rules=Rules(full_quantum=True))))
    assert {t.name: t.finish_ns for t in ran.outcome.state.tasks.values()} == case["expected"]["finish"]


# --- 4.4BSD -------------------------------------------------------------------------------------------


def ticks(nices, policy=BSD):
    """Ticks that tasks with these nice values get in 30 s of a busy core."""
    jobs = [task(f"T{i}", 100 * S, nice=nice) for i, nice in enumerate(nices)]
    ran = execute(cores(policy, *jobs, until_ns=30 * S))
    return [ran.task(job.name).cpu_ns / (10 * MS) for job in jobs]


@pytest.mark.parametrize("case", cases("pintos_mlfqs_bsd.json", kind="fair_ticks"))
def test_pintos_fair_ticks(case):
    nices = case["input"]["nice"]
    tolerance = {2: 50, 10: 25, 20: 20}  # the grader's, by the number of tasks
    allowed = tolerance[min(n for n in tolerance if n >= len(nices))]
    for got, expected in zip(ticks(nices), case["expected"]["ticks"], strict=True):
        assert got == pytest.approx(expected, abs=allowed)


class DeafBSD(BSD):
    """The mutation: nice values do not count."""

    def enqueue(self, task, why, now):
        task.nice = 0
        super().enqueue(task, why, now)


def test_pintos_notices_that_nice_is_ignored():
    assert ticks([0, 5], DeafBSD) == pytest.approx([1500, 1500], abs=50)
    assert ticks([0, 5])[0] > 1700


def by_the_grader(nices):
    """The grader's own simulation (mlfqs.pm), written anew from its conventions, in floating point."""
    recent, got, ran = [0.0] * len(nices), [0] * len(nices), [0] * len(nices)
    load = 0.0
    for turn in range(1, 751):
        penalty = [min(max(int(r / 4 + 2 * n), 0), 63) for r, n in zip(recent, nices, strict=True)]
        best = min(range(len(nices)), key=lambda i: (penalty[i], ran[i]))
        ran[best] = turn
        got[best] += 4
        recent[best] += 4
        if turn % 25 == 0:
            load = 59 / 60 * load + len(nices) / 60
            recent = [r * 2 * load / (2 * load + 1) + n for r, n in zip(recent, nices, strict=True)]
    return got


@pytest.mark.parametrize(
    ("nices", "allowed"),
    [([0] * 20, 20), ([0, 5], 50), (list(range(10)), 25), ([0, 19], 50), ([-5, 0, 5], 50)],
)
def test_the_other_cases_of_the_grader(nices, allowed):
    for got, expected in zip(ticks(nices), by_the_grader(nices), strict=True):
        assert got == pytest.approx(expected, abs=allowed)


@pytest.mark.parametrize("case", cases("pintos_mlfqs_bsd.json", kind="load_recent"))
def test_pintos_load_and_recent_cpu(case):
    """A task computes all the time; each second is compared, far more closely than the grader does."""
    given, expected = case["input"], case["expected"]
    assert set(given["ready_per_second"]) == {1}
    policy, me = BSD(), Task(pid=1, name="load")
    policy.enqueue(me, Why.ARRIVAL, 0)
    for second, delta in enumerate(given["recent_delta"], start=1):
        policy.pick((second - 1) * S)
        policy.charge(me, delta * 10 * MS, second * S)
        policy.enqueue(me, Why.PREEMPTED, second * S)
        assert policy.next_tick(second * S - 1) == second * S
        policy.tick(second * S)
        assert policy._load / ONE == pytest.approx(expected["load_avg"][second], abs=0.005)
        assert policy._accounts[1].recent / ONE == pytest.approx(expected["recent_cpu"][second], abs=0.5)


def test_sixty_tasks_make_the_load_of_the_pintos_manual():
    """load(t) = 60 (1 - (59/60)^t) while 60 tasks are ready, then it decays by 59/60 a second."""
    policy, tasks = BSD(), [Task(pid=i, name="") for i in range(60)]
    for t in tasks:
        policy.enqueue(t, Why.ARRIVAL, 0)
    for second in range(1, 61):
        policy.tick(second * S)
    full = 60 * (1 - (59 / 60) ** 60)
    assert policy._load / ONE == pytest.approx(full, abs=0.02)
    for _ in tasks:
        policy.remove(policy.pick(60 * S), Why.BLOCKED, 60 * S)
    policy.tick(90 * S)  # thirty decays in one: a machine at rest has no ticks
    assert policy._load / ONE == pytest.approx(full * (59 / 60) ** 30, abs=0.02)
