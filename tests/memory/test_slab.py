"""The slab cache: objects never overlap, slabs come and go whole, and waste is counted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import LlmosError
from llmos.memory.buddy import Buddy
from llmos.memory.slab import SlabCache

actions = st.lists(st.none() | st.integers(0, 99), max_size=80)


def check_promises(buddy, cache, actions):
    frames = buddy.free_frames
    taken = []
    for choice in actions:
        if choice is None or not taken:
            address = cache.allocate()
            if address is None:
                assert not cache.partial
                assert not cache.empty
            else:
                taken.append(address)
        else:
            cache.free(taken.pop(choice % len(taken)))
        spots = sorted(taken)
        assert all(a + cache.object_bytes <= b for a, b in pairwise(spots))
        assert all(address % cache.align == 0 for address in spots)
        assert cache.used_objects == len(taken)
        assert buddy.free_frames == frames - (cache.slabs << cache.order)
        for slabs, low, high in (
            (cache.empty, 0, 0),
            (cache.partial, 1, cache.objects_per_slab - 1),
            (cache.full, cache.objects_per_slab, cache.objects_per_slab),
        ):
            assert all(low <= slab.used <= high for slab in slabs.values())
            assert all(
                slab.start + slab.objects * cache.stride_bytes
                <= slab.first_frame * cache.frame_bytes + cache.slab_bytes
                for slab in slabs.values()
            )
    for address in taken:
        cache.free(address)
    held = frames - buddy.free_frames
    assert cache.shrink() == held
    assert (buddy.free_frames, cache.slabs) == (frames, 0)


@given(
    size=st.integers(1, 200),
    order=st.none() | st.integers(0, 2),
    align=st.sampled_from([1, 8, 64]),
    colouring=st.booleans(),
    actions=actions,
)
def test_objects_never_overlap_and_slabs_are_given_back(size, order, align, colouring, actions):
    buddy = Buddy(13, 3)
    cache = SlabCache(buddy, size, order=order, align=align, frame_bytes=256, colouring=colouring)
    check_promises(buddy, cache, actions)


def test_a_slab_that_is_not_filed_anew_breaks_the_promise(monkeypatch):
    """The mutation: a slab stays on the list where it was."""
    monkeypatch.setattr(SlabCache, "_file", lambda self, slab: None)
    buddy = Buddy(8, 3)
    cache = SlabCache(buddy, 100, frame_bytes=256, order=0)
    with pytest.raises(AssertionError):
        check_promises(buddy, cache, [None] * 5 + [0, 0])


def test_a_partial_slab_goes_before_an_empty_one_and_that_before_a_new_one():
    """Frames of 100 bytes, objects of 40 aligned to 10: two for each slab."""
    buddy = Buddy(8, 3)
    cache = SlabCache(buddy, 40, order=0, align=10, frame_bytes=100, colouring=False)
    a, b, c, d = (cache.allocate() for _ in range(4))
    assert (a, b, c, d) == (0, 40, 100, 140)
    cache.free(a)
    cache.free(b)
    cache.free(d)
    assert ([*cache.empty], [*cache.partial], [*cache.full]) == ([0], [1], [])
    assert cache.allocate() == d
    assert cache.allocate() == b  # the object that came back last
    assert buddy.free_frames == 6


def test_colours_use_what_would_be_lost():
    """100 - 2 * 40 = 20 bytes are left: beginnings at 0, 10 and 20, and at 0 again."""
    cache = SlabCache(Buddy(8, 3), 40, order=0, align=10, frame_bytes=100)
    assert cache.colours == 3
    firsts = [cache.allocate() for _ in range(8)][::2]
    assert firsts == [0, 110, 220, 300]


def test_waste_is_counted():
    """Objects of 700 in 4096: five, aligned to 704; 4096 - 5 * 700 = 596 of each slab are lost."""
    cache = SlabCache(Buddy(64), 700, order=0)
    assert (cache.stride_bytes, cache.objects_per_slab) == (704, 5)
    assert cache.waste_bytes == 0
    for _ in range(6):
        cache.allocate()
    assert cache.waste_bytes == 2 * 596


@pytest.mark.parametrize(
    ("size", "order"),
    [
        (8, 0),  # nothing is lost
        (700, 1),  # as 704 it loses 576 of 4096, and 448 of 8192
        (1400, 2),  # 1296 of 4096, 1192 of 8192, 984 of 16384
        (6000, 3),  # does not fit; 2192 of 8192, 4384 of 16384, 2768 of 32768
        (40_000, 4),  # does not fit before 65536, and loses 25536 of it; larger slabs are too large
    ],
)
def test_slabs_grow_until_they_lose_at_most_an_eighth(size, order):
    assert SlabCache(Buddy(64), size).order == order


@pytest.mark.parametrize("address", [0, 8, 4, 4096, -8])
def test_what_is_not_taken_cannot_be_given_back(address):
    cache = SlabCache(Buddy(8), 8, order=0)
    taken = cache.allocate()
    cache.free(taken)
    with pytest.raises(LlmosError, match="no object is taken"):
        cache.free(address)


@pytest.mark.parametrize(
    "options",
    [
        {"object_bytes": 0},
        {"object_bytes": 5000, "order": 0},
        {"object_bytes": 8, "order": -1},
        {"object_bytes": 8, "order": 11},
        {"object_bytes": 2**40},
    ],
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(LlmosError):
        SlabCache(Buddy(8), **options)
