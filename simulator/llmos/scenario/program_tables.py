"""Programs as a scenario writes them: lists of steps, each a table with one verb."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmos.errors import did_you_mean
from llmos.scenario.fields import TAG, CoreNumber, Count, Duration, Model, Name, Priority, Size, Yes
from llmos.scenario.file_tables import (
    AdviseStep,
    DropCachesStep,
    FsyncStep,
    ReadFileStep,
    TruncateStep,
    WriteFileStep,
)
from llmos.scenario.op_tables import MatmulStep, OpStep, OpTable, Repeats, VectorAddStep
from llmos.scenario.shared_tables import Signal
from llmos.scenario.touch_tables import TouchPages, TouchStep
from llmos.scenario.units import UnfitError, kind

Protection = Literal["rw", "r", "w", ""]


class ComputeStep(Model):
    """Work on the core."""

    compute: Duration = Field(description="CPU time.")


class SleepStep(Model):
    """Do nothing for a while."""

    sleep: Duration = Field(description="How long.")


class IoStep(Model):
    """Wait for a device."""

    io: Name = Field(description="The device's name.")
    time: Duration | None = Field(
        default=None, description="How long the device takes, if not its own service time."
    )
    on_error: Literal["exit", "continue"] = Field(
        default="exit", description="What the task does if the device fails."
    )


class YieldStep(Model):
    """Give the core away and queue up again."""

    yield_: Yes = Field(alias="yield", description="true")


class ForkStep(Model):
    """Start child processes."""

    fork: Name = Field(description="The program that they run, one of [programs].")
    count: Count = Field(default=1, description="How many.")
    name: Name | None = Field(
        default=None, description="What the child is called, if it is one; left out: its parent and its pid."
    )

    @model_validator(mode="after")
    def _one_has_a_name(self) -> ForkStep:
        if self.name is not None and self.count > 1:
            raise UnfitError("`name` is that of one child", hint="take `name` or `count` away")
        return self


class WaitStep(Model):
    """Wait for a child to terminate."""

    wait: Yes = Field(description="true")


class ExitStep(Model):
    """Terminate before the end of the program."""

    exit: Yes = Field(description="true")


class ExecStep(Model):
    """Become another program."""

    exec: Name = Field(description="The program, one of [programs].")


class NiceStep(Model):
    """Change how much the task gives way to others."""

    nice: int = Field(ge=-39, le=39, description="Added to its nice value.")


class PriorityStep(Model):
    """Change the task's priority."""

    priority: Priority = Field(description="The new one; smaller is more urgent.")


class AffinityStep(Model):
    """Restrict the task to some cores."""

    affinity: list[CoreNumber] = Field(min_length=1, description="Their numbers.")


class KillStep(Model):
    """Send a signal."""

    kill: Name = Field(description="The task that gets it, by name.")
    signal: Signal = Field(default="TERM", description="Which.")


class HandleStep(Model):
    """Say what happens on a signal."""

    handle: Literal["TERM", "INT", "USR1", "USR2", "CONT"] = Field(description="The signal.")
    program: Name | None = Field(default=None, description="What runs then, one of [programs].")
    action: Literal["ignore", "default"] = Field(
        default="ignore", description="Or nothing, or what happens without `handle`."
    )


class PauseStep(Model):
    """Wait for a signal."""

    pause: Yes = Field(description="true")


class LockStep(Model):
    """Take a mutex."""

    lock: Name = Field(description="The mutex.")


class UnlockStep(Model):
    """Give a mutex back."""

    unlock: Name = Field(description="The mutex.")


class DownStep(Model):
    """Take one from a semaphore."""

    down: Name = Field(description="The semaphore.")


class UpStep(Model):
    """Add one to a semaphore."""

    up: Name = Field(description="The semaphore.")


class WaitForStep(Model):
    """Wait for a condition, giving the mutex back meanwhile."""

    wait_for: Name = Field(description="The condition.")
    mutex: Name = Field(description="The mutex that the task holds.")


