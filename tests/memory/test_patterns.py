"""Patterns of references: by hand where that can be done, and what must hold of all of them."""

import csv
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from random import Random

import pytest
from commandline import llmos, ok
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import LlmosError, ScenarioError
from llmos.memory import patterns
from llmos.memory.traces import read
from llmos.scenario.build import build
from llmos.scenario.load import json_schema, load_text
from llmos.scenario.machine import run
from llmos.trace.events import Reference

MACHINE = """
question = "What is touched?"
seed = 5
[memory]
frames = 4096
page = "4 KiB"
[[task]]
name = "A"
program = [%s]
[[task]]
name = "B"
program = [%s]
"""
IDLE = '{ compute = "1 ms" }'


def refs(chunks):
    """All references, and that their chunks are bounded."""
    out = []
    for chunk in chunks:
        assert 0 < len(chunk) <= patterns.CHUNK
        out += chunk
    return out


def pages(chunks):
    return [reference >> 1 for reference in refs(chunks)]


def shown(chunks):
    """References as a scenario writes them: 7, "7w"."""
    return [f"{r >> 1}w" if r & 1 else r >> 1 for r in refs(chunks)]


# --- by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (patterns.given([7, 0, 1], [False, True, False]), [7, "0w", 1]),
        (patterns.sequential(3, 2), [0, 1, 2, 0, 1, 2]),
        (patterns.strided(8, 3, 2), [0, 3, 6, 0, 3, 6]),
        (patterns.strided(7, 3), [0, 3, 6]),
        (patterns.strided(6, 3), [0, 3]),
        (patterns.loop(3, 7), [0, 1, 2, 0, 1, 2, 0]),
        (patterns.loop(3, 2), [0, 1]),
        (patterns.layers(5, 2, times=2), [0, 1, 2, 3, 4] * 2),
        (patterns.layers(5, 2, each=2), [0, 1, 0, 1, 2, 3, 4, 2, 3, 4]),
        (patterns.written(patterns.sequential(3)), ["0w", "1w", "2w"]),
        (patterns.written(patterns.given([0, 1], [True, False]), 0), ["0w", 1]),
        # 3 x 3 elements of 1 byte in pages of 2: page of element e is e // 2.
        (patterns.matrix(3, element_bytes=1, page_bytes=2), [0, 0, 1, 1, 2, 2, 3, 3, 4]),
        (patterns.matrix(3, order="column", element_bytes=1, page_bytes=2), [0, 1, 3, 0, 2, 3, 1, 2, 4]),
        # Tiles of 2 x 2, 2 x 1, 1 x 2, 1 x 1: elements 0 1 3 4, 2 5, 6 7, 8.
        (patterns.matrix(3, block=2, element_bytes=1, page_bytes=1), [0, 1, 3, 4, 2, 5, 6, 7, 8]),
        (patterns.matrix(1), [0]),
        (patterns.matmul(1), [0, 1, "2w"]),
    ],
)
def test_known_sequences(pattern, expected):
    assert shown(pattern) == expected


