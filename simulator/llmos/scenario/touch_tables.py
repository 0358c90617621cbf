"""The step `touch` as a scenario writes it: pages one by one, a pattern, or a trace from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from llmos.errors import did_you_mean
from llmos.memory import patterns
from llmos.scenario.fields import TAG, Model, Name, Size
from llmos.scenario.units import UnfitError, number, shown

Chunks = Iterator[Sequence[int]]
Times = Annotated[int, Field(ge=1, le=10**9)]
References = Annotated[int, Field(ge=1, le=10**12)]
Pages = Annotated[int, Field(ge=1, le=10**9)]
Edge = Annotated[int, Field(ge=1, le=100_000)]


def _page_reference(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}w?", value):
        return int(value.removesuffix("w")) << 1 | value.endswith("w")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return value << 1
    raise UnfitError(f"{shown(value)} is no page", hint='write its number, as in 7, or "7w" to write it')


PageReference = Annotated[
    int,
    BeforeValidator(_page_reference),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+w?$"}]}
    ),
]
"""A reference to a page: its number * 2 + (1 if it is written)."""


def _share(value: object) -> float:
    share = number(value)
    if not 0 <= share <= 1:
        raise UnfitError(f"{shown(value)} is no share", hint="it is a number from 0 to 1, as in 0.2")
    return float(share)


def _writes(value: object) -> float:
    return float(value) if isinstance(value, bool) else _share(value)


_SHARE: Final = {"type": "number", "minimum": 0, "maximum": 1}
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema(_SHARE)]
"""A number from 0 to 1."""
Writes = Annotated[float, BeforeValidator(_writes), WithJsonSchema({"anyOf": [{"type": "boolean"}, _SHARE]})]
"""Which share of references writes; true is all."""
Real = Annotated[
    float, BeforeValidator(lambda value: float(number(value))), WithJsonSchema({"type": "number"})
]


class Touched(Model):
    """What every `touch` has."""

    touch: Name = Field(description='What is touched: "heap", "stack", or what `mmap` has named.')


class TouchPages(Touched):
    """Refer to memory, page by page."""

    pages: list[PageReference] = Field(
        min_length=1, max_length=1_000_000, description='Pages in order; "7w" writes page 7.'
    )


class TouchTrace(Touched):
    """Refer to memory as another program did."""

    trace: str = Field(min_length=1, description="A file of references, as `llmos mrc` reads it.")
    limit: References | None = Field(default=None, description="So many references at most.")
    page_size: Size | None = Field(
        default=None,
        description="Bytes to a page, of a trace of addresses; left out, 4 KiB for lackey's, and the numbers "
        "of others are pages.",
    )
    kind: Literal["lackey", "text", "csv", "npy", "oracleGeneral"] | None = Field(
        default=None, description="What kind of trace it is, if its name does not tell."
    )
    column: str = Field(default="", description="Of a CSV file: the column with the pages or addresses.")

    @model_validator(mode="after")
    def _a_page_has_bytes(self) -> TouchTrace:
        if self.page_size == 0:
            raise UnfitError("a page has 1 byte or more", hint='as in page_size = "4 KiB"')
        return self


# --- patterns -----------------------------------------------------------------------------------------


class Pattern(Touched):
    """Refer to memory in a pattern."""

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return its references, before some of them become writes."""
        raise NotImplementedError

    def references(self, page_bytes: int, random: Random) -> Chunks:
        """Return its references, in pages of so many bytes.

        Raises LlmosError when there cannot be such a pattern.
        """
        return self.reads(page_bytes, random)


