"""Which files of a folder were written after which update."""

import contextlib
import os
from pathlib import Path

from dora_repro.checkpoint.opening import kind_of
from dora_repro.errors import BadInput

Stamp = tuple[int, int, int]  # modification time in ns, size in bytes, inode

NO_CHECKPOINTS = (".json", ".jsonl", ".csv", ".txt", ".log", ".yaml", ".yml", ".md", ".png", ".svg", ".html")
_BESIDE = ".more"  # a file that is written beside a checkpoint, as advised lines do


class Written:
    """Watches a folder by looking at it between steps.

    Args:
        folder: the folder.

    Attributes:
        after: path of a file -> the update after which it was last written.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._stamps = stamps(folder)
        self.after: dict[Path, int] = {}

    def look(self, update: int) -> None:
        """Note what was written since the last look as written after an update."""
        now = stamps(self._folder)
        self.after.update({path: update for path, stamp in now.items() if self._stamps.get(path) != stamp})
        self.after = {path: number for path, number in self.after.items() if path in now}
        self._stamps = now

    def checkpoints(self) -> dict[Path, int]:
        """The files among them that may hold tensors: no logs, tables or pictures."""
        return {path: number for path, number in self.after.items() if _may_be_checkpoint(path)}


def newest(folder: Path) -> Path | None:
    """The youngest checkpoint in a folder: a file, or a folder of its own whose files were all written with it.

    Args:
        folder: where a run wrote; looked at with its sub-folders.
    """
    files = {path: stamp for path, stamp in stamps(folder).items() if _may_be_checkpoint(path)}
    if not files:
        return None
    youngest = max(files, key=lambda path: (files[path][0], str(path)))
    parent = youngest.parent
    if parent != folder and len([path for path in files if path.parent == parent]) > 1 and parent.name[-1:].isdigit():
        return parent
    return youngest


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
