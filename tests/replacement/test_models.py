"""Each policy against the plainest program that does what its textbook says, with lists and loops."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.replacement.aging import Aging
from llmos.replacement.clock import Clock
from llmos.replacement.lru_k import LruK
from llmos.replacement.nru import Nru
from llmos.replacement.places import Places
from llmos.replacement.second_chance import SecondChance
from llmos.replacement.wsclock import WSClock

accesses = st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=30, max_size=80)
frames = st.integers(1, 5)


@dataclass
class Page:
    key: int
    used: int = 0
    dirty: bool = False
    seen: int = 0
    """When it was last seen used, for WSClock."""


class Model:
    """Frames in an array, the way books draw them; `now` counts references from 1."""

    def __init__(self, size):
        self.frames = [None] * size
        self.hand = 0
        self.now = 0

    def refer(self, key, write):
        """Return the key that goes, None if nobody does."""
        self.now += 1
        page = next((page for page in self.frames if page and page.key == key), None)
        gone = None
        if page is None:
            if None in self.frames:
                at = self.frames.index(None)
            else:
                at = self.choose()
                gone = self.frames[at].key
            page = self.frames[at] = Page(key)
            self.loaded(page, at)
        else:
            self.hit(page)
        page.dirty = page.dirty or write
        self.after()
        return gone

    def loaded(self, page, at):
        self.hand = (at + 1) % len(self.frames)
        self.hit(page)

    def hit(self, page):
        page.used = 1

    def after(self):
        """Happens at the end of each reference."""


def agree(policy, model, refs):
    places = Places(len(model.frames), policy)
    for key, write in refs:
        gone = places.refer(key, write=write).victim
        for page in policy.to_clean():
            policy.cleaned(page)
        assert gone == model.refer(key, write)


# --- CLOCK --------------------------------------------------------------------------------------------


class ClockModel(Model):
    def __init__(self, size, most, at_load):
        super().__init__(size)
        self.most, self.at_load = most, at_load

    def loaded(self, page, at):
        self.hand = (at + 1) % len(self.frames)
        page.used = self.at_load

    def hit(self, page):
        page.used = min(page.used + 1, self.most)

    def choose(self):
        while self.frames[self.hand].used:
            self.frames[self.hand].used -= 1
            self.hand = (self.hand + 1) % len(self.frames)
        return self.hand


@given(refs=accesses, size=frames, bits=st.integers(1, 3), counts=st.booleans())
def test_clock(refs, size, bits, counts):
    agree(Clock(bits, counts), ClockModel(size, 2**bits - 1, int(counts)), refs)


class ForgetfulHand(Clock):
    """A hand that starts from the beginning each time, and does not clear what it passes."""

    def victim(self, spared=(), incoming=None):
        return next((key for key in self._ring if key not in self._used), next(iter(self._ring)))


def test_a_hand_that_forgets_where_it_was_is_noticed():
    refs = [(key, False) for key in (1, 2, 3, 1, 4, 5, 6)]
    agree(Clock(), ClockModel(3, 1, 0), refs)
    with pytest.raises(AssertionError):
        agree(ForgetfulHand(), ClockModel(3, 1, 0), refs)


def test_clock_with_one_bit_is_the_second_chance_of_a_queue():
    """Tanenbaum, fig. 3-15: A, which was used, goes to the end of the queue as if it had just come."""
    policy = Clock()
    for key in "ABCDEFGH":
        policy.inserted(key)
    policy.accessed("A")
    assert policy.victim() == "B"
    assert [key for key, _ in policy.show()["from the hand"]] == list("BCDEFGHA")


# --- second chance on (used, dirty) -------------------------------------------------------------------


class SecondChanceModel(Model):
    """Stallings: a round for (0, 0); a round for (0, 1), clearing; and both once more."""

    def choose(self):
        n = len(self.frames)
        for _ in range(2):
            for step in range(n):
                at = (self.hand + step) % n
                if (self.frames[at].used, self.frames[at].dirty) == (0, False):
                    return at
            for step in range(n):
                at = (self.hand + step) % n
                if (self.frames[at].used, self.frames[at].dirty) == (0, True):
                    return at
                self.frames[at].used = 0
        raise AssertionError("after two rounds somebody is not used")


@given(refs=accesses, size=frames)
def test_second_chance(refs, size):
    agree(SecondChance(), SecondChanceModel(size), refs)


@pytest.mark.parametrize(
    ("dirty", "victim"), [("", "A"), ("A", "B"), ("AB", "C"), ("ABCD", "A"), ("BCD", "A")]
)
def test_second_chance_takes_the_first_clean_one_of_those_used(dirty, victim):
    policy = SecondChance()
    for key in "ABCD":
        policy.inserted(key, write=key in dirty)
    assert policy.victim() == victim


# --- NRU ----------------------------------------------------------------------------------------------


class NruModel(Model):
    """A list in the order of loading; the used bits are cleared after every `period` references."""

    def __init__(self, size, period):
        super().__init__(size)
        self.period = period
        self.loads = []

    def loaded(self, page, at):
        self.loads = [p for p in self.loads if p in self.frames] + [page]
        self.hit(page)

    def after(self):
        if self.now % self.period == 0:
            for page in self.frames:
                if page:
                    page.used = 0

    def choose(self):
        classes = {0: [], 1: [], 2: [], 3: []}
        for page in self.loads:
            classes[2 * page.used + page.dirty].append(page)
        lowest = next(pages for pages in classes.values() if pages)
        return self.frames.index(lowest[0])


@given(refs=accesses, size=frames, period=st.integers(1, 12))
def test_nru(refs, size, period):
    agree(Nru(period), NruModel(size, period), refs)


# --- aging and NFU ------------------------------------------------------------------------------------


class AgingModel(NruModel):
    """A register of bits for each page, shifted at each tick; or a sum."""

    def __init__(self, size, period, bits, shift):
        super().__init__(size, period)
        self.bits, self.shift = bits, shift
        self.counters = {}

    def loaded(self, page, at):
        super().loaded(page, at)
        self.counters[id(page)] = [0] * self.bits if self.shift else 0

    def after(self):
        if self.now % self.period == 0:
            for page in filter(None, self.frames):
                old = self.counters[id(page)]
                self.counters[id(page)] = [page.used, *old[:-1]] if self.shift else old + page.used
        super().after()

    def choose(self):
        def key(page):
            counter = self.counters[id(page)]
            return [page.used, *counter] if self.shift else counter + page.used

        return self.frames.index(min((p for p in self.loads if p in self.frames), key=key))


@given(refs=accesses, size=frames, period=st.integers(1, 9), bits=st.integers(1, 8), shift=st.booleans())
def test_aging(refs, size, period, bits, shift):
    agree(Aging(bits, period, shift), AgingModel(size, period, bits, shift), refs)


def test_aging_as_tanenbaum_has_it():
    """Modern Operating Systems, fig. 3-17: which of six pages are used in each of five periods."""
    rows = ["101011", "110010", "110101", "100010", "011000"]
    period = 6
    policy = Aging(bits=5, period=period)
    for page in range(6):
        policy.inserted(page)  # a period before; that bit has fallen off in the end
    for row in rows:
        used = [page for page in range(6) if row[page] == "1"]
        for touch in range(period):
            policy.accessed(used[touch % len(used)])
    shown = [figure for _, figure in sorted(policy.show()[""])]
    assert shown == ["0 01111", "0 10110", "0 10001", "0 00100", "0 01011", "0 00101"]
    assert policy.victim() == 3


# --- WSClock ------------------------------------------------------------------------------------------


class WSClockModel(Model):
    """Tanenbaum's four cases at the hand; writes that it begins are done before the next reference."""

    def __init__(self, size, tau):
        super().__init__(size)
        self.tau = tau

    def loaded(self, page, at):
        super().loaded(page, at)
        page.seen = self.now

    def choose(self):
        now = self.now - 1  # the reference that misses has not happened yet
        n = len(self.frames)
        ring = [(self.hand + step) % n for step in range(n)]
        begun = []
        for at in ring:
            page = self.frames[at]
            if page.used:
                page.used, page.seen = 0, now
            elif now - page.seen > self.tau:
                if not page.dirty:
                    self.written(begun)
                    return at
                begun.append(at)
        if begun:
            self.written(begun)
            return begun[0]
        clean = [at for at in ring if not self.frames[at].dirty]
        return (clean or ring)[0]

    def written(self, begun):
        for at in begun:
            self.frames[at].dirty = False


