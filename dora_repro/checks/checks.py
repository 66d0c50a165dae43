"""The checks of any run: `check`, `every_step`, `twice`. They order the sides and hand their evidence to the judge."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dora_repro.checks import judge
from dora_repro.checks.control import Controlled, controlled
from dora_repro.checks.report import Control, Report, Reports, SetAside, Verdict
from dora_repro.checks.request import Question
from dora_repro.comparison.drift import Drift
from dora_repro.errors import BadInput
from dora_repro.explain.explaining import Difference, explain, explain_unsteady
from dora_repro.recording.recorder import VALUES_LIMIT
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.sides.processes import Interpreters, SideStopped
from dora_repro.sides.session import OnEvent, Session, threads
from dora_repro.state.paths import matching, select
from dora_repro.trace import first_divergence


def check(
    factory: Callable[[], object],
    steps: int,
    save_at: int,
    *,
    ignore: Iterable[str] = (),
    tolerance: float | str | None = None,
    control: str = "auto",
    timeout: float = 3600.0,
    in_process: bool = False,
    folder: str | Path | None = None,
    on_event: OnEvent | None = None,
    title: str = "check",
    expected_loss: Iterable[str] = (),
    values: Iterable[str] = (),
    explain: bool = True,
    preload: tuple[str, ...] = (),
    interpreters: Interpreters | None = None,
) -> Report:
    """Is the run that is saved after step `save_at`, ended, rebuilt and loaded the run that was not interrupted?

    Args:
        factory: called afresh for each side; returns an object with `step()`, `save(path)` and `load(path)`. Where it
            has an attribute `resume`, `factory.resume(path)` replaces building and loading.
        steps: the last optimizer step to do, counted from 1.
        save_at: save after this step; 0 is before any. At `steps` the state alone is compared.
        ignore: globs of leaves that may be lost at the end without harm, as `ema/*`.
        tolerance: accept differences of parameters and outputs up to this absolute value, or up to the study's tier
            of that name (`load`, `parameters`, `outputs`).
        control: `auto` repeats a side where any byte differs, `always` in any case, `never` accuses nobody.
        timeout: seconds for each side.
        in_process: run all sides in this interpreter, for debugging: their global state is not fresh.
        folder: keep the evidence here (must not exist, or be empty); by default it is removed.
        on_event: called with (side, event) while the sides run; events are `built`, `loaded`, `step`, `saved`.
        expected_loss: like `ignore`, but need not match anything: what the caller knows to be left out on purpose.
        values: globs of trainable parameters, as `model/*`: both sides keep their values at every step, up to
            256 MiB, so that `report.drift` says how far apart they are, step by step.
        explain: where the runs differ, find out why: put the reference's state back into the resumed run, part by
            part, until the smallest set is found that makes it the same (`report.explanation`, `report.causes`).
        preload: modules that a new interpreter imports while it waits.
        interpreters: some that were started before, in place of `preload`; the caller closes them.

    Raises:
        BadInput: impossible steps, an unknown control or tolerance, a factory that cannot be sent to a process, an
            uninterrupted run that raises or is over before `save_at`, a glob in `ignore` or `values` that matches
            nothing.
    """
    question = Question(
        factory=factory,
        steps=steps,
        points=(save_at,),
        ignore=ignore,
        tolerance=tolerance,
        control=control,
        timeout=timeout,
        in_process=in_process,
        folder=folder,
        on_event=on_event,
        title=title,
        expected_loss=expected_loss,
        values=values,
        explain=explain,
        preload=preload,
        interpreters=interpreters,
    )
    with question.session() as session:
        session.expect(2)
        reference, job = _reference(session, question)
        return _resume(session, question, reference, job, reference, save_at)[0]


def every_step(
    factory: Callable[[], object], steps: int, save_at: Sequence[int] | None = None, **options: object
) -> Reports:
    """Resume after each of the steps `save_at` (default: 0, 1, …, `steps`). The reference is trained once.

    Options, and what is raised, as for `check`.
    """
    points = tuple(range(steps + 1)) if save_at is None else tuple(save_at)
    question = Question(factory, steps, points, **{"title": "every step", **options})
    with question.session() as session:
        session.expect(1 + len(points))
        reference, job = _reference(session, question)
        reports = []
        for index, point in enumerate(points):
            session.expect(len(points) - index)
            asked = _once_explained(question, reports)
            report, _ = _resume(session, asked, reference, job, reference, point)
            reports.append(replace(report, title=f"resumed at step {point}"))
        return Reports(question.title, tuple(reports))


def twice(factory: Callable[[], object], steps: int, save_at: Sequence[int], **options: object) -> Reports:
    """Resume a resumed run: saved after the first of `save_at`, resumed, saved again after the next, and so on.

    Each report compares one resumed run with the reference that was never interrupted. Options, and what is raised, as
    for `check`.
    """
    points = tuple(save_at)
    question = Question(factory, steps, points, **{"title": "twice", **options})
    if len(points) < 2 or list(points) != sorted(set(points)):
        raise BadInput(f"save_at={list(points)}: give two or more steps, each later than the one before")
    with question.session() as session:
        session.expect(1 + len(points))
        reference, job = _reference(session, question)
        reports, parent = [], reference
        for index, point in enumerate(points):
            if str(point) not in parent.result["saves"]:
                break  # the run before it did not come this far; its own report says why
            session.expect(len(points) - index)
            asked = _once_explained(question, reports)
            report, parent = _resume(session, asked, reference, job, parent, point, points[index + 1 : index + 2])
            reports.append(replace(report, title=f"resume {index + 1}, at step {point}"))
        return Reports(question.title, tuple(reports))


def _once_explained(question: Question, reports: Sequence[Report]) -> Question:
    """The same question; of several checks of one run, the first that differs is explained, and no other."""
    return replace(question, explain=question.explain and all(report.explanation is None for report in reports))


def _reference(session: Session, question: Question) -> tuple[Evidence, Job]:
    """The uninterrupted run. Whatever is wrong with it, or with the question put to it, is the user's to mend."""
    job = Job(session.folder / "reference", question.steps, question.saves, values=question.values, threads=threads())
    try:
        evidence = session.run("reference", job)
    except SideStopped as stopped:
        raise BadInput(f"the uninterrupted run came to no end: {stopped}") from stopped
    where, done = evidence.result["where"], evidence.result["step"]
    if evidence.failure is not None:
        at = f"{where} after step {done}" if where in ("step", "save") else where
        raise BadInput(f"the uninterrupted run raised ({at}); mend it first:\n{evidence.failure['traceback'].rstrip()}")
    for point in question.points:
        if str(point) not in evidence.result["saves"]:
            raise BadInput(f"save_at={point}: the run was over after step {done}: choose a step from 0 to {done}")
    _refuse_strangers("ignore", question.ignore, list(evidence.end), "leaves")
    if trainable := list(evidence.result["facts"]["trainable"]):
        _refuse_strangers("values", question.values, trainable, "trainable parameters")
    return evidence, job


