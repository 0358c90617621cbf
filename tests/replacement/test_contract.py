"""What every replacement policy promises, in the smallest mechanism it can be put into."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replacements import NAMES, make

from llmos import plugins
from llmos.errors import PolicyError
from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.clock import Clock
from llmos.replacement.fifo import Fifo
from llmos.replacement.lru import Lru
from llmos.replacement.places import LruPlaces, Places, places

# Bytes are drawn at one go, numbers of a list one by one: that takes longer than the policies.
references = st.binary(min_size=20, max_size=80).map(lambda drawn: [byte % 10 for byte in drawn])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(1, 5))
def test_a_victim_goes_only_when_all_places_are_taken(name: str, refs: list[int], capacity: int) -> None:
    places = Places(capacity, make(name, capacity, refs))
    inside: set[int] = set()
    for key in refs:
        done = places.refer(key, write=key % 3 == 0)
        assert done.hit == (key in inside)
        if done.victim is not None:
            assert len(inside) == capacity
            inside.remove(done.victim)  # type: ignore[arg-type]  # KeyError: it was not resident
        else:
            assert done.hit or len(inside) < capacity
        inside.add(key)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(2, 5), pinned=st.sets(st.integers(0, 9), max_size=3))
def test_nobody_who_is_spared_goes(name: str, refs: list[int], capacity: int, pinned: set[int]) -> None:
    pinned = set(sorted(pinned)[: capacity - 1])  # somebody must be left who can go
    places = Places(capacity, make(name, capacity, refs))
    for key in refs:
        done = places.refer(key, spared=pinned)  # Places itself raises PolicyError otherwise
        assert done.victim not in pinned


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(data=st.data(), capacity=st.integers(1, 4))
def test_who_is_removed_is_forgotten(name: str, data: st.DataObject, capacity: int) -> None:
    refs = data.draw(references)
    places = Places(capacity, make(name, capacity, refs))
    for key in refs:
        if key % 4 == 0 and key in places.resident:
            places.remove(key)
        places.refer(key)
    for key in list(places.resident):
        places.remove(key)
    assert places.policy.victim() is None


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(1, 4))
def test_it_shows_who_is_resident(name: str, refs: list[int], capacity: int) -> None:
    places = Places(capacity, make(name, capacity, refs))
    for key in refs:
        places.refer(key)
    shown = [key for shelf, keys in places.policy.show().items() if "ghost" not in shelf for key, _ in keys]
    assert sorted(map(str, shown)) == sorted(map(str, places.resident))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(1, 4))
def test_asking_twice_is_no_harm(name: str, refs: list[int], capacity: int) -> None:
    """A mechanism may ask, and then find a free place elsewhere."""
    places = Places(capacity, make(name, capacity, refs))
    for key in refs:
        if len(places.resident) == capacity and key not in places.resident:
            assert places.policy.victim((), key) in places.resident
        places.refer(key)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(1, 5))
def test_many_references_at_once_do_what_they_do_one_by_one(
    name: str, refs: list[int], capacity: int
) -> None:
    slow, quick = (Places(capacity, make(name, capacity, refs)) for _ in range(2))
    missed = [not slow.refer(key).hit for key in refs]
    half = len(refs) // 2
    assert quick.misses(refs[:half]) == sum(missed[:half])
    assert quick.misses(refs[half:]) == sum(missed[half:])
    assert quick.policy.show() == slow.policy.show()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(refs=references, capacity=st.integers(1, 5))
def test_the_quick_way_to_tell_of_a_hit_does_what_accessed_does(
    name: str, refs: list[int], capacity: int
) -> None:
    slow, quick = (Places(capacity, make(name, capacity, refs)) for _ in range(2))
    on_hit = [quick.policy.on_hit(write=write) for write in (False, True)]
    for key in refs:
        write = key % 3 == 0
        if key in quick.resident:
            on_hit[write](key)
        else:
            quick.refer(key, write=write)
        slow.refer(key, write=write)
        assert list(quick.resident) == list(slow.resident)
    assert quick.policy.show() == slow.policy.show()


@pytest.mark.parametrize("policy", [Lru, Clock])
def test_a_class_made_of_a_quick_one_is_told_of_hits_in_its_own_way(policy: type[ReplacementPolicy]) -> None:
    told = []

    class Mine(policy):  # type: ignore[misc, valid-type]
        def accessed(self, key: object, *, write: bool = False) -> None:
            told.append((key, write))

    mine = Mine()
    mine.inserted("a")
    mine.on_hit()("a")
    mine.on_hit(write=True)("a")
    assert told == [("a", False), ("a", True)]


@given(refs=references, capacity=st.integers(1, 5))
def test_places_made_for_lru_do_what_its_policy_does(refs: list[int], capacity: int) -> None:
    slow, quick = Places(capacity, Lru()), places(capacity, Lru())
    assert isinstance(quick, LruPlaces)
    for key in refs:
        if key not in slow.resident:
            assert key not in quick.resident
            assert quick.take(key) == slow.take(key)
        elif key % 4 == 0:
            slow.remove(key)
            quick.remove(key)
        else:
            slow.on_hit(key)
            quick.on_hit(key)
        assert list(quick.resident) == [resident for resident, _ in slow.policy.show()[""]]


def test_other_policies_have_no_places_made_for_lru() -> None:
    class Mine(Lru):
        pass

    assert isinstance(places(3, Mine()), Places)
    assert isinstance(places(3, Clock()), Places)


class Liar(Fifo):
    """Names somebody who is not there."""

    def victim(self, spared: object = (), incoming: object = None) -> object:  # type: ignore[override]
        return "nobody"


def test_a_policy_that_names_a_stranger_is_blamed() -> None:
    places = Places(1, Liar())
    places.refer(1)
    with pytest.raises(PolicyError, match="not resident"):
        places.refer(2)


def test_every_policy_that_ships_is_tested() -> None:
    assert set(plugins.available("llmos.replacement", ReplacementPolicy)) == {n.split()[0] for n in NAMES}
