"""The save audit: what became of each leaf of a live run in the file that `save()` wrote."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dora_repro.errors import BadInput
from dora_repro.explain.audit.checkpoint_index import CheckpointIndex
from dora_repro.explain.audit.lookup import ABSENT, CAST, MISPLACED, SAVED, SKIPPED, STALE, Lookup, SaveStatus
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.paths import ends, pattern
from dora_repro.state.snapshot import Snapshot

_SUMMED = {
    ABSENT: "not in the file",
    STALE: "in the file with other values",
    MISPLACED: "in the file with the values of others",
    CAST: "in the file in another dtype",
}


@dataclass(frozen=True)
class SaveAudit:
    """What a save wrote.

    Attributes:
        leaves: path -> what became of it.
        problem: why a file could not be read; empty where all could. Leaves that were not found are then not in
            `leaves`: they may be in that file.
    """

    leaves: Mapping[str, SaveStatus] = field(default_factory=dict)
    problem: str = ""

    def how(self, path: str) -> str:
        """What became of a leaf, in words; empty for one that was not looked for."""
        return str(self.leaves[path]) if path in self.leaves else ""

    def in_file(self, path: str) -> bool:
        """Whether the very value is in the file, so that only loading is at fault."""
        return path in self.leaves and self.leaves[path].status == SAVED

    def of(self, status: str) -> tuple[str, ...]:
        """The paths of one status."""
        return tuple(path for path, found in self.leaves.items() if found.status == status)

    def summary(self, only: Iterable[str] | None = None) -> tuple[str, ...]:
        """A line for each way in which leaves are not in the file as the run had them, the leaves grouped by pattern.

        Args:
            only: paths to report; None for all.
        """
        chosen = self.leaves.keys() if only is None else set(only)
        lines = []
        for status, words in _SUMMED.items():
            groups: dict[tuple[str, str], list[str]] = {}
            for path in self.of(status):
                if path in chosen:
                    groups.setdefault(ends(path), []).append(path)
            if groups:
                lines.append(f"{words}: {', '.join(map(_group, groups.values()))}")
        return tuple(lines)


def audit_save(live: Snapshot, files: Path, also: Iterable[SavedLeaf] = ()) -> SaveAudit:
    """Look for every leaf of a live state in what `save()` wrote.

    Args:
        live: the state when `save()` was called.
        files: the file or folder as it was when `save()` returned.
        also: leaves of the state with what they may have been instead: they are in the file where that is.
    """
    try:
        index = CheckpointIndex(files)
    except BadInput as error:
        return SaveAudit(problem=str(error))
    lookup = Lookup(live, index)
    found = {leaf.path: lookup.find(leaf) for leaf in live.values() if leaf.role not in SKIPPED}
    for leaf in also:
        if leaf.path in found and found[leaf.path].status != SAVED:
            instead = lookup.find(leaf)
            found[leaf.path] = instead if instead.status == SAVED else found[leaf.path]
    if index.problems:
        found = {path: status for path, status in found.items() if status.status != ABSENT}
    return SaveAudit(found, problem="; ".join(index.problems))


def _group(paths: list[str]) -> str:
    return f"{len(paths)} × {pattern(paths)}" if len(paths) > 1 else paths[0]
