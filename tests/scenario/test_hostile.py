"""Whatever is in a file: a scenario, a bounded run, or an LlmosError. Never a traceback, never a hang."""

import os
import re
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.errors import LlmosError, ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import LARGEST_FILE_BYTES, load, load_text, shipped
from llmos.scenario.machine import MachineSpec, run

HEAD = 'question = "?"\ntick = "1 ms"\n'
TASK = HEAD + "[[task]]\nburst = 5\n"

FULL = """\
question = "Everything at once?"
tick = "1 ms"
seed = 3
convention = "ostep"
until = "2 s"
max_events = 3000

[cpu]
count = 2
scheduler = { policy = "mlfq", levels = 2, quantum = [4, 8], boost = 50 }

[cpu.costs]
context_switch = "5 us"
syscall = "1 us"
decision = "1 us"
timer = "1 us"
io_interrupt = "1 us"
ipi = "1 us"

[engine]
slots = 4
token_budget = 64
scheduler = { policy = "rr", quantum = "16 tokens" }
cost = { base = "5 ms", per_token = "20 us", per_context_token = "0.5 ns" }

[[device]]
name = "disk"
service = 3
servers = 1

[programs.child]
steps = [{ compute = 2 }, { io = "disk" }]

[[task]]
name = "parent"
arrival = 1
program = [
    { compute = "1 ms" },
    { fork = "child", count = 2 },
    { repeat = 2, do = [{ wait = true }, { yield = true }] },
    { sleep = 4 },
    { vector_add = "1 MiB", dtype = "fp32" },
    { exit = true },
]

[[task]]
name = "periodic"
period = 20
jobs = 4
deadline = 10
burst = 3

[[task]]
name = "interactive"
burst = 20
io = { every = 3, time = 2 }
count = 3
priority = 2
tickets = 5
client = "someone"

[[request]]
name = "ask"
prompt = 30
output = "10 tokens"

[[workload]]
kind = "task"
name = "crowd"
count = 10
arrival = { process = "poisson", rate = "0.1 /tick" }
burst = { distribution = "pareto", alpha = 1.1, min = 1, max = 50 }

[[workload]]
kind = "request"
name = "chat"
until = 100
start = 3
arrival = { process = "uniform", min = 1, max = 20 }
prompt = { distribution = "lognormal", median = 20, sigma = 1, max = 200 }
output = { distribution = "choice", values = [5, 50], weights = [3, 1] }

[compare]
schedulers = ["fcfs", { policy = "rr", quantum = { cpu = 5, engine = 16 } }]
seeds = 2
metrics = ["cpu.turnaround_mean_ns"]
"""


def outcome(text, tmp_path, most_events=2000):
    """Read, build and run for a little while."""
    scenario = load_text(text, folder=tmp_path)
    spec = build(scenario, profile="reference-cpu")
    short = {
        **{f: getattr(spec, f) for f in spec.__dataclass_fields__},
        "max_events": min(spec.max_events, most_events),
    }
    return run(MachineSpec(**short))


def survives(text, tmp_path, most_events=2000):
    """Whether the run ended well, and what was said at its end; nothing but an LlmosError may be raised."""
    try:
        ended = outcome(text, tmp_path, most_events)
    except LlmosError as error:
        return False, str(error)
    return ended.ok, ended.reason


def refused(text, folder="."):
    with pytest.raises(ScenarioError) as caught:
        build(load_text(text, folder=folder))
    assert str(caught.value)
    return caught.value


