"""What reading one file may take: work and memory, in proportion to its bytes.

A small file can stand for any amount of either: a value that is named a million times, a number that is nested in
itself, a record that unpacks to a thousand times its size. Every reader therefore takes what it does from one `Budget`,
which the file's size alone decides, and which goes along with its values for as long as they are walked, loaded and
compared. Nothing is timed: the same file is read, or refused, on any machine.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from dora_repro.checkpoint.guard import Malformed

# A unit of work is about a microsecond. Of files below 10 MB, two are read and compared within five seconds; large ones
# may take longer for each byte.
FREE_WORK = 1_500_000
SMALL = 10_000_000  # bytes
BYTES_PER_WORK, BYTES_PER_WORK_ABOVE = 12, 0.5
FREE_MEMORY = 256 << 20
MEMORY_PER_BYTE = 24

# Work for each byte that is copied out of a file, compared or hashed.
OF_A_BYTE = 0.005


class Budget:
    """What is left of what one file may take.

    Args:
        size: bytes of the file; of a sharded folder, of all its files.
    """

    __slots__ = ("_paid", "memory", "size", "work")

    def __init__(self, size: int) -> None:
        self.size = size
        self._paid: set[str] = set()
        self.work: float = FREE_WORK + min(size, SMALL) / BYTES_PER_WORK + max(size - SMALL, 0) / BYTES_PER_WORK_ABOVE
        self.memory: float = FREE_MEMORY + size * MEMORY_PER_BYTE

    def take(self, work: float = 0, memory: float = 0) -> None:
        """Take from what is left, before it is spent.

        Args:
            work: about so many microseconds.
            memory: bytes that stay in use.

        Raises:
            Malformed: there is not as much left.
        """
        self.work -= work
        self.memory -= memory
        if self.work < 0 or self.memory < 0:
            what = "work" if self.work < 0 else "memory"
            raise Malformed(f"reading it takes too much {what} for its {self.size} bytes")

    def take_bytes(self, count: int) -> None:
        """Take the work of reading so many bytes, and comparing them."""
        self.take(count * OF_A_BYTE)

    @contextmanager
    def once(self, name: str, work: float) -> Iterator[None]:
        """Take for what the block does, the first time that it is done for a name.

        Whoever looks at the same leaf again and again, as somebody who clicks through two files, does so by their own
        wish: the file stands for no more than before.

        Args:
            name: of what is done.
            work: about so many microseconds, beside what is taken in the block.

        Raises:
            Malformed: there is not as much left.
        """
        if name not in self._paid:
            self.take(work)
            yield
            self._paid.add(name)
            return
        left = self.work, self.memory
        self.work = self.memory = math.inf
        try:
            yield
        finally:
            self.work, self.memory = left
