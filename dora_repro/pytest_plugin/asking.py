"""What a test asks, put to the checks of run objects or of scripts; what means nothing to them is refused by name."""

import difflib
import inspect
from collections.abc import Collection, Iterable
from typing import Any, cast

from dora_repro.checks.checks import check
from dora_repro.checks.options import Options, request_of
from dora_repro.checks.report import Report, Reports
from dora_repro.checks.running import run_check, run_every_step, run_twice
from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.scripts.checking import check_script

_OBJECT = {*list(inspect.signature(check).parameters)[1:], "every_step", "twice"}
_SCRIPT = {*list(inspect.signature(check_script).parameters)[1:]}
_OF_OBJECTS = "is for run objects; of a script give kill_after, and resume where another command resumes it"
_OF_SCRIPTS = "is for scripts: give the script's command in place of what builds a run"


def ask(
    run: Factory | str, options: dict[str, Any], *, title: str, timeout: float | None, page: bool
) -> Report | Reports:
    """The answer to what a test asks.

    Args:
        run: what builds a run object, or the command of a script.
        options: what the test gave besides, without what it left out.
        title: the name of the report, where what builds the run has none.
        timeout: seconds for each side or launch, where the test gave none; None: the default of the checks.
        page: a page is made of it, which draws the distance of the parameters, step by step.

    Raises:
        BadInput: an option that does not exist or means nothing here, steps that are missing; as the checks.
    """
    given = options if timeout is None else {"timeout": timeout, **options}
    if isinstance(run, str):
        _require_known(given, _SCRIPT, _OBJECT, _OF_OBJECTS)
        return check_script(run, **given)
    _require_known(given, _OBJECT, _SCRIPT, _OF_SCRIPTS)
    name = getattr(run, "__name__", "<")  # that of a lambda is no name either
    return _of_object(run, {"values": "*", **given} if page else {**given}, title if name.startswith("<") else name)


def _of_object(run: Factory, given: dict[str, Any], title: str) -> Report | Reports:
    """One resume, several, or a resume of a resumed run."""
    each, again = given.pop("every_step", False), given.pop("twice", False)
    steps, points = given.pop("steps", None), given.pop("save_at", None)
    if steps is None:
        raise BadInput("give steps, the last step to do, and save_at, the step to save after")
    if each and (again or points is not None):
        raise BadInput(f"every_step resumes from every step: leave {'twice' if again else 'save_at'} out")
    if each:
        points = range(steps + 1) if isinstance(steps, int) else ()
    if points is None:
        raise BadInput("give save_at, the step to save after, or every_step=True to resume from every one")
    several = isinstance(points, Iterable)
    options = cast(Options, given)  # what is not among them was refused
    request = request_of(run, steps, points if several else (points,), options, title=title)
    return run_twice(request) if again else run_every_step(request) if several else run_check(request)


def _require_known(given: Iterable[str], known: Collection[str], elsewhere: Collection[str], why: str) -> None:
    for name in given:
        if name in known:
            continue
        if name in elsewhere:
            raise BadInput(f"{name} {why}")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise BadInput(f"there is no option {name!r}: {hint}")
