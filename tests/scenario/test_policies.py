"""A policy's name and parameters, in both worlds."""

from pathlib import Path

import pytest

from llmos.errors import PolicyError, ScenarioError
from llmos.scenario import policies
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.policies import describe, label, parse_choice, policy_spec
from llmos.sched.base import Task, Why
from llmos.sched.mlfq import MLFQ
from llmos.sched.rr import RoundRobin

MINE = '''\
from llmos.sched.base import Duration, Scheduler, Service


class Mine(Scheduler):
    """Mine: a test.

    A lesson.
    In two lines.

    Another paragraph.

    Parameters:
        quantum: service per turn,
            told in two lines.
        bonus: a number.

    Source: nobody.
    Differs: from everything.
    """

    def __init__(self, quantum: Service, pause: Duration = 7, bonus: float = 0.5, label: str = "x", plain=3,
                 levels: list[int] | None = None, odd: dict = None, soft: bool = False):
        if bonus > 9:
            raise ValueError("bonus: more than 9")
        self.given = (quantum, pause, bonus, label, plain, levels, soft)
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def quantum_of(spec):
    """What a task gets for its first turn."""
    policy = spec.make()
    task = Task(pid=1, name="a")
    policy.enqueue(task, Why.ARRIVAL, 0)
    return policy.quantum(policy.pick(0), 0)


def problems(value, world="cpu", **more):
    with pytest.raises(ScenarioError) as caught:
        policy_spec(value, world, **more)
    return {problem.key: f"{problem.message} {problem.hint}" for problem in caught.value.problems}


def test_the_number_of_cores_is_the_machines_unless_it_is_given():
    text = """
question = "How many?"
[cpu]
count = 4
scheduler = %s
[[task]]
burst = "1 ms"
"""
    given = build(load_text(text % '{ policy = "cfs", cores = 1 }')).cpu.policy.make()
    own = build(load_text(text % '"cfs"')).cpu.policy.make()
    task = Task(pid=1, name="A")
    slices = []
    for policy in (given, own):
        policy.enqueue(task, Why.ARRIVAL, 0)
        slices.append(policy.quantum(policy.pick(0), 0))
    assert slices == [6_000_000, 18_000_000]  # 1 + ilog2(4) = 3 times the latency of 6 ms


def test_service_is_time_on_a_core_and_tokens_in_an_engine():
    assert quantum_of(policy_spec({"policy": "rr", "quantum": "5 ms"}, "cpu")) == 5_000_000
    assert quantum_of(policy_spec({"policy": "rr", "quantum": 5}, "cpu", tick_ns=1000)) == 5000
    assert quantum_of(policy_spec({"policy": "rr", "quantum": "16 tokens"}, "engine")) == 16
    assert quantum_of(policy_spec({"policy": "rr", "quantum": 16}, "engine")) == 16


def test_a_default_written_for_a_core_means_as_many_slices_in_an_engine():
    # The contract: a slice of 10 ms is 32 tokens.
    assert quantum_of(policy_spec("rr", "cpu")) == 10_000_000
    assert quantum_of(policy_spec("rr", "engine")) == 32
    assert quantum_of(policy_spec("mlfq", "engine")) == 32
    assert policies._slices([5_000_000, 20_000_000, 1]) == [16, 64, 1]


def test_a_parameter_may_differ_by_world():
    choice = {"policy": "rr", "quantum": {"cpu": "5 ms", "engine": "16 tokens"}}
    assert quantum_of(policy_spec(choice, "cpu")) == 5_000_000
    assert quantum_of(policy_spec(choice, "engine")) == 16
    assert quantum_of(policy_spec({"policy": "rr", "quantum": {"cpu": "5 ms"}}, "engine")) == 32
    assert policy_spec(choice, "engine").name == "rr quantum=16 tokens"


def test_a_duration_is_time_in_both_worlds():
    for world in policies.WORLDS:
        policy = policy_spec({"policy": "mlfq", "boost": "1 s"}, world).make()
        assert policy.next_tick(0) == 10**9


def test_a_list_may_be_given_where_the_policy_takes_one():
    assert isinstance(
        policy_spec({"policy": "mlfq", "quantum": ["1 ms", "2 ms", "4 ms"]}, "cpu").make(), MLFQ
    )
    assert "3 levels" in problems({"policy": "mlfq", "quantum": ["1 ms", "2 ms"]})["quantum"]
    assert "not a list" in problems({"policy": "rr", "quantum": ["1 ms"]})["quantum"]


def test_each_make_is_a_fresh_policy():
    spec = policy_spec("rr", "cpu")
    assert spec.make() is not spec.make()


@pytest.mark.parametrize(
    ("value", "world", "key", "says"),
    [
        ({"policy": "rrr"}, "cpu", "policy", 'did you mean "rr"?'),
        ({"policy": "rr", "quantm": 3}, "cpu", "quantm", 'did you mean "quantum"?'),
        ({"policy": "fcfs", "quantum": 3}, "cpu", "quantum", "no parameters"),
        ({"policy": "rr", "quantum": "0 ms"}, "cpu", "quantum", "more than 0"),
        ({"policy": "rr", "quantum": 0}, "engine", "quantum", "more than 0"),
        ({"policy": "rr", "quantum": "-1 ms"}, "cpu", "quantum", "negative"),
        ({"policy": "rr", "quantum": 5}, "cpu", "quantum", "write a unit"),
        ({"policy": "rr", "quantum": "5 ms"}, "engine", "quantum", "16 tokens"),
        ({"policy": "rr", "quantum": "16 tokens"}, "cpu", "quantum", "no unit"),
        ({"policy": "mlfq", "levels": "3"}, "cpu", "levels", "whole number"),
        ({"policy": "mlfq", "levels": True}, "cpu", "levels", "whole number"),
        ({"policy": "mlfq", "levels": 10**9}, "cpu", "levels", "at most"),
        ({"policy": "mlfq", "io_bump": 1}, "cpu", "io_bump", "true or false"),
        ({"policy": "mlfq", "boost": "soon"}, "cpu", "boost", "cannot be read"),
    ],
)
def test_a_wrong_parameter_is_a_problem_at_its_key(value, world, key, says):
    assert says in problems(value, world)[key]


def test_several_wrong_parameters_are_told_together():
    assert problems({"policy": "mlfq", "levels": 1.5, "bost": "1 s"}).keys() == {"levels", "bost"}


def test_a_policy_of_ones_own(folder):
    choice = {
        "policy": "mine.py:Mine",
        "quantum": "5 ms",
        "bonus": 2,
        "label": "y",
        "plain": "1 ms",
        "levels": [1, 2],
    }
    assert policy_spec(choice, "cpu", folder=folder).make().given == (
        5_000_000,
        7,
        2.0,
        "y",
        1_000_000,
        [1, 2],
        False,
    )
    assert problems({"policy": "mine.py"}, folder=folder) == {"quantum": "the policy needs this parameter "}
    assert (
        "more than 9"
        in problems({"policy": "mine.py", "quantum": 1, "bonus": 10}, "engine", folder=folder)["bonus"]
    )
    assert (
        "cannot write"
        in problems({"policy": "mine.py", "quantum": 1, "odd": {"a": 1}}, "engine", folder=folder)["odd"]
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('oh')", "RuntimeError: oh"),
        ("def", "SyntaxError"),
        (
            "from llmos.sched.base import Scheduler\nclass M(Scheduler):\n    def __init__(self): 1 / 0",
            "ZeroDivisionError",
        ),
        ("x = 1", "derive it"),
    ],
)
def test_a_policy_file_that_fails_is_a_problem(tmp_path, code, says):
    (tmp_path / "bad.py").write_text(code)
    assert says in problems({"policy": "bad.py"}, folder=tmp_path)["policy"]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("rr", {"policy": "rr"}),
        ("rr quantum=5 ms", {"policy": "rr", "quantum": "5 ms"}),
        (
            "mlfq levels=3 quantum=[5 ms, 10 ms, 20 ms]",
            {"policy": "mlfq", "levels": 3, "quantum": ["5 ms", "10 ms", "20 ms"]},
        ),
        ("mlfq io_bump=true boost=1 s", {"policy": "mlfq", "io_bump": True, "boost": "1 s"}),
        (
            "mlfq quantum=[1 ms, 2 ms]/[3, 4]",
            {"policy": "mlfq", "quantum": {"cpu": ["1 ms", "2 ms"], "engine": [3, 4]}},
        ),
        ("rr quantum=5 ms/16", {"policy": "rr", "quantum": {"cpu": "5 ms", "engine": 16}}),
        ("my folder/mine.py:Mine x=-2", {"policy": "my folder/mine.py:Mine", "x": -2}),
    ],
)
def test_a_choice_as_one_text_and_back(text, choice):
    assert parse_choice(text) == choice
    assert label(choice) == text
    assert label(text) == text


def test_every_shipped_policy_can_be_described():
    assert policies.names() == sorted(policies.names())
    assert {"fcfs", "sjf", "srtf", "rr", "priority", "mlfq", "stride", "edf"} <= set(policies.names())
    for name in policies.names():
        info = describe(name)
        assert info.summary.endswith(".")
        assert len(info.lesson) > 100
        assert info.source
        assert all(p.doc and p.type and p.default for p in info.parameters)
        policy_spec(name, "cpu")
        policy_spec(name, "engine")


def test_a_description_is_taken_from_the_docstring(folder, monkeypatch):
    monkeypatch.chdir(folder)
    info = describe("mine.py:Mine")
    assert (info.summary, info.source, info.differs) == ("Mine: a test.", "nobody.", "from everything.")
    assert info.lesson == "A lesson. In two lines.\n\nAnother paragraph."
    docs = {p.name: (p.type, p.default, p.doc) for p in info.parameters}
    assert docs["quantum"] == ("service", "required", "service per turn, told in two lines.")
    assert docs["pause"] == ("duration", "7 ns", "")
    assert docs["bonus"] == ("number", "0.5", "a number.")
    rr = describe("rr").parameters[0]
    assert (rr.type, rr.default) == ("service", "10 ms, 32 tokens in an engine")


def test_there_is_no_description_of_what_is_not_there():
    with pytest.raises(PolicyError):
        describe("rrr")


def test_the_name_of_a_policy_tells_its_parameters():
    assert policy_spec("rr quantum=5 ms", "cpu").name == "rr quantum=5 ms"
    assert isinstance(policy_spec("rr quantum=5 ms", "cpu", folder=Path("nowhere")).make(), RoundRobin)
