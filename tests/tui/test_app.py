"""The keys do what they say, on a run that is saved and on one that goes on."""

import asyncio
import re

import msgspec
import pytest
from textual.widgets import Input, Static

from llmos.errors import LlmosError, LogError
from llmos.trace import events as ev
from llmos.trace.log import read
from llmos.tui.app import TuiApp, run_tui
from llmos.tui.dialogs import GoTo, Help
from llmos.tui.keys import KEYS
from llmos.tui.panes import Pane
from llmos.tui.source import LiveRun, SavedLog
from llmos.tui.timeline import Timeline


def app_on(path):
    return TuiApp(SavedLog(path))


async def all_read(pilot):
    while not pilot.app.source.done:
        await pilot.pause(0.01)
    await pilot.pause()


def shown(app, pane):
    """The text that a pane has put on the screen."""
    return "\n".join(
        line.text
        for line in app.query_one(f"#{pane}", Pane).render_lines(app.query_one(f"#{pane}").size.region)
    )


async def test_it_opens_at_the_beginning_paused(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        assert (app.timeline.k, app.view.playing) == (1, False)
        assert "A shared desk" in shown(app, "head")
        assert "Who waits" in shown(app, "head")
        assert "event 1 of" in shown(app, "status")


@pytest.mark.parametrize(("forward", "backward"), [("right", "left"), (".", ",")])
async def test_step_forward_and_back(desk_log, dump, forward, backward):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press(*[forward] * 12)
        assert app.timeline.k == 13
        before, screen = dump(app.timeline.state), [shown(app, pane.id) for pane in app.panes]
        await pilot.press(forward, backward)
        assert dump(app.timeline.state) == before
        assert [shown(app, pane.id) for pane in app.panes] == screen
        await pilot.press(backward)
        assert app.timeline.k == 12


async def test_stepping_stops_at_both_ends(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("left")
        assert app.timeline.k == 1
        assert "beginning" in shown(app, "status")
        await pilot.press("end")
        assert app.timeline.k == len(app.timeline)
        assert "all tasks are done" in shown(app, "status")
        await pilot.press("right")
        assert "no further event" in shown(app, "status")
        await pilot.press("home")
        assert app.timeline.k == 1


async def test_n_goes_to_the_next_switch_and_shift_n_to_the_next_preemption(desk_log):
    events = list(read(desk_log))
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("n")
        first = next(k for k, event in enumerate(events, 1) if isinstance(event, ev.Dispatch))
        assert app.timeline.k == first
        await pilot.press("N")
        first = next(k for k, event in enumerate(events, 1) if isinstance(event, ev.Preempt))
        assert app.timeline.k == first
        assert "preempt" in shown(app, "log").splitlines()[-1]
        await pilot.press("end", "N")
        assert "no further preemption" in shown(app, "status")
        assert app.timeline.k == len(events)


@pytest.mark.parametrize(
    ("typed", "t"), [("12 ms", 12_000_000), ("0.0035 s", 3_500_000), ("7000001", 7_000_001)]
)
async def test_g_goes_to_a_time(desk_log, typed, t):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("g")
        app.screen.query_one(Input).value = typed
        await pilot.press("enter")
        assert app.timeline.t == t
        assert app.timeline.k == sum(event.t <= t for event in app.timeline.events)


async def test_a_time_that_cannot_be_read_is_asked_for_again(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("g", *"soon", "enter")
        assert isinstance(app.screen, GoTo)
        assert "write 12 ms" in str(app.screen.query_one("#wrong", Static).content)
        await pilot.press("escape")
        assert not isinstance(app.screen, GoTo)
        assert app.timeline.k == 1
        await pilot.press("g", *"99s", "enter")
        assert app.timeline.k == len(app.timeline)
        assert "the log ends at" in shown(app, "status")


async def test_space_runs_and_pauses(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("space")
        assert app.view.playing
        assert "playing" in shown(app, "status")
        while app.timeline.k < 20:
            await pilot.pause(0.02)
        await pilot.press("space")
        stopped = app.timeline.t
        await pilot.pause(0.1)
        assert app.timeline.t == stopped
        assert "paused" in shown(app, "status")


async def test_running_ends_with_the_log(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("space", *["+"] * 12)
        while app.view.playing:
            await pilot.pause(0.02)
        assert app.timeline.k == len(app.timeline)
        await pilot.press("space")
        assert not app.view.playing
        assert "press home" in shown(app, "status")


async def test_plus_and_minus_change_the_speed_by_1_2_5(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        app.view.speed_ns = 10
        await pilot.press("+")
        assert app.view.speed_ns == 20
        await pilot.press("-", "-", "-", "-", "-", "-")
        assert app.view.speed_ns == 1
        await pilot.press(*"=+")
        assert app.view.speed_ns == 5
        assert "5 ns/s" in shown(app, "status")


async def test_brackets_zoom_the_chart(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        cell = app.view.cell_ns
        await pilot.press("]")
        assert app.view.cell_ns == cell // 2
        await pilot.press("[", "[")
        assert app.view.cell_ns == cell // 2 * 4


async def test_tab_goes_round_the_panes_and_arrows_scroll_them(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(80, 24)) as pilot:
        await all_read(pilot)
        await pilot.press("end")
        await pilot.press("tab")
        seen = [app.focused.id]
        while seen.count(seen[0]) < 2:
            await pilot.press("tab")
            seen.append(app.focused.id)
        assert set(seen) == {"tasks", "chart", "side", "log"}
        app.query_one("#log").focus()
        await pilot.pause()
        assert "▌EVENTS" in shown(app, "log")
        before = shown(app, "log").splitlines()
        await pilot.press("up")
        after = shown(app, "log").splitlines()
        assert after[2:] == before[1:-1]
        await pilot.press("escape")
        assert shown(app, "log").splitlines() == before
        app.query_one("#tasks").focus()
        await pilot.press("down", "down")
        assert shown(app, "tasks").splitlines()[2].split()[1] == str(list(app.timeline.state.tasks)[2])


async def test_a_pane_with_nothing_to_scroll_goes_on_following(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(140, 45)) as pilot:
        await all_read(pilot)
        await pilot.press("end")
        app.query_one("#chart").focus()
        await pilot.press("down", "down")  # every row is there
        await pilot.resize_terminal(80, 16)
        await pilot.pause()
        rows = [line for line in shown(app, "chart").splitlines() if "│" in line]
        await pilot.press("escape")
        assert rows == [line for line in shown(app, "chart").splitlines() if "│" in line]


async def test_t_hides_terminated_tasks(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("g", *"17ms", "enter")
        gone = sum(task.finish_ns is not None for task in app.timeline.state.tasks.values())
        assert shown(app, "tasks").count("■ terminated") == gone > 0
        await pilot.press("t")
        assert "■" not in shown(app, "tasks")
        assert f"{gone} terminated (hidden)" in shown(app, "tasks")
        await pilot.press("t")
        assert shown(app, "tasks").count("■ terminated") == gone


async def test_v_turns_the_side_pane(shop_log):
    app = app_on(shop_log)
    async with app.run_test(size=(110, 40)) as pilot:
        await all_read(pilot)
        await pilot.press("g", *"30ms", "enter")
        state = app.timeline.state
        assert "QUEUES shared cores v" in shown(app, "side")
        assert all(state.tasks[pid].name in shown(app, "side") for pid in state.ready)
        await pilot.press("v")
        lines = shown(app, "side").splitlines()
        assert "queues SHARED cores v  DEADLOCK" in lines[0]
        assert "DEADLOCK" in lines[1]
        assert [line.split()[0] for line in lines[2:]] == list(state.shared)
        assert "! deadlock: anna waits for stock, bert waits for till" in shown(app, "status")
        app.query_one("#side").focus()
        await pilot.press("down", "down")
        assert [line.split()[0] for line in shown(app, "side").splitlines()[1:-1]] != ["DEADLOCK"]
        await pilot.press("v")
        assert shown(app, "side").splitlines()[2].split()[0] == "cpu0"
        await pilot.press("v")
        assert "QUEUES" in shown(app, "side")


async def test_stepping_back_shows_the_queues_as_they_were(shop_log):
    app = app_on(shop_log)
    async with app.run_test(size=(120, 40)) as pilot:
        await all_read(pilot)
        await pilot.press("g", *"9ms", "enter")
        seen = []
        for _ in range(25):
            await pilot.press("right")
            seen.append([shown(app, pane.id) for pane in app.panes])
        for screen in reversed(seen[:-1]):
            await pilot.press("left")
            assert [shown(app, pane.id) for pane in app.panes] == screen
        assert len({screen[3] for screen in seen}) > 3  # the side pane did change


async def test_while_it_plays_pages_do_not_turn(tmp_path):
    header = ev.Run(0, processors=[ev.Processor(cpu, "core", "rr", f"cpu{cpu}") for cpu in range(64)])
    arrivals = [ev.Arrive(0, task=n, name=f"T{n}") for n in range(64)]
    starts = [ev.Dispatch(n * 10**6, n, n) for n in range(64)]
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, [header, *arrivals, *starts])) + b"\n")
    app = app_on(path)
    async with app.run_test(size=(120, 30)) as pilot:
        await all_read(pilot)
        await pilot.press("g", *"0", "enter")
        app.timeline.at_time(40 * 10**6)
        app.view.playing, app.view.speed_ns, app._clock = True, 0, 40e6  # it plays, but on the spot
        app.paint()
        assert "cpu0 " in shown(app, "chart")
        assert "T0 " in shown(app, "tasks")
        await pilot.press("g", *"40ms", "enter")
        assert "▸cpu40 " in shown(app, "chart")
        assert "T40 " in shown(app, "tasks")


async def test_help_names_every_key_and_closes(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(80, 24)) as pilot:
        await all_read(pilot)
        await pilot.press("?")
        assert isinstance(app.screen, Help)
        said = str(app.screen.query_one(Static).content)
        assert all(key.shown in said and key.what in said for key in KEYS)
        assert app.screen.query_one("#box").max_scroll_y == 0  # there is nothing below the edge
        await pilot.press("q")
        assert not isinstance(app.screen, Help)


def test_the_page_about_it_has_every_key(root):
    rows = [line for line in (root / "docs" / "tui.md").read_text().splitlines() if line.startswith("| `")]
    documented = {key for row in rows for key in re.findall("`([^`]+)`", row.split("|")[1])}
    assert {name for key in KEYS for name in key.shown.split(" or ")} <= documented


async def test_q_quits(desk_log):
    app = app_on(desk_log)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (10, 4), (25, 9), (40, 12), (79, 13), (130, 11), (250, 70)])
async def test_it_lives_on_any_terminal(desk_log, size):
    app = app_on(desk_log)
    async with app.run_test(size=size) as pilot:
        await all_read(pilot)
        await pilot.press("n", "N", "right", "left", "tab", "down", "?", "escape", "g", "escape", "end")
        assert app.timeline.k == len(app.timeline)
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "event" in shown(app, "status")


async def test_a_log_that_was_cut_off_says_so(desk_log, tmp_path):
    whole = desk_log.read_bytes()
    path = tmp_path / "cut.jsonl.part"
    path.write_bytes(whole[: len(whole) // 2])
    app = app_on(path)
    async with app.run_test(size=(100, 30)) as pilot:
        await all_read(pilot)
        assert "cut off" in shown(app, "status")
        await pilot.press("end")
        assert app.timeline.k == whole[: len(whole) // 2].count(b"\n")


@pytest.mark.parametrize(
    "line", [b'{"kind":"nonsense"}\n', b'{"kind":"tick","t":1' + b"0" * 60 + b"}\n", b"\xff\xfe\n"]
)
async def test_damage_in_the_middle_leaves_what_is_before_it(desk_log, tmp_path, line):
    lines = desk_log.read_bytes().splitlines(keepends=True)
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(b"".join([*lines[:50], line, *lines[50:]]))
    app = app_on(path)
    async with app.run_test(size=(160, 30)) as pilot:
        await all_read(pilot)
        assert len(app.timeline) == 50
        assert app.source.trouble
        await pilot.press("end")
        assert "the log is damaged" in shown(app, "status")
        assert "event 50 of 50 " in shown(app, "status")


# --- live runs ----------------------------------------------------------------------------------------


async def test_an_endless_run_can_be_watched_from_the_start(endless):
    source = LiveRun(endless)
    app = TuiApp(source)
    try:
        async with app.run_test(size=(100, 30)) as pilot:
            while not len(app.timeline):
                await pilot.pause(0.01)
            await pilot.press("n", "n", "N")
            assert app.timeline.k > 1
            seen = len(app.timeline)
            while len(app.timeline) == seen:
                await pilot.pause(0.02)
            assert "the run goes on" in shown(app, "status") or app.view.message
    finally:
        source.close()


async def test_it_reads_no_further_than_so_far_ahead(endless, monkeypatch):
    monkeypatch.setattr("llmos.tui.app.AHEAD", 1000)
    source = LiveRun(endless)
    app = TuiApp(source)
    try:
        async with app.run_test(size=(100, 30)) as pilot:
            while len(app.timeline) <= 1000:
                await pilot.pause(0.01)
            seen = len(app.timeline)
            await pilot.pause(0.2)
            assert len(app.timeline) == seen
            await pilot.press("end")
            while len(app.timeline) == seen:
                await pilot.pause(0.02)
    finally:
        source.close()


async def test_events_that_come_while_a_window_is_open_do_no_harm(desk, desk_log):
    app = app_on(desk_log)
    poll, app.source.poll = app.source.poll, list  # nothing comes yet
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("g")
        app.source.poll = poll
        await all_read(pilot)
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert "A shared desk" in shown(app, "head")
        assert app.query_one("#chart").size.height == 8


def test_a_program_that_never_returns_can_be_left(deaf):
    source = LiveRun(deaf)
    assert not source.poll()
    source.close()
    assert source.done


async def drained(source):
    timeline = Timeline()
    while not source.done:
        timeline.extend(source.poll())
        await asyncio.sleep(0.001)
    source.close()
    return timeline


async def test_what_breaks_a_live_run_is_told(endless):
    from dataclasses import replace

    def broken():
        yield "no system call"

    spec = replace(endless, tasks=[replace(endless.tasks[0], program=broken)])
    source = LiveRun(spec)
    timeline = await drained(source)
    assert source.trouble
    assert timeline.events


# --- before the screen opens --------------------------------------------------------------------------


def test_without_a_terminal_it_says_so(desk_log, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(LlmosError, match="needs a terminal"):
        run_tui(desk_log)


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"kind":"tick","t":3}\n', None])
def test_what_is_no_log_is_an_error_before_the_screen_opens(tmp_path, content):
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LogError):
        SavedLog(path)
