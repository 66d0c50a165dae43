"""What `result.json` of a side says: how far it came, what its saves changed, how long it took. Plain data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast

from dora_repro.contracts import Json
from dora_repro.difference import LeafDifference
from dora_repro.recording.learning import Facts

NAME = "result.json"

Where: TypeAlias = Literal["build", "load", "save", "step", "end", "outputs", "done"]


class Failure(TypedDict):
    """What the run raised.

    Attributes:
        error: type and message, in a line.
        traceback: the whole of it.
        defect: whether the kit failed, and not the run.
    """

    error: str
    traceback: str
    defect: bool


class Result(TypedDict):
    """What a side did. It is filled as the side works, and written whatever happens.

    Attributes:
        where: what the side was doing last.
        step: number of the last finished step.
        phase: the last phase that the last step reached, finished or not.
        finished: the run said by StopIteration that it was over.
        saves: by step (as text), what `save()` changed: leaf differences as dictionaries.
        in_hand: by step of a save (as text), digests of what the run had drawn from its loaders for the next step.
        rewritten: steps after whose save the files changed once more.
        facts: what tells a test from an empty one.
        seconds: wall time of each part, and of `all`.
        not_transplanted: path -> reason, for leaves that could not be put into the run.
        built: digests, in hexadecimal, of the plain values of a run that was to load, before it did; None where that
            moment was not seen.
        at_work: digests, in hexadecimal, of what a step works with, when the first one after loading began to work
            (`recording/at_work.py`).
        overwritten: at the end, variables of functions half done whose values nothing would read
            (`state/liveness.py`), by path.
        late: paths of the objects that the first step made before the state was stored (`Job.late`).
        resumes: whether the factory builds and loads at once, by a `resume(path)` of its own.
        told: what the resumed side was told to do otherwise: names of arguments or entries; None where not known.
        loading: notes of calls of `load_state_dict` (`recording/load_calls.py`).
        libraries: training library -> the attribute of the run that shows it.
        writers: functions by which the run's own code writes objects that it has built.
        places: `save` and `load`, or the path of a function's variables -> where lines of advice go
            (`sides/places.py`).
        library_functions: path of the variables of a function that the run is in -> the library that it is of.
        failure: what the run raised; None where it did not.
        refused: the message of what it raised, where that is of this kit (`BadInput`): the user's to read as it is.
        environment: versions, devices and numeric flags of the process.
    """

    where: Where
    step: int
    phase: str
    finished: bool
    saves: dict[str, list[dict[str, Json]]]
    in_hand: dict[str, list[str]]
    rewritten: list[int]
    facts: Facts
    seconds: dict[str, float]
    not_transplanted: dict[str, str]
    built: dict[str, str] | None
    at_work: dict[str, str]
    overwritten: list[str]
    late: list[str]
    resumes: bool
    told: list[str] | None
    loading: list[dict[str, Json]]
    libraries: dict[str, str]
    writers: list[str]
    places: dict[str, dict[str, Any]]
    library_functions: dict[str, str]
    failure: Failure | None
    refused: str
    environment: dict[str, object]


def nothing_done() -> Result:
    """The result of a side that has not begun."""
    return {
        "where": "build",
        "step": 0,
        "phase": "batch",
        "finished": False,
        "saves": {},
        "in_hand": {},
        "rewritten": [],
        "facts": {"trainable": {}, "gradients": None, "changed": False, "values_dropped": False},
        "seconds": {},
        "not_transplanted": {},
        "built": None,
        "at_work": {},
        "overwritten": [],
        "late": [],
        "resumes": False,
        "told": None,
        "loading": [],
        "libraries": {},
        "writers": [],
        "places": {},
        "library_functions": {},
        "failure": None,
        "refused": "",
        "environment": {},
    }


def write_result(folder: Path, result: Result) -> None:
    (folder / NAME).write_text(json.dumps(result), encoding="utf-8")


def read_result(folder: Path) -> Result:
    """What `write_result` wrote: a side of this very check did, so its shape is looked at only where it was kept."""
    return cast(Result, json.loads((folder / NAME).read_text(encoding="utf-8")))


def to_fields(difference: LeafDifference) -> dict[str, Json]:
    """A difference as JSON can hold it."""
    return {**asdict(difference), "at": list(difference.at)}


def from_fields(fields: dict[str, Any]) -> LeafDifference:
    """The difference that `to_fields` took apart."""
    return LeafDifference(**{**fields, "at": tuple(fields["at"])})
