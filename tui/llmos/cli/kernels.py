"""`llmos kernels`: time real operations, variant by variant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmos.cli.output import fields, json_option, print_json, progress, say, table
from llmos.cli.parsing import BUDGET, split_list
from llmos.costs.decoder import model_shape
from llmos.costs.ops import Matmul, op_fields, show_op
from llmos.kernels.bench import DTYPES, EXAMPLE, KINDS, USUAL, VARIANTS, bench, cases_of

if TYPE_CHECKING:
    from llmos.kernels.bench import Bench, Timed


@click.group()
def command() -> None:
    """Time real operations: what quantising, pruning, compiling and tiling change, and what they cost."""


class Shape(click.ParamType[tuple[int, int, int]]):
    """The sizes of a product, as in 1024x512x64."""

    name = "MxKxN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return (m, k, n), or fail with the cure."""
        if isinstance(value, tuple):
            return value
        sizes = re.fullmatch(r"([1-9]\d{0,8})x([1-9]\d{0,8})x([1-9]\d{0,8})", value)
        if not sizes:
            self.fail(f'"{value}" is no shape: write m x k x n as in 1024x512x64', param, ctx)
        return tuple(map(int, sizes.groups()))


@command.command("bench")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda where there is one.")
@click.option(
    "--shape", "shapes", multiple=True, type=Shape(), default=(EXAMPLE,), show_default="1024x512x64",
    help="A product: (m, k) by (k, n). Repeat it for more.",
)  # fmt: skip
@click.option(
    "--dtype", "dtypes", multiple=True, default=DTYPES, show_default="all", help="fp32, bf16, fp16."
)
@click.option(
    "--variant", "variants", multiple=True, default=USUAL, show_default="all but the compiled",
    help=f"Any of {', '.join(VARIANTS)}; or all.",
)  # fmt: skip
@click.option(
    "--ops", "kinds", multiple=True, default=("matmul",), show_default=True,
    help=f"{', '.join(KINDS)} or all.",
)  # fmt: skip
@click.option("--model", default="tiny-20m", show_default=True, help="Whose attention and layers.")
@click.option("--budget", type=BUDGET, default=20.0, show_default=True, help="Time to spend: 20, or 20s.")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), help="Draw the roofline: .png, .svg, .pdf."
)
@json_option
def bench_command(
    device: str,
    shapes: tuple[tuple[int, int, int], ...],
    dtypes: tuple[str, ...],
    variants: tuple[str, ...],
    kinds: tuple[str, ...],
    model: str,
    budget: float,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Time operations in many variants: time, rate, share of the roofline, error, memory.

    On a CPU one thread is timed, by its CPU time. The error is that of the answer against float64,
    relative, as a root mean square; the memory is what a model keeps: weights as stored, keys, values.
    """
    if picture:
        from llmos.plot import check_path

        check_path(picture)
    names = split_list(variants)
    cases = cases_of(
        split_list(kinds), shapes, split_list(dtypes), list(VARIANTS) if "all" in names else names,
        model_shape(model),
    )  # fmt: skip
    with progress("measuring") as report:
        measured = bench(device, cases, budget_s=budget, progress=report)
    if picture:
        _draw(measured, picture)
    if as_json:
        print_json(_document(measured))
        return
    _show(measured)
    if picture:
        say(f"picture: {picture}")


COLUMNS = ("variant", "operation", "time", "noise", "GFLOP/s", "GB/s", "of roofline", "error", "memory")


def _show(measured: Bench) -> None:
    table("", COLUMNS, [_cells(row) for row in measured.rows], left=2)
    say()
    peaks = ", ".join(f"{name} {rate / 1e9:,.1f} GFLOP/s" for name, rate in measured.peak_flops.items())
    launches = ", ".join(f"{way} {seconds * 1e6:.2f} us" for way, seconds in measured.launches.items())
    busy = measured.pressure_percent
    fields(
        [
            ("device", f"{measured.device} ({measured.driver})" if measured.driver else measured.device),
            *([("torch", f"{measured.torch}, {measured.threads} thread(s)")] if measured.torch else []),
            ("clock", measured.clock),
            ("most reached", f"{peaks}; {measured.bandwidth_bytes_per_s / 1e9:,.1f} GB/s"),
            ("launch", launches),
            ("noise", f"median {measured.noise.median:.1%}, p95 {measured.noise.p95:.1%} between two passes"),
            ("pressure", "not known here" if busy is None else f"{busy:g} % of the time something waited"),
            *(("left out", why) for why in measured.left_out),
        ]
    )


def _cells(row: Timed) -> tuple[str, ...]:
    op, known = row.case.op, row.examined
    error = "-" if known.error is None else f"{known.error:.1e}" if known.error else "0"
    return (
        row.case.variant,
        show_op(op),
        f"{row.seconds * 1e6:,.1f} us",
        f"{row.noise:.1%}",
        f"{row.flops_per_s / 1e9:,.2f}" if op.flops else "-",
        f"{row.bytes_per_s / 1e9:,.2f}",
        f"{row.of_roofline:.0%}",
        error,
        f"{known.stored_bytes / 1024:,.1f} KiB" if known.stored_bytes else "-",
    )


def _document(measured: Bench) -> dict[str, Any]:
    """Return all of it as plain data, ready for JSON."""
    return {
        "schema": 1,
        "device": measured.device,
        "driver": measured.driver,
        "torch": measured.torch,
        "threads": measured.threads,
        "clock": measured.clock,
        "pressure_percent": measured.pressure_percent,
        "peak_flops": measured.peak_flops,
        "bandwidth_bytes_per_s": measured.bandwidth_bytes_per_s,
        "launch_s": measured.launches,
        "noise": {"median": measured.noise.median, "p95": measured.noise.p95},
        "rows": [_record(row) for row in measured.rows],
        "left_out": list(measured.left_out),
    }


def _record(row: Timed) -> dict[str, Any]:
    op, known = row.case.op, row.examined
    return {
        "variant": row.case.variant,
        "op": {"kind": op.kind} | op_fields(op),
        "seconds": row.seconds,
        "low": row.low,
        "high": row.high,
        "samples": row.samples,
        "noise": row.noise,
        "flops": op.flops,
        "bytes": op.bytes,
        "of_roofline": row.of_roofline,
        "error": known.error,
        "stored_bytes": known.stored_bytes,
        "kernel": known.note,
    }


def _group(row: Timed) -> str:
    """Return which points look alike: a variant of products in one dtype, or one kind of operation."""
    kind = "" if isinstance(row.case.op, Matmul) else row.case.op.kind
    return " ".join(part for part in (row.case.variant, kind, getattr(row.case.op, "dtype", "")) if part)


def _draw(measured: Bench, picture: Path) -> None:
    from llmos.plot import save
    from llmos.plot.roofline import Point, roofline

    points = [
        Point(
            _group(row),
            row.case.op.flops / row.case.op.bytes, row.flops_per_s,
            row.case.op.flops / row.high, row.case.op.flops / row.low,
        )
        for row in measured.rows
        if row.case.op.flops
    ]  # fmt: skip
    busy = measured.pressure_percent
    about = [
        f"{measured.device}; {measured.clock}",
        f"two passes differ by {measured.noise.median:.1%} in the median, {measured.noise.p95:.1%} at p95"
        + (f"; pressure {busy:g} %" if busy is not None else ""),
    ]
    title = "How near does each variant come to what this machine can do?"
    save(roofline(title, measured.peak_flops, measured.bandwidth_bytes_per_s, points, about), picture)
