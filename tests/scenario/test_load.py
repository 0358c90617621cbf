"""Reading, finding and describing scenarios."""

import json
import re
from pathlib import Path

import pytest

from llmos.costs.profile import shipped_folders
from llmos.errors import ScenarioError
from llmos.scenario.build import build
from llmos.scenario.compare import compare
from llmos.scenario.load import find, json_schema, load, load_text, shipped
from llmos.scenario.machine import run
from llmos.scenario.model import ScenarioModel
from llmos.scenario.policies import names
from llmos.serving.pacing import Law

TEXT = """\
question = "Why?"
seed = 7

[[task]]
burst = "3 ms"
"""


def test_a_scenario_remembers_where_it_came_from(tmp_path):
    (tmp_path / "mine.toml").write_text(TEXT)
    scenario = load(tmp_path / "mine.toml")
    assert (scenario.name, scenario.question, scenario.seed) == ("mine", "Why?", 7)
    assert (scenario.file, scenario.folder) == (tmp_path / "mine.toml", tmp_path)
    spec = build(scenario)
    assert (spec.scenario, spec.question, spec.seed) == ("mine", "Why?", 7)


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    (tmp_path / "w.toml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load(tmp_path / "w.toml").model == load_text(TEXT).model


def test_relative_paths_start_at_the_scenario_not_at_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "s.toml").write_text(TEXT + '[cpu]\nscheduler = "mine.py"\n')
    (folder / "mine.py").write_text("from llmos.sched.fcfs import FCFS\nclass Mine(FCFS):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    assert run(build(load("deep/s.toml"))).ok


def test_a_scheduler_that_is_asked_for_starts_at_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from llmos.sched.fcfs import FCFS\nclass Mine(FCFS):\n    pass\n")
    scenario = load_text(TEXT, folder=Path("elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert build(scenario, scheduler="mine.py").cpu.policy.name == "mine.py"
    assert compare(scenario, ["mine.py"]).columns[0].scheduler == "mine.py"


def test_a_profile_s_path_starts_at_the_scenario(tmp_path):
    (tmp_path / "mine.json").write_bytes((shipped_folders()[0] / "reference-cpu.json").read_bytes())
    spec = build(load_text('profile = "mine.json"\n' + TEXT, folder=tmp_path))
    assert spec.profile.startswith("reference-cpu")


def test_a_scenario_with_tasks_and_no_cpu_has_one_core():
    spec = build(load_text(TEXT))
    assert (spec.cpu.count, spec.cpu.policy.name, spec.engine) == (1, "fcfs", None)


def test_seed_scheduler_and_profile_can_be_replaced():
    text = TEXT + '[engine]\nmodel = "tiny-20m"\n[[request]]\nprompt = 3\noutput = 2\n'
    spec = build(load_text(text), seed=9, scheduler="srtf", profile="h100-data-sheet")
    assert (spec.seed, spec.cpu.policy.name, spec.engine.policy.name) == (9, "srtf", "srtf")
    assert "data sheet, not measured" in spec.profile
    with pytest.raises(ScenarioError, match="profile = "):
        build(load_text(text))


def test_an_engine_s_cost_is_kept_with_fractions_of_a_nanosecond():
    text = TEXT + '[engine]\ncost = { base = "5 ms", per_token = "20 us", per_context_token = "0.25 ns" }'
    spec = build(load_text(text))
    assert spec.engine.pacing == Law(5e6, 2e4, 0.25)
    assert spec.profile == "given in the scenario"


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("slots = 3", "`cost` or `model`"),
        ('model = "tiny-20m"\ncost = { base = 1, per_token = 1 }', "`cost` or `model`"),
        ("cost = { base = 0, per_token = 0 }", "no time"),
        ("cost = { base = 1 }", "`per_token` is missing"),
        ("cost = { base = 1, per_token = 1 }\ndtype = 'fp16'", "belongs to `model`"),
        ("cost = { base = 1, per_token = 1 }\npruned = 0.5", "`pruned` belongs to `model`"),
        ("cost = { base = 1, per_token = 1 }\ntoken_budget = 4", "token budget of 4"),
        ('model = "tiny-20m"\npruned = 1.0', "pruned"),
        ('model = "tiny-20m"\ngraph = "cuda"', "static"),
        ('model = "tiny-20m"\ntensor_parallel = 0', "tensor_parallel"),
        ('model = "tiny-20m"\nspeculative = { draft = "tiny-2m" }', "`acceptance` is missing"),
    ],
)
def test_broken_engines(engine, says):
    with pytest.raises(ScenarioError) as caught:
        load_text('tick = "1 ms"\n' + TEXT + f"[engine]\n{engine}")
    assert says in str(caught.value)


def test_an_unknown_model_is_told_at_its_line():
    text = TEXT + '[engine]\nmodel = "tiny-20"\n[[request]]\nprompt = 1\noutput = 1'
    with pytest.raises(ScenarioError) as caught:
        build(load_text(text), profile="reference-cpu")
    assert caught.value.problems[0].line == 7
    assert caught.value.problems[0].hint == 'did you mean "tiny-20m"?'


@pytest.mark.parametrize(
    ("engine", "profile", "key", "says"),
    [
        ("tensor_parallel = 3", "h100-data-sheet", "engine.tensor_parallel", ["32 heads", "1, 2, 4, 8"]),
        ("tensor_parallel = 2", "rtx-4090-data-sheet", "engine.tensor_parallel",
         ["'interconnect'", "another profile"]),
        ("pruned = 0.25\ntensor_parallel = 4", "h100-data-sheet", "engine.tensor_parallel", ["1, 2"]),
        ('speculative = { draft = "llama", acceptance = 0.8 }', "h100-data-sheet", "engine.speculative",
         ["unknown model shape 'llama'", "did you mean"]),
        ('dtype = "fp8"', "a100-data-sheet", "engine.model", ["fp8", "bf16"]),
    ],
)  # fmt: skip
def test_a_variant_that_cannot_be_says_what_could(engine, profile, key, says):
    text = TEXT + f'[engine]\nmodel = "llama-3-8b"\n{engine}\n[[request]]\nprompt = 1\noutput = 1'
    with pytest.raises(ScenarioError) as caught:
        build(load_text(text), profile=profile)
    [problem] = caught.value.problems
    assert problem.key == key
    assert all(part in str(problem) for part in says)


# --- what ships -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("size = 77", ["has no unit"]),
        ('device = 5\nsize = "1 MiB"', ["should be text"]),
        ("", ["missing"]),
        ('size = "1 MiB"\ndevice = "dsk"', ['there is no device "dsk"']),
        ('size = "x"\ndevice = "dsk"', ["cannot be read", 'there is no device "dsk"']),
    ],
)
def test_a_wrong_file_does_not_undeclare_the_others(wrong, says):
    lines = {line.partition(" ")[0]: line for line in wrong.splitlines()}
    lines = ["device = 'disk'"] * ("device" not in lines) + [*lines.values()]
    text = (
        'question = "?"\nmemory = { size = "1 MiB" }\n[[device]]\nname = "disk"\n'
        '[[file]]\nname = "good"\nsize = "1 MiB"\ndevice = "disk"\n'
        '[[file]]\nname = "bad"\n' + "\n".join(lines) + "\n"
        '[[task]]\nprogram = [{ read_file = "good" }, { read_file = "bad" }, { read_file = "none" }]\n'
    )
    with pytest.raises(ScenarioError) as refused:
        load_text(text)
    told = [problem.message for problem in refused.value.problems]
    assert len(told) == len(says) + 1
    for message, expected in zip(told, [*says, 'there is no file "none"'], strict=True):
        assert expected in message


