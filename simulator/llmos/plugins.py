"""Finding a policy or a program by what a person writes.

- `mlfq`: a policy that ships. One class per file of the package; its name is the class's own
  `name`, else the file's. There is nothing to register.
- `mine.py` or `mine.py:Mine`: a class in a file of yours, from a folder that the caller gives.
- `mine.py:work`: a function, for programs.
- A class or file whose name starts with an underscore is nobody's policy.
- Whatever fails ends in a PolicyError that names the file, the line and the cure.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from llmos.errors import LlmosError, PolicyError, did_you_mean

T = TypeVar("T")

_PREFIX = "_llmos_"


def find(spec: str, *, package: str, base: type[T], relative_to: str | Path = ".") -> type[T]:
    """The subclass of `base` that `spec` means: a name in `package`, `path.py` or `path.py:Class`.

    A relative path starts at the folder `relative_to`.
    """
    if _is_path(spec):
        path, name = _split(spec, relative_to)
        return _class_in_file(path, name, base)
    known = available(package, base)
    if spec not in known:
        raise PolicyError(
            f'there is no {_in_words(base)} "{spec}"; there are {", ".join(known) or "none"}',
            hint=did_you_mean(spec, known) or f"or give a file of your own: path.py:{base.__name__}",
        )
    return known[spec]


def available(package: str, base: type[T]) -> dict[str, type[T]]:
    """Every subclass of `base` that ships in `package`, by its name, in alphabetical order."""
    found: dict[str, type[T]] = {}
    for entry in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if entry.name.startswith("_"):
            continue
        module = _import(f"{package}.{entry.name}")
        classes = [cls for cls in _classes(module, base) if not inspect.isabstract(cls)]
        if len(classes) > 1:
            raise PolicyError(
                f"it holds several policies: {', '.join(cls.__name__ for cls in classes)}",
                file=module.__file__,
                hint="keep one policy in each file",
            )
        for cls in classes:
            name = vars(cls).get("name") or entry.name
            if name in found:
                raise PolicyError(
                    f'the name "{name}" is taken by {found[name].__module__}',
                    file=module.__file__,
                    hint="give the class another `name`",
                )
            found[name] = cls
    return dict(sorted(found.items()))


def load_function(spec: str, *, relative_to: str | Path = ".") -> Callable[..., Any]:
    """The function that `path.py:function` means; a relative path starts at `relative_to`."""
    path, name = _split(spec, relative_to)
    if not name:
        raise PolicyError(f'"{spec}" does not name a function', hint="write path.py:function")
    function = getattr(_run_file(path), name, None)
    if not callable(function):
        raise PolicyError(f'it has no function "{name}"', file=path)
    return function  # type: ignore[no-any-return]  # callable() leaves it untyped


def is_own(cls: type) -> bool:
    """Whether `cls` comes from a file of a person's own, and not from a package."""
    return cls.__module__.startswith(_PREFIX)


def blame(error: Exception, time_ns: int | None = None) -> PolicyError | None:
    """Return what a person's own policy did wrong if `error` comes from one, else None."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    owners = (type(frame.f_locals.get("self")) for frame in frames)
    own = next((cls for cls in owners if is_own(cls)), None)
    return None if own is None else _broke(own, error, time_ns)


@contextmanager
def blaming(policy: object) -> Iterator[None]:
    """Turn whatever fails in here into a PolicyError, if `policy` is a person's own."""
    try:
        yield
    except LlmosError:
        raise
    except Exception as error:
        if not is_own(type(policy)):
            raise
        raise _broke(type(policy), error) from error


def _broke(policy: type, error: Exception, time_ns: int | None = None) -> PolicyError:
    file = sys.modules[policy.__module__].__file__
    calls = traceback.extract_tb(error.__traceback__)
    lines = [call.lineno for call in calls if call.filename == file]
    what = f"it failed: {type(error).__name__}: {error}"
    if isinstance(error, NotImplementedError):
        what = f"it has no `{calls[-1].name}`"
    return PolicyError(
        what, policy=policy.__name__, file=file, line=lines[-1] if lines else None, time_ns=time_ns
    )


def _is_path(spec: str) -> bool:
    return spec.endswith(".py") or ".py:" in spec


def _split(spec: str, relative_to: str | Path) -> tuple[Path, str]:
    """The path and the name in `path.py:name`; the name is "" where there is none."""
    path, name = spec, ""
    if ":" in spec and not spec.endswith(".py"):
        path, name = spec.rsplit(":", 1)
    return Path(relative_to, path), name


def _class_in_file(path: Path, name: str, base: type[T]) -> type[T]:
    module = _run_file(path)
    classes = _classes(module, base)
    names = [cls.__name__ for cls in classes]
    if name:
        chosen = getattr(module, name, None)
        if not inspect.isclass(chosen):
            raise PolicyError(
                f'it has no class "{name}"; of {base.__name__} it has {", ".join(names) or "none"}',
                file=path,
                hint=did_you_mean(name, names),
            )
        if not issubclass(chosen, base):
            raise PolicyError(f"{name} is no {base.__name__}", file=path, hint=_how_to_derive(name, base))
    elif len(classes) == 1:
        chosen = classes[0]
    elif classes:
        hint = f"say which: {path.name}:{names[0]}"
        raise PolicyError(f"it has several: {', '.join(names)}", file=path, hint=hint)
    else:
        raise PolicyError(f"it has no {base.__name__}", file=path, hint=_how_to_derive("Mine", base))
    if missing := sorted(getattr(chosen, "__abstractmethods__", ())):
        raise PolicyError(f"{chosen.__name__} leaves out {', '.join(missing)}", file=path, hint="write them")
    return chosen


def _how_to_derive(name: str, base: type) -> str:
    return f"derive it: from {base.__module__} import {base.__name__}; class {name}({base.__name__}): ..."


def _in_words(base: type) -> str:
    """`ReplacementPolicy` as "replacement policy"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", base.__name__).lower()


def _classes(module: ModuleType, base: type[T]) -> list[type[T]]:
    """The policies that `module` itself defines, in the order of the file."""
    classes = [
        cls for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == module.__name__
    ]
    policies = [cls for cls in classes if issubclass(cls, base) and cls is not base]
    return [cls for cls in dict.fromkeys(policies) if not cls.__name__.startswith("_")]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        spec = importlib.util.find_spec(name)
        raise _failed(Path(spec.origin if spec and spec.origin else name), error) from error


def _run_file(path: Path) -> ModuleType:
    """Run the Python file at `path` as a module of its own.

    It is compiled anew each time, not imported: Python's cached bytecode goes by the second, and
    would hand a student who saves twice in one second the older file.
    """
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and typing look a class's module up here
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102  # running the person's own file is the point
    except OSError as error:
        del sys.modules[name]
        if not path.is_file():
            raise PolicyError("there is no such file", file=path) from error
        raise _failed(path, error) from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(path, error) from error
    return module


def _failed(path: Path, error: BaseException) -> PolicyError:
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    return PolicyError(f"it does not load: {type(error).__name__}: {what}", file=path, line=line)
