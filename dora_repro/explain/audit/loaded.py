"""The load audit: what became of each leaf that differs right after loading, and what `load_state_dict` left out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch

from dora_repro.comparison.leaves import describe
from dora_repro.difference import LeafDifference, generator_distance
from dora_repro.explain.audit.lookup import says_nothing
from dora_repro.state.digest import digest
from dora_repro.state.snapshot import SavedLeaf, Snapshot

OTHER = "other values"
_HALVES = {torch.bfloat16: "bf16", torch.float16: "f16"}
_NARROWER = _HALVES | {torch.float32: "f32"}
_MAGNITUDES = re.compile(r"(^|[./])(m|lora_magnitude_vector|magnitude)([./]|$)")  # of DoRA, in the names that it has
_ZERO_AT_FIRST = re.compile(r"(^|[./_])(lora_B|delta_D_B|lora_embedding_B)([./]|$)")  # the low-rank factor B
_PARAMETERS_OF_GROUP = re.compile(r"/group\.\d+/params$")
_OF_NO_MODEL = re.compile(r"group\.\d+\.params\.\d+")  # the name of a tensor that only an optimizer has
PREFIXES = ("module.", "_orig_mod.", "model.", "base_model.model.")
_SHOWN = 3  # keys


def audit_load(
    saved: Snapshot,
    loaded: Snapshot,
    differences: Iterable[LeafDifference],
    bases: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, str]:
    """Words for what became of each differing leaf.

    Args:
        saved: the reference's state at the save; loaded: the resumed run's after loading.
        differences: of the two.
        bases: path -> frozen weight, where snapshots keep these by digest alone: to know a DoRA magnitude that was
            made anew from its base weight.
    """
    return _Audit(saved, loaded, bases or {}).all(differences)


class _Audit:
    def __init__(self, saved: Snapshot, loaded: Snapshot, bases: Mapping[str, torch.Tensor]):
        self._saved, self._loaded, self._bases = saved, loaded, bases
        self._owners: dict[bytes, list[str]] = {}  # digest -> the reference's leaves that had it
        for path, leaf in saved.items():
            if isinstance(leaf.value, torch.Tensor) and not says_nothing(leaf.value):
                self._owners.setdefault(leaf.digest, []).append(path)

    def all(self, differences: Iterable[LeafDifference]) -> dict[str, str]:
        return {difference.path: self._words(difference) for difference in differences}

    def _words(self, difference: LeafDifference) -> str:
        path = difference.path
        was, now = self._saved.get(path), self._loaded.get(path)
        if was is None:
            return _tied("retied", now, None) if now is not None and now.role == "alias" else "not in the reference"
        if now is None:
            return f"untied: {_target(was)} is not shared any more" if was.role == "alias" else "lost"
        if "alias" in (was.role, now.role):
            return _tied("untied" if was.role == "alias" else "retied", now, was)
        if was.role == "generator":
            return _moved(difference)
        if isinstance(was.value, torch.Tensor) and isinstance(now.value, torch.Tensor):
            return self._tensors(path, was, now)
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
        if was.kept and now.kept and type(was.value) is not type(now.value):
            return f"recast: {_type(was)} became {_type(now)}"
        return OTHER

    def _tensors(self, path: str, was: SavedLeaf, now: SavedLeaf) -> str:
        before, after = was.value, now.value
        if not all(value.layout is torch.strided and not value.is_quantized for value in (before, after)):
            return OTHER
        if before.shape != after.shape:
            return self._reshaped(path, before, after)
        if before.dtype != after.dtype:
            exact = digest(before.to(after.dtype)) == now.digest or digest(after.to(before.dtype)) == was.digest
            words = f"recast: {describe(before)} became {describe(after)}"
            return words if exact else f"{words}, with other values"
        if again := self._made_anew(path, before, after):
            return again
        for narrow, name in _NARROWER.items():
            wider = before.is_floating_point() and before.dtype.itemsize > narrow.itemsize
            if wider and digest(before.to(narrow).to(before.dtype)) == now.digest:
                return f"recast: rounded to {name} and back"
        if before.ndim == 2 and torch.equal(before.T, after):
            return "reshaped: transposed"
        others = [other for other in self._owners.get(now.digest, ()) if other != path]
        if others:
            alike = [other for other in others if other.rpartition("/")[2] == path.rpartition("/")[2]]
            return f"misplaced: it holds what `{(alike or others)[0]}` had"
        if was.role == "moment" and not after.any() and before.any():
            return "reset to zeros"
        return OTHER

    def _reshaped(self, path: str, before: torch.Tensor, after: torch.Tensor) -> str:
        words = f"reshaped: {describe(before)} became {describe(after)}"
        if before.ndim == 2 and before.shape[::-1] == after.shape and torch.equal(before.T, after):
            return f"{words}, transposed"
        if before.numel() == after.numel() and torch.equal(before.reshape(-1), after.reshape(-1)):
            return f"{words}, the same numbers"
        if _MAGNITUDES.search(path):
            norms = self._norms(path)
            if any(_close(after, norm) for norm in norms) or any(after.numel() == norm.numel() for norm in norms):
                return f"{words}: a magnitude on the other axis"
            if _axis(before) != _axis(after):
                return f"{words}: on the other axis"
        return words

    def _made_anew(self, path: str, before: torch.Tensor, after: torch.Tensor) -> str:
        """Words for a DoRA magnitude or a low-rank factor that is as it was before training."""
        if _ZERO_AT_FIRST.search(path.partition("/")[2]) and before.any() and not after.any():
            return "re-initialised: all zeros"
        if _MAGNITUDES.search(path) and any(_close(after, norm) for norm in self._norms(path)):
            return "re-initialised: the norms of the base weight"
        return ""

    def _norms(self, path: str) -> list[torch.Tensor]:
        """Lengths of the rows and of the columns of the matrices that lie in the magnitude's own module."""
        module = path[: _MAGNITUDES.search(path).start()]
        matrices: dict[str, torch.Tensor] = {}
        for leaves in (self._saved, self._loaded):
            for other, leaf in leaves.items():
                if other.startswith((f"{module}.", f"{module}/")) and _is_weight(leaf):
                    matrices.setdefault(f"{other} {leaf.digest.hex()}", leaf.value)
        for other, value in self._bases.items():
            if other.startswith((f"{module}.", f"{module}/")) and value.ndim > 1:
                matrices[other] = value
        flat = (value.detach().to(torch.float64).flatten(1) for value in matrices.values())
        return [matrix.norm(dim=axis) for matrix in flat for axis in (1, 0)]


