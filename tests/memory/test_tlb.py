"""The TLB: known answers, and that it never says what the page table does not."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacements import NAMES, make

from llmos.memory.tlb import MISS, Tlb, effective_access_ns
from llmos.memory.tlb_array import EVERYBODY, Shape
from llmos.memory.translation.base import Pte
from llmos.memory.translation.multilevel import MultiLevel
from llmos.replacement.base import ReplacementPolicy

ORACLES = Path(__file__).parents[1] / "oracles"


def cases(name):
    found = json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return {case["id"]: case for case in found}


def refer(tlb, vpn, asid=0, entry=None):
    """Refer to a page as a machine does; return the level that had it."""
    level = tlb.lookup(asid, vpn)
    if level == MISS:
        tlb.fill(asid, vpn, entry or Pte(vpn))
    return level


def outcome(tlb, vpns):
    return "".join("H" if refer(tlb, vpn) else "M" for vpn in vpns)


# --- known answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [pytest.param(c, id=i) for i, c in cases("pycachesim_tlb").items()])
def test_set_associative(case):
    given, expected = case["input"], case["expected"]
    tlb = Tlb([Shape(sets=given["sets"], ways=given["ways"])])
    assert outcome(tlb, [va // given["page_size"] for va in given["vas"]]) == expected["outcome"]
    assert tlb.hits == [expected["misses"], expected["hits"]]


def test_the_array_of_ostep_19():
    case = cases("textbook_known_answers")["book-022"]
    given = case["input"]
    vas = range(given["array_base"], given["array_base"] + given["n"] * given["elem"], given["elem"])
    tlb = Tlb([Shape(sets=1, ways=16)])
    assert outcome(tlb, [va // given["page_size"] for va in vas]) == case["expected"]["outcome"]


def test_effective_access_time_with_faults():
    case = cases("textbook_known_answers")["book-021"]
    given = case["input"]
    eat = effective_access_ns(given["mem_ns"], fault_rate=Fraction(given["p"]), fault_ns=given["fault_ns"])
    assert eat == Fraction(str(case["expected"]["eat_ns"]))


@pytest.mark.parametrize(
    ("tlb_ns", "memory_ns", "hit_ratio", "eat_ns"),
    # Silberschatz, Galvin and Gagne: 8th edition (TLB of 20 ns) and 9th (no time for the TLB).
    [(20, 100, "0.8", 140), (20, 100, "0.98", 122), (0, 100, "0.8", 120), (0, 100, "0.99", 101)],
)
def test_effective_access_time_of_a_tlb(tlb_ns, memory_ns, hit_ratio, eat_ns):
    hits = Fraction(hit_ratio)
    eat = effective_access_ns(memory_ns, tlb_ns=tlb_ns, hit_ratio=hits, walk_references=1)
    assert eat == eat_ns


# --- shape --------------------------------------------------------------------------------------------

references = st.lists(st.integers(0, 23), max_size=50)


@given(refs=references, sets=st.sampled_from([1, 3, 8]))
def test_one_way_is_direct_mapped(refs, sets):
    tlb, slots = Tlb([Shape(sets=sets, ways=1)]), {}
    for vpn in refs:
        assert (refer(tlb, vpn) != MISS) == (slots.get(vpn % sets) == vpn)
        slots[vpn % sets] = vpn


@given(refs=references, ways=st.integers(1, 6))
def test_lru_with_more_ways_has_all_that_one_with_fewer_has(refs, ways):
    small, large = Tlb([Shape(ways=ways)]), Tlb([Shape(ways=ways + 1)])
    for vpn in refs:
        refer(small, vpn)
        refer(large, vpn)
        assert {key for key, _ in small.entries()} <= {key for key, _ in large.entries()}


@pytest.mark.parametrize("name", NAMES)
@given(refs=references)
def test_any_policy_orders_the_ways(name, refs):
    """Each set goes as the policy does alone, with the set's own references."""
    sets, ways = 2, 3
    keys = {s: [(0, vpn, 0) for vpn in refs if vpn % sets == s] for s in range(sets)}
    futures = iter([keys[0], keys[1]])
    tlb = Tlb([Shape(sets=sets, ways=ways)], policy=lambda n: make(name, n, next(futures)))
    alone = {s: Alone(make(name, ways, keys[s]), ways) for s in range(sets)}
    for vpn in refs:
        assert (refer(tlb, vpn) != MISS) == alone[vpn % sets].refer((0, vpn, 0))