def _refuse_strangers(option: str, globs: Iterable[str], paths: Sequence[str], what: str) -> None:
    """Every glob must match something: a misspelt one would do nothing, and say nothing."""
    for glob in globs:
        if not matching(glob, paths):
            near = difflib.get_close_matches(glob, paths, n=1, cutoff=0.3)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"{option}={glob!r} matches none of {len(paths)} {what}{hint}")


def _resume(
    session: Session,
    question: Question,
    reference: Evidence,
    reference_job: Job,
    parent: Evidence,
    save_at: int,
    saves: tuple[int, ...] = (),
) -> tuple[Report, Evidence]:
    """Resume from what `parent` saved after `save_at`, compare with the reference, and report."""
    folder = session.folder / f"resumed-{save_at}"
    same = {"values": reference_job.values, "threads": reference_job.threads}
    job = Job(folder, question.steps, saves, parent.checkpoint(save_at), save_at, **same)
    try:
        resumed = session.run("resumed", job)
    except SideStopped as stopped:
        reason = f"the resumed side came to no end: {stopped}"
        return Report(Verdict.INCONCLUSIVE, reason, save_at, question.steps, title=question.title), parent
    findings = judge.compare_sides(reference, resumed, save_at, question.steps)
    sides = Sides(reference, reference_job, resumed, job)
    try:
        known = controlled(session, sides, findings, question.control, question.explain)
    except SideStopped as stopped:
        known = Controlled(findings, notes=(f"the control came to no end: {stopped}",))
    notes = list(known.notes)
    if save_at in parent.result["rewritten"]:
        notes.append("the checkpoint was still being written when save() returned, or was rewritten later")
    if reference.result["facts"]["values_dropped"]:
        size = f"more than {VALUES_LIMIT >> 20} MiB"
        notes.append(f"the values of all steps take {size}, so none were kept: ask for fewer parameters")
    if resumed.failure is not None:
        notes.append(f"the resumed side raised {resumed.failure['error']}")
    report = _report(question, reference, resumed, known.findings, known.control, tuple(notes), save_at)
    if question.explain and known.repeat is not None:
        report = _explained(report, session, sides, known)
    return report, resumed