def test_shipped_scenarios_are_found_by_name():
    assert find("convoy") == shipped()["convoy"]
    assert find("some/where.toml") == Path("some/where.toml")
    with pytest.raises(ScenarioError, match='did you mean "convoy"'):
        find("convoi")


def test_each_shipped_one_opens_with_its_question(root):
    assert shipped().keys() == {path.stem for path in (root / "scenarios").glob("*.toml")}
    assert len(shipped()) >= 18
    for path in shipped().values():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# {load(path).question}"


# --- the schema -------------------------------------------------------------------------------------


def tables(schema):
    return [schema, *(table for table in schema["$defs"].values() if "properties" in table)]


def test_every_key_is_described_in_the_json_schema():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    for table in tables(schema):
        for key, field in table.get("properties", {}).items():
            if "const" not in field:
                assert field.get("description"), f"{table['title']}: {key}"
        assert table.get("additionalProperties") is False


def test_the_schema_names_the_keys_of_the_model():
    schema = json_schema()
    assert schema["properties"].keys() == ScenarioModel.model_fields.keys()
    assert schema["anyOf"] == [{"required": ["question"]}, {"required": ["extends"]}]
    steps = {key for table in tables(schema) for key in table.get("properties", {})}
    assert {
        "compute",
        "io",
        "yield",
        "fork",
        "wait",
        "matmul",
        "vector_add",
        "repeat",
        "context_switch",
    } <= steps


def test_the_schema_offers_the_policies_that_there_are():
    scheduler = json_schema()["$defs"]["Cpu"]["properties"]["scheduler"]
    assert scheduler["anyOf"][0]["anyOf"][0] == {"enum": names()}
    assert scheduler["anyOf"][1]["properties"]["policy"]["anyOf"][0] == {"enum": names()}


def test_every_reference_in_the_schema_leads_somewhere():
    text = json.dumps(json_schema())
    there = set(json_schema()["$defs"])
    assert set(re.findall(r"#/\$defs/(\w+)", text)) == there


def test_every_key_is_in_the_reference(root):
    page = (root / "docs" / "scenarios.md").read_text(encoding="utf-8")
    keys = {key for table in tables(json_schema()) for key in table.get("properties", {})}
    assert not {key for key in keys if key not in page}
