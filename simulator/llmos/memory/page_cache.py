"""The page cache: pages of files that are in memory, whoever wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.memory import reclaim

if TYPE_CHECKING:
    from llmos.memory.files import File
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space, Transfer
    from llmos.memory.space import Region


def fetch(memory: Memory, space: Space, file: File, index: int) -> tuple[Page, list[Transfer]]:
    """Make room for page `index` of `file`, and return it with the transfers that fill it."""
    page = reclaim.obtain(memory, space.pool, (file.inode, index))
    return page, [memory.read(file.device, [page])]


def fault_around(memory: Memory, space: Space, region: Region, vpn: int) -> int:
    """Map what is in memory near `vpn`, too; return how many pages."""
    return 0