def _is_weight(leaf: SavedLeaf) -> bool:
    """A matrix of a model that is no low-rank factor."""
    if leaf.role not in ("parameter", "buffer") or not isinstance(leaf.value, torch.Tensor) or leaf.value.ndim < 2:
        return False
    return not re.search(r"lora_[AB]|delta_D_[AB]|embedding_[AB]", leaf.path) and leaf.value.is_floating_point()


def _close(value: torch.Tensor, norm: torch.Tensor) -> bool:
    """Equal up to the rounding of another kernel, or of a half."""
    coarse = 1e-2 if value.dtype in _HALVES else 1e-5
    flat = value.detach().to(torch.float64).reshape(-1)
    return flat.shape == norm.shape and bool(torch.allclose(flat, norm, rtol=coarse, atol=0.0))


def _axis(value: torch.Tensor) -> object:
    """The axis that a vector lies on; its length where it has but one."""
    long = [axis for axis, size in enumerate(value.shape) if size > 1]
    return (value.ndim, *long) if value.ndim > 1 else value.numel()


def _stepped(was: object, now: object) -> str:
    """How the parameters of an optimizer's group are others than they were."""
    if not isinstance(was, (list, tuple)) or not isinstance(now, (list, tuple)):
        return OTHER
    if any(_OF_NO_MODEL.fullmatch(name) for name in now) and not any(_OF_NO_MODEL.fullmatch(name) for name in was):
        return "steps tensors that no model has: the model's were replaced while loading"
    gone, come = ([name for name in one if name not in other] for one, other in ((was, now), (now, was)))
    if gone and come:
        return f"steps {_few(come)} in place of {_few(gone)}"
    return f"does not step {_few(gone)}" if gone else f"steps {_few(come)} besides" if come else "in another order"


def _target(leaf: SavedLeaf) -> str:
    return f"`{str(leaf.value).removeprefix('= ')}`"


def _tied(kind: str, now: SavedLeaf, was: SavedLeaf | None) -> str:
    if kind == "untied":
        if now.role == "alias":
            return f"retied: it is now {_target(now)}, not {_target(was)}"
        return f"untied: it is no longer the same as {_target(was)}"
    return f"retied: it is now the same as {_target(now)}"