def test_the_full_example_runs(tmp_path):
    assert outcome(FULL, tmp_path).ok


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("\0", 1),
        (HEAD, None),
        ("question", 1),
        ('question = "a"\nquestion = "b"', 2),
        ('question = "?"\n[cpu', 2),
        ('question = "?"\ntask = ' + "[" * 100_000, 2),
        ('question = "?"\nx = ' + "{a=" * 100_000, 2),
        ('question = "?"\n[' + ".".join("a" * 100_000) + "]", 2),
        ('question = "?"\n' + "a." * 100_000 + "a = 1", 2),
        ('question = "?"\nseed = ' + "9" * 5000, 2),
        ('question = "?"\nseed = 0x' + "f" * 100_000, 2),
        ('question = "?"\nseed = 1e99999999999999999999', 2),
        ('question = "?"\nseed = nan', 2),
        ('question = "?"\nseed = 1979-05-27', 2),
        ('question = """' + "x" * 10**6, 1),
        (TASK + "count = 1_000_000_000", 5),
        (TASK + "count = inf", 5),
        (TASK + "arrival = nan", 5),
        (TASK + "arrival = 1e999999999", 5),
        (TASK + 'arrival = "1e999 s"', 5),
        (TASK + 'arrival = "5000000000 s"', 5),
        (TASK + "arrival = -1", 5),
        (TASK + "arrival = []", 5),
        (TASK + "arrival = true", 5),
        (TASK + "arrival = 0xfffffffffffffffffffffffffffffffff", 5),
        (TASK + 'name = "a\\nb"', 5),
        (TASK + "count = 600_000\n" + "[[task]]\nburst = 1\ncount = 600_000", 6),
        (HEAD + "task = 3", 3),
        (HEAD + "task = [3]", 3),
        (HEAD + 'cpu = "fast"', 3),
        (TASK + "[cpu]\nscheduler = 3", 6),
        (TASK + "[cpu]\nscheduler = { policy = [] }", 6),
        (TASK + '[cpu]\nscheduler = "no-such-file.py:Mine"', 6),
        (TASK + '[cpu]\nscheduler = { policy = "rr", quantum = [1] }', 6),
        (TASK + '[cpu]\nscheduler = { policy = "rr", quantum = -1 }', 6),
        (TASK + '[cpu]\nscheduler = { policy = "mlfq", levels = 1_000_000_000 }', 6),
        (TASK + "[cpu]\ncount = 0", 6),
        (HEAD + "[[task]]\nprogram = [{ repeat = 1_000_000_000, do = [] }]", 4),
        (HEAD + "[[task]]\nprogram = [{ fork = 'w' }]\nprograms.w.steps = [{ compute = 1 }]", 5),
        (HEAD + '[[task]]\nprogram = "w"\n[programs.w]\nsteps = [{ fork = "w" }]', 6),
        (HEAD + '[[task]]\nprogram = "no-such-file.py:work"', 4),
        (HEAD + "[[task]]\nprogram = [{ matmul = [1, 1, 1] }]", 4),
        (HEAD + "[[request]]\nprompt = 5\noutput = 5", 3),
        (HEAD + "[[task]]\nburst = 1\nperiod = 1", 5),
    ],
    ids=lambda v: repr(v)[-50:],
)
def test_bad_files_end_in_problems_at_their_lines(text, line):
    lines = [problem.line for problem in refused(text).problems]
    assert line in lines if line else None in lines


def test_a_million_forks_are_counted_before_the_run():
    error = refused(
        HEAD
        + "[[task]]\nprogram = [{ repeat = 2_000_000, do = [{ fork = 'w' }] }]\n"
        + "[programs.w]\nsteps = [{ compute = 1 }]"
    )
    assert "more than 1,000,000 tasks" in str(error)


@pytest.mark.parametrize(
    "loop",
    [
        "{ repeat = 1_000_000_000, do = [{ compute = 0 }] }",
        "{ repeat = 1_000_000_000, do = [{ yield = true }] }",
        '{ repeat = 1_000_000_000, do = [{ sleep = "1 ns" }] }',
        "{ repeat = 1_000_000_000, do = [{ repeat = 1_000_000_000, do = [{ sleep = 0 }] }] }",
        "{ repeat = 1_000_000_000, do = [{ wait = true }] }",
    ],
)
def test_endless_programs_end(loop, tmp_path):
    text = f"{HEAD}max_events = 5000\n[[task]]\nprogram = [{loop}]"
    ended, message = survives(text, tmp_path)
    assert "event limit" in message or "calls without spending any time" in message
    assert not ended


