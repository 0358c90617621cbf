"""The steps about files as a scenario writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmos.scenario.fields import Model, Name, Size, Yes
from llmos.scenario.units import UnfitError

Times = Annotated[int, Field(ge=1, le=10**9)]


class FileRange(Model):
    """Which part of a file is read or written, and how."""

    size: Size | None = Field(default=None, description="How much; left out: all up to the end of the file.")
    offset: Size | None = Field(
        default=None, description="Where it begins; left out: where the task's last read or write has ended."
    )
    random: Times | None = Field(default=None, description="So many times, each from a page by lot.")
    direct: bool = Field(default=False, description="Past the page cache.")

    @model_validator(mode="after")
    def _placed_once(self) -> FileRange:
        if self.random is not None and self.offset is not None:
            raise UnfitError("what begins by lot has no offset", hint="leave `offset` or `random` out")
        if self.random is not None and not self.size:
            raise UnfitError("what begins by lot needs a size", hint='as in size = "4 KiB"')
        return self


class ReadFileStep(FileRange):
    """Read from a file."""

    read_file: Name = Field(description="The file.")


class WriteFileStep(FileRange):
    """Write into a file, which grows if it must."""

    write_file: Name = Field(description="The file.")


class FsyncStep(Model):
    """Wait until what was written into a file is on its device."""

    fsync: Name = Field(description="The file.")


class TruncateStep(Model):
    """Set the size of a file."""

    truncate: Name = Field(description="The file.")
    size: Size = Field(description="Its new size.")


class AdviseStep(Model):
    """Say how a file will be used."""

    advise: Name = Field(description="The file.")
    advice: Literal["normal", "sequential", "random"] = Field(
        description="sequential: more is read ahead; random: nothing is."
    )


class DropCachesStep(Model):
    """Drop the clean pages of files that nobody has mapped."""

    drop_caches: Yes = Field(description="true")
