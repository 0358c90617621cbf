"""How fast the cost model answers, beside the dict look-up that it cannot beat.

Prints predictions per second: warm (asked before), warm with the operation made anew each time, as
a simulated program does, and cold (never asked). The ratio is that of warm predictions to look-ups
of the same operations in a plain dict, in the same run.
"""

import time
from collections.abc import Callable, Iterable

from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul, Op
from llmos.costs.profile import load_profile

OPS: list[Op] = [Matmul(m, 1024, n, "bf16") for m in range(1, 1001) for n in (512, 1024, 2048, 3000)]
ROUNDS = 5


def per_second(call: Callable[[Op], object], ops: Iterable[Op]) -> float:
    """Calls per second over these operations, once each."""
    listed = list(ops)
    start = time.perf_counter()
    for op in listed:
        call(op)
    return len(listed) / (time.perf_counter() - start)


def main() -> None:
    """Measure in alternating rounds and print the best of each."""
    profile = load_profile("reference-cpu")
    cold = max(per_second(CostModel(profile).predict, OPS) for _ in range(ROUNDS))
    model = CostModel(profile)
    plain = {op: model.predict(op) for op in OPS}
    warm, made, looked_up = [], [], []
    for _ in range(ROUNDS):
        looked_up.append(per_second(plain.__getitem__, OPS))
        warm.append(per_second(model.predict, OPS))
        made.append(per_second(lambda op: model.predict(Matmul(*op.dims, op.dtype)), OPS))
    print(f"costs: {len(OPS):,} operations, profile {profile.name} ({len(profile.rows)} rows)")
    print(f"  cold predictions  {cold:12,.0f} /s   {1e6 / cold:6.2f} us each")
    print(f"  warm predictions  {max(warm):12,.0f} /s   {1e6 / max(warm):6.2f} us each")
    print(f"  warm, op made     {max(made):12,.0f} /s   {1e6 / max(made):6.2f} us each")
    print(f"  dict look-ups     {max(looked_up):12,.0f} /s   {1e6 / max(looked_up):6.2f} us each")
    print(f"  warm over look-up {max(warm) / max(looked_up):12.2f}")


if __name__ == "__main__":
    main()
