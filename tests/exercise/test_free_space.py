"""Topics freespace and buddy: the answers of others and by hand, through the exercises."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.exercise.buddy import BuddyTopic
from llmos.exercise.freespace import FreeSpace

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
def test_ostep_requests_as_an_exercise(case):
    given, ops = case["input"], case["expected"]["ops"]
    posed = FreeSpace().pose(
        1,
        {
            "fit": (given["policy"].lower(),),
            "order": ORDER[given["list_order"]],
            "no_coalescing": not given["coalesce"],
            "size": given["heap"],
            "base": given["base"],
            "header": given["header"],
            "align": max(1, given["align"]),
            "do": [f"+{op['size']}" if op["op"] == "alloc" else f"-{op['ptr']}" for op in ops],
        },
    )
    [solved] = posed.solve().data["fits"]
    for op, answer in zip(ops, solved["requests"], strict=True):
        assert answer["free"] == op["freelist"]
        if op["op"] == "alloc":
            failed = -1 + given["header"]
            assert (answer["address"] or failed, answer["searched"]) == (op["returned"], op["searched"])


def test_a_fit_that_fails_has_nothing_to_give_back():
    """Worst fit cuts the 60 that p3 needs; first fit does not. Giving p3 back is no error for it."""
    do = ["+30", "+10", "-0", "+20", "+50", "-3"]
    data = FreeSpace().pose(1, {"fit": ("first", "worst"), "do": do}).solve().data["fits"]
    assert [fit["requests"][4]["address"] for fit in data] == [1040, None]
    assert data[1]["requests"][5]["reason"] == "nothing was taken"


def test_blocks_are_halved_and_joined_by_hand():
    """16 frames: A=3 halves 16, 8 and gets 0-3; B=1 halves 4 and 2; giving both back joins all."""
    posed = BuddyTopic().pose(1, {"order": 4, "do": ["A=3", "B=1", "C=9", "-A", "-C", "-B"]})
    data = posed.solve().data
    assert [answer["block"] for answer in data["requests"]] == [[0, 2], [4, 0], None, [0, 2], None, [4, 0]]
    assert [answer["orders"] for answer in data["requests"]] == [
        [4, 3, 2],
        [2, 1, 0],
        [],
        [2],
        [],
        [0, 1, 2, 3, 4],
    ]
    assert data["requests"][1]["free"] == [[5, 0], [6, 1], [8, 3]]
    assert (data["free"], data["free_frames"], data["waste_frames"]) == ([[0, 4]], 16, 0)


@given(seed=st.integers(0, 10**6), order=st.integers(2, 6), requests=st.integers(1, 26))
def test_every_buddy_exercise_can_be_solved(seed, order, requests):
    posed = BuddyTopic().pose(seed, {"order": order, "requests": requests})
    data = posed.solve().data
    assert len(data["requests"]) == requests
    assert BuddyTopic().pose(1, {"order": order, "do": posed.data["requests"]}).solve().data == data


@given(seed=st.integers(0, 10**6), requests=st.integers(1, 60), align=st.sampled_from([1, 8]))
def test_every_free_space_exercise_can_be_solved(seed, requests, align):
    options = {"fit": ("first", "best", "worst", "next"), "align": align}
    posed = FreeSpace().pose(seed, options | {"requests": requests})
    again = FreeSpace().pose(seed, options | {"do": posed.data["requests"]})
    assert again.solve().data == posed.solve().data
