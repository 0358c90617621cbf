"""What the adaptive policies promise: their bounds, what they are good for, and what breaks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacements import make

from llmos.replacement.arc import Arc
from llmos.replacement.lirs import Lirs
from llmos.replacement.lru import Lru
from llmos.replacement.mglru import Mglru
from llmos.replacement.places import Places
from llmos.replacement.s3_fifo import S3Fifo
from llmos.replacement.sieve import Sieve
from llmos.replacement.slru import Slru
from llmos.replacement.two_lists import TwoLists
from llmos.replacement.two_q import TwoQ

references = st.lists(st.integers(0, 14), min_size=20, max_size=100)
frames = st.integers(1, 8)

GHOSTS = {
    "2q": lambda capacity: capacity // 2,
    "s3-fifo": lambda capacity: capacity * 9 // 10,
    "lirs": lambda capacity: capacity,
    "two-lists": lambda capacity: capacity,
    "mglru": lambda capacity: capacity,
    "arc": lambda capacity: 2 * capacity,
    "slru": lambda _: 0,
    "sieve": lambda _: 0,
}


def ghosts(policy):
    return [key for heading, keys in policy.show().items() if "ghost" in heading for key, _ in keys]


def after_each(places, refs):
    """Refer to each of `refs`, and yield after each of them."""
    for key in refs:
        places.refer(key)
        yield places.policy


# --- Bounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GHOSTS)
@given(refs=references, size=frames)
def test_ghosts_are_few_and_have_no_place(name, refs, size):
    places = Places(size, make(name, size))
    for policy in after_each(places, refs):
        assert len(places.resident) <= size
        assert len(ghosts(policy)) <= GHOSTS[name](size)
        assert not places.resident.keys() & set(ghosts(policy))


@pytest.mark.parametrize("name", GHOSTS)
@given(refs=references, sizes=st.lists(frames, min_size=2, max_size=5))
def test_it_follows_when_places_come_and_go(name, refs, sizes):
    places = Places(sizes[0], make(name, sizes[0]))
    for turn, size in enumerate(sizes):
        places.capacity = size
        places.policy.resized(size)
        while len(places.resident) > size:
            victim = places.policy.victim()
            del places.resident[victim]  # KeyError: it was not resident
            places.policy.evicted(victim)
        for policy in after_each(places, refs[turn:]):
            assert len(places.resident) <= size
            assert len(ghosts(policy)) <= GHOSTS[name](size) + 1  # till the next newcomer
            if name == "arc":
                assert_arc(policy, size)


def assert_arc(policy, size):
    t1, t2, b1, b2 = (len(keys) for keys in policy.show().values())
    assert t1 + b1 <= size
    assert t1 + t2 + b1 + b2 <= 2 * size
    assert 0 <= policy._target <= size


class HoardingArc(Arc):
    """Never forgets a ghost."""

    def _trim(self):
        pass


def check_arc(kind, refs, size):
    for policy in after_each(Places(size, kind(size)), refs):
        assert_arc(policy, size)


@given(refs=references, size=frames)
def test_arc_remembers_as_many_ghosts_as_it_has_places(refs, size):
    check_arc(Arc, refs, size)


def test_an_arc_that_hoards_ghosts_is_found_out():
    with pytest.raises(AssertionError):
        check_arc(HoardingArc, range(20), 4)


def check_lirs(kind, refs, size):
    places = Places(size, kind(size, trial=0.3))
    for policy in after_each(places, refs):
        bottom = next(iter(policy._stack), None)
        assert (bottom in policy._lir) == bool(policy._lir)
        assert len(policy._lir) <= policy._most_lir
        assert policy._lir | policy._queue.keys() == places.resident.keys()
        assert policy._stack.keys() <= places.resident.keys() | policy._ghosts.keys()


@given(refs=references, size=frames)
def test_a_lir_page_is_at_the_bottom_of_the_stack(refs, size):
    check_lirs(Lirs, refs, size)


class UnprunedLirs(Lirs):
    """Leaves on the stack what has been away for longer than the oldest LIR page."""

    def accessed(self, key, *, write=False):
        if key in self._lir:
            self._stack.move_to_end(key)
        else:
            super().accessed(key, write=write)


def test_a_lirs_that_does_not_prune_is_found_out():
    with pytest.raises(AssertionError):
        check_lirs(UnprunedLirs, [1, 2, 3, 4, 1, 2, 3], 4)


# --- Against the plainest program ----------------------------------------------------------------------


class SieveModel:
    """An array, oldest first, and the index of the hand, as the paper draws it."""

    def __init__(self, size):
        self.size, self.queue, self.visited, self.hand = size, [], {}, 0

    def refer(self, key):
        gone = None
        if key in self.queue:
            self.visited[key] = True
            return None
        if len(self.queue) == self.size:
            while self.visited[self.queue[self.hand]]:
                self.visited[self.queue[self.hand]] = False
                self.hand = (self.hand + 1) % self.size
            gone = self.queue.pop(self.hand)
            if self.hand == len(self.queue):
                self.hand = 0
        self.queue.append(key)
        self.visited[key] = False
        return gone


class TwoQModel:
    """The three lists of the paper, newest first."""

    def __init__(self, size):
        self.size, self.a1in, self.a1out, self.am = size, [], [], []

    def refer(self, key):
        gone = None
        if key in self.am:
            self.am.remove(key)
            self.am.insert(0, key)
        elif key not in self.a1in:
            wanted = key in self.a1out
            if wanted:
                self.a1out.remove(key)
            if len(self.a1in) + len(self.am) == self.size:
                gone = self.reclaim()
            (self.am if wanted else self.a1in).insert(0, key)
        return gone

    def reclaim(self):
        if len(self.a1in) <= self.size // 4:
            return self.am.pop()
        gone = self.a1in.pop()
        self.a1out = [gone, *self.a1out][: self.size // 2]
        return gone


class SlruModel:
    """Four lists, newest first."""

    def __init__(self, size):
        small = size // 4
        self.sizes = [size - 3 * small, small, small, small]
        self.lists = [[], [], [], []]

    def refer(self, key):
        gone = None
        level = next((i for i in range(4) if key in self.lists[i]), None)
        if level is not None:
            self.lists[level].remove(key)
            self.put(key, min(level + 1, 3))
            return None
        room = [i for i in range(4) if len(self.lists[i]) < self.sizes[i]]
        if not room:
            gone = self.lists[0].pop()
        self.put(key, room[0] if room else 0)
        return gone

    def put(self, key, level):
        self.lists[level].insert(0, key)
        if len(self.lists[level]) > self.sizes[level]:
            self.put(self.lists[level].pop(), level - 1)


MODELS = {Sieve: SieveModel, TwoQ: TwoQModel, Slru: SlruModel}


def check_model(policy, model, refs, size):
    places, plain = Places(size, policy), model(size)
    for key in refs:
        assert places.refer(key).victim == plain.refer(key)


@pytest.mark.parametrize("kind", MODELS)
@given(refs=references, size=frames)
def test_it_names_whom_the_plain_program_names(kind, refs, size):
    check_model(Sieve() if kind is Sieve else kind(size), MODELS[kind], refs, size)


class SecondChanceSieve(Sieve):
    """Moves the visited to the end, as second chance does."""

    def victim(self, spared=(), incoming=None):
        while (key := next(iter(self._ahead))) in self._visited:
            self._visited.discard(key)
            self._ahead.move_to_end(key)
        return key


class EagerTwoQ(TwoQ):
    """Takes a hit in the queue for a proof."""

    def accessed(self, key, *, write=False):
        self._queue.pop(key, None)
        self._main[key] = None
        self._main.move_to_end(key)


class FlatSlru(Slru):
    """Renews who is hit, but lifts nobody."""

    def accessed(self, key, *, write=False):
        self._segments[self._level[key]].move_to_end(key)


@pytest.mark.parametrize(
    ("policy", "model"),
    [(SecondChanceSieve(), SieveModel), (EagerTwoQ(4), TwoQModel), (FlatSlru(4), SlruModel)],
)
def test_a_policy_with_another_rule_is_found_out(policy, model):
    with pytest.raises(AssertionError):
        check_model(policy, model, [1, 2, 3, 4, 1, 5, 6, 1, 2, 7, 2, 8, 3, 9, 1], 4)


# --- What they are good for ----------------------------------------------------------------------------

HOT = list(range(20))


def hot_misses(policy):
    """Misses on 20 hot pages in 40 places, used 5 times in turn after each of 5 scans of 200 pages."""
    places = Places(40, policy)
    for key in [*HOT, *range(100, 130), *HOT]:  # used, away for a while, and used again
        places.refer(key)
    missed = 0
    for scan in range(1, 6):
        for key in range(1000 * scan, 1000 * scan + 200):
            places.refer(key)
        for _ in range(5):
            missed += sum(not places.refer(key).hit for key in HOT)
    return missed


@pytest.mark.parametrize("kind", [Arc, Lirs, S3Fifo, Slru, TwoQ])
def test_a_scan_does_not_wash_out_what_is_hot(kind):
    assert hot_misses(Lru()) == 5 * len(HOT)  # each scan has washed out all
    assert hot_misses(kind(40)) <= 3 * len(HOT)


class OpenS3Fifo(S3Fifo):
    """Lets everybody into the main queue."""

    def inserted(self, key, *, write=False):
        self._ghosts[key] = None
        super().inserted(key, write=write)


def test_an_s3_fifo_without_its_small_queue_is_washed_out():
    assert hot_misses(OpenS3Fifo(40)) > hot_misses(S3Fifo(40))


def test_a_loop_that_is_too_long_hits_at_nearly_all_places_of_lirs():
    places = Places(50, Lirs(50))
    hits = [places.refer(i % 60).hit for i in range(600)]
    assert sum(hits[60:]) == 9 * 49  # one place is for HIR pages


def targets(places, refs):
    return [policy._target for policy in after_each(places, refs)]


def test_arc_adapts_to_what_it_missed():
    """Ghosts of T1 ask for more recency, ghosts of T2 for more frequency."""
    places = Places(4, Arc(4))
    assert targets(places, [1, 1, 2, 2, 3, 4, 5, 6]) == [0] * 8  # T1: 5 6, ghosts of T1: 3 4
    assert targets(places, [3]) == [1]
    assert targets(places, [4]) == [2]
    grown = targets(places, [7, 8, 9, 5, 6])[-1]
    assert targets(places, [1])[-1] < grown  # 1, used twice, was given up for pages used once


def test_arc_grows_its_target_when_recency_pays_and_shrinks_it_when_not():
    recency = [key for start in range(0, 400, 5) for key in [*range(start, start + 15)]]
    places = Places(12, Arc(12))
    high = targets(places, recency)[-1]
    frequency = [key for i in range(200) for key in (i % 8, i % 8, 10_000 + i)]
    low = min(targets(places, frequency))
    assert low < high


# --- Linux --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gib", "ratio"), [(1, 3), (10, 10), (100, 31), (1024, 101), (10 * 1024, 320)])
def test_the_ratio_of_the_lists_is_the_table_in_linux(gib, ratio):
    """The table in the comment above inactive_is_low, mm/vmscan.c."""
    assert TwoLists(gib * 2**18)._ratio == ratio


def listed(policy, heading):
    return [key for key, _ in policy.show()[heading]]


def test_two_uses_make_a_page_active_and_one_gives_it_another_round():
    places = Places(4, TwoLists(4))
    for key in [1, 2, 3, 4, 1, 2, 2]:
        places.refer(key)
    assert listed(places.policy, "active") == [2]
    assert places.refer(5).victim == 3  # 1 is older, but referenced
    assert listed(places.policy, "inactive") == [4, 1, 5]
    assert places.refer(6).victim == 4
    assert places.refer(7).victim == 1  # it has had its second round


def test_a_page_that_is_back_soon_is_active_at_once_and_one_that_is_late_is_not():
    def back_after(others):
        places = Places(6, TwoLists(6))
        for key in ["a", "b", "c", "a", "b", "c", "a", "b", "c"]:  # three active pages
            places.refer(key)
        for key in range(3 + 1 + others):  # 0 goes first, then as many as there are `others`
            places.refer(key)
        assert 0 not in places.resident
        places.refer(0)  # makes one more room itself
        return 0 in listed(places.policy, "active")

    assert [back_after(others) for others in range(4)] == [True, True, False, False]


@given(refs=references, size=frames, ratio=st.integers(1, 3))
def test_active_pages_come_down_when_the_inactive_list_is_low(refs, size, ratio):
    policy = TwoLists(size, ratio=ratio)
    for _ in after_each(Places(size, policy), refs):
        policy.victim()
        assert len(policy._inactive) * ratio >= len(policy._active)


@given(refs=references, size=frames, mapped=st.booleans())
def test_there_are_two_to_four_generations_and_each_page_is_in_one(refs, size, mapped):
    places = Places(size, Mglru(size, mapped=mapped, batch=1))
    for policy in after_each(places, refs):
        assert 2 <= len(policy._generations) <= 4
        assert sorted(key for keys in policy._generations for key in keys) == sorted(places.resident)


@pytest.mark.parametrize(("accesses", "tier"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 3)])
def test_the_tier_is_the_logarithm_of_the_accesses(accesses, tier):
    """order_base_2 of the accesses, at most 3: include/linux/mmzone.h."""
    policy = Mglru(4, mapped=False)
    policy.inserted("page")
    for _ in range(accesses - 1):
        policy.accessed("page")
    assert policy._tier("page") == tier


def reread_misses(policy):
    """Misses on 20 pages, each used 3 times, between scans of 22 pages, in 40 places."""
    places, missed = Places(40, policy), 0
    for start in range(1000, 2320, 22):
        missed += sum(not places.refer(key).hit for key in HOT * 3)
        for key in range(start, start + 22):
            places.refer(key)
    return missed


def test_tiers_that_come_back_more_often_than_tier_0_are_protected():
    unprotected = reread_misses(Mglru(40, mapped=False, batch=10**9))
    assert unprotected == reread_misses(Lru())
    assert reread_misses(Mglru(40, mapped=False, batch=8)) < unprotected


def test_one_use_while_mapped_protects_as_well():
    assert reread_misses(Mglru(40)) < reread_misses(Lru())


def test_an_accessed_bit_moves_a_mapped_page_to_the_youngest_generation():
    places = Places(4, Mglru(4))
    for key in [1, 2, 3, 4, 1]:
        places.refer(key)
    assert [places.refer(key).victim for key in (5, 6)] == [2, 3]
    assert 1 in places.resident
