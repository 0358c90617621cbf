"""`llmos list`: what there is."""

from __future__ import annotations

import click

from llmos.cli.output import json_option, print_json, say, table
from llmos.costs.profile import list_profiles
from llmos.scenario.load import load, shipped
from llmos.scenario.policies import REPLACEMENT, describe, names

KINDS = ("schedulers", "replacement", "scenarios", "profiles", "assignments")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), required=False)
@json_option
def command(kind: str | None, as_json: bool) -> None:
    """List the schedulers, replacement policies, scenarios, cost profiles and assignments that there are."""
    found = {name: rows() for name, rows in ROWS.items() if kind in (None, name)}
    if as_json:
        print_json({name: [{"name": n, "about": about} for n, about in rows] for name, rows in found.items()})
        return
    for name, rows in found.items():
        table(TITLES.get(name, name.capitalize()), ("name", "about"), rows, left=2)
        say()
    say("more: llmos explain POLICY, llmos run SCENARIO, llmos profile show PROFILE", style="dim")


def _schedulers() -> list[tuple[str, str]]:
    return [(name, describe(name).summary) for name in names()]


def _replacement() -> list[tuple[str, str]]:
    return [(name, describe(name).summary) for name in names(REPLACEMENT)]


def _scenarios() -> list[tuple[str, str]]:
    return [(name, load(path).question) for name, path in shipped().items()]


def _profiles() -> list[tuple[str, str]]:
    return [
        (p.name, f"{p.profile.device} ({p.profile.kind})" if p.profile else p.problem)
        for p in list_profiles()
    ]


def _assignments() -> list[tuple[str, str]]:
    from llmos.assignment import list_assignments

    return [(a.name, a.title) for a in list_assignments()]


ROWS = {
    "schedulers": _schedulers,
    "replacement": _replacement,
    "scenarios": _scenarios,
    "profiles": _profiles,
    "assignments": _assignments,
}
TITLES = {"replacement": "Replacement policies"}
