"""Answers that were computed by others: OSTEP's homework, libCacheSim, textbooks."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from llmos.replacement.clock import Clock
from llmos.replacement.fifo import Fifo
from llmos.replacement.lfu import Lfu
from llmos.replacement.lru import Lru
from llmos.replacement.mru import Mru
from llmos.replacement.opt import Opt
from llmos.replacement.ostep_clock import OstepClock
from llmos.replacement.places import Places
from llmos.replacement.rand import RandomChoice

ORACLES = Path(__file__).parents[1] / "oracles"


def document(name):
    return json.loads((ORACLES / name).read_text())


def cases(name, policies):
    found = [case for case in document(name)["cases"] if {"policy", "refs"} <= case["input"].keys()]
    return [
        pytest.param(case, id=f"{case['id']}-{case['input']['policy']}")
        for case in found
        if case["input"]["policy"] in policies
    ]


def filled(policy, frames, refs):
    """Places that have not been referred to yet, under a policy that knows the future if it must."""
    if policy.offline:
        policy.foresee(refs)
    return Places(frames, policy)


def outcome(policy, frames, refs):
    places = filled(policy, frames, refs)
    return "".join("H" if places.refer(key).hit else "M" for key in refs)


# --- OSTEP, chapter 22 --------------------------------------------------------------------------------

OSTEP = {
    "FIFO": lambda _: Fifo(),
    "LRU": lambda _: Lru(),
    "MRU": lambda _: Mru(),
    "OPT": lambda _: Opt(),
    "UNOPT": lambda _: Opt(worst=True),
    "RAND": lambda given: RandomChoice(Random(0), draws=given["random_draws"]),
    "CLOCK": lambda given: OstepClock(Random(0), given["clockbits"], draws=given["random_draws"]),
}


def memory(places, policy):
    """The list that the homework prints: in the order of loading, or of use where that decides."""
    if policy not in ("LRU", "MRU"):
        return list(places.resident)
    shown = [key for key, _ in places.policy.show()[""]]
    return shown if policy == "LRU" else shown[::-1]


@pytest.mark.parametrize("case", cases("ostep_page_replacement.json", OSTEP))
def test_ostep(case):
    given, expected = case["input"], case["expected"]
    places = filled(OSTEP[given["policy"]](given), given["frames"], given["refs"])
    hits, victims, after = "", [], []
    for key in given["refs"]:
        done = places.refer(key)
        hits += "H" if done.hit else "M"
        victims.append(done.victim)
        after.append(memory(places, given["policy"]))
    assert hits == expected["outcome"]
    assert victims == expected["victims"]
    assert after == expected["memory_after"]


@pytest.mark.parametrize("case", cases("ostep_page_replacement.json", ["RAND", "CLOCK"]))
def test_ostep_from_its_seed(case):
    """The homework draws from Python's own stream, one number for each lot, as the policies do."""
    given, dice = case["input"], Random(case["input"]["seed"])
    policy = RandomChoice(dice) if given["policy"] == "RAND" else OstepClock(dice, given["clockbits"])
    assert outcome(policy, given["frames"], given["refs"]) == case["expected"]["outcome"]


def test_every_ostep_case_is_covered():
    known = document("ostep_page_replacement.json")["cases"]
    assert len(cases("ostep_page_replacement.json", OSTEP)) == len(known)


# --- libCacheSim --------------------------------------------------------------------------------------

LIBCACHESIM = {
    "FIFO": Fifo,
    "LRU": Lru,
    "MRU": Mru,
    "LFU": Lfu,
    "Clock": Clock,
    "Clock1": Clock,
    "Clock2": lambda: Clock(bits=2),
    "Belady": Opt,
}


@pytest.mark.parametrize("case", cases("libcachesim_replacement.json", LIBCACHESIM))
def test_libcachesim(case):
    given = case["input"]
    policy = LIBCACHESIM[given["policy"]]()
    assert outcome(policy, given["frames"], given["refs"]) == case["expected"]["outcome"]


def trace(name):
    """The references of a trace of libcachesim_traces.json, by the recipe that it gives."""
    if name == "loop_20k":
        return [i % 500 + 1 for i in range(20_000)]
    if name == "phases_20k":
        rng = np.random.default_rng(3)
        return np.concatenate([150 * k + rng.integers(1, 201, 1000) for k in range(20)]).tolist()
    return document("libcachesim_traces.json")["traces"][name]


MISSES = {
    (name, policy): misses
    for name, answers in document("libcachesim_traces.json")["misses"].items()
    for policy, misses in answers.items()
}
TRACED = {"FIFO": Fifo, "LRU": Lru, "CLOCK": Clock, "LFU": Lfu, "Belady": Opt}


@pytest.mark.parametrize(("name", "policy"), [which for which in MISSES if which[1] in TRACED])
def test_libcachesim_traces(name, policy):
    refs = trace(name)
    missed = {size: outcome(TRACED[policy](), int(size), refs).count("M") for size in MISSES[name, policy]}
    assert missed == MISSES[name, policy]


# --- textbooks ----------------------------------------------------------------------------------------

BOOK = {"FIFO": Fifo, "OPT": Opt, "LRU": Lru}


@pytest.mark.parametrize("case", cases("textbook_known_answers.json", BOOK))
def test_textbook(case):
    given = case["input"]
    missed = outcome(BOOK[given["policy"]](), given["frames"], given["refs"]).count("M")
    assert missed == case["expected"]["faults"]


def test_beladys_anomaly():
    """Silberschatz: one frame more, one fault more."""
    refs = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    missed = [outcome(Fifo(), frames, refs).count("M") for frames in range(1, 6)]
    assert missed == [12, 12, 9, 10, 5]
