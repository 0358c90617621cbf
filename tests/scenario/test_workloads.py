"""Generated work: it depends on the seed and the workload's own name, and on nothing else."""

import math

import pytest

from llmos.engine.streams import stream
from llmos.errors import ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import load_text

HEAD = 'question = "?"\n[cpu]\n[engine]\ncost = { base = "5 ms", per_token = "20 us" }\n'
W = '[[workload]]\nkind = "task"\nname = "w"\n'
JOBS = """
[[workload]]
kind = "task"
name = "job"
count = 20
arrival = { process = "poisson", rate = "100 /s" }
burst = { distribution = "exponential", mean = "5 ms" }
priority = 3
tickets = 4
client = "someone"
deadline = "1 s"
"""
CHATS = """
[[workload]]
kind = "request"
name = "chat"
count = 15
arrival = { process = "uniform", min = "1 ms", max = "9 ms" }
prompt = { distribution = "uniform", min = 10, max = 90 }
output = { distribution = "choice", values = [5, 50] }
"""


def machine(text, **more):
    return build(load_text(HEAD + text), **more)


def bursts(spec):
    """Name, arrival and CPU time of each task."""
    return [(t.name, t.arrival_ns, sum(call.ns for call in t.program())) for t in spec.tasks]


def sizes(spec):
    return [(r.name, r.arrival_ns, r.prompt, r.output) for r in spec.requests]


def test_the_same_seed_draws_the_same():
    assert bursts(machine(JOBS)) == bursts(machine(JOBS))
    assert bursts(machine(JOBS)) != bursts(machine(JOBS, seed=2))


def test_a_poisson_stream_has_exponential_gaps_from_its_own_stream():
    random = stream(1, "workload/job/arrival")
    now, arrivals = 0, []
    for _ in range(20):
        now += round(-math.log(1 - random.random()) * 10**7)
        arrivals.append(now)
    assert [arrival for _, arrival, _ in bursts(machine(JOBS))] == arrivals


def test_adding_a_workload_shifts_nobody_elses_draws():
    alone, both = machine(JOBS), machine(CHATS + JOBS + JOBS.replace('"job"', '"other"'))
    assert bursts(both)[:20] == bursts(alone)
    assert sizes(both) == sizes(machine(CHATS))
    assert [b[1:] for b in bursts(both)[20:]] != [b[1:] for b in bursts(alone)]


def test_changing_one_distribution_shifts_no_other():
    changed = machine(CHATS.replace("max = 90", "max = 900"))
    assert [(a, o) for _, a, _, o in sizes(changed)] == [(a, o) for _, a, _, o in sizes(machine(CHATS))]


def test_a_scheduler_does_not_change_the_work():
    assert bursts(machine(JOBS, scheduler="srtf")) == bursts(machine(JOBS, scheduler="rr"))


def test_a_longer_workload_begins_like_a_shorter_one():
    assert bursts(machine(JOBS.replace("count = 20", "count = 40")))[:20] == bursts(machine(JOBS))


def test_terms_are_passed_on():
    task = machine(JOBS).tasks[7]
    assert (task.name, task.priority, task.tickets, task.client, task.deadline_ns) == (
        "job-8",
        3,
        4,
        "someone",
        10**9,
    )


@pytest.mark.parametrize(
    ("arrival", "times"),
    [
        ('{ process = "periodic", every = "2 ms" }', [3, 5, 7, 9]),
        ('{ process = "all-at-once" }', [3, 3, 3, 3]),
        ('"all-at-once"', [3, 3, 3, 3]),
        ('{ process = "uniform", min = "2 ms", max = "2 ms" }', [5, 7, 9, 11]),
    ],
)
def test_arrival_processes(arrival, times):
    text = f'{W}count = 4\nstart = "3 ms"\nburst = "1 ms"\narrival = {arrival}\n'
    assert [t.arrival_ns for t in machine(text).tasks] == [t * 10**6 for t in times]


def test_nothing_arrives_at_or_after_until():
    text = f'{W}until = "6 ms"\nburst = "1 ms"\narrival = {{ process = "periodic", every = "2 ms" }}'
    assert [t.arrival_ns for t in machine(text).tasks] == [0, 2_000_000, 4_000_000]


def test_a_workload_may_run_a_program():
    text = JOBS.replace("burst =", "#").replace("count = 20", 'count = 2\nprogram = [{ compute = "2 ms" }]')
    assert [b for _, _, b in bursts(machine(text))] == [2_000_000] * 2


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (JOBS.replace("count = 20", ""), "never end"),
        (JOBS.replace("arrival =", "#"), "needs `arrival` or `trace`"),
        (JOBS.replace("burst =", "#"), "needs `burst` or `program`"),
        (JOBS + 'trace = "x.csv"\n', "in place of `arrival`"),
        (JOBS.replace('"task"', '"process"'), 'kind = "task"'),
        (JOBS.replace("poisson", "posson"), 'did you mean "poisson"?'),
        (JOBS.replace("100 /s", "0 /s"), "a rate of 0"),
        (CHATS.replace("output =", "#"), "needs `prompt` and `output`"),
        (CHATS + 'columns = { prompt = "p" }\n', "belongs to `trace`"),
        (JOBS + JOBS, 'the name "job" is taken'),
    ],
)
def test_broken_workloads(broken, says):
    with pytest.raises(ScenarioError) as caught:
        machine(broken)
    assert says in str(caught.value)


LOAD = """
question = "?"
[cpu]
count = 2
[engine]
cost = { base = "8 ms", per_token = "1 ms" }
slots = 4
token_budget = 8
[[workload]]
kind = "task"
name = "job"
count = 4000
arrival = { process = "poisson", load = 0.5 }
burst = "10 ms"
[[workload]]
kind = "request"
name = "chat"
count = 4000
arrival = { process = "poisson", load = 0.5 }
prompt = 10
output = 10
"""


def test_a_load_becomes_a_rate_on_this_machine():
    """2 cores, 10 ms each, load 1/2: one in 10 ms. Engine: 10 * (8/4 + 1) + 10 * 1 = 40 ms, so one in 80."""
    spec = build(load_text(LOAD))
    for arrivals, gap_ms in ((spec.tasks, 10), (spec.requests, 80)):
        assert arrivals[-1].arrival_ns / 4000 / 1e6 == pytest.approx(gap_ms, rel=0.05)
        assert [a.arrival_ns for a in arrivals] == sorted(a.arrival_ns for a in arrivals)


def test_a_load_scales_with_the_work_and_nothing_else():
    """Twice the work, twice the gaps, the same draws."""
    once, twice = (build(load_text(LOAD.replace('"10 ms"', burst))) for burst in ('"10 ms"', '"20 ms"'))
    for a, b in zip(once.tasks, twice.tasks, strict=True):
        assert abs(b.arrival_ns - 2 * a.arrival_ns) <= 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("load = 0.5 }\nburst", 'load = 0.5, rate = "1 /s" }\nburst', "`rate` or `load`"),
        (", load = 0.5 }\nburst", " }\nburst", "`rate` or `load`"),
        ("load = 0.5 }\nburst", "load = 0 }\nburst", "greater than 0|above 0|0"),
        ("load = 0.5 }\nburst", 'load = 0.5 }\nuntil = "5 s"\nburst', "needs a rate"),
        (
            'burst = "10 ms"',
            'program = [{ repeat = 200000, do = [{ compute = "1 ms" }] }]',
            "too long to add",
        ),
    ],
)
def test_a_load_that_cannot_be_had_names_the_cure(old, new, says):
    with pytest.raises(ScenarioError, match=says):
        build(load_text(LOAD.replace(old, new, 1)))
