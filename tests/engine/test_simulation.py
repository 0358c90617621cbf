"""The clock: order inside an instant, cancelling, limits, random streams."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.simulation import Simulation, Stop
from llmos.engine.streams import stream


def test_alarms_fire_by_time_then_phase_then_order_of_arming():
    sim, fired = Simulation(), []
    for name, time, phase in [("d", 5, 1), ("c", 5, 0), ("e", 5, 1), ("a", 1, 9), ("b", 1, 9)]:
        sim.at(time, phase, fired.append, name)
    assert sim.run_until() is Stop.NOTHING_LEFT
    assert fired == list("abcde")
    assert (sim.now, sim.events) == (5, 5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans())))
def test_exactly_the_alarms_that_are_not_cancelled_fire(plan):
    sim, fired = Simulation(), []
    alarms = [sim.at(t, phase, fired.append, i) for i, (t, phase, _) in enumerate(plan)]
    for alarm, (_, _, cancelled) in zip(alarms, plan, strict=True):
        if cancelled:
            sim.cancel(alarm)
            sim.cancel(alarm)  # twice does no harm
    sim.run_until()
    expected = sorted((t, phase, i) for i, (t, phase, cancelled) in enumerate(plan) if not cancelled)
    assert fired == [i for _, _, i in expected]
    assert sim.events == len(expected)
    for alarm in alarms:
        sim.cancel(alarm)  # after the fact neither
    assert sim.run_until() is Stop.NOTHING_LEFT


def test_simpys_own_processes_may_stand_beside_the_alarms():
    sim, seen = Simulation(), []

    def process():
        for _ in range(3):
            yield sim.timeout(10)
            seen.append(("process", sim.now))

    sim.process(process())
    sim.at(20, -1, lambda: seen.append(("alarm", sim.now)))
    assert sim.run_until() is Stop.NOTHING_LEFT
    assert seen == [("process", 10), ("alarm", 20), ("process", 20), ("process", 30)]


def test_a_cancelled_alarm_does_not_move_the_clock():
    sim = Simulation()
    sim.at(3, 0, lambda: None)
    sim.cancel(sim.at(1000, 0, lambda: None))
    sim.run_until()
    assert sim.now == 3


def test_limits():
    sim = Simulation()

    def again():
        sim.at(sim.now + 1, 0, again)

    again()
    assert sim.run_until(until_ns=10) is Stop.TIME_LIMIT
    assert (sim.now, sim.events) == (9, 9)  # what is due at the limit itself does not happen
    assert sim.run_until(max_events=20) is Stop.EVENT_LIMIT
    assert sim.events == 20
    pulses = []
    sim.run_until(max_events=50, every=10, pulse=lambda: pulses.append(sim.events))
    assert pulses == [30, 40, 50]


def test_what_an_action_does_by_itself_counts_towards_the_limit():
    sim, seen = Simulation(), []

    def again():
        seen.append(sim.now)
        sim.work(4)
        if not sim.exhausted():
            sim.at(sim.now + 1, 0, again)

    again()
    assert sim.run_until(max_events=14, every=1) is Stop.EVENT_LIMIT  # 4, and 5 for each alarm
    assert seen == [0, 1, 2]
    assert (sim.events, sim.left) == (2, 0)


def test_an_alarm_cannot_be_set_in_the_past():
    sim = Simulation()
    sim.at(5, 0, lambda: sim.at(4, 0, lambda: None))
    with pytest.raises(ValueError, match="past"):
        sim.run_until()


def test_streams_do_not_disturb_each_other():
    alone = [stream(1, "arrivals").random() for _ in range(3)]
    a, b = stream(1, "arrivals"), stream(1, "bursts")
    mixed = []
    for _ in range(3):
        b.random()
        mixed.append(a.random())
    assert [stream(1, "arrivals").random()] * 3 == alone
    assert mixed == [x for s in [stream(1, "arrivals")] for x in (s.random(), s.random(), s.random())]
    assert stream(1, "arrivals").random() != stream(2, "arrivals").random()
    assert stream(1, "arrivals").random() != stream(1, "bursts").random()


def test_a_stream_is_the_same_in_every_process():
    code = "from llmos.engine.streams import stream; print(stream(7, 'x').random())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hashseed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashseed in ("0", "1", "12345")
    }
    assert len(seen) == 1
