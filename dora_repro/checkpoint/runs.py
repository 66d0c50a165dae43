"""Which files of a folder belong to one checkpoint, and which checkpoints to one run: by their names alone.

Known are files `epoch7….pt` (this kit's, the study's two, beside each other or in folders such as `dora_params` and
`random_states`, Lightning's), `step20.pt`, folders `checkpoint-500` (peft, the Trainer, Accelerate); and, where no name
has a number, files that hold their own `epoch`. What is in a file, its name does not say (`contents.py`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_repro.checkpoint.components import by_word
from dora_repro.checkpoint.guard import guarded
from dora_repro.checkpoint.opening import Kind, kind_of, open_tree
from dora_repro.checkpoint.sharded import is_sharded
from dora_repro.checkpoint.walking import key_text
from dora_repro.errors import BadInput
from dora_repro.printable import named

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".safetensors", ".json")
MAX_FOLDERS = 200  # of one checkpoint, looked into

_NUMBER = re.compile(r"(?:^|[_.-])(epoch|ep|step|iter|iteration|checkpoint|ckpt)[=_-]?(\d{1,9})(?!\d)", re.IGNORECASE)
_UNITS = {"ckpt": "checkpoint", "ep": "epoch", "iter": "iteration"}
# Parts of one checkpoint, which have the number of a rank, an object or a step.
_INSIDE = re.compile(r"custom_checkpoint_\d+\..*|global_step\d+|pytorch_model_fsdp_\d+|optimizer_\d+")
_PARTS = re.compile(r"(?:saved_?)?(?:checkpoints?|ckpts?|weights|states?)", re.IGNORECASE)  # folders of such


@dataclass(frozen=True)
class RunFolder:
    """The checkpoints of a folder by number.

    Attributes:
        unit: what the numbers count: epoch, step, iteration or checkpoint.
        checkpoints: number -> its files and folders.
        aside: names of files that have no place among them.
    """

    unit: str
    checkpoints: dict[int, list[Path]]
    aside: list[str]


def checkpoints_of(folder: Path) -> RunFolder:
    """The checkpoints of a folder by the number in their names.

    Raises:
        BadInput: no such folder, or no checkpoint in it that has a number.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise BadInput(f"{named(folder)} is {what}: name a folder that holds the checkpoints of a run")
    found: dict[str, dict[int, list[Path]]] = {}
    others = []
    candidates = _candidates(folder)
    places = _places(candidates)
    for path in candidates:
        if path not in places:
            others.append(path)
        else:
            unit, number = places[path]
            found.setdefault(unit, {}).setdefault(number, []).append(path)
    if not found:
        found, others = _by_progress([path for path in others if not path.is_dir()])
    if not found:
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
        inside = f"; it holds the folders {', '.join(map(key_text, folders[:6]))}" if folders else ""
        raise BadInput(
            f"{named(folder)} holds no checkpoint with a number in its name (epoch3.pt, epoch3_dora_params.pth, "
            f"step20.pt, checkpoint-500){inside}: name the folder that a run saved to"
        )
    unit = max(found, key=lambda unit: (len(found[unit]), unit == "epoch"))
    aside = [path.name for path in others if path.suffix != ".json"]
    aside += [path.name for other in found if other != unit for paths in found[other].values() for path in paths]
    return RunFolder(unit, dict(sorted(found[unit].items())), sorted(aside))


def run_of(folder: Path) -> RunFolder | None:
    """The checkpoints of a folder, if it is that of a run; None if it is one checkpoint, or none."""
    if is_sharded(folder) or not folder.is_dir():
        return None
    numbers = set(_places(_candidates(folder)).values())
    known = is_one_checkpoint({path.name for path in folder.iterdir() if path.is_file()})
    inner = [path for path in _candidates(folder) if path.parent != folder or path.is_dir()]
    if any(numbered(path) is not None for path in inner):
        return checkpoints_of(folder)
    if known or len(numbers) == 1:
        return None
    try:
        found = checkpoints_of(folder)
    except BadInput:
        return None
    return found if len(found.checkpoints) > 1 else None


def is_one_checkpoint(names: set[str]) -> bool:
    """Whether files of these names, as a library writes them, are one checkpoint."""
    if {"trainer_state.json", "adapter_config.json"} & names:
        return True
    return any(name.startswith("random_states_") and name.endswith(".pkl") for name in names)


def numbered(path: Path) -> tuple[str, int] | None:
    """What the number in a name counts, and the number; None where there is none."""
    return next(iter(_numbers(path).items()), None)


def _numbers(path: Path) -> dict[str, int]:
    """All numbers in a name by what they count, the first of each: Lightning's `epoch=0-step=8.ckpt` has two."""
    found: dict[str, int] = {}
    for unit, number in () if _INSIDE.fullmatch(path.name) else _NUMBER.findall(path.name):
        found.setdefault(_UNITS.get(unit.lower(), unit.lower()), int(number))
    return found


def _places(paths: Sequence[Path]) -> dict[Path, tuple[str, int]]:
    """Each path's place in a series: the first number in its name, or the second, where that tells files of the first
    apart as several steps of one epoch, and is not counted anew in each."""
    every = {path: list(numbers.items()) for path in paths if (numbers := _numbers(path))}
    pairs = {(*numbers[0], *numbers[1]) for numbers in every.values() if len(numbers) > 1}
    of_epoch = Counter((unit, finer, number) for unit, number, finer, _ in pairs)
    of_step = Counter((unit, finer, number) for unit, _, finer, number in pairs)
    told_apart = {(unit, finer) for (unit, finer, _), count in of_epoch.items() if count > 1}
    told_apart -= {(unit, finer) for (unit, finer, _), count in of_step.items() if count > 1}

    def place(numbers: list[tuple[str, int]]) -> tuple[str, int]:
        units = tuple(unit for unit, _ in numbers[:2])
        return numbers[1] if units in told_apart else numbers[0]

    return {path: place(numbers) for path, numbers in every.items()}


