"""Sweeps: which points there are, what is wrong with them, and rows that do not depend on the workers."""

import csv
import json
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from decimal import Decimal
from threading import Lock, Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import LlmosError, ScenarioError
from llmos.scenario import results
from llmos.scenario.build import build
from llmos.scenario.journal import Keys
from llmos.scenario.keys import find, parse, put
from llmos.scenario.load import load, load_text
from llmos.scenario.machine import run
from llmos.scenario.sweep import LOST, processes, run_sweep
from llmos.scenario.sweep_tables import Range
from llmos.trace.metrics import metrics

HEAD = 'question = "?"\ntick = "1 ms"\n'
BOOK = (
    HEAD
    + """\
[cpu]
scheduler = "rr"
[[task]]
name = "P1"
burst = 24
[[task]]
name = "P"
count = 2
burst = 3
"""
)


def swept(*sweeps, text=BOOK):
    return load_text(text + "".join(f"[[sweep]]\n{sweep}\n" for sweep in sweeps))


def problems(*sweeps, text=BOOK):
    with pytest.raises(ScenarioError) as caught:
        swept(*sweeps, text=text)
    return caught.value.problems


def quietly(scenario, **more):
    return run_sweep(scenario, **{"executor": lambda: ThreadPoolExecutor(1)} | more)


# --- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("seed", ("seed",)),
        ("cpu.costs.context_switch", ("cpu", "costs", "context_switch")),
        ("task[0].burst", ("task", 0, "burst")),
        ("workload.batch.arrival.rate", ("workload", "batch", "arrival", "rate")),
        ('task."my.task".burst', ("task", "my.task", "burst")),
        ("""task."'b'".burst""", ("task", "'b'", "burst")),
        ("programs.p.steps[1][2]", ("programs", "p", "steps", 1, 2)),
    ],
)
def test_a_key_is_read_as_it_is_written(text, path):
    assert parse(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a b", "a[x]", "a[-1]", "[0]", 'a."b', "a..b", "a=b"])
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match="is no key"):
        parse(text)


def test_a_name_leads_to_its_entry_and_putting_changes_nothing_else():
    raw = {"task": [{"name": "a", "burst": 1}, {"name": "b", "burst": 2}], "cpu": {"scheduler": "rr"}}
    path = find(raw, parse("task.b.burst"))
    assert path == ("task", 1, "burst")
    assert put(raw, path, 9)["task"] == [{"name": "a", "burst": 1}, {"name": "b", "burst": 9}]
    assert put(raw, ("cpu", "scheduler", "quantum"), 4)["cpu"] == {
        "scheduler": {"policy": "rr", "quantum": 4}
    }
    assert put(raw, ("cpu", "costs", "ipi"), 4)["cpu"]["costs"] == {"ipi": 4}
    assert raw["task"][1]["burst"] == 2


# --- ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "scale", "values"),
    [
        ((1, 64, 7), "log", [1, 2, 4, 8, 16, 32, 64]),
        ((64, 1, 4), "log", [64, 16, 4, 1]),
        ((0, 100, 5), "linear", [0, 25, 50, 75, 100]),
        ((1, 3, 9), "linear", [1, 2, 3]),  # whole ends, whole values, each once
        (("1 ms", "1 s", 4), "log", ["1 ms", "10 ms", "100 ms", "1000 ms"]),
        (("1 us", "2 us", 4), "linear", ["1 us", "1.333 us", "1.667 us", "2 us"]),  # whole nanoseconds
        (("10 /s", "1000 /s", 3), "log", ["10 /s", "100 /s", "1000 /s"]),
        (("16 tokens", "64 tokens", 3), "log", ["16 tokens", "32 tokens", "64 tokens"]),
        (("1 GiB", "2 GiB", 3), "linear", ["1 GiB", "1.5 GiB", "2 GiB"]),
        ((Decimal("0.1"), Decimal("0.3"), 3), "linear", [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]),
    ],
)
def test_the_values_of_a_range(ends, scale, values):
    start, end, steps = ends
    table = {"from": start, "to": end, "steps": steps, "scale": scale}
    assert Range.model_validate(table).values() == values


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 40), st.sampled_from(["linear", "log"]))
def test_a_range_keeps_its_ends_and_its_direction(start, end, steps, scale):
    table = {"from": f"{start} us", "to": f"{end} us", "steps": steps, "scale": scale}
    values = [Decimal(text.removesuffix(" us")) for text in Range.model_validate(table).values()]
    assert (values[0], values[-1]) == (start, end)
    assert values == sorted(set(values), reverse=end < start)
    assert len(values) <= steps


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('from = "1 ms", to = "4 tokens", steps = 2', "differ in their unit"),
        ("from = 0, to = 4, steps = 2, scale = 'log'", "above 0"),
        ("from = 1, to = 4, steps = 1", "at least 2"),
        ("from = 1, to = 4, steps = 1000000", "at most 10,000"),
        ("from = 1, to = nan, steps = 3", "more than anything"),
        ("from = inf, to = 1, steps = 3", "more than anything"),
        ("from = 1e400, to = 1, steps = 3", "more than anything"),
        ('from = "x", to = 4, steps = 2', "a number or an amount"),
        ("from = true, to = 4, steps = 2", "a number or an amount"),
        ("form = 1, to = 4, steps = 2", 'did you mean "from"'),
    ],
)
def test_what_is_no_range(table, says):
    assert says in "\n".join(map(str, problems(f'key = "cpu.count"\nrange = {{ {table} }}')))


