"""Parameters between their update and the end of the step: clipped, masked, projected, swapped, noised.

Version counters do not tell: writes through `.data`, through numpy and in a view that was detached before leave them as
they are. So what is small is read again. A large parameter is read again where its version or its storage has moved, or
a sample of its bytes; and at the last step in any case. A write that no sample meets shows one step later, in what the
parameter does there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dora_repro.private_names.of_torch import version_of
from dora_repro.state.digest import bytes_of, digest_tensor, is_dense

LARGE = 1 << 20  # bytes
_BLOCKS, _BLOCK = 64, 512  # of a sample: how many, and bytes in each


@dataclass(slots=True)
class _Updated:
    """A parameter as its update left it.

    Attributes:
        leaf: its path.
        parameter: the live one.
        digest: of its bytes.
        mark: what moves with most changes of a large one; None of a small one.
    """

    leaf: str
    parameter: torch.Tensor
    digest: bytes
    mark: tuple[object, ...] | None


class AfterUpdate:
    """The parameters that were updated in one step."""

    def __init__(self) -> None:
        self._updated: dict[int, _Updated] = {}
        self._before_epoch_end: dict[str, bytes] | None = {}

    def begin(self) -> None:
        """Forget the step before."""
        self._updated.clear()
        self._before_epoch_end = {}

    def note(self, leaf: str, parameter: torch.Tensor, digest: bytes) -> None:
        """A parameter was updated."""
        self._updated[id(parameter)] = _Updated(leaf, parameter, digest, mark_of(parameter))
        self._before_epoch_end = None

    def other_work_begins(self, read: dict[int, Callable[[], bytes]]) -> None:
        """Something else happens after an update, which may be the end of the epoch: note what changed before it."""
        if self._before_epoch_end is None:
            self._before_epoch_end = {leaf: digest for leaf, (_, digest) in self.changed(read).items()}

    def changed(
        self, read: dict[int, Callable[[], bytes]], *, whole: bool = False, also: str | None = None
    ) -> dict[str, tuple[torch.Tensor, bytes]]:
        """The parameters that are not as their update left them, with their digests now.

        Args:
            read: id of a parameter -> what gives its digest.
            whole: read large ones whatever a sample says.
            also: path of a parameter to return in any case.
        """
        found = {}
        for key, one in self._updated.items():
            if one.leaf != also and not whole and one.mark is not None and one.mark == mark_of(one.parameter):
                continue
            digest = read[key]() if key in read else digest_tensor(one.parameter)
            if digest != one.digest or one.leaf == also:
                found[one.leaf] = one.parameter, digest
        return found

    def changed_before(self, leaf: str, digest: bytes) -> bool:
        """Whether a parameter had its last bytes already when the end of the epoch began."""
        return self._before_epoch_end is None or self._before_epoch_end.get(leaf) == digest


def mark_of(parameter: torch.Tensor) -> tuple[object, ...] | None:
    """What moves with most changes of a large tensor; None of what is to be read whole."""
    ordinary = type(parameter) in (torch.Tensor, torch.nn.Parameter) and is_dense(parameter)
    if not ordinary or parameter.nbytes < LARGE or parameter.is_inference() or not parameter.is_contiguous():
        return None
    return version_of(parameter), parameter.data_ptr(), parameter.shape, parameter.dtype, _sample(parameter)


def _sample(parameter: torch.Tensor) -> bytes:
    """Some blocks of a tensor's bytes, evenly spaced."""
    flat = parameter.detach().reshape(-1)  # contiguous: a view
    stride = flat.numel() // _BLOCKS
    blocks = flat[: stride * _BLOCKS].reshape(_BLOCKS, stride)[:, : _BLOCK // parameter.element_size()]
    return bytes_of(blocks).tobytes()
