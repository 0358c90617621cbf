"""The pane with several views: the queues as policies draw them, what is shared, the processors."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.trace import events as ev
from llmos.trace.log import read
from llmos.trace.records import Mode, Status
from llmos.trace.state import fold
from llmos.tui import palette
from llmos.tui.chart import paint_chart
from llmos.tui.processors import shares
from llmos.tui.queues import shelves
from llmos.tui.shared import lasting
from llmos.tui.side import VIEWS, following, paint_side, wanted_lines
from llmos.tui.timeline import Timeline
from llmos.tui.view import View

TWO = [ev.Processor(0, "core", "mlfq", "cpu0"), ev.Processor(1, "core", "mlfq", "cpu1")]
ENGINE = ev.Processor(2, "engine", "rr", "engine", slots=4)


def arrivals(*names, world="process"):
    return [ev.Arrive(0, task=pid, name=name, world=world) for pid, name in enumerate(names, start=1)]


def view_of(events, **more):
    timeline = Timeline(events)
    timeline.seek(len(events))
    return View(timeline, **more)


def lines(view, side, width=80, height=8, offset=None):
    """The title and the lines of the pane that are not empty."""
    strips, _ = paint_side(replace(view, side=side), width, height, offset)
    return [text for text in (" ".join(strip.text.split()) for strip in strips) if text]


def body(view, side, width=80, height=8, offset=None):
    """The lines below the title; `height` counts only these."""
    return lines(view, side, width, height + 1, offset)[1:]


# --- queues -------------------------------------------------------------------------------------------


def test_a_shelf_is_a_heading_and_its_tasks_with_their_figures():
    drawing = [("level 0", [(2, "3 ms left"), (1, "1 ms left")]), ("level 1", [])]
    view = view_of([ev.Run(0, processors=TWO[:1]), *arrivals("A", "B"), ev.Queue(0, 0, shelves=drawing)])
    assert shelves(view.timeline.state) == [("level 0", drawing[0][1], 0), ("level 1", [], 0)]
    assert body(view, "queues") == ["level 0 B B 3 ms left A A 1 ms left", "level 1 nobody"]


def test_a_narrow_pane_has_the_heading_above_and_one_task_a_line():
    drawing = [("level 0", [(2, "3 ms left"), (1, "1 ms left")]), ("level 1", [])]
    view = view_of([ev.Run(0, processors=TWO[:1]), *arrivals("A", "B"), ev.Queue(0, 0, shelves=drawing)])
    text = body(view, "queues", width=24)
    assert text == ["level 0", "B B 3 ms left", "A A 1 ms left", "level 1: nobody"]


def test_queues_of_several_cores_are_called_by_their_cores():
    header = ev.Run(0, processors=[*TWO, ENGINE])
    drawn = [ev.Queue(0, cpu, shelves=[("", [(cpu + 1, "")])]) for cpu in (0, 1)]
    view = view_of([header, *arrivals("A", "B"), *drawn])
    assert body(view, "queues")[:3] == ["cpu0 A A", "cpu1 B B", "engine nobody"]


def test_without_drawings_the_ready_tasks_are_in_the_order_of_becoming_ready():
    events = [ev.Run(0, processors=TWO[:1]), *arrivals("A", "B"), ev.Dispatch(0, 0, 1), ev.Preempt(7, 0, 1)]
    assert shelves(view_of(events).timeline.state) == [("", [(2, "for 7 ns"), (1, "for 0 ns")], -1)]
    events = [ev.Run(0, processors=TWO[:1])]
    assert body(view_of(events), "queues") == ["nobody waits for a processor"]


def test_a_policy_that_draws_nothing_has_a_plain_queue():
    events = [ev.Run(0, processors=TWO[:1]), *arrivals("A"), ev.Queue(0, 0)]
    assert shelves(view_of(events).timeline.state) == [("", [(1, "for 0 ns")], -1)]


def test_who_came_after_the_last_drawing_is_listed_and_who_left_is_dim():
    drawing = ev.Queue(0, 0, shelves=[("", [(1, "pass 3")])])
    events = [ev.Run(0, processors=TWO[:1]), *arrivals("A"), drawing, ev.Dispatch(5, 0, 1)]
    view = view_of([*events, ev.Arrive(5, task=2, name="B")])
    assert shelves(view.timeline.state) == [("", [(1, "pass 3")], 0), ("just came", [(2, "arrival")], -1)]
    assert style_of("pass 3", view_of(events[:-1])) == palette.PLAIN
    assert style_of("pass 3", view) == palette.DIM


def style_of(text, view):
    """How `text` looks in the queues."""
    strips, _ = paint_side(view, 80, 4, None)
    return next(segment.style for strip in strips for segment in strip if text in segment.text)


def test_where_there_is_no_room_for_all_shelves_empty_ones_are_left_out():
    drawing = [(f"level {i}", [(1, "")] if i == 6 else []) for i in range(8)]
    view = view_of([ev.Run(0, processors=TWO[:1]), *arrivals("A"), ev.Queue(0, 0, shelves=drawing)])
    assert body(view, "queues", height=3) == ["level 6 A A"]
    assert len(body(view, "queues", height=8)) == 8


def test_the_title_says_which_part_is_seen():
    drawing = [(f"level {i}", [(1, "")]) for i in range(8)]
    view = view_of([ev.Run(0, processors=TWO[:1]), *arrivals("A"), ev.Queue(0, 0, shelves=drawing)])
    assert lines(view, "queues", height=4, offset=2)[0].endswith("lines 3–5 of 8")
    assert "lines" not in lines(view, "queues", height=9)[0]


def test_with_many_cores_the_queue_of_the_current_event_is_in_sight():
    many = [ev.Processor(cpu, "core", "cfs", f"cpu{cpu}") for cpu in range(64)]
    drawn = [ev.Queue(0, cpu, shelves=[("", [(1, "vruntime 0 ns")])]) for cpu in range(64)]
    view = view_of([ev.Run(0, processors=many), *arrivals("A"), *drawn, ev.Interrupt(3, 40, irq="timer")])
    assert body(view, "queues", height=5)[0].startswith("cpu40 ")
    assert body(view, "queues", height=5, offset=2)[0].startswith("cpu2 ")


@settings(max_examples=40)
@given(st.data())
def test_the_pane_shows_exactly_the_queues_of_the_state(any_machine, events_of, data):
    """Entry by entry, in the policy's order; and who is ready is on a shelf, once the decision is made."""
    events = events_of(data.draw(any_machine))
    timeline = Timeline(events)
    timeline.seek(data.draw(st.integers(1, len(events))))
    state, shown = timeline.state, shelves(timeline.state)
    for processor in state.processors.values():
        drawn = state.queues.get(processor.id)
        if drawn:
            assert [s.entries for s in shown if s.cpu == processor.id] == [entries for _, entries in drawn]
    on_shelves = {pid for shelf in shown for pid, _ in shelf.entries}
    if timeline.k == len(events) or events[timeline.k].t > state.now:  # nothing more happens now
        assert set(state.ready) == {p for p in on_shelves if state.tasks[p].status is Status.READY}


