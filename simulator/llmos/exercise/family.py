"""A family of processes: who may do what at what time, and the programs that make them do it.

- One process acts at a time: action number k happens at tick k, and nothing takes time.
- The first process never exits. Who exits is a zombie until its parent waits for it; its children are
  orphans, for whom init waits as soon as they exit.
- This says what may be drawn or asked for. What then happens is the simulator's affair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from string import ascii_uppercase
from typing import Final

from llmos.errors import LlmosError
from llmos.exercise.base import one_of, whole
from llmos.exercise.work import Step

FORKS: Final = "forks"
EXITS: Final = "exits"
WAITS: Final = "waits"

INIT: Final = "init"
"""Who takes orphans."""

MOST: Final = 20
"""Actions in an exercise."""

SAYING: Final = re.compile(r"([A-Za-z]\w{0,11})\s+(?:(forks)\s+([A-Za-z]\w{0,11})|(exits|waits))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Action:
    """`who` forks `child`, exits, or waits for a child."""

    who: str
    what: str
    child: str = ""

    def __str__(self) -> str:
        return f"{self.who} {self.what} {self.child}".rstrip()


@dataclass(slots=True)
class Member:
    """A process that lives: its family, and its program so far, which lasts until tick `now`."""

    parent: Member | None
    now: int
    children: list[str] = field(default_factory=list)
    """Those that live."""
    zombies: int = 0
    waits: bool = False
    steps: list[Step] = field(default_factory=list)

    def until(self, t: int) -> None:
        """Do nothing until tick `t`."""
        if t > self.now:
            self.steps.append({"sleep": t - self.now})
            self.now = t


class Family:
    """Processes that act one after another."""

    def __init__(self, first: str) -> None:
        self.first = first
        self.living = {first: Member(None, 0)}
        self.programs: dict[str, list[Step]] = {first: self.living[first].steps}
        """What everybody does, the dead included."""
        self.t = 0

    def free(self) -> list[str]:
        """Those that can act: they live and do not wait."""
        return [name for name, member in self.living.items() if not member.waits]

    def obstacle(self, action: Action) -> str:
        """Why `action` cannot happen now, "" if it can."""
        who = self.living.get(action.who)
        if who is None:
            return f"{action.who} does not live then"
        if who.waits:
            return f"{action.who} waits for a child then"
        if action.what == FORKS and action.child in self.programs:
            return f"there is a process {action.child} already"
        if INIT in (action.who, action.child):
            return f"{INIT} is there before all others and takes orphans, nothing else"
        if action.what == EXITS and action.who == self.first:
            return f"{self.first} is the first process and has to stay"
        if action.what == WAITS and not (who.children or who.zombies):
            return f"{action.who} has no child to wait for"
        return ""

    def act(self, action: Action) -> None:
        """Let a tick pass, and `action` happen."""
        self.t += 1
        who = self.living[action.who]
        who.until(self.t)
        if action.what == FORKS:
            who.steps.append({"fork": action.child, "name": action.child})
            who.children.append(action.child)
            child = self.living[action.child] = Member(who, self.t)
            self.programs[action.child] = child.steps
        elif action.what == WAITS:
            who.steps.append({"wait": True})
            who.waits = not who.zombies
            who.zombies = max(0, who.zombies - 1)
        else:
            who.steps.append({"exit": True})
            self._bury(action.who)

    def _bury(self, name: str) -> None:
        gone = self.living.pop(name)
        for child in gone.children:
            self.living[child].parent = None
        parent = gone.parent
        if parent is None:
            return
        parent.children.remove(name)
        if parent.waits:
            parent.waits, parent.now = False, self.t
        else:
            parent.zombies += 1

    def end(self) -> None:
        """Let everybody who can act be there for a tick more."""
        for name in self.free():
            self.living[name].until(self.t + 1)


def after(actions: Sequence[Action], first: str) -> Family:
    """The family after `actions`.

    Raises LlmosError if one of them cannot happen.
    """
    family = Family(first)
    for k, action in enumerate(actions, start=1):
        obstacle = family.obstacle(action)
        if obstacle:
            raise LlmosError(f'action {k}, "{action}": {obstacle}', hint="give another one, or another order")
        family.act(action)
    family.end()
    return family


def read(text: str) -> list[Action]:
    """The actions that `text` lists: "A forks B, B exits, A waits".

    Raises LlmosError for anything else.
    """
    actions = []
    for said in filter(None, map(str.strip, text.split(","))):
        match = SAYING.fullmatch(said)
        if match is None:
            raise LlmosError(f'"{said}" is no action', hint='write "A forks B", "B exits" or "A waits"')
        who, forks, child, other = match.groups()
        actions.append(Action(who, forks or other, child or ""))
    if not 1 <= len(actions) <= MOST:
        raise LlmosError(
            f"{len(actions)} actions are {'too many' if actions else 'none'}; an exercise has 1 to {MOST}",
            hint='write them as in "A forks B, B exits, A waits"',
        )
    return actions


def draw(dice: Random, count: int, percent: int) -> list[Action]:
    """Draw `count` actions, of which about `percent` percent are forks; the first one is."""
    family, actions = Family(ascii_uppercase[0]), list[Action]()
    for _ in range(count):
        born = Action(one_of(dice, family.free()), FORKS, ascii_uppercase[len(family.programs)])
        forks = whole(dice, 1, 100) <= percent
        what = WAITS if whole(dice, 1, 3) == 1 else EXITS
        can = [a for name in family.free() if not family.obstacle(a := Action(name, what))]
        actions.append(born if forks or not can else one_of(dice, can))
        family.act(actions[-1])
    return actions