# --- points -------------------------------------------------------------------------------------------


def test_several_keys_span_all_their_combinations_the_last_one_fastest():
    result = quietly(swept('key = "cpu.count"\nvalues = [1, 2]', 'key = "task.P1.burst"\nvalues = [6, 8, 9]'))
    assert result.keys == ("cpu.count", "task.P1.burst")
    assert [row.values for row in result.rows] == [(1, 6), (1, 8), (1, 9), (2, 6), (2, 8), (2, 9)]
    assert [row.point for row in result.rows] == [0, 1, 2, 3, 4, 5]


def test_the_mean_waiting_times_of_the_book():
    # Silberschatz: 17 under FCFS, 3 with the short ones first, 17/3 under RR with a quantum of 4.
    result = quietly(swept('key = "cpu.scheduler"\nvalues = ["fcfs", "sjf", { policy = "rr", quantum = 4 }]'))
    assert [row.result.metrics["cpu.waiting_mean_ns"] / 1e6 for row in result.rows] == pytest.approx(
        [17, 3, 17 / 3]
    )
    assert [row.values for row in result.rows] == [("fcfs",), ("sjf",), ("rr quantum=4",)]


def test_a_point_is_the_scenario_that_says_the_same():
    result = quietly(swept('key = "cpu.scheduler.quantum"\nvalues = [4]'), seeds=3)
    plain = load_text(BOOK.replace('"rr"', '{ policy = "rr", quantum = 4 }'))
    for row in result.rows:
        outcome = run(build(plain, seed=row.seed))
        assert (row.result.log_sha256, row.result.metrics) == (outcome.log_sha256, metrics(outcome.state))
    assert [row.seed for row in result.rows] == [1, 2, 3]


def test_a_policy_and_its_parameter_can_be_swept_together_in_either_order():
    keys = 'key = "cpu.scheduler"\nvalues = ["rr"]', 'key = "cpu.scheduler.quantum"\nvalues = [2, 4]'
    first, second = (quietly(swept(*order)) for order in (keys, keys[::-1]))
    assert {row.result.log_sha256 for row in first.rows} == {row.result.log_sha256 for row in second.rows}
    assert len({row.result.log_sha256 for row in first.rows}) == 2


def test_each_point_has_the_same_seeds_from_the_scenario_s_own_on():
    result = quietly(swept('key = "cpu.count"\nvalues = [1, 2]', text="seed = 7\n" + BOOK), seeds=2)
    assert [(row.point, row.seed) for row in result.rows] == [(0, 7), (0, 8), (1, 7), (1, 8)]


def test_a_label_is_the_column_s_name():
    result = quietly(swept('key = "cpu.count"\nvalues = [1]\nlabel = "cores"'))
    assert result.columns(["cpu.tasks"]) == [
        "point",
        "seed",
        "cores",
        "ok",
        "reason",
        "log_sha256",
        "cpu.tasks",
    ]
    assert result.records()[0]["cores"] == 1


def test_what_is_given_takes_the_place_of_the_file_s_own():
    scenario = swept('key = "cpu.count"\nvalues = [1]', 'key = "max_events"\nvalues = [500]')
    result = quietly(scenario, given={"cpu.count": [2, 3], "task[0].burst": ["7 ms"]})
    assert result.keys == ("cpu.count", "max_events", "task[0].burst")
    assert [row.values for row in result.rows] == [(2, 500, "7 ms"), (3, 500, "7 ms")]


# --- what is wrong with them ----------------------------------------------------------------------------


def test_a_wrong_key_is_told_once_where_it_stands():
    [problem] = problems('key = "cpu.shceduler"\nvalues = [\n"rr",\n"fcfs",\n]')
    assert (problem.line, problem.key, problem.hint) == (13, "cpu.shceduler", 'did you mean "scheduler"?')


def test_a_wrong_value_is_told_once_where_it_stands_however_many_points_have_it():
    found = problems(
        'key = "cpu.scheduler"\nvalues = [\n"rr",\n"rrr",\n]',
        'key = "task.P.burst"\nrange = { from = 0, to = 50, steps = 51 }',
    )
    assert [(p.line, p.key) for p in found] == [(16, "cpu.scheduler.policy"), (20, "task[1].burst")]


def test_an_end_of_a_long_range_is_tried():
    [problem] = problems('key = "cpu.count"\nrange = { from = 1, to = 9000, steps = 9000 }')[:1]
    assert "at most 1,024" in problem.message


def test_values_that_do_not_fit_each_other():
    text = (
        BOOK + '[engine]\ncost = { base = "1 ms", per_token = "1 us" }\n[[request]]\nprompt = 1\noutput = 1\n'
    )
    [problem] = problems(
        'key = "engine.slots"\nvalues = [1, 64]', 'key = "engine.token_budget"\nvalues = [128, 32]', text=text
    )
    assert "token budget of 32 is less than a token for each of 64 slots" in problem.message
    assert problem.line == 22


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ('key = "task.Q.burst"\nvalues = [1]', "there are P1, P"),
        ('key = "task[2].burst"\nvalues = [1]', "there is no task[2]"),
        ('key = "cpu.scheduler.qantum"\nvalues = [1, 2]', 'did you mean "quantum"'),
        ('key = "question.x"\nvalues = [1]', "has no `x`"),
        ('key = "sweep"\nvalues = [1]', "cannot be swept"),
        ('key = "compare.seeds"\nvalues = [1]', "cannot be swept"),
        ('key = ""\nvalues = [1]', "empty"),
        ('key = "cpu.count"', "`values` or `range`"),
        ('key = "cpu.count"\nvalues = []', "empty"),
        ('key = "cpu.count"\nvalues = [1]\nlabel = "point"', "another column"),
        ('key = "cpu.count"\nvalues = [1]\nlabel = "cpu.tasks"', "another column"),
        ('key = "cpu.count"\nvalues = [1]\n[[sweep]]\nkey = "cpu.count"\nvalues = [2]', "swept twice"),
        ('key = "cpu.count"\nvalues = [true]', "whole number"),
        ('key = "task"\nvalues = [3]', "a list"),
        ('key = "seed"\nvalues = [1]', "--seeds"),
        ('key = "cpu.count"\nvalues = [-1]', "at least 1"),
        ('kye = "seed"\nvalues = [1]', 'did you mean "key"'),
    ],
)
def test_what_is_no_sweep(sweep, says):
    assert says in "\n".join(map(str, problems(sweep)))


def test_there_is_an_end_to_points_and_runs():
    thousand = "range = { from = 1, to = 1000, steps = 1000 }"
    many = [f'key = "task[{i}].burst"\n{thousand}' for i in (0, 1)]
    assert "there are 1,000,000 points, and at most 100,000" in str(problems(*many)[0])
    with pytest.raises(LlmosError, match="more than 100,000 runs"):
        quietly(swept(many[0]), seeds=101)


def test_a_huge_sweep_is_refused_before_it_is_worked_out(monkeypatch):
    monkeypatch.setattr(Range, "values", lambda self: pytest.fail("worked out"))
    ranges = [
        f'key = "x{i}"\nrange = {{ from = 1, to = 9, steps = 10000, scale = "log" }}' for i in range(20)
    ]
    [problem] = problems(*ranges)
    assert "10^12 and more points" in problem.message


