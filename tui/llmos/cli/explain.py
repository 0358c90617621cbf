"""`llmos explain`: a policy's lesson, parameters and source; a scenario's story."""

from __future__ import annotations

import textwrap
from itertools import takewhile
from pathlib import Path

import click

from llmos.cli.output import json_option, print_json, say, table
from llmos.scenario.load import find, load, shipped
from llmos.scenario.policies import REPLACEMENT, SCHEDULERS, describe, names


@click.command()
@click.argument("policy", required=False)
@json_option
def command(policy: str | None, as_json: bool) -> None:
    """Explain POLICY, a scheduler or a replacement policy; without one, all of them.

    It is a name (llmos list schedulers, llmos list replacement), or path.py:Class for your own. The name of a
    scenario (llmos list scenarios), or a .toml file, gives what its author says of it.
    """
    if policy and (policy in shipped() or policy.endswith(".toml")):
        _tell(policy, find(policy), as_json=as_json)
        return
    every = [*names(SCHEDULERS), *names(REPLACEMENT)]
    infos = [describe(name) for name in ([policy] if policy else every)]
    if as_json:
        documents = [
            {
                "name": info.name,
                "summary": info.summary,
                "lesson": info.lesson,
                "parameters": [
                    {"name": p.name, "type": p.type, "default": p.default, "doc": p.doc}
                    for p in info.parameters
                ],
                "source": info.source,
                "differs": info.differs,
            }
            for info in infos
        ]
        print_json(documents[0] if policy else documents)
        return
    for info in infos:
        say(info.name, style="bold")
        say(textwrap.fill(f"{info.summary} {info.lesson}".strip(), 96))
        say()
        if info.parameters:
            rows = [(p.name, p.type, p.default, p.doc) for p in info.parameters]
            table("", ("parameter", "type", "default", ""), rows, left=4)
            say()
        if info.source:
            say(f"Source: {info.source}")
        if info.differs:
            say(textwrap.fill(f"Differs: {info.differs}", 96))
        say()


def _tell(name: str, path: Path, *, as_json: bool) -> None:
    """Print the comment that a scenario's file begins with; raises ScenarioError if it is none."""
    load(path)
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8-sig").splitlines())
    story = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
    if as_json:
        print_json({"name": name, "story": story, "file": str(path)})
        return
    say(story or "its file begins with no comment")
    say()
    say(f"File: {path}")
