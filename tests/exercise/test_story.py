"""What is told of a run: decisions, and what fills each tick."""

from llmos.exercise import kinds
from llmos.exercise.problem import Posed, Problem
from llmos.exercise.story import Moment, by_tick, tell
from llmos.trace.records import Status

TICK = 10**6


def told(policy, *tasks, **more):
    found = kinds.find(policy)
    posed = Posed(found, {"policy": found.name, **found.given})
    tables = [{"name": name, "arrival": at, "burst": burst} for name, at, burst in tasks]
    return tell(Problem(seed=1, policies=[posed], tasks=tables, **more).toml(), "told")


def test_a_decision_says_who_why_for_how_long_and_what_then():
    story = told("srtf", ("A", 0, 5), ("B", 2, 1), ("C", 2, 4))
    rows = [
        (d.t // TICK, story.name(d.pid), story.queue(d), (d.end - d.t) // TICK, d.then)
        for d in story.decisions
    ]
    assert rows == [
        (0, "A", "-", 2, "preempted"),
        (2, "B", "A 3 ms, C 4 ms", 1, "done"),
        (3, "A", "C 4 ms", 3, "done"),
        (6, "C", "-", 4, "done"),
    ]
    assert story.decisions[1].why == "least work left, 1 ms"


def test_a_quantum_that_changes_nothing_is_not_told():
    story = told("rr quantum=2", ("A", 0, 7), ("B", 4, 1))
    assert [(story.name(d.pid), d.t // TICK, d.end // TICK, d.then) for d in story.decisions] == [
        ("A", 0, 4, "quantum over"),
        ("B", 4, 5, "done"),
        ("A", 5, 8, "done"),
    ]


def test_a_quantum_is_told_when_somebody_has_come():
    """By this convention A queues up before B, which comes at that instant, and goes on."""
    story = told("rr quantum=2", ("A", 0, 5), ("B", 2, 1), convention="ostep")
    assert [(story.name(d.pid), d.t // TICK, story.queue(d)) for d in story.decisions] == [
        ("A", 0, "-"),
        ("A", 2, "B"),
        ("B", 4, "A"),
        ("A", 5, "-"),
    ]


def test_a_quantum_after_which_somebody_still_waits_is_told():
    story = told("stride quantum=1", ("A", 0, 2), ("B", 0, 1))
    assert [story.name(d.pid) for d in story.decisions] == ["A", "B", "A"]
    story = told("mlfq quantum=[1, 1] levels=2 boost=0", ("A", 0, 3))
    assert [d.why.split(",")[1] for d in story.decisions] == [" 0", " 1"]


def moment(start, end, pid):
    return Moment(start, end, {pid: Status.RUNNING}, {pid: 0}, {})


def test_a_tick_shows_what_fills_the_larger_part_of_it():
    moments = [
        moment(0, 4 * TICK // 10, 1),
        moment(4 * TICK // 10, TICK, 2),
        moment(TICK, TICK + 1, 3),
        moment(TICK + 1, 2 * TICK + 2, 4),
    ]
    assert [[*m.core] for m in by_tick(moments)] == [[2], [4], [4]]
    assert [*by_tick([])] == []