def _explained(report: Report, session: Session, sides: Sides, known: Controlled) -> Report:
    """A report that says why, where there is something to explain."""
    if known.unlike:
        job = sides.reference_job if known.unlike == "reference" else sides.resumed_job
        return replace(report, explanation=explain_unsteady(session, job, known.control.divergence.step))
    if report.verdict not in (Verdict.DIFFERENT, Verdict.LATENT):
        return report
    found, findings, aside = report.divergence, known.findings, report.set_aside
    effects = first_divergence(sides.reference.trace, sides.resumed.trace, sides.save_at)
    at_end = report.latent
    if found is not None and effects is None and sides.resumed.failure is None:  # wrong after loading, by state alone
        still = {difference.path for difference in findings.end}
        wrong = (d for d in findings.lost if d.role in ("parameter", "option") and d.expected != "one digest")
        at_end = tuple(difference.path for difference in wrong if difference.path in still)
    difference = Difference(
        step=found.step if found else report.steps,
        phase=effects.phase if effects is not None else found.phase if found is not None else "",
        leaf=found.leaf if found else report.latent[0],
        lost=findings.lost,
        changed=report.changed_by_save if found is not None and found.phase == "save" else (),
        at_end=at_end,
        # A list that kept its entries may be a history, or an order of samples: where steps differ, trials tell.
        noise=aside.noise if effects is not None else (*aside.noise, *aside.bookkeeping),
        raised=sides.resumed.failure is not None,
    )
    return replace(report, explanation=explain(session, sides, known.repeat, difference))


def _report(
    question: Question,
    reference: Evidence,
    resumed: Evidence,
    findings: judge.Findings,
    control: Control,
    notes: tuple[str, ...],
    save_at: int,
) -> Report:
    at_end = [difference.path for difference in findings.end]
    ignored = tuple(select(question.ignore, at_end))
    expected_loss = tuple(select(question.expected_loss, (path for path in at_end if path not in ignored)))
    aside = SetAside(ignored, expected_loss, control.noise, findings.bookkeeping, findings.healed)
    not_counted = {*ignored, *expected_loss, *control.noise, *findings.bookkeeping}
    latent = ()
    if findings.divergence is None:
        latent = tuple(difference.path for difference in findings.end if difference.path not in not_counted)
    empty = judge.vacuous(reference, findings, save_at)
    verdict, reason = judge.decide(findings, empty, control, latent, question.tolerance, save_at, question.steps)
    return Report(
        verdict=verdict,
        reason=reason,
        save_at=save_at,
        steps=question.steps,
        title=question.title,
        divergence=findings.divergence,
        first_memory=judge.first_memory(reference, resumed, save_at, not_counted),
        comparisons=findings.comparisons,
        lost=findings.lost,
        latent=latent,
        set_aside=aside,
        changed_by_save=reference.changed_by_save(save_at),
        control=control,
        tolerance=question.tolerance,
        unseen=reference.trace.unseen,
        uncaptured=reference.end.uncaptured,
        notes=notes,
        error=resumed.failure["traceback"] if resumed.failure else None,
        steps_done={"reference": reference.result["step"], "resumed": resumed.result["step"] - save_at},
        seconds={"reference": reference.result["seconds"]["all"], "resumed": resumed.result["seconds"]["all"]},
        environment=resumed.result["environment"],
        reference=reference.trace,
        resumed=resumed.trace,
        histories={"reference": reference.histories, "resumed": resumed.histories},
        drift=_drift(reference, resumed),
    )


def _drift(reference: Evidence, resumed: Evidence) -> Drift | None:
    """How far apart both sides are, where values were asked for and there is anything to compare."""
    if not reference.values or not resumed.values:
        return None
    return Drift.between(reference.values, resumed.values) if any(map(len, resumed.values.values())) else None
