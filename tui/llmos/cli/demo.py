"""`llmos demo`: from nothing to a picture, with costs measured a moment ago."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import click

from llmos.cli.compare import as_document, measure, show
from llmos.cli.output import amount, json_option, print_json, progress, say
from llmos.costs.profile import THIS_MACHINE, Profile, load_profile
from llmos.errors import ProfileError
from llmos.plot import comparison, gantt, save
from llmos.scenario.build import build
from llmos.scenario.compare import Comparison
from llmos.scenario.load import find, load
from llmos.scenario.machine import run
from llmos.trace.log import LogFile, read

SCENARIO = "two-worlds"
FALLBACK = "reference-cpu"


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("llmos-demo"),
    show_default=True,
    help="The folder for the pictures and the log.",
)
@click.option("--reuse", is_flag=True, help="Use the last calibration of this machine, if there is one.")
@json_option
def command(output: Path, reuse: bool, as_json: bool) -> None:
    """Measure this machine, run the same schedulers on CPU tasks and on LLM requests, draw the result."""
    if as_json:
        with redirect_stdout(StringIO()):
            result, files = _demonstrate(output, reuse)
        print_json({"comparison": as_document(result), "files": [str(path) for path in files]})
    else:
        _demonstrate(output, reuse)


def _demonstrate(output: Path, reuse: bool) -> tuple[Comparison, list[Path]]:
    """Show all three steps; return the comparison and the files that were written."""
    say("1. What does a matrix product cost on this machine?", style="bold")
    profile = _profile(reuse)
    noise = f"; measuring twice differs by {profile.noise.median:.1%} (median)" if profile.noise else ""
    say(f"   {profile.provenance}: {profile.device}, {len(profile.rows)} rows{noise}")
    say()
    say("2. The same schedulers, on CPU tasks and on LLM requests", style="bold")
    name = THIS_MACHINE if profile.name != FALLBACK else FALLBACK
    result = measure(SCENARIO, profile=name)
    show(result)
    say()
    say("3. Pictures, and a log to walk through", style="bold")
    picture, chart, log = output / "comparison.png", output / "gantt.png", output / "log.jsonl"
    save(comparison(result, result.asked or None), picture)
    with LogFile(log) as file:
        outcome = run(build(load(find(SCENARIO)), profile=name), [file])
    save(gantt(outcome.state, list(read(log))), chart)
    for path, about in (
        (picture, "the comparison"),
        (chart, f"who ran where and when, {amount(outcome.state.now)} of it"),
        (log, f"every decision with its reason; walk through it: llmos tui {log}"),
    ):
        say(f"   {path}  {about}")
    return result, [picture, chart, log]


def _profile(reuse: bool) -> Profile:
    """Return this machine's profile, measured now; without torch, the one that ships."""
    if reuse:
        try:
            return load_profile(THIS_MACHINE)
        except ProfileError:
            say("   there is no calibration yet")
    if find_spec("torch") is None:
        say("   torch is not installed, so the profile that ships is used; it is of another machine")
        return load_profile(FALLBACK)
    from llmos.kernels.calibrate import calibrate

    say("   timing real torch matrix products, about 20 s")
    with progress("measuring") as report:
        return calibrate("cpu", quick=True, progress=report)
