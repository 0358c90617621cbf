"""Address spaces as data, the drawing of a walk, and the exercise."""

import pytest

from llmos.errors import LlmosError
from llmos.exercise.translation import SCHEMES as POSED
from llmos.exercise.translation import Translations
from llmos.memory.translation import draw
from llmos.memory.translation.base import Access, FaultKind, Field
from llmos.memory.translation.layout import SCHEMES, number, read


@pytest.mark.parametrize(
    ("text", "value"),
    [(12, 12), ("12", 12), ("0x10", 16), ("4k", 4096), ("4 KiB", 4096), ("0b101", 5), ("1m", 2**20)],
)
def test_numbers(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "k", "4q", "-1", -1, 1.5, True, None, [], "9" * 79, "0x"])
def test_what_is_no_number(text):
    with pytest.raises(LlmosError):
        number(text)


@pytest.mark.parametrize(
    ("layout", "address", "physical"),
    [
        ({"scheme": "base-bounds", "base": "2k", "bounds": 100}, 99, 2147),
        (
            {"scheme": "segmentation", "address_space": "128", "segments": ["a 0 20", "b 512 20 down"]},
            108,
            492,
        ),
        ({"scheme": "descriptors", "segments": ["-", "a 0x1000 16 rx"]}, 1 << 32 | 5, 0x1005),
        (
            {"scheme": "linear", "address_bits": 14, "page_table": [0x8000000C, 0, 0, "0x80000006"]},
            12841,
            25129,
        ),
        ({"scheme": "linear", "map": ["0x3000=6:r"]}, 12841, 25129),
        ({"map": {"0x200000": "512:rw:2M"}}, 0x212345, 0x212345),
        ({"scheme": "multi-level", "levels": "4/4", "page_size": 64, "map": {"0x3f80": 55}}, 0x3F80, 0x0DC0),
        (
            {"scheme": "inverted", "buckets": 2, "frames": 8, "map": {"0": 3}, "others": {"2": {"0": "4"}}},
            1,
            0x3001,
        ),
        ({"scheme": "image", "root": 0, "memory": ["81" + 31 * "00", "82" + 31 * "7f", 32 * "00"]}, 7, 71),
    ],
)
def test_every_scheme_can_be_written_down(layout, address, physical):
    assert read(layout).translate(address).physical == physical


def test_the_list_above_leaves_no_scheme_out():
    marks = test_every_scheme_can_be_written_down.pytestmark
    assert {layout.get("scheme", "multi-level") for layout, _, _ in marks[0].args[1]} == set(SCHEMES)


@pytest.mark.parametrize(
    ("rights", "user", "kind"),
    [
        ("r", True, FaultKind.PROTECTION),
        ("rws", True, FaultKind.PROTECTION),
        ("rws", False, None),
        ("-", True, FaultKind.NOT_PRESENT),
        ("rwg", True, None),
    ],
)
def test_rights_of_a_page(rights, user, kind):
    walk = read({"map": {"0": f"5:{rights}"}}).translate(0, Access.WRITE, user=user)
    assert (walk.fault and walk.fault.kind) == kind


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({"scheme": "linaer"}, 'did you mean "linear"'),
        ({"scheme": ["linear"]}, "there is no scheme"),
        ({"scheme": "linear", "mpa": {}}, 'did you mean "map"'),
        ({"scheme": "base-bounds", "base": 1}, "bounds is missing"),
        ({"map": {"0x1001": "5"}}, "no beginning of a page"),
        ({"map": {"0": "5:rw:3M"}}, "no pages of 3145728 bytes"),
        ({"map": {"0": "5:q"}}, "write FRAME"),
        ({"map": {"0": "5:r:4k:9"}}, "write FRAME"),
        ({"map": {"0": "0::2M", "0x1000": "5"}}, "another size"),
        ({"map": 5}, "should be a table"),
        ({"levels": 5}, "should be a list"),
        ({"levels": [9]}, "two to five"),
        ({"levels": [2**60, 1]}, "64 bits at most"),
        ({"scheme": "image", "root": 0, "memory": ["00"], "levels": [2**60, 1]}, "64 bits at most"),
        ({"scheme": "image", "root": 0, "memory": ["00"], "levels": [1]}, "two to five"),
        ({"scheme": "image", "root": 0, "memory": ["zz"]}, "hexadecimal"),
        ({"scheme": "image", "root": 0}, "no bytes"),
        ({"page_size": 1000}, "no power of two"),
        ({"entry_bytes": 0}, "1 to 8 bytes"),
        ({"scheme": "linear", "address_bits": 100}, "64 bits at most"),
        ({"scheme": "linear", "address_bits": 12, "page_size": "4k"}, "needs bits"),
        ({"scheme": "linear", "address_bits": 13, "page_table": [0, 0, 1 << 31]}, "no page"),
        ({"scheme": "segmentation"}, "there are none"),
        ({"scheme": "segmentation", "segments": ["a 5"]}, "lacks its base or its limit"),
        ({"scheme": "segmentation", "segments": ["a 5 5 q"]}, "cannot be read"),
        ({"scheme": "inverted", "others": 5}, "should be a table"),
        ({"scheme": "inverted", "frames": 1 << 30}, "at most"),
        ({"scheme": "inverted", "buckets": 0}, "at least one"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(layout, says):
    with pytest.raises(LlmosError, match=says):
        read(layout)


# --- drawing ------------------------------------------------------------------------------------------


def test_an_address_is_drawn_with_its_bits():
    fields = [Field("PD", 14, 10, 25), Field("top", 9, 9, 1), Field("offset", 8, 0, 5)]
    assert draw.address_bits(fields) == [
        "  14  10    9    8       0",
        "+--------+-----+-----------+",
        "| 11001  |  1  | 000000101 |",
        "+--------+-----+-----------+",
        "    PD     top    offset",
        "    25      1       0x5",
    ]
    assert draw.address_bits([]) == []


def test_every_step_has_a_line_and_the_end_as_well():
    walk = read({"levels": [4, 4], "page_size": 64, "map": {"0x3f80": "55:r"}}).translate(0x3F80)
    # The tables stand behind the page that is mapped: frames 56 and 57. Entries have 8 bytes.
    assert draw.steps(walk) == [
        "1. page directory[15]  in frame 56  at 0xe78: page table in frame 57",
        "2. page table[14]      in frame 57  at 0xeb0: frame 55 [r--u---]",
        "=> physical address 0xdc0 (3520)",
    ]


# --- the exercise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", POSED)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_exercise_is_answered_by_its_own_layout(scheme, seed):
    posed = Translations().pose(seed, {"scheme": scheme, "addresses": 20})
    addresses, answers = posed.data["addresses"], posed.solve().data["translations"]
    assert len(set(addresses)) == 20
    again = read(posed.data["layout"])
    assert [answer["physical"] for answer in answers] == [again.translate(a).physical for a in addresses]
    ends = {answer["fault"] is None for answer in answers}
    assert ends == {True, False}  # some lead somewhere, some fault


def test_a_seed_draws_every_scheme():
    titles = {Translations().pose(seed, {}).title.split(": ")[1] for seed in range(30)}
    assert titles == set(POSED)
