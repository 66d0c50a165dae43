"""What a checkpoint holds, by component, and what an exact resume from it would lack.

`inspect` lists from keys, forms and sizes: no bytes of tensors are read, so that a file of any size takes the memory of
its list. Known by their marks: this kit's file, the study's two, adapters of peft, folders of the transformers Trainer
and of Accelerate, checkpoints of Lightning, folders of torch.distributed.checkpoint; a plain state_dict, that of an
optimizer, and anything else, read by its keys and by what lies under them (`components.py`). A run's folder is a series
of checkpoints, and a file is listed with what lies beside it of the same one (`runs.py`). None of these libraries is
imported.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch

from dora_repro.checkpoint.components import COMPONENTS, Entry, Lack, Role, judge, lacks, role_in_layout
from dora_repro.checkpoint.forms import GENERATORS, Form, form_of
from dora_repro.checkpoint.guard import FileValue, guarded, uncollected
from dora_repro.checkpoint.layouts import KIT_FORMAT, RANDOM_STATE_KEYS, is_study_name
from dora_repro.checkpoint.opening import Kind, Tree, kind_of, open_tree
from dora_repro.checkpoint.reading import files_of_checkpoint
from dora_repro.checkpoint.runs import RunFolder, beside, is_one_checkpoint, members, part_named, run_of
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import TensorEntry
from dora_repro.checkpoint.walking import Judge, key_text, leaf_value, walk
from dora_repro.errors import BadInput

LAYOUTS = {
    "kit": "checkpoint of this kit",
    "study parameters": "the study's DoRA parameters (dora-only)",
    "study random states": "the study's random states",
    "accelerate states": "random states of Accelerate",
    "study folder": "folder of the study's files",
    "peft": "folder of a peft adapter",
    "peft weights": "weights of a peft adapter",
    "trainer": "folder of the transformers Trainer",
    "accelerate": "folder of Accelerate",
    "lightning": "Lightning checkpoint",
    "dcp": "folder of torch.distributed.checkpoint",
    "state_dict": "state_dict of a model",
    "optimizer": "state_dict of an optimizer",
    "folder": "folder of checkpoint files",
    "run": "folder of a run",
    "generic": "file of an unknown layout, read by its keys",
}
TEXT_LENGTH = 60
_NUMBERS = {int: "int", float: "float", bool: "bool"}


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds, as `inspect` lists it.

    Attributes:
        path: of the file or folder.
        layout: a key of LAYOUTS.
        file_format: "torch zip", "torch legacy", "pickle", "safetensors", "dcp", "json" or "folder".
        entries: its leaves, in the order of the file.
        stubs: names of what would have been objects, once each.
        missing: what an exact resume would lack, over all files of the checkpoint: those beside it, too. Of a run, what
            each of its checkpoints lacks.
        notes: what else there is to know, one sentence each.
        checkpoints: of a run, its checkpoints by number; empty for one checkpoint.
        unit: what these numbers count.
    """

    path: str
    layout: str
    file_format: str
    entries: tuple[Entry, ...]
    stubs: tuple[str, ...]
    missing: tuple[Lack, ...]
    notes: tuple[str, ...] = ()
    checkpoints: "tuple[tuple[int, Contents], ...]" = ()
    unit: str = ""

    @property
    def description(self) -> str:
        return LAYOUTS[self.layout]

    @property
    def components(self) -> dict[str, tuple[Entry, ...]]:
        """The entries by component, in the order of COMPONENTS; components without entries are left out."""
        groups: dict[str, list[Entry]] = {name: [] for name in COMPONENTS}
        for entry in self.entries:
            groups[entry.component].append(entry)
        return {name: tuple(group) for name, group in groups.items() if group}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors and arrays listed; shared storage counts once per view."""
        return sum(entry.nbytes for entry in self.entries)


def inspect(path: str | os.PathLike[str]) -> Contents:
    """List a checkpoint file or folder, or the folder of a run, without reading the bytes of its tensors.

    Checksums of tensors are therefore not checked here (`reading.read` does). What a file lacks is looked for in the
    files beside it that belong to the same checkpoint, too.

    Raises:
        BadInput: missing, empty, truncated, damaged, hostile or no checkpoint.
    """
    path = Path(path)
    if kind_of(path) is Kind.FOLDER:
        with guarded(path):
            run = run_of(path)
        return look(path) if run is None else _of_run(path, run)
    found = look(path)
    return found if not found.missing or path.is_dir() else _with_neighbours(found, path)


def look(path: str | os.PathLike[str]) -> Contents:
    """As `inspect`, of one file or of the folder of one checkpoint alone.

    Raises:
        BadInput: as `inspect`.
    """
    path = Path(path)
    if kind_of(path) is not Kind.FOLDER:
        return _of_files(path, {"": path}, "")
    files = {file.relative_to(path).as_posix(): file for file in members(path)}
    found = _of_files(path, files, _folder_layout(set(files)))
    read = {file.parent if file.is_file() else file for file in files.values()}
    with guarded(path):
        folders = [
            inner
            for inner in sorted(path.iterdir())
            if inner.is_dir() and not any(inner == place or inner in place.parents for place in read)
        ]
    if not folders:
        return found
    names = ", ".join(key_text(inner.name) for inner in folders[:10])
    return replace(found, notes=(f"not read: the folders {names}", *found.notes))


def _of_run(folder: Path, run: RunFolder) -> Contents:
    """The checkpoints of a run's folder, each over all of its files."""
    checkpoints, unread = [], list[str]()
    for number, paths in run.checkpoints.items():
        try:
            files = files_of_checkpoint(paths)
            layout = _folder_layout(set(files)) if len(paths) > 1 or paths[0].is_dir() else ""
            checkpoints.append((number, _of_files(folder, files, layout)))
        except BadInput as error:
            if len(unread) == len(run.checkpoints) - 1:
                raise
            unread.append(f"{run.unit} {number} is left out: {error}")
    entries = tuple(
        entry._replace(path=f"{run.unit}{number}/{entry.path}") for number, one in checkpoints for entry in one.entries
    )
    stubs = tuple(dict.fromkeys(name for _, one in checkpoints for name in one.stubs))
    every = [set(one.missing) for _, one in checkpoints]
    missing = tuple(lack for lack in checkpoints[0][1].missing if all(lack in lacking for lacking in every))
    notes = (*unread, *dict.fromkeys(note for _, one in checkpoints for note in one.notes))
    if run.aside:
        notes += (f"not part of the series: {', '.join(map(key_text, run.aside[:10]))}",)
    return Contents(str(folder), "run", "folder", entries, stubs, missing, notes, tuple(checkpoints), run.unit)


