"""The stories that the shipped scenarios about memory tell: each keeps its promise.

One section per scenario. What is expected is worked out by hand in a comment, by a few lines that know
nothing of the simulator, or is in the literature; nothing is copied from a run.
"""

from collections import Counter, OrderedDict
from itertools import product
from math import sqrt

import pytest

from llmos.scenario.build import build
from llmos.scenario.load import load_text, shipped
from llmos.scenario.machine import run
from llmos.trace import events as ev
from llmos.trace.memory import total
from llmos.trace.metrics import metrics

US = 1_000
MS = 1_000_000


def story(name, *changes):
    """The last state of a scenario of which some text is another one, and its events."""
    text = shipped()[name].read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    seen = []
    machine = build(load_text(text, folder=shipped()[name].parent))
    return run(machine, [lambda events, _: seen.extend(events)]).state, seen


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def by_name(state):
    """The memory of each task, by its name."""
    return {state.tasks[pid].name: task for pid, task in state.memory.tasks.items()}


def faults(pages, frames, *, recent):
    """How often FIFO (or LRU, by `recent`) misses, on paper."""
    held = OrderedDict()
    missed = 0
    for page in pages:
        if page in held:
            if recent:
                held.move_to_end(page)
            continue
        missed += 1
        if len(held) == frames:
            held.popitem(last=False)
        held[page] = True
    return missed


# --- belady -------------------------------------------------------------------------------------------

BELADY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("policy", "frames"), list(product(["fifo", "lru"], [2, 3, 4, 5])))
def test_belady_against_ten_lines(policy, frames):
    state, _ = story(
        "belady", ("frames = 3", f"frames = {frames}"), ('replacement = "fifo"', f'replacement = "{policy}"')
    )
    expected = faults(BELADY, frames, recent=policy == "lru")
    assert metrics(state)["memory.major_faults"] == expected
    assert state.now == expected * MS  # nothing else takes time


def test_belady_has_the_anomaly_of_the_paper():
    counts = [metrics(story("belady", ("frames = 3", f"frames = {n}"))[0])["memory.major_faults"]
              for n in (3, 4)]  # fmt: skip
    assert counts == [9, 10]


# --- fork-cow -----------------------------------------------------------------------------------------


def test_fork_cow_by_hand():
    state, events = story("fork-cow")
    names = {pid: task.name for pid, task in state.tasks.items()}
    found = of_kind(events, ev.Fault)
    assert Counter((names[fault.task], fault.reason) for fault in found) == {
        ("database", "demand zero"): 100,
        ("changer", "copy on write"): 10,
        ("rewriter", "copy on write"): 100,
        ("database", "nobody else has it any more"): 100,
    }
    assert {fault.cost_ns for fault in found if fault.reason == "copy on write"} == {1_400}
    assert len({fault.frame for fault in found}) == 100 + 10 + 100  # no frame was given back before
    assert (total(state.memory).most_rss_pages, metrics(state)["memory.evictions"]) == (400, 0)
    first, second, third = (event.t for event in of_kind(events, ev.Region) if event.call == "fork")
    assert (second - first, third - second) == (100 * 50, 100 * 50)


def test_fork_cow_the_parent_pays_if_it_writes_first():
    waits = ("{ repeat = 3, do = [{ wait = true }] }", '{ sleep = "400 us" }')
    state, events = story("fork-cow", waits, ("frames = 256", "frames = 512"))
    copies = [fault for fault in of_kind(events, ev.Fault) if fault.reason == "copy on write"]
    assert Counter(state.tasks[fault.task].name for fault in copies)["database"] == 100


# --- oom, oom-spared ----------------------------------------------------------------------------------


def kills(name, *changes):
    """Who was killed, by name, and what each candidate has scored."""
    state, events = story(name, *changes)
    names = {pid: task.name for pid, task in state.tasks.items()}
    return [
        (names[kill.task], {names[pid]: score for pid, score in kill.scores})
        for kill in of_kind(events, ev.OomKill)
    ]


def test_oom_by_hand():
    # Page tables of the heap, which begins at page 0x500: 1280 = 2 * 512 + 256. So the last level's first
    # page has 256 entries for it. 100 pages need one, 500 two, and 1,000 - 100 - 500 = 400 two.
    scores = {"editor": 100 + 4, "database": 500 + 5, "compiler": 400 + 5}
    assert kills("oom") == [("database", scores)]
    del scores["database"]
    assert kills("oom-spared") == [("compiler", scores)]


def test_oom_others_finish():
    state, events = story("oom")
    rss = {name: task.most_rss_pages for name, task in by_name(state).items()}
    assert rss == {"editor": 100, "database": 500, "compiler": 450}
    assert [state.tasks[signal.task].name for signal in of_kind(events, ev.Signal)] == ["database"]
    [kill], [signal] = of_kind(events, ev.OomKill), of_kind(events, ev.Signal)
    assert kill.t < signal.t < kill.t + 2 * US  # it hears of it when it has happened


@pytest.mark.parametrize(("rule", "victim"), [("youngest", "compiler"), ("largest", "database")])
def test_oom_other_rules(rule, victim):
    [(name, _)] = kills("oom", ("frames = 1_000", f'frames = 1_000\noom = "{rule}"'))
    assert name == victim


