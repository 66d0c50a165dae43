"""What sides were seen to import inside functions, as their interpreters are told. Loads no torch."""

import sys
from collections.abc import Iterable

THERE = {*sys.stdlib_module_names, "dora_repro", "torch", "numpy"}  # cheap, or imported in any case


class LateLibraries:
    """Libraries that sides were seen to import inside functions.

    Attributes:
        learned: what each side imported that none before it had, as (module, file).
    """

    def __init__(self) -> None:
        self.learned: list[tuple[tuple[str, str], ...]] = []
        self._known: set[str] = set()
        self._left_out: set[str] = set()

    def learn(self, libraries: Iterable[tuple[str, str]]) -> None:
        """Learn what a side has imported.

        Args:
            libraries: modules with their files, in the order in which they were imported.
        """
        new = tuple((name, file) for name, file in libraries if name not in self._known)
        if any(name.partition(".")[0] not in THERE for name, _ in new):
            self.learned.append(new)
            self._known.update(name for name, _ in new)

    def leave_out(self, package: str) -> None:
        """Leave a package to the sides."""
        self._left_out.add(package)

    def modules(self, index: int) -> list[tuple[str, str]]:
        """What was learned from one side, less what is left to the sides."""
        return [module for module in self.learned[index] if module[0].partition(".")[0] not in self._left_out]
