"""Times in words and back, and text from logs made harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.trace import events as ev
from llmos.tui.words import clean, details, exact, parse_time, short


@given(st.integers(0, 2**62))
def test_an_exact_time_is_read_back_as_it_was(ns):
    assert parse_time(exact(ns)) == ns


@pytest.mark.parametrize(
    ("ns", "long", "brief"),
    [
        (0, "0 ns", "0 ns"),
        (999, "999 ns", "999 ns"),
        (1_000, "1 us", "1 us"),
        (12_345_678, "12.345678 ms", "12.35 ms"),
        (90_000_000_000, "90 s", "90 s"),
        (12_345_678_901_234, "12345.678901234 s", "12345 s"),
        (-1_500, "-1.5 us", "-1.5 us"),
        (10**40, "beyond time", "beyond time"),
        (-(10**400), "beyond time", "beyond time"),
    ],
)
def test_times_in_words(ns, long, brief):
    assert (exact(ns), short(ns)) == (long, brief)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("12 ms", 12_000_000),
        ("12ms", 12_000_000),
        ("1.5 s", 1_500_000_000),
        (" 1200000 ", 1_200_000),
        ("1,200,000", 1_200_000),
        ("1_200", 1_200),
        ("0", 0),
        ("3 us", 3_000),
    ],
)
def test_times_are_read(text, ns):
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "12 parsecs", "-3 ms", "1.5", "nan", "1e999 s", "9" * 99, "1" * 5000, "٣", "1 ms 2"],
)
def test_what_is_no_time_is_answered_with_examples_of_what_is(text):
    with pytest.raises(ValueError, match=r"write 12 ms, 1\.5 s, or nanoseconds as 1200000"):
        parse_time(text)


@given(st.text())
def test_clean_text_cannot_move_the_cursor(text):
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ev.Dispatch(0, 0, 1, "lowest pass 3"), "lowest pass 3"),
        (ev.Arrive(0, task=2, world="request", prompt=5, output=3), "prompt 5, output 3 tokens"),
        (ev.Arrive(0, task=2, parent=1), "child of init"),
        (ev.Block(0, 0, 1, "waits for disk", on="disk"), "waits for disk"),
        (ev.Block(0, 0, 1, "", on="disk"), "on disk"),
        (ev.Syscall(0, 0, 1, name="io", cost_ns=2_000), "io, 2 us"),
        (ev.Interrupt(0, 0, irq="timer", reason="end of quantum"), "timer; end of quantum"),
        (ev.IoStart(0, task=1, device="disk", service_ns=5_000), "disk for 5 us"),
        (ev.Miss(0, task=1, job=4), "job 4"),
        (ev.Iterate(0, count=7, decode=[1, 2]), "7 iterations: 2 decode"),
        (ev.Iterate(0, decode=[1], prefill=[(3, 60), (4, 4)]), "1 decode, prefill of 64 tokens"),
        (ev.Iterate(9_000, start=3_000, count=3, decode=[1]), "3 × 2 us: 1 decode"),
        (ev.Iterate(9_000, start=3_000, prefill=[(3, 60)]), "6 us: prefill of 60 tokens"),
        (
            ev.Found(0, 0, 1, "the same beginning", 1024),
            "1,024 tokens are in KV memory already; the same beginning",
        ),
        (ev.Lost(0, 0, 1, "no free KV block", 48), "48 tokens to compute again; no free KV block"),
        (ev.Tick(0, 0, reason="boost"), "boost"),
        (ev.Yield(0, 0, 1, "gives way"), "gives way"),
        (ev.Suspend(0, task=1, reason="by STOP", on="stopped"), "on stopped; by STOP"),
        (ev.Reap(0, 0, 2, "init has waited for it"), "init has waited for it"),
        (ev.Exec(0, 0, 2, name="ls"), "becomes ls"),
        (ev.Change(0, 0, 2, "nice is now 3", nice=3), "priority 0, nice 3; nice is now 3"),
        (ev.Signal(0, 0, 2, "from init", signal="TERM"), "TERM; from init"),
        (ev.Migrate(0, 1, 2, "cpu 1 was idle", origin=0), "from cpu 0; cpu 1 was idle"),
        (ev.Warm(0, 1, 2, "it is warm"), "it is warm"),
        (ev.Warm(0, 1, 2, evicted=[1, 3]), "drives out init sh"),
        (ev.Share(0, 0, 1, "takes it", name="m", what="mutex", holder=1), "mutex m, init has it; takes it"),
        (ev.Share(0, 0, 1, name="m", holder=3, waiters=[1]), "m, sh has it, init waiting"),
        (ev.Share(0, 0, 1, name="s", what="semaphore", level=2), "semaphore s, value 2"),
        (ev.Share(0, 0, 1, name="p", what="pipe", level=4096), "pipe p, 4,096 bytes"),
        (ev.Share(0, 0, 1, name="b", what="mailbox", level=2), "mailbox b, 2 messages"),
        (ev.Share(0, 0, 1, name="c", what="condition", waiters=[3]), "condition c, sh waiting"),
        (ev.Deadlock(0, cycle=[1, 3], locks=["a", "b"]), "init waits for a, sh waits for b"),
        (ev.Deadlock(0, 0, 1, "init waits for a", cycle=[1], locks=["a"]), "init waits for a"),
        (ev.Queue(0, shelves=[("level 0", [(3, "x")]), ("", [])]), "level 0: sh; ready: nobody"),
        (ev.Abort(0, task=1, reason="too late", job=2), "job 2; too late"),
        (ev.Release(0, task=1, job=2, deadline=5_000), "job 2, due 5 us"),
        (ev.Complete(0, 0, 1, job=2), "job 2"),
        (ev.End(0, reason="all tasks are done"), "all tasks are done"),
    ],
)  # fmt: skip
def test_events_in_words(event, said):
    assert details(event, {1: "init", 3: "sh"}.__getitem__) == said


def test_every_kind_of_event_can_be_said():
    for kind in ev.KINDS:
        assert details(kind(0, reason="why"), str).endswith("why")
