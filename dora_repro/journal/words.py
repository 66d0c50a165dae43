"""What a journal says of a start, in sentences: in the job's own log, and in the table of all starts."""

from collections.abc import Sequence
from pathlib import PurePath

from dora_repro.journal.known import Source
from dora_repro.journal.state import StateDifference
from dora_repro.printable import one_line
from dora_repro.trace import Divergence
from dora_repro.wording import counted

_NOUNS = {"option": "optimizer option", "schedule": "value of the schedule", "scaler": "value of the gradient scaler"}
_FEW = 3  # names that are told in a sentence


def resumed_from(source: Source) -> str:
    """`epoch1.pt (update 1,200, start 2)`, `4 files of checkpoint-1200 (update 1,200, start 2)`."""
    paths = [PurePath(path) for path in source.files]
    name = one_line(paths[-1].name)
    if len(paths) > 1 and len({path.parent for path in paths}) == 1:
        name = f"{len(paths)} files of {one_line(paths[-1].parent.name)}"
    elif len(paths) > 1:
        name = f"{name} and {counted(len(paths) - 1, 'more file')}"
    inside = f" and {counted(source.backwards, 'backward pass')}" if source.backwards else ""
    return f"{name} (update {source.update:,}{inside}, start {source.start})"


def what_was_lost(found: StateDifference) -> str:
    """`rng/torch.cpu and 27 moments`; empty where nothing was."""
    return listed([part for kind, paths in found.lost.items() for part in _of_kind(kind, paths)])


def _of_kind(kind: str, paths: Sequence[str]) -> Sequence[str]:
    if len(paths) == 1 or (kind == "generator" and len(paths) <= _FEW):
        return paths
    where = _above(paths)
    return [f"{counted(len(paths), _NOUNS.get(kind, kind))}{f' of {where}' if where else ''}"]


def _above(paths: Sequence[str]) -> str:
    """The path that all of these lie below; empty where there is none."""
    common = []
    for parts in zip(*(path.split("/")[:-1] for path in paths), strict=False):
        if len({*parts}) > 1:
            break
        common.append(parts[0])
    return "/".join(common)


def of_state(found: StateDifference | None) -> str:
    """How the state is, beside what it was when the checkpoint was written."""
    if found is None:
        return "its state cannot be compared: none is kept of that update; the job may have been over before that"
    if found.lost:
        lost = what_was_lost(found)
        are = "is" if sum(map(len, found.lost.values())) == 1 else "are"
        return f"{lost} {are} not what {'it was' if are == 'is' else 'they were'} when it was saved"
    unknown = ""
    if found.unknown:
        few = [*found.unknown[:_FEW], *([f"{len(found.unknown) - _FEW:,} more"] if len(found.unknown) > _FEW else [])]
        unknown = f"; {listed(few)} not compared, since the job was over before its next update"
    return f"{counted(found.compared, 'leaf')} as when it was saved{unknown}"


def of_repeated(first: int, last: int) -> str:
    """`updates 1,201 to 1,234 repeated bit for bit`."""
    which = f"update {first:,}" if first == last else f"updates {first:,} to {last:,}"
    return f"{which} repeated bit for bit"


def of_divergence(found: Divergence) -> str:
    """`first differs at update 1,201, phase batch: batch/0`."""
    return f"first differs at update {found.step:,}, phase {found.phase}: {found.leaf}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
