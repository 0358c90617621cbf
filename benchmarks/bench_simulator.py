"""How fast the simulator is, against limits measured in the same run.

- Dispatches: ten tasks on one core, every quantum a context switch, each with its three events in
  the log, encoded and hashed; and the same with the state folded along, as `llmos run` does. The
  limit is simpy itself, firing the same number of bare timeouts.
- Engine: decode iterations of one undisturbed batch, stepped one by one and skipped.
- Growth: the cost per dispatch with 10, 100, 1,000 and 10,000 tasks in the ready queue.
- Cores: the cost per dispatch of 10,000 tasks on 1 and 64 cores, on one queue and on one per core.

Ratios count; the absolute figures are those of the machine they ran on.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import simpy

from llmos.process.balance import Balancing
from llmos.process.program import Call, Compute
from llmos.scenario.machine import (
    CpuSpec,
    EngineSpec,
    MachineSpec,
    Outcome,
    PolicySpec,
    RequestSpec,
    TaskSpec,
    _Machine,
    run,
)
from llmos.sched.base import Scheduler
from llmos.sched.fcfs import FCFS
from llmos.sched.mlfq import MLFQ
from llmos.sched.rr import RoundRobin
from llmos.sched.srtf import SRTF
from llmos.sched.stride import Stride
from llmos.serving.pacing import Law
from llmos.trace.events import Dispatch, Event

ROUNDS = 5
DISPATCHES = 60_000
ITERATIONS = 200_000


def main() -> None:
    """Print the three tables."""
    print(f"{platform.machine()}, Python {platform.python_version()}, median of {ROUNDS} rounds")
    dispatches()
    engine()
    growth()
    cores()


def timed(action: Callable[[], object]) -> float:
    """Return the CPU seconds that `action` takes (this process only: other work does not disturb)."""
    start = time.process_time()
    action()
    return time.process_time() - start


def bare_simpy(events: int) -> None:
    """Fire `events` timeouts in one simpy process: the least that a simpy model can do."""

    def process(env: simpy.Environment) -> Iterator[simpy.Event]:
        for _ in range(events):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(process(env))
    env.run()


def burst(ns: int) -> Callable[[], Iterator[Call]]:
    """A program of one burst."""

    def program() -> Iterator[Call]:
        yield Compute(ns)

    return program


def machine(
    policy: Callable[[], Scheduler], tasks: int, total: int, quantum: int = 10, **cpu: Any
) -> MachineSpec:
    """One core, unless `cpu` says more, and `tasks` equal tasks that need `total` quanta together."""
    length = max(1, total // tasks) * quantum
    return MachineSpec(
        cpu=CpuSpec(policy=PolicySpec(name="bench", make=policy), **cpu),
        tasks=[TaskSpec(name=f"T{i}", program=burst(length)) for i in range(tasks)],  # type: ignore[arg-type]
    )


def count_dispatches(spec: MachineSpec) -> tuple[Outcome, int]:
    """Run once and count."""
    seen = 0

    def sink(batch: list[Event], _data: bytes) -> None:
        nonlocal seen
        seen += sum(isinstance(event, Dispatch) for event in batch)

    return run(spec, [sink], keep_spans=False), seen


def dispatches() -> None:
    """Dispatches per second beside simpy's ceiling."""
    print("\ndispatches (10 tasks, one core, a switch each quantum)")
    for name, policy in (
        ("rr", lambda: RoundRobin(10)),
        ("mlfq", lambda: MLFQ(quantum=10)),
        ("stride", lambda: Stride(10)),
    ):
        spec = machine(policy, 10, DISPATCHES)
        outcome, n = count_dispatches(spec)
        logged, folded, bare = [], [], []
        for _ in range(ROUNDS):
            logged.append(timed(lambda spec=spec: simulate(spec)))
            folded.append(timed(lambda spec=spec: run(spec, keep_spans=False)))
            bare.append(timed(lambda outcome=outcome: bare_simpy(outcome.simpy_events)))
        print(
            f"  {name:7} {outcome.simpy_events / n:.2f} simpy events each; "
            f"simpy alone {n / statistics.median(bare):9,.0f} /s"
        )
        for what, ours in (("logged", logged), ("logged and folded", folded)):
            ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
            print(f"          {what:18} {n / statistics.median(ours):9,.0f} /s   ratio {ratio:.2f}")