class Extent(Pattern):
    """A pattern over some pages, any of which may be written."""

    size: Size | None = Field(default=None, description="How much is touched, from the start of the region.")
    pages: Pages | None = Field(default=None, description="In place of `size`: how many pages.")
    write: Writes = Field(default=0.0, description="true: it writes; a number: the share that writes.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Extent:
        if (self.size is None) == (self.pages is None):
            raise UnfitError("it needs `size` or `pages`, one of them", hint='as in size = "1 MiB"')
        if self.size == 0:
            raise UnfitError("nothing is touched", hint='give it a size, as in size = "1 MiB"')
        return self

    def extent(self, page_bytes: int) -> int:
        """How many pages are touched."""
        return self.pages if self.pages is not None else -(-(self.size or 0) // page_bytes)

    def references(self, page_bytes: int, random: Random) -> Chunks:
        """Return its references, in pages of so many bytes; the share of writes does not change the pages."""
        lots = Random(int(random.random() * 2**53))
        return patterns.written(self.reads(page_bytes, random), self.write, lots)


class Sequential(Extent):
    """Page after page."""

    pattern: Literal["sequential"]
    times: Times = Field(default=1, description="How often.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.sequential(self.extent(page_bytes), self.times)


class Strided(Extent):
    """Each so-many-th page."""

    pattern: Literal["strided"]
    stride: Pages = Field(description="From a page to the next one that is touched, in pages.")
    times: Times = Field(default=1, description="How often.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.strided(self.extent(page_bytes), self.stride, self.times)


class Loop(Extent):
    """Round and round."""

    pattern: Literal["loop"]
    count: References = Field(description="How many references.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.loop(self.extent(page_bytes), self.count)


class Layers(Extent):
    """A model's weights, layer by layer."""

    pattern: Literal["layers"]
    layers: Pages = Field(description="How many layers; they share the pages out.")
    each: Times = Field(default=1, description="How often a layer is read before the next one.")
    times: Times = Field(default=1, description="How often all layers are gone through.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.layers(self.extent(page_bytes), self.layers, self.times, self.each)


class Uniform(Extent):
    """Any page, all alike."""

    pattern: Literal["random"]
    count: References = Field(description="How many references.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.uniform(self.extent(page_bytes), self.count, random)


class Zipf(Extent):
    """A few pages often, most of them rarely."""

    pattern: Literal["zipf"]
    count: References = Field(description="How many references.")
    skew: Real = Field(default=1.0, ge=0, le=10, description="How much so; 0 = all pages alike.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.zipf(self.extent(page_bytes), self.count, random, skew=self.skew)


class Gaussian(Extent):
    """Around the middle page."""

    pattern: Literal["gaussian"]
    count: References = Field(description="How many references.")
    deviation: Real = Field(description="The standard deviation, in pages.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.gaussian(self.extent(page_bytes), self.count, random, deviation=self.deviation)


class HotCold(Extent):
    """Hot pages, and cold ones."""

    pattern: Literal["hot-cold"]
    count: References = Field(description="How many references.")
    hot: Share = Field(default=0.2, description="The share of pages that are hot: the first ones.")
    share: Share = Field(default=0.8, description="The share of references that go to them.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.hot_cold(self.extent(page_bytes), self.count, random, hot=self.hot, share=self.share)


class Phases(Extent):
    """One working set after the other."""

    pattern: Literal["phases"]
    count: References = Field(description="How many references.")
    working_set: Pages = Field(description="Pages of a working set.")
    length: References = Field(description="References of a phase.")
    overlap: Share = Field(default=0.0, description="The share of the pages that stays for the next phase.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.phases(
            self.extent(page_bytes), self.count, random, working_set=self.working_set, length=self.length,
            overlap=self.overlap,
        )  # fmt: skip


class Chase(Extent):
    """Along pointers: a drawn cycle through all pages."""

    pattern: Literal["chase"]
    times: Times = Field(default=1, description="How many rounds.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.chase(self.extent(page_bytes), self.times, random)


class Square(Pattern):
    """Square matrices, row by row from page 0 on."""

    n: Edge = Field(description="Rows, and columns.")
    element: Size = Field(default=8, description="The size of an element.")
    block: int = Field(default=0, ge=0, le=100_000, description="The edge of tiles; 0 = no tiles.")


class Matrix(Square):
    """Go over the elements of a matrix."""

    pattern: Literal["matrix"]
    order: Literal["row", "column"] = Field(default="row", description="Along rows, or down columns.")
    write: Writes = Field(default=0.0, description="true: it writes; a number: the share that writes.")

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.matrix(
            self.n, order=self.order, block=self.block, element_bytes=self.element, page_bytes=page_bytes
        )

    def references(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references, some of them writes."""
        return patterns.written(self.reads(page_bytes, random), self.write, random)


class Matmul(Square):
    """Multiply matrices: C = A * B."""

    pattern: Literal["matmul"]
    order: Literal["row", "column", "ijk", "ikj", "jik", "jki", "kij", "kji"] = Field(
        default="row", description='The three loops, outermost first; "row" is ikj, "column" is jki.'
    )

    def reads(self, page_bytes: int, random: Random) -> Chunks:
        """Return the references."""
        return patterns.matmul(
            self.n, order=self.order, block=self.block, element_bytes=self.element, page_bytes=page_bytes
        )


PATTERNS: Final[dict[str, type[Pattern]]] = {
    "sequential": Sequential,
    "strided": Strided,
    "loop": Loop,
    "layers": Layers,
    "random": Uniform,
    "zipf": Zipf,
    "gaussian": Gaussian,
    "hot-cold": HotCold,
    "phases": Phases,
    "chase": Chase,
    "matrix": Matrix,
    "matmul": Matmul,
}
_KINDS: Final[dict[str, type[Touched]]] = {"pages": TouchPages, "trace": TouchTrace, **PATTERNS}
TOUCHES: Final[dict[str, type[Model]]] = {f"{TAG}touch {name}": kind for name, kind in _KINDS.items()}
"""The model behind each tag of the union below."""


def _kind(value: dict[str, Any]) -> str:
    return str(value["pattern"]) if "pattern" in value else "trace" if "trace" in value else "pages"


def _touch(value: Any) -> Any:
    """Tell what does not go together, and where a key belongs."""
    if isinstance(value, Model):
        return value
    asked = [key for key in ("pages", "pattern", "trace") if key in value]
    if asked == ["pages", "pattern"] and not isinstance(value["pages"], list):
        asked = ["pattern"]
    if len(asked) != 1:
        hint = 'as in pages = [7, 0, "1w"]; pattern = "zipf"; trace = "ls.lackey.xz"'
        both = f", not {' and '.join(f'`{key}`' for key in asked)}" if asked else ""
        raise UnfitError(f"`touch` needs a list of `pages`, a `pattern` or a `trace`{both}", hint=hint)
    name = value.get("pattern")
    if asked == ["pattern"] and (not isinstance(name, str) or name not in PATTERNS):
        hint = did_you_mean(name, PATTERNS) if isinstance(name, str) else ""
        raise UnfitError(f"there is no pattern {shown(name)}", allowed=tuple(PATTERNS), hint=hint)
    if asked == ["pages"] and not isinstance(value["pages"], list):
        raise UnfitError("`pages` is a list, or a number where there is a `pattern`", hint="pages = [7, 0]")
    _belong(value, _kind(value))
    return value


def _belong(value: dict[str, Any], kind: str) -> None:
    own = _KINDS[kind].model_fields
    for key in value:
        owners = [name for name, model in PATTERNS.items() if key in model.model_fields]
        if key in own or not owners:
            continue  # what nobody has is told as everywhere else
        what = f'pattern = "{kind}"' if kind in PATTERNS else f"`{kind}`"
        names = ", ".join(f'"{name}"' for name in owners)
        hint = f"it belongs to {names}; to {what} belong: {', '.join(sorted(own))}"
        raise UnfitError(f"`{key}` does not go with {what}", hint=hint)


TouchStep = Annotated[
    Annotated[TouchPages, Tag("~touch pages")]
    | Annotated[TouchTrace, Tag("~touch trace")]
    | Annotated[Sequential, Tag("~touch sequential")]
    | Annotated[Strided, Tag("~touch strided")]
    | Annotated[Loop, Tag("~touch loop")]
    | Annotated[Layers, Tag("~touch layers")]
    | Annotated[Uniform, Tag("~touch random")]
    | Annotated[Zipf, Tag("~touch zipf")]
    | Annotated[Gaussian, Tag("~touch gaussian")]
    | Annotated[HotCold, Tag("~touch hot-cold")]
    | Annotated[Phases, Tag("~touch phases")]
    | Annotated[Chase, Tag("~touch chase")]
    | Annotated[Matrix, Tag("~touch matrix")]
    | Annotated[Matmul, Tag("~touch matmul")],
    Discriminator(lambda value: f"{TAG}touch {_kind(value)}"),
    BeforeValidator(_touch),
]
