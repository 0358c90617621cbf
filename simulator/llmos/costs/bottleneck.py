"""What holds an operation up: computing, moving bytes, or getting started; and from how many tokens on.

- The *ridge* of a device is how much it can compute for each byte that it moves. An operation with fewer
  FLOPs per byte waits for its bytes.
- The weights of a product are moved once, whatever the number of tokens. T* is the number of tokens at
  which computing takes as long as that: with fewer a token more costs nothing, with more it costs its FLOPs.

Source: S. Williams et al., Roofline, CACM 52(4), 2009.
Differs: T* leaves out the bytes of the tokens themselves, which are few beside a large layer's weights.
"""

from dataclasses import dataclass

from llmos.costs.decoder import Composition, ModelShape, operations
from llmos.costs.model import Cost, CostModel
from llmos.costs.ops import Matmul, Op
from llmos.costs.profile import Profile
from llmos.errors import ProfileError

LAYER = 4096
"""Inputs and outputs of the layer that T* is that of; the size matters only for what int4 keeps beside."""


@dataclass(frozen=True, slots=True)
class Share:
    """An operation of an iteration: how often it is run, what one run costs, and what holds it up."""

    times: int
    op: Op
    cost: Cost
    bound: str

    @property
    def seconds(self) -> float:
        """What all runs take."""
        return self.times * self.cost.seconds

    @property
    def intensity(self) -> float:
        """FLOPs per byte moved."""
        return self.op.flops / self.op.bytes


def bound_of(profile: Profile, op: Op) -> str:
    """What takes longest in the roofline of `op`: "launch", "compute", "memory", or a "link".

    Raises ProfileError as `Profile.roofline` does.
    """
    launch, compute, moving = profile.parts(op)
    if op.link != "memory":
        return "link"
    return max((moving, "memory"), (compute, "compute"), (launch, "launch"))[1]


def shares(costs: CostModel, shape: ModelShape, composition: Composition) -> list[Share]:
    """The operations of one iteration of that batch, in the order in which they are run first.

    Raises ProfileError when the profile knows nothing of the shape's dtype.
    """
    return [
        Share(times, op, costs.predict(op), bound_of(costs.profile, op))
        for times, op in operations(shape, composition)
    ]


def ridge(profile: Profile, arithmetic: str) -> float:
    """FLOPs that the device computes in the time in which it moves a byte, both as far as they are reached.

    Raises ProfileError when the profile has no figures for that arithmetic.
    """
    if arithmetic not in profile.peak_flops:
        known = ", ".join(profile.peak_flops)
        raise ProfileError(
            f"profile {profile.name} has no figures for {arithmetic[:40]}", hint=f"it has: {known}"
        )
    computes = profile.peak_flops[arithmetic] * profile.compute_efficiency
    return computes / (profile.bandwidth_bytes_per_s * profile.memory_efficiency)


def critical_tokens(profile: Profile, dtype: str, weights: str = "dense") -> float:
    """T*: from so many tokens on a product with these weights is held up by computing.

    Raises ProfileError as `ridge` does.
    """
    token = Matmul(1, LAYER, LAYER, dtype, weights)
    return ridge(profile, token.arithmetic) * token.weight_bytes / token.flops
