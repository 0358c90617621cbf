"""Programs of a scenario: from lists of steps, named programs and Python functions to generators.

- A list of steps is compiled once to system calls; a task then only walks over them.
- A program that forks itself, directly or in a circle, would never end: there are no conditions in
  a list of steps. It is refused, and so all descendants of a task can be counted before a run.
- A Python function (path.py:function) is called without arguments and must return a generator; what
  goes wrong in it is a PolicyError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import GeneratorType, MappingProxyType
from typing import Any, Final

from llmos import plugins
from llmos.costs.ops import Op
from llmos.errors import LlmosError, PolicyError, did_you_mean
from llmos.memory import patterns
from llmos.process import program as calls
from llmos.process.program import Call, Compute, EndJob, Fork, Io, Sleep, Wait, Work, YieldCpu
from llmos.scenario import file_tables, op_tables, positions, touch_tables, traces
from llmos.scenario import program_tables as tables
from llmos.scenario.program_tables import Step
from llmos.scenario.source import Findings, Scenario
from llmos.scenario.work_tables import BurstIo

DEFAULT_DEVICE = "io"
"""The device of I/O that names none: it serves everybody at once."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """I/O that a program goes on after, also if the device has failed."""

    call: Io


Compiled = list["Call | Attempt | tuple[int, Compiled]"]
"""Calls in order; (n, calls) is a loop."""


@dataclass(frozen=True, slots=True)
class Code:
    """A program that can be started any number of times.

    `processes` counts the process itself and all its descendants; `ops` are the kernel operations
    that it runs, with the places where the scenario asks for them.
    """

    start: Callable[[], calls.Program]
    processes: int = 1
    ops: Mapping[Op, positions.Path] = field(default_factory=dict)

    def periodic(self) -> Code:
        """The same work again and again, as jobs of a periodic task."""
        start = self.start

        def forever() -> calls.Program:
            while True:
                yield from start()
                yield EndJob()

        return Code(forever, self.processes, self.ops)


class Programs:
    """The programs of one scenario; what is wrong with them goes to `findings`."""

    def __init__(self, scenario: Scenario, findings: Findings) -> None:
        self.scenario = scenario
        self.findings = findings
        self.devices = {device.name for device in scenario.model.device}
        self.uses_default_device = False
        self._named: dict[str, Code] = {}
        self._functions: dict[str, Code] = {}
        self._open: list[str] = []
        for name in scenario.model.programs:
            self.named(name, ("programs", name))

    def choice(self, value: str | list[Step], path: positions.Path) -> Code:
        """The code of a `program` key: steps, a name, or path.py:function."""
        if isinstance(value, list):
            return self.steps(value, path)
        if value.endswith(".py") or ".py:" in value:
            return self._function(value, path)
        return self.named(value, path)

    def named(self, name: str, path: positions.Path) -> Code:
        """The code of a program of [programs]; `path` is where it is asked for."""
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            self.findings.add(path, f"the program forks itself for ever: {circle}", hint="break the circle")
            return _NOTHING
        if name not in self._named:
            program = self.scenario.model.programs.get(name)
            if program is None:
                known = list(self.scenario.model.programs)
                hint = (
                    did_you_mean(name, known)
                    or f'write it under [programs.{name}], as steps = [{{ compute = "5 ms" }}]'
                )
                self.findings.add(path, f'there is no program "{name}"', allowed=tuple(known), hint=hint)
                return _NOTHING
            self._open.append(name)
            self._named[name] = self.steps(program.steps, ("programs", name, "steps"))
            self._open.pop()
        return self._named[name]

    def steps(self, steps: list[Step], path: positions.Path) -> Code:
        """The code of a list of steps."""
        ops: dict[Op, positions.Path] = {}
        compiled, children = self._compile(steps, path, ops)
        return Code(lambda: _walk(compiled), 1 + children, ops)

    def burst(self, ns: int, io: BurstIo | None, path: positions.Path) -> Code:
        """The code of a burst of `ns`, cut into pieces by I/O if there is any."""
        if io is None:
            return Code(lambda: _walk([Compute(ns)]))
        name = self._device(io.device, (*path, "io", "device"))
        pieces, rest = divmod(ns - 1, io.every)
        compiled: Compiled = [(pieces, [Compute(io.every), Io(name, io.time)]), Compute(rest + 1)]
        return Code(lambda: _walk(compiled))

    def _compile(
        self, steps: list[Step], path: positions.Path, ops: dict[Op, positions.Path]
    ) -> tuple[Compiled, int]:
        """The calls of `steps`, and how many processes they bring to life; `ops` collects operations."""
        out: Compiled = []
        children = 0
        for i, step in enumerate(steps):
            place = (*path, i)
            match step:
                case tables.RepeatStep():
                    inner, born = self._compile(step.do, (*place, "do"), ops)
                    out.append((step.repeat, inner))
                    children += step.repeat * born
                case tables.ForkStep():
                    child = self.named(step.fork, (*place, "fork"))
                    ops.update(child.ops)
                    out.append((step.count, [Fork(child.start, step.name or "")]))
                    children += step.count * child.processes
                case tables.ExecStep():
                    after = self.named(step.exec, (*place, "exec"))
                    ops.update(after.ops)
                    out.append(calls.Exec(after.start, step.exec))
                    children += after.processes - 1
                case tables.HandleStep(program=str() as name):
                    handler = self.named(name, (*place, "program"))
                    ops.update(handler.ops)
                    out.append(calls.Handle(step.handle, handler.start))
                case tables.IoStep():
                    call = Io(self._device(step.io, (*place, "io")), step.time)
                    out.append(call if step.on_error == "exit" else Attempt(call))
                case tables.FillStep():
                    out.append((1, _fill(step)))
                case op_tables.OperationStep():
                    device = self._device(step.on, (*place, "on")) if step.on else ""
                    work = Work(step.operation, step.count, device)
                    ops.setdefault(work.op, place)
                    out.append(work)
                case file_tables.FileRange():
                    self._check_names(step, place)
                    out.append((step.random or 1, [_file_call(step)]))
                case _:
                    out.append(self._call(step, place))
        return out, children

    def _call(self, step: Step, path: positions.Path) -> Call:
        self._check_names(step, path)
        match step:
            case touch_tables.Pattern():
                return self._pattern(step, path)
            case touch_tables.TouchTrace():
                return self._trace(step, path)
            case tables.AffinityStep():
                return calls.SetAffinity(self._cores(step.affinity, (*path, "affinity")))
            case _:
                return _CALLS[type(step)](step)

    def _check_names(self, step: Step, path: positions.Path) -> None:
        for key, kind in _NAMES.items():
            name = getattr(step, key, None)
            if isinstance(name, str):  # `lock` of mlock and `write` of touch are none
                self._check_shared(kind, name, (*path, key))

    def _check_shared(self, kind: str, name: str, path: positions.Path) -> None:
        known = [thing.name for thing in getattr(self.scenario.model, kind)]
        if name not in known:
            hint = did_you_mean(name, known) or f'declare it: [[{kind}]] with name = "{name}"'
            self.findings.add(path, f'there is no {kind} "{name}"', allowed=tuple(known), hint=hint)

    def _cores(self, numbers: list[int], path: positions.Path) -> frozenset[int]:
        count = self.scenario.model.cpu.count if self.scenario.model.cpu else 1
        for i, number in enumerate(numbers):
            if number >= count:
                self.findings.add((*path, i), f"there is no core {number}; the last one is {count - 1}")
        return frozenset(numbers)

    def _device(self, name: str | None, path: positions.Path) -> str:
        if name is None:
            self.uses_default_device = True
            return DEFAULT_DEVICE
        if name not in self.devices:
            hint = did_you_mean(name, self.devices) or f'declare it: [[device]] with name = "{name}"'
            self.findings.add(
                path, f'there is no device "{name}"', allowed=tuple(sorted(self.devices)), hint=hint
            )
        return name

    def _pattern(self, step: touch_tables.Pattern, path: positions.Path) -> Call:
        memory = self.scenario.model.memory
        page_bytes = memory.page if memory else patterns.PAGE_BYTES
        try:
            step.references(page_bytes, Random(0))  # nothing is drawn before the first reference
        except LlmosError as error:
            self.findings.add_error(path, error)
        return calls.Touch(lambda random: step.references(page_bytes, random), step.touch, drawn=True)

    def _trace(self, step: touch_tables.TouchTrace, path: positions.Path) -> Call:
        file = self.scenario.folder / step.trace
        traces.look_for(file, (*path, "trace"), self.findings)

        def references() -> Iterator[Sequence[int]]:
            from llmos.memory.traces import read  # NumPy takes a while to load

            trace = read(file, kind=step.kind or "", page_size=step.page_size, column=step.column)
            chunks = patterns.numbered(trace)
            return chunks if step.limit is None else patterns.first(chunks, step.limit)

        return calls.Touch(references, step.touch)

    def _function(self, spec: str, path: positions.Path) -> Code:
        if spec not in self._functions:
            try:
                function = plugins.load_function(spec, relative_to=self.scenario.folder)
            except LlmosError as error:
                self.findings.add_error(path, error)
                return _NOTHING
            self._functions[spec] = Code(lambda: _generator(function, spec, self.scenario.folder))
        return self._functions[spec]


_NAMES: Final = MappingProxyType(
    {"lock": "mutex", "unlock": "mutex", "mutex": "mutex", "down": "semaphore", "up": "semaphore",
     "wait_for": "condition", "notify": "condition", "write": "pipe", "read": "pipe", "send": "mailbox",
     "receive": "mailbox", "read_file": "file", "write_file": "file", "fsync": "file", "truncate": "file",
     "advise": "file", "file": "file"}
)  # fmt: skip
"""What sort of shared thing the keys of a step name."""

_CALLS: Final = MappingProxyType[Any, Callable[[Any], Call]](
    {
        tables.ComputeStep: lambda step: Compute(step.compute),
        tables.SleepStep: lambda step: Sleep(step.sleep),
        tables.YieldStep: lambda _: YieldCpu(),
        tables.WaitStep: lambda _: Wait(),
        tables.ExitStep: lambda _: calls.Exit(),
        tables.NiceStep: lambda step: calls.Nice(step.nice),
        tables.PriorityStep: lambda step: calls.SetPriority(step.priority),
        tables.KillStep: lambda step: calls.Kill(step.kill, step.signal),
        tables.HandleStep: lambda step: calls.Handle(step.handle, step.action),
        tables.PauseStep: lambda _: calls.Pause(),
        tables.LockStep: lambda step: calls.Lock(step.lock),
        tables.UnlockStep: lambda step: calls.Unlock(step.unlock),
        tables.DownStep: lambda step: calls.Down(step.down),
        tables.UpStep: lambda step: calls.Up(step.up),
        tables.WaitForStep: lambda step: calls.WaitFor(step.wait_for, step.mutex),
        tables.NotifyStep: lambda step: calls.Notify(step.notify, step.all),
        tables.WriteStep: lambda step: calls.Write(step.write, step.size),
        tables.ReadStep: lambda step: calls.Read(step.read, step.size),
        tables.SendStep: lambda step: calls.Send(step.send),
        touch_tables.TouchPages: lambda step: calls.Touch(lambda: iter([step.pages]), step.touch),
        tables.MmapStep: lambda step: calls.Mmap(
            step.mmap, step.size, step.file or "", step.offset, step.shared, step.protection
        ),
        tables.MunmapStep: lambda step: calls.Munmap(step.munmap),
        tables.MprotectStep: lambda step: calls.Mprotect(step.mprotect, step.protection),
        tables.BrkStep: lambda step: calls.Brk(step.brk),
        tables.MadviseStep: lambda step: calls.Madvise(step.madvise, step.advice),
        tables.MlockStep: lambda step: calls.Mlock(step.mlock, step.lock),
        file_tables.FsyncStep: lambda step: calls.Fsync(step.fsync),
        file_tables.TruncateStep: lambda step: calls.Truncate(step.truncate, step.size),
        file_tables.AdviseStep: lambda step: calls.Advise(step.advise, step.advice),
        file_tables.DropCachesStep: lambda _: calls.DropCaches(),
        tables.ReceiveStep: lambda step: calls.Receive(step.receive),
    }
)
"""The call of each step that needs nothing but itself."""


def _walk(compiled: Compiled) -> calls.Program:
    for item in compiled:
        if isinstance(item, tuple):
            for _ in range(item[0]):
                yield from _walk(item[1])
        elif isinstance(item, Attempt):
            yield item.call
        elif (yield item) == -1 and isinstance(item, Io | Work):
            yield calls.Exit(f"input/output error of {item.device}")


def _file_call(step: file_tables.FileRange) -> Call:
    by_lot = step.random is not None
    if isinstance(step, file_tables.WriteFileStep):
        return calls.WriteFile(step.write_file, step.size, step.offset, by_lot, step.direct)
    assert isinstance(step, file_tables.ReadFileStep)  # noqa: S101  # for mypy: there are these two
    return calls.ReadFile(step.read_file, step.size, step.offset, by_lot, step.direct)


_NOTHING = Code(lambda: _walk([]))


def _fill(step: tables.FillStep) -> Compiled:
    """Write pages, and then say what they contain."""
    writes = [page << 1 | 1 for page in range(step.first, step.first + step.pages)]
    written = calls.Touch(lambda: iter([writes]), step.fill)
    return [written, calls.Fill(step.fill, step.pages, step.content, step.first)]


def _generator(function: Callable[[], object], spec: str, folder: Path) -> calls.Program:
    """Start the program that a person's function makes.

    Raises PolicyError when it fails or makes no generator.
    """
    file = folder / spec.rpartition(":")[0]
    try:
        made = function()
    except Exception as error:
        raise PolicyError(f"the program failed: {type(error).__name__}: {error}", file=file) from error
    if not isinstance(made, GeneratorType):
        raise PolicyError(
            f"{spec} makes no program, but {type(made).__name__}",
            file=file,
            hint="write a generator: def work(): yield Compute(5 * MS)",
        )
    return made