class Alone:
    """A policy and a set, by the contract's own words."""

    def __init__(self, policy: ReplacementPolicy, ways: int) -> None:
        self.policy, self.ways, self.inside = policy, ways, set()

    def refer(self, key):
        if key in self.inside:
            self.policy.accessed(key)
            return True
        if len(self.inside) == self.ways:
            victim = self.policy.victim((), key)
            self.inside.remove(victim)
            self.policy.evicted(victim)
        self.inside.add(key)
        self.policy.inserted(key)
        return False


def test_code_and_data_have_first_levels_of_their_own():
    tlb = Tlb([Shape(ways=2, serves="data"), Shape(ways=2, serves="code"), Shape(ways=8, level=2)])
    tlb.fill(0, 5, Pte(5))
    assert tlb.lookup(0, 5) == 1
    assert tlb.lookup(0, 5, fetch=True) == 2  # the second level has it, and now the first for code as well
    assert tlb.lookup(0, 5, fetch=True) == 1
    tlb.invalidate(0, 5)
    assert tlb.lookup(0, 5) == tlb.lookup(0, 5, fetch=True) == MISS


def test_what_the_second_level_has_comes_back_into_the_first():
    tlb = Tlb([Shape(ways=2), Shape(ways=8, level=2)])
    assert [refer(tlb, vpn) for vpn in (1, 2, 3, 1, 1, 2)] == [0, 0, 0, 2, 1, 2]
    assert tlb.hits == [3, 1, 2]


def test_reach_is_entries_times_page_size():
    tlb = Tlb([Shape(sets=16, ways=4), Shape(ways=32, pages=(1,)), Shape(sets=128, ways=12, level=2)])
    assert tlb.reach_bytes() == 1536 * 4096
    assert tlb.reach_bytes(1) == 32 * (2 << 20)
    assert tlb.reach_bytes(2) == 0
    tlb.fill(0, 0, Pte(0))
    tlb.fill(0, 512, Pte(512, level=1))
    assert tlb.covered_bytes() == 4096 + (2 << 20)


