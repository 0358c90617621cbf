"""From a policy's name and parameters in a scenario to the policy itself; and what each one is about.

- The parameters of a policy are those of its `__init__`: their annotations say how to read them.
  `Service` is time on a core and tokens in an engine, `Duration` is time in both.
- A parameter may differ by world: quantum = { cpu = "5 ms", engine = "16 tokens" }.
- A `Service` that is left out in an engine keeps its number of slices: 10 ms become 32 tokens.
- On a command line a choice is one text: "rr quantum=5 ms", "mlfq quantum=[5 ms, 10 ms, 20 ms]";
  `parse_choice` reads it and `label` writes it.
- Schedulers and replacement policies are two families; a policy of either is read by the same rules.
- Nobody chooses a `Dice` parameter (a random stream of the run) or a `Capacity` (the number of places).
- `describe` reads a policy's docstring: summary, lesson, parameters, source.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from llmos import plugins
from llmos.engine.streams import stream
from llmos.errors import LlmosError, PolicyError, Problem, ScenarioError, did_you_mean
from llmos.parameters import Capacity, CoreCount, Dice, Duration, Service
from llmos.replacement.base import ReplacementPolicy
from llmos.scenario import units
from llmos.scenario.spec import PolicySpec, ReplacementSpec
from llmos.scenario.units import UnfitError
from llmos.sched.base import SLICE, Scheduler, duration

World = Literal["cpu", "engine"]
WORLDS: Final = ("cpu", "engine")
SLICE_TOKENS: Final = 32
LARGEST_NUMBER: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Family:
    """Policies behind one contract."""

    package: str
    base: type[Any]


SCHEDULERS: Final = Family("llmos.sched", Scheduler)
REPLACEMENT: Final = Family("llmos.replacement", ReplacementPolicy)
_GIVEN: Final = (Dice, Capacity)
"""Parameters that the machine gives."""

_PART = re.compile(r"\s+(?=[A-Za-z_]\w*\s*=)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a policy, in words."""

    name: str
    type: str
    default: str
    doc: str


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """What a policy is about: `summary` in a sentence, `lesson` in a paragraph, and where it is from."""

    name: str
    cls: type
    summary: str
    lesson: str
    parameters: tuple[Parameter, ...]
    source: str
    differs: str


def names(family: Family = SCHEDULERS) -> list[str]:
    """The names of the policies of a family that ship."""
    return list(plugins.available(family.package, family.base))


def policy_spec(
    value: str | Mapping[str, Any],
    world: World,
    *,
    folder: Path = Path(),
    tick_ns: int | None = None,
    seed: int = 0,
    cores: int | None = None,
) -> PolicySpec:
    """The policy that `value` means: a name, a text as on the command line, or a table with `policy`.

    `folder` is where path.py starts; `tick_ns` is what a bare number of time means; `seed` is the run's,
    `cores` the machine's.
    Raises ScenarioError with all its problems; their keys are the parameters' names.
    """
    choice, cls, arguments = _chosen(value, SCHEDULERS, world, folder, tick_ns, cores)

    def make() -> Scheduler:
        dice = [name for name, (_, hint) in _signature(cls).items() if hint == Dice]
        made: Scheduler = cls(
            **copy.deepcopy(arguments), **{name: stream(seed, "scheduler") for name in dice}
        )
        return made

    _try(make, arguments)
    here = {k: v.get(world) if _by_world(v) else v for k, v in choice.items()}
    return PolicySpec(name=label(here), make=make)


def replacement_spec(
    value: str | Mapping[str, Any], *, folder: Path = Path(), seed: int = 0, place: str = "replacement"
) -> ReplacementSpec:
    """The replacement policy that `value` means, as in `policy_spec`.

    `place` names its random stream: what it orders ("frames", "tlb"). Raises ScenarioError with all its
    problems; their keys are the parameters' names.
    """
    choice, cls, arguments = _chosen(value, REPLACEMENT, "cpu", folder, None, None)

    def make(capacity: int) -> ReplacementPolicy:
        given: dict[str, Any] = {}
        for name, (_, hint) in _signature(cls).items():
            if hint == Dice:
                given[name] = stream(seed, place)
            elif hint == Capacity:
                given[name] = capacity
        made: ReplacementPolicy = cls(**copy.deepcopy(arguments), **given)
        return made

    _try(lambda: make(LARGEST_NUMBER), arguments)
    return ReplacementSpec(name=label(choice), make=make, offline=cls.offline)