def test_nothing_to_sweep():
    with pytest.raises(LlmosError, match="nothing to sweep"):
        quietly(load_text(BOOK))


def test_a_point_that_was_not_tried_and_does_not_fit_is_a_failed_row(monkeypatch):
    monkeypatch.setattr("llmos.scenario.points.MOST_TRIED", 1)
    result = quietly(
        swept('key = "cpu.count"\nvalues = [1, 2, 0]', 'key = "cpu.scheduler"\nvalues = ["rr", "rrr"]')
    )
    assert [row.result.ok for row in result.rows] == [True, False] * 2 + [False] * 2
    assert 'did you mean "rr"' in result.rows[1].result.reason
    assert "cpu.count: it should be at least 1" in result.rows[4].result.reason


def test_a_run_that_fails_is_a_row_that_says_why():
    result = quietly(swept('key = "max_events"\nvalues = [2, 100000]'))
    assert [row.result.ok for row in result.rows] == [False, True]
    assert "event limit of 2" in result.rows[0].result.reason
    assert result.failed == [result.rows[0]]


# --- workers ------------------------------------------------------------------------------------------

RANDOM = """\
question = "?"
[[workload]]
kind = "task"
name = "w"
count = 20
arrival = { process = "poisson", rate = "50 /s" }
burst = { distribution = "exponential", mean = "10 ms" }
[[sweep]]
key = "cpu.scheduler"
values = ["fcfs", "srtf", "rr"]
"""


def test_the_rows_are_the_same_with_one_worker_two_or_threads():
    scenario = load_text(RANDOM)
    one, two = (run_sweep(scenario, seeds=2, executor=lambda jobs=jobs: processes(jobs)) for jobs in (1, 2))
    threads = run_sweep(scenario, seeds=2, executor=ThreadPoolExecutor, ahead=100)
    assert one == two == threads
    assert len({row.result.log_sha256 for row in one.rows}) == 6


DEADLY = """\
import multiprocessing, os, pathlib, signal
from llmos.sched.fcfs import FCFS

class Deadly(FCFS):
    def __init__(self, lives: int = 0):
        super().__init__()
        mark = pathlib.Path(__file__).with_name(f"killed-{lives}")
        deaths = len(mark.read_text()) if mark.exists() else 0
        if multiprocessing.parent_process() and deaths < lives:
            mark.write_text("x" * (deaths + 1))
            os.kill(os.getpid(), signal.SIGKILL)
"""


def deadly(folder, lives):
    (folder / "deadly.py").write_text(DEADLY)
    text = BOOK.replace('"rr"', '"deadly.py"')
    return load_text(text + f'[[sweep]]\nkey = "cpu.scheduler.lives"\nvalues = {lives}\n', folder=folder)


def test_a_worker_that_is_killed_once_costs_nothing(tmp_path):
    result = run_sweep(deadly(tmp_path, [0, 1]), seeds=3, executor=lambda: processes(2))
    assert (tmp_path / "killed-1").exists()
    assert not result.failed
    assert len({row.result.metrics["cpu.waiting_mean_ns"] for row in result.rows}) == 1


def test_a_point_that_kills_its_worker_again_is_lost_and_no_other(tmp_path):
    journal = tmp_path / "journal.jsonl"
    scenario = deadly(tmp_path, [0, 2, 0])
    result = run_sweep(scenario, executor=lambda: processes(2), journal=journal)
    assert [row.result.ok for row in result.rows] == [True, False, True]
    assert result.rows[1].result.reason == LOST
    # It is not finished: the next call tries it once more, and it only.
    again = run_sweep(scenario, executor=lambda: processes(2), journal=journal)
    assert (again.reused, again.failed) == (2, [])


class Breaking(Executor):
    """Runs nothing more after so many jobs, like a cluster that goes away."""

    def __init__(self, jobs):
        self.left = jobs

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.left -= 1
        if self.left < -1:
            raise BrokenExecutor
        if self.left < 0:
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(1, 5))
@settings(max_examples=25)
def test_every_job_has_one_row_however_often_the_executor_breaks(lives, ahead):
    lives = iter(lives)
    scenario = swept('key = "cpu.count"\nvalues = [1, 2, 3, 4, 5]')
    result = run_sweep(scenario, executor=lambda: Breaking(next(lives, 1000)), ahead=ahead)
    assert [row.values for row in result.rows] == [(1,), (2,), (3,), (4,), (5,)]
    assert all(row.result.ok or row.result.reason == LOST for row in result.rows)