def test_a_product_by_hand():
    """n = 2, one element a page: A is pages 0 to 3, B 4 to 7, C 8 to 11. The textbook's loops."""
    by_hand = [
        (0, 4, "8w"), (1, 6, "8w"),  # C[0][0] += A[0][0] B[0][0], then A[0][1] B[1][0]
        (0, 5, "9w"), (1, 7, "9w"),  # C[0][1] += A[0][0] B[0][1], then A[0][1] B[1][1]
        (2, 4, "10w"), (3, 6, "10w"),
        (2, 5, "11w"), (3, 7, "11w"),
    ]  # fmt: skip
    assert shown(patterns.matmul(2, order="ijk", element_bytes=8, page_bytes=8)) == [*sum(by_hand, ())]
    # i, k, j: along the rows of B and C.
    order = [by_hand[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]
    assert shown(patterns.matmul(2, order="row", element_bytes=8, page_bytes=8)) == [*sum(order, ())]
    # j, k, i: down the columns of A and C.
    order = [by_hand[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert shown(patterns.matmul(2, order="column", element_bytes=8, page_bytes=8)) == [*sum(order, ())]


# --- properties ---------------------------------------------------------------------------------------

DRAWN = {
    "random": patterns.uniform,
    "zipf": lambda n, count, dice: patterns.zipf(n, count, dice, skew=0.8),
    "gaussian": lambda n, count, dice: patterns.gaussian(n, count, dice, deviation=n / 5),
    "hot-cold": lambda n, count, dice: patterns.hot_cold(n, count, dice, hot=0.5),
    "phases": lambda n, count, dice: patterns.phases(
        n, count, dice, working_set=max(1, n // 3), length=17, overlap=0.25
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@given(n=st.integers(2, 300), count=st.integers(0, 9000), seed=st.integers(0, 2**64))
@settings(max_examples=15)
def test_what_is_drawn_stays_inside_has_its_length_and_depends_on_the_seed_alone(name, n, count, seed):
    drawn = refs(DRAWN[name](n, count, Random(seed)))
    assert len(drawn) == count
    assert all(0 <= r < 2 * n and not r & 1 for r in drawn)
    assert drawn == refs(DRAWN[name](n, count, Random(seed)))
    if count > 1000 and n > 10:
        assert drawn != refs(DRAWN[name](n, count, Random(seed + 1)))


def within(observed, total, chance):
    """Whether a count is what chance allows: within five standard deviations."""
    return abs(observed - total * chance) <= 5 * math.sqrt(total * chance * (1 - chance)) + 1e-9


@pytest.mark.parametrize("skew", [0.0, 0.7, 1.0, 2.0])
def test_zipf_has_the_frequencies_of_its_law(skew):
    count, n = 40_000, 50
    seen = Counter(pages(patterns.zipf(n, count, Random(3), skew=skew)))
    norm = math.fsum((page + 1) ** -skew for page in range(n))
    for page in range(n):
        assert within(seen[page], count, (page + 1) ** -skew / norm), page


def test_any_page_is_as_likely_as_any_other():
    seen = Counter(pages(patterns.uniform(20, 40_000, Random(1))))
    assert all(within(seen[page], 40_000, 1 / 20) for page in range(20))


def test_hot_pages_get_their_share():
    seen = Counter(pages(patterns.hot_cold(10, 40_000, Random(1), hot=0.3, share=0.9)))
    assert all(within(seen[page], 40_000, 0.9 / 3 if page < 3 else 0.1 / 7) for page in range(10))


def test_a_gaussian_has_its_middle_and_its_deviation():
    """Pages -1..1 deviations around the middle get what every table of the normal distribution says."""
    drawn = pages(patterns.gaussian(2000, 40_000, Random(1), deviation=100))
    assert within(sum(900 <= page < 1100 for page in drawn), 40_000, 0.6827)
    assert within(sum(page < 1000 for page in drawn), 40_000, 0.5)
    assert within(sum(page >= 1200 for page in drawn), 40_000, 0.02275)


@given(st.integers(1, 40), st.integers(1, 60), st.floats(0, 1), st.integers(0, 99))
def test_phases_keep_to_their_working_sets(size, length, overlap, seed):
    drawn = pages(
        patterns.phases(3 * size, 4 * length, Random(seed), working_set=size, length=length, overlap=overlap)
    )
    sets = [set(drawn[start : start + length]) for start in range(0, 4 * length, length)]
    assert all(len(here) <= size for here in sets)
    for before, after in pairwise(sets):
        assert len(before & after) <= round(overlap * size)


def test_phases_that_are_long_enough_show_their_whole_working_set_and_its_overlap():
    drawn = pages(patterns.phases(100, 3000, Random(2), working_set=10, length=1000, overlap=0.4))
    one, two, three = (set(drawn[start : start + 1000]) for start in (0, 1000, 2000))
    assert [len(one), len(two), len(three)] == [10, 10, 10]
    assert [len(one & two), len(two & three)] == [4, 4]


@given(st.integers(1, 9000), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=15)
def test_a_chase_visits_each_page_once_a_round_always_in_the_same_order(n, times, seed):
    drawn = pages(patterns.chase(n, times, Random(seed)))
    first = drawn[:n]
    assert sorted(first) == list(range(n))
    assert drawn == first * times


def test_any_cycle_is_as_likely_as_any_other():
    seen = Counter(tuple(pages(patterns.chase(3, 1, Random(seed)))) for seed in range(6000))
    assert len(seen) == 6
    assert all(within(count, 6000, 1 / 6) for count in seen.values())


def elements(n, order):
    """Every element reference of C = A * B by plain loops: (matrix, row, column)."""
    ranges = {name: range(n) for name in "ijk"}
    for values in product(*(ranges[name] for name in order)):
        at = dict(zip(order, values, strict=True))
        i, j, k = at["i"], at["j"], at["k"]
        yield from (("A", i, k), ("B", k, j), ("C", i, j))


@pytest.mark.parametrize("order", ["ijk", "ikj", "jik", "jki", "kij", "kji"])
@given(n=st.integers(1, 9), element=st.integers(1, 12), page=st.sampled_from([4, 16, 64]))
@settings(max_examples=15)
def test_a_product_is_what_three_plain_loops_touch(order, n, element, page):
    size = -(-n * n * element // page)
    base = {"A": 0, "B": size, "C": 2 * size}
    expected = [base[m] + (r * n + c) * element // page for m, r, c in elements(n, order)]
    found = refs(patterns.matmul(n, order=order, element_bytes=element, page_bytes=page))
    assert [r >> 1 for r in found] == expected
    assert [r & 1 for r in found] == [0, 0, 1] * n**3


@given(n=st.integers(1, 20), block=st.integers(0, 20), order=st.sampled_from(["row", "column", "kij"]))
@settings(max_examples=30)
def test_tiles_touch_the_same_elements_as_often(n, block, order):
    block = min(block, n)
    plain = Counter(refs(patterns.matmul(n, order="ijk", element_bytes=8, page_bytes=8)))
    tiled = Counter(refs(patterns.matmul(n, order=order, block=block, element_bytes=8, page_bytes=8)))
    assert tiled == plain
    assert set(plain.values()) == {n}
    assert sum(count for r, count in tiled.items() if not r & 1) == 2 * n**3
    assert sum(count for r, count in tiled.items() if r & 1) == n**3


def test_tiles_are_done_one_after_the_other():
    """With tiles of 2 the first 8 of 64 steps stay in the upper left quarters of A, B and C."""
    found = pages(patterns.matmul(4, block=2, element_bytes=1, page_bytes=1))
    corner = {0, 1, 4, 5}
    assert set(found[:24]) == corner | {16 + e for e in corner} | {32 + e for e in corner}


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("block", [0, 1, 3, 7])
def test_a_matrix_is_read_whole(order, block):
    found = pages(patterns.matrix(7, order=order, block=block, element_bytes=4, page_bytes=4))
    assert sorted(found) == list(range(49))


@given(st.integers(1, 30_000), st.integers(1, 5), st.integers(1, 2))
@settings(max_examples=20)
def test_strides_of_any_length(n, stride, times):
    assert pages(patterns.strided(n, stride, times)) == [*range(0, n, stride)] * times


@given(st.integers(1, 9000), st.integers(0, 9000))
@settings(max_examples=20)
def test_first_cuts(n, count):
    assert refs(c for c in patterns.first(patterns.sequential(n), count) if c) == [
        page << 1 for page in range(min(n, count))
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        patterns.loop(10**9, 10**12),
        patterns.layers(10**9, 10**5, times=10**9),
        patterns.uniform(10**9, 10**12, Random(1)),
        patterns.gaussian(10**9, 10**12, Random(1), deviation=1e6),
        patterns.phases(10**9, 10**12, Random(1), working_set=10, length=10**9),
        patterns.matrix(100_000, order="column", block=1000),
        patterns.matmul(100_000),
        patterns.written(patterns.zipf(1000, 10**12, Random(1)), 0.5, Random(2)),
    ],
)
def test_a_pattern_of_any_length_is_made_bit_by_bit(pattern):
    assert len(refs(patterns.first(pattern, 10_000))) == 10_000


def test_a_share_of_writes_is_drawn_and_moves_no_page():
    found = refs(patterns.written(patterns.loop(7, 40_000), 0.3, Random(4)))
    assert [r >> 1 for r in found] == pages(patterns.loop(7, 40_000))
    assert within(sum(r & 1 for r in found), 40_000, 0.3)


def test_a_trace_gets_dense_pages_in_the_order_of_their_appearance(tmp_path):
    (tmp_path / "t.csv").write_text("page,op\n900,r\n18446744073709551615,w\n900,w\n3,r\n")
    assert shown(patterns.numbered(read(tmp_path / "t.csv"))) == [0, "1w", "0w", 2]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: patterns.sequential(0), "0 pages"),
        (lambda: patterns.strided(5, 0), "a stride of 0"),
        (lambda: patterns.loop(0, 5), "0 pages"),
        (lambda: patterns.layers(3, 4), "3 pages for 4 layers"),
        (lambda: patterns.uniform(0, 1, Random(1)), "0 pages"),
        (lambda: patterns.zipf(3, 1, Random(1), skew=-1), "a skew of -1"),
        (lambda: patterns.zipf(2**25, 1, Random(1)), "33,554,432 pages"),
        (lambda: patterns.gaussian(3, 1, Random(1), deviation=0), "a deviation of 0"),
        (lambda: patterns.hot_cold(3, 1, Random(1), hot=0.01), "0 hot pages of 3"),
        (lambda: patterns.phases(9, 1, Random(1), working_set=5, length=1), "need 10"),
        (lambda: patterns.chase(0, 1, Random(1)), "0 pages"),
        (lambda: patterns.matrix(3, order="ijk"), "row, column"),
        (lambda: patterns.matmul(3, order="rows"), 'did you mean "row"'),
        (lambda: patterns.matmul(3, block=4), "a block of 4"),
        (lambda: patterns.matrix(100_000, element_bytes=2**31), "smaller elements"),  # it is 2**64 bytes
        (lambda: patterns.phases(2**30, 1, Random(1), working_set=2**25, length=1), "from 1 to 16,777,216"),
        (lambda: patterns.written(patterns.sequential(1), 0.5), "Random(7)"),
        (lambda: patterns.written(patterns.sequential(1), 2), "a share of 2"),
    ],
)
def test_what_cannot_be_is_told_at_once_with_the_cure(make, told):
    with pytest.raises(LlmosError) as error:
        make()
    assert told in str(error.value)
    assert error.value.hint


# --- in a scenario ------------------------------------------------------------------------------------


def touched(steps, *, others="", seed=None, folder=None, page="4 KiB", program=""):
    """The references that task A makes, as a scenario writes them; counted from the first page."""
    text = MACHINE.replace('"4 KiB"', f'"{page}"') % (steps, others or IDLE)
    if program:
        text = text.replace(f"[{steps}]", program)
    spec = replace(build(load_text(text, folder=folder or Path()), seed=seed), shows_references=True)
    events = []
    run(spec, [lambda batch, _: events.extend(batch)])
    made = [event for event in events if isinstance(event, Reference) and event.task == 1]
    heap = min(event.page for event in made)
    return [f"{e.page - heap}w" if e.write else e.page - heap for e in made]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ('pages = [0, "3w", 1]', [0, "3w", 1]),
        ('pattern = "sequential", pages = 2, times = 2, write = true', ["0w", "1w"] * 2),
        ('pattern = "strided", size = "20 KiB", stride = 2', [0, 2, 4]),
        ('pattern = "loop", size = "5 KiB", count = 3', [0, 1, 0]),
        ('pattern = "layers", pages = 4, layers = 2, each = 2', [0, 1, 0, 1, 2, 3, 2, 3]),
        ('pattern = "matrix", n = 2, element = "4 KiB", order = "column"', [0, 2, 1, 3]),
        ('pattern = "matmul", n = 1, write = 1', None),
        ('pattern = "matmul", n = 1', [0, 1, "2w"]),
    ],
)
def test_steps_touch_what_they_say(step, expected):
    steps = f'{{ touch = "heap", {step} }}'
    if expected is None:
        with pytest.raises(ScenarioError, match="does not go with"):
            touched(steps)
    else:
        assert touched(steps) == expected


def test_a_size_is_counted_in_the_pages_of_the_machine():
    assert touched('{ touch = "heap", pattern = "sequential", size = "2 KiB" }', page="1 KiB") == [0, 1]
    assert touched('{ touch = "heap", pattern = "matrix", n = 2, element = "1 KiB" }', page="1 KiB") == [
        0, 1, 2, 3,
    ]  # fmt: skip


RANDOM = '{ touch = "heap", pattern = "random", pages = 500, count = 200 }'


def test_lots_depend_on_the_seed_the_task_and_the_step_and_on_nothing_else():
    once = touched(RANDOM)
    assert touched(RANDOM, others=RANDOM) == once
    assert touched(RANDOM, seed=6) != once
    twice = touched(f"{{ repeat = 2, do = [{RANDOM}] }}")
    assert len(twice) == 400
    assert twice[:200] != twice[200:]


def test_more_writes_leave_the_pages_as_they_are():
    def step(write):
        return touched(RANDOM.replace(" }", f", write = {write} }}"))

    def bare(made):
        return [int(str(page).removesuffix("w")) for page in made]

    none, some, every = step("false"), step("0.3"), step("true")
    assert bare(none) == bare(some) == bare(every)
    assert [sum(isinstance(page, str) for page in made) for made in (none, every)] == [0, 200]
    assert within(sum(isinstance(page, str) for page in some), 200, 0.3)


def test_a_trace_is_replayed(tmp_path):
    (tmp_path / "t.txt").write_text("0x1000 0x2000 w 0x1fff 0x9000")
    step = '{ touch = "heap", trace = "t.txt", page_size = "4 KiB" }'
    assert touched(step, folder=tmp_path) == [0, "1w", 0, 2]
    assert touched(step.replace(" }", ", limit = 2 }"), folder=tmp_path) == [0, "1w"]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("", "needs a list of `pages`, a `pattern` or a `trace`"),
        ('pages = [1], pattern = "zipf"', "not `pages` and `pattern`"),
        ('pattern = "zipf", trace = "t.txt"', "not `pattern` and `trace`"),
        ("pages = 7", "`pages` is a list, or a number where there is a `pattern`"),
        ('pattern = "zipff", pages = 7, count = 1', 'did you mean "zipf"'),
        ('pattern = "loop", pages = 7, count = 1, skew = 2', 'it belongs to "zipf"'),
        ("pages = [7], count = 7", "`count` does not go with `pages`"),
        ('pattern = "matmul", n = 3, size = "1 MiB"', "`size` does not go with"),
        ('pattern = "zipf", pages = 7', "`count` is missing"),
        ('pattern = "zipf", pages = 7, size = "1 MiB", count = 1', "`size` or `pages`, one of them"),
        ('pattern = "zipf", count = 1', "`size` or `pages`, one of them"),
        ('pattern = "zipf", pages = 7, count = 1, write = 2', "2 is no share"),
        ('pattern = "zipf", pages = 7, count = 1, skwe = 2', 'did you mean "skew"'),
        ('pattern = "phases", pages = 7, count = 9, working_set = 4, length = 3', "need 8"),
        ('pattern = "matmul", n = 3, order = "row-wise"', "allowed: row, column"),
        ('trace = "nowhere.txt"', "there is no trace file"),
    ],
)
def test_what_does_not_go_together_is_told_with_the_cure(step, told):
    keys = ", ".join(['touch = "heap"', *filter(None, [step])])
    with pytest.raises(ScenarioError) as error:
        load_text(MACHINE % (f"{{ {keys} }}", IDLE))
    assert told in str(error.value)
    assert str(error.value).count("\n") < 4


