"""`llmos profile`: list, show, check, compare, draw and import cost profiles."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from llmos.cli.output import amount, fields, json_option, print_json, progress, say, table
from llmos.cli.profile_tables import diff_command, import_command, plot_command
from llmos.costs.ops import show_op
from llmos.costs.profile import IterationFit, Profile, Spread, list_profiles, load_profile
from llmos.costs.system import WHAT, Measured
from llmos.kernels.drift import check_profile

MOST_ROWS = 12


@click.group()
def command() -> None:
    """List, show, compare and import cost profiles: where a simulated duration comes from."""


command.add_command(import_command)
command.add_command(diff_command)
command.add_command(plot_command)


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the profiles that ship and those that were measured here."""
    found = list_profiles()
    if as_json:
        rows = [
            {"name": p.name, "path": str(p.path), "problem": p.problem}
            | (facts(p.profile) if p.profile else {})
            for p in found
        ]
        print_json(rows)
        return
    table(
        "",
        ("name", "kind", "device", "date"),
        [
            (p.name, p.profile.kind, p.profile.device, p.profile.date[:10])
            if p.profile
            else (p.name, "unreadable", p.problem.splitlines()[0], "")
            for p in found
        ],
        left=4,
    )


@command.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Show a profile's provenance, its error, a few of its rows and what the operating system costs."""
    profile = load_profile(name)
    if as_json:
        print_json(facts(profile) | {"rows": [msgspec.to_builtins(row) for row in profile.rows]})
    else:
        show(profile)


@command.command("check")
@click.argument("name", default="this-machine")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@json_option
def check_command(name: str, device: str, as_json: bool) -> None:
    """Time a few of a profile's rows again, for about 2 s, and say how far the machine has drifted."""
    check(name, device, as_json=as_json)


def check(name: str, device: str, *, as_json: bool = False) -> None:
    """Probe a profile, and print how far the machine has drifted."""
    profile = load_profile(name)
    with progress("probing"):
        drift = check_profile(profile, device)
    if as_json:
        print_json({"profile": profile.name, "ratio": drift.ratio, "low": drift.low, "high": drift.high,
                    "within_noise": drift.within_noise})  # fmt: skip
        return
    say(
        f"{profile.name}: times are now {drift.ratio:.3f} of what they were "
        f"({drift.low:.3f} to {drift.high:.3f})"
    )
    verdict = (
        "within the noise" if drift.within_noise else "more than the noise; measure again: llmos calibrate"
    )
    say(f"{verdict} (two measurements in a row: {_spread(drift.noise)})")


def show(profile: Profile) -> None:
    """Print a profile for people."""
    fields(
        [
            ("profile", profile.provenance),
            ("device", profile.device),
            *(
                (name, value)
                for name, value in (("driver", profile.driver), ("torch", profile.torch))
                if value
            ),
            *([("source", profile.source)] if profile.source else []),
            ("clock", profile.clock),
            *([("threads", profile.threads)] if profile.threads else []),
            ("noise floor", _spread(profile.noise)),
            *((f"noise floor, {kind}", _spread(spread)) for kind, spread in profile.noise_of.items()),
            *((f"held out, {how}", _spread(spread)) for how, spread in profile.holdout.items()),
            *((f"iterations, {fit.model} {fit.dtype}", _fitted(fit)) for fit in profile.iterations),
            (
                "peak",
                ", ".join(
                    f"{dtype} {flops / 1e9:,.1f} GFLOP/s" for dtype, flops in profile.peak_flops.items()
                ),
            ),
            ("bandwidth", f"{profile.bandwidth_bytes_per_s / 1e9:,.1f} GB/s"),
            ("rows", f"{len(profile.rows):,}"),
            *(("note", note) for note in profile.notes),
            *([("left out", _dropped(profile))] if profile.dropped else []),
        ]
    )
    if profile.rows:
        say()
        step = max(1, len(profile.rows) // MOST_ROWS)
        rows = [
            (
                show_op(row.op),
                *(amount(seconds * 1e9, digits=4) for seconds in (row.seconds, row.low, row.high)),
                row.samples,
            )
            for row in profile.rows[::step]
        ]
        title = f"{len(rows)} of {len(profile.rows):,} rows"
        table(title, ("operation", "time", "low", "high", "samples"), rows)
    if profile.system:
        say()
        _show_system(profile.system)


def _dropped(profile: Profile) -> str:
    """How many rows are wrong, and the first of them."""
    more = ", ..." if len(profile.dropped) > 1 else ""
    return f"{len(profile.dropped):,} of the file's rows: {profile.dropped[0]}{more}"


def _fitted(fit: IterationFit) -> str:
    """What whole iterations taught, and how well it predicts others."""
    law = f"{fit.scale:.3f} of the sum and {fit.overhead_s * 1e6:.1f} us an operation"
    return f"{law}; held out {_spread(fit.holdout)}; noise floor {_spread(fit.noise)}"


def _show_system(system: dict[str, Measured]) -> None:
    """Print what the operating system's own work takes."""
    rows = [
        (
            name,
            WHAT.get(name, ""),
            *(amount(s * 1e9, digits=4) for s in (figure.seconds, figure.low, figure.high)),
            figure.samples,
        )
        for name, figure in system.items()
    ]
    columns = ("cost", "what it is", "time", "low", "high", "samples")
    table("The operating system", columns, rows, left=2)


def facts(profile: Profile) -> dict[str, Any]:
    """Return everything but the rows, ready for JSON."""
    document: dict[str, Any] = msgspec.to_builtins(profile)
    document.pop("rows", None)
    return document


def _spread(spread: Spread | None) -> str:
    return "not measured" if spread is None else f"median {spread.median:.1%}, p95 {spread.p95:.1%}"