@given(refs=accesses, size=frames, tau=st.integers(0, 12))
def test_wsclock(refs, size, tau):
    agree(WSClock(tau), WSClockModel(size, tau), refs)


def test_wsclock_passes_over_what_is_old_and_dirty_and_wants_it_written_once():
    policy = WSClock(tau=2)
    for key in "ABCD":
        policy.inserted(key, write=key in "AB")
    assert policy.victim() == "C"  # all were used, so nobody is old; C is the first clean one
    policy.evicted("C")
    for key in "EDD":
        (policy.inserted if key == "E" else policy.accessed)(key)
    assert policy.victim() == "A"  # the hand has passed D, then A and B, old and dirty, then E
    assert list(policy.to_clean()) == ["B"]  # A is written because it goes
    assert list(policy.to_clean()) == []
    policy.evicted("A")
    policy.inserted("F")
    policy.accessed("D")
    assert policy.victim() == "B"  # still nobody else is old
    assert list(policy.to_clean()) == []
    policy.cleaned("B")
    assert policy.reason("B") == "not seen used for 5 references, clean"


# --- LRU-K --------------------------------------------------------------------------------------------


class LruKModel(Model):
    """O'Neil, O'Neil and Weikum, fig. 2.1: HIST(p, i) and LAST(p), with a bound on those retained."""

    def __init__(self, size, k, period, retained):
        super().__init__(size)
        self.k, self.period, self.retained = k, period, retained
        self.hist, self.last, self.gone = {}, {}, []

    def hit(self, page):
        p, t, hist = page.key, self.now, self.hist
        if t - self.last[p] > self.period:
            correlated = self.last[p] - hist[p][1]
            for i in range(self.k, 1, -1):
                hist[p][i] = hist[p][i - 1] + correlated if hist[p][i - 1] else 0
            hist[p][1] = t
        self.last[p] = t

    def loaded(self, page, at):
        p, hist = page.key, self.hist
        self.gone = [q for q in self.gone if q != p]
        if p not in hist:
            hist[p] = dict.fromkeys(range(1, self.k + 1), 0)
        for i in range(self.k, 1, -1):
            hist[p][i] = hist[p][i - 1]
        hist[p][1] = self.last[p] = self.now

    def choose(self):
        keys = [page.key for page in self.frames]
        free = [q for q in keys if self.now - self.last[q] > self.period] or keys
        victim = min(free, key=lambda q: (self.hist[q][self.k], self.last[q]))
        self.gone.append(victim)
        while len(self.gone) > self.retained:
            del self.hist[self.gone.pop(0)]
        return keys.index(victim)


@given(refs=accesses, size=frames, k=st.integers(1, 4), period=st.integers(0, 5), retained=st.integers(0, 6))
def test_lru_k(refs, size, k, period, retained):
    policy = LruK(size, k, period, retained)
    agree(policy, LruKModel(size, k, period, retained), refs)


def test_lru_k_lets_a_scan_pass():
    """The paper's reason for K = 2: pages that are used again stay, whatever is read once in between."""
    policy = LruK(4)
    places = Places(4, policy)
    for key in ("index", "root", "index", "root"):
        places.refer(key)
    assert all(places.refer(key).victim not in ("index", "root") for key in range(100))


def test_lru_k_remembers_as_many_as_there_are_places():
    policy = LruK(2)
    places = Places(2, policy)
    for key in range(6):
        places.refer(key)
    assert [key for key, _ in policy.show()["ghosts"]] == [2, 3]
    policy.resized(1)
    assert [key for key, _ in policy.show()["ghosts"]] == [3]
    places.remove(5)  # gone for good: it leaves no trace
    assert [key for key, _ in policy.show()["ghosts"]] == [3]
