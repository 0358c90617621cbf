"""The buddy allocator: Knuth's rules by hand, a model that knows nothing of heaps, and mutations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import LlmosError
from llmos.memory.buddy import Block, Buddy


class Model:
    """Which frames are free, and nothing else; blocks are found by looking at all of them."""

    def __init__(self, frames, max_order):
        self.free = set(range(frames))
        self.max_order = max_order

    def blocks(self):
        """The largest aligned blocks that are free, as (order, first)."""
        left, found = set(self.free), []
        for order in range(self.max_order, -1, -1):
            size = 1 << order
            for first in range(0, max(self.free, default=-1) + 1, size):
                frames = set(range(first, first + size))
                if frames <= left:
                    left -= frames
                    found.append((order, first))
        return sorted(found)

    def allocate(self, order):
        fitting = [(k, first) for k, first in self.blocks() if k >= order]
        if not fitting:
            return None
        first = fitting[0][1]
        self.free -= set(range(first, first + (1 << order)))
        return first

    def give_back(self, first, order):
        self.free |= set(range(first, first + (1 << order)))


def free_blocks(buddy):
    return [(block.order, block.first) for block in buddy.blocks()]


def drive(buddy, actions, check):
    """Do `actions` ((order, which to free)) with `buddy`; `check` sees each of its states."""
    taken = []
    for order, choice in actions:
        if choice is None or not taken:
            first = buddy.allocate(order)
            if first is not None:
                taken.append((first, order))
        else:
            buddy.free(*taken.pop(choice % len(taken)))
        check(taken)
    return taken


actions = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 99)), max_size=60)


@given(frames=st.integers(1, 70), actions=actions)
def test_it_does_what_the_model_does(frames, actions):
    buddy, model = Buddy(frames, 3), Model(frames, 3)
    taken = []
    for order, choice in actions:
        if choice is None or not taken:
            first = buddy.allocate(order)
            assert first == model.allocate(order)
            if first is not None:
                taken.append((first, order))
        else:
            block = taken.pop(choice % len(taken))
            buddy.free(*block)
            model.give_back(*block)
        assert free_blocks(buddy) == model.blocks()
        assert buddy.free_frames == len(model.free)


def check_promises(buddy, frames, actions):
    def check(taken):
        blocks = [Block(*block) for block in taken] + list(buddy.blocks())
        assert all(block.first % block.frames == 0 for block in blocks)
        covered = [f for block in blocks for f in range(block.first, block.first + block.frames)]
        assert sorted(covered) == list(range(frames))  # conserved and disjoint
        free = set(buddy.blocks())
        assert not any(block.buddy in free for block in free if block.order < buddy.max_order)
        assert buddy.counts == [sum(b.order == k for b in free) for k in range(buddy.max_order + 1)]

    fresh = free_blocks(buddy)
    for block in drive(buddy, actions, check):
        buddy.free(*block)
    assert free_blocks(buddy) == fresh


@given(frames=st.integers(1, 70), actions=actions)
def test_frames_are_conserved_blocks_disjoint_and_joined_again(frames, actions):
    check_promises(Buddy(frames, 3), frames, actions)


MANY = [(k % 3, None) for k in range(20)] + [(0, k * 7) for k in range(20)]


def test_without_joining_the_promise_is_broken(monkeypatch):
    """The mutation: what is freed stays as it is."""

    def free(self, first, order=0):
        self.free_frames += 1 << order
        self._put(first, order)

    monkeypatch.setattr(Buddy, "free", free)
    with pytest.raises(AssertionError):
        check_promises(Buddy(64, 3), 64, MANY)


def test_joining_with_the_block_that_follows_breaks_the_promise(monkeypatch):
    """The mutation: any free neighbour will do as a buddy, so blocks come to lie askew."""

    def free(self, first, order=0):
        self._state[first] = 0
        self.free_frames += 1 << order
        while order < self.max_order:
            neighbour = first + (1 << order)
            if neighbour >= self.frames or self._state[neighbour] != order + 1:
                break
            self._state[neighbour] = 0
            self.counts[order] -= 1
            order += 1
        self._put(first, order)

    monkeypatch.setattr(Buddy, "free", free)
    with pytest.raises(AssertionError):
        check_promises(Buddy(64, 3), 64, MANY)


def test_a_block_is_halved_and_joined():
    """16 frames, by hand: order 1 halves 16 into 8 + 4 + 2 + 2."""
    buddy = Buddy(16, 4)
    assert buddy.allocate(1) == 0
    assert free_blocks(buddy) == [(1, 2), (2, 4), (3, 8)]
    assert buddy.allocate(0) == 2
    assert buddy.allocate(3) == 8
    assert free_blocks(buddy) == [(0, 3), (2, 4)]
    buddy.free(0, 1)
    assert free_blocks(buddy) == [(0, 3), (1, 0), (2, 4)]
    buddy.free(2, 0)  # 2 and 3, then 0-1 and 2-3, then 0-3 and 4-7
    assert free_blocks(buddy) == [(3, 0)]
    assert buddy.largest_order() == 3
    buddy.free(8, 3)
    assert free_blocks(buddy) == [(4, 0)]


def test_frames_that_make_no_whole_block_are_used_too():
    buddy = Buddy(1000, 8)
    assert free_blocks(buddy) == [(3, 992), (5, 960), (6, 896), (7, 768), (8, 0), (8, 256), (8, 512)]
    assert [buddy.allocate() for _ in range(1000)] != []
    assert buddy.allocate() is None
    assert buddy.free_frames == 0
    assert buddy.largest_order() is None


def test_fragmentation_as_linux_counts_it():
    """Of 8 frames every other one is free: 4 frames in 4 pieces.

    For two frames: unusable (4 - 0) / 4; index 1 - (1 + 4/2) / 4 = 0.25.
    """
    buddy = Buddy(8, 3)
    for _ in range(8):
        buddy.allocate()
    for frame in (1, 3, 5, 7):
        buddy.free(frame)
    assert (buddy.unusable(0), buddy.unusable(1)) == (0, 1)
    assert buddy.fragmentation(0) is None
    assert buddy.fragmentation(1) == 0.25
    buddy.free(0)  # 2 + 1 + 1 + 1: of five frames three cannot be part of a pair
    assert buddy.unusable(1) == 3 / 5
    assert buddy.fragmentation(1) is None
    assert buddy.fragmentation(2) == 1 - (1 + 5 / 4) / 4


def test_nothing_free_is_want_of_memory_not_fragmentation():
    buddy = Buddy(1)
    buddy.allocate()
    assert buddy.fragmentation(0) == 0
    assert buddy.unusable(0) == 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=400))
def test_what_is_left_behind_in_a_heap_is_swept(pattern):
    """Splitting and joining again and again must not make the heaps grow."""
    buddy = Buddy(64, 6)
    for order in pattern * 20:
        first = buddy.allocate(order)
        buddy.free(first, order)
        assert sum(map(len, buddy._heaps)) <= sum(2 * count + 65 for count in buddy.counts)
    assert free_blocks(buddy) == [(6, 0)]


@pytest.mark.parametrize(("first", "order"), [(0, 0), (1, 0), (4, 2), (8, 0), (-1, 0), (0, 1)])
def test_only_what_was_taken_can_be_given_back(first, order):
    buddy = Buddy(8, 3)
    block = buddy.allocate(2)
    with pytest.raises(LlmosError, match="is taken at frame"):
        buddy.free(first, order)
    buddy.free(block, 2)
    with pytest.raises(LlmosError, match="once"):
        buddy.free(block, 2)


@pytest.mark.parametrize("make", [lambda: Buddy(0), lambda: Buddy(8, -1), lambda: Buddy(8, 3).allocate(4)])
def test_what_cannot_be_is_refused(make):
    with pytest.raises(LlmosError):
        make()


@given(st.integers(1, 70), actions, st.lists(st.integers(0, 69), max_size=20))
def test_single_frames_are_taken_out_of_the_middle_and_come_back(frames, made, wanted):
    """`take` against the model: free is what it says, and the blocks are the largest there can be."""
    model, buddy = Model(frames, 3), Buddy(frames, 3)
    taken = drive(buddy, made, lambda _: None)
    for first, order in taken:
        model.free -= set(range(first, first + (1 << order)))
    singles = []
    for frame in wanted:
        if frame < frames:
            assert buddy.take(frame) == (frame in model.free)
            if frame in model.free:
                model.free.remove(frame)
                singles.append(frame)
            assert free_blocks(buddy) == model.blocks()
            assert buddy.free_frames == len(model.free)
    for first, order in taken:
        buddy.split(first, order)
        singles += range(first, first + (1 << order))
    for frame in singles:
        buddy.free(frame)
        model.free.add(frame)
        assert free_blocks(buddy) == model.blocks()
    with pytest.raises(LlmosError):
        buddy.split(0, 1)
