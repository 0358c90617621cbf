"""Write the golden summaries of the shipped scenarios anew: python tests/scenario/golden.py.

Do so when a change of the simulator, of a scenario or of the reference profile is meant to change
their results, and look at the difference before you commit it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmos.scenario.build import build
from llmos.scenario.compare import Comparison, compare, estimate
from llmos.scenario.load import load, shipped
from llmos.scenario.machine import run
from llmos.scenario.source import Scenario
from llmos.trace.metrics import metrics

FOLDER = Path(__file__).parent / "golden"


def summary(path: Path, compare: Callable[[Scenario], Comparison] = compare) -> dict[str, Any]:
    """What a scenario's own run yields, and the means of its comparison."""
    scenario = load(path)
    outcome = run(build(scenario))
    plan = scenario.model.compare
    columns = compare(scenario).columns if plan else []
    return {
        "reason": outcome.reason,
        "end_ns": outcome.state.now,
        "finish_ns": {t.name: t.finish_ns for t in list(outcome.state.tasks.values())[:20]},
        "metrics": _rounded(metrics(outcome.state)),
        "compare": {
            column.name: _rounded({m: estimate(column.values[m]).mean for m in plan.metrics if plan})
            for column in columns
        },
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.9g}") for name, value in sorted(values.items())}


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, path in shipped().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(summary(path), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
