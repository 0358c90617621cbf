"""What the policies say and show, and small things worked out by hand."""

from random import Random

import pytest

from llmos.replacement.aging import Aging
from llmos.replacement.clock import Clock
from llmos.replacement.lfu import Lfu
from llmos.replacement.lru_k import LruK
from llmos.replacement.mfu import Mfu
from llmos.replacement.nru import Nru
from llmos.replacement.opt import Opt
from llmos.replacement.ostep_clock import OstepClock
from llmos.replacement.rand import RandomChoice
from llmos.replacement.second_chance import SecondChance
from llmos.replacement.wsclock import WSClock


def loaded(policy, *keys):
    """`policy` after these references; the first one to each key loads it, and "a!" writes."""
    known = set()
    for text in keys:
        key = text.rstrip("!")
        tell = policy.accessed if key in known else policy.inserted
        tell(key, write=text.endswith("!"))
        known.add(key)
    return policy


SAYS = [
    # a was used 3 times, b and c twice, b longer ago
    (loaded(Lfu(), *"abcabca"), "b", "fewest uses, 2", {"": [("b", "2x"), ("c", "2x"), ("a", "3x")]}),
    (loaded(Mfu(), *"abcabca"), "a", "most uses, 3", {"": [("a", "3x"), ("b", "2x"), ("c", "2x")]}),
    # 0.7 * 3 = 2.1: number 2
    (
        loaded(RandomChoice(Random(0), draws=[0.7]), *"abc"),
        "c",
        "drawn: number 2 of 3, counted from 0",
        {"": [("a", ""), ("b", ""), ("c", "")]},
    ),
    # c pays, then a pays, then c has nothing left
    (
        loaded(OstepClock(Random(0), draws=[0.7, 0.1, 0.8]), *"abc"),
        "c",
        "drawn: number 2 of 3, counted from 0; it has nothing left",
        {"": [("a", "0"), ("b", "1"), ("c", "0")]},
    ),
    # the hand passes a and stands at b
    (
        loaded(Clock(), *"abca"),
        "b",
        "not used since the hand came by",
        {"from the hand": [("b", "0"), ("c", "0"), ("a", "0")]},
    ),
    # all are used; after a round in which b was written, c is the first clean one
    (
        loaded(SecondChance(), "a!", "b!", "c"),
        "c",
        "not used since the hand came by, clean",
        {"from the hand": [("c", "(0, 0)"), ("a", "(0, 1)"), ("b", "(0, 1)")]},
    ),
    # the bits are cleared after 4 references, then c is used
    (
        loaded(Nru(period=4), "a!", "b!", "b", "c", "c"),
        "a",
        "first of class 1: not used, dirty",
        {
            "class 0: not used, clean": [],
            "class 1: not used, dirty": [("a", ""), ("b", "")],
            "class 2: used, clean": [("c", "")],
            "class 3: used, dirty": [],
        },
    ),
    # periods: a b | a c | a: b was used two periods ago, c one
    (
        loaded(Aging(bits=3, period=2), *"abaca"),
        "b",
        "lowest counter, 0 010",
        {"": [("b", "0 010"), ("c", "0 100"), ("a", "1 110")]},
    ),
    (
        loaded(Aging(period=2, shift=False), *"abaca"),
        "b",
        "lowest counter, 1",
        {"": [("b", "1"), ("c", "1"), ("a", "3")]},
    ),
    # all seen in use at 3
    (
        loaded(WSClock(tau=5), "a!", "b", "c"),
        "b",
        "all are in the working set; it is clean",
        {"from the hand": [("b", "age 0, clean"), ("c", "age 0, clean"), ("a", "age 0, dirty")]},
    ),
    (
        loaded(LruK(3), *"abcac"),
        "b",
        "used fewer than 2 times, and least recently of these",
        {"": [("b", "2, never"), ("a", "4, 1"), ("c", "5, 3")], "ghosts": []},
    ),
]


@pytest.mark.parametrize(("policy", "victim", "reason", "shown"), SAYS, ids=lambda p: type(p).__name__)
def test_it_says_why(policy, victim, reason, shown):
    assert policy.victim() == victim
    assert policy.reason(victim) == reason
    assert policy.show() == shown


def test_lru_k_says_how_far_back_the_uses_go():
    policy = loaded(LruK(2), *"abab")
    assert (policy.victim(), policy.reason("a")) == ("a", "its last 2 uses go back farthest, to reference 1")


def test_who_is_spared_keeps_its_second_chance():
    policy = loaded(Clock(), *"abcabc")
    assert policy.victim({"a"}) == "b"
    assert dict(policy.show()["from the hand"])["a"] == "1"


def test_lots_fall_on_the_next_one_if_who_is_drawn_is_spared():
    policy = loaded(RandomChoice(Random(0), draws=[0.7, 0.7]), *"abc")
    assert policy.victim({"c"}) == "a"
    assert policy.victim({"c", "a"}) == "b"


def test_after_the_last_given_draw_the_stream_decides():
    stream = Random(5)
    expected = "abcdefgh"[int(stream.random() * 8)]
    policy = loaded(RandomChoice(Random(5), draws=[0.5]), *"abcdefgh")
    assert (policy.victim(), policy.victim()) == ("e", expected)


def test_lfu_counts_anew_when_a_page_comes_back():
    policy = loaded(Lfu(), *"aaab")
    policy.evicted("a")
    policy.accessed("b")
    policy.inserted("a")
    assert policy.victim() == "a"


def test_what_was_written_back_is_clean():
    for policy in (SecondChance(), Nru(), WSClock()):
        loaded(policy, "a!", "b!", "c!")
        policy.cleaned("b")
        assert policy.victim() == "b"


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: Clock(bits=0), "bits"),
        (lambda: Clock(bits=17), "bits"),
        (lambda: Nru(period=0), "period"),
        (lambda: Aging(period=0), "period"),
        (lambda: Aging(bits=0), "bits"),
        (lambda: WSClock(tau=-1), "tau"),
        (lambda: LruK(3, k=0), "k"),
        (lambda: LruK(3, correlated=-1), "correlated"),
        (lambda: LruK(3, history=-1), "history"),
        (lambda: Opt(ties="best"), "ties"),
        (lambda: RandomChoice(Random(0), draws=[1.0]), "draws"),
        (lambda: OstepClock(Random(0), clockbits=0), "clockbits"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name(make, parameter):
    with pytest.raises(ValueError, match=f"^{parameter}: "):
        make()