MEMORY = (
    HEAD
    + """\
max_events = 2000
memory = { size = "1 MiB", costs = { access = "0 ns", copy_page = "0 ns" } }
file = [{ name = "huge", size = "1000 TiB", device = "disk" }]
device = [{ name = "disk", service = "1 ns" }]
"""
)


@pytest.mark.parametrize("costs", [0, 1])
@pytest.mark.parametrize(
    "step",
    [
        '{ touch = "heap", pattern = "sequential", pages = 10, times = 1_000_000_000 }',
        '{ touch = "heap", pattern = "random", pages = 10, count = 1_000_000_000_000 }',
        '{ touch = "heap", pattern = "matmul", n = 100_000, element = "1 B" }',
        '{ read_file = "huge" }',
        '{ write_file = "huge" }',
        '{ read_file = "huge", size = "1 MiB", random = 1_000_000_000 }',
    ],
)
def test_endless_touches_end(step, costs, tmp_path):
    """So many references that no alarm comes in between count as events: ten of them as one."""
    text = MEMORY.replace("0 ns", f"{costs} ns") + f"[[task]]\nprogram = [{step}]"
    ended = outcome(text, tmp_path)
    assert "event limit of 2,000 reached" in ended.reason
    assert ended.simpy_events <= 2000 + 1
    memory = ended.state.memory
    done = sum(task.accesses for task in memory.tasks.values()) + memory.cache.hits + memory.cache.misses
    assert 0 < done <= 10 * 2000 + 4096


def test_a_workload_without_measure_ends():
    text = (
        HEAD
        + '[[workload]]\nkind = "task"\nname = "w"\nuntil = "100 h"\nburst = 1\n'
        + 'arrival = { process = "periodic", every = "1 ns" }'
    )
    assert "more than 1,000,000 tasks" in str(refused(text))


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    error = refused(
        TASK + 'io = { every = 2, device = "dsk" }\n'
        '[[device]]\nname = "disk"\n'
        '[cpu]\nscheduler = "rrr"\n'
        '[compare]\nschedulers = ["fcfs", { policy = "mlfq", level = 3 }]\n'
        'metrics = ["cpu.turnround_mean_ns"]'
    )
    assert [problem.line for problem in error.problems] == [5, 9, 11, 12]
    assert [problem.hint for problem in error.problems] == [
        'did you mean "disk"?',
        'did you mean "rr"?',
        'did you mean "levels"?',
        'did you mean "cpu.turnaround_mean_ns"?',
    ]


def test_a_wrong_value_does_not_hide_what_is_wrong_elsewhere():
    error = refused(
        HEAD + 'sed = 1\n[cpu]\ncuont = 2\nscheduler = "rrr"\n'
        '[engine]\nslots = "x"\nscheduler = { policy = "rr", quantum = "5 ms" }\n'
        "[[device]]\nname = 'disk'\nservers = -1\n"
        "[[task]]\nbrust = 1\n[[task]]\nprogram = [{ io = 'dsk' }]\n[[task]]\nprogram = [{ fork = 'w' }]\n"
        "[programs.w]\nsteps = []\n[[request]]\nprompt = 0\noutput = 1\n"
        "[[workload]]\nkind = 'task'\n[[workload]]\nkind = 'task'\nname = 'w'\ncount = 1\nprogram = 'x'\n"
        "arrival = 'all-at-once'\n[compare]\nschedulers = ['srtff']\nseeds = 0"
    )
    lines = [problem.line for problem in error.problems]
    wrong = {"sed": 3, "cuont": 5, "rrr": 6, "slots": 8, "5 ms": 9, "servers": 12, "brust": 14, "dsk": 16}
    wrong |= {"steps": 20, "prompt": 22, "workload 0": 24, "program x": 30, "srtff": 33, "seeds": 34}
    assert set(wrong.values()) <= set(lines)
    assert 18 not in lines  # `fork = 'w'`: the program is there, only its steps are wrong


def test_a_table_of_the_wrong_kind_is_one_problem():
    assert [problem.key for problem in refused(HEAD + "task = 3").problems] == ["task"]


def test_very_many_problems_are_cut():
    error = refused(HEAD + "[[task]]\nburst = -1\n" * 500)
    assert len(error.problems) == 101
    assert "400 more problems" in error.problems[-1].message


# --- files ------------------------------------------------------------------------------------------


def file_problem(path):
    with pytest.raises(ScenarioError) as caught:
        load(path)
    return str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'question = "?"\nname = "\xe9"\n')
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.toml").touch()
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    assert "latin.toml:2: this is not UTF-8 text" in file_problem(tmp_path / "latin.toml")
    assert "binary.toml:" in file_problem(tmp_path / "binary.toml")
    assert "`question` is missing" in file_problem(tmp_path / "empty.toml")
    assert "larger than" in file_problem(tmp_path / "huge.toml")
    assert "a folder" in file_problem(tmp_path)
    assert 'did you mean "empty.toml"?' in file_problem(tmp_path / "emty.toml")
    assert "there is no such file" in file_problem(tmp_path / "empty.toml" / "x.toml")
    assert "nul" in file_problem("nul\0.toml")
    assert "cannot read it" in file_problem("x" * 5000 + ".toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    assert "no ordinary file" in file_problem(tmp_path / "pipe.toml")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.toml"
    path.write_text(TASK)
    path.chmod(0)
    assert "Permission denied" in file_problem(path)


# --- mutations --------------------------------------------------------------------------------------

TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_]+|\d+|[][{}=,]|\n')
TOKENS = TOKEN.findall(FULL)
VALUES = [
    "0",
    "-1",
    "1",
    "7",
    "99999999999999999999",
    "1.5",
    "nan",
    "inf",
    "true",
    "false",
    '""',
    '"5 ms"',
    '"x"',
    "[]",
    "{}",
    "[1, 2]",
    '{ policy = "rr" }',
    '"fcfs"',
    '"srtf"',
    '"mlfq"',
    '"priority"',
    '"stride"',
    '"edf"',
    '"0 s"',
    '"1 h"',
    '"16 tokens"',
    "1000000",
    '"disk"',
    '"child"',
    "1979-05-27",
    '"a.py:B"',
    "[[1]]",
]


@st.composite
def mutated(draw):
    """The full example with a few tokens replaced, dropped, doubled or swapped."""
    tokens = list(TOKENS)
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(tokens) - 1))
        match draw(st.sampled_from(["value", "token", "drop", "double", "swap"])):
            case "value":
                tokens[i] = draw(st.sampled_from(VALUES))
            case "token":
                tokens[i] = draw(st.sampled_from(TOKENS))
            case "drop":
                tokens[i] = ""
            case "double":
                tokens.insert(i, tokens[i])
            case "swap":
                j = draw(st.integers(0, len(tokens) - 1))
                tokens[i], tokens[j] = tokens[j], tokens[i]
    return " ".join(tokens).replace(" . ", ".")


@st.composite
def misvalued(draw):
    """The full example with a few values replaced: what is left is TOML, and often a scenario."""
    places = [m.span(1) for m in re.finditer(r"= ((?:\"[^\"\n]*\")|[\d_]+|true|\[[\d, ]+\])", FULL)]
    text = FULL
    for start, end in sorted(
        draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)), reverse=True
    ):
        text = text[:start] + draw(st.sampled_from(VALUES)) + text[end:]
    return text


@pytest.mark.parametrize(
    "texts", [mutated(), misvalued(), st.text(max_size=50)], ids=["tokens", "values", "noise"]
)
def test_any_mutation_ends_in_a_run_or_an_error(texts, tmp_path):
    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(texts)
    def holds(text):
        assert survives(text, tmp_path)[1]

    holds()


def test_shipped_scenarios_survive_missing_lines(tmp_path):
    """What a line lacks shows when the file is read, when the machine is built, or soon after it starts."""
    for path in shipped().values():
        lines = path.read_text().splitlines()
        whole = tomllib.loads(path.read_text())
        for i in range(0, len(lines), 5):
            text = "\n".join(lines[:i] + lines[i + 1 :])
            assert says(text) == whole or survives(text, tmp_path, most_events=300)[1]


def says(text):
    """What a text says but for its comments and empty lines; None if it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
