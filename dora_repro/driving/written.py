"""Which files of a folder were written after which step, or inside which one."""

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.opening import kind_of
from dora_repro.errors import BadInput

Stamp = tuple[int, int, int]  # modification time in ns, size in bytes, inode

NO_CHECKPOINTS = (".json", ".jsonl", ".csv", ".txt", ".log", ".yaml", ".yml", ".md", ".png", ".svg", ".html")
_COPY = re.compile(r"best(?![a-z])|best_?model|(?<![a-z])ema(?![a-z])")
_TO_RESUME = re.compile(r"\d|epoch|step|last|latest|current|resume|checkpoint|ckpt(?!$)|state|snapshot")
_LESS = 0.9  # two files of the same content differ a little in size: the name of a file is in it
_CONFIG, _ADAPTER_CONFIG = "config.json", "adapter_config.json"
_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")  # as transformers names them
_NUMBER = re.compile(r"\d+")
_BESIDE = ".more"  # a file that is written beside a checkpoint, as advised lines do


@dataclass(frozen=True)
class Moment:
    """When a file was written: once a step was over, or in the middle of one.

    Attributes:
        step: the step that was over, or that was being done.
        passes: number of its backward passes that were over; None where all of it was.
        batches: number of backward passes since the function was called.
        all_passes: whether its update followed, and no further backward pass.
        again: whether a forward pass followed.
    """

    step: int
    passes: int | None = None
    batches: int = 0
    all_passes: bool = False
    again: bool = False


class Written:
    """Watches a folder by looking at it between steps, and before the backward passes and the update of each.

    Args:
        folder: the folder.

    Attributes:
        at: path of a file -> when it was last written.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._stamps = stamps(folder)
        self.at: dict[Path, Moment] = {}

    def look(self, moment: Moment) -> None:
        """Note what was written since the last look as written at a moment."""
        now = stamps(self._folder)
        self.at.update({path: moment for path, stamp in now.items() if self._stamps.get(path) != stamp})
        self.at = {path: when for path, when in self.at.items() if path in now}
        self._stamps = now

    def checkpoints(self) -> dict[Path, Moment]:
        """The files among them that may hold tensors: no logs, tables or pictures."""
        return {path: when for path, when in self.at.items() if _may_be_checkpoint(path)}


@dataclass(frozen=True)
class Newest:
    """The checkpoint of a folder to resume from.

    Attributes:
        path: a file, or a folder of its own whose files were all written with it.
        passed_over: the younger one that was not taken; None where it is the youngest.
        why: why not, in words.
    """

    path: Path
    passed_over: Path | None = None
    why: str = ""


def newest(folder: Path) -> Path | None:
    """The checkpoint in a folder to resume from: its path, as `newest_of` chooses it; None if there is none."""
    found = newest_of(folder)
    return None if found is None else found.path


def newest_of(folder: Path) -> Newest | None:
    """The checkpoint in a folder to resume from: the youngest that has an optimizer's state and is no copy of the best.

    One that has none gives way to one that has it beside a model's: weights alone are written to be used, and what
    resumes beside them. Where none has it, or what the youngest holds cannot be told, the youngest counts as it is.
    One that is named as a copy of the best state so far loses only against a file that is named as a checkpoint and is
    no smaller: a script may write nothing else to resume from, and what it writes beside may be a vocabulary.

    Args:
        folder: where a run wrote; looked at with its sub-folders.

    Returns:
        None if there is none.
    """
    found = _by_age(folder)
    if not found:
        return None
    first, why = found[0][0], ""
    if _lacks(first, "optimizer"):
        having = [(path, size) for path, size in found[1:] if not _lacks(path, "optimizer")]
        if having and not _lacks(having[0][0], "model"):  # else the optimizer is in a file of its own
            found, why = having, "holds no state of an optimizer"
    youngest, size = found[0]
    if _names(_COPY, youngest, folder):
        others = (path for path, its in found[1:] if its >= _LESS * size and not _names(_COPY, path, folder))
        better = next((path for path in others if _names(_TO_RESUME, path, folder)), None)
        if better is not None:
            return Newest(better, first, why or "is named as a copy of the best state")
    return Newest(youngest) if youngest == first else Newest(youngest, first, why)


def _lacks(path: Path, part: str) -> bool:
    """Whether a checkpoint, with the files that belong to it, certainly lacks this part of a training."""
    try:
        return part in {lack.part for lack in inspect(path).missing}
    except BadInput:
        return False


def _by_age(folder: Path) -> list[tuple[Path, int]]:
    """The checkpoints of a folder and their sizes, the youngest first; those of one folder count as one."""
    files = {path: stamp for path, stamp in stamps(folder).items() if _may_be_checkpoint(path)}
    beside = Counter(path.parent for path in files)
    sizes: dict[Path, int] = {}
    for path in sorted(files, key=lambda path: (files[path][0], str(path)), reverse=True):
        parent = path.parent
        together = beside[parent] > 1 and parent.name[-1:].isdigit()
        whole = parent != folder and (together or _is_saved_model(parent) or _is_one_of_a_series(path))
        checkpoint = parent if whole else path
        sizes[checkpoint] = sizes.get(checkpoint, 0) + files[path][1]
    return list(sizes.items())


def _is_saved_model(folder: Path) -> bool:
    """Whether a folder is what `save_pretrained` writes: a model or an adapter, read again by the folder's name."""
    there = {path.name for path in folder.iterdir()}
    return _ADAPTER_CONFIG in there or (_CONFIG in there and any(map(_WEIGHTS.fullmatch, there)))


def _is_one_of_a_series(file: Path) -> bool:
    """Whether a file is in a folder of its own for each step, with JSON beside it: `step_10/model.safetensors`."""
    own = file.parent
    form = _NUMBER.sub("", own.name)
    if form == own.name or not any(own.glob("*.json")):
        return False
    others = (one for one in own.parent.iterdir() if one != own and _NUMBER.sub("", one.name) == form)
    return any((one / file.name).is_file() for one in others)


def _names(words: re.Pattern[str], path: Path, folder: Path) -> bool:
    return words.search(str(path.relative_to(folder)).lower()) is not None


def _may_be_checkpoint(path: Path) -> bool:
    if path.suffix.lower() in (*NO_CHECKPOINTS, _BESIDE) or not path.stat().st_size:
        return False
    try:
        kind_of(path)
    except BadInput:
        return False
    return True


def stamps(folder: Path) -> dict[Path, Stamp]:
    """What tells whether a file of a folder, or of one in it, was written to: by path."""
    found: dict[Path, Stamp] = {}
    waiting = [folder]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # removed or renamed meanwhile
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file():
                        about = entry.stat()
                        found[Path(entry.path)] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found
