"""One scenario laid over another: what wins, what stays, and whose line a problem is at."""

import pytest

from llmos.errors import ScenarioError
from llmos.scenario.build import build
from llmos.scenario.extends import MOST_BASES
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import run
from llmos.trace.metrics import metrics

BASE = """\
question = "Who waits?"
tick = "1 ms"

[cpu]
count = 2
scheduler = { policy = "rr", quantum = 5 }

[cpu.costs]
context_switch = "10 us"
syscall = "1 us"

[[task]]
name = "truck"
burst = 100

[[task]]
name = "car"
count = 3
burst = 5
arrival = 1

[compare]
schedulers = ["fcfs", "rr"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)
    return tmp_path


def extended(folder, text, name="mine.toml"):
    (folder / name).write_text('extends = "base.toml"\n' + text)
    return load(folder / name)


def problems(folder, text, name="mine.toml"):
    with pytest.raises(ScenarioError) as caught:
        extended(folder, text, name)
    return [(p.file.name if p.file else None, p.line, p.key, p.message) for p in caught.value.problems]


# --- what wins ----------------------------------------------------------------------------------------


def test_a_scenario_that_says_nothing_is_its_base(folder):
    mine, base = extended(folder, ""), load(folder / "base.toml")
    assert mine.model.model_copy(update={"extends": None}) == base.model
    assert (mine.name, mine.question) == ("mine", "Who waits?")


def test_tables_and_dotted_keys_are_laid_over_key_by_key(folder):
    cpu = extended(folder, 'cpu.count = 3\n[cpu.costs]\nsyscall = "7 us"\nipi = "2 us"\n').model.cpu
    assert (cpu.count, cpu.scheduler["policy"]) == (3, "rr")
    assert (cpu.costs.context_switch, cpu.costs.syscall, cpu.costs.ipi) == (10_000, 7_000, 2_000)


def test_a_value_after_an_equals_sign_takes_the_place_of_all_that_was_there(folder):
    # rr's quantum would be no parameter of fcfs; the costs would keep their system calls.
    cpu = extended(folder, 'cpu.scheduler = { policy = "fcfs" }\ncpu.costs = { ipi = "2 us" }').model.cpu
    assert cpu.scheduler == {"policy": "fcfs"}
    assert (cpu.costs.context_switch, cpu.costs.ipi) == (0, 2_000)
    assert [t.name for t in extended(folder, 'task = [{ burst = 1, name = "x" }]').model.task] == ["x"]
    assert extended(folder, '[compare]\nschedulers = ["sjf"]').model.compare.schedulers == [{"policy": "sjf"}]


def test_entries_are_laid_over_by_name_in_place_and_new_ones_come_after(folder):
    tasks = extended(
        folder, '[[task]]\nname = "car"\nburst = 7\n[[task]]\nname = "bus"\nburst = 9\n[[task]]\nburst = 1\n'
    ).model.task
    ms = 1_000_000
    assert [(t.name, t.burst, t.count, t.arrival) for t in tasks] == [
        ("truck", 100 * ms, 1, 0),
        ("car", 7 * ms, 3, ms),
        ("bus", 9 * ms, 1, 0),
        (None, ms, 1, 0),
    ]


def test_what_is_removed_goes_before_anything_is_laid_over(folder):
    mine = extended(
        folder,
        'remove = ["task.truck", "compare", "cpu.costs.syscall", "cpu.scheduler.quantum"]\n'
        '[[task]]\nname = "truck"\nburst = 2\n',
    ).model
    assert [(t.name, t.burst) for t in mine.task] == [("car", 5_000_000), ("truck", 2_000_000)]
    assert (mine.compare, mine.cpu.costs.syscall, mine.cpu.costs.context_switch) == (None, 0, 10_000)
    assert mine.cpu.scheduler == {"policy": "rr"}
    assert [t.burst for t in extended(folder, 'remove = ["task"]\n[[task]]\nburst = 3').model.task] == [
        3 * 10**6
    ]


def test_a_sweep_takes_the_place_of_the_one_of_its_key(folder):
    (folder / "swept.toml").write_text(
        'extends = "base.toml"\n[[sweep]]\nkey = "cpu.count"\nrange = { from = 1, to = 4, steps = 4 }\n'
        '[[sweep]]\nkey = "task.car.burst"\nvalues = [1, 2]\n'
    )
    (folder / "mine.toml").write_text('extends = "swept.toml"\n[[sweep]]\nkey = "cpu.count"\nvalues = [8]\n')
    sweeps = load(folder / "mine.toml").model.sweep
    assert [(s.key, s.all()) for s in sweeps] == [("cpu.count", [8]), ("task.car.burst", [1, 2])]


def test_the_example_of_the_book_is_one_line_away_from_another(folder):
    # Silberschatz's three processes (24, 3, 3): mean waiting 17 under FCFS, 17/3 under RR, quantum 4.
    (folder / "base.toml").write_text(
        'question = "?"\ntick = "1 ms"\n[[task]]\nburst = 24\n[[task]]\ncount = 2\nburst = 3\n'
    )
    for text, mean in (("", 17), ('[cpu]\nscheduler = { policy = "rr", quantum = 4 }\n', 17 / 3)):
        state = run(build(extended(folder, text))).state
        assert metrics(state)["cpu.waiting_mean_ns"] == pytest.approx(mean * 1e6)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ('remove = ["cpu.scheduler.quantum"]\n', {}),
        ('cpu.scheduler.quantum = "2 ms"\n', {"quantum": "2 ms"}),
        ('[cpu.scheduler]\nquantum = "2 ms"\n', {"quantum": "2 ms"}),
    ],
)
def test_a_policy_that_is_written_as_a_text_has_parameters_as_one_in_a_table(folder, text, parameters):
    base = 'question = "?"\n[cpu]\nscheduler = "rr quantum=5 ms"\n[[task]]\nburst = "9 s"\n'
    (folder / "base.toml").write_text(base)
    assert extended(folder, text).model.cpu.scheduler == {"policy": "rr"} | parameters


def test_a_shipped_scenario_can_be_extended_by_its_name(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "convoy"\n[[task]]\nname = "car"\ncount = 2\n')
    mine = load(tmp_path / "mine.toml")
    assert (mine.question, [t.count for t in mine.model.task]) == (load(shipped()["convoy"]).question, [1, 2])


@pytest.mark.parametrize(
    "name",
    # What extends another has its key already; entries without a name would be there twice.
    sorted(n for n, path in shipped().items() if not (load(path).model.extends or load(path).model.inject)),
)
def test_a_shipped_scenario_laid_over_itself_is_itself(tmp_path, name):
    text = shipped()[name].read_text(encoding="utf-8")
    (tmp_path / "twice.toml").write_text(f'extends = "{name}"\n{text}', encoding="utf-8")
    twice = load(tmp_path / "twice.toml").model.model_copy(update={"extends": None})
    assert twice == load(shipped()[name]).model


def test_paths_in_a_base_start_at_the_base(tmp_path):
    deep = tmp_path / "lib" / "deep"
    deep.mkdir(parents=True)
    (deep / "base.toml").write_text(
        'question = "?"\n[cpu]\nscheduler = "mine.py:Mine"\n[[workload]]\nkind = "task"\nname = "w.py"\n'
        'trace = "work.csv"\n[compare]\nschedulers = ["mine.py", "fcfs"]\n'
    )
    (deep / "mine.py").write_text("from llmos.sched.fcfs import FCFS\nclass Mine(FCFS):\n    pass\n")
    (deep / "work.csv").write_text("arrival_ms,burst_ms\n0,5\n1,2\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "top.toml").write_text('extends = "../lib/deep/base.toml"\n')
    top = load(tmp_path / "a" / "top.toml")
    assert run(build(top)).ok
    assert [c["policy"] for c in top.model.compare.schedulers] == ["../lib/deep/mine.py", "fcfs"]
    assert top.model.workload[0].name == "w.py"


# --- whose line ---------------------------------------------------------------------------------------


def test_every_problem_is_told_in_the_file_where_its_key_stands(folder):
    base = BASE.replace('syscall = "1 us"', 'syscall = "1 parsec"').replace("arrival = 1", "arrival = -1")
    (folder / "base.toml").write_text(base)
    found = problems(
        folder, '[cpu]\ncuont = 3\n[[task]]\nname = "car"\nburst = "x"\n[[task]]\nname = "b"\nbrst = 2\n'
    )
    assert [(file, line, key) for file, line, key, _ in found] == [
        ("mine.toml", 3, "cpu.cuont"),
        ("mine.toml", 6, "task[1].burst"),
        ("mine.toml", 9, "task[2].brst"),
        ("base.toml", 10, "cpu.costs.syscall"),
        ("base.toml", 20, "task[1].arrival"),
    ]


def test_a_problem_between_tables_is_at_the_key_that_makes_it(folder):
    assert problems(folder, '[[task]]\nname = "x"\nburst = 1\nio = { every = 1, device = "dsk" }\n')[0][
        :3
    ] == (
        "mine.toml",
        5,
        "task[2].io.device",
    )
    # The base's own compare no longer fits the policy that this file removes it for.
    (folder / "base.toml").write_text(BASE + 'metrics = ["cpu.truck_mean"]\n')
    assert problems(folder, "")[0][:3] == ("base.toml", 24, "compare.metrics[0]")


def test_entries_after_a_removed_one_keep_their_lines(folder):
    (folder / "base.toml").write_text(BASE.replace("count = 3", "count = 0"))
    [(file, line, key, _)] = problems(folder, 'remove = ["task.truck"]\n')
    assert (file, line, key) == ("base.toml", 18, "task[0].count")


def test_a_name_twice_in_one_file_is_a_mistake_as_ever(folder):
    [(file, line, key, message)] = problems(
        folder, '[[task]]\nname = "car"\n[[task]]\nname = "car"\nburst = 1\n'
    )
    assert (file, line, key) == ("mine.toml", 5, "task[2].name")
    assert "taken" in message


def test_every_place_of_a_merged_scenario_holds_its_key(folder):
    (folder / "middle.toml").write_text(
        'extends = "base.toml"\nremove = ["task.truck"]\n[cpu]\ncosts.ipi = "1 us"\n'
        '[[task]]\nname = "car"\npriority = 3\n[[device]]\nname = "disk"\n'
    )
    (folder / "top.toml").write_text(
        'extends = "middle.toml"\n\n[cpu.costs]\nsyscall = "2 us"\n[[device]]\nname = "tape"\n'
        '[[device]]\nname = "disk"\nservice = 4\n'
    )
    lines = load(folder / "top.toml").lines
    seen = set()
    for path, (file, line) in lines.items():
        key = next(part for part in reversed(path) if isinstance(part, str))
        assert key in file.read_text().splitlines()[line - 1], path
        seen.add(file.name)
    assert seen == {"base.toml", "middle.toml", "top.toml"}
    assert lines["device", 0, "service"].line == 9
    assert lines["task", 0, "priority"].file.name == "middle.toml"


# --- hostile ------------------------------------------------------------------------------------------


def test_circles_are_told(folder):
    (folder / "base.toml").write_text('extends = "mine.toml"\n' + BASE)
    [(file, line, key, message)] = problems(folder, "")
    assert (file, line, key) == ("base.toml", 1, "extends")
    assert "mine.toml -> base.toml -> mine.toml" in message
    (folder / "self.toml").write_text('\nextends = "./self.toml"\n')
    with pytest.raises(ScenarioError, match=r"self\.toml:2: extends: .*circle"):
        load(folder / "self.toml")


def test_a_chain_has_an_end(folder):
    for i in range(MOST_BASES + 2):
        (folder / f"s{i}.toml").write_text(f'extends = "s{i + 1}.toml"\n')
    (folder / f"s{MOST_BASES}.toml").write_text(BASE)
    assert load(folder / "s0.toml").question == "Who waits?"
    (folder / f"s{MOST_BASES}.toml").write_text(f'extends = "s{MOST_BASES + 1}.toml"\n')
    with pytest.raises(ScenarioError, match=rf"s{MOST_BASES}\.toml:1: extends: more than {MOST_BASES}"):
        load(folder / "s0.toml")


@pytest.mark.parametrize(
    ("extends", "says"),
    [
        ('"bse.toml"', 'did you mean "base.toml"'),
        ('"convoi"', 'did you mean "convoy"'),
        ('"nowhere/x.toml"', "there is no file"),
        ('"."', "no scenario"),
        ('"./"', "there is no file"),
        ('"/dev/zero/.."', "there is no"),
        ('"a\\u0000/b.toml"', "there is no"),
        ('"' + "x" * 5000 + '.toml"', "there is no"),
        ("3", "text"),
        ('""', "empty"),
        ('["base.toml"]', "text"),
    ],
)
def test_a_base_that_is_none(folder, extends, says):
    (folder / "mine.toml").write_text(f"\nextends = {extends}\n{BASE}")
    with pytest.raises(ScenarioError, match=r"mine\.toml:2: extends") as caught:
        load(folder / "mine.toml")
    assert says in str(caught.value)


def test_a_base_that_cannot_be_read_says_so_itself(folder):
    (folder / "base.toml").write_text("question = \n")
    assert problems(folder, "")[0][:2] == ("base.toml", 1)
    (folder / "base.toml").write_bytes(b"# \xff\n")
    assert problems(folder, "")[0][:2] == ("base.toml", 1)


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        ('["task.trck"]', 'did you mean "truck"'),
        ('["task[2]"]', "there is no task[2]"),
        ('["engine"]', 'there is no "engine"'),
        ('["cpu.costs.ipi"]', 'there is no "cpu.costs.ipi"'),
        ('["cpu.count.x"]', "count is 2"),
        ('["cpu..x"]', "is no key"),
        ('[""]', "is no key"),
        ('["' + "a." * 70 + 'b"]', "more than 64 parts"),
        ("[3]", "text"),
        ('"task"', "list"),
    ],
)
def test_what_cannot_be_removed(folder, remove, says):
    text = " ".join(
        f"{line} {key} {message}" for _, line, key, message in problems(folder, f"remove = {remove}\n")
    )
    with pytest.raises(ScenarioError) as caught:
        load(folder / "mine.toml")
    assert "2 remove" in text
    assert says in str(caught.value)


def test_nothing_is_removed_without_a_base():
    with pytest.raises(ScenarioError, match="belongs to `extends`"):
        load_text('remove = ["task.truck"]\n' + BASE)
