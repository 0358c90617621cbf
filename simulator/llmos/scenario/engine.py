"""Where the times of a scenario's engine come from: a law, or what a profile says of its model."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from llmos.costs.decoder import Composition, ModelShape, model_shape
from llmos.costs.iteration import IterationModel
from llmos.costs.model import CostModel
from llmos.costs.variants import Guessing, prune, shard, variant
from llmos.errors import ProfileError
from llmos.scenario.machine_tables import Engine
from llmos.scenario.source import Findings
from llmos.serving.pacing import Law, Predicted

ONE: Final = Composition(decode=(1,), sampled=1)
"""The smallest batch: who cannot predict it lacks something."""

_variant = lru_cache(maxsize=8)(variant)  # Runs of one model share the parts of its iterations.


def pacing_of(engine: Engine, costs: CostModel | None, findings: Findings) -> Law | Predicted | None:
    """The pacing that [engine] asks for; None if something is wrong with it, which is noted."""
    if engine.cost is not None:
        return Law(engine.cost.base, engine.cost.per_token, engine.cost.per_context_token)
    if costs is None:
        if all(problem.key != "profile" for problem in findings.problems):
            hint = 'add profile = "reference-cpu" at the top'
            findings.add(("engine", "model"), "a model's costs come from a profile", hint=hint)
        return None
    key = "model"
    try:
        whole = model_shape(engine.model or "", engine.dtype, engine.weights)
        IterationModel(costs, whole).predict(ONE)
        key = "tensor_parallel"
        shape = shard(prune(whole, engine.pruned), engine.tensor_parallel, engine.all_reduce)
        IterationModel(costs, shape).predict(ONE)
        key = "speculative"
        model = _variant(costs, shape, engine.graph, _guessing(engine, shape))
        model.predict(ONE)
    except ProfileError as error:
        findings.add_error(("engine", key), error)
        return None
    return Predicted(model)


def _guessing(engine: Engine, shape: ModelShape) -> Guessing | None:
    """Who guesses ahead, computing in the model's own dtype."""
    asked = engine.speculative
    if asked is None or not asked.tokens:
        return None
    return Guessing(model_shape(asked.draft, shape.dtype), asked.tokens, asked.acceptance)
