"""What the options of optimizers were when a script had loaded them, before its first step sets them anew."""

from collections.abc import Mapping

import torch

from dora_repro.recording.group_options import digests_of


class LoadedOptions:
    """Digests of the options of optimizers that have loaded their state."""

    def __init__(self) -> None:
        self._loaded: dict[int, tuple[torch.optim.Optimizer, dict[str, bytes]]] = {}

    def after_loading(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has loaded its state."""
        self._loaded[id(optimizer)] = optimizer, digests_of({"": optimizer})

    def loading_is_over(self) -> None:
        """A loader is asked for a batch: what had to be loaded has been, and a step sets its options from here on."""
        for key, (optimizer, _) in self._loaded.items():
            self._loaded[key] = optimizer, digests_of({"": optimizer})

    def taken(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, str]:
        """The digests in hexadecimal by path, as they were when a loader was first asked; where none was, when each
        optimizer had loaded its state. They are let go.

        Args:
            optimizers: of the run, by path.
        """
        found: dict[str, str] = {}
        for path, optimizer in optimizers.items():
            known = self._loaded.get(id(optimizer), (None, {}))[1]
            found |= {f"{path}{option}": value.hex() for option, value in known.items()}
        self._loaded.clear()
        return found
