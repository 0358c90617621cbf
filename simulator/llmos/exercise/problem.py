"""A scheduling problem as plain data, and as a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmos.exercise import toml, work
from llmos.exercise.kinds import Policy
from llmos.exercise.work import Task
from llmos.scenario.policies import label

LONG: Final = 4
"""A list of more numbers is not part of a policy's name."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A policy with the parameters that the exercise gives it, as a scenario says them."""

    policy: Policy
    choice: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The policy and its parameters as one text; long lists are left out."""
        return label({k: v for k, v in self.choice.items() if not _is_long(v)})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that is given: the tasks are the tables of the scenario, times in ticks."""

    seed: int
    policies: Sequence[Posed]
    tasks: Sequence[Task]
    convention: str = "textbook"
    cpus: int = 1

    @property
    def periodic(self) -> bool:
        """Whether the tasks release jobs that have deadlines."""
        return "period" in self.tasks[0]

    @property
    def has_io(self) -> bool:
        """Whether the tasks do I/O."""
        return bool(work.devices(self.tasks))

    @property
    def length(self) -> int:
        """Ticks in which any policy is done, for a chart to fill in."""
        works: list[int] = [sum(work.bursts(task)) + work.away(task) for task in self.tasks]
        last: int = max(
            task.get("period", 0) * task.get("jobs", 0) or task.get("arrival", 0) for task in self.tasks
        )
        # Several processors may have nothing to do for a while, and one of them the longest job to end with.
        spread = -(-sum(works) // self.cpus) + (last + max(works) if self.cpus > 1 else 0)
        return max(last, min(sum(works), spread))

    @property
    def labels(self) -> list[str]:
        """The policies in words."""
        return [posed.label for posed in self.policies]

    def toml(self) -> str:
        """The problem as a scenario; `llmos run` answers for the first policy, `compare` for all."""
        scenario: dict[str, Any] = {
            "question": "Which deadlines are missed?" if self.periodic else "Who runs when, and who waits?",
            "title": f"Scheduling, exercise {self.seed}",
            "seed": self.seed,
            "convention": self.convention,
            "tick": "1 ms",
            "cpu": {"count": self.cpus, "scheduler": self.policies[0].choice},
            "device": work.devices(self.tasks),
            "task": self.tasks,
        }
        if len(self.policies) > 1:
            means = [f"cpu.{name}_mean_ns" for name in ("response", "turnaround", "waiting")]
            scenario["compare"] = {
                "schedulers": [posed.choice for posed in self.policies],
                "metrics": ["cpu.deadline_misses"] if self.periodic else means,
            }
        comment = f"Scheduling, exercise {self.seed}: {', '.join(self.labels)}"
        return toml.write({key: value for key, value in scenario.items() if value != []}, comment)


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > LONG