# --- what is shared -----------------------------------------------------------------------------------

MUTEX = ev.Share(2, 0, 1, "takes it", name="m", what="mutex", holder=1, waiters=[3, 2])


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (MUTEX, "m mutex A A has it ‖ C C B B"),
        (ev.Share(2, 0, 1, name="m", what="mutex"), "m mutex free"),
        (ev.Share(2, 0, 1, name="s", what="semaphore", level=3), "s semaphore value 3"),
        (ev.Share(2, 0, 1, name="p", what="pipe", level=3000, waiters=[2]), "p pipe 3,000 bytes ‖ B B"),
        (ev.Share(2, 0, 1, name="b", what="mailbox", level=1), "b mailbox 1 message"),
        (ev.Share(2, 0, 1, name="c", what="condition", waiters=[2]), "c condition ‖ B B"),
        (ev.Share(2, 0, 1, name="x", what="mutex", holder=77), "x mutex ? has it"),
    ],
)  # fmt: skip
def test_what_is_shared_in_a_line(use, said):
    view = view_of([ev.Run(0, processors=TWO), *arrivals("A", "B", "C"), use])
    assert body(view, "shared") == [said]


def test_at_every_event_the_pane_shows_the_shared_things_of_the_fold(shop_log):
    events = list(read(shop_log))
    view = View(Timeline(events), side="shared")
    for k in range(1, len(events) + 1, 7):
        view.timeline.seek(k)
        state = fold(events[:k])
        shown = body(view, "shared", width=200, height=20)
        shown = [line for line in shown if not line.startswith(("DEADLOCK", "no task"))]
        assert [line.split()[:2] for line in shown] == [[s.name, s.kind] for s in state.shared.values()]
        for line, thing in zip(shown, state.shared.values(), strict=True):
            waiting = line.partition("‖")[2].split()[1::2]
            assert waiting == [state.tasks[pid].name for pid in thing.waiters]
            assert ("has it" in line) == (thing.holder >= 0)


