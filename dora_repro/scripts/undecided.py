"""Where launches of a script came to no verdict: why, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dora_repro.scripts.commands import NEWEST, OUT, PYTHON
from dora_repro.scripts.launching import Launch


@dataclass(frozen=True)
class Undecided:
    """Why no verdict can be given.

    Attributes:
        reason: in one line; what happened in further ones.
        next_step: what to do about it.
    """

    reason: str
    next_step: str


def unfinished(resumed: Launch) -> Undecided:
    """The resumed run was ended from outside, or at its time limit: whatever it lacks says nothing of its resume."""
    if resumed.code is None:
        return Undecided(_told(resumed, f"the resumed run {resumed.ending}"), "give it more time (--timeout).")
    move = "it was ended from outside, which says nothing of its resume: run the check again."
    return Undecided(_told(resumed, f"the resumed run {resumed.ending}"), move)


def without_step(resumed: Launch) -> Undecided:
    """The resumed run ended well, and did not train."""
    if not resumed.installed:
        move = f"give the command that resumes the training, from {NEWEST} or from what it finds in {OUT}."
        return Undecided(_told(resumed, "the resume command did not train: it never imported torch"), move)
    move = "read what it printed, below: it may have found nothing to resume, or no training left to do."
    return Undecided(_told(resumed, "the resumed run did no training step"), move)


def began_anew(resumed: Launch, own: bool, elsewhere: Iterable[Path]) -> Undecided:
    """The resumed run read nothing of what the killed one had written, and its state is that of the beginning.

    Args:
        resumed: the launch.
        own: whether there is a command for the resume.
        elsewhere: checkpoints outside of `{out}` that it read.
    """
    read = [str(path) for path in elsewhere]
    reason = "it did not resume: it began anew"
    if read:
        reason += f"; it read {read[0]}, which the killed run had not written"
    if own:
        move = f"let --resume name what the killed run wrote: {NEWEST} is its checkpoint, {OUT} its folder."
    else:
        move = f'say how it is resumed, as in --resume "{PYTHON} train.py --out {OUT} --resume {NEWEST}".'
    return Undecided(_told(resumed, reason), move)


def forked() -> Undecided:
    """What was recorded is the same, and a process trained that was not."""
    reason = "a process trained that was made by os.fork(), as multiprocessing does on Linux: such are not recorded"
    move = 'start it by multiprocessing\'s "spawn" or as a command of its own: what was recorded is the same.'
    return Undecided(reason, move)


def not_kept(step: int) -> Undecided:
    """The uninterrupted run's state at the step could not be had."""
    move = "name a step with --at-step after which the run saved, and after which it goes on."
    return Undecided(f"the state after step {step} could not be kept", move)


def _told(resumed: Launch, reason: str) -> str:
    """A reason, with the command and its last words on further lines."""
    tail = resumed.tail.replace("\n  ", "\n")
    return f"{reason}\n{resumed.command.text}{tail}"
