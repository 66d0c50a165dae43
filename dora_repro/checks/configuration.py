"""What a resumed run was told otherwise: plain values that no step changes on either side, and that differ.

An argument of `resume()`, an entry of a configuration, a constant: such a value was no loss, since training never
changed it. It may have an effect all the same, which trials show.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dora_repro.difference import LeafDifference, Setting
from dora_repro.driving.arguments import OUT
from dora_repro.sides.evidence import Evidence
from dora_repro.state.digest import PLAIN_SCALARS, is_plain
from dora_repro.state.leaves import KEPT
from dora_repro.state.snapshot import SavedLeaf, Snapshot


@dataclass(frozen=True)
class Configuration:
    """Finds the settings among what differs right after loading.

    Attributes:
        reference: the side that was not interrupted.
        resumed: the resumed side.
        saved: the reference's state at the save.
        loaded: the resumed run's state after loading.
    """

    reference: Evidence
    resumed: Evidence
    saved: Snapshot
    loaded: Snapshot

    def changed(self, differences: Iterable[LeafDifference]) -> Iterator[Setting]:
        """The settings that differ, each with when the resumed side had it."""
        expected = self.reference.trace.start, self.reference.end
        ended = self.resumed.end if (self.resumed.folder / "end.pt").exists() else None
        for difference in differences:
            path = difference.path
            was, now = self.saved.get(path), self.loaded.get(path)
            if not all(_is_plain(leaf) or leaf is None for leaf in (was, now)) or self._marks(was, now):
                continue
            stays = _constant(path, was, *expected) and (ended is None or _same(path, now, ended))
            by = self._by(path, was, now) if stays else ""
            if by:
                yield Setting(path, difference.expected, difference.actual, by)

    def _marks(self, was: SavedLeaf | None, now: SavedLeaf | None) -> bool:
        """Whether a value says no more than where from, or that, a run was resumed."""
        if was is not None and was.value is None:
            return True
        texts = [str(leaf.value) for leaf in (was, now) if leaf is not None and isinstance(leaf.value, str)]
        return any(place in text for text in texts for place in (str(self.reference.folder.parent), OUT))

    def _by(self, path: str, was: SavedLeaf | None, now: SavedLeaf | None) -> str:
        """When the resumed side had the value; empty for what is no setting, as far as one can tell."""
        result = self.resumed.result
        told, built = result["told"], result["built"]
        if (was.digest if was is not None else None) == (now.digest if now is not None else None):
            return ""  # of another form alone, which digests of what was built cannot show: loading may have made it
        if told is not None:
            return "resume" if path.rpartition("/")[2] in told else ""
        if built is None:
            # A list may be an order of samples, and what only one side has may be made by loading.
            number = now is not None and was is not None and type(was.value) in PLAIN_SCALARS
            return "resume" if result["resumes"] and number else ""
        if built.get(path) == (now.digest.hex() if now is not None else None):
            return "resume" if result["resumes"] else "built"
        return "load" if was is not None and now is not None else ""


def _is_plain(leaf: SavedLeaf | None) -> bool:
    return leaf is not None and leaf.kept and leaf.role in KEPT and is_plain(leaf.value)


def _constant(path: str, leaf: SavedLeaf | None, start: Mapping[str, bytes], end: Snapshot) -> bool:
    """Whether the reference had it from its first step to its last, or never."""
    return start.get(path) == (leaf.digest if leaf is not None else None) and _same(path, leaf, end)


def _same(path: str, leaf: SavedLeaf | None, end: Snapshot) -> bool:
    """Whether a leaf is at the end as it was; or gone, with a function whose variable it was, which has returned."""
    if path not in end:
        function = end.get(path.partition("/")[0])
        return leaf is None or (function is not None and str(function.value).startswith("finished "))
    return leaf is not None and end[path].digest == leaf.digest
