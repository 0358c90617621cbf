"""`llmos profile import`, `diff` and `plot`: other people's tables, and profiles side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from llmos.cli.output import fields, json_option, print_json, progress, say, table
from llmos.costs.decoder import model_shape
from llmos.costs.difference import Difference, difference
from llmos.costs.importing import Imported, import_tables, roofline_of
from llmos.costs.ops import DTYPE_BYTES
from llmos.costs.profile import THIS_MACHINE, Profile, Spread, load_profile, save_calibration, save_profile
from llmos.costs.tables import FORMATS, Told
from llmos.errors import ProfileError

KINDS = ("roofline", "error", "iterations")


class Peak(click.ParamType[tuple[str, float]]):
    """A dtype and its FLOP/s, as in bf16=989e12."""

    name = "dtype=FLOP/s"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return the pair."""
        dtype, _, number = str(value).partition("=")
        try:
            return dtype.strip(), float(number)
        except ValueError:
            self.fail(f'"{value}" is no peak: give a dtype and its FLOP/s, bf16=989e12', param, ctx)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What to call the profile.")
@click.option("--format", "wanted", type=click.Choice(FORMATS), default="auto", show_default=True,
              help="Which kind of tables they are; their columns tell.")  # fmt: skip
@click.option("--like", help="A profile of such a device, for its peaks and its bandwidth.")
@click.option("--device", default="", help="What it was measured on, in words.")
@click.option("--peak", "peaks", multiple=True, type=Peak(), help="bf16=989e12: FLOP/s; may be repeated.")
@click.option("--bandwidth", type=click.FloatRange(1, 1e21), help="Bytes a second of its memory: 3.35e12.")
@click.option("--dtype", type=click.Choice(tuple(DTYPE_BYTES)),
              help="Of the numbers, where a table does not say.  [bf16; of vidur's fp16]")  # fmt: skip
