"""Amounts: exact, bounded, and wrong ones name their cure."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.scenario.units import LONGEST_NS, NS, UnfitError, duration_ns, gap_ns, size_bytes, tokens


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("5 ms", 5_000_000),
        ("2.5s", 2_500_000_000),
        ("10us", 10_000),
        ("10 µs", 10_000),
        ("1 min", 60 * 10**9),
        ("1.5 h", 5400 * 10**9),
        ("0.1 us", 100),
        ("1e3 ms", 10**9),
        ("1_000 ns", 1000),
        (" 7 ns ", 7),
        ("0 s", 0),
        (".5 ms", 500_000),
        ("0.3 s", 300_000_000),  # as a float, 0.3 s is 299999999.99999997 ns
    ],
)
def test_durations(text, ns):
    assert duration_ns(text) == ns


@pytest.mark.parametrize(
    ("value", "ns"), [(3, 3000), (Decimal("2.5"), 2500), ("2 ticks", 2000), ("1 tick", 1000)]
)
def test_with_a_tick_a_bare_number_counts_ticks(value, ns):
    assert duration_ns(value, tick_ns=1000) == ns


@given(st.integers(0, 2**62), st.sampled_from(sorted(NS)))
def test_a_duration_is_read_exactly_in_every_unit(ns, unit):
    text = f"{Decimal(ns) / NS[unit]:f}" if NS[unit] in (1, 10**3, 10**6, 10**9) else str(ns // NS[unit])
    exact = ns if NS[unit] in (1, 10**3, 10**6, 10**9) else ns // NS[unit] * NS[unit]
    assert duration_ns(f"{text} {unit}") == exact


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (5, 'write a unit, as in "5 ms"'),
        ("5", "write a unit"),
        ("5 mss", 'did you mean "ms"?'),
        ("-1 ms", "write 0 or more"),
        ("0.5 ns", "round it"),
        ("ms", "write a duration"),
        ("", "write a duration"),
        ("1 ms 2 us", "write a duration"),
    ],
)
def test_a_wrong_duration_names_the_cure(value, says):
    with pytest.raises(UnfitError) as caught:
        duration_ns(value)
    assert says in caught.value.hint


HOSTILE = [
    True,
    None,
    [],
    {},
    "9" * 99 + " s",
    "9" * 5000,
    "1e999 s",
    "1e-999 s",
    10**5000,
    Decimal("NaN"),
    Decimal("Infinity"),
    Decimal("-Infinity"),
    Decimal("1e999999"),
    Decimal("1e-999999"),
    2**63,
    "\0 ms",
    "5 m\u0660s",
]


@pytest.mark.parametrize(
    "value", HOSTILE, ids=lambda v: repr(v)[:20] if not isinstance(v, int) or v < 2**70 else "huge"
)
@pytest.mark.parametrize("read", [lambda v: duration_ns(v, 1000), tokens, size_bytes, gap_ns])
def test_hostile_values_are_refused(read, value):
    with pytest.raises(UnfitError):
        read(value)


def test_the_longest_duration():
    assert duration_ns(f"{LONGEST_NS} ns") == LONGEST_NS
    with pytest.raises(UnfitError):
        duration_ns(f"{LONGEST_NS + 1} ns")


def test_tokens_sizes_and_rates():
    assert tokens(16) == tokens("16 tokens") == 16
    assert tokens("1 token") == 1
    assert size_bytes("64 MiB") == 64 * 2**20
    assert size_bytes("1.5 kB") == 1500
    assert gap_ns("20 /s") == gap_ns("20/s") == gap_ns("20 per s") == 50_000_000
    assert gap_ns("3 /s") == Fraction(10**9, 3)
    assert gap_ns("0.5 /ms") == 2_000_000
    assert gap_ns("0.25 /tick", tick_ns=1000) == 4000


@pytest.mark.parametrize("wrong", ["5 ms", "0.5", Decimal("0.5"), -1])
def test_an_engine_counts_whole_tokens(wrong):
    with pytest.raises(UnfitError):
        tokens(wrong)


@pytest.mark.parametrize("wrong", ["0 /s", "-1 /s", "20", 20, "20 s", "20 /fortnight"])
def test_a_rate_is_something_per_time(wrong):
    with pytest.raises(UnfitError):
        gap_ns(wrong)


@pytest.mark.parametrize(("bare", "cure"), [(64, '"64 MiB"'), (4096, '"4096 B"'), ("2048", '"2048 B"')])
def test_a_size_without_unit_is_told_the_likely_one(bare, cure):
    with pytest.raises(UnfitError, match="has no unit") as refused:
        size_bytes(bare)
    assert cure in refused.value.hint
