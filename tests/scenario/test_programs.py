"""Programs: lists of steps, named programs and Python functions become system calls."""

import pytest

from llmos.costs.model import CostModel
from llmos.costs.ops import OPS, AllReduce, Copy, DecodeAttention, Matmul, Send, VectorAdd
from llmos.costs.profile import load_profile
from llmos.errors import PolicyError, ScenarioError
from llmos.process.program import Compute, EndJob, Exit, Fork, Io, Sleep, Wait, Work, YieldCpu
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.scenario.op_tables import OPERATIONS

HEAD = 'question = "?"\ntick = "1 ns"\n'
HEADS = "heads = 4, kv_heads = 2, head_dim = 8"
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
        { matmul = [1, 2, 3], dtype = "bf16", weights = "int4", on = "disk" },
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
        Work(Matmul(1, 2, 3, "bf16", "int4"), 1, "disk"),
        Compute(1),
        Sleep(1),
        Sleep(1),
        Compute(1),
        Sleep(1),
        Sleep(1),
        Exit(),
    ]


@pytest.mark.parametrize(
    ("step", "op"),
    [
        ('op = "matmul", m = 1, k = 2, n = 3', Matmul(1, 2, 3)),
        ('op = "matmul", m = 1, k = 2, n = 3, dtype = "bf16", weights = "int4"',
         Matmul(1, 2, 3, "bf16", "int4")),
        (f'op = "decode_attention", context = 5, batch = 2, {HEADS}, layout = "contiguous"',
         DecodeAttention(5, 2, 4, 2, 8, "bf16", "contiguous")),
        ('op = "all_reduce", size = "64 MiB", devices = 8', AllReduce(64 * 2**20, 8)),
        ('op = "all_reduce", size = "1 kB", devices = 8, algorithm = "tree"', AllReduce(1000, 8, "tree")),
        ('op = "copy", size = "2 KiB", route = "to-device"', Copy(2048, "to-device")),
        ('op = "send", size = "1.5 kB"', Send(1500)),
    ],
)  # fmt: skip
def test_an_operation_of_any_kind_is_a_step(step, op):
    assert calls(f"program = [{{ {step} }}, {{ {step}, count = 9 }}, {{ {step}, on = 'disk' }}]") == [
        Work(op),
        Work(op, 9),
        Work(op, 1, "disk"),
    ]


def test_there_is_a_step_for_every_kind_of_operation():
    kinds = {tag.removeprefix("~op ") for tag in OPERATIONS}
    assert kinds == set(OPS)


def test_an_operation_runs_on_the_core_or_on_a_device_while_the_task_waits():
    op = '{ op = "send", size = "450 MB", count = 2'
    text = HEAD + DISK + f"[[task]]\nprogram = [{op} }}]\n[[task]]\nprogram = [{op}, on = 'disk' }}]"
    takes = 2 * CostModel(load_profile("h100-data-sheet")).predict(Send(450_000_000)).ns
    first, second = run(build(load_text(text), profile="h100-data-sheet")).state.tasks.values()
    assert (first.cpu_ns, first.blocked_ns, first.finish_ns) == (takes, 0, takes)
    assert (second.cpu_ns, second.blocked_ns, second.finish_ns) == (0, takes, 2 * takes)


def test_a_task_exits_when_the_device_fails_that_runs_its_operation():
    text = HEAD + DISK + (
        "[[task]]\nprogram = [{ op = 'send', size = '1 MB', on = 'disk' }, { compute = 7 }]\n"
        "[[inject]]\nat = 0\nfail = 'disk'"
    )  # fmt: skip
    [task] = run(build(load_text(text), profile="h100-data-sheet")).state.tasks.values()
    assert task.cpu_ns == 0


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
        ("program = [{ vector_add = 1.5 }]", 'a number of elements, or a size such as "64 MiB", not 1.5'),
        ("program = [{ vector_add = '1 B' }]", "1 to 2"),
        ("program = [{ vector_add = '1 m' }]", "no unit"),
        ("program = [{ matmul = [1, 2, 3], weights = 'int5' }]", 'did you mean "int'),
        ("program = [{ op = 'all_reduc', size = '1 MB', devices = 2 }]", 'did you mean "all_reduce"'),
        ("program = [{ op = 3 }]", "no operation 3"),
        ("program = [{ op = 'all_reduce', size = '1 MB' }]", "`devices` is missing"),
        ("program = [{ op = 'all_reduce', size = '1 MB', devices = 0 }]", "at least 1"),
        ("program = [{ op = 'send', size = 4096 }]", "no unit"),
        ("program = [{ op = 'send', size = '0 B' }]", "at least 1 B"),
        ("program = [{ op = 'send', size = '2 TiB' }]", "at most 1 TiB"),
        ("program = [{ op = 'send', siz = '2 TiB' }]", 'did you mean "size"'),
        ("program = [{ op = 'send', size = '1 MB', on = 'dsk' }]", 'no device "dsk"'),
        ("program = [{ op = 'softmax', rows = 1, width = 1, dtype = 'fp64' }]", "allowed: fp32"),
        (
            f"program = [{{ op = 'prefill_attention', tokens = 5, context = 4, {HEADS} }}]",
            "cannot hold 5 tokens",
        ),
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
