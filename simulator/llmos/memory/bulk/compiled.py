"""Loops that numba compiles to machine code.

- A loop is compiled when it is first called, which takes about a second, and is kept in the user's cache
  folder (or in NUMBA_CACHE_DIR) for the next process.
- The folder is named by what the sources say, so a change of any of them compiles all of them anew.
- Whoever imports a file of compiled loops imports numba. The package itself does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import config, njit
from numpy.typing import NDArray
from platformdirs import user_cache_path

Ids = NDArray[np.int32]
"""References to dense ids, shape (n,)."""

Flags = NDArray[np.bool_]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Return `function` as a loop that numba compiles; numbers only, no Python objects inside."""
    given = config.CACHE_DIR  # type: ignore[attr-defined]  # numba makes its settings at run time
    config.CACHE_DIR = given or str(_folder())  # type: ignore[attr-defined]
    try:
        return cast("F", njit(cache=True)(function))
    except RuntimeError:  # no folder can be written: compile in every process
        return cast("F", njit(function))
    finally:
        config.CACHE_DIR = given  # type: ignore[attr-defined]


@cache
def _folder() -> Path:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return user_cache_path("llmos") / "compiled" / digest[:16]
