"""How far predictions are off that see few of a table's operations: ours, and simpler models.

- Reads public tables of one H100 (matmuls in bf16, attention while prefilling and decoding) from
  ../shared/gemm, in the columns that `llmos profile import` takes too, and says so where it is not there.
- Out of a table, some rows are drawn by lot; the models learn from these and predict others.
- "new rows" are any other rows of the table; "new shapes" are those of the (k, n), or of the heads and the
  batch, none of which is among the rows drawn.
- Models: ours, as `CostModel` predicts from a profile; the roofline of the data sheet; the roofline fitted
  to the same rows; a straight line in launch, FLOPs and bytes for each side of the ridge; a random forest
  of scikit-learn (sizes, FLOPs, bytes), where that is installed.
- Every figure is the mean over draws of the median and of the p95 of relative errors, in percent, with the
  smallest and the largest draw behind it.

    python benchmarks/study_cost_model.py [--draws 8] [--tables gemm,prefill,decode]
"""

import argparse
import csv
import importlib.util
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from llmos.costs.model import CostModel
from llmos.costs.ops import DecodeAttention, Matmul, Op, PrefillAttention
from llmos.costs.profile import Profile, Row, load_profile
from llmos.quantile import quantile

FOLDER = Path(__file__).parents[1].parent / "shared" / "gemm"
POINTS = (24, 48, 96, 200)
TESTED = 1500
"""So many of the rows that were not drawn are predicted; by lot, as 9,000 say no more."""
HELD_SHAPES = 0.2

Rows = list[tuple[Op, float]]
Model = Callable[[Profile, Rows], Callable[[Sequence[Op]], Sequence[float]]]


def gemm(line: dict[str, str]) -> Op | None:
    """A line of h100_gemm.csv."""
    if line["dtype"] != "bfloat16":
        return None
    return Matmul(int(line["m"]), int(line["k"]), int(line["n"]), "bf16")


def prefill(line: dict[str, str]) -> Op:
    """A line of h100_context_attention.csv."""
    heads, kv_heads, dim = _heads(line)
    tokens = int(line["isl"])
    return PrefillAttention(tokens, tokens + int(line["step"]), heads, kv_heads, dim, int(line["batch_size"]))


def decode(line: dict[str, str]) -> Op:
    """A line of h100_generation_attention.csv."""
    context = int(line["isl"]) + int(line["step"])
    return DecodeAttention(context, int(line["batch_size"]), *_heads(line))


def _heads(line: dict[str, str]) -> tuple[int, int, int]:
    return int(line["num_heads"]), int(line["num_key_value_heads"]), int(line["head_dim"])


TABLES: dict[str, tuple[str, Callable[[dict[str, str]], Op | None]]] = {
    "gemm": ("h100_gemm.csv", gemm),
    "prefill": ("h100_context_attention.csv", prefill),
    "decode": ("h100_generation_attention.csv", decode),
}


# --- models -------------------------------------------------------------------------------------------


def ours(profile: Profile, rows: Rows) -> Callable[[Sequence[Op]], list[float]]:
    """The cost model, from a profile of these rows."""
    known = tuple(Row(op, seconds, seconds, seconds, 1) for op, seconds in rows)
    model = CostModel(msgspec.structs.replace(profile, rows=known))
    return lambda ops: [model.predict(op).seconds for op in ops]


def data_sheet(profile: Profile, _: Rows) -> Callable[[Sequence[Op]], list[float]]:
    """The roofline as it is; rows teach it nothing."""
    return lambda ops: [profile.roofline(op) for op in ops]


def fitted(profile: Profile, rows: Rows) -> Callable[[Sequence[Op]], list[float]]:
    """The roofline whose launch, peak and bandwidth are nearest to the rows, in the mean of logarithms."""
    parts, taken = _parts(profile, rows), np.log([seconds for _, seconds in rows])

    def seconds(parts: np.ndarray, logs: np.ndarray) -> np.ndarray:
        scaled = parts * np.exp(logs)
        return scaled[:, 0] + np.maximum(scaled[:, 1], scaled[:, 2])

    def distance(logs: np.ndarray) -> float:
        return float(np.abs(taken - np.log(seconds(parts, logs))).mean())

    best, step = np.zeros(3), 0.4
    while step > 0.01:
        found = min((best + step * sign * axis for axis in np.eye(3) for sign in (1, -1)), key=distance)
        if distance(found) < distance(best):
            best = found
        else:
            step /= 2
    return lambda ops: list(seconds(np.array([profile.parts(op) for op in ops]), best))


