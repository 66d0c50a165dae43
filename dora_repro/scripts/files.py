"""What a script writes and reads, and when: that is how two processes are aligned.

Written files are found by looking at `{out}` between steps; when one was opened for writing is known from Python's own
audit events, so that what is written in the background counts for the step that began it. Reading is known from these
events, too, and from safetensors' functions, which open files outside of Python.
"""

import functools
import json
import os
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from dora_repro.driving.written import NO_CHECKPOINTS, Stamp, stamps
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.calls import Call, call_of
from dora_repro.state.attributes import is_users_module

Position: TypeAlias = Callable[[], tuple[int, int]]
"""Returns the number of steps that were done, and of backward passes since the last update."""

Listener: TypeAlias = Callable[[str, str, types.FrameType], None]
"""Is told `read` or `wrote`, the path of a file, and the frame that opened it."""

_WRITING = set("wax+")
_WRITES_FOR_OTHERS = {"dora_repro", "torch", "safetensors", "numpy", "pathlib", "io", "codecs", "json", "pickle"}
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".tar", ".pkl")


class Entry(TypedDict):
    """One line of the ledger.

    Attributes:
        kind: `wrote` or `read`.
        path: of the file, absolute.
        stamp: its modification time, size and inode.
        step: number of steps that were done, the one whose update was made last included.
        backwards: number of backward passes since the last update: not 0 inside an accumulation window.
        by: the line of the user's own code that opened it; None where that was not seen.
        own: whether that line wrote it, and no library that it called.
    """

    kind: str
    path: str
    stamp: list[int]
    step: int
    backwards: int
    by: Call | None
    own: bool


