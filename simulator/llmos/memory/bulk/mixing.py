"""A number's bits, well mixed, for hash tables and for samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import compiled

Words = NDArray[np.uint64]


@compiled
def mixed(key: np.uint64) -> np.uint64:
    """Return 64 bits that look random, others for every other `key`.

    Source: Steele, Lea and Flood, OOPSLA'14 (SplitMix64).
    """
    key += np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@compiled
def all_mixed(keys: Words) -> Words:
    """Return each of `keys` mixed, shape (n,)."""
    out = np.empty(len(keys), np.uint64)
    for i in range(len(keys)):
        out[i] = mixed(keys[i])
    return out
