"""`llmos translate`: where an address leads, step by step."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from llmos.cli.exercise import document, show
from llmos.cli.output import json_option, print_json, say
from llmos.errors import LlmosError
from llmos.exercise.translation import SCHEMES as POSED
from llmos.exercise.translation import Translations
from llmos.memory.tlb import MISS, Tlb
from llmos.memory.tlb_array import Shape
from llmos.memory.translation import draw
from llmos.memory.translation.base import Access, PageTable, Translation, Walk
from llmos.memory.translation.layout import SCHEMES, mappings, number, read

LETTERS = {"r": Access.READ, "w": Access.WRITE, "x": Access.EXECUTE}
LARGEST_FILE_BYTES = 2**22

Asked = tuple[Walk, bool | None]
"""A walk, and whether the TLB had the page (None without a TLB)."""


@click.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1)
@click.option("--scheme", help=f"One of {', '.join(SCHEMES)}.")
@click.option("--file", type=click.Path(path_type=Path), help="The address space, as TOML or JSON.")
@click.option("--map", "pages", metavar="ADDRESS=FRAME", multiple=True, help="A page: 0x1000=5:rw.")
@click.option("--page-size", help="Bytes in a page: 4096, 4k.")
@click.option("--address-bits", help="Bits in an address (linear, inverted).")
@click.option("--levels", metavar="BITS", help="Index bits of each table, from the root: 9/9/9/9.")
@click.option("--segment", "segments", multiple=True, help='"NAME BASE LIMIT [down] [rwx]", in order.')
@click.option("--address-space", help="Bytes in an address space of segments: 16k.")
@click.option("--base", help="The base register.")
@click.option("--bounds", help="The bounds register.")
@click.option("--kernel", is_flag=True, help="Translate for the kernel, not for a user program.")
@click.option("--tlb", "shape", metavar="WAYS", help="Ask a TLB first: 4 entries, or 16x4 (sets x ways).")
@click.option("--exercise", is_flag=True, help="Pose a problem instead: an address space and addresses.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Number of the exercise [1].")
@click.option("--solve", is_flag=True, help="Print the exercise's answer as well.")
@json_option
def command(
    addresses: tuple[str, ...],
    file: Path | None,
    shape: str | None,
    seed: int | None,
    kernel: bool,
    exercise: bool,
    solve: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Walk each ADDRESS through the tables, and show every step: bits, table, entry, where it leads.

    ADDRESS is 4096, 0x1000 or 0x1000:w (r, w or x: what is wanted there). For example: llmos translate
    0x1234 --map 0x1000=5:rw, or llmos translate 430 776 --base 3000 --bounds 472.
    """
    if exercise:
        name = options.pop("scheme")
        if addresses or file or shape or kernel or any(options.values()):
            raise click.UsageError("--exercise draws an address space and addresses; choose but the --scheme")
        _exercise(name, 1 if seed is None else seed, solve=solve, as_json=as_json)
        return
    if solve or seed is not None:
        raise click.UsageError(
            "--solve and --seed belong to --exercise; without it the answer is what you get"
        )
    if not addresses:
        raise click.UsageError("which address? For example: llmos translate 0x1234 --map 0x1000=5:rw")
    scheme = read(_layout(file, options))
    wanted = [_address(text) for text in addresses]
    asked = _through(scheme, wanted, _tlb(scheme, shape), user=not kernel)
    if as_json:
        print_json(_document(scheme, asked))
    else:
        _show(scheme, asked)


def _exercise(scheme: str | None, seed: int, *, solve: bool, as_json: bool) -> None:
    if scheme and scheme not in POSED:
        raise LlmosError(f'there is no exercise about "{scheme}"', hint=f"there are {', '.join(POSED)}")
    exercise = Translations().pose(seed, {"scheme": scheme})
    solution = exercise.solve() if solve else None
    if as_json:
        print_json(document(exercise, solution))
    else:
        show(exercise, solution)


# --- what is asked --------------------------------------------------------------------------------------


