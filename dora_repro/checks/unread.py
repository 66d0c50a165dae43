"""What a function leaves in variables that it gives another value before it reads them: no loss, whatever it is."""

from dataclasses import dataclass

from dora_repro.sides.evidence import Evidence
from dora_repro.state.paths import ancestors
from dora_repro.state.snapshot import Snapshot

_PLAIN = ("dict", "list", "tuple")
_ROLES = ("memory", "alias")


@dataclass(frozen=True)
class Unread:
    """Tells whether a leaf that differs at the end is nothing that a step could read.

    Attributes:
        variables: those of functions half done that both sides give another value first, by path.
        ends: both sides at their end.
        shared: what other leaves are another name of.
    """

    variables: frozenset[str]
    ends: tuple[Snapshot, Snapshot]
    shared: frozenset[str]

    @classmethod
    def of(cls, reference: Evidence, resumed: Evidence) -> "Unread":
        """That of two sides that have come to their end."""
        both = [frozenset(side.result["overwritten"]) for side in (reference, resumed)]
        variables, ends = both[0] & both[1], (reference.end, resumed.end)
        if not variables:
            return cls(variables, ends, frozenset())
        aliases = ((path, leaf) for end in ends for path, leaf in end.items() if leaf.role == "alias")
        shared = (str(leaf.value).removeprefix("= ") for path, leaf in aliases if not variables & {*_above(path)})
        return cls(variables, ends, frozenset(shared))

    def __call__(self, path: str) -> bool:
        variable = next((above for above in _above(path) if above in self.variables), None)
        if variable is None:
            return False
        leaves = [leaf for end in self.ends if (leaf := end.leaf(path)) is not None]
        if any(leaf.role not in _ROLES for leaf in leaves):
            return False
        if all(leaf.role == "alias" for leaf in leaves):
            return True
        between = [above for above in _above(path)[:-1] if above == variable or above.startswith(f"{variable}/")]
        kinds = [end.kinds[above].name for end in self.ends for above in between if above in end.kinds]
        objects = any(above in end.forms and above not in end.kinds for end in self.ends for above in between)
        if objects or not {*kinds} <= {*_PLAIN}:
            return False  # what an object does with it shows in no variable
        inside = (*between, path)
        return not any(name in inside or name.startswith(f"{path}/") for name in self.shared)


def _above(path: str) -> list[str]:
    """The paths that lead to a path, from the outermost to itself."""
    return [*sorted(ancestors([path]), key=len), path]
