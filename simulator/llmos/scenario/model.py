"""What a scenario file may say: one pydantic model per table, each key with its description.

- The models check what one value or one table can tell. What needs more (does this device exist, has
  this policy such a parameter?) is checked by `llmos.scenario.check`.
- Amounts are read into whole nanoseconds, tokens and bytes; nothing keeps a unit.
- The JSON Schema for editors is made from these models: a description here is what an editor shows.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from llmos.scenario import arrivals, distributions
from llmos.scenario.fields import TAG, Model, PlainDuration, PositiveDuration
from llmos.scenario.machine_tables import Choice, Cpu, Device, Engine
from llmos.scenario.memory_tables import FileTable, MemoryTable
from llmos.scenario.op_tables import OPERATIONS
from llmos.scenario.program_tables import VERBS, Program
from llmos.scenario.shared_tables import Cgroup, Condition, Inject, Mailbox, Mutex, Pipe, Semaphore
from llmos.scenario.sweep_tables import Sweep
from llmos.scenario.touch_tables import TOUCHES
from llmos.scenario.units import UnfitError
from llmos.scenario.work_tables import Request, RequestWorkload, Task, TaskWorkload, Workload


class Compare(Model):
    """What `llmos compare` does with this scenario when it is told nothing else."""

    schedulers: list[Choice] = Field(
        default=[], min_length=1, max_length=100, description="The schedulers side by side."
    )
    replacements: list[Choice] = Field(
        default=[],
        min_length=1,
        max_length=100,
        description="The replacement policies of the memory side by side; with schedulers, each with each.",
    )
    seeds: int = Field(
        default=1, ge=1, le=1000, description="How many seeds: the scenario's own, and the next ones."
    )
    metrics: list[str] = Field(
        default=[], max_length=100, description="The numbers to show, as in cpu.turnaround_mean_ns."
    )

    @model_validator(mode="after")
    def _several(self) -> Compare:
        if not self.schedulers and not self.replacements:
            hint = 'as in schedulers = ["fcfs", "rr"] or replacements = ["lru", "clock"]'
            raise UnfitError("there is nothing to compare", hint=hint)
        return self


class ScenarioModel(Model):
    """A question about a machine, the machine, and the work that it gets."""

    question: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="The question that the scenario answers."
    )
    extends: str | None = Field(
        default=None,
        min_length=1,
        description="The scenario that this one is laid over: a shipped one's name, or a .toml file.",
    )
    remove: list[str] = Field(
        default=[],
        max_length=1000,
        description="What of it goes first, as in task.truck, compare or cpu.costs.decision.",
    )
    title: str = Field(default="", max_length=100, description="A short title.")
    seed: int = Field(default=1, ge=0, le=2**63 - 1, description="Where all random draws begin.")
    convention: Literal["textbook", "ostep", "linux"] = Field(
        default="textbook", description="Who goes first at one instant, where books differ."
    )
    tick: PlainDuration | None = Field(
        default=None, description='What a bare number of time means, as in textbook exercises: tick = "1 ms".'
    )
    until: PositiveDuration | None = Field(
        default=None, description="When the run ends, if work is left then."
    )
    max_events: int = Field(
        default=10_000_000,
        ge=1,
        le=10**9,
        description="The run ends after so many internal events, whatever happens; ten references to memory "
        "count as one.",
    )
    profile: str | None = Field(
        default=None,
        min_length=1,
        description="Whose costs: a profile's name, this-machine, or a .json file.",
    )
    cpu: Cpu | None = Field(default=None, description="The cores; with tasks and no [cpu] there is one.")
    engine: Engine | None = Field(default=None, description="The LLM engine.")
    memory: MemoryTable | None = Field(default=None, description="The memory; without it, none is modelled.")
    file: list[FileTable] = Field(default=[], max_length=10_000, description="Files that tasks use.")
    device: list[Device] = Field(default=[], max_length=1000, description="Devices that tasks wait for.")
    mutex: list[Mutex] = Field(default=[], max_length=10_000, description="Locks that tasks take.")
    semaphore: list[Semaphore] = Field(default=[], max_length=10_000, description="Counting semaphores.")
    condition: list[Condition] = Field(default=[], max_length=10_000, description="Condition variables.")
    pipe: list[Pipe] = Field(default=[], max_length=10_000, description="Pipes between tasks.")
    mailbox: list[Mailbox] = Field(default=[], max_length=10_000, description="Mailboxes for messages.")
    cgroup: list[Cgroup] = Field(
        default=[], max_length=1000, description="Groups of tasks with shares and limits."
    )
    inject: list[Inject] = Field(
        default=[], max_length=10_000, description="What happens from outside: interrupts, signals, pauses."
    )
    programs: dict[str, Program] = Field(default={}, description="Programs by name.")
    task: list[Task] = Field(default=[], description="Tasks, one by one.")
    request: list[Request] = Field(default=[], description="Requests, one by one.")
    workload: list[Workload] = Field(
        default=[], max_length=1000, description="Tasks and requests by the dozen."
    )
    compare: Compare | None = Field(default=None, description="What to compare.")
    sweep: list[Sweep] = Field(
        default=[], max_length=20, description="Keys and the values that `llmos sweep` gives them."
    )


TAGGED: Final[dict[str, type[Model]]] = {TAG + verb: model for verb, model in VERBS.items()} | {
    **TOUCHES,
    **OPERATIONS,
    "~arrive all-at-once": arrivals.AllAtOnce,
    "~arrive periodic": arrivals.Periodic,
    "~arrive poisson": arrivals.Poisson,
    "~choice": distributions.Choice,
    "~exponential": distributions.Exponential,
    "~lognormal": distributions.Lognormal,
    "~pareto": distributions.Pareto,
    "~uniform": distributions.Uniform,
    "~task": TaskWorkload,
    "~request": RequestWorkload,
}
"""The model behind each tag of a union."""
