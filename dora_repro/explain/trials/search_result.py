"""What a search for the cause found: parts, each of leaves of one kind, and the trials that tell."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dora_repro.explain.trials.trial import DATA, Outcome, Trial, TrialResult
from dora_repro.state.paths import ends, pattern, shared_parents

OBJECT = "object"  # role of a part that is an object of a class, whole

Unit = tuple[str, ...]  # leaves that are put back together, or left out together


@dataclass(frozen=True)
class Part:
    """One part of a cause: leaves of one kind.

    Attributes:
        name: pattern of the leaves' paths, as `optimizer/*/exp_avg`.
        leaves: paths of the leaves.
        role: role of the leaves; `object` for all of an object, empty for batches and draws.
        without: result of putting all candidates back but these: how much they matter by themselves; None where it was
            not tried.
        alone: result of putting these alone back; None where it was not tried.
    """

    name: str
    leaves: Unit
    role: str = ""
    without: TrialResult | None = None
    alone: TrialResult | None = None

    @property
    def necessary(self) -> bool | None:
        """Whether nothing restores exact resume without it; None where that was not tried, or is unresolved."""
        if self.without is None or self.without.outcome is Outcome.UNRESOLVED:
            return None
        return not self.without.restores


@dataclass
class SearchResult:
    """What a search found; filled while it goes on, so that an interrupted one still has the best set so far.

    Attributes:
        parts: parts of the set that restores exact resume; empty where none was found.
        candidates: components that differ after loading (`optimizer/*, moment`), with their leaves.
        objects: path of a leaf -> path of the object that it is in, where the resumed run lacks all of that.
        reproduced: whether the trial with nothing put back did what the resumed run did.
        proved: whether the set is known to be 1-minimal.
        base: what every trial of the set went through besides: `LOOP`, where variables of a loop are among it,
            `LATE`, where leaves of late objects may be.
        others: units of another set that restores exact resume, where some part is not necessary.
        trials: every trial done, in order, with its result.
        stopped: why the search ended early: `interrupted`, `budget`; empty where it did not.
    """

    parts: tuple[Part, ...] = ()
    candidates: dict[str, Unit] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    reproduced: bool = True
    proved: bool = False
    base: Unit = ()
    others: tuple[Unit, ...] = ()
    trials: list[tuple[Trial, TrialResult]] = field(default_factory=list)
    stopped: str = ""

    @property
    def names(self) -> frozenset[str]:
        """All that the set puts back."""
        return frozenset(leaf for part in self.parts for leaf in part.leaves)

    @property
    def trial_names(self) -> frozenset[str]:
        """All that a trial of the set is given, as of `Trial.names`."""
        return self.names.union(self.base)

    @property
    def other(self) -> tuple[str, ...]:
        """The parts of the other set, as patterns."""
        return tuple(map(name_of, self.others))

    @property
    def harmless(self) -> tuple[str, ...]:
        """Candidates that neither the set nor the other set needs: lost as well, without effect. A list that the
        resumed run has empty is no loss beside its entries."""
        needed = self.names.union(*self.others)
        holders = {path[:end] for path in needed for end, letter in enumerate(path) if letter == "/"}
        return tuple(
            path for leaves in self.candidates.values() for path in leaves if path not in needed and path not in holders
        )


def all_of(units: Iterable[Unit]) -> Unit:
    """The leaves of all units."""
    return tuple(leaf for unit in units for leaf in unit)


def name_of(leaves: Unit) -> str:
    """What paths have in common; the last names of several kinds in braces."""
    if leaves[0] == DATA:
        return DATA
    kinds: dict[tuple[str, str], list[str]] = {}
    for path in leaves:
        kinds.setdefault(ends(path), []).append(path)
    if len(kinds) == 1:
        return pattern(leaves)
    firsts, lasts = {first for first, _ in kinds}, ", ".join(dict.fromkeys(last for _, last in kinds))
    if len(firsts) == 1:
        head = shared_parents(leaves) or firsts.pop()
        between = "" if all("/" not in path.removeprefix(f"{head}/") for path in leaves) else "*/"
        return f"{head}/{between}{{{lasts}}}"
    return ", ".join(pattern(paths) for paths in kinds.values())
