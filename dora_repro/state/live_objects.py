"""What is live at each path, as a walk found it: the object or tensor, under whichever of its names it is asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state import rng
from dora_repro.state.leaves import Leaf, Leaves
from dora_repro.state.making import NotRestorable
from dora_repro.state.rebuild import Kind


class LiveObjects:
    """Live objects by path.

    Args:
        live: a walk over them.
        now: its leaves by path, and the global generators and flags.
    """

    def __init__(self, live: Leaves, now: Mapping[str, Leaf]):
        self._live, self._now = live, now

    def holder(self, path: str) -> Value:
        """The live object, tensor, array or generator of a path; None where there is none."""
        if path in self._live.objects:
            return self._live.objects[path]
        leaf = self._live.leaves.get(path)
        candidates = (self._live.others.get(path), leaf.value if leaf is not None else None)
        kinds = (torch.Tensor, np.ndarray, *rng.PRIVATE_GENERATORS)
        return next((value for value in candidates if isinstance(value, kinds)), None)

    def at(self, path: str, slot: Leaf | None = None) -> Any:
        """The live object or tensor of a path, for another name to be tied to.

        Args:
            path: any of its names.
            slot: the leaf that is to be tied to it; None where it is no leaf.

        Raises:
            NotRestorable: there is none.
        """
        path = self._first_name(path)
        for known in (self._live.objects, self._live.others):
            if path in known:
                return known[path]
        value = self._live.leaves[path].value if path in self._live.leaves else None
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise NotRestorable(f"there is no object {path!r} to tie it to")
        if isinstance(value, torch.Tensor) and value.requires_grad and slot is not None:
            # The names of a state_dict() stand for the parameters' data, not for the parameters.
            there = self._now.get(self._first_name(slot.path), slot).value
            return value.detach() if isinstance(there, torch.Tensor) and not there.requires_grad else value
        return value

    def _first_name(self, path: str) -> str:
        """The name that another name stands for at present."""
        while path in self._now and self._now[path].role == "alias":
            path = str(self._now[path].value)[2:]
        return path

    def kind_name(self, path: str) -> str | None:
        """What is live at a path, as `Kind.name` has it."""
        kind = Kind.of(self._live.objects.get(path))
        return kind.name if kind is not None else self._live.kinds.get(path)

    def module_of(self, root: str, name: str) -> tuple[torch.nn.Module, str]:
        """(module, attribute) for `layer.0.weight` below the path of a root module.

        Raises:
            NotRestorable: there is no such module.
        """
        inside, _, attribute = name.rpartition(".")
        module = self._live.objects.get(f"{root}/{inside}" if inside else root)
        if not isinstance(module, torch.nn.Module):
            raise NotRestorable(f"there is no module {root}/{inside}")
        return module, attribute
