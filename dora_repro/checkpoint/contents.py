"""What a checkpoint holds, by component, and what an exact resume from it would lack.

`inspect` lists from names and sizes alone: no bytes of tensors are read, so that a file of any size takes the
memory of its list. Known by their marks: this kit's file, the study's two, adapters of peft, folders of the
transformers Trainer and of Accelerate, checkpoints of Lightning, folders of torch.distributed.checkpoint; a
plain state_dict, an optimizer's, and anything else, read by its names. None of these libraries is imported.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from dora_repro.checkpoint.components import COMPONENTS, Entry, Lack, component_of, generators_found, lacks
from dora_repro.checkpoint.guard import FileValue, guarded
from dora_repro.checkpoint.layouts import KIT_FORMAT, RANDOM_STATE_KEYS, is_study_name
from dora_repro.checkpoint.opening import Kind, kind_of, open_tree
from dora_repro.checkpoint.reading import flatten, key_text, members
from dora_repro.checkpoint.tensors import TensorEntry

LAYOUTS = {
    "kit": "checkpoint of this kit",
    "study parameters": "the study's DoRA parameters (dora-only)",
    "study random states": "the study's random states",
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
    "generic": "file of an unknown layout, read by its names",
}
TEXT_LENGTH = 60


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds, as `inspect` lists it.

    Attributes:
        path: of the file or folder.
        layout: a key of LAYOUTS.
        file_format: "torch zip", "torch legacy", "pickle", "safetensors", "dcp", "json" or "folder".
        entries: its leaves, in the order of the file.
        stubs: names of what would have been objects, once each.
        missing: what an exact resume would lack.
        notes: what else there is to know, one sentence each.
    """

    path: str
    layout: str
    file_format: str
    entries: tuple[Entry, ...]
    stubs: tuple[str, ...]
    missing: tuple[Lack, ...]
    notes: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return LAYOUTS[self.layout]

    @property
    def components(self) -> dict[str, tuple[Entry, ...]]:
        """The entries by component, in the order of COMPONENTS; components without entries are left out."""
        groups = {name: tuple(entry for entry in self.entries if entry.component == name) for name in COMPONENTS}
        return {name: group for name, group in groups.items() if group}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors and arrays listed; shared storage counts once per view."""
        return sum(entry.nbytes for entry in self.entries)


def inspect(path: str | os.PathLike[str]) -> Contents:
    """List a checkpoint file or folder, without reading the bytes of its tensors.

    Checksums of tensors are therefore not checked here (`reading.read` does).

    Raises:
        BadInput: missing, empty, truncated, damaged, hostile or no checkpoint.
    """
    path = Path(path)
    stubs: list[str] = []
    notes: tuple[str, ...] = ()
    flat: dict[str, FileValue] = {}
    if kind_of(path) is Kind.FOLDER:
        files = members(path)
        layout, file_format = _folder_layout({file.name for file in files}), "folder"
        for member in files:
            with guarded(member):
                inside = flatten(open_tree(member).root, stubs)
                flat |= {f"{member.name}/{inner}": value for inner, value in inside.items()}
        folders = sorted(inner.name for inner in path.iterdir() if inner.is_dir())
        if folders:
            notes += (f"not read: the folders {', '.join(map(key_text, folders[:10]))}",)
    else:
        with guarded(path):
            tree = open_tree(path)
            flat = flatten(tree.root, stubs)
        layout, file_format = _file_layout(tree.root, tree.kind), tree.kind
    # The name of a file of unknown layout (`rng_state.pth`) says what the names in it may not.
    file = f"{path.name}/" if layout == "generic" else ""
    entries = generators_found(tuple(_entry(name, value, layout, file) for name, value in flat.items()))
    if any(entry.component == "adapter" for entry in entries):
        notes += ("the weights under the adapter are not in the file; the run must build the same ones",)
    if layout == "trainer":
        notes += ("the Trainer finds its place in the data by its seed, and by skipping global_step steps",)
    if layout in ("generic", "folder"):
        notes += ("the layout is unknown: components are inferred from names alone",)
    return Contents(
        str(path), layout, file_format, entries, tuple(dict.fromkeys(stubs)), lacks(entries, layout), notes
    )


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
    if root.get("format") == KIT_FORMAT:
        return "kit"
    if all(is_study_name(key) for key in keys):
        return "study parameters"
    if keys <= set(RANDOM_STATE_KEYS):
        return "study random states"
    if "pytorch-lightning_version" in keys or {"state_dict", "optimizer_states"} <= keys:
        return "lightning"
    if keys == {"state", "param_groups"}:
        return "optimizer"
    names = [key for key in keys if isinstance(key, str)]
    if len(names) == len(keys) and all(isinstance(value, (TensorEntry, torch.Tensor)) for value in root.values()):
        return "peft weights" if any(".lora_" in name for name in names) else "state_dict"
    return "generic"


def _entry(path: str, value: FileValue, layout: str, file: str) -> Entry:
    kind, dtype, shape, nbytes, text = _described(value)
    return Entry(path, component_of(file + path, layout, dtype, shape), kind, dtype, shape, nbytes, text)


def _described(value: FileValue) -> tuple[str, str | None, tuple[int, ...] | None, int, str]:
    """(kind, dtype, shape, bytes, text) of a leaf."""
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
