"""The tiling that the Triton matmul and its twin in plain torch share: tile sizes, and who does which.

- The (m, n) result is cut into tiles of `block_m` x `block_n`. Each is the work of one *program*, which
  walks along k in steps of `block_k` and keeps its sums in registers.
- Why tiles: a program reads (block_m + block_n) * block_k numbers for block_m * block_n * block_k products,
  so a tile of 128 x 128 reads each number of memory 128 times less often than one result at a time would.
- Programs start about in the order of their numbers. Numbered row by row, those that run together would
  need all of the weights at once. So they go in strips of `group_m` rows of tiles, each strip column by
  column: what runs together shares its inputs in the L2 cache.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiles:
    """Sizes of tiles; for Triton powers of two, 16 at least. group_m: rows of tiles in a strip."""

    block_m: int = 64
    block_n: int = 64
    block_k: int = 32
    group_m: int = 8

    def programs(self, m: int, n: int) -> int:
        """How many tiles an (m, n) result has."""
        return -(-m // self.block_m) * -(-n // self.block_n)

    def tile(self, program: int, m: int, n: int) -> tuple[int, int]:
        """The row and the column, in tiles, of the tile that a program computes."""
        rows, columns = -(-m // self.block_m), -(-n // self.block_n)
        strip, place = divmod(program, self.group_m * columns)
        first = strip * self.group_m
        high = min(rows - first, self.group_m)  # The last strip may be lower.
        return first + place % high, place // high


# Few rows are decoding: there tiles are low and wide, for only the weights count.
TUNED = (
    Tiles(16, 64, 64),
    Tiles(16, 128, 64),
    Tiles(32, 64, 64),
    Tiles(64, 64, 32),
    Tiles(64, 128, 32),
    Tiles(128, 64, 32),
    Tiles(128, 128, 32),
    Tiles(128, 256, 64),
)
"""What the Triton kernel is tried with."""
