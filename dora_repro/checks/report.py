"""The result of a check: plain frozen data, the same on a terminal, in JSON and in a notebook."""

import dataclasses
import enum
import math
from dataclasses import dataclass, field

from dora_repro.comparison.drift import Drift
from dora_repro.comparison.leaves import Comparison
from dora_repro.contracts import Json
from dora_repro.difference import LeafDifference, Setting
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.printable import json_text, one_line
from dora_repro.shown import Shown
from dora_repro.trace import Divergence, Trace


class Verdict(enum.StrEnum):
    """The answer of a check: the first of these that holds, in this order."""

    INCONCLUSIVE = "INCONCLUSIVE"  # not deterministic, not controlled, or nothing was really tested
    DIFFERENT = "DIFFERENT"  # some effect differs
    WITHIN_TOLERANCE = "WITHIN_TOLERANCE"  # it does, inside the tolerance that was asked for
    LATENT = "LATENT"  # all effects are equal, but some memory is still lost at the end
    EXACT = "EXACT"

    @property
    def exit_code(self) -> int:
        """0 exact or within an asked tolerance, 1 different or latent, 3 inconclusive (2 is bad input)."""
        return {"EXACT": 0, "WITHIN_TOLERANCE": 0, "DIFFERENT": 1, "LATENT": 1, "INCONCLUSIVE": 3}[self.value]


@dataclass(frozen=True)
class Control:
    """The result of repeating a side: is it deterministic at all?

    Attributes:
        runs: sides that were repeated: `reference`, `resumed`; empty where no repeat was needed or wanted.
        deterministic: whether the repeats equal the first runs up to and at the divergence; None where there was no
            repeat.
        divergence: where a repeat first differs from its first run.
        noise: leaves that also differ between two identical runs, and do not count.
        orders: groups of optimizers whose parameters the resumed side, repeated, held in another order: that it then
            did other steps counts as a difference from the reference, not as noise.
        stale: dicts whose keys were ids of objects, and are numbers of another process in the resumed side: that it did
            other steps when it was repeated counts likewise.
    """

    runs: tuple[str, ...] = ()
    deterministic: bool | None = None
    divergence: Divergence | None = None
    noise: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.runs:
            return "not run"
        if self.orders and self.deterministic:
            return f"reference repeated, deterministic; resumed repeated, {' and '.join(self.orders)} in another order"
        if self.stale and self.deterministic:
            return f"reference repeated, deterministic; resumed: {', '.join(self.stale)} has ids of no object for keys"
        sides = f"{' and '.join(self.runs)} repeated"
        if self.deterministic:
            return f"{sides}, deterministic"
        return f"{sides}, not deterministic: first differs at {self.divergence}"