class NotifyStep(Model):
    """Wake who waits for a condition."""

    notify: Name = Field(description="The condition.")
    all: bool = Field(default=False, description="Everybody, not only the first.")


class WriteStep(Model):
    """Write into a pipe."""

    write: Name = Field(description="The pipe.")
    size: Size = Field(description="How many bytes.")


class ReadStep(Model):
    """Read from a pipe."""

    read: Name = Field(description="The pipe.")
    size: Size = Field(description="How many bytes at most.")


class SendStep(Model):
    """Put a message into a mailbox."""

    send: Name = Field(description="The mailbox.")


class ReceiveStep(Model):
    """Take a message out of a mailbox."""

    receive: Name = Field(description="The mailbox.")


class MmapStep(Model):
    """Map a file, or anonymous memory."""

    mmap: Name = Field(description="What the region is called from now on.")
    size: Size | None = Field(default=None, description="Its size; left out: that of the file.")
    file: Name | None = Field(default=None, description="The file; left out: anonymous memory.")
    offset: Size = Field(default=0, description="Where in the file it begins.")
    shared: bool = Field(default=False, description="Whether others see what is written.")
    protection: Protection = Field(default="rw", description='"rw", "r", "w" or "" (a guard).')


class MunmapStep(Model):
    """Unmap a region."""

    munmap: Name = Field(description="Its name.")


class MprotectStep(Model):
    """Set what may be done with a region."""

    mprotect: Name = Field(description="Its name.")
    protection: Protection = Field(description='"rw", "r", "w" or "" (a guard).')


class BrkStep(Model):
    """Set the size of the heap."""

    brk: Size = Field(description="Its new size.")


class MlockStep(Model):
    """Keep the pages of a region in memory, once they are there."""

    mlock: Name = Field(description="Its name.")
    lock: bool = Field(default=True, description="false lets them go again.")


class MadviseStep(Model):
    """Say how a region is to be treated from now on."""

    madvise: Name = Field(description="Its name.")
    advice: Literal["huge", "nohuge", "mergeable", "unmergeable"] = Field(
        description="Whether it wants huge pages, or same pages merged."
    )


class FillStep(Model):
    """Write whole pages, with a content that has a name."""

    fill: Name = Field(description="The region.")
    pages: int = Field(ge=1, le=1_000_000, description="How many pages.")
    content: str = Field(
        min_length=1, max_length=100, description="What they contain; pages of the same are alike."
    )
    first: int = Field(default=0, ge=0, le=10**9, description="The first of them, counted in the region.")


class RepeatStep(Model):
    """Do some steps again and again."""

    repeat: Repeats = Field(description="How many times.")
    do: list[Step] = Field(min_length=1, description="The steps.")


VERBS: Final[dict[str, type[Model]]] = {
    "compute": ComputeStep,
    "io": IoStep,
    "sleep": SleepStep,
    "yield": YieldStep,
    "fork": ForkStep,
    "wait": WaitStep,
    "exit": ExitStep,
    "exec": ExecStep,
    "nice": NiceStep,
    "priority": PriorityStep,
    "affinity": AffinityStep,
    "kill": KillStep,
    "handle": HandleStep,
    "pause": PauseStep,
    "lock": LockStep,
    "unlock": UnlockStep,
    "down": DownStep,
    "up": UpStep,
    "wait_for": WaitForStep,
    "notify": NotifyStep,
    "write": WriteStep,
    "read": ReadStep,
    "send": SendStep,
    "receive": ReceiveStep,
    "matmul": MatmulStep,
    "vector_add": VectorAddStep,
    "op": OpTable,
    "touch": TouchPages,
    "mmap": MmapStep,
    "munmap": MunmapStep,
    "mprotect": MprotectStep,
    "brk": BrkStep,
    "mlock": MlockStep,
    "madvise": MadviseStep,
    "fill": FillStep,
    "read_file": ReadFileStep,
    "write_file": WriteFileStep,
    "fsync": FsyncStep,
    "truncate": TruncateStep,
    "advise": AdviseStep,
    "drop_caches": DropCachesStep,
    "repeat": RepeatStep,
}
ALSO_KEYS: Final = ("touch", "mlock")
"""Verbs of steps that have a key which is a verb elsewhere: `write`, `lock`."""


