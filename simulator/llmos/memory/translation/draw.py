"""A walk as people draw it: the bits of the address above, each step below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmos.memory.translation.base import Field, Step, Walk


def address_bits(fields: Sequence[Field]) -> list[str]:
    """Draw an address: where each field begins and ends, its bits, its name and its value."""
    if not fields:
        return []
    cells = [_cell(field) for field in fields]
    widths = [max(map(len, cell)) for cell in cells]
    edge = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(row: int, bar: str) -> str:
        texts = (f" {cell[row]:^{width}} " for cell, width in zip(cells, widths, strict=True))
        return (bar + bar.join(texts) + bar).rstrip()

    above = " ".join(
        f" {field.high}{str(field.low).rjust(width - len(str(field.high)))} "
        if field.high > field.low
        else f" {field.high:^{width}} "
        for field, width in zip(fields, widths, strict=True)
    )
    return [f" {above}".rstrip(), edge, line(0, "|"), edge, line(1, " "), line(2, " ")]


def _cell(field: Field) -> tuple[str, str, str, str]:
    """What stands in and below the cell of a field, and a text as wide as what stands above it."""
    bits = f"{field.value:0{field.high - field.low + 1}b}"
    value = f"{field.value:#x}" if field.name == "offset" else str(field.value)
    return (
        bits,
        field.name,
        value,
        f"{field.high}  {field.low}" if field.high > field.low else str(field.high),
    )


def steps(walk: Walk) -> list[str]:
    """Write the steps of a walk, one line each, and where it ends."""
    rows = [_row(step) for step in walk.steps]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for i, row in enumerate(rows, start=1):
        padded = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True) if width)
        lines.append(f"{i}. {padded}".rstrip())
    return [*lines, f"=> {end(walk)}"]


def _row(step: Step) -> tuple[str, str, str]:
    where = "" if step.frame is None else f"in frame {step.frame}"
    index = "" if step.index is None else f"[{step.index}]"
    at = "" if step.address is None else f"at {step.address:#x}: "
    word = "" if step.word is None else f"{step.word:#x}, "
    return step.table + index, where, f"{at}{word}{step.text}"


def end(walk: Walk) -> str:
    """Say where a walk ends, in a line."""
    if walk.fault is not None:
        return f"fault, {walk.fault.kind}: {walk.fault.reason}"
    byte = "" if walk.byte is None else f", where memory holds {walk.byte:#04x}"
    return f"physical address {walk.physical:#x} ({walk.physical}){byte}"


def title(walk: Walk) -> str:
    """Say what was asked, in a line."""
    return f"{walk.address:#x} ({walk.address}), {walk.access}"


def data(walk: Walk) -> dict[str, Any]:
    """Tell the walk to programs; docs/translation.md promises the keys."""
    keys = ("table", "index", "frame", "address", "word", "text")
    return {
        "address": walk.address,
        "access": walk.access.value,
        "fields": [field._asdict() for field in walk.fields],
        "steps": [{key: getattr(step, key) for key in keys} for step in walk.steps],
        "references": walk.references,
        "physical": walk.physical,
        "byte": walk.byte,
        "fault": walk.fault and {"kind": walk.fault.kind.value, "reason": walk.fault.reason},
    }
