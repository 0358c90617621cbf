"""`llmos exercise`: small problems to solve by hand, and their worked answers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import click

from llmos.cli.output import json_option, print_json, say, table
from llmos.cli.parsing import split_list
from llmos.errors import LlmosError, did_you_mean
from llmos.exercise import markdown
from llmos.exercise.base import Exercise, Heading, Listing, Option, Part, Solution, Table, Text, Topic, topics

WIDTH = 80
"""Columns of a paragraph."""


class Topics(click.Group):
    """A group with a command for each topic, made from the topic's own options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return `list` and the topics."""
        return ["list", *topics()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a topic."""
        if cmd_name == "list":
            return show_topics
        topic = topics().get(cmd_name)
        return None if topic is None else _command(cmd_name, topic)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the topic that is asked for, or say which one may have been meant."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            hint = did_you_mean(args[0], known) or f"there are {', '.join(known[1:])}"
            raise LlmosError(f'there is no topic "{args[0]}"', hint=hint)
        return super().resolve_command(ctx, args)


@click.group(cls=Topics)
def command() -> None:
    """Pose a small problem to solve by hand; with --solve, work its answer out.

    The same seed poses the same problem, everywhere. Start with: llmos exercise scheduling --seed 1
    """


@click.command()
@json_option
def show_topics(as_json: bool) -> None:
    """List the topics."""
    rows = [(name, _about(topic)) for name, topic in topics().items()]
    if as_json:
        print_json({"topics": [{"name": name, "about": about} for name, about in rows]})
        return
    table("Topics", ("name", "about"), rows, left=2)
    say()
    say("more: llmos exercise TOPIC --help", style="dim")


def _about(topic: type[Topic]) -> str:
    return (topic.__doc__ or "").strip().splitlines()[0]


def _command(name: str, topic: type[Topic]) -> click.Command:
    """The command of a topic: its own options, and those that all of them have."""

    def callback(
        seed: int, solve: bool, as_json: bool, as_toml: bool, as_markdown: bool, **options: Any
    ) -> None:
        if as_json + as_toml + as_markdown > 1:
            raise click.UsageError("--json, --toml and --markdown exclude each other; give one of them")
        if as_toml and solve:
            raise click.UsageError("--toml is the problem alone; leave --solve away, or take --json")
        given = {k: tuple(split_list(v)) if isinstance(v, tuple) else v for k, v in options.items()}
        exercise = topic().pose(seed, given)
        if as_toml:
            if not topic.has_scenario:
                raise LlmosError("this exercise is no scenario", hint="for programs there is --json")
            click.echo(exercise.toml, nl=False)
            return
        solution = exercise.solve() if solve else None
        if as_json:
            print_json(document(exercise, solution))
        elif as_markdown:
            click.echo(markdown.write(exercise, solution), nl=False)
        else:
            show(exercise, solution)

    options = [_option(option) for option in topic.options]
    common = _common(has_scenario=topic.has_scenario)
    return click.Command(name, callback=callback, params=[*options, *common], help=_about(topic))


def _option(option: Option) -> click.Option:
    name = f"--{option.name.replace('_', '-')}"
    if option.flag:
        return click.Option([name], is_flag=True, help=option.help)
    kind: Any = str
    if option.low is not None:
        kind = click.IntRange(option.low, option.high)
    elif option.choices:
        kind = click.Choice(option.choices)
    return click.Option([name], type=kind, help=option.help, multiple=option.many)


def _common(*, has_scenario: bool) -> list[click.Option]:
    """The options of all topics; --toml is listed where it does something, and known everywhere."""

    def flag(*names: str, text: str, hidden: bool = False) -> click.Option:
        return click.Option(list(names), is_flag=True, help=text, hidden=hidden)

    return [
        click.Option(
            ["--seed"], type=click.IntRange(0, 2**63 - 1), default=1, show_default=True,
            help="Number of the exercise.",
        ),
        flag("--solve", text="Print the worked answer as well."),
        flag("--toml", "as_toml", text="Print it as a scenario for llmos run.", hidden=not has_scenario),
        flag("--markdown", "as_markdown", text="Print a handout in Markdown."),
        flag("--json", "as_json", text="Print one JSON document instead."),
    ]  # fmt: skip


def document(exercise: Exercise, solution: Solution | None) -> dict[str, Any]:
    """The exercise as one document; docs/exercises.md promises its keys."""
    return {
        "schema": 1,
        "topic": exercise.topic,
        "seed": exercise.seed,
        "title": exercise.title,
        "given": exercise.data,
        "questions": exercise.questions,
        "scenario": exercise.toml,
        "solution": None if solution is None else solution.data,
    }


def show(exercise: Exercise, solution: Solution | None) -> None:
    """Print the statement and the questions, and the solution if there is one."""
    say(exercise.title, style="bold")
    say()
    _show_parts(exercise.statement)
    say("Questions", style="bold")
    for i, question in enumerate(exercise.questions, start=1):
        _paragraph(question, f"{i}. ")
    say()
    if solution is None:
        run = " To run it: --toml." if exercise.toml else ""
        say(f"The answer: the same command with --solve.{run}", style="dim")
    else:
        _show_parts(solution.parts)


def _show_parts(parts: Iterable[Part | Heading]) -> None:
    for part in parts:
        match part:
            case Heading(text):
                say(f"-- {text} ".ljust(WIDTH, "-"), style="bold cyan")
            case _:
                show_part(part)
        say()


def show_part(part: Part) -> None:
    """Print a paragraph, a table or a listing."""
    match part:
        case Text(text):
            _paragraph(text)
        case Table():
            table(part.title, part.columns, part.rows, left=part.left)
        case Listing(title, lines):
            if title:
                say(title, style="bold")
            for line in lines:
                say(line)


def _paragraph(text: str, mark: str = "") -> None:
    say(textwrap.fill(text, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark)))