def _step(value: Any) -> Any:
    if not isinstance(value, dict) or not VERBS.keys() & value.keys():
        near = did_you_mean(next(iter(value), ""), VERBS) if isinstance(value, dict) else ""
        raise UnfitError(
            'a step is a table with one of these keys, as in { compute = "5 ms" }',
            allowed=tuple(VERBS),
            hint=near,
        )
    return value


def _verb(value: dict[str, Any]) -> str:
    return TAG + next(key for key in (*ALSO_KEYS, *value) if key in value and key in VERBS)


Step = Annotated[
    Annotated[ComputeStep, Tag("~compute")]
    | Annotated[IoStep, Tag("~io")]
    | Annotated[SleepStep, Tag("~sleep")]
    | Annotated[YieldStep, Tag("~yield")]
    | Annotated[ForkStep, Tag("~fork")]
    | Annotated[WaitStep, Tag("~wait")]
    | Annotated[ExitStep, Tag("~exit")]
    | Annotated[ExecStep, Tag("~exec")]
    | Annotated[NiceStep, Tag("~nice")]
    | Annotated[PriorityStep, Tag("~priority")]
    | Annotated[AffinityStep, Tag("~affinity")]
    | Annotated[KillStep, Tag("~kill")]
    | Annotated[HandleStep, Tag("~handle")]
    | Annotated[PauseStep, Tag("~pause")]
    | Annotated[LockStep, Tag("~lock")]
    | Annotated[UnlockStep, Tag("~unlock")]
    | Annotated[DownStep, Tag("~down")]
    | Annotated[UpStep, Tag("~up")]
    | Annotated[WaitForStep, Tag("~wait_for")]
    | Annotated[NotifyStep, Tag("~notify")]
    | Annotated[WriteStep, Tag("~write")]
    | Annotated[ReadStep, Tag("~read")]
    | Annotated[SendStep, Tag("~send")]
    | Annotated[ReceiveStep, Tag("~receive")]
    | Annotated[MatmulStep, Tag("~matmul")]
    | Annotated[VectorAddStep, Tag("~vector_add")]
    | Annotated[OpStep, Tag("~op")]
    | Annotated[TouchStep, Tag("~touch")]
    | Annotated[MmapStep, Tag("~mmap")]
    | Annotated[MunmapStep, Tag("~munmap")]
    | Annotated[MprotectStep, Tag("~mprotect")]
    | Annotated[BrkStep, Tag("~brk")]
    | Annotated[MlockStep, Tag("~mlock")]
    | Annotated[MadviseStep, Tag("~madvise")]
    | Annotated[FillStep, Tag("~fill")]
    | Annotated[ReadFileStep, Tag("~read_file")]
    | Annotated[WriteFileStep, Tag("~write_file")]
    | Annotated[FsyncStep, Tag("~fsync")]
    | Annotated[TruncateStep, Tag("~truncate")]
    | Annotated[AdviseStep, Tag("~advise")]
    | Annotated[DropCachesStep, Tag("~drop_caches")]
    | Annotated[RepeatStep, Tag("~repeat")],
    Discriminator(_verb),
    BeforeValidator(_step),
]
Steps = Annotated[list[Step], Field(min_length=1, max_length=100_000)]


class Program(Model):
    """A program by name, for `fork` and for tasks that share it."""

    steps: Steps = Field(description="What it does, in order.")


def _program(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise UnfitError(
            f"it should be a list of steps, the name of a program or path.py:function, not {kind(value)}"
        )
    return value


ProgramChoice = Annotated[
    Annotated[str, Tag("~name"), Field(min_length=1)] | Annotated[Steps, Tag("~steps")],
    Discriminator(lambda value: "~name" if isinstance(value, str) else "~steps"),
    BeforeValidator(_program),
]
"""Steps, the name of one of [programs], or path.py:function."""