def _chosen(
    value: str | Mapping[str, Any],
    family: Family,
    world: World,
    folder: Path,
    tick_ns: int | None,
    cores: int | None,
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """The choice that `value` spells, its class and the arguments that it gives."""
    choice = parse_choice(value) if isinstance(value, str) else dict(value)
    try:
        cls: Any = plugins.find(
            choice["policy"], package=family.package, base=family.base, relative_to=folder
        )
    except LlmosError as error:
        place = ":".join(str(part) for part in (error.file, error.line) if part is not None)
        message = f"{place}: {error.message}" if place else error.message
        raise ScenarioError([Problem(message, key="policy", hint=error.hint)]) from error
    given = {name: v for name, v in choice.items() if name != "policy"}
    return choice, cls, _arguments(cls, given, world, tick_ns, cores)


def parse_choice(text: str) -> dict[str, Any]:
    """The policy and parameters in a text such as "rr quantum=5 ms"; "a/b" differs by world."""
    policy, *parts = _PART.split(text.strip())
    choice: dict[str, Any] = {"policy": policy}
    for part in parts:
        name, _, value = part.partition("=")
        by_world = [_listed(v) for v in value.split("/")]
        choice[name.strip()] = dict(zip(WORLDS, by_world, strict=False)) if len(by_world) > 1 else by_world[0]
    return choice


def label(value: str | Mapping[str, Any]) -> str:
    """A choice as one text, as `parse_choice` reads it."""
    choice = parse_choice(value) if isinstance(value, str) else value
    parts = [f" {name}={_text(v)}" for name, v in choice.items() if name != "policy" and v is not None]
    return "".join([choice["policy"], *parts])


def describe(name: str) -> PolicyInfo:
    """What the scheduler or replacement policy called `name` (or path.py:Class) is about.

    Raises PolicyError when there is none.
    """
    cls: Any = _find(name)
    paragraphs, sections = _read_docstring(inspect.getdoc(cls) or "")
    docs = _parameter_docs(sections.get("Parameters", ""))
    parameters = tuple(
        Parameter(p.name, _type_in_words(hint), _default_in_words(p.default, hint), docs.get(p.name, ""))
        for p, hint in _parameters(cls).values()
    )
    summary, *lesson = paragraphs or [""]
    source = " ".join(sections.get("Source", "").split())
    differs = " ".join(sections.get("Differs", "").split())
    return PolicyInfo(name, cls, summary, "\n\n".join(lesson), parameters, source, differs)


# --- reading parameters -----------------------------------------------------------------------------


def _parameters(cls: type) -> dict[str, tuple[inspect.Parameter, Any]]:
    """The parameters of `cls` that people give, each with its annotation."""
    return {name: (p, hint) for name, (p, hint) in _signature(cls).items() if hint not in _GIVEN}


def _find(name: str) -> type:
    """The class of either family that `name` means; raises PolicyError."""
    try:
        return plugins.find(name, package=REPLACEMENT.package, base=ReplacementPolicy)
    except PolicyError:
        pass
    try:
        return plugins.find(name, package=SCHEDULERS.package, base=Scheduler)
    except PolicyError as error:  # a misspelt name may be one of either family
        if hint := did_you_mean(name, [*names(SCHEDULERS), *names(REPLACEMENT)]):
            raise PolicyError(f'there is no policy "{name[:60]}"', hint=hint) from error
        if not name.endswith(".py") and ".py:" not in name:
            hint = "llmos list schedulers and llmos list replacement show all there are"
            raise PolicyError(f'there is no policy "{name[:60]}"', hint=hint) from error
        raise


def _signature(cls: Any) -> dict[str, tuple[inspect.Parameter, Any]]:
    """All parameters of `cls`, each with its annotation (Any if it has none or it cannot be read)."""
    try:
        hints = get_type_hints(cls.__init__, include_extras=True)
    except Exception:  # noqa: BLE001  # whatever is wrong with a person's annotations, they are only hints
        hints = {}
    signature = inspect.signature(cls)
    return {
        p.name: (p, hints.get(p.name, Any))
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _arguments(
    cls: type,
    given: Mapping[str, Any],
    world: World,
    tick_ns: int | None,
    cores: int | None,
) -> dict[str, Any]:
    known = _parameters(cls)
    problems, arguments = [], {}
    for name in given.keys() - known.keys():
        hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'no parameters'}"
        problems.append(Problem("the policy has no such parameter", key=name, hint=hint))
    for name, (parameter, hint) in known.items():
        value = given.get(name)
        if _by_world(value):
            value = value.get(world)
        try:
            if value is not None:
                arguments[name] = _read(hint, value, world, tick_ns)
            elif parameter.default is parameter.empty:
                problems.append(Problem("the policy needs this parameter", key=name))
            elif hint == CoreCount and cores is not None:
                arguments[name] = cores
            elif world == "engine" and _is_service(hint):
                arguments[name] = _slices(parameter.default)
        except UnfitError as unfit:
            problems.append(Problem(unfit.message, key=name, allowed=unfit.allowed, hint=unfit.hint))
    if problems:
        raise ScenarioError(sorted(problems, key=lambda p: p.key))
    return arguments


def _by_world(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and value.keys() <= set(WORLDS)


def _read(hint: Any, value: Any, world: World, tick_ns: int | None) -> Any:
    """Read `value` as the annotation `hint` says.

    Raises UnfitError.
    """
    if hint == Service:
        amount = units.duration_ns(value, tick_ns) if world == "cpu" else units.tokens(value)
        if amount < 1:
            raise UnfitError(f"it should be more than 0, not {units.shown(value)}")
        return amount
    if hint == Duration:
        return units.duration_ns(value, tick_ns)
    if get_origin(hint) in (Union, UnionType):
        return _read_union(hint, value, world, tick_ns)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise UnfitError(f"it should be a list, not {units.kind(value)}")
        return [_read(get_args(hint)[0], item, world, tick_ns) for item in value]
    if get_origin(hint) is Annotated:
        return _read(get_args(hint)[0], value, world, tick_ns)
    return _read_plain(hint, value, world, tick_ns)


def _read_union(hint: Any, value: Any, world: World, tick_ns: int | None) -> Any:
    options = [option for option in get_args(hint) if option is not NoneType]
    fitting = [option for option in options if (get_origin(option) is list) == isinstance(value, list)]
    error = UnfitError(f"it should not be {units.kind(value)}")
    for option in fitting:
        try:
            return _read(option, value, world, tick_ns)
        except UnfitError as unfit:
            error = unfit
    raise error


def _read_plain(hint: Any, value: Any, world: World, tick_ns: int | None) -> Any:
    if hint is Any:
        if isinstance(value, str) and value[:1].isdigit():  # an amount, for a policy without annotations
            return units.duration_ns(value, tick_ns) if world == "cpu" else units.tokens(value)
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > LARGEST_NUMBER:
            raise UnfitError(f"it should be at most {LARGEST_NUMBER:,}, not {units.shown(value)}")
        return value
    if hint is float:
        return float(units.number(value))
    if hint is str and isinstance(value, str):
        return value
    raise UnfitError(f"it should be {_type_in_words(hint)}, not {units.kind(value)}")


def _is_service(hint: Any) -> bool:
    return hint == Service or any(
        _is_service(part) for part in get_args(hint) if get_origin(hint) is not Annotated
    )


def _slices(default: Any) -> Any:
    """A default written for a core, as the same number of slices of tokens."""
    if isinstance(default, list):
        return [_slices(item) for item in default]
    if not isinstance(default, int):
        return default
    return max(1, (default * SLICE_TOKENS + SLICE // 2) // SLICE)


def _try(make: Callable[[], object], arguments: dict[str, Any]) -> None:
    """Make one, to see whether the policy itself takes the arguments."""
    try:
        make()
    except ValueError as error:
        name, _, rest = str(error).partition(": ")
        key, message = (name, rest) if name in arguments else ("", str(error))
        raise ScenarioError([Problem(message or "the policy refuses its parameters", key=key)]) from error
    except Exception as error:
        message = f"the policy cannot be made: {type(error).__name__}: {error}"
        raise ScenarioError([Problem(message, key="policy")]) from error


# --- texts ------------------------------------------------------------------------------------------


def _listed(text: str) -> Any:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_plain(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return _plain(text)


def _plain(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    return Decimal(text) if re.fullmatch(r"[+-]?\d{1,18}\.\d{1,18}", text) else text


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(_text(value.get(world, "")) for world in WORLDS)
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_in_words(hint: Any) -> str:
    if hint == Service:
        return "service"
    if hint == Duration:
        return "duration"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_type_in_words(option) for option in get_args(hint) if option is not NoneType)
    if get_origin(hint) is list:
        return f"list of {_type_in_words(get_args(hint)[0])}"
    if get_origin(hint) is Annotated:
        return _type_in_words(get_args(hint)[0])
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "anything"}
    return words.get(hint, "something that a scenario cannot write")


def _default_in_words(default: Any, hint: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if hint == CoreCount:
        return "the machine's"
    if default is None or default == []:
        return "none"
    if isinstance(default, list):
        return ", ".join(_default_in_words(item, hint) for item in default)
    if isinstance(default, bool) or not isinstance(default, int):
        return _text(default)
    if _is_service(hint):
        return f"{duration(default)}, {_slices(default)} tokens in an engine"
    return duration(default) if hint == Duration else str(default)


def _read_docstring(text: str) -> tuple[list[str], dict[str, str]]:
    """The free paragraphs of a docstring, each on one line, and its named sections."""
    paragraphs: list[str] = []
    sections: dict[str, str] = {}
    for block in re.split(r"\n\s*\n", text):
        start = re.match(r"(Parameters|Source|Differs):\s*", block)
        if not start:
            paragraphs.append(" ".join(block.split()))
            continue
        parts = re.split(r"^(Parameters|Source|Differs):", block, flags=re.MULTILINE)[1:]
        sections |= dict(zip(parts[::2], parts[1::2], strict=True))
    return paragraphs, sections


def _parameter_docs(section: str) -> dict[str, str]:
    docs = re.split(r"^    (\w+):", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(doc.split()) for name, doc in zip(docs[::2], docs[1::2], strict=True)}
