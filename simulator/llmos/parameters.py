"""What the parameters of a policy mean: annotations that tell a scenario how to read them.

`llmos.scenario.policies` reads a value by its annotation; plain `int`, `float`, `bool`, `str` and
lists of them are read as they stand.
"""

from random import Random
from typing import Annotated

Service = Annotated[int, "service"]
"""A policy parameter in units of service.

A scenario gives it as "5 ms" on a core and "16 tokens" in an engine. When it is left out, its
default, written for a core, means as many slices in an engine: SLICE becomes 32 tokens.
"""

Duration = Annotated[int, "duration"]
"""A policy parameter that is a time in nanoseconds in both worlds."""

CoreCount = Annotated[int, "cores"]
"""A policy parameter that is the number of cores; unless a scenario says otherwise, the machine's."""

Capacity = Annotated[int, "capacity"]
"""A policy parameter that is the number of places it orders (frames, entries, blocks); the mechanism
gives it, never a scenario."""

Dice = Annotated[Random, "dice"]
"""A policy parameter that is a random stream of its own; the machine gives it, never a scenario."""