@dataclass(frozen=True)
class SetAside:
    """Paths of leaves that differed and were not counted against the run, by reason.

    Attributes:
        ignored: the user named them (`ignore`).
        expected_loss: the checkpoint leaves them out by its own choice, and no compared step read them.
        noise: they also differ between two identical runs.
        bookkeeping: histories, and helpers that `save()` made where there was None.
        healed: they differed right after loading, and are equal at the end.
        set_by_load: the resumed side alone set them, while loading, and no step changed them on either side: where it
            resumed from, and that it did. Also all that lies in variables that its function has only where it resumes.
        logs: a library keeps them for its logs or for the names of its files, and saves them nowhere.
        reordered: dicts with the same entries under keys in another order, which `==` does not see. An OrderedDict is
            none of them, nor is a dict in which the run moved keys or let the oldest go.
        put_aside: what the resumed run alone had right after loading, and neither run at the end: a state that `load()`
            keeps for the first step. It is no loss; where it does harm, it is a cause.
        overwritten: variables that their function gives another value before it reads them, on both sides: what a loop
            left in them.
    """

    ignored: tuple[str, ...] = ()
    expected_loss: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    bookkeeping: tuple[str, ...] = ()
    healed: tuple[str, ...] = ()
    set_by_load: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()

    @property
    def beside_the_point(self) -> tuple[str, ...]:
        """What says nothing of a loss that has no effect."""
        return (*self.noise, *self.bookkeeping, *self.set_by_load, *self.logs, *self.reordered, *self.overwritten)


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """The answer to one question: is the run resumed after `save_at` the run that was not interrupted?

    Attributes:
        verdict: the answer.
        reason: one sentence of why.
        save_at: the run was saved after this step, and resumed from there.
        steps: the last optimizer step, counted from 1.
        divergence: the first differing effect; None where all are equal.
        first_memory: the first differing memory: where a loss first shows.
        comparisons: the study's three: `load`, `parameters`, `outputs` (the last only for runs with `outputs()`).
        lost: leaves that differ right after loading, with how.
        latent: leaves still different at the end, although every effect was equal.
        set_aside: paths that differed and were not counted against the run, by reason.
        configuration: plain values that no step changes, and that differ since the resumed run was told otherwise.
        changed_by_save: leaves that `save()` itself changed, those that count against it included.
        control: the result of repeating both sides.
        tolerance: the absolute tolerance that was asked for.
        unseen: phases that the recorder could not see.
        uncaptured: path -> type of what could not be captured.
        notes: further findings, a sentence each.
        next_step: what to do about an inconclusive verdict, where more is known than the verdict tells.
        launched: of a script, the commands that were launched, a line each; empty for a run object.
        error: the resumed side's traceback, where it raised.
        title: the name of the check.
        steps_done: number of steps done, by side.
        seconds: wall time in seconds, by side.
        environment: versions, threads, device and flags that both sides ran with.
        histories: by side, the lists of numbers that it had at the end, by path: losses, validation losses.
        reference: the trace of the run that was not interrupted (not in JSON).
        resumed: the trace of the resumed run (not in JSON).
        explanation: why they differ, proved by transplanting state; None where there was nothing to explain, or no
            explanation was asked for.
        drift: the distance of the parameters of both sides at every step (not in JSON), where `values` asked for it.
    """

    verdict: Verdict
    reason: str
    save_at: int
    steps: int
    divergence: Divergence | None = None
    first_memory: Divergence | None = None
    comparisons: tuple[Comparison, ...] = ()
    lost: tuple[LeafDifference, ...] = ()
    latent: tuple[str, ...] = ()
    set_aside: SetAside = SetAside()
    configuration: tuple[Setting, ...] = ()
    changed_by_save: tuple[LeafDifference, ...] = ()
    control: Control = Control()
    tolerance: float | None = None
    unseen: tuple[str, ...] = ()
    uncaptured: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    next_step: str = ""
    launched: tuple[str, ...] = ()
    error: str | None = None
    title: str = "check"
    steps_done: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    environment: dict[str, object] = field(default_factory=dict)
    histories: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    reference: Trace | None = field(default=None)
    resumed: Trace | None = field(default=None)
    explanation: Explanation | None = field(default=None)
    drift: Drift | None = field(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", one_line(self.title))

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What made the resumed run differ: the parts of one set of leaves that restores an exact resume."""
        return self.explanation.causes if self.explanation is not None else ()

    @property
    def passed(self) -> bool:
        """Whether the verdict is EXACT, or WITHIN_TOLERANCE where a tolerance was asked for."""
        return self.verdict.exit_code == 0

    @property
    def summary(self) -> str:
        """The verdict and where it first differs, in one line without sizes: the same on any machine."""
        if self.divergence is None:
            return str(self.verdict)
        return f"{self.verdict}: first differs at {self.divergence.place}"

    def comparison(self, name: str) -> Comparison | None:
        """One of the three comparisons by name."""
        return next((comparison for comparison in self.comparisons if comparison.name == name), None)

    def to_dict(self) -> dict[str, Json]:
        """All of the report but the traces and values, as plain data; losses of both sides by step.

        The keys are the names of the fields; results within the report (`set_aside`, `control`, `divergence`, …) are
        dicts of their own.
        """
        left_out = ("reference", "resumed", "drift")
        entries = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        data = {name: as_json(value) for name, value in entries.items() if name not in left_out}
        return {**data, "losses": {"reference": losses(self.reference), "resumed": losses(self.resumed)}}

    def to_json(self) -> str:
        """`to_dict` as JSON text (a NaN or an infinity is written as a string: JSON has neither)."""
        return json_text(self.to_dict())


@dataclass(frozen=True, repr=False)
class Reports(Shown):
    """Several checks of one run: a resume from every step, a resume of a resumed run.

    Attributes:
        title: the name of the whole.
        reports: one for each resumed run, in order.
    """

    title: str
    reports: tuple[Report, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", one_line(self.title))

    @property
    def verdict(self) -> Verdict:
        """The worst of them: the first in the order of `Verdict`."""
        order = list(Verdict)
        return min((report.verdict for report in self.reports), key=order.index)

    @property
    def passed(self) -> bool:
        """Whether all of them passed."""
        return self.verdict.exit_code == 0

    @property
    def summary(self) -> str:
        """A line for each."""
        return "\n".join(f"{report.title}: {report.summary}" for report in self.reports)

    def to_dict(self) -> dict[str, Json]:
        """All reports as plain data, with the verdict of the whole."""
        return {
            "title": self.title,
            "verdict": str(self.verdict),
            "reports": [report.to_dict() for report in self.reports],
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text, as `Report.to_json`."""
        return json_text(self.to_dict())


def losses(trace: Trace | None) -> list[Json]:
    """[step, loss] of each step of a trace."""
    return [] if trace is None else [as_json((step.number, step.loss)) for step in trace.steps]


def comparison_dict(comparison: Comparison) -> dict[str, Json]:
    """A comparison as plain data: a summary of three entries, then its fields."""
    summary = {name: as_json(getattr(comparison, name)) for name in ("equal", "within_tolerance", "max_abs")}
    fields = {entry.name: as_json(getattr(comparison, entry.name)) for entry in dataclasses.fields(comparison)}
    return {**summary, **fields}


def as_json(value: object) -> Json:
    """A frozen result as dicts, lists, numbers and strings.

    Raises:
        TypeError: it contains something else.
    """
    if isinstance(value, Comparison):
        return comparison_dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: as_json(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} is no plain data")
