"""What the operating system's own work costs on this machine: calls, switches, faults, files.

- `probes` says what is measured and how: one context manager for each, which yields a function that takes
  one sample. `cpu`, `memory` and `files` have the real ones; `pretended` those of a machine that is none.
- `rounds` takes the samples in turn, so that a slow moment spreads over all, and makes figures of them.
- What a platform lacks is left out, with a note that says why. No figure is made up.
"""

from llmos.kernels.os_costs.probes import pretended_probes, real_probes
from llmos.kernels.os_costs.rounds import SystemRounds

__all__ = ["SystemRounds", "pretended_probes", "real_probes"]
