"""Reading checkpoints as data: a whole file, or its leaves one at a time.

`read` loads everything. `leaves_of_file` knows all readable paths at once and loads values on access, so that
two files of any size can be compared leaf by leaf in the memory of their largest storage. What is a leaf, and how its
path reads: `walking.py`. Which files of a folder belong together: `runs.py`. Formats and safety: `opening.py`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy

from dora_repro.checkpoint.budget import OF_A_BYTE, Budget
from dora_repro.checkpoint.components import Role, judge
from dora_repro.checkpoint.forms import GENERATORS, Form
from dora_repro.checkpoint.guard import FileValue, guarded, uncollected
from dora_repro.checkpoint.opening import Kind, kind_of, open_tree
from dora_repro.checkpoint.runs import RunFolder, members, run_of
from dora_repro.checkpoint.sharded import is_sharded
from dora_repro.checkpoint.structure import Structure
from dora_repro.checkpoint.tensors import TensorEntry, loaded
from dora_repro.checkpoint.walking import PLAIN, cost_of_looking, leaf_value, walk
from dora_repro.errors import BadInput

OF_A_TENSOR, OF_AN_ARRAY = 20, 10  # work: of loading and comparing one, beside its bytes
_SCALARS = frozenset((int, float, bool, type(None)))


def read(path: str | os.PathLike[str]) -> FileValue:
    """Everything in a checkpoint file, loaded: nested dicts and lists of tensors (CPU), numbers, strings, stubs.

    Tensors that share memory in the file share it here. Loads into memory as many bytes as the file has.

    Raises:
        BadInput: the file is missing, empty, truncated, damaged, hostile or of a different kind.
    """
    return open_tree(path, finish=loaded, keep=None).root


class Leaves(Mapping[str, FileValue]):
    """Path -> value of all leaves, in the order of the file; a tensor is loaded anew at each access.

    Args:
        flat: path -> value, or the entry of a tensor.
        file_of: the file that a path is in, for errors.
        budgets: file -> what is left of what reading it may take.
        about: what else the walk saw.
        place: the file or folder.
        partial: whether a file of the folder may be left out where it cannot be read.
    """

    def __init__(
        self,
        flat: Mapping[str, FileValue],
        file_of: Callable[[str], Path],
        budgets: Mapping[Path, Budget],
        about: "About | None" = None,
        place: Path | None = None,
        partial: bool = False,
    ) -> None:
        self._flat, self._file_of, self._budgets = flat, file_of, budgets
        self.about, self.place, self.partial = about or About(), place, partial

    def __len__(self) -> int:
        return len(self._flat)

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __getitem__(self, path: str) -> FileValue:
        """The value; a tensor is loaded, and checked by its CRC where the format has one.

        Raises:
            KeyError: there is no such leaf.
            BadInput: the tensor cannot be loaded.
        """
        value = self._flat[path]
        if type(value) in _SCALARS:
            return value
        file = self._file_of(path)
        loading, nbytes = 0, 0
        if isinstance(value, (TensorEntry, numpy.ndarray)):
            loading, nbytes = OF_A_TENSOR if isinstance(value, TensorEntry) else OF_AN_ARRAY, value.nbytes
        work = loading + nbytes * OF_A_BYTE + cost_of_looking(value)
        with guarded(file), self._budgets[file].once(path, work):
            return value.load() if isinstance(value, TensorEntry) else value

    def entry(self, path: str) -> FileValue:
        """The value, or for a tensor its `TensorEntry` (dtype, shape, nbytes): nothing is loaded."""
        return self._flat[path]

    def leave_out(self, path: str, why: BadInput) -> None:
        """Note that the file which a leaf is in cannot be read after all: it was cut, or is being written.

        Raises:
            BadInput: it is the only file, or files are not to be left out.
        """
        file = self._file_of(path)
        names = [name for name, other in self.about.files.items() if other == file]
        if not self.partial or not names or self.about.files.keys() == {*names, *self.about.unread}:
            raise why
        self.about.unread |= dict.fromkeys(names, str(why))

    def renamed(self, names: Mapping[str, str]) -> "Leaves":
        """The same leaves, some by other paths.

        Args:
            names: path -> the path that it is to have, which no other leaf has.
        """
        flat = {names.get(path, path): value for path, value in self._flat.items()}
        old = {name: path for path, name in names.items()}
        about = self.about.renamed(names)
        file_of = self._file_of
        return Leaves(flat, lambda path: file_of(old.get(path, path)), self._budgets, about, self.place, self.partial)


@dataclass
class About:
    """What the walk through a checkpoint saw beside its leaves.

    Attributes:
        structure: types of containers and keys, attributes of tensors, what shares memory.
        generators: path of the state of a generator -> its form, and the value that holds all of it.
        optimizers: path of the state of an optimizer -> its value.
        state_dicts: path of named tensors -> names and what stands for each.
        sorted_by_format: paths of those whose order is the format's, not the model's.
        formats: of its files, as `opening.Tree.kind`.
        how_named: path of an optimizer whose parameters were named by those of a model -> how they were matched.
        run: unit and numbers of the checkpoints of a run; None for one checkpoint.
        files: of a folder, by the first parts of their leaves' paths.
        unread: those of them that could not be read, and why.
    """

    structure: Structure = field(default_factory=Structure)
    generators: dict[str, tuple[Form, FileValue]] = field(default_factory=dict)
    optimizers: dict[str, FileValue] = field(default_factory=dict)
    state_dicts: dict[str, FileValue] = field(default_factory=dict)
    sorted_by_format: set[str] = field(default_factory=set)
    formats: set[str] = field(default_factory=set)
    how_named: dict[str, str] = field(default_factory=dict)
    run: tuple[str, tuple[int, ...]] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def renamed(self, names: Mapping[str, str]) -> "About":
        """The same, with the paths of leaves renamed."""
        return replace(self, structure=self.structure.renamed(names))


@dataclass
class _Collected:
    """Leaves as they are found, file by file."""

    flat: dict[str, FileValue] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    about: About = field(default_factory=About)
    budgets: dict[Path, Budget] = field(default_factory=dict)

    def add(self, file: Path, above: str) -> None:
        """All leaves of one file, below a name; none of them where that raises."""
        with guarded(file), uncollected():
            tree = open_tree(file)
            nodes = list(walk(tree.root, Role(), judge, tree.budget))
            self.budgets[file] = tree.budget
            self.about.structure.begin_file(tree.budget)
            self.about.formats.add(tree.kind)
            for node in nodes:
                path = f"{above}/{node.path}" if above and node.path else above or node.path
                if not isinstance(node.value, PLAIN):
                    self.about.structure.add(path, node.value)
                    self._note(path, node.value, node.tag, tree.kind)
                if node.leaf:
                    self.flat[path], self.files[path] = leaf_value(node.value), file

    def _note(self, path: str, value: FileValue, role: Role, form: str) -> None:
        inside = any(path.startswith(f"{last}/") or path == last for last in list(self.about.generators)[-1:])
        if role.form in GENERATORS and not inside:
            self.about.generators[path] = role.form, value
        elif role.form is Form.OPTIMIZER and isinstance(value, dict) and {"state", "param_groups"} <= value.keys():
            self.about.optimizers[path] = value
        elif role.form is Form.TENSORS and role.component in ("model", "adapter") and isinstance(value, dict):
            self.about.state_dicts[path] = value
            if form in ("safetensors", "dcp"):
                self.about.sorted_by_format.add(path)


def leaves_of_file(path: str | os.PathLike[str], *, partial: bool = False) -> Leaves:
    """All leaves of a checkpoint file, of the files of a folder (each below its file's name), or of all checkpoints of
    a run's folder (each below its number and its file's name).

    Args:
        path: the file or folder.
        partial: go on without a file of the folder that cannot be read (`About.unread` names it), if there is another.

    Raises:
        BadInput: as `reading.read`; or the file holds more values, or deeper ones, than a checkpoint does.
    """
    place, found = Path(path), _Collected()
    if kind_of(place) is not Kind.FOLDER:
        found.add(place, "")
        return Leaves(found.flat, lambda _: place, found.budgets, found.about, place)
    with guarded(place):
        run = run_of(place)
    if run is not None:
        found.about.run = run.unit, tuple(run.checkpoints)
    found.about.files = files_of_folder(place, run)
    for name, file in found.about.files.items():
        try:
            found.add(file, name)
        except BadInput as error:
            if not partial or len(found.about.unread) == len(found.about.files) - 1:
                raise
            found.about.unread[name] = str(error)
    return Leaves(found.flat, found.files.__getitem__, found.budgets, found.about, place, partial)


def files_of_folder(folder: Path, run: RunFolder | None) -> dict[str, Path]:
    """The files of a checkpoint's folder, or of a run's, by the first parts of their leaves' paths.

    Args:
        folder: that they are in.
        run: its checkpoints, where it is a run's.

    Raises:
        BadInput: there are none, or the folder cannot be listed.
    """
    if run is None:
        return {file.relative_to(folder).as_posix(): file for file in members(folder)}
    return {
        f"{run.unit}{number}/{name}": file
        for number, paths in run.checkpoints.items()
        for name, file in files_of_checkpoint(paths).items()
    }


def files_of_checkpoint(paths: list[Path]) -> dict[str, Path]:
    """The files of one of a run's checkpoints by their names, with that of their folder where two have the same one.

    Args:
        paths: of the files and folders that have the number of the checkpoint.
    """
    files = [(path.parent.name, name, file) for path in paths for name, file in _files_of_part(path).items()]
    counts = Counter(name for _, name, _ in files)
    return {name if counts[name] == 1 else f"{folder}/{name}": file for folder, name, file in files}


def _files_of_part(path: Path) -> dict[str, Path]:
    """One file or folder of a run's checkpoint: the files in it, by name; a sharded folder is one."""
    if not path.is_dir() or is_sharded(path):  # a file that is gone by now is found to be so when it is read
        return {path.name: path}
    return {file.relative_to(path).as_posix(): file for file in members(path)}
