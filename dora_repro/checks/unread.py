"""What a function leaves in variables that it gives another value before it reads them: no loss, whatever it is."""

from collections.abc import Iterator
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
        made_anew: what another object holds in the resumed run, equal to one that the reference holds in such a
            variable, too: a callback that a library has made from the checkpoint.
        left_over: what the resumed run has in that variable instead.
    """

    variables: frozenset[str]
    ends: tuple[Snapshot, Snapshot]
    shared: frozenset[str]
    made_anew: frozenset[str] = frozenset()
    left_over: frozenset[str] = frozenset()

    @classmethod
    def of(cls, reference: Evidence, resumed: Evidence) -> "Unread":
        """That of two sides that have come to their end."""
        both = [frozenset(side.result["overwritten"]) for side in (reference, resumed)]
        variables, ends = both[0] & both[1], (reference.end, resumed.end)
        if not variables:
            return cls(variables, ends, frozenset())
        aliases = ((path, leaf) for end in ends for path, leaf in end.items() if leaf.role == "alias")
        shared = (str(leaf.value).removeprefix("= ") for path, leaf in aliases if not variables & {*_above(path)})
        anew = [*_made_anew(*ends, variables)]
        made = frozenset(f"{path}{at}" for path, _ in anew for at in ("", *_inside(resumed.end, path)))
        left = frozenset(f"{at}{name}" for _, at in anew for end in ends for name in _inside(end, at))
        return cls(variables, ends, frozenset(shared), made, left)

    def __call__(self, path: str) -> bool:
        if path in self.left_over:
            return True
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


def _made_anew(reference: Snapshot, resumed: Snapshot, variables: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The objects that the reference holds in such a variable and under another name, and the resumed run by that name
    alone, with the same state: by that name, and by that of the variable."""
    for path, leaf in reference.items():
        target = str(leaf.value).removeprefix("= ")
        if leaf.role != "alias" or variables.isdisjoint(_above(target)) or not variables.isdisjoint(_above(path)):
            continue
        theirs = _inside(reference, target)
        if path not in resumed and theirs and theirs == _inside(resumed, path):
            yield path, target


def _inside(snapshot: Snapshot, path: str) -> dict[str, bytes]:
    """The digests of what an object holds, by the paths inside it."""
    return {at.removeprefix(path): leaf.digest for at, leaf in snapshot.items() if at.startswith(f"{path}/")}


def _above(path: str) -> list[str]:
    """The paths that lead to a path, from the outermost to itself."""
    return [*sorted(ancestors([path]), key=len), path]
