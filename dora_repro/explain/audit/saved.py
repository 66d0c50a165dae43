"""The save audit: what became of each leaf of a live run in the file that `save()` wrote."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dora_repro.errors import BadInput
from dora_repro.explain.audit.checkpoint_index import Filed
from dora_repro.explain.audit.lookup import ABSENT, CAST, MISPLACED, SAVED, SKIPPED, STALE, Kept, Search
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
        changed_later: keys of the file whose bytes changed, that came, or that went, after `save()` had returned.
        problem: why a file could not be read; empty where all could. What was not found is then not in `leaves`: it
            may be in that file.
    """

    leaves: Mapping[str, Kept] = field(default_factory=dict)
    changed_later: tuple[str, ...] = ()
    problem: str = ""

    def how(self, path: str) -> str:
        """In words; empty for a leaf that was not looked for."""
        return str(self.leaves[path]) if path in self.leaves else ""

    def in_file(self, path: str) -> bool:
        """Whether the very value is in the file, so that only loading is amiss."""
        return path in self.leaves and self.leaves[path].status == SAVED

    def of(self, status: str) -> tuple[str, ...]:
        """The paths of one status."""
        return tuple(path for path, kept in self.leaves.items() if kept.status == status)

    def summary(self, only: Iterable[str] | None = None) -> tuple[str, ...]:
        """A line for each way in which leaves are not in the file as the run had them, the leaves grouped by pattern.

        Args:
            only: paths to look at; None for all.
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


def audit_save(live: Snapshot, files: Path, later: Path | None = None) -> SaveAudit:
    """Look for every leaf of a live state in what `save()` wrote.

    Args:
        live: the state when `save()` was called.
        files: the file or folder as it was when `save()` returned; later: the same at the end of the run.
    """
    try:
        filed = Filed(files)
    except BadInput as error:
        return SaveAudit(problem=str(error))
    search = Search(live, filed)
    wanted = (leaf for leaf in live.values() if leaf.role not in SKIPPED)
    found = {leaf.path: search.find(leaf) for leaf in wanted}
    if filed.problems:
        found = {path: kept for path, kept in found.items() if kept.status != ABSENT}
    audit = SaveAudit(found, problem="; ".join(filed.problems))
    if later is None:
        return audit
    try:
        after = Filed(later)
    except BadInput as error:
        return replace(audit, problem="; ".join((*filed.problems, str(error))))
    keys = dict.fromkeys((*filed.digests, *after.digests))
    changed = tuple(key for key in keys if filed.digests.get(key) != after.digests.get(key))
    problems = dict.fromkeys((*filed.problems, *after.problems))
    return replace(audit, changed_later=changed, problem="; ".join(problems))


def _group(paths: list[str]) -> str:
    return f"{len(paths)} × {pattern(paths)}" if len(paths) > 1 else paths[0]
