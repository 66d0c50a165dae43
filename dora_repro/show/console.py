"""A report as text: what was asked, the three comparisons line by line, what is wrong and where, and the verdict last.

Plain text, without colours or codes: what a terminal can show is the matter of `screen.py`. The form is that of the
study's README; the last line is the verdict's alone.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference
from dora_repro.show.groups import grouped, grouped_paths
from dora_repro.show.sections import SHOWN, Wording, resumed_steps, section
from dora_repro.show.why import why_blocks
from dora_repro.trace import Divergence
from dora_repro.wording import counted

TRACEBACK = 20  # its last lines


@singledispatch
def as_text(result: object) -> str:
    """A result as lines of text; each kind of result is registered below, beside what words it.

    Raises:
        TypeError: it is no result.
    """
    raise TypeError(f"cannot show a {type(result).__name__} as text")


@as_text.register
def _(comparison: Comparison) -> str:
    equal = len(comparison.compared) - len(comparison.differences)
    head = f"{comparison.name}: {equal} of {len(comparison.compared)} equal by bytes"
    return "\n".join([head, *(f"  {difference}" for difference in comparison.differences)])


@as_text.register
def report_text(
    report: Report,
    names: Callable[[str], str] | None = None,
    verbose: bool = False,
    *,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
) -> str:
    """A report as lines of text, the verdict last.

    Args: as for `report_blocks`.
    """
    blocks = report_blocks(report, names, verbose, about=about, parameters=parameters)
    return "\n\n".join("\n".join(block) for block in blocks)


def report_blocks(
    report: Report,
    names: Callable[[str], str] | None = None,
    verbose: bool = False,
    *,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
    timed: bool = True,
) -> list[list[str]]:
    """A report in paragraphs, each a list of lines that begins with what it is about; the verdict is the last line.

    Args:
        names: gives the name that is shown for a leaf's path; by default the path itself.
        verbose: every parameter, every leaf lost, the environment.
        about: lines on what was run, shown in the head.
        parameters: what the trained parameters are called.
        timed: say how many seconds it took.
    """
    wording = Wording(names or str, verbose, parameters, timed)
    blocks = [
        [*_head(report), *(f"  {line}" for line in about)],
        *(section(report, comparison, wording) for comparison in report.comparisons),
        *_findings(report, wording),
        *why_blocks(report, wording),
        _footnotes(report, wording),
        [*_what_differs(report, wording), verdict_line(report)],
    ]
    return [block for block in blocks if block]


@as_text.register
def reports_text(
    reports: Reports,
    names: Callable[[str], str] | None = None,
    verbose: bool = False,
    *,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
) -> str:
    """Several reports: a line each, the first of the worst in full (all of them if `verbose`), the verdict last."""
    lines = [f"{reports.title}: {counted(len(reports.reports), 'resumed run')} against one that was not interrupted"]
    lines += [f"  {line}" for line in about]
    marks = {Verdict.EXACT: "✓", Verdict.WITHIN_TOLERANCE: "✓", Verdict.INCONCLUSIVE: "⚠"}
    lines += [
        f"{marks.get(report.verdict, '✗')} {report.title}: {report.verdict}  {_first_line(report.reason)}"
        for report in reports.reports
    ]
    blocks = ["\n".join(lines)]
    worst = next((report for report in reports.reports if report.verdict is reports.verdict), None)
    in_full = reports.reports if verbose else (worst,) if worst and not worst.passed else ()
    for report in in_full:
        text = report_text(report, names, verbose, parameters=parameters)
        blocks.append(text.rpartition("\n")[0].rstrip())
    done = sum(sum(report.steps_done.values()) for report in reports.reports)
    if done:
        alone = sum(report.steps_done.get("resumed", 0) for report in reports.reports)
        longest = max(report.steps_done.get("reference", 0) for report in reports.reports)
        blocks.append(f"Cost: {counted(longest, 'step')} uninterrupted, {alone} resumed")
    blocks.append(verdict_line(reports))
    return "\n\n".join(blocks)


def verdict_line(result: Report | Reports) -> str:
    """The last line: the verdict in words."""
    report, where = result, ""
    if isinstance(result, Reports):
        report = next((one for one in result.reports if one.verdict is result.verdict), None)
        if report is None:
            return "⚠ INCONCLUSIVE: nothing was resumed"
        where = f"{report.title}: "
    if report.verdict is Verdict.EXACT:
        return "✅ TEST PASSED: Checkpoint loading is reproducible!"
    if report.verdict is Verdict.WITHIN_TOLERANCE:
        return f"✅ TEST PASSED within tolerance {report.tolerance:g}, not exact"
    if report.verdict is Verdict.LATENT:
        return f"❌ TEST FAILED: state lost, no effect in {counted(resumed_steps(report), 'step')}"
    if report.verdict is Verdict.DIFFERENT:
        return "❌ TEST FAILED: Checkpoint loading has issues"
    return f"⚠ INCONCLUSIVE: {where}{_first_line(report.reason)}"


def _head(report: Report) -> list[str]:
    left = report.steps - report.save_at
    rest = f", save, load and {left} more" if left else ", save and load"
    return [f"{report.title}: {counted(report.steps, 'step')} without a break, against {report.save_at}{rest}"]


# --- what is wrong, and where ----------------------------------------------------------------------------------------


def _findings(report: Report, wording: Wording) -> list[list[str]]:
    blocks = []
    if report.divergence is not None:
        blocks.append(_divergence(report.divergence, wording))
        if report.first_memory is not None:
            memory = report.first_memory
            where = f"First memory that differs: {memory.where}"
            blocks[-1] += [where, f"  {wording.names(memory.leaf)}  {memory.how()}".rstrip()]
    if report.error is not None:
        raised = report.error.rstrip().splitlines()
        cut = raised if wording.verbose else raised[-TRACEBACK:]
        more = [f"  … {counted(len(raised) - len(cut), 'line')} before"] if len(cut) < len(raised) else []
        blocks.append(["The resumed side raised:", *more, *(f"  {line}" for line in cut)])
    if report.changed_by_save:
        lines = _listed(grouped(report.changed_by_save, wording.names), wording)
        blocks.append([f"Changed by save() itself ({counted(len(report.changed_by_save), 'leaf')}):", *lines])
    if lost := _lost(report):
        lines = _listed(grouped(lost, wording.names), wording)
        blocks.append([f"What the checkpoint lacked ({_differ(lost)} right after loading):", *lines])
    if report.latent:
        steps = counted(resumed_steps(report), "step")
        by_path = {difference.path: difference for difference in report.lost}
        known = [by_path[path] for path in report.latent if path in by_path]
        unknown = [path for path in report.latent if path not in by_path]
        lines = _listed([*grouped(known, wording.names), *grouped_paths(unknown, wording.names)], wording)
        blocks.append([f"Lost at the end, with no effect in {steps}:", *lines])
    rest = _first_line(report.reason)
    if report.verdict is Verdict.INCONCLUSIVE and rest != report.reason:
        blocks.append(["What happened:", *(f"  {line}" for line in report.reason.splitlines()[1:])])
    return blocks


def _divergence(found: Divergence, wording: Wording) -> list[str]:
    how = found.difference.how if found.difference is not None else found.how()
    return [f"First difference, in order of execution: {found.where}", f"  {wording.names(found.leaf)}  {how}".rstrip()]


def _lost(report: Report) -> list[LeafDifference]:
    """What was lost, as far as it says something: where all went well, nothing.

    The gradients left over from the last step are gone in any fresh run: told of only where gradients differ first. A
    list that only grows is bookkeeping, until it is a cause.
    """
    if report.divergence is None and report.verdict is not Verdict.INCONCLUSIVE:
        return []
    causes = report.explanation.leaves if report.explanation is not None else ()
    set_aside = {*report.set_aside.bookkeeping, *report.set_aside.noise}
    phase = report.divergence.phase if report.divergence is not None else ""
    gradients = phase.startswith("backward") or "backward" in report.unseen
    if not gradients:
        set_aside.update(each.path for each in report.lost if each.role == "gradient" and each.kind == "missing")
    return [each for each in report.lost if each.path not in set_aside or each.path in causes]


def _footnotes(report: Report, wording: Wording) -> list[str]:
    """What was set aside and why, what the control said, what could not be looked at, what it cost."""
    lines = []
    steps = counted(resumed_steps(report), "step")
    aside = report.set_aside
    if report.divergence is None or wording.verbose:
        lines += _note("Lost, but ignored as you asked", aside.ignored, wording) if aside.ignored else []
    if report.divergence is None and aside.expected_loss:
        lines += _note(f"Lost, and never read in {steps}", aside.expected_loss, wording)
    if aside.noise:
        lines += _note("Differs between any two of these runs, and accuses nobody", aside.noise, wording)
    if wording.verbose:
        lines += _note("Keeps books only", aside.bookkeeping, wording) if aside.bookkeeping else []
        lines += _note("Differed after loading, equal at the end", aside.healed, wording) if aside.healed else []
    lines.append(f"Control: {_control(report)}")
    if report.unseen:
        lines.append(f"Phases not seen, their differences fall to the next one seen: {', '.join(report.unseen)}")
    if report.uncaptured:
        kinds = [f"{wording.names(path)} ({kind})" for path, kind in report.uncaptured.items()]
        lines.append(f"Could not be looked into: {_some(kinds, wording)}")
    lines += [f"Note: {note}" for note in report.notes]
    if wording.verbose:
        words = [f"{name} {value}" for name, value in report.environment.items() if name != "flags"]
        lines += [f"Environment: {', '.join(words)}"] if words else []
    if report.steps_done:
        cost = " + ".join(str(done) for done in report.steps_done.values())
        seconds = " + ".join(f"{seconds:.1f}" for seconds in report.seconds.values())
        took = f", {seconds} s" if wording.timed else ""
        lines.append(f"Cost: {cost} steps ({' + '.join(report.steps_done)}){took}")
    return lines


def _control(report: Report) -> str:
    if not report.control.runs and report.divergence is None and not report.latent:
        return "not needed (equal bytes from two sides are their own)"
    return str(report.control)


def _what_differs(report: Report, wording: Wording) -> list[str]:
    if report.verdict is not Verdict.DIFFERENT:
        return []
    words = {
        "load": f"{wording.parameters} differ right after loading",
        "parameters": f"{wording.parameters} differ",
        "outputs": "Outputs differ",
    }
    lines = [
        f"  - {words.get(comparison.name, comparison.name)} (max: {comparison.max_abs:.2e})"
        for comparison in report.comparisons
        if comparison.differences
    ]
    if not lines and report.divergence is not None:
        lines = [f"  - The runs differ ({report.divergence.where})"]
    return ["What differs:", *lines]


# --- words -----------------------------------------------------------------------------------------------------------


def _note(title: str, paths: Iterable[str], wording: Wording) -> list[str]:
    return [f"{title}: {_some(grouped_paths(paths, wording.names), wording)}"]


def _some(words: list[str], wording: Wording, limit: int = 8) -> str:
    shown = words if wording.verbose else words[:limit]
    more = f", … and {len(words) - len(shown)} more" if len(shown) < len(words) else ""
    return ", ".join(shown) + more


def _listed(lines: list[str], wording: Wording) -> list[str]:
    shown = lines if wording.verbose else lines[:SHOWN]
    more = [f"  … and {len(lines) - len(shown)} more"] if len(shown) < len(lines) else []
    return [*(f"  {line}" for line in shown), *more]


def _differ(items: Sequence[object]) -> str:
    return f"{counted(len(items), 'leaf')} {'differs' if len(items) == 1 else 'differ'}"


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]
