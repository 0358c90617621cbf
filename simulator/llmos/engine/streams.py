"""Random numbers that stay put.

- Each consumer draws from a stream of its own, known by its name: adding one consumer does not
  shift what another draws.
- A stream depends on the run's seed and its name only, not on the machine, the Python version or
  `PYTHONHASHSEED`. Distributions are computed from `Random.random`, whose sequence Python promises
  to keep.
"""

from __future__ import annotations

import hashlib
from random import Random


def stream(seed: int, name: str) -> Random:
    """Return the stream called `name` of the run with this `seed`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return Random(int.from_bytes(digest, "big"))  # a simulation, not a secret
