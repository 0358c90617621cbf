"""`llmos completion`: names and files at the touch of the tab key.

- The script that is printed calls llmos with `_LLMOS_COMPLETE` in the environment; `answer` answers.
- A parameter completes by its name, in whatever command it is: see `CHOICES`.
- Nothing here is imported unless it is asked for, so that no other command is slower for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from llmos.cli.main import COMMANDS, Commands
from llmos.errors import LlmosError

VARIABLE = "_LLMOS_COMPLETE"

SHELLS = ("bash", "zsh", "fish")

Choices = Callable[[], Iterable[str]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    r"""Print the script that completes llmos in SHELL: commands, options, scenarios, policies, files.

    \b
    bash: add to ~/.bashrc   eval "$(llmos completion bash)"
    zsh:  add to ~/.zshrc    eval "$(llmos completion zsh)"
    fish: llmos completion fish > ~/.config/fish/completions/llmos.fish
    """
    found = get_completion_class(shell)
    if found:
        script = found(click.Group("llmos"), {}, "llmos", VARIABLE).source()
        # A line is "kind,value<tab>help"; click's script for fish cuts what has a comma of its own.
        click.echo(script.replace('string split ","', 'string split --max 1 ","'))


def answer(group: Commands) -> int:
    """Print what the shell that is asking may offer; return the exit code."""
    shell, _, what = os.environ[VARIABLE].partition("_")
    found = get_completion_class(shell)
    if found is None or what != "complete":
        return 1
    with suppress(LlmosError):  # nor is a broken plugin
        click.echo(found(_Completing(group.name, params=group.params), {}, "llmos", VARIABLE).complete())
    return 0


class _Completing(Commands):
    """The commands, with parameters that know what they may be."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return _taught(found, cmd_name) if found else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Name the commands without importing any of them."""
        fitting = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items()]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [item for item in fitting if item.value.startswith(incomplete)] + options


def _taught(command: click.Command, first: str) -> click.Command:
    """Give the parameters of a command, and of its own commands, their choices; `first` is its name."""
    for param in command.params:
        if choices := CHOICES.get(f"{first} {param.name}") or CHOICES.get(param.name or ""):
            param.shell_complete = _offering(choices)  # type: ignore[assignment,method-assign]  # click calls it
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _taught(inner, first)
    return command


def _offering(choices: Choices) -> Callable[[click.Context, str], list[CompletionItem]]:
    def offer(_ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        before, comma, word = incomplete.rpartition(",")  # a list: its last word is completed
        # Files first: bash forgets what came before them.
        offered = [] if choices in NO_FILES else [CompletionItem(incomplete, type="file")]
        with suppress(LlmosError):  # a broken file is no reason to disturb somebody who types
            offered += [CompletionItem(before + comma + n) for n in choices() if n.startswith(word)]
        return offered

    return offer


def _scenarios() -> Iterable[str]:
    from llmos.scenario.load import shipped

    return shipped()


def _schedulers() -> Iterable[str]:
    from llmos.scenario.policies import names

    return names()


def _replacements() -> Iterable[str]:
    from llmos.scenario.policies import REPLACEMENT, names

    return names(REPLACEMENT)


def _policies() -> Iterable[str]:
    return [*_schedulers(), *_replacements()]


def _profiles() -> Iterable[str]:
    from llmos.costs.profile import list_profiles

    return [listed.name for listed in list_profiles()]


def _models() -> Iterable[str]:
    from llmos.costs.decoder import SHAPES

    return SHAPES


def _assignments() -> Iterable[str]:
    from llmos.assignment import list_assignments

    return [a.name for a in list_assignments()]


def _metrics() -> Iterable[str]:
    from llmos.scenario.check import metric_names

    return metric_names()


def _kinds() -> Iterable[str]:
    from llmos.cli.log import NAMES

    return NAMES


CHOICES: Final[dict[str, Choices]] = {
    "scenario": _scenarios,
    "source": _scenarios,
    "files": _scenarios,
    "scheduler": _schedulers,
    "schedulers": _schedulers,
    "replacement": _replacements,
    "replacements": _replacements,
    "policy": _policies,
    "paging policies": _replacements,
    "mrc policies": _replacements,
    "profile": _profiles,
    "profile name": _profiles,
    "model": _models,
    "assignment name": _assignments,
    "metrics": _metrics,
    "wanted": _metrics,
    "kinds": _kinds,
}
"""What a parameter of that name (after its command's, if that matters) may be."""

NO_FILES: Final = (_models, _assignments, _metrics, _kinds)
"""Where a file would be out of place."""
