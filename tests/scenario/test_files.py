"""Steps about files in a scenario: what they become, and what is wrong with them."""

from __future__ import annotations

import pytest

from llmos.errors import LlmosError
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.trace import events as ev

MACHINE = """
question = "What do files cost?"
{top}
[memory]
frames = 200
{memory}
[[device]]
name = "disk"
service = "1 ms"
[[file]]
name = "data"
size = "64 KiB"
device = "disk"
[[task]]
name = "A"
program = [{steps}]
"""


def spec(steps, top="", memory="", seed=1):
    return build(load_text(MACHINE.format(top=top, memory=memory, steps=steps)), seed=seed)


def accesses(made):
    events = []
    outcome = run(made, [lambda batch, _: events.extend(batch)])
    assert outcome.ok
    return [(e.what, e.page, e.pages, e.hits) for e in events if isinstance(e, ev.FileAccess)]


def test_steps_do_what_they_say():
    steps = """
        { advise = "data", advice = "random" },
        { read_file = "data", size = "8 KiB", direct = true },
        { write_file = "data", size = "8 KiB" },
        { fsync = "data" },
        { write_file = "data", size = "8 KiB", offset = "2 KiB" },
        { truncate = "data", size = "12 KiB" },
        { drop_caches = true },
        { read_file = "data", offset = "0 KiB" },
    """
    assert accesses(spec(steps, memory="page_cache = { readahead = 8 }")) == [
        ("direct read", 0, 2, 0),
        ("write", 2, 2, 0),
        # 0 and 2 are written in part: 0 is read first, 2 is there.
        ("write", 0, 3, 1),
        # 3 was cut off; the others are dirty and stay.
        ("read", 0, 3, 3),
    ]


def test_random_reads_are_drawn_from_the_seed_and_lie_in_the_file():
    steps = '{ read_file = "data", size = "8 KiB", random = 20, direct = true }'
    once, again, other = (accesses(spec(steps, seed=seed)) for seed in (1, 1, 2))
    assert once == again != other
    assert all(what == "direct read" and pages == 2 and 0 <= page <= 14 for what, page, pages, _ in once)
    assert len({page for _, page, _, _ in once}) > 5


@pytest.mark.parametrize(
    ("top", "memory", "expected"),
    [
        ("", "", (0, 1)),
        ('convention = "linux"', "", (32, 16)),
        ('convention = "linux"', "page_cache = { readahead = 0, fault_around = 1 }", (0, 1)),
        ("", "page_cache = { readahead = 64, fault_around = 4 }", (64, 4)),
    ],
)
def test_a_page_cache_is_linuxs_where_the_convention_is(top, memory, expected):
    rules = spec('{ compute = "1 ms" }', top, memory).memory.page_cache
    assert (rules.readahead_pages, rules.fault_around_pages) == expected


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ('{ read_file = "date" }', 'there is no file "date"'),
        ('{ fsync = "x" }', 'there is no file "x"'),
        ('{ mmap = "m", file = "x" }', 'there is no file "x"'),
        ('{ write_file = "data", random = 3 }', "needs a size"),
        ('{ read_file = "data", random = 3, size = "4 KiB", offset = "4 KiB" }', "has no offset"),
        ('{ advise = "data", advice = "none" }', "normal, sequential, random"),
    ],
)
def test_what_is_wrong_with_a_step_is_said(steps, says):
    with pytest.raises(LlmosError) as error:
        spec(steps)
    assert says in str(error.value)
