"""Programs: lists of steps, named programs and Python functions become system calls."""

import pytest

from llmos.costs.ops import Matmul, VectorAdd
from llmos.errors import PolicyError, ScenarioError
from llmos.process.program import Compute, EndJob, Exit, Fork, Io, Sleep, Wait, Work, YieldCpu
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run

HEAD = 'question = "?"\ntick = "1 ns"\n'
DISK = '[[device]]\nname = "disk"\nservice = 5\n'


def calls(task, more=DISK, **options):
    """The calls that the only task makes."""
    spec = build(load_text(f"{HEAD}[[task]]\n{task}\n{more}"), profile="h100-data-sheet", **options)
    return list(spec.tasks[0].program())


def test_every_step_becomes_its_call():
    program = """program = [
        { compute = 3 }, { io = "disk" }, { io = "disk", time = 7 },
        { sleep = 2 }, { yield = true }, { wait = true },
        { matmul = [1, 2, 3] }, { matmul = [4, 5, 6], dtype = "bf16", count = 9 },
        { vector_add = 8 }, { vector_add = "1 KiB", dtype = "fp16" },
        { repeat = 2, do = [{ compute = 1 }, { repeat = 2, do = [{ sleep = 1 }] }] },
        { exit = true },
    ]"""
    assert calls(program) == [
        Compute(3),
        Io("disk"),
        Io("disk", 7),
        Sleep(2),
        YieldCpu(),
        Wait(),
        Work(Matmul(1, 2, 3, "fp32")),
        Work(Matmul(4, 5, 6, "bf16"), 9),
        Work(VectorAdd(8, "fp32")),
        Work(VectorAdd(512, "fp16")),
        Compute(1),
        Sleep(1),
        Sleep(1),
        Compute(1),
        Sleep(1),
        Sleep(1),
        Exit(),
    ]


@pytest.mark.parametrize(
    ("burst", "every", "pieces"),
    [(24, 9, [9, 9, 6]), (18, 9, [9, 9]), (9, 9, [9]), (8, 9, [8]), (3, 1, [1, 1, 1])],
)
def test_a_burst_with_io_is_cut_into_pieces_with_none_after_the_last(burst, every, pieces):
    made = calls(f'burst = {burst}\nio = {{ every = {every}, device = "disk" }}')
    assert made[::2] == [Compute(ns) for ns in pieces]
    assert made[1::2] == [Io("disk")] * (len(pieces) - 1)


def test_io_without_a_device_serves_everybody_at_once():
    # Two tasks, two cores: both compute 2, wait 10 at the same time, and compute 1.
    text = HEAD + "[cpu]\ncount = 2\n[[task]]\ncount = 2\nburst = 3\nio = { every = 2, time = 10 }"
    state = run(build(load_text(text))).state
    assert [t.finish_ns for t in state.tasks.values()] == [13, 13]


def test_a_program_by_name_is_shared():
    text = HEAD + "[programs.work]\nsteps = [{ compute = 4 }]\n" + '[[task]]\nprogram = "work"\n' * 2
    assert [list(t.program()) for t in build(load_text(text)).tasks] == [[Compute(4)]] * 2


def test_fork_starts_the_named_program_and_wait_gets_its_pid():
    text = HEAD + (
        '[[task]]\nname = "parent"\nprogram = [{ fork = "child", count = 2 }, '
        "{ repeat = 2, do = [{ wait = true }] }, { compute = 1 }]\n"
        "[programs.child]\nsteps = [{ compute = 10 }]"
    )
    spec = build(load_text(text))
    fork = next(iter(spec.tasks[0].program()))
    assert isinstance(fork, Fork)
    assert list(fork.program()) == [Compute(10)]
    state = run(spec).state
    parent = state.tasks[1]
    assert (parent.name, parent.finish_ns) == ("parent", 21)
    assert len(state.tasks) == 3


