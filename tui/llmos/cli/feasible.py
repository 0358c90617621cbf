"""`llmos feasible`: will all deadlines be met? Answered before anything runs."""

from __future__ import annotations

import click

from llmos.cli.output import json_option, print_json, say
from llmos.cli.run import scenario_argument, scheduler_option, seed_option
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.scenario.realtime import verdicts

ANSWERS = {True: "all deadlines are met", False: "a deadline is missed", None: "cannot tell"}
COLOURS = {True: "green", False: "red", None: "yellow"}


@click.command()
@scenario_argument
@seed_option
@scheduler_option
@json_option
def command(scenario: str, seed: int | None, scheduler: str | None, as_json: bool) -> None:
    """Test whether the periodic tasks of SCENARIO meet their deadlines, and show the arithmetic.

    The tests are those that are known for its scheduler: utilisation bounds, response-time analysis,
    processor demand. They assume that switching costs nothing and that tasks wait for nothing else.
    """
    spec = build(load(find(scenario)), seed=seed, scheduler=scheduler)
    tested = verdicts(spec)
    if as_json:
        print_json(
            {
                "schema": 1,
                "scenario": spec.scenario,
                "scheduler": spec.cpu.policy.name if spec.cpu else "",
                "tested": [
                    {
                        "what": what,
                        "tests": [
                            {"name": v.test, "ok": v.ok, "explanation": v.explanation, "source": v.source}
                            for v in answers
                        ],
                    }
                    for what, answers in tested
                ],
            }
        )
        return
    say(spec.question, style="bold")
    for what, answers in tested:
        say()
        say(f"{what}, {spec.cpu.policy.name if spec.cpu else ''}", style="bold")
        for verdict in answers:
            say(f"{verdict.test}: {ANSWERS[verdict.ok]}", style=COLOURS[verdict.ok])
            for line in verdict.explanation:
                say(f"    {line}")
            say(f"    {verdict.source}", style="dim")
