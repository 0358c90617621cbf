"""`llmos validate`: hold the simulator against a real engine on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmos.cli.output import fields, json_option, print_json, progress, say, table
from llmos.costs.profile import THIS_MACHINE, load_profile
from llmos.kernels.device import open_device
from llmos.kernels.insitu import runnable
from llmos.scenario.policies import parse_choice, policy_spec

if TYPE_CHECKING:
    from llmos.kernels.validate import Errors, Slowdown, Validation


@click.command()
@click.option("--model", default="tiny-20m", show_default=True, help="The model's shape.")
@click.option("--dtype", help="What it computes in, if not its usual one: fp32, bf16, fp16.")
@click.option("--weights", help="How its layers' weights are stored: dense, int8, int4, int8-dynamic.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--graph",
    type=click.Choice(["eager", "static"]),
    default="eager",
    show_default=True,
    help="How its operations are launched; static: decodes as CUDA graphs.",
)
@click.option("--profile", default=THIS_MACHINE, show_default=True, help="The profile to validate.")
@click.option("--scheduler", "-s", default="fcfs", show_default=True, help="Who gets the engine's slots.")
@click.option("--requests", type=click.IntRange(5, 10_000), default=40, show_default=True)
@click.option("--slots", type=click.IntRange(1, 1024), default=8, show_default=True)
@click.option("--token-budget", type=click.IntRange(1, 65_536), default=256, show_default=True)
@click.option("--kv-blocks", type=click.IntRange(1, 10**6), default=512, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--no-probe", is_flag=True, help="Take times as they come: no probe beside each iteration.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw it: PNG, SVG or PDF.")
@json_option
def command(
    model: str,
    dtype: str | None,
    weights: str | None,
    device: str,
    graph: str,
    profile: str,
    scheduler: str,
    requests: int,
    slots: int,
    token_budget: int,
    kv_blocks: int,
    seed: int,
    no_probe: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Serve requests with a real model, predict the same from a profile, and print the difference.

    Measure first, with the model in place: llmos calibrate --model tiny-20m. Needs torch.
    """
    if picture is not None:
        from llmos.plot.page import check_path

        check_path(picture)
    shape = runnable(model, dtype, weights)
    known = load_profile(profile)
    policy = policy_spec(parse_choice(scheduler), "engine", seed=seed)
    if token_budget < slots:
        raise click.UsageError(
            f"a token budget of {token_budget} is less than a token for each of {slots} slots"
        )
    with open_device(device), progress("validating") as report:
        from llmos.kernels.validate import Engine, validate
        from llmos.kernels.watch import watch_for

        found = validate(
            model, shape, known, Engine(policy, slots, token_budget, kv_blocks), watch_for(device),
            device=device, graph=graph, requests=requests, seed=seed, probes=not no_probe, progress=report,
        )  # fmt: skip
    if picture is not None:
        from llmos.plot.page import save
        from llmos.plot.validation import draw_validation

        save(draw_validation(found.document()), picture)
    if as_json:
        print_json(found.document())
    else:
        _show(found)


def _show(found: Validation) -> None:
    stored = "" if found.weights == "dense" else f"{found.weights} weights, "
    pressure = "unknown" if found.pressure_percent is None else f"{found.pressure_percent:.1f} %"
    fields(
        [
            ("model", f"{found.model} {found.dtype}, {stored}random weights; {found.graph}"),
            ("device", f"{found.device}; {found.clock}"),
            ("profile", found.profile),
            ("scheduler", found.scheduler),
            ("pressure", pressure),
            ("machine", _machine(found.slowdown)),
        ]
    )
    say()
    rows = [("iteration", found.iterations), *found.waits.items()]
    table(
        "",
        ("", "points", "median error", "p95", "bias", "noise: median", "p95", "bias"),
        [(name, c.error.points, *_three(c.error), *_three(c.noise)) for name, c in rows],
    )
    predicted, noise = found.iterations.total
    say()
    say(f"total time: predicted {predicted:+.1%} of what was measured; measured again {noise:+.1%}")
    if found.slowdown:
        came, (total, again) = found.as_they_came, found.as_they_came.total
        say(
            f"as times came: iterations {came.error.median:.1%}, p95 {came.error.p95:.1%} "
            f"(again {came.noise.median:.1%}, {came.noise.p95:.1%}); total {total:+.1%} (again {again:+.1%})"
        )


def _machine(slowdown: Slowdown | None) -> str:
    if slowdown is None:
        return "as it is: no probe tells how fast it was"
    low, middle, high = (f"{value - 1:+.0%}" for value in (slowdown.low, slowdown.median, slowdown.high))
    return f"a probe took {middle} of what it took for the profile ({low} to {high}); times are without that"


def _three(errors: Errors) -> tuple[str, str, str]:
    return f"{errors.median:.1%}", f"{errors.p95:.1%}", f"{errors.bias:+.1%}"