def test_a_deadlock_is_told_as_long_as_it_lasts(shop_log):
    events = list(read(shop_log))
    timeline = Timeline(events)
    (k,) = (k for k, event in enumerate(events) if isinstance(event, ev.Deadlock))
    killed = next(e.t for e in events if isinstance(e, ev.Signal))
    told = []
    for t in range(0, timeline.end_ns, 1_000_000):
        timeline.at_time(t)
        view = View(timeline, side="shared")
        told.append(body(view, "shared")[0].startswith("DEADLOCK a wants stock, b wants till"))
        assert told[-1] == ("DEADLOCK" in lines(view, view.side)[0])
        assert told[-1] == (events[k].t <= t < killed)
    assert any(told)
    assert lasting(timeline.state) == []


# --- processors ---------------------------------------------------------------------------------------


def test_the_shares_of_a_processor():
    header = ev.Run(0, processors=[TWO[0], ENGINE])
    events = [header, *arrivals("A"), ev.Dispatch(20, 0, 1, decision_ns=5, switch_ns=15), ev.Exit(80, 0, 1)]
    view = view_of([*events, ev.Tick(100)])
    view.timeline.at_time(100)
    core = view.timeline.state.processors[0]
    assert shares(core) == [0.4, 0.05, 0.15, 0.4]
    assert sum(core.spent_ns[mode] for mode in Mode) == 100
    text = body(view, "cores")
    assert text[0] == "user kernel switch idle"
    assert text[1].startswith("cpu0 · 40.0% 5.0% 15.0% 40.0% ████████▓▒▒▒········")
    assert text[2].startswith("engine 0/4 0.0% 0.0% 0.0% 100.0%")
    view.timeline.at_time(50)
    assert body(view, "cores")[1].startswith("cpu0 A A 20.0%")


def test_below_an_engine_stand_its_requests():
    """Prompts of 5 and 8 tokens: by hand, from the iterations that the log has."""
    requests = [
        ev.Arrive(0, task=pid, name=name, world="request", prompt=prompt, output=4)
        for pid, name, prompt in [(1, "ann", 5), (2, "bob", 8), (3, "cyd", 9), (4, "dan", 9)]
    ]
    events = [
        ev.Run(0, processors=[TWO[0], ENGINE]),
        *requests,
        *[ev.Dispatch(0, 2, pid) for pid in (1, 2, 3)],
        ev.Iterate(10, 2, count=1, prefill=[(1, 5), (2, 3)]),
        ev.Iterate(20, 2, start=10, anchor=10, count=2, pace=(5.0, 0.0), decode=[1]),
        ev.Block(20, 2, 3, on="KV memory"),
    ]
    assert body(view_of(events), "cores")[2:] == [
        "engine 2/4 100.0% 0.0% 0.0% 0.0% ████████████████████",
        "1 waiting, 1 blocked, KV of 10 tokens",
        "10 tokens computed in 3 iterations",
        "a ann output 3 of 4 tokens",
        "b bob prompt 3 of 8 tokens",
    ]
    inside = view_of(events)
    inside.timeline.at_time(15)  # one of the two iterations is over, their record is yet to come
    assert body(inside, "cores")[5] == "a ann output 2 of 4 tokens"
    assert body(inside, "cores")[3] == "1 waiting, KV of 9 tokens"
    over = view_of([*events[:-1], ev.Exit(20, 2, 1)])
    assert body(over, "cores")[3] == "1 waiting, KV of 3 tokens"  # none of who is done