def simulate(spec: MachineSpec) -> None:
    """Run and write the log, but let nobody read it."""
    machine = _Machine(spec, [])
    machine.sim.run_until(pulse=machine.log.flush)
    machine.close(ok=True, reason="done")


def engine() -> None:
    """Decode iterations per second, stepped and skipped."""
    print("\nengine (8 requests decode together; iterations of an unchanged batch)")
    seconds = {}
    for skip in (False, True):
        spec = MachineSpec(
            engine=EngineSpec(
                policy=PolicySpec(name="fcfs", make=FCFS),
                pacing=Law(5e6, 2e4, 50.0),
                slots=8,
                token_budget=512,
                skip=skip,
            ),
            requests=[RequestSpec(name=f"R{i}", prompt=50, output=ITERATIONS) for i in range(8)],
        )
        seconds[skip] = statistics.median(
            timed(lambda spec=spec: run(spec, keep_spans=False)) for _ in range(3)
        )
    busy = MachineSpec(
        engine=EngineSpec(
            policy=PolicySpec(name="mlfq", make=lambda: MLFQ(quantum=32)), pacing=Law(5e6, 2e4, 50.0), slots=8
        ),
        requests=[
            RequestSpec(name=f"R{i}", prompt=50, output=300, arrival_ns=i * 100_000_000) for i in range(2000)
        ],
    )
    iterations = sum(p.iterations for p in run(busy, keep_spans=False).state.processors.values())
    changing = statistics.median(timed(lambda: run(busy, keep_spans=False)) for _ in range(3))
    print(f"  stepped {ITERATIONS / seconds[False]:14,.0f} /s")
    print(
        f"  skipped {ITERATIONS / seconds[True]:14,.0f} /s   "
        f"{seconds[False] / seconds[True]:,.0f} times faster"
    )
    print(
        f"  2,000 requests under mlfq, 32 tokens a turn, batch changing all the time: "
        f"{iterations / changing:,.0f} /s"
    )


def growth() -> None:
    """Cost per dispatch with more and more tasks."""
    print("\ngrowth (microseconds of CPU per dispatch; the same number of dispatches each)")
    policies: dict[str, Callable[[], Scheduler]] = {
        "rr": lambda: RoundRobin(10),
        "mlfq": lambda: MLFQ(quantum=10),
        "stride": lambda: Stride(10),
        "srtf": SRTF,
    }
    sizes = (10, 100, 1_000, 10_000)
    print("  tasks  " + "".join(f"{n:>10,}" for n in sizes) + "     10,000 : 10")
    for name, policy in policies.items():
        row = []
        for n in sizes:
            spec = machine(policy, n, 20_000)
            _, seen = count_dispatches(spec)
            row.append(
                min(timed(lambda spec=spec: run(spec, keep_spans=False)) for _ in range(3)) / seen * 1e6
            )
        note = "  (one dispatch per task)" if name == "srtf" else ""
        print(f"  {name:7}" + "".join(f"{us:10.1f}" for us in row) + f"{row[-1] / row[0]:15.1f}{note}")


def cores() -> None:
    """Cost per dispatch with 64 cores."""
    print("\ncores (10,000 tasks, round robin; microseconds of CPU per dispatch)")
    steal = Balancing(placement="least", steal=True)
    ways: dict[str, dict[str, Any]] = {
        "1 core": {},
        "64 cores, one queue": {"count": 64},
        "64 cores, a queue each": {"count": 64, "per_core": True},
        "64 cores, a queue each, stealing": {"count": 64, "per_core": True, "balancing": steal},
    }
    alone = 0.0
    for name, cpu in ways.items():
        spec = machine(lambda: RoundRobin(10), 10_000, 40_000, **cpu)
        _, seen = count_dispatches(spec)
        us = min(timed(lambda spec=spec: run(spec, keep_spans=False)) for _ in range(3)) / seen * 1e6
        alone = alone or us
        print(f"  {name:34}{us:8.1f}   {us / alone:.2f} times one core")


if __name__ == "__main__":
    main()
