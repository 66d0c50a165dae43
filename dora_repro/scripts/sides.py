"""From what launches left to the evidence of two sides, in the form in which every check has it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from dora_repro.scripts import assignment
from dora_repro.scripts.aligning import Alignment
from dora_repro.scripts.assignment import Round
from dora_repro.scripts.files import Entry, read_ledger
from dora_repro.scripts.launching import Launch
from dora_repro.scripts.windows import from_the_save_on
from dora_repro.sides.evidence import STEPS, Evidence
from dora_repro.sides.job import Job
from dora_repro.sides.result import Result, nothing_done, write_result
from dora_repro.trace import Trace, read_appended


def trace_of(launch: Launch, after: int = 0) -> Trace:
    """The steps of a launch; none where it came to none. It is finished where the command succeeded.

    Args:
        launch: the launch.
        after: the step that its first one follows.
    """
    path = launch.folder / assignment.STEPS
    trace = read_appended(path) if path.exists() else Trace()
    trace.finished = launch.code == 0
    if after:
        trace.steps = [replace(step, number=step.number + after) for step in trace.steps]
    return trace


def ledger_of(launch: Launch) -> list[Entry]:
    """What all processes of a launch wrote and read: rank 0 alone may save, and the others read it."""
    return [entry for folder in (launch.folder, *launch.others) for entry in read_ledger(folder / assignment.FILES)]


def settle(launch: Launch) -> int | None:
    """Let the folder of a launch be that of the process which trains and was not started by another that does.

    A script may start others that train, too, before it does so itself: a test of the GPU, a model that makes data.

    Returns:
        How many recorded processes were around that process; None where none trained.
    """
    folders = [each for each in (launch.folder, *launch.others) if (each / assignment.PROCESS).exists()]
    depths = {each: json.loads((each / assignment.PROCESS).read_text(encoding="utf-8"))["depth"] for each in folders}
    if not depths:
        return None
    main = min(folders, key=lambda each: depths[each])  # the launch's own first, where several are as deep
    if main != launch.folder:
        aside = launch.folder.with_name(f"{launch.folder.name}-aside")
        for old, new in ((launch.folder, aside), (main, launch.folder), (aside, main)):
            old.rename(new)
    return int(depths[main])


def reference_evidence(launch: Launch, killed: Launch, step: int, backwards: int = 0) -> Evidence | None:
    """The evidence of the uninterrupted side, with its state where the resumed one goes on, which the killed run kept.

    Args:
        launch: the uninterrupted run.
        killed: the run that was killed, and is the same one as far as it goes.
        step: the step after which the run was saved.
        backwards: number of backward passes since then: it was saved inside an accumulation window.

    Returns:
        None where that state was not kept.
    """
    kept = killed.folder / assignment.before_step(step + 1, backwards)
    if not kept.exists():
        return None
    folder = launch.folder / f"save-{step}"
    folder.mkdir(exist_ok=True)
    for extra in ("", assignment.ANCHOR):
        shutil.copy(kept.with_name(f"{kept.name}{extra}"), folder / f"before.pt{extra}")
    _keep_ranks(killed, kept.name, folder)
    result = _result(launch)
    result["saves"] = {str(step): []}
    result["in_hand"] = {str(step): []}
    # Of several kills, one in the middle of a step compares other steps than the rest do.
    name = f"trace-{step}-{backwards}.jsonl" if backwards else STEPS
    return _evidence(launch, from_the_save_on(trace_of(launch), step, backwards), result, name)


def _keep_ranks(killed: Launch, name: str, folder: Path) -> None:
    """Keep the state of further ranks beside the first one's, as far as they kept it: trials put back each its own."""
    for other in killed.others:
        rank = other.name.removeprefix(f"{killed.folder.name}-")
        if rank.startswith("rank") and (other / name).exists():
            for extra in ("", assignment.ANCHOR):
                shutil.copy(other / f"{name}{extra}", folder / f"before-{rank}.pt{extra}")


def resumed_evidence(launch: Launch, alignment: Alignment, *, told_more: bool) -> Evidence:
    """The evidence of the resumed side, its steps numbered as those of the uninterrupted run.

    Args:
        launch: the launch that resumed.
        alignment: where it goes on.
        told_more: its command says something that the first one does not.
    """
    trace = trace_of(launch, alignment.step)
    result = _result(launch)
    result["step"] += alignment.step
    result["resumes"] = True
    result["told"] = None if told_more else []
    if launch.code != 0 and not launch.stopped:
        error = f"the command {launch.ending}"
        result["failure"] = {
            "error": error,
            "traceback": f"{launch.command.text}\n{error}; its last lines:{launch.tail}",
            "defect": False,
        }
        result["where"] = "step" if trace.steps else "load"
    return _evidence(launch, trace, result)


def resumed_job(launch: Launch, alignment: Alignment, steps: int, load: Path) -> Job:
    """What the resumed side did, as other sides are told to."""
    return Job(launch.folder, steps, load=load, start=alignment.step)


def _result(launch: Launch) -> Result:
    result = nothing_done()
    about = about_of(launch)
    trace = trace_of(launch)
    result["where"], result["step"] = "done", len(trace.steps)
    result["finished"] = trace.finished
    if about.get("facts"):
        result["facts"] = about["facts"]
    result["libraries"], result["writers"] = about.get("libraries", {}), about.get("writers", [])
    result["places"] = about.get("places", {})
    result["overwritten"] = about.get("overwritten", [])
    result["seconds"] = {"all": launch.seconds}
    result["environment"] = about.get("environment", {})
    return result


def round_met(launch: Launch) -> Round | None:
    """The round that a launch met; None where it met none."""
    path = launch.folder / assignment.ROUND
    if not path.exists() or not (launch.folder / assignment.AT_ROUND).exists():
        return None
    return Round(**json.loads(path.read_text(encoding="utf-8")))


def about_of(launch: Launch) -> dict[str, Any]:
    """What the process said of itself when it ended; nothing where it was killed."""
    path = launch.folder / assignment.ABOUT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _evidence(launch: Launch, trace: Trace, result: Result, name: str = STEPS) -> Evidence:
    launch.folder.mkdir(exist_ok=True)  # one that raised before it trained left none
    trace.write(launch.folder / name)
    write_result(launch.folder, result)
    return Evidence(launch.folder, name)
