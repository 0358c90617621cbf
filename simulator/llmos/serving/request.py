"""An LLM request, which is a task whose service is counted in tokens.

- There is no prefill phase and no decode phase: an iteration gives a request some of the tokens that
  it still has to compute. The last output token need not be computed, only sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmos.sched.base import Task


@dataclass(slots=True, eq=False, kw_only=True)
class Request(Task):
    """A prompt to read and an output to write, in tokens (both at least 1)."""

    prompt: int
    output: int
    computed: int = 0
    """Tokens computed so far, of prompt + output - 1."""
    unit: str = "tokens"

    @property
    def decoding(self) -> bool:
        """Whether the prompt is computed, so that each iteration gives one output token."""
        return self.computed >= self.prompt
