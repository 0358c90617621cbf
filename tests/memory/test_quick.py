"""References that are made again take a quick way: it must give what the general way gives."""

from types import MappingProxyType
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import TINY_TLB, machine, memory, play, touch

from llmos.memory.pager import Pager
from llmos.memory.tlb import Tlb
from llmos.process.program import Fork, Mmap, Wait
from llmos.scenario.policies import replacement_spec
from llmos.trace.events import Event, Evict

pages = st.lists(
    st.tuples(st.integers(0, 7), st.booleans()).map(lambda touched: f"{touched[0]}{'w' * touched[1]}"),
    min_size=1,
    max_size=60,
)
GENERAL = patch.object(Tlb, "first", lambda *_: MappingProxyType({}))


def events_of(refs: list[str], frames: int, policy: str, cores: int = 1) -> list[Event]:
    def child():
        yield touch(*refs)

    def program():
        yield Mmap("text", file="book", protection="r")
        yield touch(*refs)
        yield touch(*(ref.rstrip("w") for ref in refs), region="text")
        yield Fork(child)
        yield touch(*refs)

    make = replacement_spec(policy).make
    has = memory(frames, policy, tlb=lambda: Tlb(TINY_TLB, policy=make))
    _, events, _ = play(machine(has, program, program, cores=cores))
    return events


@pytest.mark.parametrize("policy", ["lru", "clock", "clock bits=2", "fifo", "nru", "wsclock", "2q", "lfu"])
@settings(max_examples=10)
@given(refs=pages, frames=st.integers(2, 12), cores=st.integers(1, 2))
def test_the_quick_way_gives_what_the_general_way_gives(
    policy: str, refs: list[str], frames: int, cores: int
) -> None:
    quick = events_of(refs, frames, policy, cores)
    with GENERAL:
        assert events_of(refs, frames, policy, cores) == quick


def test_the_quick_way_is_taken() -> None:
    """Of a hundred references to a page the general way sees the first, which faults, and the second."""
    used = []
    original = Pager.use

    def use(self, page, *, write=False):
        used.append(page.key)
        original(self, page, write=write)

    def program():
        yield touch(*[0] * 100)

    with patch.object(Pager, "use", use):
        play(machine(memory(4), program))
    assert len(used) == 1
    used.clear()
    with patch.object(Pager, "use", use), GENERAL:
        play(machine(memory(4), program))
    assert len(used) == 99


def test_a_page_that_was_copied_is_another_one_from_then_on() -> None:
    """The child reads page 0 until it is known, writes it and reads its copy: the parent's goes first."""

    def child():
        yield touch(0, 0, 0, "0w", 1, 2, 0, 0, 3)

    def parent():
        yield touch("0w")
        yield Fork(child)
        yield Wait()

    _, events, _ = play(machine(memory(4), parent))
    first = next(event for event in events if isinstance(event, Evict))
    assert [pid for pid, _ in first.holders] == [1]