class Files:
    """The ledger of one process. It listens from when it is made until the process ends.

    Args:
        out: the folder that the script writes to.
        position: returns the numbers of steps done and of backward passes since the last update.

    Attributes:
        listeners: are told of each file that is opened for reading, or for writing, and by which frame.
        saved: whether what was found at the last look may be a checkpoint, which the thread that made the ledger wrote.
        writers: functions by which the script's own code wrote what it had built.
    """

    def __init__(self, out: Path, position: Position):
        self._out, self._position, self._pid = Path(os.path.realpath(out)), position, os.getpid()
        self._prefix = f"{self._out}{os.sep}"
        self._near = f"{self._out}-"  # what other launches wrote is beside it: nothing that this one should read
        self._stamps = stamps(self._out)
        self._opened: dict[str, tuple[int, int]] = {}
        self._openers: dict[str, Call | None] = {}
        self._users = set[str]()  # opened by the user's own code
        self._thread, self._elsewhere = threading.get_ident(), set[str]()  # opened in the background
        self.listeners: list[Listener] = []
        self.saved = False
        self._quiet = False
        self._read: set[tuple[str, Stamp]] = set()
        self._waiting: list[Entry] = []
        self._file: Any = None
        self.writers: set[str] = set()
        sys.addaudithook(self._audit)

    def write_to(self, path: Path) -> None:
        """Write the ledger to a file: what was noted so far, and from now on each line at once."""
        self._quiet = True
        self._file = path.open("xb", buffering=0)
        self._quiet = False
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            self._note(entry)

    def close(self) -> None:
        """Note nothing more: Python cannot take an audit hook away."""
        self._pid = -1

    def wrote_now(self) -> bool:
        """Whether a file that may be a checkpoint was opened for writing since the last update."""
        now = self._position()
        return any(position == now and may_be_checkpoint(path) for path, position in self._opened.items())

    def look(self) -> bool:
        """Note what was written since the last look; whether anything was."""
        now = stamps(self._out)
        changed = [path for path, stamp in now.items() if self._stamps.get(path) != stamp]
        self._stamps = now
        self.saved = any(may_be_checkpoint(str(path)) for path in changed if str(path) not in self._elsewhere)
        for path in changed:
            opened = self._opened.pop(str(path), self._position())
            by, own = self._openers.pop(str(path), None), str(path) in self._users
            self._note(_entry("wrote", str(path), now[path], opened, by, own))
        return bool(changed)

    def read(self, path: Any) -> None:
        """Note that a file is read, where it is one in `{out}` or beside it, or may be a checkpoint by its name."""
        try:
            real = os.path.realpath(os.fspath(path))
            ours = (self._prefix, self._near)
            if isinstance(real, bytes) or not (real.startswith(ours) or real.endswith(_CHECKPOINTS)):
                return
            if not os.path.isfile(real):
                return
            about = os.stat(real)
        except (TypeError, ValueError, OSError):  # no path: a descriptor, a buffer
            return
        for listener in self.listeners:
            listener("read", real, get_frame(1))
        stamp = about.st_mtime_ns, about.st_size, about.st_ino
        known = (real, stamp)
        if known not in self._read:
            self._read.add(known)
            self._note(_entry("read", real, stamp, self._position(), call_of(get_frame(1))))

    def _note(self, entry: Entry) -> None:
        if self._file is None:
            self._waiting.append(entry)
        else:
            self._file.write(json.dumps(entry).encode() + b"\n")

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename") or self._quiet or os.getpid() != self._pid:
            return
        self._quiet = True
        try:
            if event == "open":
                self._on_open(args[0], args[1])
            else:
                self._on_rename(args[0], args[1])
        except Exception:  # nothing of ours may keep a script from opening its files
            pass
        finally:
            self._quiet = False

    def _on_open(self, path: Any, mode: str | None) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if mode is None or _WRITING & set(mode):
            real = os.fsdecode(os.path.realpath(path))
            if real.startswith(self._prefix):
                self._noted(real, get_frame(1))
        else:
            self.read(os.fsdecode(path))

    def _noted(self, path: str, frame: types.FrameType) -> None:
        """A file is opened for writing, by a frame."""
        self._opened[path] = self._position()
        self._openers[path] = call_of(frame)
        (self._users.add if _is_own(frame) else self._users.discard)(path)
        (self._elsewhere.discard if threading.get_ident() == self._thread else self._elsewhere.add)(path)
        for listener in self.listeners:
            listener("wrote", path, frame)

    def _on_rename(self, source: Any, target: Any) -> None:
        old, new = (os.fsdecode(os.path.realpath(path)) for path in (source, target))
        for path, position in [*self._opened.items()]:
            if path == old or path.startswith(f"{old}{os.sep}"):
                renamed = new + path.removeprefix(old)
                self._opened[renamed] = position
                self._openers[renamed] = self._openers.get(path)
                (self._users.add if path in self._users else self._users.discard)(renamed)
                if path in self._elsewhere:
                    self._elsewhere.add(renamed)

    # --- functions that open files outside of Python ----------------------------------------------------------------

    def watch_torch(self) -> None:
        """Note when `torch.save` begins to write a file by its name: torch opens it itself."""
        import torch

        real = torch.save

        @functools.wraps(real)
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if (name := path_of(f)) is not None and os.getpid() == self._pid:
                path = os.fsdecode(os.path.realpath(name))
                if path.startswith(self._prefix):
                    self._noted(path, get_frame(1))
                    if is_users_module(str(get_frame(1).f_globals.get("__name__"))):
                        self.writers.add("torch.save")
            return real(obj, f, *args, **kwargs)

        torch.save = save

    def watch_safetensors(self) -> None:
        """Note what safetensors reads and writes."""
        self.watch_reading()
        module: Any = sys.modules["safetensors.torch"]
        module.save_file = self._before_saving(module.save_file)

    def watch_reading(self) -> None:
        """Note what safetensors reads."""
        for module in (sys.modules["safetensors"], sys.modules["safetensors.torch"]):
            for name in ("safe_open", "load_file"):
                if hasattr(module, name):
                    setattr(module, name, self._before_reading(getattr(module, name)))

    def _before_reading(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real, updated=())
        def reading(filename: Any, *args: Any, **kwargs: Any) -> Any:
            if os.getpid() == self._pid:
                self.read(filename)
            return real(filename, *args, **kwargs)

        return reading

    def _before_saving(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def writing(tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            path = os.fsdecode(os.path.realpath(filename))
            if os.getpid() == self._pid and path.startswith(self._prefix):
                self._noted(path, get_frame(1))
            return real(tensors, filename, *args, **kwargs)

        return writing


def _entry(kind: str, path: str, stamp: Stamp, position: tuple[int, int], by: Call | None, own: bool = False) -> Entry:
    step, backwards = position
    return {
        "kind": kind,
        "path": path,
        "stamp": list(stamp),
        "step": step,
        "backwards": backwards,
        "by": by,
        "own": own,
    }


def _is_own(frame: types.FrameType | None) -> bool:
    """Whether a frame that opens a file is the user's own code, or what that writes with at once."""
    name = "" if frame is None else str(frame.f_globals.get("__name__"))
    while frame is not None and name.partition(".")[0] in _WRITES_FOR_OTHERS:
        frame = frame.f_back
        name = "" if frame is None else str(frame.f_globals.get("__name__"))
    return frame is not None and is_users_module(name)


def path_of(file: Any) -> str | None:
    """The path of a file that is given to be written: as a path, or open; None for what has none."""
    named = file if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
    return os.fsdecode(named) if isinstance(named, (str, os.PathLike)) else None


def may_be_checkpoint(path: str) -> bool:
    """Whether a file may be one by its name: no log, table or picture."""
    return Path(path).suffix.lower() not in NO_CHECKPOINTS and ".tfevents." not in path


def read_ledger(path: Path) -> list[Entry]:
    """What a process noted, up to the last whole line; nothing where it noted nothing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