def test_a_periodic_task_does_its_work_once_per_job():
    spec = build(load_text(HEAD + "[[task]]\nburst = 3\nperiod = 10\njobs = 3"))
    made = spec.tasks[0].program()
    assert [next(made) for _ in range(4)] == [Compute(3), EndJob(), Compute(3), EndJob()]
    jobs = run(spec).state.tasks[1].jobs
    assert [(j.release_ns, j.finish_ns, j.deadline_ns) for j in jobs] == [
        (0, 3, 10),
        (10, 13, 20),
        (20, 23, 30),
    ]


CODE = """\
from llmos.process.program import Compute, Fork, Wait

def work():
    pid = yield Fork(child)
    got = yield Wait()
    yield Compute(1 if got == pid else 100)

def child():
    yield Compute(5)

def fails():
    yield Compute(2)
    raise ValueError("oh")

def returns():
    return [Compute(1)]

def breaks():
    1 / 0

def nonsense():
    yield "compute"
"""


def of_python(tmp_path, function, more=""):
    (tmp_path / "mine.py").write_text(CODE)
    return build(load_text(f'{HEAD}[[task]]\nprogram = "mine.py:{function}"\n{more}', folder=tmp_path))


def test_a_python_function_is_a_program(tmp_path):
    outcome = run(of_python(tmp_path, "work"))
    assert outcome.state.now == 6
    periodic = run(of_python(tmp_path, "child", "period = 10\njobs = 2"))
    assert [j.finish_ns for j in periodic.state.tasks[1].jobs] == [5, 15]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("fails", "ValueError: oh"),
        ("returns", "makes no program"),
        ("breaks", "ZeroDivisionError"),
        ("nonsense", "no system call"),
    ],
)
def test_a_python_function_that_fails_is_a_policy_error(tmp_path, function, says):
    with pytest.raises(PolicyError, match=says):
        run(of_python(tmp_path, function))


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("", "`burst` or `program`"),
        ("burst = 1\nprogram = [{ compute = 1 }]", "`burst` or `program`"),
        ("program = []", "should not be empty"),
        ("program = [{ compute = 1, io = 'disk' }]", "no such key"),
        ("program = [{}]", "a step is a table"),
        ("program = [3]", "a step is a table"),
        ("program = 3", "list of steps"),
        ("program = [{ yield = false }]", "should be true"),
        ("program = [{ matmul = [1, 2] }]", "needs 3"),
        ("program = [{ matmul = [1, 2, 0] }]", "at least 1"),
        ("program = [{ matmul = [1, 2, 3], dtype = 'fp64' }]", "should not be"),
        ("program = [{ vector_add = 0 }]", "1 to 2"),
        ("program = [{ vector_add = '1 B' }]", "1 to 2"),
        ("program = [{ vector_add = '1 m' }]", "no unit"),
        ("program = [{ io = 'dsk' }]", 'no device "dsk"'),
        ("program = [{ fork = 'x' }]", 'no program "x"'),
        ("program = 'x'", 'no program "x"'),
        ("program = 'x.py:f'", "no such file"),
        ("program = 'x.py'", "does not name a function"),
        ("burst = 1\nio = { every = 1 }", "`time`, `device` or both"),
        ("program = [{ compute = 1 }]\nio = { every = 1, time = 1 }", "belongs to `burst`"),
        ("burst = 1\njobs = 3", "belongs to `period`"),
        ("burst = 1\nperiod = 3", "never end"),
    ],
)
def test_broken_programs(task, says):
    with pytest.raises(ScenarioError) as caught:
        calls(task)
    assert says in str(caught.value)


def test_programs_that_fork_in_a_circle_are_refused():
    text = HEAD + (
        '[[task]]\nprogram = "a"\n'
        '[programs.a]\nsteps = [{ fork = "b" }]\n[programs.b]\nsteps = [{ fork = "a" }]'
    )
    with pytest.raises(ScenarioError, match="a -> b -> a"):
        load_text(text)


def test_a_kernel_operation_needs_a_profile_that_has_its_dtype():
    text = HEAD + "[[task]]\nprogram = [{ compute = 1 }, { matmul = [1, 2, 3] }]"
    with pytest.raises(ScenarioError, match="profile = "):
        build(load_text(text))
    with pytest.raises(ScenarioError, match="no profile 'x'"):
        build(load_text('profile = "x"\n' + text))
