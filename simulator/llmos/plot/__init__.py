"""Figures that people would show: who ran when, schedulers side by side, distributions.

- Each function folds a run's state or a comparison into one matplotlib `Figure`; `save` writes it.
- matplotlib loads here and nowhere else, object by object: no pyplot, and nobody's settings change.
- The title is the scenario's question; the caption says scenario, seeds, convention and costs.
- Every figure reads in grey and with any colour vision: lightness, hatches, dashes, and names beside
  what they name.
- Nothing to show is a figure that says so, never an exception.
"""

from llmos.plot.bars import comparison
from llmos.plot.curves import cdf
from llmos.plot.page import save
from llmos.plot.timeline import gantt

__all__ = ["cdf", "comparison", "gantt", "save"]
