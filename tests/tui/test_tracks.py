"""The rows of the chart against the spans and sums of the state, which come from another fold."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.trace import events as ev
from llmos.trace.records import Mode
from llmos.trace.state import State
from llmos.tui import tracks as module
from llmos.tui.palette import TASKS
from llmos.tui.tracks import Cell, Tracks


def folds(events):
    tracks, state = Tracks(), State(keep_spans=True)
    for event in events:
        tracks.apply(event)
        state.apply(event)
    return tracks, state


@settings(max_examples=40)
@given(st.data())
def test_every_nanosecond_of_a_core_is_filled_as_the_state_says(any_machine, events_of, data):
    spec = replace(data.draw(any_machine), requests=[])  # they take long
    tracks, state = folds(events_of(spec))
    for track in tracks.tracks.values():
        if not track.is_core:
            continue
        fills = [cell.fill for cell in tracks.cells(track.rows[0], 0, 1, state.now, state.now)]
        expected = [None] * state.now
        for span in state.spans:
            if span.cpu == track.processor.id:
                expected[span.start_ns : span.end_ns] = [span.pid] * (span.end_ns - span.start_ns)
        assert [fill if not isinstance(fill, Mode) else None for fill in fills] == expected
        spent = state.processors[track.processor.id].spent_ns
        for mode in (Mode.KERNEL, Mode.SWITCH, Mode.IDLE):
            assert fills.count(mode) == spent[mode]


@settings(max_examples=40)
@given(st.data())
def test_the_slots_of_an_engine_hold_whom_the_state_has_on_it(any_machine, events_of, data):
    tracks, state = folds(events_of(data.draw(any_machine)))
    (track,) = (track for track in tracks.tracks.values() if not track.is_core)
    step = max(state.now // 40, 1)
    load = tracks.load(track, 0, step, 40, state.now)
    for i in range(40):
        t = i * step
        if t >= state.now:
            assert load[i] == -1
            continue
        there = [tracks.cells(row, t, 1, 1, state.now)[0].fill for row in track.rows]
        pids = [pid for pid in there if not isinstance(pid, Mode)]
        spans = [s.pid for s in state.spans if s.cpu == track.processor.id and s.start_ns <= t < s.end_ns]
        assert sorted(pids) == sorted(spans)
        assert load[i] == len(pids)
        assert len(track.rows) <= track.processor.slots


@settings(max_examples=40)
@given(st.data(), st.integers(2, 40))
def test_what_is_left_of_a_time_does_not_depend_on_what_comes_after(any_machine, events_of, data, cell_ns):
    """Rewinding needs no other fold: the rows of a cut-off log are those of the whole one, cut off."""
    events = events_of(data.draw(any_machine))
    k = data.draw(st.integers(1, len(events)))
    t = events[k - 1].t
    early, _ = folds(event for event in events if event.t <= t)
    whole, _ = folds(events)
    count = -(-t // cell_ns)
    for cpu, track in early.tracks.items():
        for mine, row in zip(track.rows, whole.tracks[cpu].rows, strict=False):
            assert early.cells(mine, 0, cell_ns, count, t) == whole.cells(row, 0, cell_ns, count, t)


@settings(max_examples=40)
@given(st.data(), st.integers(2, 40))
def test_cells_that_are_kept_are_those_that_a_fresh_look_gives(any_machine, events_of, data, cell_ns):
    """However the cursor moved while the log grew, and at whatever scale it was looked at before."""
    events = events_of(data.draw(any_machine))
    watched = Tracks()
    for event in events:
        watched.apply(event)
        until = data.draw(st.integers(0, event.t)) if event.t % 3 else event.t
        for track in watched.tracks.values():
            for row in track.rows:
                watched.cells(row, 0, cell_ns + until % 2, 60, until)
    fresh, state = folds(events)
    for cpu, track in fresh.tracks.items():
        for mine, row in zip(watched.tracks[cpu].rows, track.rows, strict=True):
            seen = watched.cells(mine, 0, cell_ns, 60, state.now)
            assert seen == fresh.cells(row, 0, cell_ns, 60, state.now)


def test_a_cell_shows_who_had_most_of_it_and_who_else_ran():
    header = ev.Run(0, processors=[ev.Processor(0, "core", "rr")])
    events = [header]
    for start, end, pid in [(0, 6, 1), (6, 10, 2), (12, 16, 1), (20, 22, 1), (22, 30, 3)]:
        events += [ev.Dispatch(start, 0, pid), ev.Preempt(end, 0, pid)]
    tracks = Tracks()
    for event in events:
        tracks.apply(event)
    row = tracks.tracks[0].rows[0]
    assert tracks.cells(row, 0, 10, 4, 28) == [Cell(1, 2), Cell(Mode.IDLE, 1), Cell(3), Cell(None)]
    assert tracks.cells(row, 20, 20, 1, 40) == [Cell(Mode.IDLE, 3)]
    assert tracks.cells(row, 0, 30, 1, 30) == [Cell(1, 3)]


def test_a_crowded_cell_shows_its_beginning(monkeypatch):
    """Only the first pieces are looked at; the rest of the cell must not pass for idle."""
    monkeypatch.setattr(module, "LOOK", 3)
    tracks = Tracks()
    tracks.apply(ev.Run(0, processors=[ev.Processor(0, "core", "rr")]))
    for t in range(100):
        tracks.apply(ev.Dispatch(t, 0, t % 2))
        tracks.apply(ev.Preempt(t + 1, 0, t % 2))
    assert tracks.cells(tracks.tracks[0].rows[0], 0, 100, 1, 100) == [Cell(0, 1)]


def test_a_job_that_is_given_up_leaves_its_core():
    header = ev.Run(0, processors=[ev.Processor(0, "core", "edf")])
    story = [ev.Arrive(0, task=1, name="A"), ev.Release(0, task=1, job=1, deadline=4), ev.Dispatch(0, 0, 1)]
    tracks, state = folds([header, *story, ev.Abort(4, 0, 1, job=1), ev.End(9)])
    fills = [cell.fill for cell in tracks.cells(tracks.tracks[0].rows[0], 0, 1, 9, 9)]
    assert fills == [1] * 4 + [Mode.IDLE] * 5
    assert state.processors[0].spent_ns[Mode.USER] == 4


def test_a_task_has_the_name_of_the_program_that_it_is_at_the_time():
    tracks, _ = folds([ev.Run(0), ev.Arrive(0, task=1, name="sh"), ev.Exec(5, task=1, name="ls")])
    assert [tracks.name(1, t) for t in (0, 4, 5, 9)] == ["sh", "sh", "ls", "ls"]
    assert tracks.name(2, 3) == "2"


def test_marks_are_letters_of_the_names_and_differ_while_there_are_any():
    tracks = Tracks()
    for pid, name in enumerate(["editor", "job1", "job2", "exim", "job2"]):
        tracks.apply(ev.Arrive(0, task=pid, name=name))
    assert list(tracks.marks.values()) == ["e", "1", "2", "x", "j"]
    for pid in range(5, 62):
        tracks.apply(ev.Arrive(0, task=pid, name="job1"))
    assert len(set(tracks.marks.values())) == 62
    tracks.apply(ev.Arrive(0, task=62, name="job1"))
    assert tracks.marks[62]


def test_marks_and_colours_of_tasks_that_are_over_are_given_out_again():
    tracks = Tracks()
    for pid in range(200):
        tracks.apply(ev.Arrive(pid, task=pid, name=f"job{pid}"))
        alive = range(max(pid - 6, 0), pid + 1)
        assert len({tracks.marks[p] for p in alive}) == len(alive)
        assert len({tracks.colours[p] for p in alive}) == len(alive)
        if pid >= 6:
            for _ in range(2):  # a forged log may end a task twice
                tracks.apply(ev.Exit(pid, 0, pid - 6))
    assert set(tracks.colours.values()) == set(range(module.COLOURS)) == set(range(len(TASKS)))


@pytest.mark.parametrize("name", ["", "日本", "\x1b[2J", " "])
def test_any_name_gets_a_mark_that_can_be_printed(name):
    tracks = Tracks()
    tracks.apply(ev.Arrive(0, task=1, name=name))
    assert tracks.marks[1].isascii()
    assert tracks.marks[1].isprintable()