@pytest.mark.parametrize("width", [44, 80])
def test_how_full_a_large_engine_is_is_never_cut(width):
    large = ev.Processor(2, "engine", "rr", "engine", slots=512)
    requests = arrivals(*"abcdefghij", world="request")
    events = [ev.Run(0, processors=[large]), *requests, *[ev.Dispatch(0, 2, pid) for pid in range(1, 11)]]
    assert "10/512 0.0% 0.0% 0.0% 0.0%" in body(view_of(events), "cores", width=width)[1]
    assert paint_chart(view_of(events), width, 5, None)[0][1].text.startswith(" eng… 10/512")


def test_a_request_that_lost_its_blocks_reads_its_prompt_again():
    events = [
        ev.Run(0, processors=[ENGINE]),
        ev.Arrive(0, task=1, name="ann", world="request", prompt=5, output=4),
        ev.Dispatch(0, 2, 1),
        ev.Iterate(10, 2, prefill=[(1, 5)]),
        ev.Lost(10, 2, 1, tokens=5),
    ]
    assert body(view_of(events), "cores")[2:] == [
        "0 waiting, KV of 0 tokens",
        "5 tokens computed in 1 iteration",
        "a ann prompt 0 of 5 tokens",
    ]


# --- the pane -----------------------------------------------------------------------------------------


def test_the_key_goes_round_the_views_and_the_title_names_them_all():
    view = view_of([ev.Run(0, processors=TWO), *arrivals("A", "B")])
    seen = []
    for _ in VIEWS:
        title = lines(view, view.side)[0]
        assert title.lower().startswith("queues shared cores v")
        seen.append(next(word for word in title.split() if word.isupper()).lower())
        view.side = following(view.side)
    assert seen == list(VIEWS)
    assert view.side == seen[0]


def test_the_pane_asks_for_room_for_the_whole_log():
    drawing = ev.Queue(9, 0, shelves=[("level 0", []), ("level 1", [])])
    view = view_of([ev.Run(0, processors=TWO[:1]), *arrivals("A"), drawing, drawing])
    assert wanted_lines(view.timeline.tracks) == 2
    shares_of = [ev.Share(9, 0, 1, name=name, what="mutex") for name in "abcdb"]
    assert wanted_lines(view_of([*view.timeline.events, *shares_of]).timeline.tracks) == 4


@given(st.integers(1, 130), st.integers(1, 12), st.sampled_from(list(VIEWS)), st.text(max_size=9), st.data())
def test_any_size_and_any_text_give_lines_of_that_size(width, height, side, text, data):
    pid = st.sampled_from([-1, 1, 2, 99])
    pids = st.lists(pid, max_size=4)
    words = st.just(text)
    shelves_ = st.lists(st.tuples(words, st.lists(st.tuples(pid, words), max_size=9)))
    more = data.draw(
        st.lists(
            st.one_of(
                st.builds(ev.Queue, st.just(3), st.integers(-1, 3), shelves=shelves_),
                st.builds(ev.Share, st.just(3), name=words, what=words, holder=pid, waiters=pids),
                st.builds(ev.Deadlock, st.just(3), cycle=pids, locks=st.lists(words, max_size=4)),
            ),
            max_size=9,
        )
    )
    events = [ev.Run(0, processors=[*TWO, ENGINE]), *arrivals(text, "B"), *more]
    strips, _ = paint_side(
        view_of(events, side=side), width, height, data.draw(st.none() | st.integers(0, 99))
    )
    assert [strip.cell_length for strip in strips] == [width] * height
    assert all(strip.text.isprintable() for strip in strips)
