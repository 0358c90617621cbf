"""The contract of topics, the command line, and that a seed poses the same problem everywhere."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from llmos.cli.main import main
from llmos.exercise import base, markdown, toml
from llmos.exercise.base import Listing, Table, Text, topics
from llmos.exercise.story import blank
from llmos.scenario.build import build
from llmos.scenario.load import load_text


@pytest.fixture
def llmos(monkeypatch, capsys):
    """Run `llmos ARGS` and return (exit code, stdout, stderr)."""

    def call(*args):
        monkeypatch.setattr("sys.argv", ["llmos", *args])
        with pytest.raises(SystemExit) as left:
            main()
        out = capsys.readouterr()
        return left.value.code, out.out, out.err

    return call


# --- every topic ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", topics())
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_a_topic_keeps_its_contract(name, seed):
    topic = topics()[name]
    assert (topic.__doc__ or "").splitlines()[0].endswith(".")
    posed = topic().pose(seed, {})
    assert (posed.topic, posed.seed) == (name, seed)
    assert posed.questions
    assert str(seed) in posed.title
    if posed.toml:
        scenario = load_text(posed.toml)
        assert scenario.seed == seed
        build(scenario)
    solution = posed.solve()
    for parts in (posed.statement, posed.worksheet, solution.parts):
        for table in (part for part in parts if isinstance(part, Table)):
            assert {len(row) for row in table.rows} == {len(table.columns)}
    json.dumps([posed.data, solution.data])


@pytest.mark.parametrize("name", topics())
def test_different_seeds_pose_different_problems(name):
    posed = [topics()[name]().pose(seed, {}) for seed in range(20)]
    assert len({json.dumps(each.toml or each.data) for each in posed}) == 20


def test_a_seed_poses_the_same_problem_in_every_process():
    script = (
        "import sys\nfrom llmos.cli.main import main\n"
        "for args in (['scheduling', '--policy', 'rr,priority,stride'], ['processes'],\n"
        "             ['scheduling', '--policy', 'edf'], ['forks'], ['cores', '--affinity'], ['locks'],\n"
        "             ['paging', '--policy', 'lru,random'], ['freespace'], ['buddy'], ['slab']):\n"
        "    sys.argv = ['llmos', 'exercise', *args, '--seed', '7', '--solve', '--json']\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n"
    )
    said = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True)
        said.append(done.stdout)
    assert said[0]
    assert said[0] == said[1]


def test_draws_use_nothing_but_what_python_promises():
    """Random.random is the only method whose sequence stays: a stub that has no other will do."""

    class Dice:
        def __init__(self, *values):
            self.values = list(values)

        def random(self):
            return self.values.pop(0)

    assert [base.whole(Dice(x), 2, 5) for x in (0.0, 0.24, 0.25, 0.9999)] == [2, 2, 3, 5]
    assert base.one_of(Dice(0.5), "abcd") == "c"
    assert base.shuffled(Dice(0.5, 0.1, 0.9), "abc") == ["b", "a", "c"]


# --- writing --------------------------------------------------------------------------------------------


def test_toml_is_read_back_as_it_was():
    scenario = {
        "question": 'a "quoted" one?',
        "seed": 3,
        "cpu": {"scheduler": {"policy": "mlfq", "quantum": [1, 2], "io_bump": True}},
        "task": [{"name": "A", "program": [{"compute": 2}, {"io": "disk", "time": 3}]}, {"name": "B"}],
    }
    assert tomllib.loads(toml.write(scenario, "two\nlines")) == scenario


STATEMENT = [Text("a_b <c>"), Table("", ("x", "y"), [("1", "|")])]


def test_markdown_has_tables_charts_and_no_marks_by_accident():
    posed = base.Exercise(
        topic="t", seed=1, title="A *title*", statement=STATEMENT,
        questions=["Why?"], worksheet=[Listing("Chart", blank(["A"], 3))], toml="", data={},
        solve=lambda: base.Solution(parts=[Text("So.")], data={}),
    )  # fmt: skip
    assert markdown.write(posed) == (
        "# A \\*title\\*\n\na\\_b \\<c>\n\n| x | y |\n| :-- | --: |\n| 1 | \\| |\n\n"
        "## Questions\n\n1. Why?\n\n"
        "## Answer\n\n**Chart**\n\n```text\n    0\n    |'''\ncpu ___\nA   ___\n```\n"
    )
    assert markdown.write(posed, posed.solve()).endswith("## Solution\n\nSo.\n")


@pytest.mark.parametrize(("value", "text"), [(6, "6"), (0.5, "0.5"), (20 / 3, "6.67"), (1200, "1200")])
def test_numbers_are_short(value, text):
    assert base.number(value) == text


# --- the command line -----------------------------------------------------------------------------------


def test_the_list_of_topics(llmos):
    code, out, _ = llmos("exercise", "list", "--json")
    assert code == 0
    assert [topic["name"] for topic in json.loads(out)["topics"]] == [*topics()]
    assert all(name in llmos("exercise", "list")[1] for name in topics())


def test_without_solve_the_answer_is_not_told(llmos):
    code, posed, _ = llmos("exercise", "scheduling", "--seed", "5", "--policy", "fcfs")
    assert code == 0
    assert "Gantt chart" in posed
    assert "Decision by decision" not in posed
    assert "\x1b" not in posed
    _, solved, _ = llmos("exercise", "scheduling", "--seed", "5", "--policy", "fcfs", "--solve")
    assert solved.startswith(posed[: posed.index("The answer:")])
    assert all(text in solved for text in ("Decision by decision", "first in the queue", "turnaround ("))
    assert json.loads(llmos("exercise", "scheduling", "--json")[1])["solution"] is None


@pytest.mark.parametrize("name", topics())
def test_a_scenario_is_offered_where_there_is_one(llmos, name):
    offered = "--toml" in llmos("exercise", name, "--help")[1]
    assert offered == bool(topics()[name]().pose(1, {}).toml)
    code, out, err = llmos("exercise", name, "--toml")
    assert (code, bool(out), "no scenario" in err) == ((0, True, False) if offered else (2, False, True))


def test_one_document_for_programs(llmos):
    _, out, _ = llmos("exercise", "scheduling", "--seed", "5", "--solve", "--json")
    document = json.loads(out)
    assert [*document] == ["schema", "topic", "seed", "title", "given", "questions", "scenario", "solution"]
    _, scenario, _ = llmos("exercise", "scheduling", "--seed", "5", "--toml")
    assert document["scenario"] == scenario


def test_paragraphs_fit_into_80_columns(llmos, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for seed in ("1", "2", "3"):
        for policy in ("fcfs", "rr", "edf", "mlfq"):
            _, out, _ = llmos("exercise", "scheduling", "--policy", policy, "--seed", seed)
            tables = [line for line in out.splitlines() if line.startswith(("quantum", "parameter", "boost"))]
            assert max(len(line) for line in out.splitlines() if line not in tables) <= 80


@pytest.mark.parametrize(
    "args",
    [
        ["forks", "--actions", "20"],
        ["forks", "--trees"],
        ["locks"],
        ["cores", "--jobs", "6", "--cpus", "4", "--affinity"],
        ["cores", "--jobs", "6", "--queues", "per-core"],
        ["buddy"],
        ["slab"],
    ],
)
def test_answers_fit_into_80_columns(llmos, args):
    for seed in "1234":
        _, out, _ = llmos("exercise", *args, "--seed", seed, "--solve")
        lines = [line for line in out.splitlines() if not line.startswith(("preemptive", "parameter"))]
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["schedulin"], 'did you mean "scheduling"'),
        (["scheduling", "--policy", "fcsf"], 'did you mean "fcfs"'),
        (["scheduling", "--policy", "rr quantm=2"], 'did you mean "quantum"'),
        (["scheduling", "--policy", "rr quantum=0"], "more than 0"),
        (["scheduling", "--policy", "nothing.py"], "no such file"),
        (["scheduling", "--jobs", "11"], "1<=x<=10"),
        (["scheduling", "--jobs", "many"], "not a valid integer"),
        (["scheduling", "--convention", "ostp"], "textbook"),
        (["scheduling", "--seed", "-1"], "range"),
        (["processes", "--policy", "fcsf"], 'did you mean "fcfs"'),
        (["processes", "--json", "--toml"], "exclude each other"),
        (["processes", "--io-first", "--policy", "rr"], "in-turn, not to rr"),
        (["forks", "--do", "A forks B, C exits"], 'action 2, "C exits": C does not live then'),
        (["forks", "--do", "A splits"], 'write "A forks B"'),
        (["cores", "--cpus", "3", "--queues", "per-core", "--peek", "5"], "leave --cpus away"),
        (["cores", "--queues", "shared", "--peek", "5"], "add --queues per-core"),
        (["locks", "--protocol", "ceiling"], "inherit"),
        (["locks", "--toml", "--solve"], "--toml is the problem alone"),
        (["forks", "--do", "A forks B", "--actions", "3"], "leave --actions away"),
        (["forks", "--do", "A forks B", "--forks", "0"], "leave --forks away"),
        (["cores", "--own", "3:4", "--jobs", "2"], "leave --jobs away"),
        (["paging", "--toml"], "no scenario"),
        (["paging", "--policy", "lur"], 'did you mean "lru"'),
        (["paging", "--references", "1 2 x"], '"x" is no reference'),
        (["paging", "--references", "1 2", "--pages", "4"], "leave --pages away"),
        (["freespace", "--fit", "bets"], 'did you mean "best"'),
        (["freespace", "--do", "+3,-1"], "p1 is not taken then"),
        (["freespace", "--do", "3"], "+10"),
        (["buddy", "--do", "A=3,A=2"], "A has frames already"),
        (["buddy", "--do", "A=99"], "1 to 32 frames"),
        (["buddy", "--do", "-B"], "B has no frames then"),
    ],
)
def test_bad_options_name_the_cure(llmos, args, says):
    code, out, err = llmos("exercise", *args)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert out == ""
