"""`llmos calibrate`: measure what this machine's kernels cost."""

from __future__ import annotations

import click

from llmos.cli.output import json_option, print_json, progress, say
from llmos.cli.parsing import BUDGET
from llmos.cli.profile import check, facts, show
from llmos.costs.profile import THIS_MACHINE
from llmos.kernels.calibrate import calibrate


@click.command()
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda where there is one.")
@click.option("--quick", is_flag=True, help="At most 20 s (a model: 90 s more), with a wider error bar.")
@click.option("--budget", type=BUDGET, help="Time to spend: 60, or 60s.")
@click.option("--name", default="", help="What to call the profile.")
@click.option("--model", default="", help="A model to run, such as tiny-20m: whole iterations are timed too.")
@click.option("--dtype", help="What the model computes in: fp32, bf16 or fp16.")
@click.option("--weights", help="How the model's weights are stored: dense, int8, int4, int8-dynamic.")
@click.option("--check", "checks", is_flag=True, help="Only probe: how far has the machine drifted?")
@json_option
def command(
    device: str,
    quick: bool,
    budget: float | None,
    name: str,
    model: str,
    dtype: str | None,
    weights: str | None,
    checks: bool,
    as_json: bool,
) -> None:
    """Time matrix products and the operating system of this machine, and save the result as a profile.

    Scenarios use it as `profile = "this-machine"`. Needs torch.
    """
    if checks:
        check(name or THIS_MACHINE, device, as_json=as_json)
        return
    with progress("measuring") as report:
        profile = calibrate(
            device, quick=quick, budget_s=budget, progress=report, name=name, model=model, dtype=dtype,
            weights=weights,
        )  # fmt: skip
    if as_json:
        print_json(facts(profile))
        return
    show(profile)
    found = (
        f'; scenarios find the latest one as "{THIS_MACHINE}"'
        if profile.name.startswith(THIS_MACHINE)
        else ""
    )
    say(f'saved as "{profile.name}"{found}')
