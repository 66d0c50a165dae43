"""Is a script that was killed and resumed the run that was not interrupted? Three launches, and a judgement.

The uninterrupted run; the same command, killed; the command that resumes it. All have the same path for `{out}`: what
one left there is moved aside before the next begins. That the killed run is the uninterrupted one up to its end is the
control: it shows what differs between any two processes.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dora_repro.alignment import first_divergence
from dora_repro.checks import judge
from dora_repro.checks.report import Control, Report, Reports, Verdict
from dora_repro.checks.request import as_tolerance
from dora_repro.checks.running import discrepancy_of, report_of
from dora_repro.comparison.leaves import compare
from dora_repro.driving.written import newest
from dora_repro.errors import BadInput
from dora_repro.explain.explanation import Explanation
from dora_repro.scripts import refusing, sides, undecided
from dora_repro.scripts.aligning import (
    Alignment,
    aligned_by_files,
    aligned_by_state,
    corrected_by_state,
    may_be_checkpoint,
    relative,
)
from dora_repro.scripts.anchors import Anchor
from dora_repro.scripts.assignment import ANCHOR, BATCHES, FIRST, Assignment, Given
from dora_repro.scripts.commands import NEWEST, OUT, Command
from dora_repro.scripts.explaining import BUDGET, explain_script
from dora_repro.scripts.launching import Launch, launch
from dora_repro.scripts.resumed_alone import only_resumed
from dora_repro.scripts.trials import ScriptTrials, TrialLaunch, copy_of
from dora_repro.scripts.undecided import Undecided
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.sides.protocol import Event, OnEvent
from dora_repro.state.leaves import KEPT, LOG
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace
from dora_repro.wording import counted

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NOT_WRITABLE = (*_FULL, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


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


def check_script(
    run: str,
    resume: str | None = None,
    *,
    kill_after: int | Iterable[int] | None = None,
    at_step: int | None = None,
    ignore: str | Iterable[str] = (),
    tolerance: float | str | None = None,
    explain: bool = True,
    budget: int = BUDGET,
    timeout: float = 3600.0,
    folder: str | Path | None = None,
) -> Report | Reports:
    """Is a script that is killed and resumed the run that was not interrupted? The script is not changed.

    It is launched three times: uninterrupted; killed (SIGKILL) after a step; resumed from what it had written by then.

    Args:
        run: the command that trains, as it is typed in a terminal; `{out}` in it is the folder that the script writes
            to, `{python}` the interpreter of this process.
        resume: the command that resumes; `{newest}` in it is the youngest checkpoint in `{out}`, a file or a folder.
            None: the command of `run`, which finds its checkpoint by itself.
        kill_after: kill the run when that many steps are done (one step is one update of the optimizer); several make
            several reports. None: between the second and the third checkpoint of the uninterrupted run.
        at_step: the step that the resumed run goes on from, where neither files nor state tell.
        ignore: globs of leaves that may be lost at the end without harm.
        tolerance: accept differences of parameters up to this absolute value.
        explain: find the cause of a difference, by launching the resume command again with state put in.
        budget: largest number of launches for that.
        timeout: seconds for each launch.
        folder: keep the evidence here (must not exist, or be empty); by default it is removed.

    Returns:
        The report; several where `kill_after` has several.

    Raises:
        BadInput: a command that is not found or fails, that does not train, that writes nothing to `{out}` or is over
            before it is to be killed, a placeholder that does not exist.

    Example:
        ::

            report = dora_repro.check_script(
                "python train.py --out {out}", resume="python train.py --out {out} --resume {newest}", kill_after=18
            )
            print(report)
    """
    points = () if kill_after is None else (kill_after,) if isinstance(kill_after, int) else tuple(kill_after)
    request = ScriptRequest(
        Command(run, "--run"),
        None if resume is None else Command(resume, "--resume"),
        points,
        at_step,
        timeout,
        None if folder is None else Path(folder),
        (ignore,) if isinstance(ignore, str) else tuple(ignore),
        as_tolerance(tolerance),
        explain,
        budget,
    )
    return run_script(request)


def run_script(request: ScriptRequest) -> Report | Reports:
    """`check_script` of a request."""
    with _workplace(request.folder) as folder:
        work = _Work(request, folder)
        reports = tuple(replace(work.report(step), launched=request.launched) for step in work.points)
    if len(reports) == 1:
        return reports[0]
    titled = (replace(each, title=f"killed after step {step}") for each, step in zip(reports, work.points, strict=True))
    return Reports(request.title, tuple(titled))


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """The folder of the evidence; a temporary one goes when the check is over."""
    if folder is not None:
        with _written_to(folder, _NOT_WRITABLE):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        with _written_to(folder, _FULL):
            yield folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="dora-repro-", ignore_cleanup_errors=True) as temporary:
        with _written_to(Path(temporary), _FULL):
            yield Path(temporary).resolve()


@contextmanager
def _written_to(folder: Path, errors: Container[int | None]) -> Iterator[None]:
    """Tell of a folder that cannot be written to as of something that its user can change."""
    try:
        yield
    except OSError as error:
        if error.errno not in errors:
            raise
        raise BadInput(f"folder={str(folder)!r}: {error.strerror}; name one that can be written to (--keep)") from None


class _Work:
    """The launches of one check, in order.

    Args:
        request: what is asked.
        folder: where evidence and `{out}` are.

    Attributes:
        points: the steps to kill after.
    """

    def __init__(self, request: ScriptRequest, folder: Path):
        self._request, self._folder = request, folder
        self._out = folder / "out"
        self._trials = 0
        self._depths: dict[str, int | None] = {}  # of the process that is judged, by the command
        self._reference = self._uninterrupted()
        self._trace = sides.trace_of(self._reference)
        self._saved = self._save_steps()
        self.points = request.kill_after or (self._between_saves(),)
        for step in self.points:
            if step >= len(self._trace.steps):
                done = counted(len(self._trace.steps), "step")
                raise BadInput(f"--kill-after {step}: the run is over after {done}; choose a smaller number")
            if request.at_step is not None and request.at_step > step + 1:
                raise BadInput(f"--at-step {request.at_step}: the run is killed after step {step}, and saved before")

    # --- the uninterrupted run ---------------------------------------------------------------------------------------

    def _uninterrupted(self) -> Launch:
        self._out.mkdir()
        ran = self._launch("reference", self._request.run, keep_first=True)
        refusing.require_end(ran)
        self._depths[self._request.run.text] = sides.settle(ran)
        refusing.require_record(ran, self._request.run)
        self._aside("reference")
        return ran

    def _save_steps(self) -> Sequence[int]:
        """The steps after which the uninterrupted run wrote checkpoints.

        Raises:
            BadInput: it wrote nothing to `{out}`.
        """
        wrote = [entry for entry in sides.ledger_of(self._reference) if entry["kind"] == "wrote"]
        there = self._folder / "out-reference"
        if not wrote and not any(there.rglob("*")):
            raise BadInput(
                f"the script wrote nothing to {OUT}: put it in place of the argument for its output folder. "
                f"The command was {self._reference.command.text!r}; its last lines:{self._reference.tail}"
            )
        return sorted({entry["step"] for entry in wrote if may_be_checkpoint(entry["path"])})

    def _between_saves(self) -> int:
        """A step between the second and the third checkpoint, as far as there are so many."""
        last = len(self._trace.steps)
        saved = [step for step in self._saved if 0 < step < last]
        if not saved:
            raise BadInput(
                f"the script wrote no checkpoint to {OUT} before its last step ({last}): let it save earlier, or say "
                "when to kill it with --kill-after"
            )
        before = saved[min(1, len(saved) - 1)]
        after = next((step for step in self._saved if step > before), last)
        return min((before + after) // 2, last - 1)

    # --- one kill ----------------------------------------------------------------------------------------------------

    def report(self, kill_after: int) -> Report:
        """Kill, resume, compare."""
        killed = self._killed(kill_after)
        resumed = self._resumed(kill_after)
        alignment = self._alignment(killed, resumed)
        if isinstance(alignment, Undecided):
            return self._inconclusive(alignment, kill_after)
        reference = sides.reference_evidence(self._reference, killed, alignment.step)
        if reference is None:
            again = self._launch_again(alignment.step)
            reference = sides.reference_evidence(self._reference, again, alignment.step)
            if reference is None:
                return self._inconclusive(undecided.not_kept(alignment.step), kill_after)
        return self._judged(reference, killed, resumed, alignment, kill_after)

    def _killed(self, kill_after: int) -> Launch:
        self._out.mkdir()
        killed = self._launch(
            f"killed-{kill_after}", self._request.run, kill_after=kill_after, keep_first=True, keep_saved=True
        )
        refusing.require_kill(killed, kill_after)
        if newest(self._out) is None:
            first = next((step for step in self._saved if step), None)
            move = "let it save earlier" if first is None else f"it saves first after step {first}, so kill it later"
            raise BadInput(f"--kill-after {kill_after}: no checkpoint had been written to {OUT} by then; {move}")
        shutil.copytree(self._out, self._folder / f"out-killed-{kill_after}", symlinks=True)
        return killed

    def _resumed(self, kill_after: int) -> Launch:
        command = self._request.resume or self._request.run
        before = _listing(self._folder / "out-reference")
        resumed = self._launch(f"resumed-{kill_after}", command, keep_first=True)
        if _listing(self._folder / "out-reference") != before:
            raise BadInput(f"the resume command wrote into the folder of the uninterrupted run: use {OUT} in it")
        if command.text not in self._depths:
            self._depths[command.text] = sides.settle(resumed)
        refusing.require_no_problem(resumed)
        refusing.require_own_files(resumed, self._folder, self._out)
        self._aside(f"resumed-{kill_after}")
        return resumed

    def _launch_again(self, step: int) -> Launch:
        """The run once more, up to the step that the resumed one went on from: to keep its state there."""
        self._out.mkdir()
        again = self._launch(f"again-{step}", self._request.run, kill_after=step, keep_at=(step + 1,))
        self._aside(f"again-{step}")
        return again

    def _alignment(self, killed: Launch, resumed: Launch) -> Alignment | Undecided:
        """Where the resumed run goes on; or why that is not known."""
        if not resumed.trained:
            if resumed.stopped:
                return undecided.unfinished(resumed)
            if resumed.code == 0:
                return undecided.without_step(resumed)
        if self._request.at_step is not None:
            return Alignment(self._request.at_step, "option")
        found = aligned_by_files(sides.ledger_of(killed), sides.ledger_of(resumed), self._out)
        first = resumed.folder / FIRST
        if found is not None and found.step:
            return corrected_by_state(found, self._trace, Snapshot.read(first)) if first.exists() else found
        if not resumed.trained:  # it raised before it could be seen what it read: from the youngest, most likely
            found = self._youngest(killed)
        else:
            found = aligned_by_state(self._trace, Snapshot.read(first)) if first.exists() else None
        if found is None:
            elsewhere = refusing.read_elsewhere(resumed, self._out)
            return undecided.began_anew(resumed, self._request.resume is not None, elsewhere)
        return found

    def _youngest(self, killed: Launch) -> Alignment | None:
        wrote = [e for e in sides.ledger_of(killed) if e["kind"] == "wrote" and may_be_checkpoint(e["path"])]
        if not wrote:
            return None
        last = max(wrote, key=lambda entry: entry["step"])
        return Alignment(last["step"], "files", (relative(last["path"], self._out),))

    def _judged(
        self, reference: Evidence, killed: Launch, resumed: Launch, alignment: Alignment, kill_after: int
    ) -> Report:
        step, steps = alignment.step, len(self._trace.steps)
        evidence = sides.resumed_evidence(resumed, alignment)
        findings = judge.compare_sides(reference, evidence, step, steps)
        control = self._control(killed)
        made_after = self._made_after_training(evidence, findings)
        alone = tuple(self._only_resumed(reference, evidence, resumed, findings, step))
        findings = replace(
            findings,
            end=tuple(d for d in findings.end if d.path not in made_after and d.path not in alone),
            set_by_load=(*findings.set_by_load, *alone),
        )
        asked = _Asked(steps, self._request.ignore, (), self._request.tolerance, self._request.title)
        notes = (alignment.words, *self._notes(killed, resumed, alignment, kill_after))
        report = report_of(asked, reference, evidence, findings, control, notes, step)
        if resumed.stopped and not (report.verdict is Verdict.DIFFERENT and resumed.trained):
            return self._inconclusive(undecided.unfinished(resumed), kill_after)
        if resumed.stopped or not self._request.explain or report.verdict not in (Verdict.DIFFERENT, Verdict.LATENT):
            return report
        job = sides.resumed_job(resumed, alignment, steps, self._loaded_from(alignment, kill_after))
        both = Sides(reference, Job(reference.folder, steps, (step,)), evidence, job)
        return replace(report, explanation=self._explained(both, findings, report, kill_after))

    # --- why ---------------------------------------------------------------------------------------------------------

    def _explained(self, both: Sides, findings: judge.Findings, report: Report, kill_after: int) -> Explanation:
        discrepancy = discrepancy_of(report, both, findings)
        first = both.resumed.folder / f"{FIRST}{ANCHOR}"
        trials = ScriptTrials(
            both,
            both.reference.folder / f"save-{both.save_at}" / "before.pt",
            Anchor.read(first) if first.exists() else Anchor(None),
            lambda trial: self._tried(trial, both, kill_after),
            lambda: self._batches(both.save_at),
            discrepancy.at_end,
        )
        return explain_script(trials, both, discrepancy, self._request.budget)

    def _tried(self, trial: TrialLaunch, both: Sides, kill_after: int) -> Launch:
        """The resume command once more, from what the killed run had left, with state put in."""
        copy_of(self._folder / f"out-killed-{kill_after}", self._out)
        self._trials += 1
        expected = None if trial.to_the_end else both.reference.folder / "trace.jsonl"
        command = self._request.resume or self._request.run
        name = f"trial-{self._trials}"
        launched = self._launch(name, command, given=trial.given, expected=expected, start=both.save_at)
        shutil.rmtree(self._out, ignore_errors=True)
        return launched

    def _batches(self, step: int) -> Path | None:
        """The batches of the uninterrupted run from a step on: it is run once more to have them."""
        folder = self._folder / f"batches-{step}"
        if not folder.exists():
            self._out.mkdir()
            self._launch(folder.name, self._request.run, keep_batches=step + 1)
            shutil.rmtree(self._out, ignore_errors=True)
        path = folder / BATCHES
        return path if path.exists() else None

    def _loaded_from(self, alignment: Alignment, kill_after: int) -> Path:
        """The checkpoint that the resumed run read, as the killed one had left it."""
        left = self._folder / f"out-killed-{kill_after}"
        read = [left / name for name in alignment.files]
        if len(read) == 1:
            return read[0]
        return Path(os.path.commonpath(read)) if read else newest(left) or left

    def _control(self, killed: Launch) -> Control:
        """Whether the killed run did what the uninterrupted one had done, and what differed all the same."""
        trace = sides.trace_of(killed)
        found = first_divergence(self._trace, trace)
        begun_with = (Snapshot.read(each.folder / FIRST) for each in (self._reference, killed))
        noise = dict.fromkeys(difference.path for difference in compare(*begun_with).differences)
        noise |= dict.fromkeys(_differing_memory(self._trace, trace))
        return Control(("reference",), found is None, found, tuple(noise))

    def _made_after_training(self, resumed: Evidence, findings: judge.Findings) -> frozenset[str]:
        """Paths that differ at the end, and did not before the last step: what a script makes of its training when it
        is over, as the time that it took. A loss would have been there before."""
        before = len(self._trace.steps) - 1
        states = [
            next((dict(memory) for number, memory in trace.memory() if number == before), None)
            for trace in (self._trace, resumed.trace)
        ]
        if states[0] is None or states[1] is None:
            return frozenset()
        lost = {difference.path for difference in findings.lost}
        kept = (difference.path for difference in findings.end if difference.role in (*KEPT, LOG))
        return frozenset(path for path in kept if path not in lost and states[0].get(path) == states[1].get(path))

    def _only_resumed(
        self, reference: Evidence, evidence: Evidence, resumed: Launch, findings: judge.Findings, step: int
    ) -> Iterator[str]:
        """Paths in variables that only the resumed process has: the checkpoint that it read."""
        loaded = evidence.loaded_or_none
        if loaded is None:
            return iter(())
        told = {*findings.set_by_load, *findings.bookkeeping}
        paths = dict.fromkeys(difference.path for difference in (*findings.end, *findings.lost))
        return only_resumed(
            (path for path in paths if path not in told),
            reference.at_save(step),
            reference.end,
            loaded,
            sides.about_of(resumed).get("named", ()),
        )

    def _notes(self, killed: Launch, resumed: Launch, alignment: Alignment, kill_after: int) -> Iterator[str]:
        yield f"Killed after step {kill_after}, when step {kill_after + 1} had made its update."
        if alignment.backwards:
            passes = counted(alignment.backwards, "backward pass")
            yield f"It was saved inside an accumulation window, {passes} after its last update, without their .grad."
        others = {folder.name for each in (self._reference, killed, resumed) for folder in each.others}
        if others:
            yield f"Further processes trained and were recorded, but not judged: {', '.join(sorted(others))}."

    def _inconclusive(self, why: Undecided, kill_after: int) -> Report:
        return Report(
            Verdict.INCONCLUSIVE,
            why.reason,
            kill_after,
            len(self._trace.steps),
            title=self._request.title,
            next_step=why.next_step,
            reference=self._trace,
        )

    # --- what they have in common ------------------------------------------------------------------------------------

    def _launch(
        self,
        name: str,
        command: Command,
        *,
        kill_after: int | None = None,
        keep_first: bool = False,
        keep_saved: bool = False,
        keep_at: tuple[int, ...] = (),
        keep_batches: int | None = None,
        given: Given | None = None,
        expected: Path | None = None,
        start: int = 0,
    ) -> Launch:
        values = {OUT: str(self._out)}
        if command.has(NEWEST):
            values[NEWEST] = str(newest(self._out))
        assigned = Assignment(
            self._folder / name,
            self._out,
            kill_after,
            keep_first,
            keep_saved,
            keep_at,
            keep_batches,
            given,
            expected,
            start,
            self._depths.get(command.text),
        )
        side = name.partition("-")[0]
        self._request.on_event(side, {"event": "built", "step": 0})

        def on_step(step: int) -> None:
            self._request.on_event(side, {"event": "step", "step": step})

        return launch(side, command.filled(values), assigned, timeout=self._request.timeout, on_step=on_step)

    def _aside(self, name: str) -> None:
        """Move what a launch wrote, so that the next finds an empty folder at the same path."""
        if self._out.exists():
            self._out.rename(self._folder / f"out-{name}")


@dataclass(frozen=True)
class _Asked:
    steps: int
    ignore: tuple[str, ...]
    expected_loss: tuple[str, ...]
    tolerance: float | None
    title: str


def _differing_memory(one: Trace, other: Trace) -> Iterator[str]:
    """Paths of memory that two runs of the same command had otherwise at the end of some step."""
    found: dict[str, None] = {}
    for (_, expected), (_, actual) in zip(one.memory(), other.memory(), strict=False):
        found |= dict.fromkeys(
            path for path in expected.keys() | actual.keys() if expected.get(path) != actual.get(path)
        )
    yield from found


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
