"""The entry point: which commands there are, and what a person sees when something goes wrong.

- A command's file is imported when the command is called, so `llmos --help` is quick.
- Exit codes: 0 done; 1 the simulated run failed its checks; 2 bad input, with a message that names
  the cure. 130 after Ctrl-C. Never a traceback for what a person typed.
"""

from __future__ import annotations

import importlib
import os
import sys
from io import TextIOWrapper
from typing import NoReturn

import click

from llmos.errors import LlmosError

# In the order of a first hour with llmos: (module, help).
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Measure this machine and compare schedulers on CPU tasks and LLM requests."),
    "run": ("run", "Run a scenario and print what happened."),
    "compare": ("compare", "Run a scenario under several schedulers, side by side."),
    "sweep": ("sweep", "Run a scenario over many values of its keys, on all cores; write a table."),
    "plot": ("plot", "Draw a run or a comparison as PNG, SVG or PDF."),
    "tui": ("tui", "Watch a run: play it, step forward and back, see every decision's reason."),
    "list": ("catalogue", "List the schedulers, scenarios, profiles and assignments."),
    "explain": ("explain", "Explain a scheduler: the lesson, its parameters, the source."),
    "feasible": ("feasible", "Test beforehand whether periodic tasks meet their deadlines, and show how."),
    "check": ("check", "Check scenario files and logs without running anything."),
    "translate": ("translate", "Walk addresses through page tables, and show every step."),
    "paging": ("paging", "Show page replacement step by step, as in an exam, or compare the policies."),
    "mrc": ("mrc", "Draw how often a trace misses, under which policy and at which size."),
    "exercise": ("exercise", "Pose a small problem to solve by hand, or work its answer out."),
    "schema": ("schema", "Print the JSON Schema of scenario files, for editors."),
    "log": ("log", "Print or filter the events of a saved log."),
    "calibrate": ("calibrate", "Measure what this machine's kernels cost; save a profile."),
    "kernels": ("kernels", "Time real operations: quantised, pruned, compiled, tiled; draw the roofline."),
    "cost": ("cost", "Take one iteration of a model apart: its operations, and what holds each up."),
    "validate": ("validate", "Hold the simulator against a real engine on this machine."),
    "profile": ("profile", "List, show and check cost profiles."),
    "completion": ("completion", "Print the script that completes llmos in bash, zsh or fish."),
    "assignment": ("assignment", "Start, check and grade classroom assignments."),
}


class Commands(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; each has one called `command`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"llmos.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, or say which one may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from llmos.errors import did_you_mean

            hint = did_you_mean(args[0], COMMANDS) or f"the commands are: {', '.join(COMMANDS)}"
            raise click.UsageError(f'there is no command "{args[0]}"; {hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False,
    callback=lambda ctx, _, asked: _version(ctx, asked),
    help="Show the version and exit.",
)  # fmt: skip
def llmos() -> None:
    """An operating system for language models that you can run, stop, rewind, change and grade.

    Start with:  llmos demo     or:  llmos run convoy     or:  llmos tui
    """


def _version(ctx: click.Context, asked: bool) -> None:
    if asked:
        from llmos.version import VERSION

        click.echo(f"llmos, version {VERSION}")
        ctx.exit()


def main() -> NoReturn:
    """Run the command line and leave with the right exit code."""
    if "_LLMOS_COMPLETE" in os.environ:  # the shell asks; what `llmos completion` prints sees to that
        sys.exit(importlib.import_module("llmos.cli.completion").answer(llmos))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks is a question mark
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except LlmosError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        code = error.exit_code
    except OSError as error:  # of the output: commands tell what is wrong with other files themselves
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lest Python reports it again
        code = 0 if isinstance(error, BrokenPipeError) else 2  # `llmos log x | head` is no trouble of ours
        if code:
            click.echo(f"error: cannot write the output: {error.strerror or error}", err=True)
    sys.exit(code)


def _run(args: list[str]) -> int:
    # Not llmos.main(): that leaves with 1 on a closed pipe, and 1 says that a simulated run failed.
    try:
        with llmos.make_context("llmos", args) as context:
            llmos.invoke(context)
    except click.exceptions.Exit as left:
        return left.exit_code
    return 0
