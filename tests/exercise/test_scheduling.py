"""Scheduling exercises: answers that others computed, a reference of twenty lines, and what must add up."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from llmos.cli.main import main
from llmos.exercise import bounds, kinds
from llmos.exercise.base import Listing, Table
from llmos.exercise.problem import Posed, Problem
from llmos.exercise.scheduling import Scheduling, exercise
from llmos.exercise.work import away, bursts
from llmos.scenario.policies import names

ORACLES = Path(__file__).parents[1] / "oracles"
SEEDS = range(3)
EVERY = names()
PERIODIC = [name for name in EVERY if kinds.find(name).periodic]


def pose(seed, *policies, **options):
    return Scheduling().pose(seed, {"policy": policies, **options})


def answer(posed):
    """The data of the (first) policy's answer."""
    return posed.solve().data["policies"][0]


def given(posed):
    return posed.data["tasks"]


# --- a reference ----------------------------------------------------------------------------------------


def reference(policy, jobs, quantum):
    """Who runs in each tick, by the textbook: newcomers queue up before a task whose quantum is over."""
    left = {j["name"]: j["burst"] for j in jobs}
    arrival = {j["name"]: j["arrival"] for j in jobs}
    queue, running, used, ran = [], None, 0, []
    while any(left.values()):
        queue += [j["name"] for j in jobs if j["arrival"] == len(ran)]
        before = running
        if running and (policy == "srtf" or (policy == "rr" and used == quantum)):
            queue.append(running)
            running = None
        if not running and queue:
            running = queue[0]
            if policy in ("sjf", "srtf"):
                running = min(queue, key=lambda name: (left[name], name != before, arrival[name], name))
            queue.remove(running)
            used = 0
        ran.append(running)
        if running:
            left[running] -= 1
            used += 1
            running = running if left[running] else None
    return ran


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "srtf", "rr quantum=1", "rr quantum=3"])
@pytest.mark.parametrize("seed", range(15))
def test_the_answer_is_that_of_a_tick_by_tick_reference(policy, seed):
    posed = pose(seed, policy, jobs=2 + seed % 6)
    name, _, quantum = policy.partition(" quantum=")
    ran = reference(name, given(posed), int(quantum or 0))
    solved = answer(posed)
    ticks = [None] * len(ran)
    for start, end, _, task in solved["gantt"]:
        ticks[start:end] = [task] * (end - start)
    assert ticks == ran
    for task in given(posed):
        mine = [t for t, who in enumerate(ran) if who == task["name"]]
        [row] = [row for row in solved["tasks"] if row["name"] == task["name"]]
        assert row["response"] == mine[0] - task["arrival"]
        assert row["turnaround"] == mine[-1] + 1 - task["arrival"]
        assert row["waiting"] == mine[-1] + 1 - task["arrival"] - task["burst"]


# --- answers of the OSTEP homework ----------------------------------------------------------------------

