"""Transplants that somebody chooses: state of the reference put into the resumed run, which then goes on anew.

What was lost is chosen by component, or leaf by leaf by globs. Before the first one the run is resumed anew with
nothing put back: only where it does what the resumed run did then does a transplant tell anything about that run.
"""

import difflib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from dora_repro.alignment.divergence import first_divergence
from dora_repro.checks.keeping import SCRIPT
from dora_repro.checks.report import as_json
from dora_repro.checks.rereading import from_json
from dora_repro.errors import BadInput
from dora_repro.explain.trials.trial import DATA, DRAWS, Outcome, Trial, TrialResult
from dora_repro.kept.opening import KeptReport
from dora_repro.kept.process import TrialProcess
from dora_repro.sides.protocol import Emit, ignore
from dora_repro.state.paths import matching, pattern
from dora_repro.trace import Divergence
from dora_repro.wording import counted

FURTHER = "further.jsonl"  # transplants that were made from the evidence, a line each
BATCHES, GENERATORS = "the reference's batches", "the reference's generators, at each step"
LOADERS = "the reference's generators, where its loader draws"  # of a script
_BEYOND = {BATCHES: DATA, GENERATORS: DRAWS, LOADERS: DRAWS}
_NOUNS = {"option": "group option", "memory": "value", "": "leaf", "data": "data set", "alias": "second name"}


@dataclass(frozen=True)
class Transplanted:
    """A transplant that was made, and what came of it.

    Attributes:
        chosen: what was put back, by the names of components or paths; empty for nothing.
        leaves: number of leaves that were to be put back.
        result: of the trial.
        reproduced: whether the run, resumed anew with nothing put back, did what the resumed run had done.
        without: result of that.
        remaining: number of steps after the one that the run was resumed at.
        at_end: whether state must be the reference's at the end, too, since the steps alone do not tell.
        seconds: wall time.
    """

    chosen: tuple[str, ...]
    leaves: int
    result: TrialResult
    reproduced: bool
    without: TrialResult
    remaining: int
    at_end: bool = False
    seconds: float = 0.0

    @property
    def place(self) -> Divergence | None:
        """The first difference from the reference; None where there is none, or none is known."""
        return self.result.divergence

    def __str__(self) -> str:
        given = " and ".join(self.chosen) or "nothing"
        words = [f"With {given} put back: {self._came_of_it}"]
        if failed := self.result.failed:
            words.append(f"Not put back: {'; '.join(f'{path} ({reason})' for path, reason in failed.items())}.")
        if not self.reproduced:
            words.append(
                "This tells nothing about the run that was checked: resumed anew with nothing put back, "
                f"{_did(self.without, self.remaining, self.at_end)}, which that run did not. Its code, its data or its "
                "environment may have changed since."
            )
        return "\n".join(words)

    @property
    def _came_of_it(self) -> str:
        did = f"{_did(self.result, self.remaining, self.at_end)}."
        found, before = self.result.divergence, self.without.divergence
        if not self.chosen or not self.reproduced or found is None or before is None:
            return did
        if (found.step, found.phase, found.leaf) == (before.step, before.phase, before.leaf):
            return f"{did} So it does with nothing put back."
        return f"{did} With nothing put back it does so at {before.place}."


def _did(result: TrialResult, remaining: int, at_end: bool) -> str:
    """What a resumed run did, as the end of a sentence without its full stop."""
    steps = "the one remaining step is" if remaining == 1 else f"all {remaining} remaining steps are"
    if result.outcome is Outcome.UNRESOLVED:
        return f"no answer: {result.error}" if result.error else "no answer"
    if result.restores:
        return f"{steps} as the reference's{', and so is the state at the end' if at_end else ''}"
    if result.divergence is not None:
        return f"it first differs at {result.divergence.place}"
    if result.error:
        return f"it differs: {result.error}"
    return f"{steps} as the reference's, and the state at the end is not"


