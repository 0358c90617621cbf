"""What holds for all references: OPT is the optimum, stacks include, no rule can be left out unnoticed."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacements import NAMES, make

from llmos.errors import PolicyError
from llmos.replacement.clock import Clock
from llmos.replacement.fifo import Fifo
from llmos.replacement.lru import Lru
from llmos.replacement.lru_k import LruK
from llmos.replacement.mru import Mru
from llmos.replacement.opt import Opt
from llmos.replacement.places import Places

references = st.lists(st.integers(0, 9), min_size=30, max_size=80)


def misses(policy, size, refs):
    if policy.offline:
        policy.foresee(refs)
    places = Places(size, policy)
    return sum(not places.refer(key).hit for key in refs)


# --- OPT ----------------------------------------------------------------------------------------------


@given(refs=references, size=st.integers(1, 6))
def test_opt_is_never_beaten(refs, size):
    best = misses(Opt(), size, refs)
    assert all(misses(make(name, size, refs), size, refs) >= best for name in NAMES)


def fewest_misses(refs, size):
    """By trying every victim at every miss."""

    @cache
    def rest(now, resident):
        if now == len(refs):
            return 0
        key = refs[now]
        if key in resident:
            return rest(now + 1, resident)
        if len(resident) < size:
            return 1 + rest(now + 1, resident | {key})
        return 1 + min(rest(now + 1, resident - {gone} | {key}) for gone in resident)

    return rest(0, frozenset())


tiny = st.lists(st.integers(0, 5), min_size=8, max_size=14)


@given(refs=tiny, size=st.integers(1, 4))
def test_no_choice_of_victims_beats_opt(refs, size):
    assert misses(Opt(), size, refs) == fewest_misses(tuple(refs), size)


@given(refs=references, size=st.integers(1, 6))
def test_ties_make_no_difference_to_misses(refs, size):
    for worst in (False, True):
        first, last = (misses(Opt(ties=ties, worst=worst), size, refs) for ties in ("first", "last"))
        assert first == last


def test_opt_by_hand():
    """With 0 1 2 resident and 3 to come: 0 is next used at 5, 1 at 6, 2 never again."""
    policy = Opt()
    policy.foresee([0, 1, 2, 3, 0, 1])
    for key in (0, 1, 2):
        policy.inserted(key)
    assert policy.show() == {"": [(2, "never"), (1, "at 6"), (0, "at 5")]}
    assert (policy.victim(), policy.reason(2)) == (2, "never used again")
    assert (policy.victim({2}), policy.reason(1)) == (1, "next use farthest ahead, at reference 6")
    assert policy.victim({0, 1, 2}) is None


def test_opt_says_when_the_future_is_not_what_it_was_told():
    policy = Opt()
    policy.foresee([1, 2])
    policy.inserted(1)
    with pytest.raises(PolicyError, match="reference 2 is 7, but 2 was foreseen"):
        policy.inserted(7)
    policy.inserted(2)
    with pytest.raises(PolicyError, match="reference 3 is 1, but nothing was foreseen"):
        policy.accessed(1)


# --- stacks -------------------------------------------------------------------------------------------

STACKS = {
    "lru": lambda _: Lru(),
    "mru": lambda _: Mru(),
    "lru-k": lambda size: LruK(size, k=2, history=100),  # it must know of all pages what it knows of any
}


def run_both(make_one, refs, size):
    """Refer to `refs` in `size` places and in one more; yield what is resident in each, after each."""
    small, large = (Places(n, make_one(n)) for n in (size, size + 1))
    for places in (small, large):
        if places.policy.offline:
            places.policy.foresee(refs)
    for key in refs:
        small.refer(key)
        large.refer(key)
        yield small.resident.keys(), large.resident.keys()


@pytest.mark.parametrize("name", STACKS)
@given(refs=references, size=st.integers(1, 6))
def test_a_larger_memory_holds_what_a_smaller_one_does(name, refs, size):
    for small, large in run_both(STACKS[name], refs, size):
        assert small <= large


@given(refs=references, size=st.integers(1, 6))
def test_a_larger_memory_under_opt_holds_what_a_smaller_one_does_and_needs(refs, size):
    """Of pages that are never used again, OPT's rule for ties may keep others."""
    for now, (small, large) in enumerate(run_both(lambda _: Opt(), refs, size), start=1):
        assert small & set(refs[now:]) <= large


BELADY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("policy", [Fifo, lambda: Clock(load_counts=True)])
def test_beladys_anomaly(policy):
    """CLOCK has it too: where no page is used twice before the hand comes by, it is FIFO."""
    assert misses(policy(), 3, BELADY) < misses(policy(), 4, BELADY)


# --- mutations: each rule broken, and who would notice --------------------------------------------------


class NearestFirst(Opt):
    """OPT that takes pages never used again for those that are used at once."""

    def accessed(self, key, *, write=False):
        super().accessed(key, write=write)
        if self._next_use(key) == len(self._future):
            self._ranked.put(key, 0, -self._came[key])


class HitsIgnored(Lru):
    def accessed(self, key, *, write=False):
        pass


class NoHistory(LruK):
    def evicted(self, key):
        self.removed(key)


REFS = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]
"""The reference string of Silberschatz."""


def test_opt_that_keeps_what_is_never_used_again_is_beaten():
    assert misses(NearestFirst(), 3, REFS) > fewest_misses(tuple(REFS), 3) == misses(Opt(), 3, REFS)


def test_lru_that_ignores_hits_is_no_stack():
    assert not all(small <= large for small, large in run_both(lambda _: HitsIgnored(), BELADY, 3))


def test_lru_k_that_forgets_who_has_gone_is_no_stack():
    def holds(policy):
        return all(
            small <= large
            for refs in (REFS, REFS[::-1], [3, 3, 1, 2, 3, 1, 2, 3, 2, 1])
            for size in (1, 2, 3)
            for small, large in run_both(lambda n: policy(n, k=2, history=100), refs, size)
        )

    assert holds(LruK)
    assert not holds(NoHistory)