def regimes(profile: Profile, rows: Rows) -> Callable[[Sequence[Op]], list[float]]:
    """Seconds as a + b * FLOPs + c * bytes, by least relative squares, on each side of the ridge."""
    parts, taken = _parts(profile, rows), np.array([seconds for _, seconds in rows])
    computes = parts[:, 1] > parts[:, 2]
    lines = {}
    for side in (False, True):
        chosen = computes == side if (computes == side).sum() > 3 else np.ones(len(rows), bool)
        weighted = parts[chosen] / taken[chosen, None]
        lines[side] = np.linalg.lstsq(weighted, np.ones(chosen.sum()), rcond=None)[0]

    def predict(ops: Sequence[Op]) -> list[float]:
        asked = [profile.parts(op) for op in ops]
        return [max(float(np.dot(lines[each[1] > each[2]], each)), each[0] / 10) for each in asked]

    return predict


def forest(_: Profile, rows: Rows) -> Callable[[Sequence[Op]], list[float]]:
    """A random forest of 200 trees on log seconds, from log sizes, FLOPs and bytes."""
    from sklearn.ensemble import RandomForestRegressor

    def features(ops: Sequence[Op]) -> np.ndarray:
        return np.log([(*op.dims, op.flops, op.bytes) for op in ops])

    trees = RandomForestRegressor(200, random_state=0)
    trees.fit(features([op for op, _ in rows]), np.log([seconds for _, seconds in rows]))
    return lambda ops: list(np.exp(trees.predict(features(ops))))


def _parts(profile: Profile, rows: Rows) -> np.ndarray:
    return np.array([profile.parts(op) for op, _ in rows])


MODELS: dict[str, Model] = {
    "ours": ours,
    "roofline, data sheet": data_sheet,
    "roofline, fitted": fitted,
    "linear regimes": regimes,
    "random forest": forest,
}


# --- the study ----------------------------------------------------------------------------------------


def table(name: str) -> Rows:
    """The operations of a table with their seconds."""
    file, read = TABLES[name]
    with (FOLDER / file).open(newline="", encoding="utf-8") as lines:
        pairs = [(read(line), float(line["latency_ms"]) / 1e3) for line in csv.DictReader(lines)]
    return [(op, seconds) for op, seconds in pairs if op is not None]


def split(rows: Rows, points: int, seed: int, *, by_shape: bool) -> tuple[Rows, Rows]:
    """The rows to learn from and those to predict, by lot."""
    lot = random.Random(seed)
    mixed = lot.sample(rows, len(rows))
    if not by_shape:
        return mixed[:points], mixed[points : points + TESTED]
    shapes = sorted({op.dims[1:] for op, _ in rows})
    held = set(lot.sample(shapes, round(HELD_SHAPES * len(shapes))))
    known = [(op, seconds) for op, seconds in mixed if op.dims[1:] not in held]
    return known[:points], [(op, seconds) for op, seconds in mixed if op.dims[1:] in held][:TESTED]


def errors(model: Model, profile: Profile, known: Rows, asked: Rows) -> tuple[float, float]:
    """The median and the p95 of the model's relative errors, in percent."""
    predicted = model(profile, known)([op for op, _ in asked])
    off = [100 * abs(p / seconds - 1) for p, (_, seconds) in zip(predicted, asked, strict=True)]
    return quantile(off, 0.5), quantile(off, 0.95)


def show(values: Sequence[float], digits: int) -> str:
    """Mean, smallest and largest."""
    return f"{statistics.mean(values):5.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def study(name: str, models: dict[str, Model], draws: int, seed: int) -> None:
    """Print the figures of one table."""
    rows, profile = table(name), load_profile("h100-data-sheet")
    print(f"\n{name}: {len(rows):,} rows; median and p95 of the error in %, mean (range) of {draws} draws")
    for by_shape in (False, True):
        print(f"  {'new shapes' if by_shape else 'new rows'}")
        for title, model in models.items():
            for points in POINTS:
                drawn = [split(rows, points, seed + draw, by_shape=by_shape) for draw in range(draws)]
                found = [errors(model, profile, known, asked) for known, asked in drawn]
                medians, p95s = zip(*found, strict=True)
                print(f"    {title:<21}{points:>4} points  {show(medians, 1):<18}{show(p95s, 0)}", flush=True)


def main() -> None:
    """Study every table that is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--tables", default=",".join(TABLES))
    given = parser.parse_args()
    models = dict(MODELS)
    if importlib.util.find_spec("sklearn") is None:
        print("scikit-learn is not installed: no random forest (pip install scikit-learn)")
        del models["random forest"]
    for name in given.tables.split(","):
        if not (FOLDER / TABLES[name][0]).is_file():
            print(f"{FOLDER / TABLES[name][0]} is not there: nothing to study")
            continue
        study(name, models, given.draws, given.seed)


if __name__ == "__main__":
    main()
