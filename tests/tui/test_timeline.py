"""The cursor in a log: wherever it came from, the state is the fold up to there."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.scenario.machine import run
from llmos.trace import events as ev
from llmos.trace.expand import expand
from llmos.trace.log import LogFile, read
from llmos.trace.state import State
from llmos.tui import timeline as module
from llmos.tui.source import LiveRun
from llmos.tui.timeline import Timeline


def state_of(events, t):
    """The state after `events`, with time accounted up to t: the fold itself, no cursor in sight."""
    state = State()
    state(events)
    state.advance(t)
    return state


@pytest.fixture(autouse=True)
def close_checkpoints(monkeypatch):
    """Small logs get many checkpoints."""
    monkeypatch.setattr(module, "EVERY", 7)
    monkeypatch.setattr(module, "BYTES_PER_EVENT", 10**9)
    monkeypatch.setattr(module, "NEAR", 2)


@settings(max_examples=40)
@given(st.data())
def test_the_state_at_every_event_is_the_fold_up_to_it(any_machine, events_of, dump, data):
    events = events_of(data.draw(any_machine))
    timeline = Timeline(events)
    for k in data.draw(st.permutations(range(len(events) + 1))):
        timeline.seek(k)
        assert timeline.k == k
        assert dump(timeline.state) == dump(state_of(events[:k], events[k - 1].t if k else 0))


@settings(max_examples=40)
@given(st.data())
def test_a_step_and_a_step_back_change_nothing(any_machine, events_of, dump, data):
    events = events_of(data.draw(any_machine))
    timeline = Timeline(events)
    number = data.draw(st.integers(0, len(timeline.steps) - 1))
    k = timeline.steps[number]
    timeline.seek(k)
    before = dump(timeline.state)
    timeline.step()
    assert timeline.number == number + 1
    assert timeline.event is events[k]
    timeline.back()
    assert (timeline.k, dump(timeline.state)) == (k, before)


def test_what_queues_look_like_belongs_to_the_step_before():
    drawing = [ev.Queue(0, 0, shelves=[("", [(n, "")])]) for n in range(3)]
    events = [ev.Run(0), ev.Dispatch(0, 0, 1), drawing[0], drawing[1], ev.Preempt(4, 0, 1), drawing[2]]
    timeline = Timeline(events)
    assert (timeline.next_switch(0), timeline.next_preemption(0)) == (4, 6)
    walked = [(timeline.step(), timeline.k, timeline.number)[1:] for _ in range(4)]
    assert walked == [(1, 1), (4, 2), (6, 3), (6, 3)]
    assert timeline.event is events[4]
    assert timeline.state.queues == {0: drawing[2].shelves}
    walked = [(timeline.back(), timeline.k, timeline.number)[1:] for _ in range(4)]
    assert walked == [(4, 2), (1, 1), (0, 0), (0, 0)]
    timeline.seek(3)  # a live run may stand between the two
    timeline.step()
    assert timeline.k == 6


@settings(max_examples=40)
@given(st.data())
def test_it_makes_no_difference_how_the_cursor_got_there(any_machine, events_of, dump, data):
    events = events_of(data.draw(any_machine))
    end = events[-1].t
    moves = st.one_of(
        st.just(("step", ())),
        st.just(("back", ())),
        st.tuples(st.just("at_time"), st.tuples(st.integers(0, end))),
        st.tuples(st.just("seek"), st.tuples(st.integers(0, len(events)))),
    )
    timeline = Timeline(events)
    for move, arguments in data.draw(st.lists(moves, max_size=30)):
        getattr(timeline, move)(*arguments)
    assert dump(timeline.state) == dump(state_of(events[: timeline.k], timeline.t))


@settings(max_examples=40)
@given(st.data())
def test_at_a_time_all_has_happened_that_happens_until_then(any_machine, events_of, dump, data):
    events = events_of(data.draw(any_machine))
    timeline = Timeline(events)
    for t in data.draw(st.lists(st.integers(0, events[-1].t), min_size=1, max_size=8)):
        timeline.at_time(t)
        past = [event for event in events if event.t <= t]
        assert (timeline.k, timeline.t) == (len(past), t)
        assert dump(timeline.state) == dump(state_of(past, t))


def test_between_two_events_a_step_back_goes_to_the_first_of_them():
    timeline = Timeline([ev.Run(0), ev.Tick(10), ev.Tick(30)])
    timeline.at_time(17)
    assert (timeline.k, timeline.t) == (2, 17)
    timeline.back()
    assert (timeline.k, timeline.t) == (2, 10)
    timeline.back()
    assert (timeline.k, timeline.t) == (1, 0)


def test_the_cursor_stays_inside_the_log():
    timeline = Timeline([ev.Run(0), ev.Tick(10)])
    timeline.seek(99)
    assert timeline.k == 2
    timeline.step()
    assert timeline.k == 2
    timeline.at_time(10**9)
    assert timeline.t == 10
    timeline.at_time(-5)
    assert (timeline.k, timeline.t) == (1, 0)
    timeline.seek(-1)
    timeline.back()
    assert (timeline.k, timeline.event) == (0, None)


def test_an_empty_timeline_can_be_walked():
    timeline = Timeline()
    for move in (timeline.step, timeline.back):
        move()
    timeline.at_time(5)
    assert (timeline.k, timeline.t, timeline.end_ns, timeline.complete) == (0, 0, 0, False)
    assert timeline.next_switch(0) is None


@settings(max_examples=40)
@given(st.data())
def test_the_next_switch_and_preemption_are_where_the_state_counts_one_more(any_machine, events_of, data):
    events = events_of(data.draw(any_machine))
    timeline = Timeline(events)
    switches, preemptions, state = [], [], State()
    for k, event in enumerate(events, start=1):
        before = Counter(
            s=sum(p.switches for p in state.processors.values()),
            p=sum(task.preemptions for task in state.tasks.values()),
        )
        state.apply(event)
        if sum(p.switches for p in state.processors.values()) > before["s"]:
            switches.append(k)
        if sum(task.preemptions for task in state.tasks.values()) > before["p"]:
            preemptions.append(k)
    assert [timeline.steps.index(k - 1) for k in switches] == _steps(timeline, timeline.next_switch)
    assert [timeline.steps.index(k - 1) for k in preemptions] == _steps(timeline, timeline.next_preemption)


def _steps(timeline, following):
    found = []
    for k in _walk(following):
        timeline.seek(k)
        found.append(timeline.number - 1)
    return found


def _walk(following):
    found, k = [], following(0)
    while k is not None:
        found.append(k)
        k = following(k)
    return found


@settings(max_examples=40)
@given(st.data())
def test_tokens_under_way_are_those_of_the_log_written_out(any_machine, events_of, data):
    """Inside a compact record the tokens are those of a fold over the single iterations."""
    events = events_of(data.draw(any_machine))
    timeline, single = Timeline(events), expand(events)
    for t in data.draw(st.lists(st.integers(0, events[-1].t), min_size=1, max_size=8)):
        timeline.at_time(t)
        more = timeline.under_way()
        shown = {pid: task.computed + more.get(pid, 0) for pid, task in timeline.state.tasks.items()}
        state = state_of([event for event in single if event.t <= t], t)
        assert shown == {pid: task.computed for pid, task in state.tasks.items()}


def test_the_last_iteration_of_a_record_is_over_when_the_record_comes():
    engine = ev.Processor(0, "engine", "fcfs", slots=1)
    timeline = Timeline(
        [
            ev.Run(0, processors=[engine]),
            ev.Arrive(0, task=1, world="request", prompt=1, output=9),
            ev.Dispatch(0, 0, 1),
            ev.Tick(30),
            ev.Iterate(30, 0, count=3, pace=(10.0, 0.0), decode=[1]),
        ]
    )
    timeline.at_time(29)
    assert timeline.under_way() == {1: 2}
    timeline.seek(4)  # after the tick, at 30 ns
    assert timeline.under_way() == {1: 2}
    timeline.step()
    assert (timeline.under_way(), timeline.state.tasks[1].computed) == ({}, 3)


def test_live_and_saved_give_the_same_states(desk, tmp_path, dump):
    path = tmp_path / "run.jsonl.gz"
    with LogFile(path) as file:
        run(desk, [file])
    saved, live, source = Timeline(read(path)), Timeline(), LiveRun(desk)
    try:
        while not source.done:
            live.extend(source.poll())
            live.seek(len(live) // 2)  # it can be looked at while it runs
    finally:
        source.close()
    assert live.events == saved.events
    for t in range(0, saved.end_ns, saved.end_ns // 50):
        saved.at_time(t)
        live.at_time(t)
        assert (live.k, dump(live.state)) == (saved.k, dump(saved.state))


def test_events_that_come_later_leave_the_cursor_alone(desk, events_of, dump):
    events = events_of(desk)
    timeline = Timeline(events[:100])
    timeline.at_time(events[60].t)
    before = (timeline.k, dump(timeline.state))
    timeline.extend(events[100:])
    assert (timeline.k, dump(timeline.state)) == before


def test_a_step_back_in_a_long_log_folds_only_what_lies_behind_a_checkpoint(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 100)
    monkeypatch.setattr(module, "NEAR", 10)
    timeline = Timeline([ev.Run(0), *(ev.Tick(t) for t in range(5000))])
    timeline.seek(4990)
    applied = []
    monkeypatch.setattr(module, "_apply", lambda state, event: applied.append(event.t))
    timeline.back()
    assert len(applied) == 89  # from 4900 to 4989
    applied.clear()
    timeline.back()
    assert len(applied) == 9  # from what the first step back left behind


FORGED = [
    ev.Dispatch(5, 7, 1),
    ev.Exit(5, 0, 99),
    ev.Wake(5, 0, 99),
    ev.Complete(5, 0, 1, job=3),
    ev.Miss(5, 0, 99, job=1),
    ev.Iterate(5, 9, decode=[99], prefill=[(98, 4)]),
    ev.Iterate(5, 0, decode=[99]),
    ev.FirstToken(5, 0, 99),
    ev.Interrupt(5, 44, cost_ns=3),
    ev.Abort(5, 0, 99, job=1),
    ev.Reap(5, 0, 99),
    ev.Exec(5, 0, 99, name="x"),
    ev.Change(5, 0, 99),
    ev.Migrate(5, 0, 99),
    ev.Tick(2),
]


@pytest.mark.parametrize("forged", FORGED, ids=ev.kind_of)
def test_an_event_that_makes_no_sense_is_a_violation_and_no_crash(forged, dump):
    header = ev.Run(0, processors=[ev.Processor(0, "core", "fcfs")])
    events = [header, ev.Arrive(3, task=1, name="A"), forged, ev.Dispatch(9, 0, 1), ev.End(12)]
    timeline = Timeline(events)
    timeline.seek(len(events))
    assert timeline.state.violations
    assert timeline.state.tasks[1].cpu_ns == 3
    after = dump(timeline.state)
    timeline.seek(2)
    assert not timeline.state.violations
    timeline.seek(len(events))
    assert dump(timeline.state) == after
