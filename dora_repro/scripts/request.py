"""What is asked of a script, validated before anything is launched."""

from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals
from typing import Any

from dora_repro.errors import BadInput
from dora_repro.scripts.commands import NEWEST, OUT, Command
from dora_repro.scripts.explaining import BUDGET
from dora_repro.sides.protocol import Event, OnEvent


def _no_listener(side: str, event: Event) -> None:
    pass


@dataclass(frozen=True)
class ScriptRequest:
    """One question about a script.

    Attributes:
        run: the command that trains.
        resume: the command that resumes; None where the same command does.
        kill_after: kill the run when so many steps are done; one report for each. Empty: between the second and the
            third checkpoint of the uninterrupted run.
        signal: sent to the run in place of SIGKILL, so that it saves and ends by itself; None for SIGKILL.
        at_step: the step that the resumed run goes on from, where it cannot be told from files.
        timeout: seconds for each launch.
        folder: keep the evidence here, if given.
        ignore: globs of leaves that may be lost at the end without harm.
        tolerance: absolute; None accepts no difference.
        explain: find the cause of a difference, by launching the resume command again with state put in.
        budget: largest number of launches for that.
        title: the name of the report; by default that of the script.
        on_event: called with (side, event) while the launches run; events are `built`, when one begins, and `step`.

    Raises:
        BadInput: a command without `{out}`, impossible steps, a folder in use.
    """

    run: Command
    resume: Command | None = None
    kill_after: tuple[int, ...] = ()
    signal: Signals | None = None
    at_step: int | None = None
    timeout: float = 3600.0
    folder: Path | None = None
    ignore: tuple[str, ...] = ()
    tolerance: float | None = None
    explain: bool = True
    budget: int = BUDGET
    title: str = ""
    on_event: OnEvent = _no_listener

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.run.name)
        if not self.run.has(OUT):
            raise BadInput(
                f"--run={self.run.text!r} does not say where it writes: put {OUT} in place of its output folder, "
                f'as in "python train.py --out {OUT}"'
            )
        if self.run.has(NEWEST):
            raise BadInput(f"--run={self.run.text!r}: there is no checkpoint yet that {NEWEST} could stand for")
        if self.resume is not None and not (self.resume.has(OUT) or self.resume.has(NEWEST)):
            raise BadInput(
                f"--resume={self.resume.text!r} cannot find what the killed run wrote: put {NEWEST} in place of its "
                f"checkpoint, or {OUT} in place of the output folder"
            )
        if len(set(self.kill_after)) < len(self.kill_after):
            raise BadInput(f"kill_after={self.kill_after!r}: give each step once")
        for step in self.kill_after:
            if type(step) is not int or step < 1:
                raise BadInput(f"kill_after={step!r}: give the number of steps after which the run is killed, from 1")
        if self.at_step is not None and self.at_step < 1:
            raise BadInput(f"at_step={self.at_step!r}: give the step that the resumed run goes on from, from 1")
        if self.budget < 1:
            raise BadInput(f"budget={self.budget!r}: give the largest number of launches to find a cause by, from 1")
        if not self.timeout > 0:
            raise BadInput(f"timeout={self.timeout!r}: give the seconds that each launch may take")
        if self.folder is not None and self.folder.exists():
            given = str(self.folder)
            if not self.folder.is_dir():
                raise BadInput(f"folder={given!r} is a file: name a new folder (--keep)")
            if any(self.folder.iterdir()):
                raise BadInput(f"folder={given!r} is not empty: name a new one (--keep), nothing is overwritten")

    @property
    def launched(self) -> tuple[str, ...]:
        """The commands as they were typed, a line each."""
        resumed = "the same command" if self.resume is None else self.resume.text
        return f"Script:  {self.run.text}", f"Resumed: {resumed}"

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, by the names of the options, as JSON can hold it."""
        resume = None if self.resume is None else self.resume.text
        asked = {"run": self.run.text, "resume": resume, "kill_after": list(self.kill_after), "at_step": self.at_step}
        asked |= {} if self.signal is None else {"signal": self.signal.name}
        return {**asked, "ignore": list(self.ignore), "tolerance": self.tolerance, "timeout": self.timeout}


def as_signal(name: str | None) -> Signals | None:
    """The signal of a name, as `TERM` or `SIGTERM`; None for none, and for SIGKILL.

    Raises:
        BadInput: there is no such signal, or a process cannot handle it.
    """
    full = (name or "SIGKILL").upper()
    full = full if full.startswith("SIG") else f"SIG{full}"
    found = next((each for each in Signals if each.name == full), None)
    if found is None or found is SIGSTOP:
        raise BadInput(f"signal={name!r}: name one that the script handles, as TERM or USR1 (--signal)")
    return None if found is SIGKILL else found
