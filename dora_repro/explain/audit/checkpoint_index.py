"""An index of a file or folder that `save()` wrote: its values by digest and by name, for the save audit."""

import array
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dora_repro.checkpoint.opening import Kind, kind_of
from dora_repro.checkpoint.reading import leaves_of_file
from dora_repro.checkpoint.runs import is_checkpoint_name, run_of
from dora_repro.contracts import Value
from dora_repro.errors import BadInput
from dora_repro.state.digest import digest

Form = tuple[str, ...]  # the parts of a name
TensorForm = tuple[torch.dtype | np.dtype[Any], tuple[int, ...]]  # dtype and shape of a tensor or array
_WORDS = 624  # 32-bit words of the state of a Mersenne twister


class CheckpointIndex:
    """The values of a file, or of all files of a folder and of the folders inside it.

    Attributes:
        digests: key -> digest; a key begins with the file's name where it lies in a folder.
        plain: key -> value that is no tensor.
        words: key -> state of a Mersenne twister, packed.
        by_digest: digest -> keys of the tensors and arrays with these bytes.
        by_tail: end of a name -> keys that end so.
        problems: why files of a folder could not be read, one sentence each.

    Raises:
        BadInput: nothing could be read.
    """

    def __init__(self, files: Path) -> None:
        self.digests: dict[str, bytes] = {}
        self.plain: dict[str, Value] = {}
        self.words: dict[str, bytes] = {}
        self.by_digest: dict[bytes, list[str]] = {}
        self.by_tail: dict[Form, list[str]] = {}
        self.problems: tuple[str, ...] = ()
        self._forms: dict[str, TensorForm] = {}
        self._values: dict[str, tuple[Mapping[str, Value], str]] = {}  # key -> (leaves of its file, key there)
        if kind_of(files) is not Kind.FOLDER:
            self._add(leaves_of_file(files), "")
        else:
            self._add_folder(files)

    def __getitem__(self, key: str) -> Value:
        leaves, inside = self._values[key]
        return leaves[inside]

    def form(self, key: str) -> TensorForm | None:
        """Dtype and shape of a tensor or array; None for a plain value."""
        return self._forms.get(key)

    def _add_folder(self, folder: Path) -> None:
        problems: list[str] = []
        for path in _parts(folder):
            before = len(self.digests)
            try:
                self._add(leaves_of_file(path), f"{path.relative_to(folder).as_posix()}/")
            except BadInput as error:
                # A log or a picture beside the checkpoint is no damage to it.
                if is_checkpoint_name(path) or path.is_dir() or len(self.digests) > before:
                    problems.append(str(error))
        self.problems = tuple(problems)
        if not self.digests:
            raise BadInput(problems[0] if problems else f"cannot read {folder}: no file in it is a checkpoint")

    def _add(self, leaves: Mapping[str, Value], above: str) -> None:
        for inside in leaves:
            value, key = leaves[inside], above + inside if inside else above.rstrip("/")
            try:
                self.digests[key] = digest(value)
            except TypeError:  # an array of objects: no checkpoint needs one
                continue
            self._values[key] = leaves, inside
            if isinstance(value, (torch.Tensor, np.ndarray)):
                self.by_digest.setdefault(self.digests[key], []).append(key)
                self._forms[key] = value.dtype, tuple(value.shape)
            else:
                self.plain[key] = value
            if (words := _packed(value)) is not None:
                self.words[key] = words
            for tail in tails(key):
                self.by_tail.setdefault(tail, []).append(key)


def _parts(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those inside it, by name; a sharded checkpoint is one.

    Left out are hidden ones, and the earlier checkpoints of a run: an epoch or a step that one of them holds is that of
    another moment, however equal its number is to some other counter.
    """
    earlier = _earlier(folder)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path in earlier:
            continue
        if path.is_dir() and kind_of(path) is Kind.FOLDER:
            yield from _parts(path)
        else:
            yield path


def _earlier(folder: Path) -> frozenset[Path]:
    """The checkpoints of a run's folder but the last."""
    try:
        run = run_of(folder)
    except BadInput:
        return frozenset()
    if run is None:
        return frozenset()
    last = max(run.checkpoints)
    return frozenset(path for number, paths in run.checkpoints.items() if number < last for path in paths)


def _packed(value: Value) -> bytes | None:
    """The words of a Mersenne twister in any form that they are saved in, packed; None for any other value.

    Python's form has the position as one word more.
    """
    if isinstance(value, (list, tuple)) and len(value) in (_WORDS, _WORDS + 1):
        if all(type(item) is int and 0 <= item < 1 << 32 for item in value):
            return array.array("I", value).tobytes()
    if isinstance(value, torch.Tensor) and value.shape == (_WORDS,) and not value.is_floating_point():
        value = value.numpy()
    if isinstance(value, np.ndarray) and value.shape == (_WORDS,) and value.dtype.kind in "ui":
        return value.astype("<u4").tobytes()
    return None


def tails(key: str) -> Iterator[Form]:
    """The ends of a key that may name a leaf: its last part, each rest of that after a dot, its last two parts."""
    *above, last = key.split("/")
    last = last.lstrip("_") or last
    yield (last,)
    for dot in re.finditer(r"\.", last):
        yield (last[dot.end() :],)
    if above:
        yield (above[-1], last)


def score(form: Form, key: str, role: str) -> float:
    """How well the name of a leaf and a key agree: parts equal from the end count twice, others that both have once."""
    parts = [part.lstrip("_") or part for part in key.split("/")]
    equal = 0
    while equal < min(len(form), len(parts)) and form[-1 - equal] == parts[-1 - equal]:
        equal += 1
    shared = len(set(form[:-1]).intersection(parts[: len(parts) - max(equal, 1)]))
    # A bare state_dict is more likely the model's than that of an average of it.
    return 2 * equal + shared + (0.5 if role in ("parameter", "buffer") else 0)