class Fragile(Executor):
    """Its jobs take a moment; one with three cores breaks it at once, and takes along what is under way."""

    def __init__(self):
        self.running, self.lock, self.broken = [], Lock(), False

    def submit(self, fn, job):
        future = Future()
        with self.lock:
            if self.broken:
                raise BrokenExecutor
            self.running.append(future)
            if job.raw["cpu"]["count"] == 3:
                self.broken = True
                for each in self.running:
                    if not each.done():
                        each.set_exception(BrokenExecutor())
        Timer(0.02, self.finish, [future, fn, job]).start()
        return future

    def finish(self, future, fn, job):
        with self.lock:
            if not future.done():
                future.set_result(fn(job))


def test_what_was_under_way_beside_a_job_that_breaks_its_executor_is_not_lost():
    result = run_sweep(swept('key = "cpu.count"\nvalues = [1, 2, 3, 4, 5]'), executor=Fragile, ahead=5)
    assert [row.result.ok for row in result.rows] == [True, True, False, True, True]


def test_an_unforeseen_error_in_a_worker_is_a_failed_row(monkeypatch):
    def fail(job):
        raise MemoryError("no room")

    monkeypatch.setattr("llmos.scenario.sweep.work", fail)
    [row] = quietly(swept('key = "cpu.count"\nvalues = [1]')).rows
    assert (row.result.ok, row.result.reason) == (False, "MemoryError: no room")


class Cancelling(ThreadPoolExecutor):
    """Takes the second run that it gets back."""

    def submit(self, function, job):
        if job.raw["cpu"]["count"] != 2:
            return super().submit(function, job)
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_run_that_an_executor_takes_back_is_a_failed_row():
    result = run_sweep(swept('key = "cpu.count"\nvalues = [1, 2, 3]'), executor=lambda: Cancelling(1))
    assert [(row.result.ok, row.result.unfinished) for row in result.rows] == [
        (True, False), (False, True), (True, False),
    ]  # fmt: skip


# --- the journal --------------------------------------------------------------------------------------


def counting(monkeypatch):
    """Count the runs that are really done."""
    from llmos.scenario import sweep

    seen, work = [], sweep.work
    monkeypatch.setattr(sweep, "work", lambda job: (seen.append(job.seed), work(job))[1])
    return seen


def test_what_is_finished_is_not_run_again(tmp_path, monkeypatch):
    seen, journal = counting(monkeypatch), tmp_path / "new" / "journal.jsonl"
    first = quietly(swept('key = "cpu.count"\nvalues = [1, 2]'), seeds=2, journal=journal)
    assert (len(seen), first.reused) == (4, 0)
    more = quietly(swept('key = "cpu.count"\nvalues = [3, 2, 1]'), seeds=3, journal=journal)
    assert (len(seen), more.reused) == (9, 4)
    fresh = quietly(swept('key = "cpu.count"\nvalues = [3, 2, 1]'), seeds=3, journal=journal, fresh=True)
    assert fresh.reused == 0
    assert fresh.rows == more.rows
    assert len(journal.read_text().splitlines()) == 9


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_was_cut_off_is_run_again(tmp_path, cut):
    journal, scenario = tmp_path / "j.jsonl", swept('key = "cpu.count"\nvalues = [1, 2]')
    whole = quietly(scenario, journal=journal)
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = quietly(scenario, journal=journal)
    assert (again.reused, again.rows) == (2 if cut == 1 else 1, whole.rows)
    assert quietly(scenario, journal=journal).reused == 2


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"{}\n", b'{"key":3}\n', b"[" * 100_000 + b"\n", b"\n\n"])
def test_a_damaged_line_is_as_good_as_none(tmp_path, damage):
    journal, scenario = tmp_path / "j.jsonl", swept('key = "cpu.count"\nvalues = [1, 2]')
    quietly(scenario, journal=journal)
    journal.write_bytes(damage + journal.read_bytes())
    assert quietly(scenario, journal=journal).reused == 2