@pytest.mark.parametrize(("points", "victim"), [(-99, "database"), (-101, "compiler")])
def test_oom_spared_a_point_is_a_page_here(points, victim):
    # 505 - 99 = 406 and 505 - 101 = 404, against 405.
    [(name, scores)] = kills("oom-spared", ("oom_score_adj = -1000", f"oom_score_adj = {points}"))
    assert (name, scores["database"]) == (victim, 505 + points)


# --- tlb-reach, huge-pages ----------------------------------------------------------------------------

PAGES, COUNT = 1_024, 50_000


def misses_of(entries):
    """How many of COUNT references to PAGES, all alike, miss among so many entries; and its deviation.

    The first of the entries fill up as one collects coupons; from then on a share of 1 - entries / PAGES
    misses.
    """
    if entries >= PAGES:
        return PAGES, 0.0
    filling = sum(PAGES / (PAGES - k) for k in range(entries))
    share = 1 - entries / PAGES
    return entries + (COUNT - filling) * share, sqrt(COUNT * share * (1 - share))


@pytest.mark.parametrize("entries", [64, 256, 512, 1024, 2048])
def test_tlb_reach_against_theory(entries):
    state, _ = story("tlb-reach", ("entries = 64 }", f"entries = {entries} }}"))
    [task] = state.memory.tasks.values()
    expected, deviation = misses_of(entries)
    assert task.tlb[0] == pytest.approx(expected, abs=4 * deviation)
    # Four references to tables for each miss, but for a few walks that end early as a table is not there.
    assert task.spent_ns == pytest.approx(COUNT * 1 + task.tlb[0] * 4 * 10, rel=1e-3)


def test_huge_pages_by_hand():
    state, events = story("huge-pages")
    lookups, sparse = by_name(state)["lookups"], by_name(state)["sparse"]
    assert (lookups.tlb, lookups.minor_faults) == ([2, COUNT - 2], 2)  # two entries of 2 MiB
    assert lookups.fault_ns == 2 * (1 * US + 512 * 200)
    assert (sparse.minor_faults, sparse.most_rss_pages) == (4, 4 * 512)
    ended = [huge.untouched for huge in of_kind(events, ev.Huge) if huge.what == "free"]
    assert Counter(ended) == {0: 2, 511: 4}
    small, _ = story("huge-pages", ('huge_pages = "always"', 'huge_pages = "never"'))
    assert by_name(small)["lookups"].fault_ns == 1_024 * 1_200


# --- matrix-order, matrix-order-blocked ---------------------------------------------------------------


def tile_faults(n, edge, frames):
    """What LRU misses on the way down the columns of tiles, on paper: a row is a page."""
    sizes = [min(edge, n - start) for start in range(0, n, edge)]
    return sum(height if height <= frames else width * height for width, height in product(sizes, sizes))


@pytest.mark.parametrize(("order", "frames", "expected"), [
    ("row", 8, 64), ("row", 32, 64), ("column", 8, 64 * 64), ("column", 63, 64 * 64), ("column", 64, 64),
])  # fmt: skip
def test_matrix_order_by_hand(order, frames, expected):
    state, _ = story(
        "matrix-order", ('order = "column"', f'order = "{order}"'), ("frames = 32", f"frames = {frames}")
    )
    task = by_name(state)["sum"]
    assert (task.accesses, task.major_faults) == (64 * 64, expected)
    assert task.tlb[0] == (64 if order == "row" else 64 * 64)  # 32 entries, however many frames
    assert task.fault_ns + task.waited_ns == expected * 102 * US


@pytest.mark.parametrize("edge", [8, 16, 32, 33, 64])
def test_matrix_order_blocked_by_hand(edge):
    state, _ = story("matrix-order-blocked", ("block = 16", f"block = {edge}"))
    task = by_name(state)["sum"]
    assert task.major_faults == task.tlb[0] == tile_faults(64, edge, 32)
    if edge <= 32:
        assert task.major_faults == 64 * 64 // edge


# --- ksm ----------------------------------------------------------------------------------------------

KSM = '[memory.ksm]\npages_to_scan = 100\nsleep = "10 ms"\nmax_sharing = 256\n'


def test_ksm_by_hand():
    state, events = story("ksm")
    rounds = of_kind(events, ev.Merge)
    # The first guest: noted at 10 ms, merged at 20. Then 4 x 80 pages of zeros in two frames, as one frame
    # may have 256 users; and a record of 64 bytes for each of 400 pages.
    assert [(merge.t, merge.saved) for merge in rounds[:2]] == [(10 * MS, 0), (20 * MS, 80 - 1)]
    best = max(rounds, key=lambda merge: merge.saved)
    assert (best.shared, best.saved) == (2, 4 * 80 - 2)
    assert best.profit_bytes == best.saved * 4096 - 400 * 64
    assert best.cost_ns == 100 * 400 + best.merged * 1 * US
    assert metrics(state)["memory.oom_kills"] == 0


def test_ksm_without_it_the_third_guest_is_one_too_many():
    _, events = story("ksm", (KSM, ""))
    first, *_ = of_kind(events, ev.OomKill)
    assert 200 * MS <= first.t < 201 * MS