@pytest.mark.parametrize(
    ("shapes", "options", "says"),
    [
        ([Shape(), Shape(ways=4)], {}, "holds these pages already"),
        ([Shape(serves="code"), Shape(serves="both")], {}, "holds these pages already"),
        ([Shape(serves="both of them")], {}, '"data", "code" or "both"'),
        ([Shape(ways=0)], {}, "1 or more"),
        ([Shape(pages=(0, 4))], {}, "levels 0 to 3"),
        ([Shape()], {"walk_cache": (4, 4, 4, 4)}, "3 kinds of pointers"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shapes, options, says):
    with pytest.raises(ValueError, match=says):
        Tlb(shapes, **options)


# --- huge pages, global pages, address spaces ---------------------------------------------------------


def test_one_entry_covers_a_huge_page():
    tlb = Tlb([Shape(ways=4, pages=(0, 1))])
    tlb.fill(0, 512 + 9, Pte(1024, level=1))
    assert [tlb.lookup(0, vpn) for vpn in (511, 512, 1023, 1024)] == [MISS, 1, 1, MISS]
    assert tlb.invalidate(0, 700) == 1
    assert tlb.lookup(0, 512) == MISS


def test_a_huge_page_without_an_array_is_kept_in_parts():
    tlb = Tlb([Shape(ways=4)])
    tlb.fill(0, 512 + 9, Pte(1024, level=1))
    assert [tlb.lookup(0, vpn) for vpn in (512, 521)] == [MISS, 1]
    assert tlb.cached(0, 521).pfn == 1024 + 9
    # It takes the whole range to be rid of them all.
    tlb.fill(0, 512 + 20, Pte(1024, level=1))
    assert tlb.invalidate(0, 512, pages=512) == 2
    assert not list(tlb.entries())


def test_a_part_of_a_gigabyte_is_two_megabytes_where_there_is_a_place():
    tlb = Tlb([Shape(ways=4, pages=(0, 1))])
    tlb.fill(0, (1 << 18) + 513, Pte(1 << 18, level=2))
    assert tlb.cached(0, (1 << 18) + 512).pfn == (1 << 18) + 512
    assert tlb.covered_bytes() == 2 << 20


def test_processes_do_not_see_each_others_entries():
    tlb = Tlb([Shape(ways=8)])
    tlb.fill(1, 5, Pte(50))
    tlb.fill(2, 5, Pte(60))
    assert (tlb.cached(1, 5).pfn, tlb.cached(2, 5).pfn, tlb.cached(3, 5)) == (50, 60, None)
    assert tlb.switch() == 0
    assert tlb.flush(1) == 1
    assert (tlb.lookup(1, 5), tlb.lookup(2, 5)) == (MISS, 1)


def test_without_asids_a_switch_empties_all_but_the_global_entries():
    tlb = Tlb([Shape(ways=8)], asids=False, walk_cache=(4,))
    tlb.fill(0, 5, Pte(50))
    tlb.fill(0, 6, Pte(60, is_global=True))
    tlb.walk(0, 5, 4)
    assert tlb.switch() == 1
    assert [tlb.lookup(0, vpn) for vpn in (5, 6)] == [MISS, 1]
    assert tlb.walk(0, 5, 4) == 4
    assert tlb.flush() == 1
    assert not list(tlb.entries())


def test_a_global_entry_is_everybodys():
    tlb = Tlb([Shape(ways=8)])
    tlb.fill(1, 5, Pte(50, is_global=True))
    assert tlb.lookup(2, 5) == 1
    tlb.flush(1)
    assert tlb.lookup(2, 5) == 1
    tlb.invalidate(2, 5)
    assert tlb.lookup(1, 5) == MISS


# --- the walk cache -----------------------------------------------------------------------------------


def test_a_walk_begins_at_the_last_table_that_is_known():
    tlb = Tlb([Shape(ways=1)], walk_cache=(2, 2, 2))
    assert tlb.walk(0, 0, 4) == 4
    assert tlb.walk(0, 1, 4) == 1  # the same last table
    assert tlb.walk(0, 512, 4) == 2  # the same table above it
    assert tlb.walk(0, 1 << 18, 4) == 3
    assert tlb.walk(0, 1 << 27, 4) == 4
    assert tlb.walk(1, 0, 4) == 4  # somebody else's
    assert tlb.walk_references == 18


def test_a_walk_to_a_huge_page_or_a_hole_teaches_no_more_than_it_saw():
    tlb = Tlb([Shape(ways=1)], walk_cache=(2, 2, 2))
    assert tlb.walk(0, 0, 3) == 3  # it ended one table early
    assert tlb.walk(0, 0, 4) == 2  # the last table was not seen before
    assert tlb.walk(0, 0, 4) == 1


def test_invalidating_a_page_forgets_the_way_to_it():
    tlb = Tlb([Shape(ways=1)], walk_cache=(2, 2, 2))
    tlb.walk(0, 0, 4)
    tlb.invalidate(0, 7)
    assert tlb.walk(0, 0, 4) == 4
    tlb.invalidate(0, 512, pages=2)
    assert tlb.walk(0, 0, 4) == 1  # that was another last table; of those above, this walk reads none
    assert tlb.walk(0, 1024, 4) == 4


# --- it agrees with the page tables -------------------------------------------------------------------

BITS = (2, 2, 2, 2)
SPANS = MultiLevel(BITS, 4).entry_spans
SHAPES = [
    Shape(sets=2, ways=2, pages=(0, 1), serves="data"),
    Shape(ways=2, serves="code"),
    Shape(sets=2, ways=4, level=2),
]


class Kernel:
    """Page tables of two processes, a TLB, and a kernel that keeps them in step."""

    def __init__(self, *, asids=True, forgetful=False):
        self.tables = [MultiLevel(BITS, 4), MultiLevel(BITS, 4)]
        self.tlb = Tlb(SHAPES, spans=SPANS, offset_bits=4, asids=asids, walk_cache=(2, 1, 1))
        self.forgetful = forgetful
        self.now = 0

    def refer(self, asid, vpn, *, fetch):
        if self.now != asid:
            self.tlb.switch()
            self.now = asid
        entry = self.tables[asid].lookup(vpn)
        if entry is not None and not self.tlb.lookup(asid, vpn, fetch=fetch):
            accesses = self.tables[asid].accesses(vpn)
            assert 1 <= self.tlb.walk(asid, vpn, accesses) <= accesses
            self.tlb.fill(asid, vpn, entry, fetch=fetch)

    def map(self, asid, vpn, pfn, *, huge):
        entry = Pte(pfn, level=int(huge), writable=pfn % 3 > 0)
        vpn = vpn >> SPANS[entry.level] << SPANS[entry.level]
        for page in range(vpn, vpn + (1 << SPANS[entry.level])):
            self.unmap(asid, page)
        self.tables[asid].map(vpn, entry)

    def unmap(self, asid, vpn):
        table = self.tables[asid]
        if table.lookup(vpn) is not None:
            level = table.unmap(vpn).level
            if not self.forgetful:
                self.tlb.invalidate(asid, vpn >> SPANS[level] << SPANS[level], 1 << SPANS[level])

    def protect(self, asid, vpn):
        entry = self.tables[asid].lookup(vpn)
        if entry is not None:
            entry.writable = not entry.writable
            self.tlb.flush(asid) if vpn % 5 == 0 else self.tlb.invalidate(asid, vpn >> 2 << 2, 4)

    def disagreements(self):
        """What the TLB says and the table of that process does not."""
        found = []
        for (asid, number, level), cached in self.tlb.entries():
            assert asid != EVERYBODY
            vpn = number << SPANS[level]
            entry = self.tables[asid].lookup(vpn)
            right = entry is not None and (self.tables[asid].frame(vpn), entry.writable)
            if right != (cached.pfn, cached.writable):
                found.append((asid, vpn, cached, entry))
        return found


acts = st.lists(
    st.tuples(
        st.sampled_from(["refer"] * 4 + ["map", "map", "huge", "unmap", "protect", "flush"]),
        st.integers(0, 1),
        st.integers(0, 31),
        st.integers(0, 9),
    ),
    max_size=80,
)


def live(kernel, todo):
    """Do it all; yield after each."""
    for what, asid, vpn, pfn in todo:
        if what == "refer":
            kernel.refer(asid, vpn, fetch=pfn < 3)
        elif what in {"map", "huge"}:
            kernel.map(asid, vpn, pfn, huge=what == "huge")
        elif what == "flush":
            kernel.tlb.flush(asid if pfn else None)
        else:
            getattr(kernel, what)(asid, vpn)
        yield


@pytest.mark.parametrize("asids", [True, False])
@given(todo=acts)
def test_a_tlb_agrees_with_the_page_tables(asids, todo):
    kernel = Kernel(asids=asids)
    for _ in live(kernel, todo):
        assert kernel.disagreements() == []


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_kernel_that_forgets_to_invalidate_is_found_out(forgetful):
    kernel = Kernel(forgetful=forgetful)
    todo = [("map", 0, 3, 7), ("refer", 0, 3, 5), ("unmap", 0, 3, 0), ("map", 0, 3, 8)]
    for _ in live(kernel, todo):
        pass
    assert bool(kernel.disagreements()) == forgetful


@given(todo=acts)
def test_what_lookup_finds_is_what_the_arrays_hold(todo):
    """The quick views and the arrays are two pictures of one thing."""
    kernel = Kernel()
    for _ in live(kernel, todo):
        held = {key for key, _ in kernel.tlb.entries()}
        for asid in (0, 1):
            for vpn in range(0, 32, 3):
                names = {(asid, vpn >> SPANS[level], level) for level in (0, 1)}
                cached = [kernel.tlb.cached(asid, vpn, fetch=fetch) for fetch in (False, True)]
                assert any(cached) == bool(names & held)
