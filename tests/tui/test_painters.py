"""What is painted: known lines, and any size, name and log without a crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.trace import events as ev
from llmos.tui.chart import fitting_cell_ns, nice, paint_chart, start_cell
from llmos.tui.eventlog import paint_log
from llmos.tui.panes import Wishes, places
from llmos.tui.side import paint_side
from llmos.tui.status import paint_head, paint_status
from llmos.tui.table import columns, paint_tasks
from llmos.tui.timeline import Timeline
from llmos.tui.view import View

PAINTERS = (paint_head, paint_tasks, paint_chart, paint_side, paint_log, paint_status)

CORE = ev.Processor(0, "core", "fcfs", "cpu0")
ENGINE = ev.Processor(1, "engine", "fcfs", "engine", slots=4)

# A runs 0-2 and blocks; B runs 3-7 after a switch of 1; C waits from 4 on. R decodes on the engine.
STORY = [
    ev.Run(0, processors=[CORE, ENGINE], question="Why?"),
    ev.Arrive(0, task=1, name="A"),
    ev.Dispatch(0, 0, 1, "first come"),
    ev.Arrive(0, task=4, name="R", world="request", prompt=5, output=11),
    ev.Dispatch(0, 1, 4, "only one"),
    ev.Arrive(1, task=2, name="B", priority=3),
    ev.Block(2, 0, 1, "waits for disk", on="disk"),
    ev.Dispatch(2, 0, 2, "first come", switch_ns=1),
    ev.Arrive(4, task=3, name="C"),
    ev.Preempt(7, 0, 2, "C goes first"),
    ev.Dispatch(7, 0, 3, "shorter"),
]


def at(t, **more):
    timeline = Timeline(STORY)
    timeline.at_time(t)
    return View(timeline, **more)


def lines(painter, view, width, height, offset=None):
    strips, _ = painter(view, width, height, offset)
    assert len(strips) == height
    assert {strip.cell_length for strip in strips} <= {width}
    return [strip.text.rstrip() for strip in strips]


def words(line):
    return " ".join(line.split())


def row(text, name):
    return words(next(line for line in text if f" {name} " in line))


def test_the_table_at_a_time():
    text = lines(paint_tasks, at(6), 160, 8)
    assert text[0].split("  ")[-1].strip() == "4 · 1 ready · 2 running · 1 blocked"
    assert words(text[1]) == "pid name state kind cpu prio waited cpu time turnaround tokens reason"
    assert row(text, "A") == "A 1 A ‖ blocked process cpu0 0 0 ns 2 ns 6 ns waits for disk"
    assert row(text, "B") == "B 2 B ► running process cpu0 3 1 ns 3 ns 5 ns first come"
    assert row(text, "C") == "▸ C 3 C ◆ ready process 0 2 ns 0 ns 2 ns arrival"
    assert row(text, "R") == "R 4 R ► running request engine 0 0 ns 6 ns 6 ns 0/15 only one"


def test_the_chart_at_a_time():
    text = lines(paint_chart, at(6, cell_ns=1), 40, 6)
    assert text[1:4] == [
        " cpu0       A ╎B  │",
        " engine 1/4 ▂▂▂▂▂▂│",
        "  slot 0    R     │",
    ]
    assert text[4].index("▲") == text[1].index("│")
    assert lines(paint_chart, at(6, cell_ns=10), 40, 6)[1] == " cpu0       ▒│"


def test_the_log_ends_with_the_last_event_and_gives_reasons():
    text = lines(paint_log, at(7), 100, 4)
    assert words(text[-1]) == "▸ 7 ns C C dispatch cpu0: shorter"
    assert words(text[-2]) == "7 ns B B preempt cpu0: C goes first"
    assert "11 so far" in text[0]
    up = lines(paint_log, at(7), 100, 4, offset=2)
    assert words(up[-1]) == "4 ns C C arrive"


def test_the_status_says_where_we_are():
    (clock, keys) = lines(paint_status, at(6, speed_ns=2_000_000), 120, 2)
    assert "t = 6 ns" in clock
    assert "event 9 of 11" in clock
    assert "paused" in clock
    assert "2 ms/s" in clock
    assert "playing" in lines(paint_status, at(6, playing=True), 120, 2)[0]
    assert "q quit" in keys
    assert "no further switch" in lines(paint_status, at(6, message="no further switch"), 120, 2)[0]


def test_80_columns_show_the_keys_that_matter():
    keys = lines(paint_status, at(6), 80, 2)[1]
    for key in ("space", "← →", " n ", " N ", " g ", "+ -", "?", " q "):
        assert key in keys


def test_contradictions_in_the_log_are_told():
    timeline = Timeline([*STORY, ev.Exit(8, 0, 1)])
    timeline.seek(len(timeline))
    (clock, _) = lines(paint_status, View(timeline), 160, 2)
    assert "! 2 contradictions in the log" in clock


def test_columns_give_way_on_a_narrow_terminal():
    facts = at(6).timeline.tracks.facts
    assert facts == {"kind", "tokens", "prio"}
    widths = {width: [c.name for c in columns(facts, width)] for width in (10, 40, 80, 200)}
    assert widths[10] == ["pid"]
    assert widths[40] == ["name", "state", "tokens"]
    assert "waited" in widths[80]
    assert len(widths[200]) == 10
    for width, names in widths.items():
        assert sum(c.width + 1 for c in columns(facts, width)) + 4 <= max(width, 4), names


def test_columns_are_there_if_the_log_has_something_for_them():
    header = ev.Run(0, processors=[CORE])
    facts = {
        "nice": ev.Arrive(0, task=1, nice=-3),
        "prio": ev.Change(0, task=1, priority=2),
        "group": ev.Arrive(0, task=1, group="staff"),
        "tickets": ev.Arrive(0, task=1, tickets=5),
        "due": ev.Release(0, task=1, job=1, deadline=30),
        "missed": ev.Miss(0, task=1, job=1),
    }
    plain = {c.name for c in columns(Timeline([header, ev.Arrive(0, task=1)]).tracks.facts, 200)}
    for name, event in facts.items():
        assert {c.name for c in columns(Timeline([header, event]).tracks.facts, 200)} == plain | {name}


def test_resident_pages_and_faults_of_tasks_with_memory():
    events = [
        ev.Run(0, processors=[CORE]),
        ev.Arrive(0, task=1, name="sh"),
        ev.Arrive(0, task=2, name="ls"),
        ev.Dispatch(0, 0, 1),
        ev.Fault(1, 0, 1, what="minor", pages=1, rss=1200),
        ev.Fault(2, 0, 1, what="major", pages=1, rss=1201),
        ev.Evict(3, 0, page="1:7", holders=[(1, 7)]),
    ]
    facts = Timeline(events).tracks.facts
    assert {"pages", "faults"} <= {c.name for c in columns(facts, 80)}
    timeline = Timeline(events)
    timeline.seek(len(events))
    lines, _ = paint_tasks(View(timeline), 100, 8, None)
    assert lines[1].text.split()[-2:] == ["pages", "faults"]
    assert lines[2].text.split()[-2:] == ["1,200", "2"]
    assert lines[3].text.split()[-1] == "ns"


def test_the_table_follows_what_changes_of_a_task():
    events = [
        ev.Run(0, processors=[CORE]),
        ev.Arrive(0, task=1, name="sh", nice=1, group="staff"),
        ev.Arrive(0, task=2, name="child", parent=1),
        ev.Dispatch(0, 0, 2),
        ev.Exec(2, 0, 2, name="ls"),
        ev.Change(3, 0, 1, priority=4, nice=-2),
        ev.Exit(5, 0, 2),
        ev.Reap(6, 0, 2),
    ]
    timeline = Timeline(events)

    def shown(k, name):
        timeline.seek(k)
        return row(lines(paint_tasks, View(timeline), 160, 6), name)

    assert shown(2, "sh") == "▸ s 1 sh ◆ ready 0 1 staff 0 ns 0 ns 0 ns arrival"
    assert shown(6, "sh") == "▸ s 1 sh ◆ ready 4 -2 staff 3 ns 0 ns 3 ns arrival"
    assert shown(4, "child").startswith("▸ c 2 child ► running cpu0")
    assert shown(5, "ls").startswith("▸ c 2 ls ► running cpu0")
    assert shown(7, "ls").startswith("▸ c 2 ls □ zombie cpu0")
    assert row(lines(paint_tasks, View(timeline, living_only=True), 160, 6), "ls")
    assert shown(8, "ls").startswith("▸ c 2 ls ■ terminated cpu0")
    log = lines(paint_log, View(timeline), 100, 9)
    assert words(log[3]) == "0 ns c child arrive child of sh"
    assert words(log[-1]) == "▸ 6 ns c ls reap cpu0"
    assert lines(paint_chart, View(timeline, cell_ns=1), 40, 4)[1].startswith("▸cpu0       ls")


def test_a_due_job_counts_down_and_is_late_below_zero():
    header = ev.Run(0, processors=[CORE])
    events = [header, ev.Arrive(0, task=1, name="A"), ev.Release(0, task=1, job=1, deadline=30)]
    timeline = Timeline([*events, ev.Miss(40, task=1, job=1), ev.Complete(50, task=1, job=1), ev.End(60)])
    for t, due in [(10, "20 ns"), (45, "-15 ns 1"), (55, "1")]:
        timeline.at_time(t)
        got = row(lines(paint_tasks, View(timeline), 120, 5), "A")
        waited = f"{t} ns 0 ns {t} ns"
        assert f"ready {due} {waited}" in got


def test_a_table_of_thousands_builds_only_the_rows_that_are_seen(monkeypatch):
    timeline = Timeline(
        [ev.Run(0, processors=[CORE]), *(ev.Arrive(i, task=i, name=f"T{i}") for i in range(5000))]
    )
    timeline.seek(len(timeline))
    seen = []
    monkeypatch.setattr("llmos.tui.table._why", lambda task: seen.append(task.pid) or "")
    view = View(timeline)
    text = lines(paint_tasks, view, 120, 12)
    assert "T4999" in "".join(text)  # it follows the last event
    assert len(seen) == 10
    assert "T70 " in lines(paint_tasks, view, 120, 12, offset=70)[2]
    assert paint_tasks(view, 120, 12, 10**9)[1] == 4990
    assert "T0 " in lines(paint_side, view, 80, 12)[1]


NASTY = st.text(max_size=12) | st.sampled_from(
    ["\x1b[2J", "日本語のなまえ", "a\nb", "[bold]x", "e\u0301" * 9, ""]
)


@given(
    st.integers(1, 130), st.integers(1, 40), NASTY, NASTY, st.integers(0, 9), st.none() | st.integers(0, 99)
)
def test_any_size_and_any_text_give_lines_of_that_size(width, height, name, reason, t, offset):
    header = ev.Run(0, processors=[CORE, ENGINE], question=reason, scenario=name)
    events = [
        header,
        ev.Arrive(1, task=1, name=name),
        ev.Dispatch(2, 0, 1, reason),
        ev.Arrive(3, task=2, name=name),
    ]
    timeline = Timeline(events)
    timeline.at_time(t)
    for painter in PAINTERS:
        for line in lines(
            painter, View(timeline, title=name, message=reason, cell_ns=1), width, height, offset
        ):
            assert line.isprintable()


@pytest.mark.parametrize("events", [[], [ev.Run(0)], [ev.Tick(5)], [ev.Run(0), ev.End(0)]])
def test_next_to_nothing_can_be_painted(events):
    timeline = Timeline(events)
    timeline.seek(len(events))
    for painter in PAINTERS:
        lines(painter, View(timeline), 80, 6)


# --- layout -------------------------------------------------------------------------------------------


@given(st.integers(0, 250), st.integers(0, 80), st.builds(Wishes, *[st.integers(0, 90)] * 3))
def test_panes_fill_the_screen_and_never_overlap(width, height, wishes):
    taken = set()
    for region in places(width, height, wishes).values():
        cells = {(x, y) for x in range(region.x, region.right) for y in range(region.y, region.bottom)}
        assert cells
        assert not cells & taken
        taken |= cells
    assert all(0 <= x < width and 0 <= y < height for x, y in taken)
    gap = height if width >= 116 else 0  # the line between the table and the queues
    assert len(taken) >= width * height - gap


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 50)])
def test_everything_is_there_from_80_by_24_on(size):
    found = places(*size, Wishes(chart=7, tasks=20, side=12))
    assert set(found) == {"head", "tasks", "chart", "side", "log", "status"}
    assert found["tasks"].height >= 5
    assert found["log"].height >= 4


def test_what_few_tasks_leave_goes_to_the_log():
    few, many = (places(100, 40, Wishes(chart=1, tasks=n, side=1)) for n in (3, 300))
    assert few["tasks"].height == 6
    assert few["log"].height - many["log"].height == many["tasks"].height - 6 > 0


# --- scales -------------------------------------------------------------------------------------------


@given(st.integers(1, 10**20))
def test_nice_numbers_are_round_and_near(n):
    assert n <= nice(n) < 5 * n / 2 + 1
    assert str(nice(n)).rstrip("0") in {"1", "2", "5"}


@given(st.integers(0, 10**6), st.integers(1, 200))
def test_the_cursor_is_always_in_the_window_of_the_chart(count, width):
    assert 0 <= count - start_cell(count, width) < max(width, 1)


def test_a_short_run_is_seen_whole_and_a_long_one_close_enough():
    timeline = Timeline(STORY)
    assert fitting_cell_ns(timeline.tracks, 7, 80) == 1
    events = [ev.Run(0, processors=[CORE])]
    for t in range(0, 100_000, 100):
        events += [ev.Dispatch(t, 0, t % 3), ev.Preempt(t + 100, 0, t % 3)]
    assert fitting_cell_ns(Timeline(events).tracks, 100_000, 80) == 25
