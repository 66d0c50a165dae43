"""Answers a request: runs its sides in order, and hands their evidence to the judge.

The study, the command line and the gallery of faults come in here, since they give more than a user's options: who
listens, which interpreters wait.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from dora_repro.alignment.divergence import first_divergence, unused_batches
from dora_repro.checks import judge
from dora_repro.checks.control import Controlled, controlled
from dora_repro.checks.findings import Findings, compare_sides
from dora_repro.checks.report import Control, Report, Reports, SetAside, Verdict
from dora_repro.checks.request import Request
from dora_repro.checks.resumed import Resumed, keep
from dora_repro.comparison.drift import Drift
from dora_repro.difference import Setting
from dora_repro.errors import BadInput
from dora_repro.explain.explaining import Discrepancy, explain, explain_nondeterminism, setup_of
from dora_repro.recording.values import VALUES_LIMIT
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session, sound, threads
from dora_repro.state.leaves import LOG
from dora_repro.state.paths import matching, select
from dora_repro.trace import Divergence


def run_check(request: Request) -> Report:
    """`check` of a request with one point."""
    (save_at,) = request.points
    with request.session() as session:
        session.expect(2)
        reference, job = _reference(session, request)
        resumed = _resume(session, request, reference, job, reference, save_at)
        keep(session, request, [resumed], several=False)
        return resumed.report


def run_every_step(request: Request) -> Reports:
    """`every_step` of a request."""
    points = request.points
    with request.session() as session:
        session.expect(1 + len(points))
        reference, job = _reference(session, request)
        done: list[Resumed] = []
        for index, point in enumerate(points):
            session.expect(len(points) - index)
            resumed = _resume(session, request, reference, job, reference, point, explaining=_unexplained(done))
            done.append(resumed.titled(f"resumed at step {point}"))
        return keep(session, request, done, several=True)


def run_twice(request: Request) -> Reports:
    """`twice` of a request with several points, in order."""
    points = request.points
    if len(points) < 2 or list(points) != sorted(set(points)):
        raise BadInput(f"save_at={list(points)}: give two or more steps, each later than the one before")
    with request.session() as session:
        session.expect(1 + len(points))
        reference, job = _reference(session, request)
        done: list[Resumed] = []
        parent = reference
        for index, point in enumerate(points):
            if str(point) not in parent.result["saves"]:
                break  # the run before it did not get this far; its own report says why
            session.expect(len(points) - index)
            following, explaining = points[index + 1 : index + 2], _unexplained(done)
            resumed = _resume(session, request, reference, job, parent, point, following, explaining=explaining)
            done.append(resumed.titled(f"resume {index + 1}, at step {point}"))
            parent = resumed.evidence
        return keep(session, request, done, several=True)


def _unexplained(done: Sequence[Resumed]) -> bool:
    """Whether no report has an explanation yet: of several checks of one run, only the first that differs gets one."""
    return all(each.report.explanation is None for each in done)


def _reference(session: Session, request: Request) -> tuple[Evidence, Job]:
    """Run the uninterrupted side.

    Raises:
        BadInput: it did not finish, raised or was over too early, or a glob matches nothing.
    """
    job = Job(session.folder / "reference", request.steps, request.saves, values=request.values, threads=threads())
    try:
        evidence = sound(session.run("reference", job))
    except SideStopped as stopped:
        raise BadInput(f"the uninterrupted run did not finish: {stopped}") from stopped
    where, done = evidence.result["where"], evidence.result["step"]
    if refused := evidence.result["refused"]:
        raise BadInput(refused)
    if evidence.failure is not None:
        at = f"{where} after step {done}" if where in ("step", "save") else where
        raise BadInput(f"the uninterrupted run raised ({at}); fix it first:\n{evidence.failure['traceback'].rstrip()}")
    for point in request.points:
        if str(point) not in evidence.result["saves"]:
            raise BadInput(f"save_at={point}: the run was over after step {done}: choose a step from 0 to {done}")
    _require_matches("ignore", request.ignore, list(evidence.end), "leaves")
    if trainable := list(evidence.result["facts"]["trainable"]):
        _require_matches("values", request.values, trainable, "trainable parameters")
    return evidence, job


def _require_matches(option: str, globs: Iterable[str], paths: Sequence[str], what: str) -> None:
    """Refuse a glob that matches nothing: a misspelt one would do nothing, silently."""
    for glob in globs:
        if not matching(glob, paths):
            near = difflib.get_close_matches(glob, paths, n=1, cutoff=0.3)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"{option}={glob!r} matches none of {len(paths)} {what}{hint}")


def _resume(
    session: Session,
    request: Request,
    reference: Evidence,
    reference_job: Job,
    parent: Evidence,
    save_at: int,
    saves: tuple[int, ...] = (),
    *,
    explaining: bool = True,
) -> Resumed:
    """Resume from what `parent` saved after `save_at`, compare with the reference, and report.

    Args:
        session: runs the sides.
        request: what is asked.
        reference: the uninterrupted side.
        reference_job: the job that made it.
        parent: the side that saved.
        save_at: the step after which it did.
        saves: the steps after which the resumed side saves.
        explaining: explain a difference, where that is asked for.

    Raises:
        BadInput: the resumed side cannot save where it was asked to.
    """
    explaining = explaining and request.explain
    for_trials = explaining or (request.folder is not None and len(request.points) == 1)
    folder = session.folder / f"resumed-{save_at}"
    job = Job(
        folder,
        request.steps,
        saves,
        load=parent.checkpoint(save_at),
        start=save_at,
        values=reference_job.values,
        threads=reference_job.threads,
    )
    try:
        resumed = sound(session.run("resumed", job))
    except SideStopped as stopped:
        reason = f"the resumed side did not finish: {stopped}"
        report = Report(Verdict.INCONCLUSIVE, reason, save_at, request.steps, title=request.title)
        return Resumed(report, parent, finished=False)
    if resumed.result["refused"] and resumed.result["where"] == "save":  # what a load() refuses is evidence
        raise BadInput(resumed.result["refused"])
    findings = compare_sides(reference, resumed, save_at, request.steps)
    sides = Sides(reference, reference_job, resumed, job)
    try:
        known = controlled(session, sides, findings, request.control, for_trials)
    except SideStopped as stopped:
        known = Controlled(findings, notes=(f"the control did not finish: {stopped}",))
    notes = list(known.notes)
    if save_at in parent.result["rewritten"]:
        notes.append("the checkpoint was still being written when save() returned, or was rewritten later")
    if reference.result["facts"]["values_dropped"]:
        size = f"more than {VALUES_LIMIT >> 20} MiB"
        notes.append(f"the values of all steps take {size}, so none were kept: ask for fewer parameters")
    if resumed.failure is not None:
        notes.append(f"the resumed side raised {resumed.failure['error']}")
    report = report_of(request, reference, resumed, known.findings, known.control, tuple(notes), save_at)
    setup = None
    if explaining and known.repeat is not None and known.control.divergence is not None:
        job = sides.reference_job if known.nondeterministic == "reference" else sides.resumed_job
        why = explain_nondeterminism(session, job, known.control.divergence.step)
        report = replace(report, explanation=why)
    elif report.verdict in (Verdict.DIFFERENT, Verdict.LATENT):
        discrepancy = discrepancy_of(report, sides, known.findings)
        if request.folder is not None and resumed.loaded_or_none is not None:
            setup = setup_of(sides, known.repeat, discrepancy)
        if explaining and known.repeat is not None:
            why = explain(session, sides, known.repeat, discrepancy, known.resumed)
            report = replace(report, explanation=why)
    return Resumed(report, resumed, setup=setup)


def discrepancy_of(report: Report, sides: Sides, findings: Findings) -> Discrepancy:
    """What an explanation has to explain."""
    found, aside = report.divergence, report.set_aside
    effects = first_divergence(sides.reference.trace, sides.resumed.trace, sides.save_at)
    at_end = report.latent
    if found is not None and effects is None and sides.resumed.failure is None:  # wrong after loading, by state alone
        still = {difference.path for difference in findings.end}
        trained = sides.reference.result["facts"]["trainable"]  # a copy that nothing trains is not what is wrong
        wrong = (d.path for d in findings.lost if d.role == "option" or (d.role == "parameter" and d.path in trained))
        at_end = tuple(path for path in wrong if path in still)
    return Discrepancy(
        divergence=found or Divergence(report.steps, "", report.latent[0]),
        lost=findings.lost,
        changed=report.changed_by_save if found is not None and found.phase == "save" else (),
        at_end=at_end,
        # A list that kept its entries may be a history, or an order of samples: where steps differ, trials tell.
        noise=aside.noise if effects is not None else aside.beside_the_point,
        set_by_load=aside.set_by_load,
        settings=tuple(setting for setting in findings.settings if setting.path not in aside.noise),
        raised=sides.resumed.failure is not None,
    )


class Asked(Protocol):
    """What a report repeats of the question; a `Request` has it, and so has a check of a script."""

    @property
    def steps(self) -> int:
        """The last step."""

    @property
    def ignore(self) -> tuple[str, ...]:
        """Globs of leaves that may be lost."""

    @property
    def expected_loss(self) -> tuple[str, ...]:
        """Globs of leaves that are left out on purpose."""

    @property
    def tolerance(self) -> float | None:
        """The absolute tolerance."""

    @property
    def title(self) -> str:
        """The name of the check."""


def report_of(
    request: Asked,
    reference: Evidence,
    resumed: Evidence,
    findings: Findings,
    control: Control,
    notes: tuple[str, ...],
    save_at: int,
) -> Report:
    """The report on two sides whose differences are known.

    Args:
        request: what was asked.
        reference: the uninterrupted side.
        resumed: the resumed side.
        findings: their differences.
        control: the result of the control.
        notes: further findings, a sentence each.
        save_at: the step after which the run was saved.
    """
    at_end = [difference.path for difference in findings.end]
    ignored = tuple(select(request.ignore, at_end))
    expected_loss = tuple(select(request.expected_loss, (path for path in at_end if path not in ignored)))
    logs = tuple(difference.path for difference in findings.end if difference.role == LOG)
    aside = SetAside(
        ignored=ignored,
        expected_loss=expected_loss,
        noise=control.noise,
        bookkeeping=findings.bookkeeping,
        healed=findings.healed,
        set_by_load=findings.set_by_load,
        logs=logs,
        reordered=findings.reordered,
        put_aside=findings.put_aside,
        overwritten=findings.overwritten,
    )
    beside = (*findings.bookkeeping, *findings.set_by_load, *findings.overwritten)
    not_counted = {*ignored, *expected_loss, *control.noise, *beside, *logs}
    latent: tuple[str, ...] = ()
    if findings.divergence is None:
        latent = tuple(difference.path for difference in findings.end if difference.path not in not_counted)
    empty = judge.vacuous(reference, findings, save_at)
    verdict, reason = judge.decide(findings, empty, control, latent, request.tolerance, save_at, request.steps)
    unused = None if findings.divergence else unused_batches(reference.trace, resumed.trace, save_at)
    if unused is not None:
        notes += (f"from step {unused} on the loader handed out other batches; no step worked with what differs",)
    return Report(
        verdict=verdict,
        reason=reason,
        save_at=save_at,
        steps=request.steps,
        title=request.title,
        divergence=findings.divergence,
        first_memory=judge.first_memory(reference, resumed, save_at, not_counted),
        comparisons=findings.comparisons,
        lost=findings.lost,
        latent=latent,
        set_aside=aside,
        configuration=_configuration(findings, control),
        changed_by_save=reference.changed_by_save(save_at),
        control=control,
        tolerance=request.tolerance,
        unseen=reference.trace.unseen,
        uncaptured=reference.end.uncaptured,
        notes=notes,
        error=resumed.failure["traceback"] if resumed.failure else None,
        # A side that raised before its first step is at step 0, wherever it was to begin.
        steps_done={"reference": reference.result["step"], "resumed": max(0, resumed.result["step"] - save_at)},
        seconds={"reference": reference.result["seconds"]["all"], "resumed": resumed.result["seconds"]["all"]},
        environment=resumed.result["environment"],
        reference=reference.trace,
        resumed=resumed.trace,
        histories={"reference": reference.histories, "resumed": resumed.histories},
        drift=drift_of(reference, resumed),
    )


def _configuration(findings: Findings, control: Control) -> tuple[Setting, ...]:
    """What the resumed run was told otherwise. What a factory builds otherwise without being told may be noise (the
    time, a random name): it counts once the control has told what is."""
    told = ("resume", "built") if control.runs else ("resume",)
    return tuple(each for each in findings.settings if each.by in told and each.path not in control.noise)


def drift_of(reference: Evidence, resumed: Evidence) -> Drift | None:
    """The distance of both sides at every step, where values were asked for and there is anything to compare."""
    if not reference.values or not resumed.values:
        return None
    return Drift.between(reference.values, resumed.values) if any(map(len, resumed.values.values())) else None
