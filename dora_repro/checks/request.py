"""What is asked of a run, validated before anything is started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dora_repro.errors import BadInput
from dora_repro.sides.processes import Interpreters
from dora_repro.sides.session import OnEvent, Session

TIERS = {"load": 1e-12, "parameters": 1e-8, "outputs": 1e-6}  # the study's tolerances (absolute)
CONTROLS = ("auto", "always", "never")


def _ignore_event(side: str, event: dict) -> None:
    pass


@dataclass(frozen=True)
class Question:
    """One question: is the run resumed after each of `points` the run that was not interrupted?

    The attributes are those of `checks.check`, where they are described. `tolerance` ends up as a number or None.

    Raises:
        BadInput: impossible steps, an unknown control or tolerance, a time limit that is none, a folder in use.
    """

    factory: Callable[[], object]
    steps: int
    points: tuple[int, ...]
    ignore: tuple[str, ...] = ()
    tolerance: float | str | None = None
    control: str = "auto"
    timeout: float = 3600.0
    in_process: bool = False
    folder: str | Path | None = None
    on_event: OnEvent | None = None
    title: str = "check"
    expected_loss: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    explain: bool = True
    preload: tuple[str, ...] = ()
    interpreters: Interpreters | None = None

    def __post_init__(self):
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
        folder = None if self.folder is None else Path(self.folder).absolute()
        if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(
                f"folder={str(self.folder)!r} is there and not empty: name a new one, nothing is overwritten"
            )
        for name in ("ignore", "values"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        object.__setattr__(self, "expected_loss", tuple(self.expected_loss))
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "tolerance", as_tolerance(self.tolerance))
        object.__setattr__(self, "on_event", self.on_event or _ignore_event)

    def session(self) -> Session:
        """What runs its sides."""
        own = {name: getattr(self, name) for name in ("in_process", "timeout", "on_event", "folder", "preload")}
        return Session(self.factory, interpreters=self.interpreters, **own)

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
        value = TIERS[given] if given in TIERS else float(given)
    except (TypeError, ValueError):
        raise BadInput(f"tolerance={given!r}: give a number or one of {', '.join(TIERS)}") from None
    if not 0 <= value < float("inf"):
        raise BadInput(f"tolerance={given!r}: give a number of 0 or more")
    return value