def test_keys_that_are_verbs_elsewhere_may_come_first():
    write = '{ write = true, touch = "heap", pattern = "sequential", pages = 1 }'
    assert touched(f'{write}, {{ lock = false, mlock = "heap" }}') == ["0w"]


def test_a_pattern_can_be_swept(tmp_path):
    step = '{ touch = "heap", pattern = "zipf", pages = 50, count = 300 }'
    (tmp_path / "z.toml").write_text(MACHINE % (step, IDLE))
    keys = ["--set", "task.A.program[0].skew=0.5,2", "--set", "task.A.program[0].write=true,0.5"]
    ok(llmos(tmp_path, "sweep", "z.toml", *keys, "--out", "out.csv"))
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [(row["task.A.program[0].skew"], row["task.A.program[0].write"]) for row in rows] == [
        ("0.5", "true"), ("0.5", "0.5"), ("2", "true"), ("2", "0.5"),
    ]  # fmt: skip


def test_editors_know_the_keys_of_each_pattern():
    steps = json_schema()["$defs"]
    assert {"pattern", "pages", "size", "skew", "count", "write"} <= steps["Zipf"]["properties"].keys()
    assert steps["Zipf"]["properties"]["pattern"]["const"] == "zipf"
    assert steps["Matmul"]["additionalProperties"] is False


def test_a_program_in_python_draws_from_its_task_too(tmp_path):
    (tmp_path / "walk.py").write_text(
        "from functools import partial\n"
        "from llmos.memory import patterns\n"
        "from llmos.process.program import Touch\n"
        "def work():\n    yield Touch(partial(patterns.uniform, 500, 200), drawn=True)\n"
    )
    made = touched(RANDOM, others=IDLE, folder=tmp_path, program='"walk.py:work"')
    assert len(made) == 200
    assert made == touched(RANDOM, folder=tmp_path, program='"walk.py:work"')
    assert made != touched(RANDOM, folder=tmp_path, program='"walk.py:work"', seed=6)