def _layout(file: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """The layout of the file with what the options say over it."""
    layout = _read(file) if file else {}
    given = {key: value for key, value in options.items() if value}
    pages = given.pop("pages", ())
    if pages:
        over = {_page(text) for text in pages}
        there = mappings(layout.get("map", {}))
        layout["map"] = [f"{where}={what}" for where, what in there if number(where, "map") not in over]
        layout["map"] += pages
    if "scheme" not in layout and "scheme" not in given and {"base", "bounds"} & given.keys():
        given["scheme"] = "base-bounds"
    if "scheme" not in layout and "scheme" not in given and "segments" in given:
        given["scheme"] = "segmentation"
    return layout | given


def _page(text: str) -> int:
    """The address of the page that a --map is about."""
    where, equals, _ = text.partition("=")
    if not equals:
        raise LlmosError(f'--map: "{text}" maps nothing', hint="write ADDRESS=FRAME, as in 0x1000=5:rw")
    return number(where, "--map")


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise LlmosError("it is too large to be an address space", file=file)
        text = file.read_text(encoding="utf-8")
        layout = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise LlmosError(f"it cannot be read: {error.strerror}", file=file) from error
    except (ValueError, RecursionError) as error:  # both decoders' errors, and text that is no UTF-8
        raise LlmosError(f"it cannot be read: {error}", file=file) from error
    if not isinstance(layout, dict):
        raise LlmosError("it holds no table", file=file, hint='write { "scheme": "linear", ... }')
    return layout


def _address(text: str) -> tuple[int, Access]:
    where, _, letter = text.partition(":")
    if letter and letter not in LETTERS:
        raise LlmosError(f'"{text}": "{letter}" is no access', hint="write ADDRESS, ADDRESS:r, :w or :x")
    return number(where, "the address"), LETTERS[letter or "r"]


def _tlb(scheme: Translation, shape: str | None) -> Tlb | None:
    if shape is None:
        return None
    if not isinstance(scheme, PageTable):
        raise LlmosError(f"--tlb: {scheme.name} has no pages to remember", hint="use a scheme with --map")
    sets, cross, ways = shape.partition("x")
    size = [number(each, "--tlb") for each in ((sets, ways) if cross else ("1", sets))]
    if not all(1 <= each <= 1 << 16 for each in size):
        raise LlmosError(f'--tlb: "{shape}" is no TLB', hint="write 4 (entries) or 16x4 (sets x ways)")
    pages = tuple(range(len(scheme.spans)))
    one = Shape(sets=size[0], ways=size[1], pages=pages)
    return Tlb([one], spans=scheme.spans, offset_bits=scheme.offset_bits)


def _through(
    scheme: Translation, wanted: Sequence[tuple[int, Access]], tlb: Tlb | None, *, user: bool
) -> list[Asked]:
    """Translate all addresses in turn."""
    done: list[Asked] = []
    for address, access in wanted:
        walk, hit = scheme.translate(address, access, user=user), None
        if tlb is not None and isinstance(scheme, PageTable):
            vpn = address >> scheme.offset_bits
            hit = tlb.lookup(0, vpn) != MISS
            if not hit and walk.entry is not None and walk.entry.present:
                tlb.fill(0, vpn, walk.entry)
        done.append((walk, hit))
    return done


# --- what is said ---------------------------------------------------------------------------------------


def _document(scheme: Translation, asked: Sequence[Asked]) -> dict[str, Any]:
    """The walks as one document; docs/translation.md promises its keys."""
    walks = []
    for walk, hit in asked:
        told = draw.data(walk) | {"tlb": None if hit is None else "hit" if hit else "miss"}
        walks.append(told | {"steps": [], "references": 0} if hit else told)
    return {"schema": 1, "scheme": scheme.name, "table_bytes": scheme.table_bytes, "translations": walks}


def _show(scheme: Translation, asked: Sequence[Asked]) -> None:
    for walk, hit in asked:
        say(draw.title(walk), style="bold")
        if hit is not None:
            say(f"TLB: {'hit, no table is read' if hit else 'miss'}")
        *steps, end = draw.steps(walk)
        for line in (*draw.address_bits(walk.fields), *(() if hit else steps)):
            say(line)
        say(end, style="red" if walk.fault else "green")
        say()
    if scheme.table_bytes:
        say(f"The tables take {scheme.table_bytes:,} bytes.")
    if asked[0][1] is not None:
        hits, read_ = (
            sum(hit is True for _, hit in asked),
            sum(walk.references for walk, hit in asked if not hit),
        )
        say(f"TLB: {hits} hits, {len(asked) - hits} misses, for which tables were read {read_} times.")
