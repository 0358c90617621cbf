"""`llmos sweep` and the differences of `llmos compare`, as a person or a script meets them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import commandline
import pytest
from commandline import ok, refused

SCENARIO = """\
question = "Does a second core help?"
tick = "1 ms"
[cpu]
scheduler = "fcfs"
[[task]]
name = "long"
burst = 100
[[task]]
name = "short"
burst = 10
[[sweep]]
key = "cpu.count"
values = [1, 2]
label = "cores"
[compare]
schedulers = ["fcfs", "srtf"]
metrics = ["cpu.turnaround_mean_ns"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cores.toml").write_text(SCENARIO)
    return tmp_path


def llmos(folder, *args):
    """Run `llmos ARGS` in `folder`; sweeps with threads, which start sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmos.cli.sweep.processes", ThreadPoolExecutor)
        return commandline.llmos(folder, *args)


def test_a_sweep_prints_one_line_per_point(folder):
    out = ok(commandline.llmos(folder, "sweep", "cores.toml", "--jobs", "1"))
    lines = [line.split() for line in out.splitlines()]
    assert ["cores", "cpu.turnaround_mean"] in lines
    assert ["1", "105", "ms"] in lines  # (100 + 110) / 2
    assert ["2", "55", "ms"] in lines  # (100 + 10) / 2
    assert "cores, 2 points, 1 seed each" in out


def test_a_sweep_says_whose_costs_they_are(folder):
    args = ("sweep", "quantised", "--set", "engine.weights=int4", "--set", "request.chat.count=1")
    out = ok(llmos(folder, *args))
    assert out.endswith("quantised, 1 point, 1 seed each\ncosts: h100-data-sheet, data sheet, not measured\n")
    assert "costs: a100-data-sheet, data sheet" in ok(llmos(folder, *args, "--profile", "a100-data-sheet"))
    each = ok(llmos(folder, *args, "--set", "profile=a100-data-sheet,h200-data-sheet"))
    assert "costs: each point's own profile; what a data sheet says is not measured" in each
    assert json.loads(ok(llmos(folder, *args, "--json")))["profile"].startswith("h100-data-sheet")
    assert "costs:" not in ok(llmos(folder, "sweep", "cores.toml"))


def test_what_is_set_stands_beside_the_scenario_s_own(folder):
    args = ("sweep", "cores.toml", "-m", "cpu.tasks,cpu.turnaround_max_ns", "--json")
    given = ("--set", "task.short.burst=20, 30 ms", "--set", "cpu.scheduler=rr quantum=5,fcfs")
    out = ok(llmos(folder, *args, *given))
    doc = json.loads(out)
    assert doc["keys"] == ["cores", "task.short.burst", "cpu.scheduler"]
    assert len(doc["rows"]) == 8
    first = doc["rows"][0]
    assert list(first) == [
        "point", "seed", "cores", "task.short.burst", "cpu.scheduler", "ok", "reason", "log_sha256",
        "cpu.tasks", "cpu.turnaround_max_ns",
    ]  # fmt: skip
    assert (first["cores"], first["task.short.burst"], first["cpu.scheduler"]) == (1, 20, "rr quantum=5")
    assert doc["rows"][2]["task.short.burst"] == "30 ms"
    assert first["cpu.turnaround_max_ns"] == 120_000_000


def test_what_is_set_may_be_any_value_of_toml(folder):
    given = ("--set", "cpu.count=2", "--set", "cpu.speeds=[1, 1],[2, 2]")
    given += ("--set", 'task=[{name="a, b", burst=100}],[{burst=50}]')
    rows = json.loads(ok(llmos(folder, "sweep", "cores.toml", "--json", *given)))["rows"]
    assert [(row["cpu.speeds"], row["cpu.turnaround_max_ns"] / 1e6) for row in rows] == [
        ("[1, 1]", 100), ("[1, 1]", 50), ("[2, 2]", 50), ("[2, 2]", 25),
    ]  # fmt: skip


def test_a_path_that_is_set_starts_at_the_current_folder_as_those_of_the_other_commands_do(folder):
    (folder / "here").mkdir()
    (folder / "here" / "mine.py").write_text("from llmos.sched.fcfs import FCFS\nclass Mine(FCFS): pass\n")
    args = ("sweep", "../cores.toml", "--set", "cpu.scheduler=fcfs,mine.py", "--json")
    rows = json.loads(ok(llmos(folder / "here", *args)))["rows"]
    assert [row["cpu.scheduler"] for row in rows] == ["fcfs", "mine.py"] * 2
    assert all(row["ok"] for row in rows)


@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_there_are_no_seeds_beyond_the_largest(folder, command):
    (folder / "last.toml").write_text(f"seed = {2**63 - 1}\n{SCENARIO}")
    ok(llmos(folder, command, "last.toml", "--seeds", "1"))
    refused(llmos(folder, command, "last.toml", "--seeds", "2"), "smaller `seed`")


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_results_are_written_and_finished_runs_are_kept(folder, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="llmos[parquet] is not installed")
    args = ("sweep", "cores.toml", "--seeds", "2", "--out", f"new/{name}")
    assert f"results: new/{name} (4 rows)" in ok(llmos(folder, *args))
    data = (folder / "new" / name).read_bytes()
    assert {path.name for path in (folder / "new").iterdir()} == {name, f"{name}.journal.jsonl"}
    assert "4 rows, 4 of them from before" in ok(llmos(folder, *args))
    assert (folder / "new" / name).read_bytes() == data
    assert "(4 rows)" in ok(llmos(folder, *args, "--fresh"))
    assert (folder / "new" / name).read_bytes() == data


def test_a_run_that_fails_is_a_row_and_the_exit_code(folder):
    done = llmos(folder, "sweep", "cores.toml", "--set", "max_events=2,1000", "--out", "r.csv")
    assert done.returncode == 1
    assert "failed: cores = 1, max_events = 2, seed 1: event limit of 2" in done.stderr
    with (folder / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ok"] for row in rows] == ["false", "true"] * 2
    assert "event limit of 2" in rows[0]["reason"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--set", "cpu.cuont=1,2"], "cpu.cuont: there is no such key"),
        (["--set", "ok=1,2"], "ok: there is no such key"),
        (["--set", "task.shrot.burst=1"], 'did you mean "short"'),
        (["--set", "cpu.count"], "names no key and values"),
        (["--set", "=3"], "names no key and values"),
        (["--set", "cpu.count="], "names no key and values"),
        (["--set", "cpu.count=1", "--set", "cpu.count=2"], "twice"),
        (["--set", "cpu..count=1"], "is no key"),
        (["--set", "seed=1,2"], "--seeds"),
        (["--set", "cpu.scheduler=rr quantum=[5]"], "quantum"),
        (["--set", "cpu.scheduler=fcfs,srft"], 'did you mean "srtf"'),
        (["--out", "r.txt"], ".csv, .jsonl, .parquet"),
        (["--out", "."], "name"),
        (["--metric", "cpu.turnaround"], "did you mean"),
        (["--seeds", "100000"], "--seeds"),
        (
            ["--seeds", "9999", "--set", "task.short.burst=" + ",".join(map(str, range(1, 30)))],
            "100,000 runs",
        ),
        (["--profile", "no-such"], "no-such"),
    ],
)
def test_bad_input_is_told_before_anything_runs(folder, args, says):
    refused(llmos(folder, "sweep", "cores.toml", *args), says)
    assert {path.name for path in folder.iterdir()} == {"cores.toml"}


LONG = ("sweep", "cores.toml", "--seeds", "40", "--jobs", "1", "--out", "r.csv")


def under_way(folder):
    """Start a sweep in processes of its own, and wait for its first finished run."""
    journal = folder / "r.csv.journal.jsonl"
    command = [sys.executable, "-c", "from llmos.cli.main import main; main()", *LONG]
    path = os.pathsep.join(sys.path)
    run = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while not (journal.exists() and journal.read_bytes().count(b"\n")):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.01)
    return run, journal


def test_ctrl_c_keeps_what_is_finished(folder):
    run, journal = under_way(folder)
    os.killpg(run.pid, signal.SIGINT)  # the terminal's Ctrl-C reaches every process of the group
    _, err = run.communicate(timeout=60)
    # A fast machine may be done before the signal comes; then there is nothing to keep.
    assert (run.returncode, "finished runs are kept in r.csv.journal.jsonl" in err) in [
        (130, True),
        (0, False),
    ]
    assert "Traceback" not in err
    assert (folder / "r.csv").exists() == (run.returncode == 0)
    kept = journal.read_bytes().count(b"\n")
    assert f"80 rows, {kept} of them from before" in ok(llmos(folder, *LONG))


def test_no_worker_outlives_a_sweep_that_is_killed_and_the_next_one_goes_on(folder):
    run, journal = under_way(folder)
    run.kill()
    run.communicate(timeout=60)  # its output ends when the last process that could write there is gone
    kept = journal.read_bytes().count(b"\n")
    assert f"80 rows, {kept} of them from before" in ok(llmos(folder, *LONG))


# --- compare ------------------------------------------------------------------------------------------

RANDOM = """\
question = "?"
[[workload]]
kind = "task"
name = "w"
count = 30
arrival = { process = "poisson", rate = "60 /s" }
burst = { distribution = "exponential", mean = "10 ms" }
"""


def test_compare_shows_differences_and_marks_those_that_are_more_than_chance(folder):
    (folder / "w.toml").write_text(RANDOM)
    args = ("compare", "w.toml", "-s", "fcfs,srtf,fcfs", "--seeds", "12", "-m", "cpu.turnaround_mean_ns")
    out = ok(llmos(folder, *args))
    [line] = [line for line in out.splitlines() if line.startswith("  minus fcfs ")]
    cells = line.removeprefix("  minus fcfs").split("  ")
    assert [cell.strip()[-1:] for cell in cells if cell.strip()] == ["-", "*", "s"]
    assert "* its interval excludes 0" in out
    columns = json.loads(ok(llmos(folder, *args, "--json")))["columns"]
    first, second, same = (column["metrics"]["cpu.turnaround_mean_ns"] for column in columns)
    assert first["difference"] is None
    apart = [b - a for a, b in zip(first["values"], second["values"], strict=True)]
    assert second["difference"]["mean"] == pytest.approx(sum(apart) / 12)
    assert second["difference"]["excludes_zero"]
    assert same["difference"] == {"mean": 0, "ci95_half_width": 0, "n": 12, "excludes_zero": False}


def test_one_seed_and_one_scheduler_show_no_differences(folder):
    (folder / "w.toml").write_text(RANDOM)
    assert "minus" not in ok(llmos(folder, "compare", "w.toml", "-s", "fcfs,srtf"))
    assert "minus" not in ok(llmos(folder, "compare", "w.toml", "-s", "fcfs", "--seeds", "2"))
