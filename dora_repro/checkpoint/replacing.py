"""Files replaced as a whole: whoever opens one sees the old file or the new one, never a part.

A file is written beside its goal under a temporary name, flushed to the disk, and renamed over the goal in one step
(POSIX `rename`, `os.replace`). Only files are replaced: a device, a FIFO or a socket in the goal's place is refused, as
a rename would take it from everybody who uses it. A process that is killed outright (SIGKILL, power) may leave its
temporary file behind, named `.NAME.….partial`; it may be deleted. Importing this module loads no torch.
"""

import errno
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from dora_repro.errors import BadInput
from dora_repro.printable import named

_ROOM = "make room and save again"
_FOLDER = "choose a folder that can be written"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: f"{_ROOM}, or ask for a larger quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to a file system that allows larger ones",
    errno.EROFS: _FOLDER,
    errno.EACCES: _FOLDER,
    errno.EPERM: _FOLDER,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the link, or name another file",
    errno.ENOENT: "choose a folder that is there and can be written",
    errno.EMFILE: "close files, or raise the limit on open ones (ulimit -n)",
    errno.EIO: "the disk reports an error: write to another one",
}
OF_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO or pipe",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file in the folder of `path` that becomes `path` when the block ends without an exception.

    The handle's `.name` is the temporary file's path, for writers that want a path. Any exception,
    KeyboardInterrupt included, removes the temporary file and leaves `path` as it was. A symbolic link is
    written through. The mode of an existing file is kept.

    Raises:
        BadInput: `path` cannot be written: see `goal_of`; or the disk is full, a quota or another limit is reached.
    """
    goal = goal_of(path)
    folder = os.path.dirname(goal)
    # Cut, in bytes, so that a goal with the longest allowed name still leaves room for the rest.
    name = os.fsdecode(os.fsencode(os.path.basename(goal))[:100])
    partial = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        raw = _Noting(partial, "xb")  # closed by the `with` below
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        with io.BufferedWriter(raw) as handle:
            yield cast(BinaryIO, handle)
            try:
                handle.flush()
                with suppress(FileNotFoundError):
                    os.fchmod(handle.fileno(), stat.S_IMODE(os.stat(goal).st_mode))
                os.fsync(handle.fileno())
            except OSError as error:
                raise _cannot(path, error) from error
        goal_of(path)  # nothing else was put there meanwhile
        try:
            os.replace(partial, goal)
        except OSError as error:
            raise _cannot(path, error) from error
    except BaseException as error:
        with suppress(OSError):
            os.unlink(partial)
        # torch raises a RuntimeError of its own where a write fails: what the file itself met says why.
        failed = raw.failed or (error if isinstance(error, OSError) and error.errno in OF_DISK else None)
        if failed is not None and isinstance(error, Exception) and not isinstance(error, BadInput):
            raise _cannot(path, failed) from error
        raise
    _sync_folder(folder)


class _Noting(io.FileIO):
    """A file that notes why a write failed.

    Attributes:
        failed: the error of the first write that failed.
    """

    failed: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failed = self.failed or error
            raise


def goal_of(path: str | os.PathLike[str]) -> str:
    """The file that `path` names, through symbolic links, if it is one that may be made or replaced.

    Raises:
        BadInput: it is a folder, a device, a FIFO, a socket or what this process prints to; its folder does not exist;
            it leads through a loop of links; or no file can have such a name.
    """
    text = os.fsdecode(path)
    try:
        goal, there = os.path.realpath(text), _status(text)
    except OSError as error:
        raise _cannot(path, error) from error
    except ValueError as error:  # NUL; a lone surrogate that stands for no byte
        why = "it holds a NUL character" if "null" in str(error) else "no file can have such a name"
        raise BadInput(f"cannot write {named(path)}: {why}; choose another name") from error
    folder = os.path.dirname(goal)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise BadInput(f"cannot write {named(path)}: it is a folder; name a file in it")
    if not text or text.endswith(os.sep):
        raise BadInput(f"cannot write {named(path) or repr(text)}: it names no file; add a file's name")
    if there is not None and not stat.S_ISREG(there.st_mode):
        kind = _KINDS.get(stat.S_IFMT(there.st_mode), "no ordinary file")
        raise BadInput(f"cannot write {named(path)}: it is {kind}, which would be replaced; name an ordinary file")
    if there is not None and _is_printed_to(there):
        raise BadInput(f"cannot write {named(path)}: what this command prints goes there; name another file")
    if not os.path.isdir(folder):
        what = "is no folder; name a file in one" if os.path.exists(folder) else "does not exist; make it first"
        raise BadInput(f"cannot write {named(path)}: the folder {named(folder)} {what}")
    return goal


def require_writable(path: str | os.PathLike[str]) -> None:
    """See, before the work, that a file can be written when it is done; nothing is left there.

    Raises:
        BadInput: as `atomic`.
    """
    try:
        tempfile.TemporaryFile(dir=os.path.dirname(goal_of(path))).close()
    except OSError as error:
        raise _cannot(path, error) from error


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_printed_to(there: os.stat_result) -> bool:
    """Whether it is the standard output or error: replaced, what was printed there would be lost."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(there, os.fstat(descriptor)):
                return True
    return False


def _cannot(path: str | os.PathLike[str], error: OSError) -> BadInput:
    advice = _ADVICE.get(error.errno or 0, _FOLDER)
    return BadInput(f"cannot write {named(path)}: {error.strerror or error}; {advice}")


def _sync_folder(folder: str) -> None:
    """Make the rename itself lasting; not every file system can, and those that cannot are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
