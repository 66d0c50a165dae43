"""Is a script that was killed and resumed the run that was not interrupted? Three launches, and a judgement.

The uninterrupted run; the same command, killed; the command that resumes it. All have the same path for `{out}`: what
one left there is moved aside before the next begins. That the killed run is the uninterrupted one up to its end is the
control: it shows what differs between any two processes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dora_repro.checks.keeping import SCRIPT, Answer, Kept, Origin
from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.checks.request import as_tolerance
from dora_repro.checks.running import discrepancy_of, report_of
from dora_repro.driving.written import newest
from dora_repro.errors import BadInput
from dora_repro.explain.advice.handed_over import handed_over
from dora_repro.explain.candidates import Discrepancy
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.scripts import refusing, sides, undecided
from dora_repro.scripts.again import Again, met_round, trials_of
from dora_repro.scripts.aligning import (
    Alignment,
    aligned_by_files,
    aligned_by_state,
    corrected_by_state,
    relative,
)
from dora_repro.scripts.assignment import FIRST, GivenLines
from dora_repro.scripts.belonging import OWN_CODE, Calls, calls_of, wrote_by_own_code
from dora_repro.scripts.commands import OUT, Command
from dora_repro.scripts.explaining import BUDGET, explain_script
from dora_repro.scripts.files import may_be_checkpoint
from dora_repro.scripts.judging import control_of, findings_of
from dora_repro.scripts.launching import Launch
from dora_repro.scripts.request import ScriptRequest, as_signal
from dora_repro.scripts.trials import AtRound
from dora_repro.scripts.trying import Tried, try_lines
from dora_repro.scripts.undecided import Undecided
from dora_repro.scripts.workplace import Workplace, workplace
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace
from dora_repro.wording import counted


def check_script(
    run: str,
    resume: str | None = None,
    *,
    kill_after: int | Iterable[int] | None = None,
    signal: str | None = None,
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
        signal: send it this signal in place of SIGKILL, as `TERM` or `USR1`, and let it save and end by itself: what a
            cluster does before it takes a machine away.
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
        as_signal(signal),
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
    with workplace(request.folder) as folder:
        check = _Check(request, Workplace(request, folder))
        kept = Kept(SCRIPT, request.title, len(check.points) > 1, request.asked, Origin.here(), check.answers())
        if request.folder is not None:
            kept.write(folder)
    return kept.result


@dataclass(frozen=True)
class _Asked:
    """What a report repeats of the question."""

    steps: int
    ignore: tuple[str, ...]
    tolerance: float | None
    title: str
    expected_loss: tuple[str, ...] = ()


class _Check:
    """One check of a script: the uninterrupted run, then a kill and a resume for each report.

    Args:
        request: what is asked.
        place: launches the commands.

    Attributes:
        points: the steps to kill after.
    """

    def __init__(self, request: ScriptRequest, place: Workplace):
        self._request, self._place = request, place
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
        ran = self._place.uninterrupted()
        refusing.require_end(ran)
        self._place.depths[self._request.run.text] = sides.settle(ran)
        refusing.require_record(ran, self._request.run)
        self._place.aside("reference")
        return ran

    def _save_steps(self) -> Sequence[int]:
        """The steps after which the uninterrupted run wrote checkpoints.

        Raises:
            BadInput: it wrote nothing to `{out}`.
        """
        wrote = [entry for entry in sides.ledger_of(self._reference) if entry["kind"] == "wrote"]
        there = self._place.folder / "out-reference"
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
        if not saved and self._request.signal is not None and last > 1:
            return last // 2
        if not saved:
            raise BadInput(
                f"the script wrote no checkpoint to {OUT} before its last step ({last}): let it save earlier, or say "
                "when to kill it with --kill-after"
            )
        before = saved[min(1, len(saved) - 1)]
        after = next((step for step in self._saved if step > before), last)
        return min((before + after) // 2, last - 1)

    # --- one kill ----------------------------------------------------------------------------------------------------

    def answers(self) -> tuple[Answer, ...]:
        """A report for each kill, and where its evidence is."""
        return tuple(self._titled(self.answer(step), step) for step in self.points)

    def _titled(self, answer: Answer, kill_after: int) -> Answer:
        title = f"killed after step {kill_after}" if len(self.points) > 1 else answer.report.title
        return replace(answer, report=replace(answer.report, title=title, launched=self._request.launched))

    def answer(self, kill_after: int) -> Answer:
        """Kill, resume, compare."""
        killed = self._killed(kill_after)
        resumed = self._resumed(kill_after)
        alignment = self._alignment(killed, resumed)
        if isinstance(alignment, Undecided):
            return self._undecided(alignment, kill_after)
        reference = sides.reference_evidence(self._reference, killed, alignment.step, alignment.backwards)
        if reference is None:
            again = self._place.again(alignment.step)
            reference = sides.reference_evidence(self._reference, again, alignment.step)
            if reference is None:
                return self._undecided(undecided.not_kept(alignment.step), kill_after)
        return self._judged(reference, killed, resumed, alignment, kill_after)

    def _killed(self, kill_after: int) -> Launch:
        killed = self._place.killed(kill_after)
        refusing.require_kill(killed, kill_after)
        if self._request.signal is not None:
            refusing.require_stop(killed, self._request.signal, len(self._trace.steps))
        if newest(self._place.out) is None:
            first = next((step for step in self._saved if 0 < step < len(self._trace.steps)), None)
            if self._request.signal is not None:
                raise BadInput(
                    f"the script was sent {self._request.signal.name} after step {kill_after} and {killed.ending}, "
                    f"without a checkpoint in {OUT}; its last lines:{killed.tail}"
                )
            move = f"it saves first after step {first}, so kill it later"
            if first is None:
                move = "let it save earlier; where it saves when it is sent a signal, name that (--signal)"
            raise BadInput(f"--kill-after {kill_after}: no checkpoint had been written to {OUT} by then; {move}")
        return killed

    def _up_to(self, killed: Launch, kill_after: int) -> Trace:
        """The killed run's trace up to where it was killed: by a signal that it handles, what follows is its end."""
        trace = sides.trace_of(killed)
        done = [step for step in trace.steps if step.number <= kill_after]
        return trace if self._request.signal is None else replace(trace, steps=done, finished=False)

    def _resumed(self, kill_after: int) -> Launch:
        place = self._place
        resumed = place.resumed(kill_after)
        if place.resume.text not in place.depths:
            place.depths[place.resume.text] = sides.settle(resumed)
        refusing.require_no_problem(resumed)
        refusing.require_own_files(resumed, place.folder, place.out)
        place.aside(f"resumed-{kill_after}")
        return resumed

    def _alignment(self, killed: Launch, resumed: Launch) -> Alignment | Undecided:
        """Where the resumed run goes on; or why that is not known."""
        if not resumed.trained:
            if resumed.stopped:
                return undecided.unfinished(resumed)
            if resumed.code == 0:
                return undecided.without_step(resumed)
        if self._request.at_step is not None:
            return Alignment(self._request.at_step, "option")
        found = aligned_by_files(sides.ledger_of(killed), sides.ledger_of(resumed), self._place.out)
        first = resumed.folder / FIRST
        if found is not None and found.step:
            return corrected_by_state(found, self._trace, Snapshot.read(first)) if first.exists() else found
        if not resumed.trained:  # it raised before it could be seen what it read: from the youngest, most likely
            found = self._youngest(killed)
        else:
            found = aligned_by_state(self._trace, Snapshot.read(first)) if first.exists() else None
        if found is None:
            elsewhere = refusing.read_elsewhere(resumed, self._place.out)
            return undecided.began_anew(resumed, self._request.resume is not None, elsewhere)
        return found

    def _youngest(self, killed: Launch) -> Alignment | None:
        wrote = [e for e in sides.ledger_of(killed) if e["kind"] == "wrote" and may_be_checkpoint(e["path"])]
        if not wrote:
            return None
        last = max(wrote, key=lambda entry: entry["step"])
        return Alignment(last["step"], "files", (relative(last["path"], self._place.out),))

    def _judged(
        self, reference: Evidence, killed: Launch, resumed: Launch, alignment: Alignment, kill_after: int
    ) -> Answer:
        step, steps = alignment.step, len(self._trace.steps)
        if wrote_by_own_code(sides.ledger_of(killed), alignment, self._place.out):
            reference.result["writers"] = [*reference.writers, OWN_CODE]
        run, resume = self._request.run, self._request.resume
        told_more = resume is not None and resume.tells_more_than(run)
        evidence = sides.resumed_evidence(resumed, alignment, told_more=told_more)
        about = sides.about_of(resumed)
        findings = findings_of(reference, evidence, step, about.get("named", ()), about.get("options_loaded", {}))
        control = control_of(self._trace, self._up_to(killed, kill_after), (self._reference.folder, killed.folder))
        notes = (alignment.words, *self._notes(killed, resumed, alignment, kill_after))
        asked = _Asked(steps, self._request.ignore, self._request.tolerance, self._request.title)
        report = report_of(asked, reference, evidence, findings, control, notes, step)
        if resumed.stopped and not (report.verdict is Verdict.DIFFERENT and resumed.trained):
            return self._undecided(undecided.unfinished(resumed), kill_after)
        if any(launch.forked for launch in (self._reference, killed, resumed)) and report.passed:
            return self._undecided(undecided.forked(), kill_after)
        places = {"reference": reference.folder.name, "steps": reference.steps, "killed": killed.folder.name}
        answer = Answer(report, {**places, "resumed": evidence.folder.name})
        if resumed.stopped or report.verdict not in (Verdict.DIFFERENT, Verdict.LATENT):
            return answer
        job = sides.resumed_job(resumed, alignment, steps, self._place.loaded_from(alignment, kill_after))
        both = Sides(reference, Job(reference.folder, steps, (step,)), evidence, job)
        discrepancy = discrepancy_of(report, both, findings)
        if resumed.trained:
            again = Again(kill_after, step, discrepancy.at_end, dict(self._place.depths))
            answer = replace(answer, trial=again.to_dict())
        if not self._request.explain:
            return answer
        calls = calls_of(sides.ledger_of(killed), sides.ledger_of(resumed), alignment, self._place.out)
        by_library = handed_over(reference.writers, reference.libraries, "") is not None
        calls = replace(calls, folder=by_library and calls.several)
        explanation = self._explained(both, discrepancy, kill_after, calls, alignment)
        return replace(answer, report=replace(report, explanation=explanation))

    def _explained(
        self, both: Sides, discrepancy: Discrepancy, kill_after: int, calls: Calls, alignment: Alignment
    ) -> Explanation:
        trials = trials_of(self._place, both, kill_after, discrepancy.at_end)

        steps = both.reference.folder / both.reference.steps

        def tries(causes: Sequence[Cause], left: int) -> Tried | None:
            def with_lines(lines: GivenLines) -> Sequence[Launch]:
                return self._place.with_lines(lines, kill_after, both.save_at, steps)

            return try_lines(causes, calls, alignment, self._place.out, trials, with_lines, left)

        def meet_round(objects: Sequence[str]) -> AtRound | None:
            return met_round(self._place, trials, both, kill_after, alignment.files, objects)

        return explain_script(trials, both, discrepancy, self._request.budget, calls, tries, meet_round)

    def _notes(self, killed: Launch, resumed: Launch, alignment: Alignment, kill_after: int) -> Iterator[str]:
        if (sent := self._request.signal) is None:
            yield f"Killed after step {kill_after}, when step {kill_after + 1} had made its update."
        else:
            yield f"{sent.name} was sent when step {kill_after + 1} had made its update; the script {killed.ending}."
        yield from self._place.notes
        if alignment.backwards:
            passes = counted(alignment.backwards, "backward pass")
            yield (
                f"It was saved inside an accumulation window, {passes} after its last update: its first step is "
                "compared with what the uninterrupted run did after the save, and needs the .grad that had been "
                "accumulated by then."
            )
        others = {folder.name for each in (self._reference, killed, resumed) for folder in each.others}
        if others:
            yield f"Further processes trained and were recorded, but not judged: {', '.join(sorted(others))}."
        if any(launch.forked for launch in (self._reference, killed, resumed)):
            yield "A process trained that was made by os.fork(): such are not recorded, and it was not judged."

    def _undecided(self, why: Undecided, kill_after: int) -> Answer:
        report = Report(
            Verdict.INCONCLUSIVE,
            why.reason,
            kill_after,
            len(self._trace.steps),
            title=self._request.title,
            next_step=why.next_step,
            reference=self._trace,
            notes=self._place.notes,
        )
        return Answer(report, {})
