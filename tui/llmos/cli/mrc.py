"""`llmos mrc`: miss-ratio curves of a trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmos.cli.output import json_option, print_json, progress, say, table
from llmos.cli.parsing import split_list
from llmos.errors import LlmosError

if TYPE_CHECKING:
    from llmos.scenario.mrc import Curve, Numbered

KINDS = ("lackey", "text", "csv", "npy", "oracleGeneral")
PICTURES = (".png", ".svg", ".pdf")
MOST_ROWS = 12


class Sample(click.ParamType[float]):
    """A share of the pages, as in 0.01, or how many of them, as in 8192."""

    name = "rate or pages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a number between 0 and 1, or a whole number from 2 on; 1 is all."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (0 < number <= 1 or (number.is_integer() and 2 <= number < 2**31)):
            self.fail(
                f'"{value}" is no sample: give a share of the pages, 0.01, or how many, 8192', param, ctx
            )
        return number


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--policies", "-p", multiple=True, default=("lru",), show_default=True,
    help='Which ones: "lru,arc,clock bits=2", or repeat; "all" of them.',
)  # fmt: skip
@click.option("--sizes", help="At which sizes, in pages: 64,256,1024. Left out: some from 1 to all pages.")
@click.option("--page-size", type=click.IntRange(1, 2**40), help="Bytes to a page; see below.")
@click.option("--kind", type=click.Choice(KINDS), help="What kind of trace it is, if its name does not tell.")
@click.option("--column", default="", help="Of a CSV file: the column with the pages or addresses.")
@click.option("--data-only", is_flag=True, help="Of lackey's: leave the instruction fetches out.")
@click.option("--sample", type=Sample(), default=1.0, help="Look at a part of the pages; the error is told.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a picture (.png, .svg, .pdf) or a .csv.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Seed of policies that draw lots.")
@json_option
def command(
    trace: Path,
    policies: tuple[str, ...],
    sizes: str | None,
    page_size: int | None,
    kind: str | None,
    column: str,
    data_only: bool,
    sample: float,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw the miss ratio of a TRACE of memory references against the number of pages that fit.

    TRACE is what valgrind --tool=lackey --trace-mem=yes prints, text with a number on each line, a .csv or
    .npy file, or libCacheSim's oracleGeneral; .gz, .xz and .zst are unpacked. Lackey's addresses become pages
    of 4096 bytes; the other numbers are pages, unless --page-size says that they are addresses.
    """
    from llmos.memory.traces import read
    from llmos.scenario.mrc import curves, numbered, sizes_for
    from llmos.scenario.policies import REPLACEMENT
    from llmos.scenario.policies import names as policies_of

    if out and out.suffix not in (*PICTURES, ".csv"):
        raise LlmosError(
            f"curves are written as .csv, {', '.join(PICTURES)}", file=out, hint="name such a file"
        )
    wanted, names = _sizes(sizes), split_list(policies)
    if "all" in names:
        names = policies_of(REPLACEMENT)
    if not names:
        raise LlmosError("no policy is named", hint="give one or more: --policies lru,arc")
    with progress(trace.name) as report:
        report(0.0, "reading the trace")
        chunks = read(trace, kind=kind or "", page_size=page_size, column=column, fetches=not data_only)
        references = numbered(chunks, sample)
        made = curves(
            references,
            names,
            wanted or sizes_for(references.pages),
            seed=seed,
            progress=lambda done, total: report(done / total, f"{done} of {total} simulations"),
        )
    if out:
        _write(out, trace, references, made)
    if as_json:
        print_json(_document(trace, references, made))
    else:
        _show(trace, references, made, every=bool(wanted))
        if out:
            say(f"{'curves' if out.suffix == '.csv' else 'picture'}: {out}")


def _sizes(text: str | None) -> list[int]:
    sizes = split_list((text,)) if text else []
    for size in sizes:
        if not (size.isascii() and size.isdigit()) or not 1 <= int(size) < 2**31:
            raise LlmosError(
                f'"{size[:40]}" is no size', hint="give whole numbers of pages: --sizes 64,256,1024"
            )
    return sorted({int(size) for size in sizes})


def _show(trace: Path, references: Numbered, made: list[Curve], *, every: bool) -> None:
    say(f"How often does {trace.name} miss, and at which size?", style="bold")
    say()
    sizes = made[0].sizes
    step = 1 if every else -(-len(sizes) // MOST_ROWS)
    shown = range(len(sizes) - 1, -1, -step)[::-1]
    rows = [[f"{sizes[i]:,}", *(_cell(curve, i) for curve in made)] for i in shown]
    table("", ("pages", *(curve.policy for curve in made)), rows)
    say()
    say(_about(references), style="dim")


def _cell(curve: Curve, i: int) -> str:
    half = curve.half_widths[i]
    band = "?" if math.isnan(half) else f"{half:.2%}"  # of very few pages nothing can be said
    return f"{curve.ratios[i]:.2%}" + (f" +- {band}" if half else "")


def _about(references: Numbered) -> str:
    about = f"{references.references:,} references to {references.pages:,} pages"
    if references.rate < 1:
        about += f"; from a sample of {references.count:,} pages, +- is the 95 % band"
    return about


def _write(out: Path, trace: Path, references: Numbered, made: list[Curve]) -> None:
    if out.suffix == ".csv":
        from llmos.scenario import results

        results.write(out, ("policy", "pages", "miss_ratio", "ci95_half_width"), _records(made))
        return
    from llmos.plot import miss_ratio, save

    title = f"How often does {trace.name} miss, and at which size?"
    save(miss_ratio(made, title, _about(references)), out)


def _records(made: list[Curve]) -> list[dict[str, Any]]:
    return [
        {"policy": c.policy, "pages": size, "miss_ratio": ratio, "ci95_half_width": half}
        for c in made
        for size, ratio, half in zip(c.sizes, c.ratios, c.half_widths, strict=True)
    ]


def _document(trace: Path, references: Numbered, made: list[Curve]) -> dict[str, Any]:
    """Return the curves as plain data, ready for JSON."""
    return {
        "schema": 1,
        "trace": str(trace),
        "references": references.references,
        "pages": references.pages,
        "sampled_pages": references.count,
        "curves": [
            {"policy": c.policy, "pages": c.sizes, "miss_ratio": c.ratios, "ci95_half_width": c.half_widths}
            for c in made
        ],
    }
