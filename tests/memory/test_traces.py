"""Traces of other tools, read against what was written by hand."""

import gzip
import lzma
import re
import struct

import numpy as np
import pytest

from llmos.errors import LogError
from llmos.memory import traces

LACKEY = """\
==42== Lackey, an example Valgrind tool
==42== Command: ls
I  00001000,3
 L 1ffe8,8
 S 00002ffc,8
--42-- a warning
 M deadBEEF,4

I  04,3
==42== Exit code: 0
"""


def pages(path, **options):
    return [(int(p), bool(w)) for chunk in traces.read(path, **options) for p, w in zip(*chunk, strict=True)]


def file(folder, name, data):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_lackey(tmp_path):
    path = file(tmp_path, "ls.log", LACKEY)
    expected = [(1, False), (31, False), (2, True), (3, True), (0xDEADB, True), (0, False)]
    assert pages(path) == expected  # the store at 0x2ffc goes over the end of its page
    assert pages(path, fetches=False) == expected[1:-1]
    assert pages(path, page_size=1 << 20)[:3] == [(0, False), (0, False), (0, True)]


def test_text(tmp_path):
    path = file(tmp_path, "exam.txt", "# from the book\n7 0x1f, 1 r\n\t2 w\n 0XFFFFFFFFFFFFFFFF")
    expected = [(7, False), (31, False), (1, False), (2, True), (2**64 - 1, False)]
    assert pages(path) == expected
    assert pages(path, page_size=16)[:2] == [(0, False), (1, False)]


def test_numbers_go_up_to_2_to_the_64(tmp_path):
    most = 2**64 - 1
    assert pages(file(tmp_path, "t.txt", f"{most} 0x{most:x} w\n{most - 9}\n")) == [
        (most, False),
        (most, True),
        (most - 9, False),
    ]


@pytest.mark.parametrize("block", [4, 5, 6, 7, 100])
def test_a_letter_stands_in_the_line_of_its_number_wherever_a_block_ends(tmp_path, monkeypatch, block):
    monkeypatch.setattr(traces, "BLOCK_BYTES", block)
    assert pages(file(tmp_path, "t.txt", "12 w\n34 w\n5 r\n")) == [(12, True), (34, True), (5, False)]
    with pytest.raises(LogError, match=r"t.txt:2: \"w\" is no number"):
        pages(file(tmp_path, "t.txt", "12\nw\n34\n"))


def test_csv(tmp_path):
    path = file(tmp_path, "t.csv", 'time,Address,op\n1,0x1000,W\n2,"17",r\n\n3,18,store\n')
    assert pages(path) == [(4096, True), (17, False), (18, True)]
    assert pages(path, column="time", page_size=2) == [(0, True), (1, False), (1, True)]


def test_npy(tmp_path):
    np.save(tmp_path / "t.npy", np.array([3, 4096, 3], np.int32))
    assert pages(tmp_path / "t.npy") == [(3, False), (4096, False), (3, False)]


def test_oracle_general(tmp_path):
    records = b"".join(struct.pack("<IQIq", i, key, 1, -1) for i, key in enumerate([5, 2**40, 5]))
    assert pages(file(tmp_path, "t.oracleGeneral.bin", records)) == [(5, False), (2**40, False), (5, False)]


def test_packed_traces(tmp_path):
    expected = pages(file(tmp_path, "ls.lackey", LACKEY))
    assert pages(file(tmp_path, "ls.lackey.gz", gzip.compress(LACKEY.encode()))) == expected
    assert pages(file(tmp_path, "ls.lackey.xz", lzma.compress(LACKEY.encode()))) == expected


def test_zstandard(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    packed = file(tmp_path, "t.txt.zst", zstandard.compress(b"1\n2\n"))
    assert pages(packed) == [(1, False), (2, False)]
    with pytest.raises(LogError, match="damaged"):
        pages(file(tmp_path, "bad.txt.zst", b"no such thing"))


def test_a_long_trace_comes_in_chunks_and_nothing_is_lost_between(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "BLOCK_BYTES", 48)
    monkeypatch.setattr(traces, "ROWS", 5)
    numbers = np.arange(100) * 37
    np.save(tmp_path / "t.npy", numbers)
    records = b"".join(struct.pack("<IQIq", 0, key, 1, -1) for key in numbers)
    for path in (
        file(tmp_path, "t.txt", "\n".join(map(str, numbers))),
        file(tmp_path, "t.csv", "page\n" + "\n".join(map(str, numbers))),
        file(tmp_path, "t.oracleGeneral", records),
        tmp_path / "t.npy",
    ):
        chunks = list(traces.read(path))
        assert len(chunks) > 5, path
        assert np.concatenate([chunk.pages for chunk in chunks]).tolist() == numbers.tolist(), path


def test_the_trace_that_ships_is_read_as_a_plain_reader_does(root):
    path = root / "scenarios/traces/ls.lackey.xz"
    plain = []
    for line in lzma.decompress(path.read_bytes()).decode().splitlines(keepends=True):
        if found := re.fullmatch(r" ?([ILSM]) +([0-9a-f]+),(\d+)\n", line):
            address, size = int(found[2], 16), int(found[3])
            plain += sorted({address >> 12, (address + size - 1) >> 12})
    assert np.concatenate([chunk.pages for chunk in traces.read(path)]).tolist() == plain


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.txt", "7\n8\n9x 3\n", 't.txt:3: "9x 3" is no number'),
        ("t.txt", "7\n99999999999999999999\n", "t.txt:2:"),
        ("t.txt", "w 3\n", "t.txt:1:"),
        ("t.txt", "7\n18446744073709551616\n", "t.txt:2:"),
        ("t.txt", "7 w w\n", "t.txt:1:"),
        ("t.lackey", "==1== \nI  04,3\nhello\n", 't.lackey:3: "hello" is no reference'),
        ("t.lackey", "==1== \nI  04,3\n L 04\n", "--log-file"),
        ("t.csv", "time,adr\n1,2\n", "t.csv:1: the trace has no column"),
        ("t.csv", "page\n1\nzz\n", 't.csv:3: "zz" is no number'),
        ("t.csv", "page,x\n,1\n", "t.csv:2: the row has no number"),
        ("t.csv", "page\n99999999999999999999\n", "too large"),
        ("t.npy", b"\x93NUMPYbad", "cannot read the trace"),
        ("t.oracleGeneral", b"1" * 30, "within record 1"),
        ("t.gz", b"no gzip", "cannot read the trace"),
        ("t.xz", b"no xz", "cannot read the trace"),
        ("t.bin", b"\0\1\2", "say which kind"),
    ],
)
def test_a_damaged_trace_is_told_with_its_place(tmp_path, name, data, says):
    with pytest.raises(LogError) as error:
        pages(file(tmp_path, name, data))
    assert says in str(error.value)


@pytest.mark.parametrize(("asked", "says"), [({"column": "x"}, "no column"), ({"fetches": False}, "fetches")])
def test_what_only_another_kind_has_is_refused(tmp_path, asked, says):
    with pytest.raises(LogError, match=says):
        list(traces.read(file(tmp_path, "t.txt", "1 2 3\n"), **asked))


def test_a_trace_that_is_not_there(tmp_path):
    with pytest.raises(LogError, match="no such trace"):
        pages(tmp_path / "t.txt")
    with pytest.raises(LogError, match="cannot read"):
        pages(tmp_path)


def test_negative_and_fractional_pages_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, -2]))
    with pytest.raises(LogError, match="negative"):
        pages(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([1.5]))
    with pytest.raises(LogError, match="whole numbers"):
        pages(tmp_path / "b.npy")
