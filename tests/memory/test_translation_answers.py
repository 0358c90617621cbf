"""Translation against answers that others computed, and a few worked by hand."""

import json
from pathlib import Path

import pytest

from llmos.memory.translation.base import Access, FaultKind, Pte
from llmos.memory.translation.base_bounds import BaseBounds
from llmos.memory.translation.descriptors import Descriptors
from llmos.memory.translation.image import Image
from llmos.memory.translation.inverted import Hashed, Inverted
from llmos.memory.translation.linear import Linear
from llmos.memory.translation.multilevel import X86_64_5, MultiLevel, x86_word
from llmos.memory.translation.segmentation import Segment, Segmentation

ORACLES = Path(__file__).parents[1] / "oracles"
VALID = 1 << 31
K = 1024


def cases(name):
    """The cases of an oracle, each as (input, expected)."""
    found = json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case["input"], case["expected"]["results"], id=case["id"]) for case in found]


def size(text):
    """OSTEP's "16k" and "1m" in bytes."""
    return int(text[:-1]) << {"k": 10, "m": 20}[text[-1]] if text[-1].isalpha() else int(text)


@pytest.mark.parametrize(("given", "results"), cases("ostep_base_bounds"))
def test_base_and_bounds(given, results):
    scheme = BaseBounds(given["base"], given["limit"])
    walks = [scheme.translate(va) for va in given["vas"]]
    assert [{"va": w.address, "pa": w.physical, "fault": w.fault is not None} for w in walks] == results


@pytest.mark.parametrize(("given", "results"), cases("ostep_segmentation"))
def test_two_segments(given, results):
    segments = [
        Segment(str(s["seg"]), s["base"], s["limit"], grows_down=s["grows"] == "down")
        for s in given["segments"]
    ]
    scheme = Segmentation(segments, size(given["address_space"]))
    walks = [scheme.translate(va) for va in given["vas"]]
    assert [
        {
            "va": w.address,
            "segment": w.steps[0].index,
            "pa": w.physical,
            "fault": w.fault is not None and w.fault.kind is FaultKind.OUTSIDE,
        }
        for w in walks
    ] == results


@pytest.mark.parametrize(("given", "results"), cases("ostep_paging_linear"))
def test_linear_table(given, results):
    pages = given["address_space"] // given["page_size"]
    scheme = Linear(pages.bit_length() - 1, given["page_size"].bit_length() - 1)
    for vpn, word in enumerate(given["page_table"]):
        if word & VALID:
            scheme.map(vpn, Pte(word & (VALID - 1)))
    walks = [scheme.translate(va) for va in given["vas"]]
    assert [
        {"va": w.address, "vpn": w.fields[0].value, "pa": w.physical, "fault": w.fault is not None}
        for w in walks
    ] == results


@pytest.mark.parametrize(("given", "results"), cases("ostep_paging_multilevel"))
def test_two_levels_in_memory(given, results):
    scheme = Image(bytes.fromhex("".join(given["memory_hex_by_page"])), given["pdbr"])
    assert [_multilevel(scheme, va) for va in given["vas"]] == results


def _multilevel(scheme, va):
    """A walk as the oracle tells it."""
    walk = scheme.translate(va)
    told = {"va": va}
    for step, table, valid, leads in zip(
        walk.steps, ("pde", "pte"), ("pde_valid", "pte_valid"), ("pt_pfn", "pfn"), strict=False
    ):
        told |= {f"{table}_index": step.index, table: step.word}
        told |= {valid: step.word >> 7, leads: step.word & 0x7F}
    fault = "PDE" if len(walk.steps) == 1 else "PTE"
    return told | {"pa": walk.physical, "value": walk.byte, "fault": fault if walk.fault else None}


# --- OSTEP's chapters ---------------------------------------------------------------------------------


@pytest.fixture
def chapter16():
    """The address space of OSTEP ch. 16: code, heap and stack in 16 KiB, the top two bits choose."""
    code = Segment("code", 32 * K, 2 * K, rights="rx")
    heap = Segment("heap", 34 * K, 3 * K, rights="rw")
    stack = Segment("stack", 28 * K, 2 * K, grows_down=True, rights="rw")
    return Segmentation([code, heap, None, stack], 16 * K)


@pytest.mark.parametrize(
    ("address", "physical"), [(100, 32868), (4200, 34920), (15 * K, 27 * K), (16 * K - 1, 28 * K - 1)]
)
def test_segments_of_the_book(chapter16, address, physical):
    assert chapter16.translate(address).physical == physical


@pytest.mark.parametrize(
    ("address", "access", "kind"),
    [
        (7 * K, Access.READ, FaultKind.OUTSIDE),
        (9 * K, Access.READ, FaultKind.INVALID),
        (13 * K, Access.READ, FaultKind.OUTSIDE),
        (100, Access.WRITE, FaultKind.PROTECTION),
        (4200, Access.EXECUTE, FaultKind.PROTECTION),
        (16 * K, Access.READ, FaultKind.OUTSIDE),
    ],
)
def test_segmentation_faults_of_the_book(chapter16, address, access, kind):
    walk = chapter16.translate(address, access)
    assert walk.physical is None
    assert walk.fault.kind is kind


def test_the_array_of_ostep_18_is_translated():
    """64-byte address space, 16-byte pages: VPN 1 is in frame 7, so 21 (010101) is 117 (1110101)."""
    scheme = Linear(2, 4)
    for vpn, pfn in enumerate((3, 7, 5, 2)):
        scheme.map(vpn, Pte(pfn))
    assert scheme.translate(21).physical == 117


