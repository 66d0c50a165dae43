"""What one cause has lost, as plain data, and its paths and values as code; and what to add, as plain data."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dora_repro.contracts import Value
from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.advice.expressions import Kinds, quoted, without_functions
from dora_repro.state.forms import Form
from dora_repro.state.rebuild import PARTS, VARIABLES
from dora_repro.state.snapshot import SavedLeaf, Snapshot

STATE = re.compile(r"(?<![\w.\"])state(?=\[)")  # no attribute, and not in a key


@dataclass(frozen=True)
class Advice:
    """What to add.

    Attributes:
        save: lines of code for save().
        load: lines of code for load().
        sentence: what the lines do not say.
        further: sentences on what lines alone do not fix.
        file: for a checkpoint of several files, the one that the lines of load read; empty for that at `path`.
    """

    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    sentence: str = ""
    further: tuple[str, ...] = ()
    file: str = ""


def in_place_of_state(advice: Advice, name: str) -> Advice:
    """The same advice, with lines that fill and read another dict than `state`, what is at the checkpoint's path."""
    save, load = (tuple(STATE.sub(name, line) for line in lines) for lines in (advice.save, advice.load))
    return replace(advice, save=save, load=load)


@dataclass(frozen=True)
class LostState:
    """The leaves of one cause.

    Attributes:
        paths: paths of the leaves; at least one.
        saved: the reference's leaves at the save.
        kinds: kinds of the reference's containers at the save.
        keys: how code reads the checkpoint, where it has the leaves' values; None where it lacks them.
        nothing_there: whether the resumed run has nothing of their kind in their place.
        loaded: the resumed run's state after loading; None where that is not known.
        plain: whether to save no more than the leaves, and nothing by a state_dict.
    """

    paths: tuple[str, ...]
    saved: Mapping[str, SavedLeaf]
    kinds: Kinds
    keys: CheckpointKeys | None = None
    nothing_there: bool = False
    loaded: Mapping[str, SavedLeaf] | None = None
    plain: bool = False

    @property
    def forms(self) -> Mapping[str, Form]:
        """The forms of what the reference held at the save, by path."""
        return self.saved.forms if isinstance(self.saved, Snapshot) else {}

    @property
    def first(self) -> str:
        """The first path."""
        return self.paths[0]

    @property
    def root(self) -> str:
        """The name of the run's object that the first leaf lies in."""
        return self.first.partition("/")[0]


def saved_value(lost: LostState, path: str) -> Value:
    """The value of a leaf at the save; None where there was no such leaf."""
    leaf = lost.saved.get(path)
    return None if leaf is None else leaf.value


def expression(lost: LostState, path: str) -> str:
    """A path as an expression."""
    return expressions.code(path, lost.kinds)


def dotted_expression(lost: LostState, path: str) -> str:
    """A path to a module or tensor as an expression, where its name in a module may have dots."""
    return expressions.dotted_code(path, lost.kinds)


def state_key(lost: LostState, path: str) -> str:
    """Code for a leaf's saved value: in the file, or under its own path in what the lines of save fill."""
    return lost.keys.value(path) if lost.keys else f"state[{quoted(without_functions(path, lost.kinds))}]"


def owner_key(lost: LostState, owner: str) -> str:
    """Code for the saved value of an object that the first leaf lies in, as a whole."""
    if lost.keys is None:
        return f"state[{quoted(without_functions(owner, lost.kinds))}]"
    return lost.keys.value(owner) if owner == lost.first else lost.keys.whole(_most_telling(lost, owner), owner)


def _most_telling(lost: LostState, owner: str) -> str:
    """Of the leaves in an object the one that is in the fewest places of a file, where a count of steps is in many; of
    several such the largest, and the first."""
    inside = [path for path in lost.paths if path.startswith(f"{owner}/")] or [lost.first]

    def telling(path: str) -> tuple[float, int]:
        places = 0 if lost.keys is None else lost.keys.places(path)
        return -places if places else -math.inf, getattr(saved_value(lost, path), "nbytes", 0)

    return max(inside, key=telling)


def optimizer_of(lost: LostState) -> str:
    """The path of the optimizer that the first leaf belongs to."""
    before, group, _ = lost.first.partition("/group.")
    if group:
        return before
    state = lost.first.rpartition("/")[0]  # of one parameter: a dict, which may hold others
    while state.rpartition("/")[0] in lost.kinds:
        state = state.rpartition("/")[0]
    return state.rpartition("/")[0] if state in lost.kinds else lost.root


def holder_of(lost: LostState) -> str:
    """The list or dict that holds all leaves, where there is one; else the first leaf. Objects on the way have their
    own attributes to be set: what holds them is not it."""
    above = lost.first
    while above := above.rpartition("/")[0]:
        is_container = above in lost.kinds and lost.kinds[above].name not in (VARIABLES, PARTS)
        if is_container and all(path.startswith(f"{above}/") for path in lost.paths):
            return above
        if above in lost.forms and above not in lost.kinds:
            break
    return lost.first


def keyed_by_objects(lost: LostState, path: str) -> dict[str, str]:
    """For a dict whose keys are objects: text of a key -> path of that object."""
    return dict(lost.kinds[path].keyed) if path in lost.kinds else {}


def outermost_module(lost: LostState, path: str) -> str:
    """The path of the outermost module that a module lies in; its own where it lies in none."""
    parts = path.split("/")
    above = ("/".join(parts[:index]) for index in range(1, len(parts)))
    return next((module for module in above if f"{module}/training" in lost.saved), path)


def of_each(advise: Callable[[LostState], Advice], lost: LostState, owner_of: Callable[[str], str]) -> Advice:
    """Advise on the leaves of each owner (a module, an optimizer, a container) by itself, where they have several."""
    owners: dict[str, list[str]] = {}
    for path in lost.paths:
        owners.setdefault(owner_of(path), []).append(path)
    return _together([advise(replace(lost, paths=tuple(paths))) for paths in owners.values()])


def _together(parts: Sequence[Advice]) -> Advice:
    """Advice on several things as one, each line and sentence once."""
    return Advice(
        tuple(dict.fromkeys(line for part in parts for line in part.save)),
        tuple(dict.fromkeys(line for part in parts for line in part.load)),
        " ".join(dict.fromkeys(part.sentence for part in parts if part.sentence)),
        tuple(dict.fromkeys(sentence for part in parts for sentence in part.further)),
        parts[0].file,
    )


def under_free_keys(advice: Advice, taken: Iterable[str]) -> Advice:
    """Advice whose lines leave some keys of the user's own dict as they are, and use others.

    Args:
        advice: its lines fill `state`.
        taken: keys that hold something else.
    """
    for key in taken:
        other = re.compile(rf"{STATE.pattern}\[{re.escape(quoted(key))}\]")
        free = f"state[{quoted(f'{key}, itself')}]".replace("\\", r"\\")
        save = tuple(other.sub(free, line) for line in advice.save)
        advice = replace(advice, save=save, load=tuple(other.sub(free, line) for line in advice.load))
    return advice
