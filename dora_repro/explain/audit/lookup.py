"""Where a leaf of a live run is in a file.

Files are searched by content: a tensor is in the file when its bytes are, under whatever key. Names only decide where
bytes do not: for plain values, for tensors that say nothing by themselves (all zeros, a step count), and to tell a
value that is wrong in the file from one that is not there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import eq
from typing import TypeGuard

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.explain.audit.checkpoint_index import CheckpointIndex, Form, score, tails
from dora_repro.state.digest import digest, is_dense
from dora_repro.state.draws import draws_between, in_words
from dora_repro.state.snapshot import SavedLeaf, Snapshot

SAVED, CAST, STALE, MISPLACED, ABSENT = "saved", "cast", "stale", "misplaced", "absent"
SKIPPED = frozenset({"structure", "alias", "flag", "data", "gradient"})
_SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64"}
_OF_OPTIMIZERS = frozenset({"moment", "option"})
# Words that occur in a key of a global generator's state.
_GLOBAL_WORDS = frozenset({"rng", "random", "torch", "cpu", "numpy", "np", "python", "cuda", "generator"})


@dataclass(frozen=True)
class SaveStatus:
    """What became of one leaf in the file.

    Attributes:
        status: `saved`, `cast` (in another dtype), `stale` (other bytes under its name), `misplaced` (another leaf's
            bytes under its name), `absent`.
        keys: keys of the file that hold it, the likeliest first.
        dtype: dtype of the file's tensor, where it was cast.
        other: the leaf whose bytes are in its place.
        near: a key of an absent leaf's last name alone, which has another value.
        draws: of a generator, how many draws the file's state is ahead of the run's; negative where it is an earlier
            one, None where they are not the same stream or not known to be.
    """

    status: str
    keys: tuple[str, ...] = ()
    dtype: str = ""
    other: str = ""
    draws: int | None = None
    near: str = ""

    def __str__(self) -> str:
        if self.status == SAVED:
            return f"in the checkpoint as `{self.keys[0]}`"
        if self.status == CAST:
            return f"in the checkpoint in another dtype ({self.dtype})"
        if self.status == STALE and self.draws:
            which = "an earlier" if self.draws < 0 else "a later"
            return f"{which} state is in the checkpoint as `{self.keys[0]}` ({in_words(self.draws)})"
        if self.status == STALE:
            return "in the checkpoint with other values than the run had"
        if self.status == MISPLACED:
            return f"in the checkpoint with the values of `{self.other}`"
        return "not in the checkpoint" + (f" (its `{self.near}` has another value)" if self.near else "")


class Lookup:
    """Finds the leaves of a state in a file."""

    def __init__(self, live: Snapshot, index: CheckpointIndex) -> None:
        self._live, self._index = live, index
        self._positions = _positions(live)
        self._by_digest: dict[bytes, list[str]] = {}
        self._by_tail: dict[Form, list[str]] = {}
        self._forms: dict[str, tuple[Form, ...]] = {}
        for path, leaf in live.items():
            if leaf.role in SKIPPED:
                continue
            self._forms[path] = self._forms_of(leaf)
            for tail in {_tail(form, leaf.role) for form in self._forms[path]}:
                self._by_tail.setdefault(tail, []).append(path)
            if leaf.value is None or isinstance(leaf.value, (torch.Tensor, np.ndarray)):
                self._by_digest.setdefault(leaf.digest, []).append(path)

    def find(self, leaf: SavedLeaf) -> SaveStatus:
        """Say what became of a leaf in the file."""
        if leaf.role == "generator" and isinstance(leaf.value, tuple):
            return self._generator(leaf, leaf.value)
        if leaf.kept and not isinstance(leaf.value, (torch.Tensor, np.ndarray)):
            return self._plain(leaf)
        return self._tensor(leaf)

    def _tensor(self, leaf: SavedLeaf) -> SaveStatus:
        found = (key for own in _digests(leaf) for key in self._index.by_digest.get(own, ()))
        keys = [key for key in found if not self._is_of_its_twin(leaf, key)]
        named = self._named(leaf)
        if says_nothing(leaf.value):
            keys = [key for key in keys if key in named]
            if not keys and _number(leaf.value) is not None:  # a step count that is a plain number in the file
                keys = [k for k in named if _number(self._index.plain.get(k)) == _number(leaf.value)]
        if keys:
            return SaveStatus(SAVED, tuple(sorted(keys, key=lambda key: -self._agrees(leaf.path, key))))
        for key in named:
            if dtype := self._cast(leaf, key):
                return SaveStatus(CAST, (key,), dtype)
        if leaf.role == "generator" and isinstance(leaf.value, torch.Tensor):
            return self._torch_generator(leaf, leaf.value, named)
        elsewhere = None if says_nothing(leaf.value) else self._cast_anywhere(leaf.value)
        return elsewhere or self._replaced(leaf, named)

    def _is_of_its_twin(self, leaf: SavedLeaf, key: str) -> bool:
        """Whether a key names another leaf that has the same bytes now, which may be by chance: a copy of the
        best weights, taken at this save, is not in the file because the weights are."""
        mine = self._agrees(leaf.path, key)
        twins = self._by_digest.get(leaf.digest, ())
        return any(self._agrees(twin, key) > mine for twin in twins if twin != leaf.path)

    def _replaced(self, leaf: SavedLeaf, named: list[str]) -> SaveStatus:
        """What has other bytes under a leaf's name: its own older ones, or those of another leaf."""
        for key in named:
            form = self._index.form(key)
            if form is None or (_shape(leaf.value) is not None and form[1] != _shape(leaf.value)):
                continue
            if not self._is_its_name(leaf, key):
                return SaveStatus(ABSENT, near=_telling(key))
            others = [path for path in self._by_digest.get(self._index.digests[key], ()) if self._is_rival(path, leaf)]
            if others and not says_nothing(self._index[key]):
                return SaveStatus(MISPLACED, (key,), other=others[0])
            return SaveStatus(STALE, (key,))
        return SaveStatus(ABSENT)

    def _cast(self, leaf: SavedLeaf, key: str) -> str:
        """The dtype in which a key has this leaf's values; empty where it does not have them."""
        form, value = self._index.form(key), leaf.value
        if form is None or not isinstance(value, torch.Tensor) or not is_dense(value) or form[1] != tuple(value.shape):
            return ""
        dtype = form[0]
        if not isinstance(dtype, torch.dtype):
            return ""
        if dtype == value.dtype or digest(value.to(dtype)) != self._index.digests[key]:
            return ""
        name = str(dtype).removeprefix("torch.")
        return _SHORT.get(name, name)

    def _cast_anywhere(self, value: Value) -> SaveStatus | None:
        """A tensor's values in another dtype, under a key that does not name it: by position, or by another name."""
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return None
        for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
            keys = self._index.by_digest.get(digest(value.to(dtype))) if dtype != value.dtype else None
            if keys:
                return SaveStatus(CAST, tuple(keys), _SHORT[str(dtype).removeprefix("torch.")])
        return None

    def _plain(self, leaf: SavedLeaf) -> SaveStatus:
        named = self._named(leaf)
        keys = tuple(key for key in named if self._same(leaf.value, key))
        if keys:
            return SaveStatus(SAVED, keys)
        if named and not self._is_its_name(leaf, named[0]):
            return SaveStatus(ABSENT, near=_telling(named[0]))
        return SaveStatus(STALE, tuple(named[:1])) if named else SaveStatus(ABSENT)

    def _is_its_name(self, leaf: SavedLeaf, key: str) -> bool:
        """Whether a key is the name of a leaf, or one the end of the other; the last part alone may be anything's."""
        parts, forms = _parts(key), [_parts("/".join(form)) for form in self._forms[leaf.path]]
        equal = [sum(takewhile(bool, map(eq, reversed(form), reversed(parts)))) for form in forms]
        return any(same > 1 or same in (len(form), len(parts)) for same, form in zip(equal, forms, strict=True))

    def _same(self, value: Value, key: str) -> bool:
        stored = self._index[key]
        number = _number(stored)
        if isinstance(stored, (torch.Tensor, np.ndarray)) or number is not None:
            return number is not None and number == _number(value)
        return _listed(stored) == _listed(value)

    # --- generators ------------------------------------------------------------------------------------------------

    def _torch_generator(self, leaf: SavedLeaf, state: torch.Tensor, named: list[str]) -> SaveStatus:
        """A torch generator whose bytes are not in the file: does a state of no other generator have its place?"""
        wanted = (torch.uint8, tuple(state.shape))
        like = [key for key in self._index.digests if self._index.form(key) == wanted]
        others = {path for path in self._forms if path != leaf.path and self._live[path].role == "generator"}
        taken = {self._live[path].digest for path in others}
        found = self._older(leaf, [key for key in like if self._index.digests[key] not in taken], named)
        if found.status != STALE:
            return found
        draws = {key: draws_between(state, stored) for key in found.keys if _is_state(stored := self._index[key])}
        nearest = sorted((abs(number), key) for key, number in draws.items() if number)
        if not nearest:
            return found
        return replace(found, keys=(nearest[0][1],), draws=draws[nearest[0][1]])

    def _generator(self, leaf: SavedLeaf, state: tuple[Value, ...]) -> SaveStatus:
        """A generator of Python's or numpy's."""
        like = self._states_like(state)
        found = [key for key, same in like.items() if same]
        if found:
            return SaveStatus(SAVED, tuple(sorted(found, key=lambda key: -self._agrees(leaf.path, key))))
        if earlier := self._same_stream(state):
            return earlier
        others = (self._live[path] for path in self._forms if path != leaf.path)
        states = [other.value for other in others if other.role == "generator" and isinstance(other.value, tuple)]
        theirs = {key for other in states for key, same in self._states_like(other).items() if same}
        return self._older(leaf, [key for key in like if key not in theirs], [])

    def _same_stream(self, state: tuple[Value, ...]) -> SaveStatus | None:
        """Another state of a Mersenne Twister of Python's, whatever its name: some draws from this one."""
        words = state[2] if state[:1] == ("words",) else None
        if not isinstance(words, bytes):
            return None
        stored = self._index.words.items()
        like = {key: (*state[:2], own, *state[3:]) for key, own in stored if len(own) == len(words)}
        draws = {key: draws_between(state, other) for key, other in like.items()}
        nearest = sorted((abs(number), key) for key, number in draws.items() if number)
        return SaveStatus(STALE, (nearest[0][1],), draws=draws[nearest[0][1]]) if nearest else None

    def _states_like(self, state: tuple[Value, ...]) -> dict[str, bool]:
        """The keys that hold a state of this kind, and whether it is this one."""
        if state[:1] == ("words",):
            words = state[2]
            stored = self._index.words.items()
            return {key: own == words for key, own in stored if isinstance(words, bytes) and len(own) == len(words)}
        return dict(self._numpy_states(dict(zip(map(str, state[::2]), state[1::2], strict=True))))

    def _numpy_states(self, state: Mapping[str, Value]) -> Iterator[tuple[str, bool]]:
        """(key, whether it is this state) of each state of this kind in the file, as a tuple or as a dict."""
        index = self._index
        words = state.get("state/key:<u4")
        if isinstance(words, bytes):
            for key, stored in index.words.items():
                above, _, last = key.rpartition("/")
                if len(stored) != len(words):
                    continue
                at = index.plain.get(f"{above}/pos" if last == "key" else f"{above}/2" if above else "2")
                yield key, stored == words and at in (None, state.get("state/pos"))
            return
        names = [name for name in state if ":" not in name]
        first = next((name for name in names if name.startswith("state/")), None)
        if first is None:
            return
        for key in index.plain:
            if key == first or key.endswith(f"/{first}"):
                base = key.removesuffix(first)
                if index.plain.get(f"{base}bit_generator", state["bit_generator"]) == state["bit_generator"]:
                    yield key, all(index.plain.get(f"{base}{name}", state[name]) == state[name] for name in names)

    def _older(self, leaf: SavedLeaf, like: list[str], named: list[str]) -> SaveStatus:
        """Another state of such a generator, under a name that fits."""
        own = _words(leaf.path)
        wanted = own & _GLOBAL_WORDS if leaf.path.startswith("rng/") else own
        fitting = [key for key in like if key in named or wanted & _words(key)]
        return SaveStatus(STALE, tuple(fitting)) if fitting else SaveStatus(ABSENT)

    # --- by name ---------------------------------------------------------------------------------------------------

    def _forms_of(self, leaf: SavedLeaf) -> tuple[Form, ...]:
        """The names that a leaf may have in a file: its own, and for an optimizer's state that by position."""
        parts = leaf.path.split("/")
        own = (*parts[:-1], parts[-1].lstrip("_") or parts[-1])
        for index in range(1, len(parts) - 1) if leaf.role in ("option", "moment") else ():
            optimizer, name, rest = tuple(parts[:index]), parts[index], own[index + 1 :]
            if leaf.role == "option" and re.fullmatch(r"group\.\d+", name):
                return own, (*optimizer, "param_groups", name.removeprefix("group."), *rest)
            if leaf.role == "moment" and (optimizer, name) in self._positions:
                at = self._positions[optimizer, name]
                return own, (*optimizer, "state", at, *rest), (*optimizer, "state", name, *rest)
        return (own,)

    def _agrees(self, path: str, key: str) -> float:
        return max(score(form, key, self._live[path].role) for form in self._forms[path])

    def _named(self, leaf: SavedLeaf) -> list[str]:
        """Keys that end like the leaf's name and mean no other leaf, the likeliest first."""
        seen: dict[str, None] = {}
        for form in self._forms[leaf.path]:
            seen.update(dict.fromkeys(self._index.by_tail.get(_tail(form, leaf.role), ())))
        keys = [key for key in seen if self._is_meant(leaf, key)]
        return sorted(keys, key=lambda key: -self._agrees(leaf.path, key))

    def _is_meant(self, leaf: SavedLeaf, key: str) -> bool:
        """Whether no other leaf's name agrees better with a key, or as well and with its very value."""
        mine, stored = self._agrees(leaf.path, key), self._index.digests[key]
        own = stored == leaf.digest
        for rival in {path for tail in tails(key) for path in self._by_tail.get(tail, ())}:
            if not self._is_rival(rival, leaf):
                continue
            theirs = self._agrees(rival, key)
            if theirs > mine or (theirs == mine and not own and self._live[rival].digest == stored):
                return False
        return True

    def _is_rival(self, path: str, leaf: SavedLeaf) -> bool:
        """Whether a key may mean another leaf in place of this one.

        A copy of moments in a dict is no rival of the moments: a variable often holds what was just written, under the
        very keys of the file.
        """
        return path != leaf.path and (leaf.role not in _OF_OPTIMIZERS or self._live[path].role in _OF_OPTIMIZERS)


