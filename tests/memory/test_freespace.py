"""The free list: OSTEP's own answers, next fit by hand, and what holds whatever is asked."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import LlmosError
from llmos.memory.freespace import FITS, ORDERS, Chunk, FreeList

ORACLE = Path(__file__).parents[1] / "oracles" / "ostep_freespace_malloc.json"
CASES = [pytest.param(case, id=case["id"]) for case in json.loads(ORACLE.read_text())["cases"]]
ORDER = {
    "ADDRSORT": "address",
    "SIZESORT+": "size-ascending",
    "SIZESORT-": "size-descending",
    "INSERT-FRONT": "front",
    "INSERT-BACK": "back",
}


@pytest.mark.parametrize("case", CASES)
def test_ostep(case):
    given = case["input"]
    heap = FreeList(
        given["heap"],
        base=given["base"],
        fit=given["policy"].lower(),
        order=ORDER[given["list_order"]],
        coalesce=given["coalesce"],
        header=given["header"],
        align=max(1, given["align"]),
    )
    addresses = {}
    for op in case["expected"]["ops"]:
        if op["op"] == "alloc":
            done = heap.allocate(op["size"])
            addresses[op["ptr"]] = done.address
            # The tool adds its header to the -1 of a failure, too.
            returned = -1 + given["header"] if done.address is None else done.address
            assert (returned, len(done.searched)) == (op["returned"], op["searched"])
        else:
            heap.free(addresses[op["ptr"]])
        assert heap.free_chunks == [tuple(chunk) for chunk in op["freelist"]]


def test_next_fit_goes_on_where_it_was():
    """Holes of 20 at 0, 40 and 80 of 100, by hand; first fit would take 0 each time."""
    heap = FreeList(100, fit="next")
    taken = [heap.allocate(20).address for _ in range(5)]
    assert taken == [0, 20, 40, 60, 80]
    for address in (0, 40, 80):
        heap.free(address)
    assert heap.allocate(5).address == 0  # nothing was left to go on at: from the front
    assert heap.allocate(18).address == 40  # 15 are left at 5, too few
    first = heap.allocate(15)  # on from 58: 2 are left there, then 80
    assert (first.address, first.searched) == (80, [Chunk(58, 2), Chunk(80, 20)])
    again = heap.allocate(10)  # on from 95, and round to the front
    assert (again.address, again.searched) == (5, [Chunk(95, 5), Chunk(5, 15)])


actions = st.lists(st.tuples(st.integers(1, 30), st.none() | st.integers(0, 99)), max_size=50)
heaps = st.fixed_dictionaries(
    {
        "size": st.integers(1, 200),
        "base": st.sampled_from([0, 1000]),
        "fit": st.sampled_from([*FITS]),
        "order": st.sampled_from([*ORDERS]),
        "coalesce": st.booleans(),
        "header": st.sampled_from([0, 4]),
        "align": st.sampled_from([1, 8]),
    }
)


def check_promises(heap, size, actions, fit=None):
    fit = fit or heap.fit
    whole = heap.free_chunks[0]
    for wanted, choice in actions:
        taken = list(heap.taken)
        if choice is None or not taken:
            before, done = list(heap.free_chunks), heap.allocate(wanted)
            fitting = [chunk for chunk in before if chunk.size >= done.needed]
            assert (done.address is None) == (not fitting)
            if done.address is not None:
                assert done.chunk.size == done.needed >= wanted + heap.header
                assert done.address + wanted <= done.chunk.end
                assert done.found in fitting
                if fit == "best":
                    assert done.found.size == min(chunk.size for chunk in fitting)
                if fit == "worst":
                    assert done.found.size == max(chunk.size for chunk in before)
        else:
            heap.free(taken[choice % len(taken)])
        chunks = sorted([*heap.free_chunks, *heap.taken.values()])
        assert chunks[0].start == whole.start
        assert chunks[-1].end == whole.end  # no byte is lost, and none has two owners:
        assert all(a.end == b.start for a, b in pairwise(chunks))
        assert heap.free_bytes == size - sum(chunk.size for chunk in heap.taken.values())
        if heap.order == "address":
            assert heap.free_chunks == sorted(heap.free_chunks)
            if heap.coalesce:
                free = heap.free_chunks
                assert all(a.end < b.start for a, b in pairwise(free))


@given(options=heaps, actions=actions)
def test_bytes_are_conserved_and_neighbours_joined(options, actions):
    check_promises(FreeList(**options), options["size"], actions)


@given(options=heaps, actions=actions)
def test_when_all_is_given_back_the_heap_is_one_chunk_again(options, actions):
    heap = FreeList(**options | {"order": "address", "coalesce": True})
    fresh = list(heap.free_chunks)
    for wanted, _ in actions:
        heap.allocate(wanted)
    for address in sorted(heap.taken, key=lambda a: a % 7):
        heap.free(address)
    assert heap.free_chunks == fresh
    assert heap.fragmentation() == 0


HOLES = [(10, None)] * 6 + [(1, 0), (1, 1), (1, 1), (5, None)]


def test_without_joining_neighbours_stay_apart(monkeypatch):
    """The mutation: coalescing does nothing."""
    monkeypatch.setattr(FreeList, "_join", lambda self: None)
    with pytest.raises(AssertionError):
        check_promises(FreeList(100), 100, HOLES)


def test_first_fit_breaks_the_promise_of_worst_fit():
    """The mutation: a fit takes what another one would take."""
    with pytest.raises(AssertionError):
        check_promises(FreeList(100, fit="first"), 100, HOLES, fit="worst")


def test_an_answer_says_why():
    heap = FreeList(60, base=1000, fit="best")
    first, _, third = (heap.allocate(20) for _ in range(3))
    heap.free(first.address)
    assert heap.free(third.address).reason == "put in its place"
    assert heap.allocate(12).reason == "1000+20 is the smallest that is large enough, of 2"
    assert heap.allocate(25).reason == "25 bytes are wanted; 28 are free, but the largest piece has 20"
    assert heap.allocate(99).reason == "99 bytes are wanted, and only 28 are free"
    assert FreeList(5).allocate(5).reason == "0+5 is the first that is large enough, and used up"
    assert heap.fragmentation() == pytest.approx(8 / 28)
    back = heap.free(1000)
    assert (back.chunk, back.joined) == (Chunk(1000, 12), Chunk(1000, 20))
    assert back.reason == "now part of 1000+20"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fit": "bets"}, 'did you mean "best"'),
        ({"order": "addres"}, 'did you mean "address"'),
        ({"align": 0}, "at least 1"),
        ({"header": -1}, "at least 0"),
    ],
)
def test_bad_options_name_the_cure(options, says):
    with pytest.raises(LlmosError) as error:
        FreeList(100, **options)
    assert says in str(error.value)


def test_what_is_not_taken_cannot_be_given_back():
    heap = FreeList(100)
    address = heap.allocate(5).address
    heap.free(address)
    with pytest.raises(LlmosError, match="nothing is taken at 0"):
        heap.free(address)
    with pytest.raises(LlmosError, match="cannot be taken"):
        heap.allocate(0)