def test_another_scenario_or_another_file_that_it_names_is_another_run(tmp_path):
    journal = tmp_path / "j.jsonl"
    (tmp_path / "work.csv").write_text("arrival_ms,burst_ms\n0,5\n")
    (tmp_path / "mine.py").write_text("from llmos.sched.fcfs import FCFS\nclass Mine(FCFS):\n    pass\n")
    text = HEAD + '[cpu]\nscheduler = "fcfs"\n[[workload]]\nkind = "task"\nname = "w"\ntrace = "work.csv"\n'
    sweep = '[[sweep]]\nkey = "cpu.scheduler"\nvalues = ["mine.py:Mine", "fcfs"]\n'

    def reused(text=text + sweep):
        return quietly(load_text(text, folder=tmp_path), journal=journal).reused

    assert (reused(), reused()) == (0, 2)
    assert reused(text.replace('"w"', '"v"') + sweep) == 0
    # What decides nothing but which points there are: one more value, a sweep instead of a key.
    assert reused(text + sweep.replace('"fcfs"]', '"fcfs", "sjf"]')) == 2
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# changed\n")
    assert reused() == 1
    with (tmp_path / "work.csv").open("a") as file:
        file.write("1,5\n")
    assert reused() == 0


def test_a_number_and_its_text_are_two_runs(tmp_path):
    keys = Keys("?", tmp_path, None)
    assert len({keys.key({"a": value}, 1) for value in ("1.5", Decimal("1.5"), 1, "1")}) == 4


def test_a_journal_that_cannot_be_written(tmp_path):
    with pytest.raises(LlmosError, match=r"cannot (read|write) the journal"):
        quietly(swept('key = "cpu.count"\nvalues = [1]'), journal=tmp_path)


# --- results in files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    result = quietly(
        swept('key = "max_events"\nvalues = [2, 100000]', 'key = "cpu.scheduler"\nvalues = ["rr"]'), seeds=2
    )
    return result.columns(), result.records()


def test_csv_and_json_lines_say_the_same(tmp_path, table):
    columns, records = table
    for name in ("r.csv", "r.jsonl"):
        results.write(tmp_path / name, columns, records)
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [list(line) for line in lines] == [columns] * 4
    text = [
        {k: "" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for k, v in line.items()}
        for line in lines
    ]
    assert rows == text
    assert [line["ok"] for line in lines] == [False, False, True, True]
    assert lines[0]["cpu.turnaround_mean_ns"] is None


def test_parquet_keeps_numbers_numbers(tmp_path, table):
    parquet = pytest.importorskip("pyarrow.parquet", reason="llmos[parquet] is not installed")
    columns, records = table
    results.write(tmp_path / "r.parquet", columns, records)
    read = parquet.read_table(tmp_path / "r.parquet")
    assert read.column_names == columns
    assert read.to_pylist() == [{name: record.get(name) for name in columns} for record in records]
    assert {str(read.schema.field(n).type) for n in ("seed", "max_events")} == {"int64"}


def test_a_parquet_column_of_two_kinds_is_text(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="llmos[parquet] is not installed")
    results.write(tmp_path / "r.parquet", ["a", "b"], [{"a": 1, "b": 1}, {"a": "x", "b": 2.5}, {"b": None}])
    assert parquet.read_table(tmp_path / "r.parquet").to_pydict() == {
        "a": ["1", "x", None],
        "b": [1.0, 2.5, None],
    }


def test_without_pyarrow_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LlmosError, match=r"llmos\[parquet\]"):
        results.check_path(tmp_path / "r.parquet")


@pytest.mark.parametrize("name", ["r.txt", "r", "", "r.csv.gz"])
def test_results_of_no_kind(tmp_path, name):
    with pytest.raises(LlmosError, match=r"\.csv, \.jsonl, \.parquet|a folder"):
        results.check_path(tmp_path / name)


def test_a_scenario_with_sweeps_runs_as_if_it_had_none(tmp_path):
    (tmp_path / "s.toml").write_text(BOOK + '[[sweep]]\nkey = "cpu.count"\nvalues = [2]\n')
    assert run(build(load(tmp_path / "s.toml"))).state.now == 30_000_000
