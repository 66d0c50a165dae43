"""A sampler that draws once more when the loop over its loader ends, as torch's `RandomSampler` does from a generator.

A checkpoint that was written inside the loop, at its last batch, lacks that draw: the next order is another one.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

from dora_repro.private_names.of_torch import LoaderIterator
from dora_repro.scripts.samplers import own_of
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.tree import flatten


class LastDraws:
    """Knows which loops have ended with a draw after a checkpoint was written.

    Attributes:
        wrote: tells whether a checkpoint was written since the last update.
    """

    def __init__(self) -> None:
        self.wrote: Callable[[], bool] = lambda: False
        self._loaders: weakref.WeakKeyDictionary[LoaderIterator, tuple[weakref.ref[Any], int]] = (
            weakref.WeakKeyDictionary()
        )
        self._late: dict[Hashable, int] = {}

    def begun(self, iterator: LoaderIterator, loader: Any) -> None:
        """An iterator of a loader is made."""
        try:
            self._loaders[iterator] = weakref.ref(loader), len(loader)
        except TypeError:  # of a dataset without a length: nothing tells where its loop may end
            return

    def before(self, iterator: LoaderIterator, fetched: int) -> list[bytes] | None:
        """Digests of what its draws come from, before an iterator is asked that has given so many batches; None where
        it has more to give."""
        held, size = self._loaders.get(iterator, (lambda: None, 0))
        loader = held()
        if loader is None or fetched < size:
            return None
        return [digest(item) for _, item in flatten([rng.capture_world(), list(own_of(loader))])]

    def over(self, iterator: LoaderIterator, key: Hashable, step: int, before: list[bytes] | None) -> None:
        """A loop has ended.

        Args:
            iterator: that it was over.
            key: what tells the loader from others.
            step: number of steps that were done.
            before: what `before` gave.
        """
        if before is not None and self.before(iterator, self._loaders[iterator][1]) != before and self.wrote():
            self._late[key] = step

    def is_late(self, key: Hashable, step: int) -> bool:
        """Whether the last loop over a loader ended so after a step."""
        return self._late.get(key) == step
