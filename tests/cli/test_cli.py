"""The command line as a person or a script meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import llmos, ok, refused

from llmos.scenario.policies import names
from llmos.trace.log import read
from llmos.trace.state import check, fold

SCENARIO = """
question = "Why does one long job make everybody wait?"
seed = 1
[cpu]
scheduler = "fcfs"
[[task]]
name = "long"
burst = "100 ms"
[[task]]
name = "short"
burst = "10 ms"
arrival = "1 ms"
[compare]
schedulers = ["fcfs", "srtf"]
seeds = 2
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "convoy2.toml").write_text(SCENARIO)
    return tmp_path


def test_run_prints_the_tasks_and_the_hash(folder):
    out = ok(llmos(folder, "run", "convoy2.toml"))
    assert "Why does one long job" in out
    short = next(line for line in out.splitlines() if line.startswith("short"))
    assert "109 ms" in short  # turnaround: 110 - 1
    assert "\x1b" not in out  # no colours in a pipe
    assert json.loads(ok(llmos(folder, "run", "convoy2.toml", "--json")))["log_sha256"] in out


def test_run_json_keeps_its_promise(folder):
    document = json.loads(ok(llmos(folder, "run", "convoy2.toml", "--json", "--runs")))
    assert document["schema"] == 1
    assert document["runs"] == [[0, 100_000_000, 0, "long"], [100_000_000, 110_000_000, 0, "short"]]
    assert "runs" not in json.loads(ok(llmos(folder, "run", "convoy2.toml", "--json")))


def test_the_scheduler_and_the_seed_can_be_replaced(folder):
    document = json.loads(
        ok(llmos(folder, "run", "convoy2.toml", "-s", "rr quantum=5 ms", "--seed", "7", "--json"))
    )
    assert document["seed"] == 7
    assert document["cpus"][0]["policy"] == "rr quantum=5 ms"
    assert document["tasks"][0]["preemptions"] > 0


def test_a_log_is_written_printed_filtered_and_checked(folder):
    ok(llmos(folder, "run", "convoy2.toml", "--log", "out/run.jsonl.gz"))
    assert [path.name for path in (folder / "out").iterdir()] == ["run.jsonl.gz"]
    everything = ok(llmos(folder, "log", "out/run.jsonl.gz"))
    assert "first in the queue" in everything
    rows = ok(
        llmos(folder, "log", "out/run.jsonl.gz", "--kind", "dispatch", "--task", "short", "--json")
    ).splitlines()
    assert [json.loads(row)["t"] for row in rows] == [100_000_000]
    assert ok(llmos(folder, "log", "out/run.jsonl.gz", "--from", "1 ms", "--to", "2 ms")).count("\n") == 1
    assert "in order" in ok(llmos(folder, "check", "out/run.jsonl.gz", "convoy2.toml"))
    for option, value, says in (
        ("--kind", "dispatched", 'did you mean "dispatch"'),
        ("--task", "shrot", 'did you mean "short"'),
        ("--cpu", "1", "it has 0"),
        ("--output", "x", "goes with --export"),
    ):
        refused(llmos(folder, "log", "out/run.jsonl.gz", option, value), says)


def test_a_trace_is_called_as_its_log(folder):
    ok(llmos(folder, "run", "convoy2.toml", "--log", "v1.2.jsonl.gz"))
    ok(llmos(folder, "log", "v1.2.jsonl.gz", "--export", "perfetto"))
    assert json.loads((folder / "v1.2.perfetto.json").read_text())["traceEvents"]


def test_a_task_that_becomes_another_program_has_its_name(folder):
    (folder / "exec.toml").write_text(
        'question = "?"\n[programs.sh]\nsteps = [{ exec = "ls" }]\n'
        '[programs.ls]\nsteps = [{ compute = "1 s" }]\n[[task]]\nname = "sh"\nprogram = "sh"\n'
    )
    ok(llmos(folder, "run", "exec.toml", "--log", "run.jsonl"))
    kinds = [line.split()[4] for line in ok(llmos(folder, "log", "run.jsonl", "--task", "ls")).splitlines()]
    assert (kinds[0], kinds[-1]) == ("exec", "exit")


