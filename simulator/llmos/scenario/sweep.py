"""Sweeps: a scenario at many points, each with several seeds, on several cores.

- `run_sweep` runs every point and seed through an executor as `concurrent.futures` knows them. The
  usual one has a process per core; `executor` is any function that makes another one: of threads, of
  dask, ray or MPI workers.
- The rows come in the order of the points, whoever finished first, and are the same with any executor.
- What is finished is kept in a journal, if there is one, and is not run again.
- When a worker dies, the executor is made anew, and the runs that were lost with it are tried once
  more, each alone: the one that kills its worker again is told as lost, the others are done.
- A worker returns numbers, never a log.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain, product
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llmos.errors import LlmosError
from llmos.scenario.build import build, source_of
from llmos.scenario.journal import Journal, Keys, Result
from llmos.scenario.machine import run
from llmos.scenario.points import Axis, Setting, axes_of, check_points, raw_at, seeds_of, settings
from llmos.scenario.policies import label
from llmos.scenario.results import Record
from llmos.scenario.source import Findings, Scenario, model_of
from llmos.trace.metrics import metrics

MOST_RUNS: Final = 100_000
"""Points times seeds."""

EACH: Final = "each point's own profile; what a data sheet says is not measured"
"""Where the costs of a sweep come from that varies the profile."""
LOST: Final = "the worker process was killed twice, perhaps for want of memory"


@dataclass(frozen=True, slots=True)
class Job:
    """One run, as a worker gets it: a scenario's data at a point, and a seed."""

    name: str
    file: Path | None
    folder: Path
    raw: Mapping[str, Any]
    seed: int
    profile: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a sweep: its point (from 0), the values there, its seed, and what it came to."""

    point: int
    values: tuple[Any, ...]
    seed: int
    result: Result


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep that is over: its rows in the order of the points, and of the seeds at each."""

    scenario: str
    question: str
    keys: tuple[str, ...]
    """What was varied, as the columns are called."""
    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    """Every metric that a run has."""
    reused: int
    """Rows that the journal already had."""
    profile: str = ""
    """Where the costs come from, for captions; "" if they stand in the scenario."""

    @property
    def failed(self) -> list[Row]:
        """The rows that did not do what they set out to do."""
        return [row for row in self.rows if not row.result.ok]

    def columns(self, only: Sequence[str] = ()) -> list[str]:
        """The names of the columns, with all metrics or some."""
        return ["point", "seed", *self.keys, "ok", "reason", "log_sha256", *(only or self.metrics)]

    def records(self) -> list[Record]:
        """The rows as plain data: column -> number, text or truth."""
        return [
            {"point": row.point, "seed": row.seed, "ok": row.result.ok, "reason": row.result.reason}
            | {"log_sha256": row.result.log_sha256 or None}
            | dict(zip(self.keys, row.values, strict=True))
            | row.result.metrics
            for row in self.rows
        ]


def processes(jobs: int | None = None) -> ProcessPoolExecutor:
    """An executor with so many processes; left out: one for each core that this process may use."""
    # A fresh process: one that is forked from a program with threads may wait for their locks for ever.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # imported once, and not by each worker
    return ProcessPoolExecutor(jobs or cores(), mp_context=context, initializer=_begin)


