"""Advised lines, tried in a script: it is killed and resumed once more with them in effect, its files as they are."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any

from dora_repro.explain.advice.handed_over import MORE
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.trials.trial import DATA, Outcome, TrialResult
from dora_repro.scripts.aligning import Alignment
from dora_repro.scripts.assignment import LINES, OTHER, GivenLine, GivenLines
from dora_repro.scripts.belonging import Calls
from dora_repro.scripts.calls import Call
from dora_repro.scripts.launching import Launch, last_lines
from dora_repro.scripts.libraries import ROOTS
from dora_repro.scripts.trials import ScriptTrials
from dora_repro.state.module_variables import PREFIX

_NO_FUNCTION = {"rng", "flags", "data", *ROOTS}
RAN = "These lines were run in the script"  # begins a sentence that may quote them
_NOT_TRIED = "These lines were not tried in the script: {why}."


@dataclass(frozen=True)
class Tried:
    """What came of trying advised lines.

    Attributes:
        result: as of any trial; None where they could not be tried.
        words: where they ran, or why they were not tried.
        launches: number of launches that it took.
        ran_before: before which lines of the script those of load ran.
    """

    result: TrialResult | None
    words: str
    launches: int = 0
    ran_before: tuple[str, ...] = ()


def try_lines(
    causes: Sequence[Cause],
    calls: Calls,
    alignment: Alignment,
    out: Path,
    run_trial: ScriptTrials,
    launch: Callable[[GivenLines], Sequence[Launch]],
    left: int,
) -> Tried | None:
    """Try the advised lines of all causes together.

    Args:
        causes: of one set that restores exact resume.
        calls: the script's lines that wrote and read the checkpoint.
        alignment: which files those are.
        out: the folder of both.
        run_trial: judges a launch.
        launch: kills and resumes the script once more with lines in effect; returns the launches that it took.
        left: number of launches that may be made.

    Returns:
        None where no cause has lines.
    """
    if not any(cause.save or cause.load for cause in causes):
        return None
    given = lines_of(causes, calls, alignment, out)
    if isinstance(given, str):
        return Tried(None, _NOT_TRIED.format(why=given))
    needed = 1 + bool(given.save)
    if needed > left:
        return Tried(None, _NOT_TRIED.format(why="the launches that --budget allows were used up"))
    launches = launch(replace(given, saved=run_trial.saved))
    return replace(_judged(launches, given, run_trial), launches=len(launches))


def lines_of(causes: Sequence[Cause], calls: Calls, alignment: Alignment, out: Path) -> GivenLines | str:
    """The advised lines, with the functions whose variables they name; or why they cannot be tried."""
    words = next((cause.name for cause in causes if not cause.load and not cause.taken_from), None)
    if words is not None:
        return f"what brings `{words}` back is told in words"
    lines = Explanation(tuple(causes)).lines
    if any(cause.name == DATA and cause.load and not cause.restored for cause in causes):
        return "they belong before the iterator of a loader is made"
    if not alignment.files:
        return "it is not known which file was read"
    if lines.state not in ("state", OTHER, MORE):
        return f"a library fills `{lines.state}`"
    if not calls.read or (lines.save and not calls.wrote):
        return f"the line that {'reads' if not calls.read else 'writes'} the checkpoint was not seen"
    functions = {line: function_of_cause(cause) for cause in causes for line in (*cause.save, *cause.load)}
    leaves: dict[str, tuple[str, ...]] = {}
    for cause in causes:
        leaves |= {line: (*leaves.get(line, ()), *cause.leaves) for line in cause.load}
    first = next((functions[line] for _, line in lines.load if functions.get(line)), "")
    there = out.resolve()
    read = calls.last_read or alignment.files[0]
    beside = _beside(alignment, calls, there) if any(cause.beside for cause in causes if cause.save) else ""
    checkpoint = there / os.path.commonpath(alignment.files)

    def of_load(file: str, line: str) -> GivenLine:
        own = file.partition("/")[2] if len(alignment.files) > 1 else f"../{file}"  # a folder is named in it
        own = os.path.normpath(checkpoint / own) if file else ""
        return GivenLine(line, functions.get(line) or first, leaves.get(line, ()), own)

    return GivenLines(
        tuple(GivenLine(line, functions.get(line, "")) for line in lines.save),
        tuple(starmap(of_load, lines.load)),
        lines.state,
        beside,
        _lines_of(calls.wrote[-1:] if calls.several else calls.wrote),
        _lines_of(calls.read[-1:] if calls.several else calls.read),
        (str(there / read),),
        folder=calls.folder,
    )


def _lines_of(calls: Iterable[Call]) -> tuple[tuple[str, int], ...]:
    return tuple((call["file"], call["line"]) for call in calls)


def _beside(alignment: Alignment, calls: Calls, out: Path) -> str:
    """What lines write a file of their own beside: the folder of a library's, or the file that was written last."""
    if calls.folder:
        return str(out / os.path.commonpath(alignment.files))
    return str(out / (calls.last_wrote or alignment.files[0]))


def function_of_cause(cause: Cause) -> str:
    """The name of the function whose variables a cause's lines name; empty where they name none."""
    function, inside, _ = next(iter(cause.restored or cause.leaves), "").partition("/")
    return function if inside and function not in _NO_FUNCTION and not function.startswith(PREFIX) else ""


def _judged(launches: Sequence[Launch], given: GivenLines, run_trial: ScriptTrials) -> Tried:
    told: dict[str, Any] = {}
    for launched in reversed(launches):  # what went wrong at first is what is told
        path = launched.folder.with_name(f"{launched.folder.name}.{LINES}")
        told |= json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "why" in told:
        return Tried(None, _NOT_TRIED.format(why=told["why"]))
    if "error" in told:
        return Tried(TrialResult(Outcome.UNRESOLVED, error=told["error"]), _where(told))
    if given.save and "saved" not in told:
        return Tried(None, _NOT_TRIED.format(why="the checkpoint was not written there once more"))
    result = run_trial.judged(launches[-1])
    if result.error is not None:
        shown = last_lines(launches[-1].log)
        return Tried(replace(result, error=shown[-1] if shown else result.error), _where(told))
    if "loaded" not in told:
        return Tried(None, _NOT_TRIED.format(why="their place was not reached"))
    return Tried(result, _where(told), ran_before=tuple(told["loaded"]))


def _where(told: dict[str, Any]) -> str:
    saved = f"those of save where the checkpoint is written at {told['saved']}" if "saved" in told else ""
    loaded = f"those of load just before {' and '.join(told['loaded'])}" if "loaded" in told else ""
    again = told.get("again")
    anew = (
        f"{again['lines']} once more when {again['at']} is first reached, since that state had changed by then"
        if again
        else ""
    )
    ran = "; ".join(filter(None, (saved, loaded, anew)))
    return f"{RAN}, whose files stay as they are: {ran}." if ran else ""