@pytest.mark.parametrize(
    "args",
    [
        ["run", "convoy2.toml", "--runs"],
        ["run", "convoy2.toml", "--queues"],
        ["tui", "run.jsonl", "--seed", "1"],
    ],
)
def test_an_option_that_would_do_nothing_is_refused(folder, args):
    refused(llmos(folder, *args), "Error")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_cannot_be_written_is_told(folder):
    command = [sys.executable, "-c", "from llmos.cli.main import main; main()", "run", "convoy2.toml"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot write the output: No space left" in done.stderr


def test_what_the_terminal_cannot_write_is_no_error(folder):
    command = [sys.executable, "-c", "from llmos.cli.main import main; main()", "explain", "edf-us"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forged_log_fails_its_check(folder):
    ok(llmos(folder, "run", "convoy2.toml", "--log", "run.jsonl"))
    lines = (folder / "run.jsonl").read_text().splitlines(keepends=True)
    (folder / "run.jsonl").write_text("".join(line for line in lines if '"dispatch"' not in line))
    done = llmos(folder, "check", "run.jsonl")
    assert done.returncode == 1
    assert "is ready, not running" in done.stdout


def test_compare_with_intervals_and_a_picture(folder):
    out = ok(llmos(folder, "compare", "convoy2.toml", "--plot", "out.svg"))
    assert all(text in out for text in ("fcfs", "srtf", "95 %"))
    assert (folder / "out.svg").read_text().lstrip().startswith("<?xml")
    document = json.loads(
        ok(llmos(folder, "compare", "convoy2.toml", "-s", "sjf,rr quantum=5 ms", "--seeds", "3", "--json"))
    )
    assert [c["scheduler"] for c in document["columns"]] == ["sjf", "rr quantum=5 ms"]
    assert document["seeds"] == [1, 2, 3]
    mean = document["columns"][0]["metrics"]["cpu.turnaround_mean_ns"]
    assert mean["mean"] == (100 + 109) / 2 * 1e6


@pytest.mark.parametrize(
    ("name", "cure"),
    [("cpu.turnaround", "did you mean"), ("llm.ttft_mean_ns", "as in cpu.turnaround_mean_ns")],
)
def test_a_metric_that_a_comparison_cannot_have_is_told_before_anything_runs(folder, monkeypatch, name, cure):
    monkeypatch.setattr("llmos.cli.compare.compare", None)
    refused(llmos(folder, "compare", "convoy2.toml", "-m", name, "--json"), cure)


def test_a_comparison_as_json_has_the_metrics_that_were_asked_for(folder):
    args = ("compare", "convoy2.toml", "-s", "fcfs", "-m", "cpu.tasks,cpu.overhead", "--json")
    (column,) = json.loads(ok(llmos(folder, *args)))["columns"]
    assert list(column["metrics"]) == ["cpu.tasks", "cpu.overhead"]


@pytest.mark.parametrize("kind", ["gantt", "comparison", "cdf"])
def test_plot(folder, kind):
    ok(llmos(folder, "plot", kind, "convoy2.toml"))
    assert (folder / f"convoy2-{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_list_and_explain(folder):
    out = ok(llmos(folder, "list"))
    assert all(name in out for name in ("fcfs", "stride", "reference-cpu", "mlfq"))
    listed = json.loads(ok(llmos(folder, "list", "schedulers", "--json")))["schedulers"]
    assert [row["name"] for row in listed] == names()
    assert {"edf", "fcfs", "mlfq", "priority", "rr", "sjf", "srtf", "stride"} <= set(names())
    assert all(row["about"] for row in listed)
    out = ok(llmos(folder, "explain", "rr"))
    assert all(text in out for text in ("Source: OSTEP", "quantum", "10 ms, 32 tokens"))
    refused(llmos(folder, "explain", "rrr"), 'did you mean "rr"')
    told = json.loads(ok(llmos(folder, "explain", "real-costs", "--json")))
    assert told["story"].startswith("What do a context switch and a page fault really cost")
    assert "\n    llmos run real-costs\n" in told["story"]
    assert told["story"] in ok(llmos(folder, "explain", told["file"]))
    refused(llmos(folder, "explain", "nothere.toml"), "nothere.toml")


def test_a_policy_of_ones_own(folder):
    (folder / "mine.py").write_text(
        "from llmos.sched.base import Scheduler\n\n\n"
        "class Last(Scheduler):\n"
        '    """Last come, first served."""\n\n'
        "    def __init__(self):\n        self.ready = []\n\n"
        "    def enqueue(self, task, why, now):\n        self.ready.append(task)\n\n"
        "    def pick(self, now):\n        return self.ready.pop() if self.ready else None\n"
    )
    assert "Last come" in ok(llmos(folder, "explain", "mine.py"))
    assert json.loads(ok(llmos(folder, "run", "convoy2.toml", "-s", "mine.py:Last", "--json")))["ok"]
    (folder / "mine.py").write_text(
        "from llmos.sched.base import Scheduler\nclass Last(Scheduler): x = 1 / 0\n"
    )
    refused(llmos(folder, "run", "convoy2.toml", "-s", "mine.py"), "mine.py:2", "ZeroDivisionError")


def test_bad_input_names_the_cure(folder):
    refused(llmos(folder, "rnu"), 'did you mean "run"')
    refused(llmos(folder, "run", "convoy3.toml"), 'did you mean "convoy2.toml"')
    refused(llmos(folder, "run", "convoy2.toml", "-s", "fcsf"), 'did you mean "fcfs"')
    refused(llmos(folder, "run", "convoy2.toml", "--profile", "this-machine"), "llmos calibrate")
    refused(llmos(folder, "plot", "gantt", "convoy2.toml", "-o", "x.bmp"), ".png")
    refused(llmos(folder, "log", "nothing.jsonl"), "no such file")
    (folder / "bad.toml").write_text(SCENARIO.replace("burst", "brust").replace('"fcfs"\n', '"fcsf"\n', 1))
    done = llmos(folder, "run", "bad.toml")
    refused(done, "bad.toml:5", "bad.toml:8", "bad.toml:11", 'did you mean "burst"', 'did you mean "fcfs"')


def test_an_exception_in_a_policy_names_its_line_and_ends_the_log(folder):
    (folder / "mine.py").write_text(
        "from llmos.sched.fcfs import FCFS\n\n\nclass Mine(FCFS):\n"
        "    def pick(self, now):\n        return {}[now] if now else super().pick(now)\n"
    )
    done = llmos(folder, "run", "convoy2.toml", "-s", "mine.py", "--log", "run.jsonl")
    refused(done, "mine.py:6", "policy Mine", "KeyError: 100000000", "at 100,000,000 ns")
    assert "KeyError" in list(read(folder / "run.jsonl"))[-1].reason


def test_a_run_that_fails_has_exit_code_1(folder):
    (folder / "long.toml").write_text("max_events = 3\n" + SCENARIO)
    done = llmos(folder, "run", "long.toml")
    assert done.returncode == 1
    assert "event limit" in done.stderr
    assert "raise max_events" in done.stderr
    done = llmos(folder, "compare", "long.toml")
    assert done.returncode == 1
    assert "fcfs with seed 1: event limit" in done.stderr


def test_ctrl_c_leaves_a_log(folder):
    (folder / "endless.toml").write_text(
        'question = "?"\n[cpu]\nscheduler = { policy = "rr", quantum = "1 us" }\n'
        '[[task]]\nname = "A"\ncount = 2\nburst = "36000 s"\n'
    )
    code = "from llmos.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "endless.toml", "--log", "run.jsonl"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    part = Path(folder / "run.jsonl.part")
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    events = list(read(folder / "run.jsonl"))
    assert events[-1].reason == "interrupted"
    assert check(fold(events)) == []


def test_a_closed_pipe_is_no_error(folder):
    """As in `llmos log run.jsonl | head -1`."""
    ok(llmos(folder, "run", "convoy2.toml", "-s", "rr quantum=10 us", "--log", "run.jsonl"))
    code = "from llmos.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "log", "run.jsonl"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_schema_is_a_json_schema_with_descriptions(folder):
    schema = json.loads(ok(llmos(folder, "schema")))
    assert schema["$schema"].startswith("https://json-schema.org")
    assert schema["properties"]["question"]["description"]


def test_calibrate_and_profile_without_hardware(folder):
    ok(llmos(folder, "calibrate", "--device", "null", "--quick"))
    assert "null-device" in ok(llmos(folder, "profile", "list"))
    assert json.loads(ok(llmos(folder, "profile", "show", "null-device", "--json")))["rows"]
    shown = ok(llmos(folder, "profile", "show", "null-device"))
    assert "context_switch   " in shown
    assert "noise floor, matmul " in shown
    sheet = ok(llmos(folder, "profile", "show", "h100-data-sheet"))
    assert "data sheet" in sheet
    assert "context_switch" not in sheet
    refused(llmos(folder, "profile", "show", "h100-data-shet"), 'did you mean "h100-data-sheet"')
    drift = json.loads(ok(llmos(folder, "profile", "check", "null-device", "--device", "null", "--json")))
    same = ok(llmos(folder, "calibrate", "--check", "--name", "null-device", "--device", "null", "--json"))
    assert json.loads(same) == drift
    assert drift["ratio"] == pytest.approx(1, rel=0.05)


def test_a_run_that_fails_has_no_numbers_and_the_others_are_compared(folder):
    (folder / "locks.toml").write_text("""
question = "Who deadlocks?"
tick = "1 ms"
mutex = [{ name = "a" }, { name = "b" }]
[[task]]
program = [{ lock = "a" }, { compute = 4 }, { lock = "b" }, { unlock = "b" }, { unlock = "a" }]
[[task]]
program = [{ lock = "b" }, { compute = 4 }, { lock = "a" }, { unlock = "a" }, { unlock = "b" }]
""")
    done = llmos(folder, "compare", "locks.toml", "-s", "fcfs,rr quantum=2 ms", "--json")
    assert done.returncode == 1
    fcfs, rr = json.loads(done.stdout)["columns"]
    assert fcfs["failed"] == []
    assert fcfs["metrics"]["cpu.turnaround_mean_ns"]["mean"] == 6e6  # (4 + 8) / 2 ms
    assert rr["metrics"] == {}
    assert "waits for" in rr["failed"][0]
    assert (
        "rr quantum=2 ms with seed 1"
        in llmos(folder, "compare", "locks.toml", "-s", "fcfs,rr quantum=2 ms").stderr
    )