class Transplants(AbstractContextManager["Transplants"]):
    """Makes transplants of one report.

    Args:
        report: with its evidence.

    Attributes:
        report: as given.
        components: name -> paths of the leaves that it stands for: what differs right after loading, in groups.
        made: those that were made by now, also from the same evidence earlier.
    """

    def __init__(self, report: KeptReport):
        self.report = report
        self.components = components_of(report)
        self._index = report.index
        self._process = TrialProcess(report.folder, report.index, report.kept.origin)
        self._without: TrialResult | None = None
        self._reproduced = False
        self.made: list[Transplanted] = read_further(report.folder, report.index)

    @property
    def possible(self) -> str:
        """Why no transplant can be made; empty where some can."""
        if self.report.trial:
            return ""
        report = self.report.report
        if report.divergence is None and not report.latent:
            return "there is nothing to put back: the check found no difference that counts"
        if self.report.reference is None or self.report.resumed is None or self.report.resumed.loaded_or_none is None:
            return "the resumed run did not come to a step"
        return "the factory of the run could not be kept, so that it cannot be built again"

    def make(self, *chosen: str, on_event: Emit = ignore) -> Transplanted:
        """Put state of the reference into the resumed run, and let it go on up to its first difference.

        The first time, the run is also resumed with nothing put back.

        Args:
            chosen: names of components, or globs of leaves that differ right after loading; none: put nothing back.
            on_event: called with each event of the trial.

        Raises:
            BadInput: nothing is called so, or no transplant can be made.
        """
        if self.possible:
            raise BadInput(self.possible)
        names = frozenset(name for each in chosen for name in self._names(each))
        begun = time.perf_counter()
        if self._without is None or not names:
            self._without = self._process.run(Trial(frozenset()), on_event)
            self._reproduced = self._as_resumed(self._without)
        result = self._process.run(Trial(names), on_event) if names else self._without
        report = self.report
        made = Transplanted(
            chosen,
            len(names - {DATA, DRAWS}),
            result,
            self._reproduced,
            self._without,
            report.report.steps - report.report.save_at,
            bool(report.trial.get("at_end")),
            time.perf_counter() - begun,
        )
        self.made.append(made)
        write_further(report.folder, report.index, made)
        return made

    def _names(self, chosen: str) -> tuple[str, ...]:
        if chosen in _BEYOND and chosen in self.choices:
            return (_BEYOND[chosen],)
        if chosen in self.components:
            return self.components[chosen]
        every = [path for leaves in self.components.values() for path in leaves]
        found = matching(chosen, every)
        if not found:
            near = difflib.get_close_matches(chosen, [*self.choices, *every], n=1, cutoff=0.3)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"{chosen!r} is no component of what was lost, and matches no leaf of it{hint}")
        return tuple(found)

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be chosen, by name."""
        if self.report.kept.kind == SCRIPT:
            return (*self.components, BATCHES, LOADERS)
        recorded = self.report.trial.get("streams") is not None
        return (*self.components, *((BATCHES, GENERATORS) if recorded else ()))

    def _as_resumed(self, result: TrialResult) -> bool:
        """Whether a run that was resumed anew did what the resumed run had done."""
        reference, resumed = self.report.reference, self.report.resumed
        assert reference is not None and resumed is not None  # a trial was made
        if result.outcome is Outcome.UNRESOLVED or result.restores:
            return False
        then = first_divergence(reference.trace, resumed.trace, self.report.report.save_at)
        return _where(then) == _where(result.divergence)

    def close(self) -> None:
        """End a transplant that is being made, and the process that makes them."""
        self._process.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _where(found: Divergence | None) -> tuple[int, str, str] | None:
    return None if found is None else (found.step, found.phase, found.leaf)


def components_of(report: KeptReport) -> dict[str, tuple[str, ...]]:
    """What differs right after loading, by name: the object that it is in, and what kind of leaf it is.

    Noise is left out: it differs between any two runs.
    """
    aside = {*report.report.set_aside.noise}
    lost = [each for each in report.report.lost if each.path not in aside]
    of_script = report.kept.kind == SCRIPT
    groups: dict[tuple[str, str], list[str]] = {}
    for each in lost:
        groups.setdefault((_object_of(each.path, of_script), each.role), []).append(each.path)
    return {_named(place, role, paths): tuple(paths) for (place, role), paths in groups.items()}


def _object_of(path: str, of_script: bool) -> str:
    """The object that a leaf is in; of a script, whose functions are its roots, the variable of the function."""
    first, *rest = path.split("/")
    if first in ("rng", "flags"):
        return path
    return "/".join((first, *rest[:1])) if of_script and len(rest) > 1 else first


def _named(place: str, role: str, paths: list[str]) -> str:
    if len(paths) == 1:
        return pattern(paths)
    return f"{place} ({counted(len(paths), _NOUNS.get(role, role))})"


# --- what was made earlier -------------------------------------------------------------------------------------------


def write_further(folder: Path, index: int, made: Transplanted) -> None:
    """Add a transplant to those that were made; nothing where the folder cannot be written to."""
    fields: Mapping[str, object] = {"report": index, "made": as_json(made)}
    try:
        with (folder / FURTHER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    except OSError:
        return


def read_further(folder: Path, index: int) -> list[Transplanted]:
    """The transplants of one report that were made; a line that is not whole is passed over."""
    path = folder / FURTHER
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    found = []
    for line in lines:
        try:
            fields = json.loads(line)
            if fields["report"] == index:
                found.append(from_json(Transplanted, fields["made"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
