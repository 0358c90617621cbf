"""Forks: trees that were drawn by hand, and what Unix promises about parents, zombies and orphans."""

import pytest

from llmos.errors import LlmosError, ScenarioError
from llmos.exercise.base import topics
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.trace import events as ev


def pose(seed=1, **options):
    return topics()["forks"]().pose(seed, options)


def steps(text):
    """What everybody is after each action: name -> (parent, state), without those who are gone."""
    told = pose(do=text).solve().data["steps"]
    return [
        {
            p["name"]: (p["parent"], "orphan" if p["orphan"] else p["is"])
            for p in step["processes"]
            if p["is"] != "gone"
        }
        for step in told
    ]


def test_a_zombie_is_there_until_its_parent_waits():
    assert steps("A forks B, B exits, A waits") == [
        {"A": ("init", "alive"), "B": ("A", "alive")},
        {"A": ("init", "alive"), "B": ("A", "zombie")},
        {"A": ("init", "alive")},
    ]


def test_who_waits_first_is_blocked_and_no_zombie_is_left():
    assert steps("A forks B, A waits, B exits, A forks C")[1:] == [
        {"A": ("init", "waits"), "B": ("A", "alive")},
        {"A": ("init", "alive")},
        {"A": ("init", "alive"), "C": ("A", "alive")},
    ]


def test_an_orphan_is_init_s_child_and_never_a_zombie():
    assert steps("A forks B, B forks C, B exits, C forks D, C exits")[2:] == [
        {"A": ("init", "alive"), "B": ("A", "zombie"), "C": ("init", "orphan")},
        {"A": ("init", "alive"), "B": ("A", "zombie"), "C": ("init", "orphan"), "D": ("C", "alive")},
        {"A": ("init", "alive"), "B": ("A", "zombie"), "D": ("init", "orphan")},
    ]


def test_the_zombies_of_who_exits_are_gone():
    assert steps("A forks B, B forks C, C exits, B exits")[3] == {
        "A": ("init", "alive"), "B": ("A", "zombie"),
    }  # fmt: skip


def test_a_wait_is_for_the_oldest_zombie():
    assert steps("A forks B, A forks C, C exits, B exits, A waits")[4] == {
        "A": ("init", "alive"), "B": ("A", "zombie"),
    }  # fmt: skip


def test_the_tree_is_drawn():
    data = pose(do="A forks B, B forks C, B forks D, A forks E, E forks F, C exits, E exits").solve().data
    assert data["steps"][-1]["tree"] == [
        "init",
        "+- A",
        "|  +- B",
        "|  |  +- C (zombie)",
        "|  |  +- D",
        "|  +- E (zombie)",
        "+- F (orphan)",
    ]
    assert [p["pid"] for p in data["steps"][-1]["processes"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(25))
def test_every_action_happens_at_its_time_also_with_llmos_run(seed):
    posed = pose(seed, forks=seed * 4, actions=12)
    events = []
    outcome = run(build(load_text(posed.toml)), [lambda new, _data=b"": events.extend(new)])
    assert outcome.ok
    names = {e.task: e.name for e in events if isinstance(e, ev.Arrive)}
    seen = {}
    for e in events:
        t = e.t // 10**6
        match e:
            case ev.Arrive() if e.parent != -1:
                seen.setdefault(t, set()).add(f"{names[e.parent]} forks {e.name}")
            case ev.Exit():
                seen.setdefault(t, set()).add(f"{names[e.task]} exits")
            case ev.Syscall(name="wait"):
                seen.setdefault(t, set()).add(f"{names[e.task]} waits")
            case _:
                pass
    for t, action in enumerate(posed.data["actions"], start=1):
        assert action.endswith("waits") or seen.pop(t) == {action}
    assert set(seen) <= {len(posed.data["actions"]) + 1} | {
        t for t, action in enumerate(posed.data["actions"], start=1) if action.endswith("waits")
    }


@pytest.mark.parametrize("seed", range(10))
def test_who_is_where_follows_from_the_actions(seed):
    """Nobody is there twice; a child changes its parent only when that exits; an orphan keeps init."""
    before = {"A": ("init", "alive")}
    for step in pose(seed, actions=20).solve().data["steps"]:
        now = {p["name"]: (p["parent"], p["is"]) for p in step["processes"]}
        who, what, *child = step["action"].split()
        assert set(now) == set(before) | set(child)
        for name in before:
            if now[name][0] != before[name][0]:
                assert what == "exits" or now[name][1] == "gone"
                assert now[name][0] in ("init", "")
            assert before[name][1] != "gone" or now[name][1] == "gone"
        if what == "exits":
            assert now[who][1] == ("gone" if before[who][0] == "init" or waited(before, who) else "zombie")
        before = now


def waited(before, name):
    return before[before[name][0]][1] == "waits"


def test_an_orphan_can_wait_too():
    data = pose(do="A forks B, B forks C, C forks D, B exits, C waits").solve().data
    assert data["steps"][-1]["tree"] == [
        "init",
        "+- A",
        "|  +- B (zombie)",
        "+- C (orphan, waits)",
        "   +- D",
    ]


def test_the_trees_can_be_given_instead_of_the_actions():
    given = pose(4, trees=True)
    assert "actions" not in given.data
    assert given.toml == pose(4).toml
    assert given.data["trees"][1:] == [step["tree"] for step in pose(4).solve().data["steps"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A forks B, A forks B", 'action 2, "A forks B": there is a process B already'),
        ("A exits", "first process"),
        ("A forks B, A waits, A forks C", "waits for a child then"),
        ("A waits", "no child"),
        ("A forks B, C exits", "C does not live"),
        ("A spawns B", "is no action"),
        ("A forks init", "init is there"),
        (",", "none"),
        ("A forks B, B exits, A waits, " * 7, "too many"),
    ],
)
def test_actions_that_cannot_be_are_refused(text, says):
    with pytest.raises(LlmosError, match=says):
        pose(do=text)


def test_only_one_child_has_a_name_in_a_scenario():
    text = (
        'question = "?"\ntick = "1 ms"\n[programs.p]\nsteps = [{ compute = 1 }]\n'
        '[[task]]\nprogram = [{ fork = "p", %s }]\n'
    )
    outcome = run(build(load_text(text % 'name = "kid"')))
    assert [task.name for task in outcome.state.tasks.values()] == ["task1", "kid"]
    with pytest.raises(ScenarioError, match="that of one child"):
        load_text(text % 'name = "kid", count = 2')
