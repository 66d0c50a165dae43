"""The load audit: what became of each leaf that differs right after loading, in words."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch

from dora_repro.comparison.leaves import describe
from dora_repro.contracts import Value
from dora_repro.difference import LeafDifference, generator_distance
from dora_repro.explain.audit.lookup import says_nothing
from dora_repro.state.digest import digest, is_dense
from dora_repro.state.rebuild import VARIABLES
from dora_repro.state.snapshot import SavedLeaf, Snapshot

OTHER = "other values"
ONLY_THERE = "only in the resumed run"
_HALVES = {torch.bfloat16: "bf16", torch.float16: "f16"}
_NARROWER = _HALVES | {torch.float32: "f32"}
_MAGNITUDES = re.compile(r"(^|[./])(m|lora_magnitude_vector|magnitude)([./]|$)")  # of DoRA, in the names that it has
_ZERO_AT_FIRST = re.compile(r"(^|[./_])(lora_B|delta_D_B|lora_embedding_B)([./]|$)")  # the low-rank factor B
_PARAMETERS_OF_GROUP = re.compile(r"/group\.\d+/params$")
_OF_NO_MODEL = re.compile(r"group\.\d+\.params\.\d+")  # the name of a tensor that only an optimizer has
_SHOWN = 3  # names


def audit_load(
    saved: Snapshot,
    loaded: Snapshot,
    differences: Iterable[LeafDifference],
    bases: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, str]:
    """Say what became of each differing leaf: path -> words.

    Args:
        saved: the reference's state at the save.
        loaded: the resumed run's state after loading.
        differences: differences of the two.
        bases: path -> frozen weight, where snapshots keep these by digest alone: to recognise a DoRA magnitude that
            was initialised anew from its base weight.
    """
    return _Audit(saved, loaded, bases or {}).all(differences)


class _Audit:
    def __init__(self, saved: Snapshot, loaded: Snapshot, bases: Mapping[str, torch.Tensor]) -> None:
        self._saved, self._loaded, self._bases = saved, loaded, bases
        self._owners: dict[bytes, list[str]] = {}  # digest -> the reference's leaves that had it
        for path, leaf in saved.items():
            if isinstance(leaf.value, torch.Tensor) and (not says_nothing(leaf.value) or _is_one_number(leaf.value)):
                self._owners.setdefault(leaf.digest, []).append(path)

    def all(self, differences: Iterable[LeafDifference]) -> dict[str, str]:
        return {difference.path: self._words(difference) for difference in differences}

    def _words(self, difference: LeafDifference) -> str:
        path = difference.path
        if difference.kind == "type" and self._differ_in_form(path):
            return in_place_of(difference.actual, difference.expected)
        if difference.kind == "order":
            return f"its keys are in another order: {difference.actual} in place of {difference.expected}"
        was, now = self._saved.get(path), self._loaded.get(path)
        if was is None:
            return _retied(now) if now is not None and now.role == "alias" else ONLY_THERE
        if now is None:
            return f"untied: {_target(was)} is no longer shared" if was.role == "alias" else "lost"
        if was.role == "alias":
            return _untied(was, now)
        if now.role == "alias":
            return _retied(now)
        if was.role == "generator":
            return _moved(difference)
        if isinstance(was.value, torch.Tensor) and isinstance(now.value, torch.Tensor):
            return self._tensors(path, (was.value, was.digest), (now.value, now.digest), was.role)
        if was.role == "parameter" and not was.kept and not now.kept:
            return "frozen weights differ"
        if _PARAMETERS_OF_GROUP.search(path):
            return _stepped(was.value, now.value)
        if path.endswith("/requires_grad"):
            return "frozen" if was.value else "no longer frozen"
        if path.endswith("/training"):
            return "in evaluation mode" if was.value else "in training mode"
        if was.kept and now.kept and now.value is None:
            return "lost: None in its place"
        if isinstance(was.value, torch.Tensor) and str(now.value).startswith("uninitialized "):
            return "lost: a lazy tensor, which has no shape yet, in its place"
        if was.kept and now.kept and type(was.value) is not type(now.value):
            return f"recast: {_type(was)} became {_type(now)}"
        return OTHER

    def _differ_in_form(self, path: str) -> bool:
        """Whether what is there differs in its form, and not in the type of a plain value."""
        was, now = self._saved.get(path), self._loaded.get(path)
        if was is None or now is None:
            return was is now
        return type(was.value) is type(now.value) and not isinstance(was.value, torch.Tensor)

    def _tensors(self, path: str, was: tuple[torch.Tensor, bytes], now: tuple[torch.Tensor, bytes], role: str) -> str:
        """Words for a tensor that differs; `was` and `now` are the tensors with their digests."""
        (before, old_digest), (after, new_digest) = was, now
        if not (is_dense(before) and is_dense(after)):
            return OTHER
        if before.shape != after.shape:
            return self._reshaped(path, before, after, new_digest)
        if before.dtype != after.dtype:
            exact = digest(before.to(after.dtype)) == new_digest or digest(after.to(before.dtype)) == old_digest
            words = f"recast: {describe(before)} became {describe(after)}"
            return words if exact else f"{words}, with other values"
        if again := self._made_anew(path, before, after):
            return again
        told = after.numel() == 1 or bool((after != after.flatten()[0]).any())  # ones are ones in any dtype
        for narrow, name in _NARROWER.items():
            wider = told and before.is_floating_point() and before.dtype.itemsize > narrow.itemsize
            if wider and digest(before.to(narrow).to(before.dtype)) == new_digest:
                return f"recast: rounded to {name} and back"
        if before.ndim == 2 and torch.equal(before.T, after):
            return "reshaped: transposed"
        words = self._of_other(path, new_digest)
        if words and not (role == "memory" and self._is_as_it_was(self._owner(path, new_digest))):
            return words
        if role == "moment" and not after.any() and before.any():
            return "reset to zeros"
        return OTHER

    def _object_of(self, path: str) -> str:
        """The run's object that a leaf lies in: an attribute, or a variable of a function that is half done."""
        parts = path.split("/")
        depth = max((n for n in range(1, len(parts)) if self._is_function("/".join(parts[:n]))), default=0)
        return "/".join(parts[: depth + 1])

    def _is_function(self, path: str) -> bool:
        kind = self._saved.kinds.get(path) if isinstance(self._saved, Snapshot) else None
        return kind is not None and kind.name == VARIABLES

    def _owner(self, path: str, digest_now: bytes) -> str:
        """The reference's leaf that had the bytes which another has now: one of the same name in its place, if any."""
        others = [other for other in self._owners.get(digest_now, ()) if other != path]
        alike = [other for other in others if other.rpartition("/")[2] == path.rpartition("/")[2]]
        if others and _is_one_number(self._saved[others[0]].value):  # which may be anything's
            others = []
        return (alike or others or [""])[0]

    def _is_as_it_was(self, path: str) -> bool:
        """Whether a leaf has its own bytes after loading: a tensor of the run that has them too began with them."""
        return path in self._loaded and self._loaded[path].digest == self._saved[path].digest

    def _of_other(self, path: str, digest_now: bytes) -> str:
        """Words for a tensor that has what another leaf of the reference had; empty where none had it."""
        other = self._owner(path, digest_now)
        if not other:
            return ""
        same = self._object_of(other) == self._object_of(path)  # else a copy that was made anew, perhaps
        return f"misplaced: it holds what `{other}` had" if same else f"{OTHER}: those that `{other}` had"

    def _reshaped(self, path: str, before: torch.Tensor, after: torch.Tensor, digest_now: bytes) -> str:
        words = f"reshaped: {describe(before)} became {describe(after)}"
        if before.ndim == 2 and before.shape[::-1] == after.shape and torch.equal(before.T, after):
            return f"{words}, transposed"
        if before.numel() == after.numel() and torch.equal(before.reshape(-1), after.reshape(-1)):
            return f"{words}, the same numbers"
        if of_other := self._of_other(path, digest_now):
            return f"{of_other}, in another shape"
        if _MAGNITUDES.search(path):
            norms = self._norms(path)
            if any(_close(after, norm) for norm in norms) or any(after.numel() == norm.numel() for norm in norms):
                return f"{words}: a magnitude on the other axis"
            if _axis(before) != _axis(after):
                return f"{words}: on the other axis"
        return words

    def _made_anew(self, path: str, before: torch.Tensor, after: torch.Tensor) -> str:
        """Words for a DoRA magnitude or a low-rank factor that has its initial value; empty for all else."""
        if _ZERO_AT_FIRST.search(path.partition("/")[2]) and before.any() and not after.any():
            return "re-initialised: all zeros"
        if _MAGNITUDES.search(path) and any(_close(after, norm) for norm in self._norms(path)):
            return "re-initialised: the norms of the base weight"
        return ""

    def _norms(self, path: str) -> list[torch.Tensor]:
        """Norms of the rows and of the columns of the matrices that lie in the magnitude's own module."""
        name = _MAGNITUDES.search(path)
        module = path[: name.start()] if name else path
        matrices: dict[str, torch.Tensor] = {}
        for leaves in (self._saved, self._loaded):
            for other, leaf in leaves.items():
                weight = _weight(leaf) if other.startswith((f"{module}.", f"{module}/")) else None
                if weight is not None:
                    matrices.setdefault(f"{other} {leaf.digest.hex()}", weight)
        for other, value in self._bases.items():
            if other.startswith((f"{module}.", f"{module}/")) and value.ndim > 1:
                matrices[other] = value
        flat = (value.detach().to(torch.float64).flatten(1) for value in matrices.values())
        return [matrix.norm(dim=axis) for matrix in flat for axis in (1, 0)]


