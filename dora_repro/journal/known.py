"""Where a training goes on from: which start wrote the files that it has read, and after which update."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dora_repro.contracts import Json
from dora_repro.journal.layout import FIRST, saved_file, starts_of, state_file, states_of
from dora_repro.journal.ledger import digest_of
from dora_repro.journal.lines import to_text
from dora_repro.journal.log import read_log
from dora_repro.journal.state import StateDifference, StateDigests, difference
from dora_repro.journal.updates import read_updates
from dora_repro.trace import STEP_END, unnumbered

_LAST = 3  # starts whose parameters are looked at
_KEPT = 16  # states of a start that are held against the present one


@dataclass(frozen=True)
class Source:
    """A moment of an earlier start that a later one goes on from.

    Attributes:
        start: number of the earlier start.
        folder: its folder.
        update: number of updates that were done when the files were opened for writing.
        backwards: number of backward passes since then.
        files: paths of the files, as they were read.
        by_name: whether the names of the files tell it, and not what is in them.
    """

    start: int
    folder: Path
    update: int
    backwards: int
    files: tuple[str, ...]
    by_name: bool = False

    def to_dict(self) -> dict[str, Json]:
        """As plain data, without its folder."""
        about: dict[str, Json] = {"start": self.start, "update": self.update, "backwards": self.backwards}
        return {**about, "files": [*self.files]}

    def state(self) -> StateDigests | None:
        """The state before the update that followed, or when the files had been written; None where none was kept."""
        moment = self.update, self.backwards
        return StateDigests.read(self.folder / state_file(*moment)) or StateDigests.read(
            self.folder / saved_file(*moment)
        )

    def difference(self, now: StateDigests) -> StateDifference | None:
        """What is not as it was; None where no state was kept."""
        saved = self.state()
        return None if saved is None else difference(saved, now, StateDigests.read(self.folder / FIRST))


class Known:
    """The checkpoints that the starts of a journal have written.

    Args:
        journal: the journal's folder.
        but: number of a start that is left out: the present one.
    """

    def __init__(self, journal: Path, but: int | None = None):
        self._by_digest: dict[str, list[tuple[int, int, int]]] = {}
        self._by_path: dict[str, list[tuple[int, int, int]]] = {}
        self._sizes: set[int] = set()
        self._wrote = False
        self._folders = {number: path for number, path in starts_of(journal).items() if number != but}
        for number, folder in self._folders.items():
            for line in read_log(folder)[0]:
                if line["kind"] in ("wrote", "writes"):
                    self._add(number, line)
                self._wrote |= line["kind"] == "wrote"

    def _add(self, number: int, line: Mapping[str, Any]) -> None:
        moment = number, line["update"], line["backwards"]
        self._by_path.setdefault(line["path"], []).append(moment)
        if line["kind"] == "writes" or line.get("digest") is None:  # its name tells, where it is the last of that name
            return
        self._by_digest.setdefault(line["digest"], []).append(moment)
        self._sizes.add(line["size"])

    def __bool__(self) -> bool:
        return self._wrote

    def sources(self, reads: Mapping[str, int]) -> list[Source]:
        """The moments after which most of the files were written that were read; none where no file is known.

        Args:
            reads: path -> size of the files.
        """
        files: dict[tuple[int, int, int], list[str]] = {}
        known: set[tuple[int, int, int]] = set()  # by what is in a file
        for path, size in reads.items():
            by_content = self._by_content(path, size)
            known.update(by_content)
            for moment in set(by_content or self._by_name(path)):
                files.setdefault(moment, []).append(path)
        most = max((len(paths) for paths in files.values()), default=0)
        best = sorted(moment for moment, paths in files.items() if len(paths) == most)
        return [Source(n, self._folders[n], u, b, tuple(files[n, u, b]), (n, u, b) not in known) for n, u, b in best]

    def nearest(self, reads: Sequence[str], now: StateDigests) -> Source | None:
        """The moment that the parameters tell, of one of the last starts, where the files tell none: it was killed
        before it could note the file, or the file is a copy that somebody has changed.

        Args:
            reads: paths of the files that may be checkpoints.
            now: the present state.
        """
        for number, folder in [*self._folders.items()][: -_LAST - 1 : -1]:
            if (update := by_parameters(folder, now)) is not None:
                return Source(number, folder, update, 0, tuple(reads))
        return None

    def _by_content(self, path: str, size: int) -> list[tuple[int, int, int]]:
        digest = digest_of(path) if size in self._sizes else None
        return self._by_digest.get(digest, []) if digest is not None else []

    def _by_name(self, path: str) -> list[tuple[int, int, int]]:
        return self._by_path[path][-1:] if self._unsure(path) else []

    def _unsure(self, path: str) -> bool:
        """Whether the last file of this name was noted without a digest."""
        return path in self._by_path and self._by_path[path][-1] not in {
            moment for moments in self._by_digest.values() for moment in moments
        }


def by_parameters(start: Path, now: StateDigests, before: int | None = None) -> int | None:
    """The update of a start after which all trained parameters were as they are now; None where it is not certain.

    Args:
        start: its folder.
        now: the present state.
        before: look at the updates before this one alone; None for all.
    """
    wanted = {path: value for path, (kind, value) in now.leaves.items() if kind == "parameter"}
    trained: dict[str, str] = {}
    alike: list[int] = []
    for step in read_updates(start).steps:
        if before is not None and step.number >= before:
            break
        for effect in step.effects:
            if unnumbered(effect.phase) in ("update", STEP_END):
                trained[effect.leaf] = to_text(effect.digest)
        if trained and all(wanted.get(path) == value for path, value in trained.items()):
            alike.append(step.number)
    return alike[0] if len(alike) == 1 else None


def corrected(source: Source, now: StateDigests) -> tuple[Source, StateDifference | None]:
    """The source, unless the parameters are those of another moment of that start; and what is not as it was.

    They are those of an earlier one where a copy of the state was written later, by a thread. The states that were kept
    tell, since that copy was asked of the optimizer then; else the updates do, where the parameters are those of one
    alone. A file that its name told may have been written once more before the process was killed.
    """
    moment = None if source.by_name else (source.update, source.backwards)
    moments = [one for one in states_of(source.folder) if moment is None or one < moment]
    kept = [replace(source, update=update, backwards=backwards) for update, backwards in moments]
    for one in kept[: -_KEPT - 1 : -1]:
        difference = one.difference(now)
        if difference is not None and "parameter" not in difference.lost:
            return one, difference
    update = by_parameters(source.folder, now, None if source.by_name else source.update)
    found = source if update is None else replace(source, update=update, backwards=0)
    return found, found.difference(now)


def chosen(sources: Iterable[Source], now: StateDigests) -> tuple[Source, StateDifference | None] | None:
    """The source whose state is nearest to the present one; the last of those that are equally near.

    A file may have been copied later, and two starts may have written the same: its content tells no more than that.
    """
    best: tuple[Source, StateDifference | None] | None = None
    least: tuple[int, int] | None = None
    for source in sources:
        found = source.difference(now)
        if found is None or "parameter" in found.lost:
            source, found = corrected(source, now)
        far = (1, 0) if found is None else (0, sum(map(len, found.lost.values())))
        if least is None or far <= least:
            best, least = (source, found), far
    return best
