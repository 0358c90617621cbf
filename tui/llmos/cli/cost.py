"""`llmos cost`: what one iteration of a model costs on some device, and why."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import click

from llmos.cli.output import amount, fields, json_option, print_json, say, table
from llmos.costs.bottleneck import Share, critical_tokens, ridge, shares
from llmos.costs.decoder import Composition, ModelShape, model_shape
from llmos.costs.iteration import predict_iteration
from llmos.costs.model import Cost, CostModel
from llmos.costs.ops import DTYPE_BYTES, Matmul, op_fields, show_op
from llmos.costs.ops.dense import WEIGHTS
from llmos.costs.profile import Profile, load_profile


class Batch(click.ParamType[tuple[int, int]]):
    """Requests that write, and the context of each, as in 8x1024."""

    name = "BATCHxCONTEXT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (batch, context), or fail with the cure."""
        sizes = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,7})", value)
        if not sizes:
            self.fail(f'"{value}" is no batch: write requests x context as in 8x1024', param, ctx)
        return int(sizes[1]), int(sizes[2])


@click.command()
@click.argument("model")
@click.option("--profile", default="reference-cpu", show_default=True, help="Whose costs.")
@click.option("--dtype", type=click.Choice(tuple(DTYPE_BYTES)), help="What it computes in.  [its own]")
@click.option("--weights", type=click.Choice(WEIGHTS), help="How its layers' weights are stored.  [dense]")
@click.option("--decode", type=Batch(), help="Requests that write a token each, and their context.  [1x1024]")
@click.option("--prefill", type=click.IntRange(1, 10**7), help="Tokens of a prompt that is read.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw it: .png, .svg, .pdf.")
@json_option
def command(
    model: str,
    profile: str,
    dtype: str | None,
    weights: str | None,
    decode: tuple[int, int] | None,
    prefill: int | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Take one iteration of a MODEL apart: its operations, what holds each up, what all of it costs.

    The batch decodes, reads a prompt, or does both: --decode 8x1024 --prefill 512.
    """
    if picture is not None:
        from llmos.plot import check_path

        check_path(picture)
    known, shape = load_profile(profile), model_shape(model, dtype, weights)
    if decode is None and prefill is None:
        decode = (1, 1024)
    batch = _composition(decode, prefill)
    costs = CostModel(known)
    found, whole = shares(costs, shape, batch), predict_iteration(costs, shape, batch)
    if picture is not None:
        from llmos.plot import save
        from llmos.plot.iterations import iteration_curves

        save(iteration_curves(known, model, dtype, weights), picture)
    if as_json:
        print_json(_document(known, model, shape, batch, found, whole))
        return
    _show(known, model, shape, batch, found, whole)
    if picture is not None:
        say(f"picture: {picture}")


def _composition(decode: tuple[int, int] | None, prefill: int | None) -> Composition:
    batch, context = decode or (0, 0)
    prompts = ((prefill, prefill),) if prefill else ()
    return Composition(prompts, (context,) * batch, batch + len(prompts))


COLUMNS = (
    "operation", "bound by", "source", "times", "FLOPs", "bytes", "FLOPs/B", "time", "low", "high", "share"
)  # fmt: skip


def _show(
    profile: Profile, model: str, shape: ModelShape, batch: Composition, found: list[Share], whole: Cost
) -> None:
    total = sum(share.seconds for share in found)
    rows = [_cells(share, total) for share in sorted(found, key=lambda share: -share.seconds)]
    table(f"One iteration of {model} on {profile.device}", COLUMNS, rows, left=3)
    say()
    low = sum(share.times * share.cost.low for share in found)
    high = sum(share.times * share.cost.high for share in found)
    arithmetic = _arithmetic(shape)
    critical = critical_tokens(profile, shape.dtype, shape.weights)
    fields(
        [
            ("model", f"{_si(shape.parameters)} weights, {shape.dtype}, those of its layers {shape.weights}"),
            ("batch", _batch(batch)),
            ("operations", f"{_time(total)} ({_time(low)} to {_time(high)}): {_bounds(found, total)}"),
            ("iteration", f"{_time(whole.seconds)} ({_time(whole.low)} to {_time(whole.high)})"),
            ("tokens", f"{_count(batch.tokens / whole.seconds)} /s"),
            ("ridge", f"{ridge(profile, arithmetic):,.4g} FLOPs per byte, computing in {arithmetic}"),
            ("T*", f"{critical:,.0f} tokens: a large product of fewer waits for its weights"),
            ("source", whole.source),
        ]
    )


def _cells(share: Share, total: float) -> tuple[object, ...]:
    op, cost = share.op, share.cost
    return (
        show_op(op),
        share.bound,
        cost.source.partition(" (")[0],
        share.times,
        _si(op.flops),
        _si(op.bytes),
        f"{share.intensity:,.3g}",
        *(_time(seconds) for seconds in (cost.seconds, cost.low, cost.high)),
        f"{share.seconds / total:.1%}",
    )


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _si(count: float) -> str:
    """Write a large count to three digits: 16.4 k, 235 M, 8.03 G."""
    scales = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
    name, size = next((scale for scale in scales if count >= scale[1]), scales[-1])
    return f"{count / size:.3g} {name}".rstrip()


def _bounds(found: list[Share], total: float) -> str:
    """Return which part of the time what holds operations up."""
    parts = {
        bound: sum(s.seconds for s in found if s.bound == bound) for bound in ("memory", "compute", "launch")
    }
    return ", ".join(f"{part / total:.0%} bound by {bound}" for bound, part in parts.items() if part)


def _batch(batch: Composition) -> str:
    parts = [f"a prompt of {new:,} tokens" for new, _ in batch.prefill]
    parts += [
        f"{many:,} x a token, the last of {context:,}" for context, many in Counter(batch.decode).items()
    ]
    return " and ".join(parts)


def _arithmetic(shape: ModelShape) -> str:
    return Matmul(1, 1, 1, shape.dtype, shape.weights).arithmetic


def _time(seconds: float) -> str:
    return amount(seconds * 1e9, digits=4)


def _document(
    profile: Profile, model: str, shape: ModelShape, batch: Composition, found: list[Share], whole: Cost
) -> dict[str, Any]:
    """Return all of it as plain data, ready for JSON."""
    arithmetic = _arithmetic(shape)
    return {
        "schema": 1,
        "model": model,
        "dtype": shape.dtype,
        "weights": shape.weights,
        "parameters": shape.parameters,
        "profile": profile.name,
        "provenance": profile.provenance,
        "tokens": batch.tokens,
        "ridge_flops_per_byte": ridge(profile, arithmetic),
        "critical_tokens": critical_tokens(profile, shape.dtype, shape.weights),
        "iteration": _times(whole),
        "tokens_per_s": batch.tokens / whole.seconds,
        "operations": [
            {"op": share.op.kind, **op_fields(share.op), "times": share.times, "flops": share.op.flops,
             "bytes": share.op.bytes, "bound": share.bound, **_times(share.cost)}
            for share in found
        ],
    }  # fmt: skip


def _times(cost: Cost) -> dict[str, Any]:
    return {"seconds": cost.seconds, "low": cost.low, "high": cost.high, "source": cost.source}