def _is_one_number(value: Value) -> bool:
    """Whether it is a tensor of one number that is not zero."""
    if not isinstance(value, torch.Tensor) or not is_dense(value):
        return False
    return value.numel() == 1 and bool(value.any())


def _weight(leaf: SavedLeaf) -> torch.Tensor | None:
    """A matrix of a model that is no low-rank factor; None for any other leaf."""
    value = leaf.value
    if leaf.role not in ("parameter", "buffer") or not isinstance(value, torch.Tensor) or value.ndim < 2:
        return None
    factor = re.search(r"lora_[AB]|delta_D_[AB]|embedding_[AB]", leaf.path)
    return value if not factor and value.is_floating_point() else None


def _close(value: torch.Tensor, norm: torch.Tensor) -> bool:
    """Whether both are equal up to the rounding of another kernel, or of half precision."""
    coarse = 1e-2 if value.dtype in _HALVES else 1e-5
    flat = value.detach().to(torch.float64).reshape(-1)
    return flat.shape == norm.shape and bool(torch.allclose(flat, norm, rtol=coarse, atol=0.0))


def _axis(value: torch.Tensor) -> tuple[int, ...] | int:
    """The axis that a vector lies on; its length where it has only one."""
    long = [axis for axis, size in enumerate(value.shape) if size > 1]
    return (value.ndim, *long) if value.ndim > 1 else value.numel()


