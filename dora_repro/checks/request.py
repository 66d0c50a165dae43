"""What is asked of a run, in one form, validated before anything is started. What users write is `options.py`."""

from dataclasses import dataclass
from pathlib import Path

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.sides.interpreters import Interpreters
from dora_repro.sides.protocol import Event, OnEvent
from dora_repro.sides.session import Session

TIERS = {"load": 1e-12, "parameters": 1e-8, "outputs": 1e-6}  # the study's tolerances (absolute)
CONTROLS = ("auto", "always", "never")


def _no_listener(side: str, event: Event) -> None:
    pass


@dataclass(frozen=True)
class Request:
    """One question: is the run resumed after each of `points` the run that was not interrupted?

    Attributes:
        factory: builds a run; called afresh for each side.
        steps: the last optimizer step to do, counted from 1.
        points: the steps to save after, and to resume from.
        ignore: globs, as for `checks.check`.
        tolerance: absolute; None accepts no difference.
        control: `auto`, `always` or `never`, as for `checks.check`.
        timeout: seconds for each side.
        in_process: run all sides in this interpreter.
        folder: keep the evidence here, if given.
        values: globs, as for `checks.check`.
        explain: find the cause of a difference.
        title: the name of the report.
        expected_loss: like `ignore`, but need not match anything: what the caller knows to be left out on purpose.
        preload: modules that a new interpreter imports while it waits.
        interpreters: interpreters started before, in place of `preload`; the caller closes them.
        on_event: called with (side, event) while the sides run; events are `built`, `loaded`, `step`, `saved`.

    Raises:
        BadInput: impossible steps, an unknown control, a time limit that is not positive, a folder in use.
    """

    factory: Factory
    steps: int
    points: tuple[int, ...]
    ignore: tuple[str, ...]
    tolerance: float | None
    control: str
    timeout: float
    in_process: bool
    folder: Path | None
    values: tuple[str, ...]
    explain: bool
    title: str
    expected_loss: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    interpreters: Interpreters | None = None
    on_event: OnEvent = _no_listener

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise BadInput(f"factory={self.factory!r} cannot be called: give a class or function that builds a run")
        if type(self.steps) is not int or self.steps < 1:
            raise BadInput(f"steps={self.steps!r}: at least one step must be done")
        for point in self.points:
            if type(point) is not int or not 0 <= point <= self.steps:
                raise BadInput(f"save_at={point!r}: give a step from 0 (before any) to steps={self.steps}")
        if self.control not in CONTROLS:
            raise BadInput(f"control={self.control!r}: choose one of {', '.join(CONTROLS)}")
        if not self.timeout > 0:
            raise BadInput(f"timeout={self.timeout!r}: give the seconds that each side may take")
        if self.folder is not None and self.folder.exists():
            if not self.folder.is_dir() or any(self.folder.iterdir()):
                given = str(self.folder)
                raise BadInput(f"folder={given!r} exists and is not empty: name a new one, nothing is overwritten")

    def session(self) -> Session:
        """What runs its sides."""
        return Session(
            self.factory,
            in_process=self.in_process,
            timeout=self.timeout,
            on_event=self.on_event,
            folder=self.folder.absolute() if self.folder is not None else None,
            preload=self.preload,
            interpreters=self.interpreters,
        )

    @property
    def saves(self) -> tuple[int, ...]:
        """The steps after which the reference saves."""
        return tuple(sorted(set(self.points)))


def as_tolerance(given: float | str | None) -> float | None:
    """An absolute tolerance from a number, its text, or the name of one of the study's tiers.

    Raises:
        BadInput: it is none of these.
    """
    if given is None:
        return None
    try:
        value = TIERS[given] if isinstance(given, str) and given in TIERS else float(given)
    except (TypeError, ValueError):
        raise BadInput(f"tolerance={given!r}: give a number or one of {', '.join(TIERS)}") from None
    if not 0 <= value < float("inf"):
        raise BadInput(f"tolerance={given!r}: give a number of 0 or more")
    return value