CASES = json.loads((ORACLES / "ostep_sched_fifo_sjf_rr.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_answer_is_that_of_the_ostep_homework(case):
    asked, expected = case["input"], case["expected"]
    text = {"FIFO": "fcfs", "SJF": "sjf", "RR": f"rr quantum={asked['quantum']}"}[asked["policy"]]
    tasks = [
        {"name": f"J{j['id']}", "arrival": j["arrival"], "burst": int(j["length"])} for j in asked["jobs"]
    ]
    policy = kinds.find(text)
    choice = {"policy": policy.name, **policy.given}
    solution = exercise(
        Problem(seed=0, policies=[Posed(policy, choice)], tasks=tasks, convention="ostep")
    ).solve()
    [solved] = solution.data["policies"]
    for row in solved["tasks"]:
        right = expected["per_job"][row["name"][1:]]
        assert (row["response"], row["turnaround"], row["waiting"]) == (
            right["response"], right["turnaround"], right["wait"],
        )  # fmt: skip
    for name, key in (("response", "response"), ("turnaround", "turnaround"), ("waiting", "wait")):
        assert solved["means"][f"mean {name}"] == pytest.approx(expected[f"avg_{key}"], abs=0.005)


# --- every policy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", EVERY)
def test_every_policy_has_an_exercise_whose_answer_adds_up(policy, seed):
    posed = pose(seed, policy)
    solved = answer(posed)
    work = {task["name"]: sum(bursts(task)) for task in given(posed)}
    for name, ticks in work.items():
        assert sum(end - start for start, end, _, who in solved["gantt"] if who == name) == pytest.approx(
            ticks
        )
    assert sum(decision["for"] for decision in solved["decisions"]) == pytest.approx(sum(work.values()))
    assert all(decision["why"] for decision in solved["decisions"])
    times = [decision["time"] for decision in solved["decisions"]]
    assert times == sorted(times)
    for row in solved.get("tasks", []):
        [task] = [task for task in given(posed) if task["name"] == row["name"]]
        assert row["turnaround"] == row["finish"] - task["arrival"]
        assert row["waiting"] == row["turnaround"] - work[task["name"]] - away(task)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", EVERY)
def test_llmos_run_gives_the_same_answer(policy, seed, tmp_path, monkeypatch, capsys):
    posed = pose(seed, policy)
    file = tmp_path / "posed.toml"
    file.write_text(posed.toml)
    monkeypatch.setattr("sys.argv", ["llmos", "run", str(file), "--json", "--runs"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    ran, solved = json.loads(capsys.readouterr().out), answer(posed)
    ms = 10**6
    assert [[start / ms, end / ms, cpu, task] for start, end, cpu, task in ran["runs"]] == solved["gantt"]
    if "tasks" in solved:
        keys = {"first_run": "first_run_ns", "finish": "finish_ns", "response": "response_ns",
                "turnaround": "turnaround_ns", "waiting": "waiting_ns"}  # fmt: skip
        for mine, theirs in zip(solved["tasks"], ran["tasks"], strict=True):
            assert {key: mine[key] for key in keys} == {key: theirs[ns] / ms for key, ns in keys.items()}
    else:
        theirs = [(task["name"], job) for task in ran["tasks"] for job in task["jobs"]]
        for mine, (name, job) in zip(solved["jobs"], theirs, strict=True):
            assert (mine["name"], mine["finish"], mine["missed"]) == (
                name,
                job["finish_ns"] / ms,
                job["missed"],
            )


@pytest.mark.parametrize("seed", range(10))
def test_the_jobs_of_a_seed_are_the_same_under_every_policy(seed):
    assert given(pose(seed, "fcfs")) == given(pose(seed, "rr")) == given(pose(seed, "sjf"))
    plain = [{k: v for k, v in task.items() if k != "tickets"} for task in given(pose(seed, "stride"))]
    assert plain == given(pose(seed, "fcfs"))


@pytest.mark.parametrize("seed", range(10))
def test_a_problem_is_small_and_the_processor_is_never_idle(seed):
    posed = pose(seed, "fcfs")
    assert len(given(posed)) == 4
    spans = answer(posed)["gantt"]
    assert [span[0] for span in spans] == [0, *[span[1] for span in spans[:-1]]]
    assert spans[-1][1] <= 32


# --- what matters to a policy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "reads"),
    [
        ("fcfs", set()),
        ("sjf", {"remaining"}),
        ("priority", {"priority"}),
        ("stride", {"tickets"}),
        ("bsd", {"nice"}),
        ("mlfq", {"upfront"}),
        ("edf", {"deadline_ns"}),
        ("rm", {"period_ns"}),
        ("dm", {"relative_deadline_ns"}),
    ],
)
def test_what_a_policy_looks_at_is_found_in_its_code(policy, reads):
    neutral = {"pid", "name", "arrival_ns", "client", "unit"}
    assert kinds.find(policy).reads - neutral == reads


OWN = '''
from llmos.sched.base import Ordered


def wealth(task):
    return task.tickets


class Rich(Ordered):
    """Whoever has most tickets, a short one first."""

    def __init__(self, quantum: int = 3):
        super().__init__()

    def key(self, task):
        return task.remaining - 10**9 * wealth(task)
'''


def test_a_policy_of_ones_own_is_posed_with_what_it_looks_at(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    posed = pose(3, "mine.py")
    assert all(task["tickets"] in (1, 2, 4, 5) for task in given(posed))
    first = answer(posed)["gantt"][0]
    there = [task for task in given(posed) if task["arrival"] == 0]
    assert first[3] == min(there, key=lambda task: (-task["tickets"], task["burst"]))["name"]


@pytest.mark.parametrize("seed", range(6))
def test_a_quantum_is_at_the_scale_of_the_jobs(seed):
    assert pose(seed, "rr").data["policies"][0] in ("rr quantum=2", "rr quantum=3")
    assert pose(seed, "stride").data["policies"][0] in ("stride quantum=2", "stride quantum=3")


def test_what_a_person_gives_stands():
    posed = pose(1, "rr quantum=5")
    assert posed.data["policies"] == ["rr quantum=5"]
    assert max(decision["for"] for decision in answer(posed)["decisions"]) <= 5


@pytest.mark.parametrize("seed", range(8))
def test_the_draws_of_a_lottery_are_posed_and_decide(seed):
    posed = pose(seed, "lottery")
    [table] = [p for p in posed.statement if isinstance(p, Table) and p.columns[0] == "parameter"]
    [draws] = [row[1].split(", ") for row in table.rows if row[0] == "draws"]
    tickets = {task["name"]: task["tickets"] for task in given(posed)}
    solved = answer(posed)
    assert len(draws) >= len(solved["decisions"])
    finish = {row["name"]: row["finish"] for row in solved["tasks"]}
    for draw, decision in zip(draws, solved["decisions"], strict=False):
        others = [name for _, tasks in decision["still_ready"] for name, _ in tasks]
        now = decision["time"]
        there = {t["name"] for t in given(posed) if t["arrival"] <= now < finish[t["name"]]}
        assert {decision["runs"], *others} == there
        drum = [name for name in sorted([decision["runs"], *others]) for _ in range(tickets[name])]
        assert decision["runs"] == drum[int(draw) % len(drum)]


# --- real time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_response_times_by_theory_are_those_of_the_run(seed):
    """The first job of each task is its worst; the theory and the simulator do not know each other."""
    for policy, key in (("rm", "period"), ("dm", "deadline")):
        posed = pose(seed, policy)
        tasks = sorted(given(posed), key=lambda task: task.get(key, task["period"]))
        first = {job["name"]: job for job in answer(posed)["jobs"] if job["job"] == 1}
        for i, task in enumerate(tasks):
            worst = bounds.iterate(task, tasks[:i])[-1]
            in_time = worst <= bounds.deadline(task)
            assert in_time is not first[task["name"]]["missed"]
            if in_time:
                assert first[task["name"]]["finish"] == worst


@pytest.mark.parametrize("policy", ["edf", "llf", "rm"])
@pytest.mark.parametrize("seed", range(12))
def test_a_bound_that_promises_every_deadline_keeps_its_word(policy, seed):
    posed = pose(seed, policy)
    said = " ".join(part.text for part in posed.solve().parts if hasattr(part, "text"))
    missed = [job for job in answer(posed)["jobs"] if job["missed"]]
    load = sum(Fraction(task["burst"], task["period"]) for task in given(posed))
    assert ("meet every deadline" in said or "meets every deadline" in said) <= (not missed)
    assert (policy != "rm" and load <= 1) <= (not missed)
    assert ("no policy meets all deadlines" in said) is (load > 1)


@pytest.mark.parametrize("seed", range(12))
def test_the_sum_of_c_by_d_keeps_its_word(seed):
    posed = pose(seed, "edf", "dm")
    said = " ".join(part.text for part in posed.solve().parts if hasattr(part, "text"))
    missed = [job for job in answer(posed)["jobs"] if job["missed"]]
    assert ("earliest deadline first and least laxity first meet every deadline" in said) <= (not missed)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_said_of_the_misses_is_what_happened(seed):
    posed = pose(seed, "rm")
    said = [part.text for part in posed.solve().parts if hasattr(part, "text")]
    late = [
        f"{job['name']} {job['job']} by {job['finish'] - job['deadline']}"
        for job in answer(posed)["jobs"]
        if job["missed"]
    ]
    assert (f"Missed: {', '.join(late)}." if late else "No deadline is missed.") in said


def test_a_bound_is_told_for_both_sorts_of_tasks():
    """Over the seeds some sets are feasible and some are not: else the tests above would say nothing."""
    misses = {bool(sum(job["missed"] for job in answer(pose(seed, "rm"))["jobs"])) for seed in range(15)}
    assert misses == {True, False}


@pytest.mark.parametrize("policy", PERIODIC)
def test_a_real_time_policy_gets_periodic_tasks(policy):
    posed = pose(1, policy)
    assert all({"period", "jobs"} <= task.keys() for task in given(posed))
    assert "Which jobs miss their deadline" in " ".join(posed.questions)


def test_names_say_who_is_released_first_of_several():
    """DM, equal deadlines: at 6 A and C are released. What becomes ready first is what was planned first."""
    for policy in PERIODIC:
        periods = [task["period"] for task in given(pose(1, policy, jobs=5))]
        assert periods == sorted(periods, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_no_two_deadlines_are_alike_while_there_are_enough(seed):
    """Equals wait now for one another, now not: no theory on paper could say their responses."""
    deadlines = [task["deadline"] for task in given(pose(seed, "dm"))]
    assert len(set(deadlines)) == len(deadlines)


def test_nothing_is_said_about_responses_of_equals():
    tasks = [
        {"name": name, "period": period, "burst": 1, "deadline": 2, "jobs": 2}
        for name, period in (("A", 3), ("B", 6))
    ]
    assert "the same deadline" in bounds.response_times(tasks, "dm").text
    assert [line.split(":")[0] for line in bounds.response_times(tasks, "rm").lines] == ["A", "B"]


@pytest.mark.parametrize("jobs", [6, 10])
@pytest.mark.parametrize("seed", range(6))
def test_many_periodic_tasks_are_not_too_many(seed, jobs):
    load = sum(Fraction(task["burst"], task["period"]) for task in given(pose(seed, "rm", jobs=jobs)))
    assert Fraction(65, 100) <= load <= Fraction(5, 4)


# --- what a statement has to say ------------------------------------------------------------------------


def test_equals_under_stride_are_equals_on_paper():
    """Passes are service / tickets. With 3 tickets the simulator rounds, and 4/3 was not 2/3 + 2/3."""
    for seed in range(40):
        for task in given(pose(seed, "stride", jobs=10)):
            assert Fraction(2**20 * 10**6, task["tickets"]).denominator == 1


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        ("srtf", "the earlier arrival"),
        ("stride", "the earlier arrival"),
        ("cfs", "who has been in the queue for longer"),
        ("rr", "who has been in the queue for longer"),
        ("edf", "the earlier release"),
    ],
)
def test_a_statement_says_who_goes_first_among_equals(policy, rule):
    assert f"of equals that wait, {rule} goes first, then the name." in pose(1, policy).statement[-1].text


def test_under_cfs_equals_queue_up():
    """A, B, C come at 0, D at 3. B and C have had 3 ms by 10, when D joins with what they have: D waited
    longer in the queue than B and C in theirs, though it arrived last."""
    decisions = answer(pose(4, "cfs"))["decisions"]
    [at_10] = [d for d in decisions if d["time"] == 10]
    assert at_10["runs"] == "D"
    vruntimes = {name: figure for _, tasks in at_10["still_ready"] for name, figure in tasks}
    assert vruntimes["B"] == vruntimes["C"] == at_10["why"].replace("lowest vruntime,", "vruntime")


@pytest.mark.parametrize(("policy", "cpus"), [("edf", 1), ("rm", 2), ("fcfs", 2), ("rr", 3)])
@pytest.mark.parametrize("seed", range(8))
def test_the_schedule_fits_into_the_chart_to_fill_in(seed, policy, cpus):
    posed = pose(seed, policy, cpus=cpus)
    lines = posed.worksheet[0].lines
    names = [line.split()[0] for line in lines[2:] if "_" in line]
    cores = [f"cpu{cpu}" for cpu in range(cpus)] if cpus > 1 else ["cpu"]
    assert names[: cpus + len(given(posed))] == [*cores, *(task["name"] for task in given(posed))]
    room = sum(line.count("_") for line in lines if line.startswith(cores[0]))
    load = sum(Fraction(t["burst"], t["period"]) for t in given(posed)) if policy in PERIODIC else 0
    assert room >= max(end for _, end, *_ in answer(posed)["gantt"]) or load > cpus


# --- several policies, several processors ---------------------------------------------------------------


def test_policies_are_compared_on_the_same_jobs():
    posed = pose(4, "fcfs", "srtf", "rr quantum=2")
    solution = posed.solve()
    alone = [answer(pose(4, name)) for name in ("fcfs", "srtf", "rr quantum=2")]
    assert solution.data["policies"] == alone
    table = [part for part in solution.parts if isinstance(part, Table)][-1]
    assert [row[0] for row in table.rows] == ["fcfs", "srtf", "rr quantum=2"]
    least = min(each["means"]["mean turnaround"] for each in alone)
    assert f"Smallest mean turnaround: srtf, with {least:.4g}." in [
        part.text for part in solution.parts if hasattr(part, "text")
    ]


@pytest.mark.parametrize(("policy", "cpus"), [("fcfs", 1), ("cfs", 1), ("edf-us", 2)])
def test_a_policy_for_several_processors_gets_them(policy, cpus):
    assert pose(1, policy).data["cpus"] == cpus


def test_two_processors_run_two_jobs_at_a_time():
    posed = pose(1, "fcfs", cpus=2)
    spans = answer(posed)["gantt"]
    assert {span[2] for span in spans} == {0, 1}
    [chart] = [p for p in posed.solve().parts if isinstance(p, Listing) and p.title.startswith("Gantt")]
    assert [line.split()[0] for line in chart.lines[2:4]] == ["cpu0", "cpu1"]


def test_the_convention_decides_who_queues_up_first():
    """A runs 0-2; B comes at 2, when A's quantum is over."""
    tasks = [{"name": "A", "arrival": 0, "burst": 4}, {"name": "B", "arrival": 2, "burst": 2}]
    policy = kinds.find("rr quantum=2")
    runs = {}
    for convention in ("textbook", "ostep"):
        problem = Problem(seed=0, policies=[Posed(policy, policy.given)], tasks=tasks, convention=convention)
        posed = exercise(problem)
        runs[convention] = [span[3] for span in answer(posed)["gantt"]]
        assert ("queues up before him" in posed.statement[-1].text) is (convention == "textbook")
    assert runs == {"textbook": ["A", "B", "A"], "ostep": ["A", "B"]}
