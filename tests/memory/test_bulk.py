"""The compiled loops answer as the policies themselves do, and as libCacheSim does."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import LlmosError
from llmos.memory import bulk
from llmos.replacement.places import Places
from llmos.scenario.policies import parse_choice, replacement_spec

CHOICES = [
    *bulk.NAMES,
    "clock bits=2",
    "clock bits=3 load_counts=true",
    "2q queue=0.5 ghosts=2.0",
    "s3-fifo small=0.3 ghosts=0.2 threshold=1",
    "slru segments=2",
    "lirs trial=0.3 ghosts=0.5",
]

NOBODY = np.zeros(0, np.int32)


def loop(text):
    """The name of a policy, and its parameters as the loops take them."""
    choice = parse_choice(text)
    name = choice.pop("policy")
    return name, {key: float(value) for key, value in choice.items()}


def by_the_policy(text, ids, capacity):
    policy = replacement_spec(text).make(capacity)
    references = ids.tolist()
    if policy.offline:
        policy.foresee(references)
    places = Places(capacity, policy)
    return [places.refer(key).hit for key in references]


@cache
def long_traces():
    """Zipf-like, uniform, moving with loops in between: (ids, count)."""
    dice = np.random.default_rng(11)
    moving = [50 * phase + dice.integers(0, 90, 300) for phase in range(8)]
    loops = [np.arange(400) % 75 for _ in range(4)]
    raw = [dice.zipf(1.15, 4000) % 300, dice.integers(0, 200, 4000), np.concatenate([*moving, *loops])]
    return [bulk.dense(trace) for trace in raw]


@pytest.mark.parametrize("text", CHOICES)
@settings(max_examples=40)
@given(drawn=st.binary(max_size=120), capacity=st.integers(1, 9))
def test_a_loop_hits_where_its_policy_hits(text, drawn, capacity):
    ids = np.frombuffer(drawn, np.uint8).astype(np.int32) % 13
    name, parameters = loop(text)
    assert bulk.hits(name, ids, 13, capacity, **parameters).tolist() == by_the_policy(text, ids, capacity)


@pytest.mark.parametrize("text", CHOICES)
def test_a_loop_hits_where_its_policy_hits_for_long(text):
    name, parameters = loop(text)
    for ids, count in long_traces():
        for capacity in (3, 20, 77):
            hits = bulk.hits(name, ids, count, capacity, **parameters)
            assert hits.tolist() == by_the_policy(text, ids, capacity), (count, capacity)
            assert bulk.misses(name, ids, count, capacity, **parameters) == len(ids) - hits.sum()


LIBCACHESIM = {
    "FIFO": "fifo", "LRU": "lru", "CLOCK": "clock", "ARC": "arc", "LFU": "lfu", "SIEVE": "sieve",
    "LIRS": "lirs", "TwoQ": "2q", "SLRU": "slru", "S3FIFO": "s3-fifo", "Belady": "opt",
}  # fmt: skip

OWN_COUNT = {("SLRU", "phases_20k"), ("LIRS", "phases_20k")}
"""Where the tool has its own way to count places (see the answers of the policies themselves)."""


@pytest.mark.parametrize("theirs", LIBCACHESIM)
def test_libcachesim_counts_as_many_misses(root, theirs):
    told = json.loads((root / "tests/oracles/libcachesim_traces.json").read_text(encoding="utf-8"))
    dice = np.random.default_rng(3)
    traces = {
        "loop_20k": np.arange(20_000) % 500 + 1,
        "belady_fifo_12": np.array(told["traces"]["belady_fifo_12"]),
        "phases_20k": np.concatenate([150 * k + dice.integers(1, 201, 1000) for k in range(20)]),
    }
    answers = [
        (trace, int(size), misses)
        for trace, policies in told["misses"].items()
        for size, misses in policies.get(theirs, {}).items()
        if (theirs, trace) not in OWN_COUNT
    ]
    assert answers
    for trace, size, misses in answers:
        assert bulk.misses(LIBCACHESIM[theirs], *bulk.dense(traces[trace]), size) == misses, (trace, size)


def test_more_places_than_ids_are_only_cold_misses():
    ids, count = bulk.dense([7, 7, 9, 7, 9])
    assert {name: bulk.misses(name, ids, count, 2**31) for name in bulk.NAMES} == dict.fromkeys(bulk.NAMES, 2)


def test_no_references_are_no_misses():
    assert [bulk.misses(name, [], 0, 4) for name in bulk.NAMES] == [0] * len(bulk.NAMES)


@given(references=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_dense_ids_count_from_the_first_appearance(references):
    ids, count = bulk.dense(np.array(references, np.int64))
    order = list(dict.fromkeys(references))
    assert count == len(order)
    assert ids.tolist() == [order.index(key) for key in references]


def test_the_table_of_numbers_grows():
    keys = np.random.default_rng(5).permutation(20_000).astype(np.uint64) << np.uint64(40)
    ids, count = bulk.dense(np.concatenate([keys, keys[::-1]]))
    assert count == 20_000
    assert (ids[:20_000] == np.arange(20_000)).all()
    assert (ids[20_000:] == np.arange(20_000)[::-1]).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bulk.hits("lrx", [0], 1, 1), 'did you mean "lru"'),
        (lambda: bulk.hits("clock", [0], 1, 1, bit=2), 'did you mean "bits"'),
        (lambda: bulk.hits("fifo", [0], 1, 1, bits=2), "it has: none"),
        (lambda: bulk.hits("fifo", [0], 1, 0), "1 or more"),
        (lambda: bulk.hits("fifo", [0, 1], 1, 1), "use dense"),
        (lambda: bulk.hits("fifo", [0, -1], 1, 1), "use dense"),
    ],
)
def test_what_a_loop_cannot_take_is_refused(call, says):
    with pytest.raises(LlmosError, match=says) as refused:
        call()
    assert "Traceback" not in str(refused.value)