def _is_state(stored: Value) -> TypeGuard[torch.Tensor]:
    """Whether a value of the file is a tensor, as torch's generators give their state."""
    return isinstance(stored, torch.Tensor)


def _tail(form: Form, role: str) -> Form:
    """The end of a name that a key must have: for optimizer state the parameter (or group) as well."""
    return form[-2:] if role in ("moment", "option") else form[-1:]


def _positions(live: Snapshot) -> dict[tuple[Form, str], str]:
    """(optimizer, parameter) -> its position over all groups, as `state_dict()` numbers them."""
    found: dict[tuple[Form, str], str] = {}
    counts: dict[Form, int] = {}
    for path, leaf in live.items():
        if re.search(r"/group\.\d+/params$", path) and isinstance(leaf.value, (list, tuple)):
            at = tuple(path.split("/")[:-2])
            for name in leaf.value:
                found[at, name] = str(counts.setdefault(at, 0))
                counts[at] += 1
    return found


def _parts(name: str) -> list[str]:
    """The parts of a name, those between dots as well."""
    return [part.lstrip("_") or part for part in re.split(r"[/.]", name)]


def _words(name: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[^a-z]+", name.lower()) if word)


def _shape(value: Value) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, (torch.Tensor, np.ndarray)) else None


def _digests(leaf: SavedLeaf) -> list[bytes]:
    """Digests of a leaf, and of the same numbers as an array or a tensor, whichever it is not."""
    found = [leaf.digest]
    try:
        if isinstance(leaf.value, torch.Tensor):
            found.append(digest(leaf.value.detach().numpy()))
        elif isinstance(leaf.value, np.ndarray):
            found.append(digest(torch.from_numpy(leaf.value.copy())))
    except (TypeError, RuntimeError, ValueError):  # a dtype that the other lacks
        pass
    return found


def _telling(key: str) -> str:
    """A key whose last part is a name; empty for the position in a list, which any list has."""
    return "" if key.rpartition("/")[2].isdigit() else key


def says_nothing(value: Value) -> bool:
    """Whether a tensor's values identify nothing: one number repeated, or no number."""
    if not isinstance(value, torch.Tensor) or not is_dense(value):
        return False
    return value.numel() < 2 or bool((value == value.reshape(-1)[0]).all())


def _number(value: Value) -> complex | None:
    """A number, or that of a tensor or array with one element; None for anything else."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.item() if int(np.prod(tuple(value.shape))) == 1 else None
    return value if isinstance(value, (int, float, complex)) and not isinstance(value, bool) else None


def _listed(value: Value) -> list[Value] | tuple[str, str]:
    """The same value with its tuples as lists, as JSON and other formats store it, and with the bits of its floats."""
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return (type(value).__name__, repr(value))
