"""Trace files: what was recorded elsewhere, read exactly; damage is told with its line."""

import pytest

from llmos.errors import ScenarioError
from llmos.scenario import traces
from llmos.scenario.build import build
from llmos.scenario.load import load_text

TASKS = 'question = "?"\n[[workload]]\nkind = "task"\nname = "w"\n'
REQUESTS = (
    'question = "?"\n[engine]\ncost = { base = "5 ms", per_token = "20 us" }\n'
    '[[workload]]\nkind = "request"\nname = "w"\n'
)


def read(tmp_path, name, content, head=TASKS, more=""):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return build(load_text(f'{head}trace = "{name}"\n{more}', folder=tmp_path))


def arrivals(spec):
    return [t.arrival_ns for t in [*spec.tasks, *spec.requests]]


def cpu_ns(spec):
    return [sum(call.ns for call in t.program()) for t in spec.tasks]


def wrong(tmp_path, name, content, head=TASKS, more=""):
    with pytest.raises(ScenarioError) as caught:
        read(tmp_path, name, content, head, more)
    return caught.value.problems


@pytest.mark.parametrize(
    "content",
    [
        "arrival_ms,burst_ms\n1.5,2\n0.000001,3\n",
        "arrival,burst\n1.5 ms,2 ms\n1 ns,3000 us\n",
        "arrival_s,burst_ns,what\n0.0015,2000000,x\n1e-9,3000000\n",
        "\ufeffburst_ms, arrival_us\r\n2,1500\r\n\r\n3,.001\r\n",
        'arrival_ns,burst_s\n"1500000",0.002\n1,0.003\n',
    ],
)
def test_a_csv_file_of_tasks_comes_in_order_of_arrival(tmp_path, content):
    spec = read(tmp_path, "t.csv", content)
    assert arrivals(spec) == [1, 1_500_000]
    assert cpu_ns(spec) == [3_000_000, 2_000_000]


def test_bare_numbers_are_ticks_if_there_is_a_tick(tmp_path):
    spec = read(tmp_path, "t.csv", "arrival,burst\n1,2\n", head='tick = "1 s"\n' + TASKS)
    assert (arrivals(spec), cpu_ns(spec)) == ([10**9], [2 * 10**9])


def test_json_lines_of_requests(tmp_path):
    lines = (
        '{"arrival_s": 0.1, "prompt": 30, "output": 4, "client": "a", "hash_ids": [1]}\n\n'
        '{"arrival_s": 2, "prompt": 1, "output": 1}\n'
    )
    spec = read(tmp_path, "t.jsonl", lines, REQUESTS)
    assert [(r.arrival_ns, r.prompt, r.output, r.client, r.name) for r in spec.requests] == [
        (100_000_000, 30, 4, "a", "w-1"),
        (2 * 10**9, 1, 1, "", "w-2"),
    ]


def test_renamed_columns_and_dates(tmp_path):
    content = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:04.0319600,3180,8\n"
        "2023-11-16 18:17:03.9799600,4808,10\n"
        "2023-11-17T18:17:04,1,1\n"
    )
    names = 'columns = { arrival = "TIMESTAMP", prompt = "ContextTokens", output = "GeneratedTokens" }'
    spec = read(tmp_path, "t.csv", content, REQUESTS, names)
    assert [(r.arrival_ns, r.prompt, r.output) for r in spec.requests] == [
        (0, 4808, 10),
        (52_000_000, 3180, 8),
        (86_400 * 10**9 + 20_040_000, 1, 1),
    ]


def test_a_renamed_column_keeps_its_unit(tmp_path):
    spec = read(
        tmp_path,
        "t.jsonl",
        '{"timestamp": 27, "input_length": 5, "output_length": 6}',
        REQUESTS,
        'columns = { arrival_ms = "timestamp", prompt = "input_length", output = "output_length" }',
    )
    assert [(r.arrival_ns, r.prompt, r.output) for r in spec.requests] == [(27_000_000, 5, 6)]


