"""What a check of a script cannot begin or go on with: said with the thing, the value and the next move."""

import signal
from collections.abc import Iterable
from pathlib import Path

from dora_repro.errors import BadInput
from dora_repro.scripts import sides
from dora_repro.scripts.commands import NEWEST, OUT, Command
from dora_repro.scripts.launching import Launch
from dora_repro.wording import counted


def require_end(ran: Launch) -> None:
    """See that the uninterrupted run came to its end.

    Args:
        ran: that launch.

    Raises:
        BadInput: it did not.
    """
    done = len(sides.trace_of(ran).steps)
    after = f" after {counted(done, 'step')}" if done else " before its first training step"
    if ran.code is None:
        raise BadInput(f"the uninterrupted run {ran.ending}{after}; give more time (--timeout); {_last_lines(ran)}")
    if ran.stopped:
        raise BadInput(f"the uninterrupted run {ran.ending}{after}; run the check again; {_last_lines(ran)}")
    if ran.code != 0:
        raise BadInput(f"the uninterrupted run {ran.ending}{after}; fix it first; {_last_lines(ran)}")


def require_record(ran: Launch, command: Command) -> None:
    """See that the uninterrupted run was recorded, and trained.

    Args:
        ran: that launch.
        command: what was launched, as it was typed.

    Raises:
        BadInput: it was not, or did not.
    """
    require_no_problem(ran)
    if ran.kept_out and not ran.trained:  # some other process may do without
        raise BadInput(
            f"the uninterrupted run could not be recorded: {ran.kept_out[0]}. Where its Python lacks a package that "
            f"dora_repro needs, install dora_repro there, or run the check with that Python. {_said(command)}"
        )
    if not ran.installed:
        option = command.isolating
        if option is not None:
            why = (
                f"Python does not read the recorder with {option}: leave {option} out for the check, or call "
                "dora_repro.record() in the script before it trains"
            )
        else:
            why = (
                "either it never imports torch, or the recorder does not reach its Python: it is found through "
                "PYTHONPATH and sitecustomize, which neither -I, -E and -S nor a container let in; there, call "
                "dora_repro.record() in the script before it trains"
            )
        raise BadInput(f"nothing was recorded: {why}. {_said(command)}; {_last_lines(ran)}")
    if not ran.trained and ran.forked:
        raise BadInput(
            "the command trained in a process that it made by os.fork(), as multiprocessing does on Linux, and such "
            'are not recorded. Start it by multiprocessing\'s "spawn" or as a command of its own, or give the command '
            f"that trains in the first process. {_said(command)}; {_last_lines(ran)}"
        )
    if not ran.trained:
        raise BadInput(
            "the command imported torch, but did not train: no forward pass of a module in training mode and no "
            "backward pass was seen on the main thread of a process that was not forked. Give the command that trains. "
            f"{_said(command)}; {_last_lines(ran)}"
        )
    if not sides.trace_of(ran).steps:
        raise BadInput(
            f"the command trained, but no optimizer made a step. {_said(command)}; {_last_lines(ran)}",
        )


def require_no_problem(ran: Launch) -> None:
    """See that the record of a launch did not break off.

    Args:
        ran: that launch.

    Raises:
        BadInput: it did.
    """
    if ran.problems:
        raise BadInput(
            f"the {ran.name} run trained, but its record broke off: {ran.problems[0]}. Please report this as a "
            f"defect of dora_repro. The command was {ran.command.text!r}"
        )


def require_kill(killed: Launch, kill_after: int) -> None:
    """See that the run to be killed came to where it was to be.

    Args:
        killed: that launch.
        kill_after: the number of steps after which it was to be killed.

    Raises:
        BadInput: it ended before.
    """
    require_no_problem(killed)
    if killed.was_killed:
        return
    steps = counted(len(sides.trace_of(killed).steps), "step")
    if killed.code == 0:
        why = f"it was over after {steps}, and the first run of the same command was not: start from the same state"
    else:
        move = "give more time (--timeout)" if killed.code is None else "run the check again, or fix it first"
        why = f"it {killed.ending} after {steps}; {move}"
    raise BadInput(f"the second run was to be killed after step {kill_after}, but {why}; {_last_lines(killed)}")


def require_stop(killed: Launch, sent: signal.Signals, steps: int) -> None:
    """See that the run ended where it was sent a signal.

    Args:
        killed: that launch.
        sent: the signal.
        steps: number of steps of the uninterrupted run.

    Raises:
        BadInput: it went on, to its end or to its time limit.
    """
    if killed.code is None:
        raise BadInput(f"the script was sent {sent.name} and {killed.ending}: it goes on; {_last_lines(killed)}")
    if killed.code == 0 and len(sides.trace_of(killed).steps) >= steps:
        raise BadInput(
            f"the script was sent {sent.name} and went on to its end, after {counted(steps, 'step')}: is that the "
            f"signal that it handles (--signal)? Does it look for it often enough? {_last_lines(killed)}"
        )


def require_own_files(resumed: Launch, folder: Path, out: Path) -> None:
    """See that the resume command read nothing that another launch than the killed one had written.

    Args:
        resumed: that launch.
        folder: where the evidence of the check is, with what the launches wrote.
        out: the folder that stands for `{out}`.

    Raises:
        BadInput: it did.
    """
    real = folder.resolve(), out.resolve()
    for path in read_elsewhere(resumed, out):
        if path.is_relative_to(real[0]):
            name = path.relative_to(real[0]).as_posix()
            raise BadInput(
                f"the resume command read {name}, which is not of the run that was killed: use {NEWEST} or {OUT} in "
                f"--resume. The command was {resumed.command.text!r}"
            )


def read_elsewhere(resumed: Launch, out: Path) -> Iterable[Path]:
    """Checkpoints outside of `{out}` that a launch read before its first step.

    Args:
        resumed: the launch.
        out: the folder that stands for `{out}`.
    """
    real = out.resolve()
    read = (Path(e["path"]) for e in sides.ledger_of(resumed) if e["kind"] == "read" and not e["step"])
    return [path for path in dict.fromkeys(read) if not path.is_relative_to(real)]


def _said(command: Command) -> str:
    return f"The command was {command.option}={command.text!r}"


def _last_lines(ran: Launch) -> str:
    return f"its last lines:{ran.tail}"
