"""The screen as a picture. After a wanted change: look at the report, then pytest --snapshot-update."""

from llmos.tui.app import TuiApp
from llmos.tui.source import SavedLog

SIZE = (100, 30)


def test_the_middle_of_a_run(snap_compare, desk_log):
    keys = ["g", *"17.3ms", "enter", "right"]
    assert snap_compare(TuiApp(SavedLog(desk_log)), press=keys, terminal_size=SIZE)


def test_the_help(snap_compare, desk_log):
    assert snap_compare(TuiApp(SavedLog(desk_log)), press=["?"], terminal_size=SIZE)


def test_locks_in_a_deadlock_and_two_queues(snap_compare, shop_log):
    keys = ["g", *"30ms", "enter", "v"]
    assert snap_compare(TuiApp(SavedLog(shop_log)), press=keys, terminal_size=(120, 34))


def test_two_cores_with_a_queue_each(snap_compare, shop_log):
    keys = ["g", *"9ms", "enter"]
    assert snap_compare(TuiApp(SavedLog(shop_log)), press=keys, terminal_size=(120, 34))