def _with_neighbours(found: Contents, path: Path) -> Contents:
    """What a file lacks, less what lies beside it in files of the same checkpoint."""
    others = []
    for file in beside(path):
        with guarded(file):
            others.append((file, look(file)))
    helpful = [(file, one) for file, one in others if one.missing != lacks(())]
    if not helpful:
        return found
    names_beside = {file.name for file, _ in others if file.parent == path.parent} | {path.name}
    layout = _folder_layout(names_beside) if is_one_checkpoint(names_beside) else found.layout
    missing = lacks([*found.entries, *(entry for _, one in helpful for entry in one.entries)], layout)
    if found.missing == missing:
        return found
    parts = [", ".join(name for name in one.components if name != "other") for _, one in helpful]
    places = [key_text(os.path.relpath(file, path.parent)) for file, _ in helpful]
    names = ", ".join(f"{place} ({held})" for place, held in zip(places, parts, strict=True))
    return replace(found, missing=missing, notes=(*found.notes, f"beside it, of the same checkpoint: {names}"))


def _of_files(path: Path, files: Mapping[str, Path], layout: str) -> Contents:
    """What files hold together; the layout and format are those of the file, where it is one alone."""
    entries: list[Entry] = []
    stubs: list[str] = []
    layouts, file_format = [], "folder"
    for name, file in files.items():
        with guarded(file), uncollected():
            tree = open_tree(file)
            own = _file_layout(tree.root, tree.kind)
            above = f"{name}/" if name else ""
            entries += _entries(tree, above, own, part_named(name), stubs)
        layouts.append(own)
        file_format = "folder" if name else tree.kind
    layout = layout or (layouts[0] if len(layouts) == 1 else "folder")
    missing = lacks(entries, layout)
    found = Contents(str(path), layout, file_format, tuple(entries), tuple(dict.fromkeys(stubs)), missing)
    return replace(found, notes=_notes(found))


def _notes(found: Contents) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    parts = found.components
    if "adapter" in parts and "model" not in parts:
        notes += ("the weights under the adapter are not in the file; the run must build the same ones",)
    if found.layout == "trainer":
        notes += ("the Trainer finds its place in the data by its seed, and by skipping global_step steps",)
    if found.file_format == "dcp":
        notes += ("listed as its metadata says: whether the shards hold this shows once they are read",)
    if found.layout in ("generic", "folder"):
        notes += ("the layout is unknown: components are told by the keys, and by the form of what lies under them",)
    return notes


