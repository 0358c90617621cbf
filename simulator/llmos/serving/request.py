"""An LLM request, which is a task whose service is counted in tokens.

- There is no prefill phase and no decode phase: an iteration gives a request some of the tokens that it
  still has to compute. The last output token need not be computed, only sampled.
- It may lose what it has computed (its KV blocks) and must then compute it again, what it has written
  included; what it has written is not lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.sched.base import Task

if TYPE_CHECKING:
    from llmos.memory.pager import Page


@dataclass(slots=True, eq=False, kw_only=True)
class Request(Task):
    """A prompt to read and an output to write, in tokens (both at least 1)."""

    prompt: int
    output: int
    computed: int = 0
    """Tokens whose keys and values are there, of prompt + output - 1."""
    written: int = 0
    """Output tokens so far."""
    ids: list[int] = field(default_factory=list)
    """What its tokens are, prompt and output, as far as anybody knows: equal beginnings are shared."""
    table: list[Page] = field(default_factory=list)
    """Its block table: the KV blocks of its tokens, in order."""
    unit: str = "tokens"

    @property
    def known(self) -> int:
        """The tokens that it has, computed or not: prompt and output so far."""
        return self.prompt + self.written

    @property
    def decoding(self) -> bool:
        """Whether only its newest token is not computed, so that each iteration gives one more."""
        return self.written > 0 and self.computed == self.known - 1
