"""Holding the simulator against a real engine: the same requests, predicted and measured.

- A workload is served for real: the engine decides, a model computes, and the clock is what that took.
- Every batch that came up is predicted from the profile, and run some times more, pass after pass: what it
  took is the median. The medians of every other pass are held against those of the rest, and that is the
  *noise floor*, below which no error means anything.
- Where the profile has a probe, it runs beside every iteration, and times are those of a machine as fast as
  it was when the profile was made. How fast it was, and the times as they came, are reported too.
- The workload is also simulated from the beginning, with nothing but the profile: what each request
  had to wait is set beside what it had to wait for real, and that beside a second real run.
- Nothing of it was seen when the profile was made: neither the batches nor their order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch

from llmos.costs.decoder import BLOCK_TOKENS, ModelShape
from llmos.costs.iteration import IterationModel
from llmos.costs.model import CostModel
from llmos.costs.profile import Profile
from llmos.costs.variants import Graph
from llmos.errors import LlmosError
from llmos.kernels.calibrate import cpu_pressure, in_silence
from llmos.kernels.executor import Executor, Ran
from llmos.kernels.graphed import variant
from llmos.kernels.llama import Chunk, Model
from llmos.kernels.rounds import Progress
from llmos.kernels.steady import Steady
from llmos.kernels.watch import Watch, probe_blocks, probe_of
from llmos.quantile import quantile
from llmos.replacement.lru import Lru
from llmos.scenario.machine import EngineSpec, MachineSpec, PolicySpec, RequestSpec, run
from llmos.serving.kv import KvMemory
from llmos.serving.pacing import Pacing, Predicted
from llmos.trace.metrics import tpot_ns, ttft_ns, turnaround_ns
from llmos.trace.records import TaskState

LOAD: Final = 0.7
"""Requests come as fast as keeps the engine busy that part of the time, if the profile is right."""
PASSES: Final = 5
"""So often all batches are run once more; the first time is when they are served."""
PREFIX: Final = 48
"""Tokens of a beginning that a third of the requests share."""
QUANTITIES: Final = {"ttft": ttft_ns, "tbt": tpot_ns, "end to end": turnaround_ns}


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine to validate: who gets the slots, how many there are, and how much memory."""

    policy: PolicySpec
    slots: int = 8
    token_budget: int = 256
    blocks: int = 512


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of predictions: 0.02 is 2 %. bias: the median with its sign, above 0 = too slow."""

    median: float
    p95: float
    bias: float
    points: int

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Errors:
        """The errors of these predictions, of which there is at least one."""
        errors = [p / m - 1 for p, m in zip(predicted, measured, strict=True)]
        sizes = [abs(error) for error in errors]
        return cls(quantile(sizes, 0.5), quantile(sizes, 0.95), quantile(errors, 0.5), len(errors))


@dataclass(frozen=True, slots=True)
class Compared:
    """A quantity predicted, measured, and measured again, in seconds, point by point."""

    measured: list[float]
    again: list[float]
    predicted: list[float]

    @property
    def error(self) -> Errors:
        """How far the prediction is from the measurement."""
        return Errors.of(self.predicted, self.measured)

    @property
    def noise(self) -> Errors:
        """How far the second measurement is from the first."""
        return Errors.of(self.again, self.measured)

    @property
    def total(self) -> tuple[float, float]:
        """The relative error of the sum, of the prediction and of the second measurement."""
        whole = sum(self.measured)
        return sum(self.predicted) / whole - 1, sum(self.again) / whole - 1


@dataclass(frozen=True, slots=True)
class Slowdown:
    """How many times longer things took than for the profile: the median, and where nine of ten fall."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, slowdowns: Sequence[float]) -> Slowdown:
        """Of these slowdowns, of which there is at least one."""
        return cls(*(quantile(slowdowns, part) for part in (0.5, 0.05, 0.95)))


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What came of it. pressure_percent: how busy others kept the CPU meanwhile, at the most."""

    model: str
    dtype: str
    weights: str
    graph: str
    profile: str
    device: str
    clock: str
    scheduler: str
    requests: int
    seed: int
    pressure_percent: float | None
    slowdown: Slowdown | None
    iterations: Compared
    as_they_came: Compared
    """The iterations again, in seconds of the machine as it was; the same where there was no probe."""
    kinds: list[str] = field(default_factory=list)
    """Of each iteration: "decode", "prefill" or "mixed"."""
    waits: dict[str, Compared] = field(default_factory=dict)
    """Of each quantity in `QUANTITIES`, the requests that have it."""

    def document(self) -> dict[str, Any]:
        """All of it as plain data: the figures first, then every point."""
        facts = {
            key: value
            for key, value in vars(self).items()
            if key not in {"slowdown", "iterations", "as_they_came", "kinds", "waits"}
        }
        return facts | {
            "slowdown": asdict(self.slowdown) if self.slowdown else None,
            "iteration": _figures(self.iterations) | _totals(self.iterations),
            "iteration_as_it_came": _figures(self.as_they_came) | _totals(self.as_they_came),
            "request": {name: _figures(compared) for name, compared in self.waits.items()},
            "points": {
                "iteration": asdict(self.iterations) | {"kind": self.kinds},
                "request": {name: asdict(compared) for name, compared in self.waits.items()},
            },
        }


def validate(
    model: str,
    shape: ModelShape,
    profile: Profile,
    engine: Engine,
    watch: Watch,
    *,
    device: str = "cpu",
    graph: str = "eager",
    requests: int = 40,
    seed: int = 1,
    probes: bool = True,
    progress: Progress = in_silence,
) -> Validation:
    """Serve a workload of `requests` requests for real, predict it, and compare.

    graph: how operations are launched, "eager" or "static". probes: whether a probe runs beside every
    iteration, if the profile has one.
    Raises LlmosError when the requests do not fit into the engine's memory, or there are no such graphs.
    """
    costs = IterationModel(CostModel(profile), shape)
    predicted = Predicted(Graph(costs, graph))
    work = workload(shape, engine, predicted, requests, seed)
    longest = max(spec.prompt + spec.output for spec in work)
    usual_s = costs.own.probe_s if costs.own and probes else None
    pressures = [cpu_pressure()]
    executors = []
    measured = []
    for number in (1, 2):
        progress((number - 1) * 0.3, f"serving {requests} requests for real, run {number} of 2")
        real = Model(shape, engine.blocks + probe_blocks(BLOCK_TOKENS), seed=seed, device=device)
        _warm_up(real)
        steady = Steady(probe_of(real, watch, engine.blocks), usual_s) if usual_s else None
        runner = variant(real, graph, requests=engine.slots, context=longest)
        executors.append(Executor(runner, watch, steady))
        measured.append(serve(engine, executors[-1], work, skip=False))
    first = executors[0]
    passes = [list(first.ran)]
    for number in range(PASSES):
        progress(0.6 + 0.35 * number / PASSES, f"running every batch again, {number + 1} of {PASSES}")
        passes.append(first.again())
    pressures.append(cpu_pressure())
    progress(0.95, "simulating")
    simulated = serve(engine, predicted, work)
    compositions = [first.model.compose(ran.chunks) for ran in first.ran]
    predictions = [predicted.model.predict(batch).seconds for batch in compositions]
    return Validation(
        model=model,
        dtype=shape.dtype,
        weights=shape.weights,
        graph=graph,
        profile=profile.provenance,
        device=profile.device if device == "cpu" else torch.cuda.get_device_name(),
        clock="CPU time of one thread" if device == "cpu" else "CUDA events",
        scheduler=engine.policy.name,
        requests=requests,
        seed=seed,
        pressure_percent=max((known for known in pressures if known is not None), default=None),
        slowdown=Slowdown.of(first.steady.slowdowns) if first.steady else None,
        iterations=_compared(passes, lambda ran: ran.seconds, predictions),
        as_they_came=_compared(passes, lambda ran: ran.taken, predictions),
        kinds=[
            "mixed" if batch.prefill and batch.decode else "prefill" if batch.prefill else "decode"
            for batch in compositions
        ],
        waits={name: _waits(name, measured[0], measured[1], simulated) for name in QUANTITIES},
    )


def workload(
    shape: ModelShape, engine: Engine, predicted: Predicted, count: int, seed: int
) -> list[RequestSpec]:
    """Requests of many sizes that come at random; every third begins as the others of its kind do."""
    drawn = random.Random(seed)
    common = [drawn.randrange(shape.vocab) for _ in range(PREFIX)]
    specs = []
    for number in range(count):
        own = [drawn.randrange(shape.vocab) for _ in range(round(2 ** drawn.uniform(3, 8.5)))]
        ids = common + own if number % 3 == 0 else own
        output = round(2 ** drawn.uniform(2, 7))
        specs.append(RequestSpec(name=f"r{number}", prompt=len(ids), output=output, ids=ids))
    longest = max(spec.prompt + spec.output for spec in specs)
    if longest > engine.blocks * BLOCK_TOKENS:
        raise LlmosError(
            f"{engine.blocks} KV blocks cannot hold a request of {longest} tokens",
            hint=f"give the engine at least {-(-longest // BLOCK_TOKENS)}: --kv-blocks",
        )
    busy_ns = max(task.finish_ns or 0 for task in serve(engine, predicted, specs))
    clock, gap_ns, paced = 0.0, busy_ns / count / LOAD, []
    for spec in specs:
        clock += drawn.expovariate(1 / gap_ns)
        paced.append(RequestSpec(**(vars(spec) | {"arrival_ns": round(clock)})))
    return paced


def serve(
    engine: Engine, pacing: Pacing, work: Sequence[RequestSpec], *, skip: bool = True
) -> list[TaskState]:
    """Serve these requests, with times from `pacing`; return how each ended, in their order."""
    spec = MachineSpec(
        scenario="validate",
        engine=EngineSpec(
            policy=engine.policy,
            slots=engine.slots,
            token_budget=engine.token_budget,
            pacing=pacing,
            memory=lambda: KvMemory(engine.blocks, BLOCK_TOKENS, Lru()),
            skip=skip,
        ),
        requests=work,
    )
    return list(run(spec).state.tasks.values())


def _warm_up(model: Model) -> None:
    """Run a prompt and some tokens, so that no first call is timed."""
    blocks = [0] * 8
    for chunk in (Chunk([1] * 64, 0, blocks), Chunk([1], 64, blocks), Chunk([1] * 16, 65, blocks)):
        model.iterate([chunk])


def _compared(
    passes: Sequence[Sequence[Ran]], seconds: Callable[[Ran], float], predictions: list[float]
) -> Compared:
    """Predictions beside the medians of every other pass, and those beside the medians of the rest."""
    odd, even = (
        [quantile([seconds(ran) for ran in runs], 0.5) for runs in zip(*half, strict=True)]
        for half in (passes[0::2], passes[1::2])
    )
    return Compared(odd, even, predictions)


def _waits(
    name: str, real: Sequence[TaskState], again: Sequence[TaskState], simulated: Sequence[TaskState]
) -> Compared:
    of = QUANTITIES[name]
    found = [[of(task) for task in (a, b, c)] for a, b, c in zip(real, again, simulated, strict=True)]
    whole = [[value / 1e9 for value in values if value] for values in found]
    columns = [values for values in whole if len(values) == 3]
    return Compared(*([values[i] for values in columns] for i in range(3)))


def _totals(compared: Compared) -> dict[str, float]:
    predicted, noise = compared.total
    return {"total": predicted, "total_noise": noise}


def _figures(compared: Compared) -> dict[str, Any]:
    return {"error": asdict(compared.error), "noise": asdict(compared.noise)}