def _entries(tree: Tree, above: str, layout: str, hint: str, stubs: list[str]) -> list[Entry]:
    """The leaves of one file, described.

    Args:
        tree: the file.
        above: put before each path.
        layout: of the file.
        hint: the component that the file's name speaks of, for what neither form nor keys tell.
        stubs: filled with the names of what would have been objects.
    """
    found: list[Entry] = []
    misnamed: list[int] = []
    for node in walk(tree.root, Role(), _judge_in(layout), tree.budget):
        if isinstance(node.value, Stub):
            stubs.append(key_text(node.value))
        if node.leaf:
            component = _component(node.tag, hint)
            path = above + node.path if node.path else above.rstrip("/")
            kind, dtype, shape, nbytes, text = _described(leaf_value(node.value))
            if component == "optimizer" and node.tag.form is Form.TENSORS:
                misnamed.append(len(found))
            found.append(Entry(path, component, kind, dtype, shape, nbytes, text, _form_in_words(node.tag)))
    held = {entry.component for entry in found}
    if any(entry.form == Form.OPTIMIZER for entry in found) and not held & {"model", "adapter"}:
        for index in misnamed:  # an optimizer's state lies elsewhere: these are the weights, under its key
            found[index] = found[index]._replace(component="model")
    return found


def _component(role: Role, hint: str) -> str:
    """The component of a leaf; a file's name counts where nothing else says whose generator it is, or what."""
    if role.component == "rng" and hint == "data" and "rng" not in role.named:
        return "data"
    component = role.component or hint or "other"
    return "other" if component == "settings" else component


def _form_in_words(role: Role) -> str:
    return "" if role.form in (Form.TENSORS, Form.SETTINGS) else str(role.form)


def _judge_in(layout: str) -> Judge[Role]:
    """As `components.judge`, where the keys at the top of a layout, or some inside, are known."""

    def judged(around: Role, key: FileValue, value: FileValue) -> Role:
        if layout == "lightning" and key == "combined_loader":
            return Role("data", Form.LOADER, settled=True)
        known = role_in_layout(layout, key) if around == Role() and key is not None else None
        return known if known is not None and form_of(value) not in GENERATORS else judge(known or around, key, value)

    return judged


def _folder_layout(names: set[str]) -> str:
    if "trainer_state.json" in names:
        return "trainer"
    if any(name.startswith("random_states_") and name.endswith(".pkl") for name in names):
        return "accelerate"
    if "adapter_config.json" in names:
        return "peft"
    if any(name.startswith("epoch") and name.endswith("_dora_params.pth") for name in names):
        return "study folder"
    return "folder"


def _file_layout(root: FileValue, kind: str) -> str:
    if kind == "dcp":
        return "dcp"
    if not isinstance(root, Mapping) or not root:
        return "generic"
    keys = set(root)
    format_ = root.get("format")
    if isinstance(format_, str) and format_ == KIT_FORMAT:
        return "kit"
    if all(is_study_name(key) for key in keys):
        return "study parameters"
    if keys <= set(RANDOM_STATE_KEYS):
        return "study random states"
    if {"random_state", "numpy_random_seed", "torch_manual_seed"} <= keys:
        return "accelerate states"
    if "pytorch-lightning_version" in keys or {"state_dict", "optimizer_states"} <= keys:
        return "lightning"
    if keys == {"state", "param_groups"}:
        return "optimizer"
    if all(isinstance(key, str) and _is_parameter(value) for key, value in root.items()):
        return "peft weights" if any(".lora_" in str(key) for key in keys) else "state_dict"
    return "generic"


def _is_parameter(value: FileValue) -> bool:
    return isinstance(value, (TensorEntry, torch.Tensor)) and form_of(value) is not Form.TORCH


def _described(value: FileValue) -> tuple[str, str | None, tuple[int, ...] | None, int, str]:
    """(kind, dtype, shape, bytes, text) of a leaf."""
    if type(value) in _NUMBERS:
        return _NUMBERS[type(value)], None, None, 0, str(value)
    if isinstance(value, (TensorEntry, torch.Tensor)):
        nbytes = value.nbytes if isinstance(value, TensorEntry) else value.numel() * value.element_size()
        return "tensor", str(value.dtype).removeprefix("torch."), tuple(value.shape), nbytes, ""
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        text = _short(value.item()) if value.ndim == 0 else ""
        return "array", str(value.dtype), tuple(value.shape), value.nbytes, text
    if isinstance(value, (list, tuple)):
        return "list", None, (len(value),), 0, _short(value) if len(value) <= 8 else ""
    if isinstance(value, (dict, set, frozenset)):
        return "set" if isinstance(value, (set, frozenset)) else "dict", None, (len(value),), 0, ""
    if isinstance(value, (bytes, bytearray)):
        return "bytes", None, (len(value),), len(value), ""
    names = {type(None): "none", str: "text"}
    return names.get(type(value), type(value).__name__), None, None, 0, _short(value)


def _short(value: FileValue) -> str:
    text = key_text(repr(value[: TEXT_LENGTH * 2] if isinstance(value, str) else value))
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
