"""An address space written down as plain data, as in a TOML file, and the scheme that it means.

- `scheme` names one: base-bounds, segmentation, descriptors, linear, multi-level, inverted or image. The
  other keys are that scheme's own; a key that it does not know is an error, with the keys that it does.
- A number may be written 4096, "0x1000", "4k" or "4 KiB".
- Pages: `map = { 0x1000 = "5:rw", "0x200000" = "512:rwx:2M" }`: the frame, then the rights (r, w, x; s for
  the kernel's alone, g for global, - for not present), then the size of a huge page.
- Segments: `segments = ["code 0x8000 2k rx", "stack 28k 2k down rw", "-"]`: name, base, limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from llmos.errors import LlmosError, did_you_mean
from llmos.memory.translation.base import PageTable, Pte, Translation
from llmos.memory.translation.base_bounds import BaseBounds
from llmos.memory.translation.descriptors import Descriptors
from llmos.memory.translation.image import Image
from llmos.memory.translation.inverted import Hashed, Inverted
from llmos.memory.translation.linear import Linear
from llmos.memory.translation.multilevel import X86_64, Counted, MultiLevel
from llmos.memory.translation.segmentation import Segment, Segmentation

Layout = Mapping[str, Any]

SUFFIXES: Final = {"": 0, "b": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30}
MOST: Final = 1 << 64
"""No number here is larger."""
MOST_BITS: Final = 64
_NUMBER = re.compile(r"(0x[0-9a-f_]+|0b[01_]+|[0-9][0-9_]*)\s*([a-z]*)", re.IGNORECASE)


def number(value: object, what: str = "the number") -> int:
    """Read a whole number from 0 to 2**64: 4096, "0x1000", "4k", "4 KiB".

    Raises LlmosError for anything else.
    """
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 80 else None
    if isinstance(value, int) and not isinstance(value, bool):
        read = value
    elif match and match[2].lower() in SUFFIXES:
        read = int(match[1], 0 if match[1][:2].lower() in {"0x", "0b"} else 10) << SUFFIXES[match[2].lower()]
    else:
        raise LlmosError(f'{what}: "{value}" is no number', hint="write 4096, 0x1000 or 4k")
    if not 0 <= read <= MOST:
        raise LlmosError(f"{what}: {read} is out of range", hint="write a number from 0 to 2**64")
    return read


def read(layout: Layout) -> Translation:
    """Return the scheme that `layout` describes, with everything mapped.

    Raises LlmosError that says which key is wrong, and how it should be.
    """
    given = dict(layout)
    name = given.pop("scheme", "multi-level")
    if not isinstance(name, str) or name not in SCHEMES:
        hint = did_you_mean(str(name), SCHEMES) or f"there are {', '.join(SCHEMES)}"
        raise LlmosError(f'there is no scheme "{name}"', hint=hint)
    maker, keys = SCHEMES[name]
    for key in given:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"it has {', '.join(keys)}"
            raise LlmosError(f'the scheme {name} has no key "{key}"', hint=hint)
    try:
        return maker(given)
    except ValueError as error:
        raise LlmosError(f"{name}: {error}") from error


# --- one reader per scheme ------------------------------------------------------------------------------


def _base_bounds(given: Layout) -> Translation:
    return BaseBounds(_wanted(given, "base"), _wanted(given, "bounds"))


def _segmentation(given: Layout) -> Translation:
    return Segmentation(_segments(given), number(given.get("address_space", "16k"), "address_space"))


def _descriptors(given: Layout) -> Translation:
    return Descriptors(_segments(given), table=number(given.get("table", 0), "table"))


def _linear(given: Layout) -> Translation:
    offset_bits, bits = _page_bits(given, 4096), _bits(given, 32)
    width = _width(given, 4)
    root = number(given.get("root", 0), "root")
    table = Linear(bits - offset_bits, offset_bits, entry_bytes=width, root=root)
    valid = 1 << (8 * width - 1)
    for vpn, word in enumerate(_list(given, "page_table")):
        entry = number(word, f"page_table[{vpn}]")
        if entry & valid:
            table.map(vpn, Pte(entry & (valid - 1)))
    return _mapped(table, given)


def _multilevel(given: Layout) -> Translation:
    offset_bits = _page_bits(given, 4096)
    bits = _levels(given, X86_64, offset_bits)
    width = _width(given, 8)
    pages = list(_pages(given, offset_bits, bits))
    beyond = [entry.pfn + (1 << sum(bits[len(bits) - entry.level :])) for _, entry in pages]
    # Tables that the layout gives no place lie behind the pages that it maps.
    first = number(given["root"], "root") if "root" in given else max(beyond, default=0)
    table = MultiLevel(bits, offset_bits, entry_bytes=width, frames=Counted(first))
    return _entered(table, pages)


def _inverted(given: Layout) -> Translation:
    offset_bits, bits = _page_bits(given, 4096), _bits(given, 32)
    frames, buckets = number(given.get("frames", 64), "frames"), number(given.get("buckets", 16), "buckets")
    if max(frames, buckets) > 1 << 20:
        raise LlmosError("frames, buckets: there are 2**20 at most here", hint="write fewer")
    shared = Hashed(frames, buckets, root=number(given.get("root", 0), "root"))
    others = given.get("others", {})
    if not isinstance(others, Mapping):
        raise LlmosError("others should be a table", hint='write others = { 2 = { 0x1000 = "5:rw" } }')
    for asid, pages in sorted(others.items()):
        other = Inverted(shared, number(asid, "others"), vpn_bits=bits - offset_bits, offset_bits=offset_bits)
        _mapped(other, {"map": pages})
    asid = number(given.get("asid", 0), "asid")
    table = Inverted(shared, asid, vpn_bits=bits - offset_bits, offset_bits=offset_bits)
    return _mapped(table, given)


def _image(given: Layout) -> Translation:
    pages = _list(given, "memory")
    try:
        memory = bytes.fromhex("".join(map(str, pages)))
    except ValueError as error:
        raise LlmosError(f"memory: {error}", hint="write the bytes of each page in hexadecimal") from error
    root, offset_bits = _wanted(given, "root"), _page_bits(given, 32)
    bits, width = _levels(given, (5, 5), offset_bits), _width(given, 1)
    if not memory:
        raise LlmosError("memory: there are no bytes", hint='write memory = ["7f7f...", ...], a text a page')
    return Image(memory, root, bits=bits, offset_bits=offset_bits, entry_bytes=width)


SCHEMES: Final[Mapping[str, tuple[Callable[[Layout], Translation], tuple[str, ...]]]] = {
    "base-bounds": (_base_bounds, ("base", "bounds")),
    "segmentation": (_segmentation, ("address_space", "segments")),
    "descriptors": (_descriptors, ("segments", "table")),
    "linear": (_linear, ("address_bits", "page_size", "entry_bytes", "root", "page_table", "map")),
    "multi-level": (_multilevel, ("levels", "page_size", "entry_bytes", "root", "map")),
    "inverted": (
        _inverted,
        ("address_bits", "page_size", "frames", "buckets", "root", "asid", "map", "others"),
    ),
    "image": (_image, ("memory", "root", "levels", "page_size", "entry_bytes")),
}
"""Name -> how it is read, and which keys it has."""


# --- their parts ----------------------------------------------------------------------------------------


def _wanted(given: Layout, key: str) -> int:
    if key not in given:
        raise LlmosError(f"{key} is missing", hint=f"write {key} = 4096, or what it is")
    return number(given[key], key)


def _list(given: Layout, key: str, default: Iterable[Any] = ()) -> list[Any]:
    value = given.get(key, default)
    if isinstance(value, str):
        value = re.split(r"[/,\s]+", value.strip())
    if not isinstance(value, list | tuple):
        raise LlmosError(f"{key} should be a list", hint=f"write {key} = [...]")
    return list(value)


def _page_bits(given: Layout, default: int) -> int:
    size = number(given.get("page_size", default), "page_size")
    if size < 2 or size & (size - 1):
        raise LlmosError(f"page_size: {size} is no power of two from 2 on", hint="write 16, 4096, 4k, ...")
    return size.bit_length() - 1


def _bits(given: Layout, default: int) -> int:
    bits = number(given.get("address_bits", default), "address_bits")
    if bits > MOST_BITS:
        raise LlmosError(f"address_bits: an address has {MOST_BITS} bits at most", hint="write fewer")
    return bits


def _levels(given: Layout, default: Sequence[int], offset_bits: int) -> list[int]:
    bits = [number(each, "levels") for each in _list(given, "levels", default)]
    if sum(bits) + offset_bits > MOST_BITS:
        raise LlmosError(f"levels: an address has {MOST_BITS} bits at most", hint="write fewer")
    return bits


def _width(given: Layout, default: int) -> int:
    width = number(given.get("entry_bytes", default), "entry_bytes")
    if not 1 <= width <= 8:
        raise LlmosError(f"entry_bytes: an entry has 1 to 8 bytes, not {width}", hint="write 1, 4 or 8")
    return width


def _segments(given: Layout) -> list[Segment | None]:
    found = [_segment(each) for each in _list(given, "segments")]
    if not found:
        raise LlmosError("segments: there are none", hint='write segments = ["code 32k 2k rx", ...]')
    return found


def _segment(text: object) -> Segment | None:
    words = str(text).replace(":", " ").split()
    if words == ["-"]:
        return None
    hint = 'write "NAME BASE LIMIT [up|down] [rwx]", or "-" for none'
    if len(words) < 3:
        raise LlmosError(f'segments: "{text}" lacks its base or its limit', hint=hint)
    name, base, limit, *rest = words
    down, rights = "down" in rest, [word for word in rest if word not in {"up", "down"}]
    if len(rights) > 1 or not set("".join(rights)) <= set("rwx-"):
        raise LlmosError(f'segments: "{text}" cannot be read', hint=hint)
    return Segment(
        name, number(base, name), number(limit, name), grows_down=down, rights=rights[0] if rights else "rwx"
    )


def _mapped(table: PageTable, given: Layout) -> PageTable:
    return _entered(table, _pages(given, table.offset_bits, []))


def _entered(table: PageTable, pages: Iterable[tuple[int, Pte]]) -> PageTable:
    for vpn, entry in pages:
        table.map(vpn, entry)
    return table


def _pages(given: Layout, offset_bits: int, bits: list[int]) -> Iterable[tuple[int, Pte]]:
    """The pages of `map`, each with its number; `bits` are the index bits of a tree."""
    seen = set[int]()
    for where, what in mappings(given.get("map", {})):
        address = number(where, "map")
        if address in seen:
            raise LlmosError(f"map: {where} is mapped twice", hint="give each page one frame")
        seen.add(address)
        if address & ((1 << offset_bits) - 1):
            raise LlmosError(
                f"map: {where} is no beginning of a page", hint=f"pages have {1 << offset_bits} bytes"
            )
        yield address >> offset_bits, _entry(what, offset_bits, bits)


def mappings(pages: object) -> list[tuple[str, str]]:
    """The pairs of address and entry in a `map`, which is a table, or a list as in ["0x1000=5:rw"].

    Raises LlmosError for anything else.
    """
    if isinstance(pages, Mapping):
        return [(str(where), str(what)) for where, what in pages.items()]
    if not isinstance(pages, list | tuple):
        raise LlmosError("map should be a table", hint='write map = { 0x1000 = "5:rw" }')
    return [(where, what) for where, _, what in (str(each).partition("=") for each in pages)]


def _entry(text: str, offset_bits: int, bits: list[int]) -> Pte:
    """The entry that "5:rw" or "512:rwx:2M" means."""
    frame, rights, size, *more = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if more or not set(rights) <= set("rwxsg-"):
        hint = "write FRAME[:RIGHTS[:SIZE]], rights being some of r, w, x, s, g and -"
        raise LlmosError(f'map: "{text}" cannot be read', hint=hint)
    sizes = [1 << (offset_bits + sum(bits[len(bits) - level :])) for level in range(min(3, len(bits)))]
    wanted = number(size, "map") if size else 1 << offset_bits
    if size and wanted not in sizes:
        there = ", ".join(map(str, sizes)) or str(1 << offset_bits)
        raise LlmosError(f"map: there are no pages of {wanted} bytes", hint=f"there are {there}")
    return Pte(
        number(frame, "map"),
        present="-" not in rights,
        writable="w" in rights or not rights,
        executable="x" in rights or not rights,
        user="s" not in rights,
        is_global="g" in rights,
        level=sizes.index(wanted) if size else 0,
    )