def test_the_two_level_table_of_ostep_20():
    """16 KiB of 64-byte pages, 4 + 4 + 6 bits: 0x3F80 is VPN 254, the 15th entry of the 16th table."""
    scheme = MultiLevel((4, 4), 6, entry_bytes=4)
    for vpn, pfn in {0: 10, 1: 23, 4: 80, 5: 59, 254: 55, 255: 45}.items():
        scheme.map(vpn, Pte(pfn))
    walk = scheme.translate(0x3F80)
    assert [step.index for step in walk.steps] == [15, 14]
    assert walk.physical == 0x0DC0
    # A directory and two pieces of the table, where a linear table takes 16 pages of 64 bytes.
    assert scheme.table_bytes == 3 * 64
    assert Linear(8, 6, entry_bytes=4).table_bytes == 16 * 64


# --- x86-64, by hand ----------------------------------------------------------------------------------


def test_x86_64_splits_48_bits_into_four_indices():
    """0x7f12_3456_789a = 011111110 001001000 110100010 101100111 100010011010 in binary."""
    scheme = MultiLevel()
    address = 0b011111110_001001000_110100010_101100111_100010011010
    assert address == 0x7F123456789A
    scheme.map(address >> 12, Pte(0x1234))
    walk = scheme.translate(address)
    assert [(field.value, field.high, field.low) for field in walk.fields] == [
        (254, 47, 39), (72, 38, 30), (418, 29, 21), (359, 20, 12), (0x89A, 11, 0),
    ]  # fmt: skip
    assert [step.table for step in walk.steps] == ["PML4", "PDPT", "page directory", "page table"]
    assert walk.physical == 0x123489A
    assert walk.references == scheme.accesses(address >> 12) == 4
    assert scheme.table_bytes == 4 * 4096


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (None, 0),
        (Pte(0x12345, accessed=True, dirty=True), 0x12345067),  # what Linux writes for a page of data
        (Pte(0x12345, writable=False, accessed=True), 0x12345025),
        (Pte(0x200, level=1, is_global=True, user=False, accessed=True, dirty=True), 0x2001E3),
        (Pte(5, executable=False), 0x8000000000005007),
        (Pte(5, present=False), 0x5006),
    ],
)
def test_x86_64_entries_are_told_as_memory_holds_them(entry, word):
    scheme = MultiLevel()
    if entry is not None:
        scheme.map(512, entry)
        assert list(scheme.steps(512))[-1].word == word
    assert x86_word(entry) == word


def test_only_x86_64_has_its_words():
    scheme = MultiLevel((4, 4), 6)
    scheme.map(0, Pte(1))
    assert [step.word for step in scheme.steps(0)] == [None, None]


def test_a_fifth_level_reaches_57_bits():
    scheme = MultiLevel(X86_64_5)
    scheme.map((1 << 45) - 1, Pte(1))
    assert scheme.translate((1 << 57) - 1).physical == 0x1FFF
    assert scheme.accesses((1 << 45) - 1) == 5


@pytest.mark.parametrize(("level", "reach", "references"), [(1, 2 << 20, 3), (2, 1 << 30, 2)])
def test_a_huge_page_saves_tables_and_references(level, reach, references):
    scheme = MultiLevel()
    scheme.map(1 << 18, Pte(1 << 18, level=level))
    walk = scheme.translate((1 << 30) + reach - 1)
    assert walk.physical == (1 << 30) + reach - 1
    assert walk.references == references
    assert walk.fields[-1].value == reach - 1
    assert scheme.table_bytes == references * 4096
    assert scheme.translate((1 << 30) + reach).fault.kind is FaultKind.INVALID


# --- inverted, by hand --------------------------------------------------------------------------------


def test_an_inverted_table_is_searched_along_a_chain():
    shared = Hashed(frames=16, buckets=4)
    one, two = Inverted(shared, 1), Inverted(shared, 2)
    one.map(6, Pte(9))  # bucket (1 + 6) mod 4 = 3
    two.map(5, Pte(3))  # bucket (2 + 5) mod 4 = 3, behind it
    assert (one.lookup(6).pfn, two.lookup(5).pfn) == (9, 3)
    assert one.lookup(5) is None
    assert [one.accesses(6), two.accesses(5), two.accesses(9), two.accesses(0)] == [2, 3, 3, 1]
    # Four anchors of 8 bytes and 16 entries of 16, for both.
    assert one.table_bytes == two.table_bytes == 4 * 8 + 16 * 16


# --- descriptors, by the rules of the manual ----------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "offset", "access", "answer"),
    [
        (1, 0, Access.EXECUTE, 0x10000),
        (1, 0xFFF, Access.READ, 0x10FFF),
        (1, 0x1000, Access.READ, FaultKind.OUTSIDE),
        (1, 0, Access.WRITE, FaultKind.PROTECTION),
        (2, 0x0FFF, Access.READ, FaultKind.OUTSIDE),
        (2, 0x1000, Access.WRITE, 0x21000),
        (2, 0xFFFFFFFF, Access.WRITE, 0x1FFFF),  # wraps around at 4 GiB
        (0, 0, Access.READ, FaultKind.INVALID),
        (3, 0, Access.READ, FaultKind.OUTSIDE),
    ],
)
def test_descriptors(selector, offset, access, answer):
    code = Segment("code", 0x10000, 0x1000, rights="rx")
    stack = Segment("stack", 0x20000, 0x1000, grows_down=True, rights="rw")
    scheme = Descriptors([None, code, stack])
    walk = scheme.translate(Descriptors.address(selector, offset), access)
    assert (walk.fault.kind if walk.fault else walk.physical) == answer