def _begin() -> None:
    """Let a worker depend on its parent: that one gets Ctrl-C, and even if it is killed no worker stays."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_sweep(
    scenario: Scenario,
    *,
    given: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    executor: Callable[[], Executor] = processes,
    ahead: int | None = None,
    journal: Path | None = None,
    fresh: bool = False,
    profile: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Run `scenario` at every point of its [[sweep]] tables, with `seeds` seeds from its own on.

    given: values for more keys, or for others: {"cpu.scheduler": ["fcfs", "mine.py"]}; a path in them
        starts at the current folder.
    executor: makes an executor; called again when the first one breaks.
    ahead: runs that are handed to it at a time, twice the cores if left out; as many as there are
        workers keep these busy.
    journal: a file of finished runs, which are not run again, unless `fresh`.
    profile: a cost profile in place of the scenario's own.
    progress: gets the runs that are done and their total.

    Raises ScenarioError when a point is no scenario, LlmosError when there is nothing to sweep.
    """
    axes = plan(scenario, given, profile)
    points = list(settings(axes))
    if len(points) * seeds > MOST_RUNS:
        message = f"{len(points):,} points with {seeds:,} seeds each are more than {MOST_RUNS:,} runs"
        raise LlmosError(message, file=scenario.file, hint="take fewer values or seeds")
    jobs = [job for point in points for job in _jobs(scenario, point, seeds, profile)]
    done: dict[int, Result] = {}
    reused = 0
    with ExitStack() as stack:
        noted = stack.enter_context(Journal(journal, fresh=fresh)) if journal else None
        keys = _keys(jobs) if noted else []
        if noted:
            done = {i: noted.done[key] for i, key in enumerate(keys) if key in noted.done}
            reused = len(done)
        waiting = ((i, job) for i, job in enumerate(jobs) if i not in done)
        for i, result in stack.enter_context(closing(_results([*waiting], executor, ahead or 2 * cores()))):
            done[i] = result
            if noted and not result.unfinished:
                noted.add(keys[i], jobs[i].seed, result)
            if progress:
                progress(len(done), len(jobs))
    written = [tuple(map(plain, values)) for values in product(*(axis.written for axis in axes))]
    rows = tuple(Row(i // seeds, written[i // seeds], job.seed, done[i]) for i, job in enumerate(jobs))
    labels = tuple(axis.label for axis in axes)
    measured = dict.fromkeys(name for row in rows for name in row.result.metrics)
    swept = any(axis.path == ("profile",) for axis in axes) and profile is None
    source = EACH if swept else source_of(scenario, profile)
    return Swept(scenario.name, scenario.question, labels, rows, tuple(measured), reused, source)


def plan(
    scenario: Scenario, given: Mapping[str, Sequence[Any]] | None = None, profile: str | None = None
) -> list[Axis]:
    """What a sweep varies; the arguments as in `run_sweep`.

    Raises ScenarioError when a point is no scenario, LlmosError when there is nothing to sweep.
    """
    findings = Findings(scenario.file, scenario.lines)
    axes = axes_of(scenario, findings, given)
    findings.raise_any()
    if not axes:
        hint = 'give it a [[sweep]], as in key = "cpu.scheduler" and values = ["fcfs", "rr"]'
        raise LlmosError("there is nothing to sweep", file=scenario.file, hint=hint)
    if given:  # without, the points were tried when the scenario was read
        check_points(scenario, axes, findings)
        findings.raise_any()
    # What no point has to do with, a profile that is not there for one, is told before the first run.
    raw = raw_at(scenario, next(settings(axes)))
    build(replace(scenario, model=model_of(raw), raw=raw), profile=profile)
    return axes


def plain(value: Any) -> Any:
    """A value as it stands in the results: a number, true or false, or a text."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping) and "policy" in value:
        return label(value)
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=plain)


def _jobs(scenario: Scenario, point: Sequence[Setting], seeds: int, profile: str | None) -> Iterator[Job]:
    """The runs of one point: the scenario's own seed, and the next ones."""
    raw = raw_at(scenario, point)
    for seed in seeds_of(scenario, seeds):
        yield Job(scenario.name, scenario.file, scenario.folder, raw, seed, profile)


def _keys(jobs: Sequence[Job]) -> list[str]:
    keys = Keys(jobs[0].name, jobs[0].folder, jobs[0].profile)
    return [keys.key(job.raw, job.seed) for job in jobs]


# --- in a worker ----------------------------------------------------------------------------------------


def work(job: Job) -> Result:
    """Do one run; whatever goes wrong with it is its result."""
    try:
        scenario = Scenario(job.name, model_of(job.raw), job.file, job.folder, {}, job.raw)
        outcome = run(build(scenario, seed=job.seed, profile=job.profile), keep_spans=False)
    except LlmosError as error:
        return Result(ok=False, reason=str(error))
    except ValidationError as error:  # a point that was not tried before
        findings = Findings(None, {})
        findings.add_validation(error, job.raw)
        return Result(ok=False, reason="\n".join(map(str, findings.problems)))
    return Result(outcome.ok, outcome.reason, outcome.log_sha256, metrics(outcome.state))


# --- with many workers ----------------------------------------------------------------------------------

Numbered = tuple[int, Job]


def _results(
    jobs: Iterable[Numbered], executor: Callable[[], Executor], ahead: int
) -> Generator[tuple[int, Result]]:
    """The results of the jobs, in any order; each job has one."""
    left = iter(jobs)
    lost: list[Numbered] = []
    while first := next(left, None):
        with _pool(executor) as pool:
            yield from _fed(pool, chain([first], left), ahead, lost)
        suspects = iter(lost)
        lost = []
        # Any of those that were under way may have killed its worker. Alone, it is found out.
        while suspect := next(suspects, None):
            with _pool(executor) as pool:
                yield from _fed(pool, chain([suspect], suspects), 1, lost)
            for i, _ in lost:
                yield i, Result(ok=False, reason=LOST, unfinished=True)
            lost = []


def _fed(
    pool: Executor, jobs: Iterator[Numbered], ahead: int, lost: list[Numbered]
) -> Iterator[tuple[int, Result]]:
    """The results of `jobs`, until all are done or the pool breaks; `lost` gets those that it lost."""
    running: dict[Future[Result], Numbered] = {}
    broken = False
    while True:
        while not broken and len(running) < ahead and (job := next(jobs, None)):
            try:
                running[pool.submit(work, job[1])] = job
            except BrokenExecutor:
                lost.append(job)
                broken = True
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            error = CancelledError("cancelled") if future.cancelled() else future.exception()
            if isinstance(error, BrokenExecutor):
                lost.append(job)
                broken = True
            elif error:
                reason = f"{type(error).__name__}: {error}"
                yield job[0], Result(ok=False, reason=reason, unfinished=True)
            else:
                yield job[0], future.result()


@contextmanager
def _pool(executor: Callable[[], Executor]) -> Iterator[Executor]:
    """An executor that is shut down at the end; when all is given up, its processes are ended too."""
    others = set(multiprocessing.active_children())
    pool = executor()
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    pool.shutdown()
