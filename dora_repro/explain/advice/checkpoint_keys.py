"""Code that reads a value from a checkpoint: with the keys and names that it has there, from the file it is in.

`state` is what was read of the file: `state["model"]`, or `state` alone where the file is a model's state_dict.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dora_repro.checkpoint.opening import Kind, open_tree
from dora_repro.checkpoint.sharded import is_sharded
from dora_repro.checkpoint.walking import key_text
from dora_repro.contracts import Value
from dora_repro.driving.written import newest
from dora_repro.errors import BadInput
from dora_repro.explain.advice.expressions import quoted
from dora_repro.explain.audit.saved import SaveAudit
from dora_repro.state.snapshot import SavedLeaf

_OF_OPTIMIZER = ("state", "param_groups")
Way = list[tuple[Value, Value]]  # (key, the container that it is a key of), from the top of a file down


@dataclass(frozen=True)
class ModuleState:
    """The state of a module in a file.

    Attributes:
        code: an expression for it, with the module's own names.
        complete: whether the file has all of the module's parameters.
        before: lines that define the names in `code`.
        named_alike: whether the leaf has the name that the module's state_dict gives it.
    """

    code: str
    complete: bool
    before: tuple[str, ...] = ()
    named_alike: bool = True


class CheckpointKeys:
    """Expressions that read the leaves of one checkpoint.

    Args:
        audit: which leaf is under which key.
        saved: the reference's leaves at the save.
        load: the file or folder that `save(path)` wrote at its path.
        alone: whether it wrote this one file only, so that keys do not begin with the name of a file.
        in_folder: whether the user's own code names the files in the folder at `path`, and knows no `path`.
    """

    def __init__(
        self, audit: SaveAudit, saved: Mapping[str, SavedLeaf], load: Path, alone: bool, in_folder: bool = False
    ) -> None:
        self._audit, self._saved, self._load, self._alone, self._in_folder = audit, saved, load, alone, in_folder
        self._trees: dict[Path, Value] = {}

    @property
    def takes_keys(self) -> bool:
        """Whether a key can be added to what is at the path: to a dict, and not to a tuple, to one module's state_dict
        (load_state_dict refuses what it does not know), to a folder or to a format of tensors alone."""
        if not self._load.is_file():
            return False
        try:
            tree = open_tree(self._load)
        except BadInput:
            return True  # nothing is known of it
        if not isinstance(tree.root, dict) or tree.kind in (Kind.SAFETENSORS.value, Kind.JSON.value):
            return False
        parameters = [path for path, leaf in self._saved.items() if leaf.role == "parameter"]
        return not any(self._file(path) == self._load and len(self._keys(path) or ()) == 1 for path in parameters)

    def encoded(self, leaves: Iterable[str]) -> set[str]:
        """The keys of the user's own dict that are parts of these leaves' paths, and hold text or bytes where the run
        holds something else: his load() decodes them, and could not if a line put the thing itself there."""
        tree = self._tree(self._load)
        if not isinstance(tree, Mapping):
            return set()
        parts = {"/".join(leaf.split("/")[:end]) for leaf in leaves for end in range(1, leaf.count("/") + 2)}
        return {
            part
            for part in parts
            if isinstance(tree.get(part), (str, bytes))
            and not (part in self._saved and isinstance(self._saved[part].value, (str, bytes)))
        }

    @property
    def in_folder(self) -> bool:
        """Whether the checkpoint is a folder."""
        return self._load.is_dir()

    @property
    def beside(self) -> str:
        """Code for the path of a file of one's own beside the checkpoint, or in its folder."""
        at = self._load
        if self._in_folder and at.is_dir():  # the checkpoint is in it
            at = newest(at) or at
        return 'f"{path}/more.pt"' if at.is_dir() else 'f"{path}.more"'

    def reaches(self, path: str) -> bool:
        """Whether code can follow the keys of the file down to a leaf: not through a pickled object."""
        return self._keys(path) is not None

    def places(self, path: str) -> int:
        """In how many places of the file the value of a leaf is."""
        status = self._audit.leaves.get(path)
        return len(status.keys) if status is not None else 0

    def value(self, path: str) -> str:
        """Code for a leaf's own value."""
        found = self._keys(path)
        return f"state[{quoted(path)}]" if found is None else _chain(found)

    def whole(self, path: str, owner: str) -> str:
        """Code for the state_dict of an object that a leaf lies in."""
        found = self._keys(path) or []
        if path in self._saved and self._saved[path].role in ("moment", "option"):
            inside = max((index for index, (key, _) in enumerate(found) if key in _OF_OPTIMIZER), default=-1)
        else:
            inside = len(found) - path.removeprefix(f"{owner}/").count("/") - 1
        return _chain(found[:inside]) if inside >= 0 else f"state[{quoted(owner)}]"

    def module(self, path: str, owner: str) -> ModuleState:
        """Code for the state_dict of a module that a leaf lies in; its keys get the prefix that the module's have."""
        found = self._keys(path)
        if not found:
            return ModuleState(f"state[{quoted(owner)}]", True)
        *above, (key, names) = found
        code, name = _chain(above), path.removeprefix(f"{owner}/")
        before: tuple[str, ...] = ()
        key, names = str(key), [str(each) for each in names] if isinstance(names, dict) else []
        if key != name and key.endswith(f".{name}"):
            prefix = key.removesuffix(name)
            before = (f"weights = {{n.removeprefix({quoted(prefix)}): value for n, value in {code}.items()}}",)
            names = [each.removeprefix(prefix) for each in names]
        elif key != name and name.endswith(f".{key}"):
            prefix = name.removesuffix(key)
            before = (f"weights = {{{quoted(prefix)} + n: value for n, value in {code}.items()}}",)
            names = [prefix + each for each in names]
        complete = self._parameters(owner) <= set(names)
        return ModuleState("weights" if before else code, complete, before, name in names)

    def generator(self, path: str) -> str:
        """Code for a generator's state as it was saved: the whole tuple or dict that its words lie in."""
        found = self._keys(path)
        if found is None:
            return f"state[{quoted(path)}]"
        for end in range(len(found), max(len(found) - 3, 0), -1):
            container = found[end - 1][1]
            if _is_state(container):
                return _chain(found[: end - 1])
        return _chain(found)

    def file(self, path: str) -> str:
        """The file that a leaf is in, relative to the folder of the one at `path`; empty where it is that one."""
        file = self._file(path)
        return "" if file is None or file == self._load else file.relative_to(self._load.parent).as_posix()

    def source(self, path: str) -> str:
        """The same in words, as the user knows the file: "what f"{path}.more" holds"."""
        name = self.file(path)
        if not name or not name.startswith(self._load.name):
            return name and f"what {name} holds"
        beside = name.removeprefix(self._load.name)
        return f"what {beside.removeprefix('/')} holds" if self._in_folder else f'what f"{{path}}{beside}" holds'

    def shown(self, key: str) -> str:
        """A key of the audit as the user knows it: without the name that this kit gave to what is at `path`."""
        own = self._load.name
        if self._alone or not key.startswith(own):
            return key
        beside = key.removeprefix(own)
        if beside.startswith("/"):  # in the folder at `path`, or a key of the file there
            return beside[1:]
        return f"{{path}}{beside}" if beside else key

    def _parameters(self, owner: str) -> set[str]:
        """The names of the parameters of a module; not those of buffers, which a state_dict may lack."""
        inside = f"{owner}/"
        own = ((path, leaf) for path, leaf in self._saved.items() if path.startswith(inside))
        names = {path.removeprefix(inside) for path, leaf in own if leaf.role == "parameter"}
        return {name for name in names if "/" not in name}

    def _file(self, path: str) -> Path | None:
        """The file that a leaf is in."""
        if self._alone:
            return self._load
        status = self._audit.leaves.get(path)
        key = status.keys[0] if status is not None and status.keys else ""  # none of what no file has
        parts = key.split("/")
        files = (self._load.parent.joinpath(*parts[:count]) for count in range(1, len(parts) + 1))
        return next((file for file in files if file.is_file() or is_sharded(file)), None)

    def _keys(self, path: str) -> Way | None:
        """The keys from the top of the file down to a leaf; None where they cannot be followed."""
        status, file = self._audit.leaves.get(path), self._file(path)
        if status is None or not status.keys or file is None:
            return None
        parts = status.keys[0].split("/")
        if not self._alone:
            parts = parts[len(file.relative_to(self._load.parent).parts) :]
        return _way(self._tree(file), [part for part in parts if part])

    def _tree(self, file: Path) -> Value:
        if file not in self._trees:
            try:
                self._trees[file] = open_tree(file).root
            except BadInput:
                self._trees[file] = None
        return self._trees[file]


def _way(root: Value, parts: list[str]) -> Way | None:
    """Follow the parts of a name down from the top of a file; a key may itself have slashes. None where a part leads
    nowhere."""
    found: Way = []
    while parts:
        key: Value
        if isinstance(root, (list, tuple)) and parts[0].isdigit() and int(parts[0]) < len(root):
            index, used = int(parts[0]), 1
            key, inside = index, root[index]
        elif isinstance(root, dict):
            texts = {key_text(key): key for key in root}
            used = next((n for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in texts), 0)
            if not used:
                return None
            key = texts["/".join(parts[:used])]
            inside = root[key]
        else:
            return None
        found.append((key, root))
        root, parts = inside, parts[used:]
    return found


def _is_state(container: Value) -> bool:
    """Whether this is the state that a generator of Python's or numpy's returns."""
    if isinstance(container, dict):
        return "bit_generator" in container
    if not isinstance(container, (list, tuple)) or not container:
        return False
    first = container[0]
    return (isinstance(first, str) and hasattr(np.random, first)) or (first == 3 and len(container) == 3)


def _chain(found: Way) -> str:
    return "state" + "".join(f"[{quoted(key)}]" for key, _ in found)
