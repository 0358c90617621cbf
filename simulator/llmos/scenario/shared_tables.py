"""The tables of a scenario for what tasks share, the groups they form, and what happens from outside."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from llmos.scenario.fields import Count, Duration, Model, Name, PositiveDuration, Priority, Size
from llmos.scenario.units import UnfitError

Signal = Literal["KILL", "TERM", "INT", "USR1", "USR2", "STOP", "CONT"]


class Mutex(Model):
    """A lock that one task holds at a time."""

    name: Name = Field(description="What programs call it.")
    protocol: Literal["none", "inherit", "ceiling"] = Field(
        default="none",
        description="Against priority inversion: its holder inherits the priority of who waits, or has the "
        "ceiling.",
    )
    ceiling: Priority | None = Field(
        default=None, description='The priority of its holder, with protocol = "ceiling".'
    )

    @model_validator(mode="after")
    def _consistent(self) -> Mutex:
        if (self.protocol == "ceiling") != (self.ceiling is not None):
            raise UnfitError(
                '`ceiling` and protocol = "ceiling" belong together', hint="give both, or neither"
            )
        return self


class Semaphore(Model):
    """A counter that tasks take from and add to."""

    name: Name = Field(description="What programs call it.")
    value: int = Field(default=0, ge=0, le=10**9, description="What it begins with.")
    owned: bool = Field(
        default=False, description="Whether only who has taken from it adds to it, as with a lock."
    )


class Condition(Model):
    """Something that tasks wait for, with a mutex."""

    name: Name = Field(description="What programs call it.")


class Pipe(Model):
    """Bytes from writers to readers."""

    name: Name = Field(description="What programs call it.")
    capacity: Size = Field(default=65_536, description="Bytes that it holds.")

    @model_validator(mode="after")
    def _holds_something(self) -> Pipe:
        if not self.capacity:
            raise UnfitError("a pipe of 0 bytes passes nothing on", hint='as in capacity = "64 KiB"')
        return self


class Mailbox(Model):
    """Messages from senders to receivers."""

    name: Name = Field(description="What programs call it.")
    capacity: int = Field(
        default=0, ge=0, le=10**6, description="Messages that it holds; 0 = any number of them."
    )


class Cgroup(Model):
    """A group of tasks with a share of the processor."""

    name: Name = Field(description="What tasks call it, in `group`.")
    weight: int = Field(default=100, ge=1, le=10_000, description="Its share, relative to other groups.")
    quota: PositiveDuration | None = Field(
        default=None,
        description="CPU time that it may use in each period, on the cores of a ready queue together.",
    )
    period: PositiveDuration = Field(default=100_000_000, description="The period of the quota.")
    processes: Count | None = Field(
        default=None, description="How many processes it may have at a time; `fork` fails beyond that."
    )
    memory: Size | None = Field(
        default=None, gt=0, description="Memory that all its tasks together may have; left out: any."
    )


class Inject(Model):
    """Something that happens to the machine: an interrupt, a signal, or something that fails."""

    interrupt: Name | None = Field(default=None, description="An interrupt, by what it is called.")
    signal: Signal | None = Field(default=None, description="A signal, to `task`.")
    pause: Name | None = Field(default=None, description="A device that serves nobody for `time`.")
    fail: Name | None = Field(default=None, description="A device that fails to serve `requests`.")
    offline: int | None = Field(
        default=None, ge=0, le=1023, description="A core that goes offline, for `time` or for good."
    )
    task: Name | None = Field(default=None, description="Who gets the signal.")
    cpu: int = Field(default=0, ge=0, le=1023, description="The core that handles the interrupt.")
    time: Duration = Field(
        default=0, description="How long the interrupt or the pause takes, or the core is offline."
    )
    requests: Count | None = Field(
        default=None, description="How many requests fail, of those that the device serves next; 1."
    )
    at: Duration = Field(default=0, description="When it happens first.")
    every: PositiveDuration | None = Field(default=None, description="How often it happens again.")
    count: Count | None = Field(
        default=None, description="How often it happens; left out: once, or with `every` to the end."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Inject:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise UnfitError(
                f"it needs one of {', '.join(KINDS)}", hint='as in interrupt = "network", time = "5 us"'
            )
        if (self.task is not None) != (self.signal is not None):
            raise UnfitError("`signal` and `task` belong together", hint='as in signal = "KILL", task = "A"')
        if self.count is not None and self.count > 1 and self.every is None:
            raise UnfitError("several times, but how often?", hint='give `every`, as in every = "1 ms"')
        if self.requests is not None and self.fail is None:
            raise UnfitError("`requests` is for a device that fails", hint='add `fail`, as in fail = "disk"')
        if self.every is not None and self.offline is not None and not 0 < self.time <= self.every:
            raise UnfitError(
                "the core would never come back", hint="give a `time` that is not longer than `every`"
            )
        return self


KINDS: Final = ("interrupt", "signal", "pause", "fail", "offline")