def _candidates(folder: Path) -> list[Path]:
    """Checkpoint files, numbered folders, and the files in folders of parts; by name."""
    found = []
    parts = _folders_of_parts(folder)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if numbered(path) is not None:
                found.append(path)
            elif path in parts:
                found += _files_in(path)
        elif is_checkpoint_name(path):
            found.append(path)
    return found


def _files_in(folder: Path) -> list[Path]:
    """The checkpoint files and numbered folders in a folder of parts."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [path for path in visible if is_checkpoint_name(path) or (path.is_dir() and numbered(path))]


def _folders_of_parts(folder: Path) -> list[Path]:
    """The folders in a run's that hold one part of each checkpoint, as `dora_params` and `random_states` do; not the
    folders of several runs, whose files have the same names."""
    found: dict[tuple[str, frozenset[str]], list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith(".") or numbered(path) is not None:
            continue
        part = by_word(path.name) or ("any" if _PARTS.fullmatch(path.name) else "")
        names = frozenset(_without_number(file.name) for file in _files_in(path) if numbered(file) is not None)
        if part and names:
            found.setdefault((part, names), []).append(path)
    return [folders[0] for folders in found.values() if len(folders) == 1]


def _without_number(name: str) -> str:
    return _NUMBER.sub("", name)


def part_named(name: str) -> str:
    """The component that a file's name speaks of, its number aside; empty where it speaks of none."""
    return by_word(_without_number(name.rpartition("/")[2].partition(".")[0]))


def is_checkpoint_name(path: Path) -> bool:
    """Whether a file has the name of a checkpoint: `.pth.tar` is what many loops call one that is no archive."""
    return path.suffix in CHECKPOINT_SUFFIXES or path.name.endswith((".pth.tar", ".pt.tar"))


def members(folder: Path) -> list[Path]:
    """The files of a folder that may be parts of one checkpoint, and sharded folders in it; by name, those of its own
    before those of the folders in it.

    Raises:
        BadInput: there are none, or the folder cannot be listed.
    """
    with guarded(folder):
        files = _members(folder)
    if not files:
        raise BadInput(
            f"cannot read {named(folder)}: no file in it is a checkpoint ({' '.join(CHECKPOINT_SUFFIXES)}); name one"
        )
    return files


def _members(folder: Path) -> list[Path]:
    found, waiting, looked = [], [folder], 0
    while waiting and looked < MAX_FOLDERS:
        place, looked = waiting.pop(0), looked + 1
        visible = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
        found += [path for path in visible if is_checkpoint_name(path) and path.is_file()]
        folders = [path for path in visible if path.is_dir() and not path.is_symlink()]
        found += [path for path in folders if is_sharded(path)]
        waiting += [path for path in folders if not is_sharded(path)]
    return found


def beside(file: Path) -> list[Path]:
    """Other files of the checkpoint that one file is a part of, where names say which: those of a library's folder, and
    those with the same number that are named after another part, also in the folders beside its own.

    Raises:
        BadInput: a folder cannot be listed.
    """
    with guarded(file.parent):
        if is_one_checkpoint({path.name for path in file.parent.iterdir()}):
            return [path for path in _members(file.parent) if path.resolve() != file.resolve()]
        number = numbered(file)
        if number is None:
            return []
        mine = _part(file)
        places = [file.parent]
        if by_word(file.parent.name) and file.parent in _folders_of_parts(file.parent.parent):
            places += [folder for folder in _folders_of_parts(file.parent.parent) if folder != file.parent]
        mates = (path for place in places for path in _files_in(place) if numbered(path) == number and path.is_file())
        own = _numbers(file)
        others = [path for path in mates if all(own.get(unit, at) == at for unit, at in _numbers(path).items())]
        parts = [_part(path) for path in others]
        return [
            path
            for path, part in zip(others, parts, strict=True)
            if mine and part and part != mine and parts.count(part) == 1
        ]


def _part(file: Path) -> str:
    """The part of a checkpoint that a file is named after, or else its folder."""
    return part_named(file.name) or by_word(file.parent.name)


def _by_progress(files: Sequence[Path]) -> tuple[dict[str, dict[int, list[Path]]], list[Path]]:
    """Files by the epoch stored in them, and those that have none or cannot be read."""
    found: dict[int, list[Path]] = {}
    others = []
    for file in files:
        epoch = _stored_epoch(file)
        if epoch is None:
            others.append(file)
        else:
            found.setdefault(epoch, []).append(file)
    return ({"epoch": found} if found else {}), others


def _stored_epoch(file: Path) -> int | None:
    try:
        with guarded(file):
            root = None if kind_of(file) is Kind.TRACE else open_tree(file).root
    except BadInput:
        return None
    if not isinstance(root, dict):
        return None
    progress = root.get("progress")
    epoch = progress.get("epoch") if isinstance(progress, dict) else root.get("epoch")
    return epoch if type(epoch) is int and 0 <= epoch < 10**9 else None