@click.option("--model", help="The model whose layers they are: llama-3-8b.")
@click.option("--source", default="", help="Whose figures these are, for every caption.  [the files' names]")
@click.option("--out", type=click.Path(path_type=Path), help="A .json file, instead of your own profiles.")
@json_option
def import_command(
    files: tuple[Path, ...],
    name: str,
    wanted: str,
    like: str | None,
    device: str,
    peaks: tuple[tuple[str, float], ...],
    bandwidth: float | None,
    dtype: str | None,
    model: str | None,
    source: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make a profile of tables that others measured: CSV FILES with a header.

    \b
    gemm        dtype, m, n, k, latency_ms
    attention   batch_size, isl, step, num_heads, num_key_value_heads, head_dim, latency_ms
    layers      layer, tokens, time_us; layer, sequences, time_us;
                prefill_chunk, kv_prefill, n_decode, kv_decode, time_us   (with --model)
    vidur       num_tokens, ..., time_stats.OPERATION.median, as its profiler writes them

    Lines that are malformed, or that physics does not allow, are named and left out.
    """  # noqa: D301  # \b is click's
    bare = roofline_of(name, device, dict(peaks), bandwidth, load_profile(like) if like else None)
    if out and out.suffix != ".json":
        raise ProfileError("a profile is a .json file", file=out, hint=f"--out {out.with_suffix('.json')}")
    told = Told(dtype or "", model_shape(model) if model else None)
    with progress("importing") as report:
        made = import_tables(files, bare, told, wanted=wanted, source=source, progress=report)
    if out:
        save_profile(made.profile, out)
    place = out or save_calibration(made.profile)
    if as_json:
        print_json(_imported(made, place))
    else:
        _show_imported(made, place)


def _imported(made: Imported, place: Path) -> dict[str, Any]:
    profile = made.profile
    return {
        "schema": 1,
        "profile": profile.name,
        "path": str(place),
        "source": profile.source,
        "rows": len(profile.rows),
        "left_out": [
            {"why": why, "lines": count, "first": made.left_out.first[why]}
            for why, count in made.left_out.counts.items()
        ],
        "holdout": msgspec.to_builtins(profile.holdout),
    }


def _show_imported(made: Imported, place: Path) -> None:
    profile = made.profile
    fields(
        [
            ("profile", profile.provenance),
            ("device", profile.device),
            ("operations", f"{len(profile.rows):,}"),
            ("left out", f"{made.left_out.total:,}"),
            *((f"held out, {how}", _spread(found)) for how, found in profile.holdout.items()),
            ("file", place),
        ]
    )
    for words in made.left_out.words():
        say(words)


def _spread(found: Spread) -> str:
    return f"median {found.median:.1%}, p95 {found.p95:.1%} of {found.points:,}"


@click.command("diff")
@click.argument("first")
@click.argument("second", default=THIS_MACHINE)
@json_option
def diff_command(first: str, second: str, as_json: bool) -> None:
    """Hold the profile SECOND against FIRST: times of the operations that both have, and their figures."""
    profiles = load_profile(first), load_profile(second)
    found = difference(*profiles)
    if as_json:
        print_json(_difference(*profiles, found))
    else:
        _show_difference(*profiles, found)


def _difference(first: Profile, second: Profile, found: Difference) -> dict[str, Any]:
    return {
        "schema": 1,
        "first": first.provenance,
        "second": second.provenance,
        "families": [msgspec.to_builtins(family) for family in found.families],
        "figures": [
            {"figure": name, "first": pair[0], "second": pair[1]} for name, pair in found.figures.items()
        ],
    }


def _show_difference(first: Profile, second: Profile, found: Difference) -> None:
    say(f"first   {first.provenance}")
    say(f"second  {second.provenance}")
    say()
    if found.families:
        rows = [
            (each.family, each.rows, *map(_times, (each.median, each.p5, each.p95)))
            for each in found.families
        ]
        table("Time of the second over the first", ("operations", "in both", "median", "p5", "p95"), rows)
    else:
        say("There is no operation that both have timed.")
    say()
    figures = [
        (name, *("-" if value is None else f"{value:.4g}" for value in pair), _ratio(*pair))
        for name, pair in found.figures.items()
    ]
    table("Figures, as far as they are reached", ("figure", "first", "second", "ratio"), figures)


def _ratio(first: float | None, second: float | None) -> str:
    return _times(second / first) if first and second else "-"


def _times(ratio: float) -> str:
    """Write a ratio to three places, and a small one to as many digits."""
    return f"{ratio:.3f}" if ratio >= 0.1 else f"{ratio:.3g}"


@click.command("plot")
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .png, .svg or .pdf file.")
@click.option("--kind", type=click.Choice(KINDS), default="roofline", show_default=True,
              help="roofline with the rows; error of predictions; iterations of a --model.")  # fmt: skip
@click.option("--model", default="llama-3-8b", show_default=True, help="For iterations: which model.")
@click.option("--dtype", type=click.Choice(tuple(DTYPE_BYTES)), help="For iterations: its dtype.  [its own]")
def plot_command(name: str, out: Path, kind: str, model: str, dtype: str | None) -> None:
    """Draw what a profile knows: under its roofline, how well it predicts, or what a model takes on it."""
    from llmos.plot import check_path, save

    check_path(out)
    profile = load_profile(name)
    with progress(kind):
        save(_figure(profile, kind, model, dtype), out)
    say(f"picture: {out}")


def _figure(profile: Profile, kind: str, model: str, dtype: str | None) -> Any:
    if kind == "error":
        from llmos.plot.predictions import prediction_error

        return prediction_error(profile)
    if kind == "iterations":
        from llmos.plot.iterations import iteration_curves

        return iteration_curves(profile, model, dtype)
    from llmos.plot.roofline import profile_roofline

    if not profile.rows:
        raise ProfileError(
            f"profile {profile.name} has no rows to draw under its roofline",
            hint="a data sheet can be drawn with --kind iterations",
        )
    return profile_roofline(profile)
