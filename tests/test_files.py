import os
import stat

import pytest

from llmos.errors import LlmosError
from llmos.files import whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_whole(tmp_path / "text", "größer\n")
    write_whole(str(tmp_path / "bytes"), b"\x00\r\n")
    assert (tmp_path / "text").read_bytes() == "größer\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n"


def test_missing_folders_are_made(tmp_path):
    write_whole(tmp_path / "a" / "b" / "c", "x")
    assert (tmp_path / "a" / "b" / "c").read_text() == "x"


def test_nobody_sees_half_a_file(tmp_path):
    place = tmp_path / "log"
    place.write_text("old")
    with whole_file(place, "w") as file:
        file.write("new, first half")
        file.flush()
        assert place.read_text() == "old"
        file.write(" and second")
    assert place.read_text() == "new, first half and second"
    assert names(tmp_path) == ["log"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, failure):
    place = tmp_path / "log"
    place.write_text("old")
    with pytest.raises(failure), whole_file(place) as file:  # noqa: PT012  # the block is the test
        file.write(b"half")
        raise failure
    assert place.read_text() == "old"
    assert names(tmp_path) == ["log"]


def test_data_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append((os.fstat(fd).st_size, names(tmp_path))))
    write_whole(tmp_path / "log", b"12345")
    [(size, there)] = seen
    assert size == 5
    assert "log" not in there


def test_the_file_gets_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_pipe_is_written_straight(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "x")
        assert os.read(reader, 9) == b"x"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_or_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LlmosError, match="it is a folder"):
        write_whole(tmp_path, "x")
    with pytest.raises(LlmosError, match="cannot write the file"):
        write_whole(tmp_path / "file" / "under", "x")
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LlmosError, match="log: cannot write the file: No space left on device"):
        write_whole(tmp_path / "log", "x")
    assert names(tmp_path) == []
