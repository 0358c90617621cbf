"""How things are told apart: colour, lightness, hatch and dash together.

- The hues are Okabe and Ito's, which every kind of colour vision tells apart.
- Their lightness is moved apart, so that a grey printer still makes eight things of them: at least
  15 of 255 steps of video grey between any two, and 25 between any two of the first four.
- Whatever comes ninth repeats the colours with other hatches and dashes.

Source: M. Okabe, K. Ito, Color Universal Design, 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

# Blue, orange, green, sky, vermillion, yellow, purple, black.
COLOURS = ("#004B78", "#E69F01", "#00936B", "#88CFFD", "#903D00", "#F4E846", "#C572A0", "#252525")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||")
DASHES: tuple[tuple[float, ...], ...] = (
    (), (5, 1.5), (1.2, 1.2), (7, 1.5, 1.2, 1.5), (3, 1), (9, 2), (5, 1, 1, 1, 1, 1), (1, 2.5),
)  # fmt: skip

INK = "#141414"
QUIET = "#595959"
RULE = "#D9D9D9"
IDLE = "#EFEFEF"
KERNEL = "#797979"
WHITE = "#FFFFFF"


@dataclass(frozen=True, slots=True)
class Look:
    """One thing's appearance: `ink` is its colour when it is a thin line, `on_it` is for text upon it."""

    colour: str
    hatch: str
    hatch_colour: str
    ink: str
    on_it: str
    dash: tuple[float, ...]


def look(index: int) -> Look:
    """Return the appearance of the thing with this number (0, 1, ...)."""
    place = index % len(COLOURS)
    colour = COLOURS[place]
    dark = lightness(colour) < 60
    turn = (index + index // len(COLOURS)) % len(HATCHES)
    return Look(
        colour=colour,
        hatch=HATCHES[turn],
        hatch_colour=mix(colour, WHITE if dark else INK, 0.3),
        ink=colour if dark else mix(colour, "#000000", 0.38),
        on_it=WHITE if lightness(colour) < 50 else INK,
        dash=DASHES[turn],
    )


def mix(colour: str, other: str, share: float) -> str:
    """Return `colour` with a `share` (0..1) of `other` in it."""
    mixed = (round(a + (b - a) * share) for a, b in zip(rgb(colour), rgb(other), strict=True))
    return "#{:02X}{:02X}{:02X}".format(*mixed)


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the red, green and blue (0..255) of a colour "#RRGGBB"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def lightness(colour: str) -> float:
    """Return how light a colour is to the eye: CIE L*, 0 (black) to 100 (white)."""
    parts = (value / 255 for value in rgb(colour))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    luminance = sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 216 / 24389 else luminance * 24389 / 27
