"""What a file that is to be compared holds: a trace, a snapshot, or the leaves of a checkpoint."""

from pathlib import Path

from dora_repro.checkpoint.opening import Kind, kind_of
from dora_repro.checkpoint.reading import Leaves, leaves_of_file
from dora_repro.state.snapshot import FORMAT, Snapshot
from dora_repro.trace import Trace


def read_side(path: str | Path) -> Trace | Snapshot | Leaves:
    """Read a file as what it says it is; a checkpoint's values are loaded when they are asked for.

    Of a folder, files that cannot be read are left out, and named in `Leaves.about`.

    Raises:
        BadInput: it cannot be read.
    """
    if kind_of(path) is Kind.TRACE:
        return Trace.read(path)
    leaves = leaves_of_file(path, partial=True)
    form = leaves.entry("format") if "format" in leaves else None
    return Snapshot.read(path) if isinstance(form, str) and form == FORMAT else leaves
