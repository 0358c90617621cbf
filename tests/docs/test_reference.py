"""The reference pages name what there is: no more, and no less."""

import dataclasses
import json
import re
from functools import cache
from pathlib import Path

import click
import pytest

from llmos.cli.compare import as_document
from llmos.cli.main import COMMANDS, llmos
from llmos.engine.order import CONVENTIONS
from llmos.scenario.build import build
from llmos.scenario.compare import compare
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.sched.base import Scheduler, Task
from llmos.trace import events as ev
from llmos.trace.metrics import MEMORY
from llmos.trace.report import document

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

BOTH_WORLDS = """
question = "What is in the document?"
[cpu]
scheduler = { policy = "rr", quantum = "1 ms" }
[engine]
slots = 2
token_budget = 32
cost = { base = "1 ms", per_token = "10 us" }
[[task]]
name = "once"
burst = "5 ms"
[[task]]
name = "periodic"
burst = "1 ms"
period = "4 ms"
jobs = 2
[[request]]
name = "chat"
prompt = 10
output = 5
[compare]
schedulers = ["fcfs"]
"""

WITH_MEMORY = """
question = "What does a run say of the memory?"
[memory]
frames = 8
[[task]]
program = [{ touch = "heap", pages = [0] }]
"""


def text(page):
    return page.read_text(encoding="utf-8")


def sections(page):
    """Heading -> what stands below it, up to the next heading."""
    parts = re.split(r"^#{1,3} (.+)\n", text(page), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(part):
    """The rows of the tables in `part`, each a list of its cells."""
    lines = re.findall(r"^\| *(`.+`.*) \|$", part, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def names(part):
    return [row[0].strip("`") for row in rows(part)]


# --- json.md ------------------------------------------------------------------------------------------


@cache
def documented():
    return {heading: names(part) for heading, part in sections(DOCS / "json.md").items()}


@cache
def both_worlds():
    outcome = run(build(load_text(BOTH_WORLDS)), keep_spans=True)
    return document(outcome.state, outcome.log_sha256, runs=True)


def test_every_key_of_a_run_is_documented_and_the_other_way_round():
    doc = both_worlds()
    once, periodic, chat = doc["tasks"]
    assert documented()["Document"] == [*doc]
    assert set(documented()["Task"]) == once.keys() | periodic.keys() | chat.keys()
    assert documented()["Job"] == [*periodic["jobs"][0]]
    assert all(documented()["Processor"] == [*cpu] for cpu in doc["cpus"])


def test_every_metric_is_documented_and_the_other_way_round():
    table = rows(sections(DOCS / "json.md")["Metrics"])
    units = {"ns": "_ns", "ratio": ""}
    quantities = {cells[0].strip("`"): units[cells[1]] for cells in table[:6]}
    expected = {
        f"{quantity}_{statistic}{unit}"
        for quantity, unit in quantities.items()
        for statistic in ("mean", "p50", "p95", "max")
    }
    expected |= {cells[0].strip("`") for cells in table[6:]}
    assert {name.split(".", 1)[1] for name in both_worlds()["metrics"]} == expected


def test_every_number_of_the_memory_is_documented_and_the_other_way_round():
    assert documented()["Numbers of the memory"] == [*MEMORY]


def test_every_key_of_the_page_cache_is_documented_and_the_other_way_round():
    outcome = run(build(load_text(WITH_MEMORY)))
    doc = document(outcome.state, outcome.log_sha256)
    assert documented()["Page cache"] == [*doc["memory"]["page_cache"]]


def test_every_key_of_a_comparison_is_documented_and_the_other_way_round():
    doc = as_document(compare(load_text(BOTH_WORLDS)))
    column = doc["columns"][0]
    assert documented()["Comparison"] == [*doc]
    assert documented()["Column"] == [*column]
    assert documented()["Estimate"] == [*column["metrics"]["cpu.tasks"]]


# --- log.md -------------------------------------------------------------------------------------------


def test_every_kind_of_event_is_documented_and_the_other_way_round():
    kinds = {h.strip("`") for h in sections(DOCS / "log.md") if h.startswith("`")}
    assert kinds == {kind.__struct_config__.tag for kind in ev.KINDS}


@pytest.mark.parametrize("kind", ev.KINDS, ids=lambda kind: kind.__struct_config__.tag)
def test_every_field_of_an_event_is_documented_with_its_default(kind):
    table = rows(sections(DOCS / "log.md")[f"`{kind.__struct_config__.tag}`"])
    shown = [(cells[0].strip("`"), cells[1]) for cells in table]
    assert shown == [(name, json.dumps(default)) for name, default in ev.arguments(kind(0)).items()]


def test_the_fields_of_every_event_are_documented():
    assert names(sections(DOCS / "log.md")["Fields of every event"]) == ["kind", *ev.Event.__struct_fields__]


# --- add-a-policy.md ----------------------------------------------------------------------------------


def test_the_contract_is_told_in_full():
    shown = sections(DOCS / "add-a-policy.md")["The contract"]
    calls = {name.split("(")[0] for name in names(shown)}
    methods = {name for name, thing in vars(Scheduler).items() if callable(thing)}
    assert calls == methods | {field.name for field in dataclasses.fields(Task)}


# --- concepts.md --------------------------------------------------------------------------------------


def test_the_order_within_an_instant_is_that_of_the_engine():
    table = rows(sections(DOCS / "concepts.md")["What goes first at one instant"])
    shown = {cells[0].split("`")[1]: cells[1].split(", ") for cells in table if cells[0].startswith("`")}
    phases = ("ended", "tick", "came", "iterated", "decide")
    assert shown == {
        name: sorted(phases, key=lambda phase: getattr(order, phase)) for name, order in CONVENTIONS.items()
    }


# --- commands.md --------------------------------------------------------------------------------------


def every_command():
    """The commands with their sub-commands, "llmos profile show" for one."""
    with click.Context(llmos, info_name="llmos") as ctx:
        for name in COMMANDS:
            command = llmos.get_command(ctx, name)
            yield f"llmos {name}", command
            if isinstance(command, click.Group):
                yield from ((f"llmos {name} {sub.name}", sub) for sub in command.commands.values())


def test_every_command_has_its_section_and_the_other_way_round():
    headings = [h.strip("`") for h in sections(DOCS / "commands.md") if h.startswith("`llmos")]
    assert sorted(headings) == sorted(name for name, command in every_command())


def test_every_option_is_documented_and_the_other_way_round():
    parts = sections(DOCS / "commands.md")
    for name, command in every_command():
        there = {tuple(p.opts) for p in command.params if isinstance(p, click.Option)}
        shown = {tuple(re.findall(r"--?[a-z-]+", row[0])) for row in rows(parts[f"`{name}`"])}
        assert {frozenset(names) for names in shown} == {frozenset(names) for names in there}, name


# --- all pages ----------------------------------------------------------------------------------------


def anchors(page):
    """The places in a page that a link can name, as GitHub makes them from headings."""
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_shows_a_folder_of_the_machine_that_wrote_it(page):
    assert str(ROOT) not in text(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead
