"""The word "measured" in place of a cost: which figure of the profile it stands for, and how much that is.

- `FIGURES` names the keys that may say it; elsewhere it is no duration.
- A profile without that figure is a problem of the scenario, told at the key, with the cure.

Differs: a figure is taken as it was measured, whatever the scenario's page size; only copies go by the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmos.costs.system import WHAT

if TYPE_CHECKING:
    from llmos.costs.profile import Profile
    from llmos.scenario.positions import Path
    from llmos.scenario.source import Findings

FIGURES: Final = {
    ("cpu", "context_switch"): "context_switch",
    ("cpu", "syscall"): "syscall",
    ("cpu", "ipi"): "wakeup",
    ("memory", "minor_fault"): "minor_fault",
    ("memory", "major_fault"): "major_fault",
    ("memory", "zero_page"): "zero_page",
    ("memory", "copy_page"): "memory_copy_per_byte",
    ("device", "service"): "device_wait",
    ("device", "bandwidth"): "direct_read_per_byte",
}
"""(table, key) -> the name of its figure in `Profile.system`."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What "measured" is worth with `profile`; what is missing there is noted in `findings`."""

    profile: Profile | None
    findings: Findings

    def ns(self, value: int | Literal["measured"], path: Path, size_bytes: int = 1) -> int:
        """Return the time `value` of the key at `path` in ns; a copy is of so many bytes."""
        if isinstance(value, int):
            return value
        per_byte = FIGURES[_key(path)].endswith("_per_byte")
        return max(1, round(self._seconds(path) * 1e9 * (size_bytes if per_byte else 1)))

    def bytes_per_s(self, value: int | Literal["measured"], path: Path) -> int:
        """Return the bandwidth `value` of the key at `path`."""
        return value if isinstance(value, int) else max(1, round(1 / self._seconds(path)))

    def _seconds(self, path: Path) -> float:
        figure = FIGURES[_key(path)]
        if self.profile is None:
            if not any(problem.key == "profile" for problem in self.findings.problems):
                hint = 'add profile = "reference-cpu" at the top, or "this-machine"'
                self.findings.add(path, "what was measured comes from a profile", hint=hint)
            return 1.0
        if figure not in self.profile.system:
            self.findings.add(
                path,
                f"profile {self.profile.name} has no {figure} ({WHAT[figure]})",
                hint='give the time, or measure yours, llmos calibrate --quick, and take "this-machine"',
            )
            return 1.0
        return self.profile.system[figure].seconds


def _key(path: Path) -> tuple[str, str]:
    """The table and the key of `path`, without what is between them."""
    return str(path[0]), str(path[-1])
