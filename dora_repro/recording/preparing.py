"""What the training of a step consumes: all that its modules were given, but for those that only prepare data.

A transform that is a module, called outside its loader, or a frozen encoder whose outputs the model gets: neither
trains anything, and each is called before the model works on the batch. A step that passes over batches calls them
more often; what the model is given is the same.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import nn

from dora_repro.contracts import Value
from dora_repro.state.digest import digest
from dora_repro.state.tree import flatten

_INPUTS = 1000  # values that are read of what one module was given


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of an outermost module.

    Attributes:
        leaves: what it returned goes by these names.
        given: digests of what it was given.
        made: digests of what it returned.
        module: what was called. Its parameters are asked for when the step is over, and not at each call: the first
            one of a model that trains mostly tells.
    """

    leaves: tuple[str, ...]
    given: tuple[bytes, ...]
    made: frozenset[bytes]
    module: nn.Module

    def has_parameters(self) -> bool:
        return next(self.module.parameters(), None) is not None


class Preparing:
    """The calls of outermost modules in the present step."""

    def __init__(self) -> None:
        self._calls: list[_Call | None] = []  # None where a loader handed out a batch
        self._known: set[str] = set()  # leaves of modules that were seen to prepare what others train on

    def begin_step(self) -> None:
        """Forget the calls of the last step."""
        self._calls = []

    def __len__(self) -> int:
        return len(self._calls)

    def of_next(self, mark: int, in_hand: int) -> "Preparing":
        """Take out the calls of the next step, which began when there were `mark` of them, with batches in hand."""
        found = Preparing()
        found._calls, found._known = [*(None for _ in range(in_hand)), *self._calls[mark:]], self._known
        del self._calls[mark:]
        return found

    def batch(self) -> None:
        """A loader has handed out a batch."""
        self._calls.append(None)

    def called(self, module: nn.Module, given: Value, returned: dict[str, bytes]) -> None:
        """An outermost module has returned.

        Args:
            module: the module.
            given: what it was given.
            returned: digests of what it returned, by leaf.
        """
        self._calls.append(_Call(tuple(returned), tuple(_digests(given)), frozenset(returned.values()), module))

    def finished(self, trains: Callable[[nn.Module], bool]) -> tuple[bytes, tuple[str, ...]]:
        """A digest of all that was consumed (empty where nothing was), and the leaves of what only prepared it.

        Args:
            trains: whether a module has parameters that this step may train.
        """
        preparing = self._preparing(trains)
        consumed = [part for call in self._calls if call is not None and call not in preparing for part in call.given]
        leaves = dict.fromkeys(leaf for call in preparing for leaf in call.leaves)
        return digest(b"".join(consumed)) if consumed else b"", tuple(leaves)

    def _preparing(self, trains: Callable[[nn.Module], bool]) -> list[_Call]:
        """The calls that train nothing, made before any other work on a batch; a module with parameters has to be one
        whose outputs another is given that trains: the evaluation of an averaged copy prepares nothing."""
        calls = [call for call in self._calls if call is not None]
        training = {call for call in calls if trains(call.module)}
        if not training or len(training) == len(calls):
            return []
        self._known |= _feeding(calls, training)
        found, untouched = [], True
        for call in self._calls:
            if call is None:
                untouched = True
            elif untouched and call not in training and (self._known & {*call.leaves} or not call.has_parameters()):
                found.append(call)
            else:
                untouched = False
        return found


def _digests(given: Value) -> Iterator[bytes]:
    for _, value in islice(flatten(given), _INPUTS):
        try:
            yield digest(value)
        except TypeError:  # arrays of Python objects, whose bytes are addresses
            continue


def _feeding(calls: Sequence[_Call], training: Container[_Call]) -> set[str]:
    """Leaves of the modules that train nothing and made what one that trains is given, directly or through others."""
    wanted: set[bytes] = set()
    leaves: set[str] = set()
    for call in reversed(calls):
        if call in training:
            wanted.update(call.given)
        elif call.made & wanted:
            wanted.update(call.given)
            leaves.update(call.leaves)
    return leaves
