"""An exercise as Markdown, for handouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmos.exercise.base import Exercise, Heading, Listing, Part, Solution, Table, Text


def write(exercise: Exercise, solution: Solution | None = None) -> str:
    """Return the statement with a worksheet to fill in, or with its solution in place of that."""
    blocks = [f"# {_text(exercise.title)}", *_parts(exercise.statement), "## Questions"]
    blocks.append("\n".join(f"{i}. {_text(q)}" for i, q in enumerate(exercise.questions, start=1)))
    if solution is None:
        blocks += ["## Answer", *_parts(exercise.worksheet)]
    else:
        blocks += ["## Solution", *_parts(solution.parts)]
    return "\n\n".join(blocks) + "\n"


def _parts(parts: Iterable[Part | Heading]) -> Iterator[str]:
    for part in parts:
        match part:
            case Heading(text):
                yield f"### {_text(text)}"
            case Text(text):
                yield _text(text)
            case Table():
                yield from _titled(part.title, _table(part))
            case Listing(title, lines):
                yield from _titled(title, "\n".join(["```text", *lines, "```"]))


def _titled(title: str, block: str) -> Iterator[str]:
    if title:
        yield f"**{_text(title)}**"
    yield block


def _table(table: Table) -> str:
    rules = [":--" if i < table.left else "--:" for i in range(len(table.columns))]
    return "\n".join(_row(cells) for cells in (table.columns, rules, *table.rows))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _text(text: str) -> str:
    """Keep Markdown from reading `*`, `_` and `<` as more than they are."""
    for mark in ("\\", "*", "_", "<", "`"):
        text = text.replace(mark, "\\" + mark)
    return text
