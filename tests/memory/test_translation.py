"""What every page table promises: it says what was mapped, and takes no more memory than it must."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.memory.translation.base import Access, FaultKind, Pte, refusal
from llmos.memory.translation.image import image_of
from llmos.memory.translation.inverted import Hashed, Inverted
from llmos.memory.translation.linear import Linear
from llmos.memory.translation.multilevel import Counted, MultiLevel

MAKERS = {
    "linear": lambda: Linear(8, 4),
    "two levels": lambda: MultiLevel((4, 4), 4),
    "three levels": lambda: MultiLevel((2, 3, 3), 4),
    "four levels": lambda: MultiLevel((2, 2, 2, 2), 4),
    "five levels": lambda: MultiLevel((1, 2, 1, 2, 2), 4),
    "inverted": lambda: Inverted(Hashed(frames=16, buckets=5), 3, vpn_bits=8, offset_bits=4),
}
TREES = ["two levels", "three levels", "four levels", "five levels"]
vpns = st.integers(0, 255)
actions = st.lists(st.tuples(vpns, st.none() | st.integers(0, 63)), max_size=40)
"""Map a page to a frame, or unmap it (None)."""


def do(table, todo):
    """Map and unmap; return what should be mapped then."""
    model = {}
    for vpn, pfn in todo:
        if pfn is not None:
            table.map(vpn, Pte(pfn))
            model[vpn] = pfn
        elif vpn in model:
            assert table.unmap(vpn).pfn == model.pop(vpn)
        else:
            with pytest.raises(KeyError):
                table.unmap(vpn)
    return model


@pytest.mark.parametrize("name", MAKERS)
@given(todo=actions)
def test_a_table_says_what_a_dict_says(name, todo):
    table = MAKERS[name]()
    model = do(table, todo)
    assert {vpn: entry.pfn for vpn, entry in table.items()} == model
    for vpn in {0, 255, *(vpn for vpn, _ in todo)}:
        assert table.frame(vpn) == model.get(vpn)
        walk = table.translate(vpn * 16 + 5)
        assert walk.physical == (model[vpn] * 16 + 5 if vpn in model else None)
        assert (walk.fault is None) == (vpn in model)
        assert walk.references == table.accesses(vpn)


@pytest.mark.parametrize("name", MAKERS)
@given(todo=actions)
def test_unmapping_gives_all_memory_back(name, todo):
    table = MAKERS[name]()
    before = table.table_bytes
    for vpn in do(table, todo):
        table.unmap(vpn)
    assert table.table_bytes == before
    assert not list(table.items())


@pytest.mark.parametrize("name", TREES)
@given(todo=actions)
def test_a_tree_has_a_table_for_each_part_in_use(name, todo):
    table = MAKERS[name]()
    model = do(table, todo)
    size, below, expected = table.entry_bytes, 0, 0
    for bits in reversed(table.bits):
        below += bits
        expected += len({vpn >> below for vpn in model} | ({0} if below == 8 else set())) * (size << bits)
    assert table.table_bytes == expected


@pytest.mark.parametrize("name", TREES)
@given(todo=actions)
def test_tables_have_frames_of_their_own_and_give_them_back(name, todo):
    class Watched(Counted):
        def __init__(self):
            super().__init__()
            self.taken = set()

        def take(self):
            pfn = super().take()
            assert pfn not in self.taken
            self.taken.add(pfn)
            return pfn

        def give(self, pfn):
            self.taken.remove(pfn)
            super().give(pfn)

    frames = Watched()
    table = MultiLevel(MAKERS[name]().bits, 4, frames=frames)
    model = do(table, todo)
    assert len(frames.taken) == sum(table.tables)
    assert {step.frame for vpn in (0, *model) for step in table.steps(vpn)} == frames.taken
    for vpn in model:
        table.unmap(vpn)
    assert frames.taken == {table.root}


@given(bits=st.lists(st.integers(2, 3), min_size=2, max_size=3), data=st.data())
def test_a_walk_through_the_bytes_of_memory_ends_where_the_table_says(bits, data):
    """The same tree, written into memory and read back bit by bit by code that knows nothing of it."""
    # A table fills a page or less, or it would run into its neighbour's frame.
    table = MultiLevel(bits, 4, entry_bytes=2, frames=Counted(64))
    pages = data.draw(st.dictionaries(st.integers(0, (1 << sum(bits)) - 1), st.integers(0, 63), max_size=30))
    for vpn, pfn in pages.items():
        table.map(vpn, Pte(pfn))
    image = image_of(table, 256)
    probes = data.draw(st.lists(st.integers(0, table.address_bytes - 1), max_size=20))
    for address in {*probes, *(vpn << 4 for vpn in pages)}:
        ours, theirs = table.translate(address), image.translate(address)
        assert ours.physical == theirs.physical
        assert [(s.index, s.frame, s.address) for s in ours.steps] == [
            (s.index, s.frame, s.address) for s in theirs.steps
        ]
        assert ours.fields == theirs.fields
    assert image.table_bytes == table.table_bytes


# --- huge pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("name", ["three levels", "four levels", "five levels"])
def test_a_huge_page_covers_its_range_and_nothing_else(name, level):
    table = MAKERS[name]()
    pages = 1 << table.spans[level]
    table.map(pages, Pte(32, level=level))
    frames = {vpn: table.frame(vpn) for vpn in range(3 * pages)}
    assert frames == {vpn: 32 + vpn - pages if pages <= vpn < 2 * pages else None for vpn in range(3 * pages)}
    assert table.accesses(pages) == len(table.bits) - level
    assert table.unmap(2 * pages - 1).pfn == 32
    assert sum(table.tables) == 1


@pytest.mark.parametrize("name", ["three levels", "four levels", "five levels"])
@pytest.mark.parametrize("level", [1, 2])
def test_splitting_changes_no_address_and_promoting_undoes_it(name, level):
    table = MAKERS[name]()
    pages = 1 << table.spans[level]
    table.map(pages, Pte(pages, level=level, writable=False))
    bytes_before = table.table_bytes
    before = [table.translate(a).physical for a in range(0, 3 * pages * 16, 3)]
    assert table.split(pages + 3) == 1 << table.bits[-level]
    assert [table.translate(a).physical for a in range(0, 3 * pages * 16, 3)] == before
    assert table.translate(pages * 16, Access.WRITE).fault.kind is FaultKind.PROTECTION
    assert table.table_bytes > bytes_before
    gone = table.promote(pages, Pte(pages, level=level))
    assert sorted(entry.pfn for _, entry in gone) == [
        pages + (i << table.spans[level - 1]) for i in range(1 << table.bits[-level])
    ]
    assert table.table_bytes == bytes_before


@pytest.mark.parametrize(
    ("there", "new", "at"),
    [
        (Pte(0, level=1), Pte(0), 3),
        (Pte(0, level=2), Pte(0, level=1), 4),
        (Pte(0), Pte(0, level=1), 0),
        (Pte(0), Pte(0, level=2), 0),
    ],
)
def test_pages_of_two_sizes_do_not_lie_over_each_other(there, new, at):
    table = MultiLevel((2, 2, 2, 2), 4)
    table.map(0, there)
    bytes_before = table.table_bytes
    with pytest.raises(ValueError, match="another size"):
        table.map(at, new)
    assert table.table_bytes == bytes_before
    assert table.lookup(0) is there


@pytest.mark.parametrize(
    ("vpn", "entry", "says"),
    [
        (256, Pte(0), "8 bits"),
        (-1, Pte(0), "no page"),
        (2, Pte(0, level=1), "multiple of 4"),
        (0, Pte(0, level=3), "no pages of level 3"),
    ],
)
def test_what_cannot_be_mapped_is_said(vpn, entry, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        MultiLevel((2, 2, 2, 2), 4).map(vpn, entry)


@pytest.mark.parametrize("bits", [(), (9,), (9, 0), (1, 1, 1, 1, 1, 1)])
def test_a_tree_has_two_to_five_levels(bits):
    with pytest.raises(ValueError, match="two to five"):
        MultiLevel(bits)


# --- rights and faults --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "access", "user", "kind"),
    [
        (None, Access.READ, True, FaultKind.INVALID),
        (Pte(1, present=False), Access.READ, True, FaultKind.NOT_PRESENT),
        (Pte(1, present=False, writable=False), Access.WRITE, True, FaultKind.NOT_PRESENT),
        (Pte(1, writable=False), Access.WRITE, True, FaultKind.PROTECTION),
        (Pte(1, writable=False), Access.READ, True, None),
        (Pte(1, executable=False), Access.EXECUTE, True, FaultKind.PROTECTION),
        (Pte(1, user=False), Access.READ, True, FaultKind.PROTECTION),
        (Pte(1, user=False), Access.WRITE, False, None),
    ],
)
def test_rights(entry, access, user, kind):
    fault = refusal(entry, access, user=user)
    assert (fault and fault.kind) == kind


@pytest.mark.parametrize("name", MAKERS)
def test_the_table_goes_by_what_its_entries_say_now(name):
    table = MAKERS[name]()
    entry = Pte(7)
    table.map(9, entry)
    entry.present = False
    assert table.walk(9).fault.kind is FaultKind.NOT_PRESENT
    assert table.frame(9) is None
    assert table.lookup(9) is entry


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("address", [-1, 4096])
def test_an_address_that_does_not_exist_is_outside(name, address):
    assert MAKERS[name]().translate(address).fault.kind is FaultKind.OUTSIDE


def test_processes_in_an_inverted_table_do_not_see_each_other():
    shared = Hashed(frames=8, buckets=2)
    one, two = Inverted(shared, 1), Inverted(shared, 2)
    one.map(4, Pte(0))
    two.map(4, Pte(1))
    assert (one.frame(4), two.frame(4)) == (0, 1)
    assert [list(table.items()) for table in (one, two)] == [[(4, Pte(0))], [(4, Pte(1))]]
    one.unmap(4)
    assert (one.frame(4), two.frame(4)) == (None, 1)