def test_count_start_and_until_cut_a_trace(tmp_path):
    content = "arrival_ms,burst_ms\n" + "".join(f"{i},1\n" for i in range(10))
    assert len(read(tmp_path, "t.csv", content, more="count = 3").tasks) == 3
    assert arrivals(read(tmp_path, "t.csv", content, more='start = "5 ms"\nuntil = "7 ms"')) == [
        5_000_000,
        6_000_000,
    ]


def test_terms_of_a_row_go_before_those_of_the_workload(tmp_path):
    spec = read(
        tmp_path, "t.csv", "arrival_s,burst_s,priority,tickets,name\n0,1,7,2,a\n0,1,,,\n", more="priority = 3"
    )
    assert [(t.name, t.priority, t.tickets) for t in spec.tasks] == [("a", 7, 2), ("w-2", 3, 1)]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("arrival_s,burst_s\n0,1\nx,1\n", 3, "cannot be read"),
        ("arrival_s,burst_s\n0,1\n-1,1\n", 3, "negative"),
        ("arrival_s,burst_s\n0,1\nnan,1\n", 3, "cannot be read"),
        ("arrival_s,burst_s\n0,1\n1e999,1\n", 3, "it should be"),
        ("arrival_s,burst_s\n0,1\n99999999999999999999,1\n", 3, "more than anything"),
        ("arrival_s,burst_s\n0,\n", 2, "empty"),
        ("arrival_s,burst_s\n0\n", 2, "empty"),
        ("arrival_s,burst_s\n0,0\n", 2, "more than 0"),
        ("arrival_s,burst_s\n0,1,2\n", 2, "3 cells"),
        ("arrival,burst_s\n0,1\n", 2, "has no unit"),
        ("arrival_s,brst\n0,1\n", 2, "no column `burst`"),
        ("arrival_s,burst_s,priority\n0,1,high\n", 2, "whole number"),
        ("arrival_s,burst_s,tickets\n0,1,0\n", 2, "whole number"),
        ("arrival,burst_s\n2023-99-01 00:00:00,1\n", 2, "no date"),
        ('arrival_s,burst_s\n0,"1\n', 2, "damaged"),
        (b"arrival_s,burst_s\n0,\xff\n", 2, "UTF-8"),
        ("arrival_s,burst_s\n0," + "1" * 2_000_000, 2, "too long"),
        ("arrival_s,burst_s\n", None, "no rows"),
        ("", None, "no rows"),
    ],
    ids=lambda v: str(v)[-30:],
)
def test_damage_is_told_with_file_and_line(tmp_path, content, line, says):
    problem = wrong(tmp_path, "t.csv", content)[0]
    assert (problem.file, problem.line) == (tmp_path / "t.csv", line)
    assert says in problem.message


@pytest.mark.parametrize(
    "line",
    ["[1]", "{", "x" * 100, "[" * 100_000, '{"arrival_s": ' + "9" * 5000 + "}", "null", '{"arrival_s": NaN}'],
    ids=lambda v: v[:9],
)
def test_damaged_json_lines(tmp_path, line):
    content = '{"arrival_s": 0, "burst_s": 1}\n' + line + "\n"
    problem = wrong(tmp_path, "t.jsonl", content)[0]
    assert (problem.file, problem.line) == (tmp_path / "t.jsonl", 2)


def test_only_the_first_problems_are_told(tmp_path):
    assert len(wrong(tmp_path, "t.csv", "arrival_s,burst_s\n" + "x,1\n" * 1000)) == traces.MOST_PROBLEMS


def test_a_column_that_cannot_be_renamed(tmp_path):
    problem = wrong(tmp_path, "t.csv", "a,b\n0,1\n", more='columns = { arival = "a", burst_s = "b" }')[0]
    assert problem.hint == 'did you mean "arrival"?'


@pytest.mark.parametrize("name", ["missing.csv", "", "folder", "a\\u0000b.csv", "x" * 5000])
def test_a_trace_that_is_not_there(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ScenarioError) as caught:
        build(load_text(f'{TASKS}trace = "{name}"\n', folder=tmp_path))
    assert caught.value.problems[0].line == 5


def test_a_misspelt_trace_file(tmp_path):
    (tmp_path / "trace.csv").touch()
    with pytest.raises(ScenarioError, match="did you mean"):
        load_text(f'{TASKS}trace = "trac.csv"\n', folder=tmp_path)