def _moved(difference: LeafDifference) -> str:
    return generator_distance(difference.draws)


def _type(leaf: SavedLeaf) -> str:
    value = leaf.value
    return describe(value) if isinstance(value, torch.Tensor) else type(value).__name__


# --- what load_state_dict left out -----------------------------------------------------------------------------------


def keys_told(notes: Sequence[Mapping]) -> tuple[str, ...]:
    """What `WatchedLoading` noted, as sentences; none for a call that took all it got and filled all there was."""
    told: dict[str, None] = {}
    for note in notes:
        for sentence in _optimizer_told(note) if note.get("what") == "optimizer" else _module_told(note):
            told.setdefault(sentence)
    return tuple(told)


def _optimizer_told(note: Mapping) -> Iterable[str]:
    name = f"{note['class']}.load_state_dict"
    if note["error"]:
        yield f"{name} raised {note['error']}"
    elif note["parameters"] and not note["given"] and not note["stateless"]:
        yield (
            f"{name} got no state for any of {note['parameters']} parameters: it was taken before the first step, or "
            "of another optimizer"
        )


def _module_told(note: Mapping) -> Iterable[str]:
    if note["error"]:
        yield f"{note['class']}.load_state_dict raised {note['error']}"
        return
    missing, unexpected = note["missing"], note["unexpected"]
    if unexpected:
        count = f"strict=False ignored {note['unexpected_count']} of {note['given']} keys of the file"
        yield f"{count}: {_why(missing, unexpected)}"
    elif missing:
        total = note["given"] + note["missing_count"]
        yield (
            f"strict=False left {note['missing_count']} of {total} keys of {note['class']} as they were "
            f"({_few(missing)}): the file lacks them"
        )


def _why(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """What tells the keys of a file from those that were wanted."""
    wanted, strange = set(missing), set(unexpected)
    for prefix in _prefixes(unexpected):
        if all(key.startswith(prefix) for key in unexpected) and _meets(
            {key.removeprefix(prefix) for key in strange}, wanted
        ):
            return f"all begin with `{prefix}`; strip the prefix"
    for prefix in _prefixes(missing):
        if _meets({prefix + key for key in strange}, wanted):
            return f"the model's begin with `{prefix}`; put it before them"
    for name in _adapters(missing):
        for prefix in ("", *_prefixes(missing)):
            if _meets({_with_adapter(prefix + key, name) for key in strange}, wanted):
                also = f" and begin with `{prefix}`" if prefix else ""
                return f"the model's have the adapter's name `.{name}` in them{also}; put it in"
    for name in _adapters(unexpected):
        for prefix in ("", *_prefixes(unexpected)):
            if _meets({key.removeprefix(prefix).replace(f".{name}", "", 1) for key in strange}, wanted):
                also = f" and begin with `{prefix}`" if prefix else ""
                return f"they have the adapter's name `.{name}` in them{also}; take it out"
    if not missing:
        return f"the model has no such ones ({_few(unexpected)})"
    return f"{_few(unexpected)}; the model's {len(missing)} that stay as they were are named otherwise: {_few(missing)}"


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Known prefixes that the keys have, several in a row as well, the shortest first."""
    found: dict[str, None] = {}
    for key in keys:
        whole, more = "", True
        while more:
            more = next((prefix for prefix in sorted(PREFIXES, key=len) if key.startswith(whole + prefix)), "")
            whole += more
            if more:
                found.setdefault(whole)
        for prefix in PREFIXES:
            if key.startswith(prefix):
                found.setdefault(prefix)
    return sorted(found, key=len)


def _adapters(keys: Iterable[str]) -> list[str]:
    """Names of adapters in keys: what follows a factor's or a magnitude's name."""
    found: dict[str, None] = {}
    for key in keys:
        for part, name in pairwise(key.split(".")):
            if re.fullmatch(r"lora_\w+", part) and name not in ("weight", "bias"):
                found.setdefault(name)
    return list(found)


def _with_adapter(key: str, name: str) -> str:
    return re.sub(r"(^|\.)(lora_\w+)", lambda found: f"{found[0]}.{name}", key, count=1)


def _meets(changed: set[str], wanted: set[str]) -> bool:
    """Whether most of the changed keys are wanted ones."""
    return 2 * len(changed & wanted) > len(changed) > 0


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(f"`{key}`" for key in keys[:_SHOWN]) + more