def _stepped(was: Value, now: Value) -> str:
    """How the parameters of an optimizer's group differ from what they were."""
    if not isinstance(was, (list, tuple)) or not isinstance(now, (list, tuple)):
        return OTHER
    if any(_OF_NO_MODEL.fullmatch(name) for name in now) and not any(_OF_NO_MODEL.fullmatch(name) for name in was):
        return "steps tensors that the run no longer has: they were replaced while loading"
    gone, come = ([name for name in one if name not in other] for one, other in ((was, now), (now, was)))
    if gone and come:
        return f"steps {_few(come)} in place of {_few(gone)}"
    return f"does not step {_few(gone)}" if gone else f"also steps {_few(come)}" if come else "in a different order"


def _target(leaf: SavedLeaf) -> str:
    return f"`{str(leaf.value).removeprefix('= ')}`"


def _untied(was: SavedLeaf, now: SavedLeaf) -> str:
    if now.role == "alias":
        return f"retied: it is now {_target(now)}, not {_target(was)}"
    return f"untied: it is no longer the same as {_target(was)}"


def _retied(now: SavedLeaf) -> str:
    return f"retied: it is now the same as {_target(now)}"


def _moved(difference: LeafDifference) -> str:
    return generator_distance(difference.draws)


def _type(leaf: SavedLeaf) -> str:
    value = leaf.value
    return describe(value) if isinstance(value, torch.Tensor) else type(value).__name__


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more


def in_place_of(actual: str, expected: str) -> str:
    """Words for an object that is there in place of one of another form."""
    return f"{_with_article(actual)} in place of {_with_article(expected)}"


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"
