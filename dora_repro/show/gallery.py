"""The gallery of faults as text: a list, and for each fault tried what was found, beside what is declared."""

import inspect
import textwrap
from collections.abc import Iterable, Sequence

from dora_repro.checks.report import Report
from dora_repro.contracts import Json
from dora_repro.errors import BadInput
from dora_repro.faults.gallery import Fault, find
from dora_repro.faults.trying import Tried, try_fault
from dora_repro.show.screen import folded
from dora_repro.show.sections import Wording
from dora_repro.show.why import why_blocks
from dora_repro.wording import counted


def listed(faults: Iterable[Fault]) -> str:
    """Names by family, each with the first sentence of its lesson."""
    lines, family = [], None
    faults = tuple(faults)
    wide = max((len(fault.name) for fault in faults), default=0)
    for fault in faults:
        if fault.family != family:
            family = fault.family
            lines += ["", family.replace("_", " ")]
        needs = f" [needs {fault.needs}]" if fault.needs else ""
        lines.append(f"  {fault.name:{wide}}  {first_sentence(fault.lesson)}{needs}")
    return "\n".join(lines).strip("\n")


def first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."


def line(tried: Tried, wide: int = 30) -> str:
    """One row: the mark, the name, what was found, and below it what was declared where that is not the same.

    Args:
        tried: a fault, and the report of it.
        wide: characters of the column of names.
    """
    fault, report = tried.fault, tried.report
    if report is None:
        return f"– {fault.name:{wide}}  skipped: {tried.skipped}"
    return f"{'✓' if tried.as_declared else '✗'} {fault.name:{wide}}  {found(report)}{_instead(tried)}"


def found(report: Report) -> str:
    """What a check found, in a line: verdict, place, cause."""
    words = [str(report.verdict)]
    if report.divergence is not None:
        words.append(f"step {report.divergence.step}, {report.divergence.phase}")
    if report.causes:
        words.append(" + ".join(cause.name for cause in report.causes))
    elif report.explanation is not None:
        words.append("no captured state explains it")
    return "; ".join(words)


def _instead(tried: Tried) -> str:
    fault, wrong = tried.fault, []
    if not tried.verdict_right:
        wrong.append(fault.verdict)
    if not tried.place_right:
        wrong.append(f"step {fault.step}, {fault.phase}" if fault.phase else "no divergence")
    if not tried.cause_right:
        wrong.append(" or ".join(" + ".join(globs) or "no captured state" for globs in fault.causes) or "no cause")
    return f"\n      declared: {'; '.join(wrong)}" if wrong else ""


def summary(done: Sequence[Tried]) -> str:
    """The last line: how many are as declared."""
    ran = [tried for tried in done if tried.report is not None]
    faults = [tried for tried in ran if not tried.fault.clean]
    clean = [tried for tried in ran if tried.fault.clean]
    words = []
    for what, some in (("fault", faults), ("clean run", clean)):
        if some:
            words.append(f"{sum(tried.as_declared for tried in some)} of {counted(len(some), what)} as declared")
    if len(done) > len(ran):
        words.append(f"{len(done) - len(ran)} skipped")
    good = all(tried.as_declared for tried in ran)
    return f"{'✅' if good else '❌'} {', '.join(words) or 'nothing was tried'}"


def costs(done: Sequence[Tried]) -> str:
    """How many trials the explanations took, and how many seconds it took in all."""
    trials = sorted(len(t.report.explanation.trials) for t in done if t.report and t.report.explanation)
    seconds = sum(tried.seconds for tried in done)
    if not trials:
        return f"{seconds:.0f} s"
    return f"{counted(trials[len(trials) // 2], 'trial')} at the median, {trials[-1]} at most; {seconds:.0f} s in all"


def about(fault: Fault) -> list[str]:
    """What is known of a fault before it is tried: what it teaches, what fixes it, where it was reported."""
    lines = [fault.lesson]
    if fault.fix:
        lines.append(f"Fixed by: {fault.fix}")
    if fault.threads:
        lines.append(f"Reported: {', '.join(fault.threads)}")
    return lines


def source(fault: Fault) -> str:
    """The class of the run, without what registers it."""
    text = textwrap.dedent(inspect.getsource(fault.factory))
    return text[text.index("class ") :].rstrip()


def why(report: Report) -> str:
    """Why a run differs, in the words of its report and lines of a notebook's width; empty if nothing is explained."""
    blocks = why_blocks(report, Wording(timed=False))
    return folded("\n\n".join(block.text for block in blocks))


def demonstrate(name: str, fresh: bool = True) -> Report:
    """Try a fault by its name, print what was found and why, and compare that with what is declared.

    Args:
        name: of the fault.
        fresh: run each side in an interpreter of its own.

    Raises:
        BadInput: there is no such fault, or it cannot be tried here.
        UnexpectedVerdict: what was found is not what is declared.
    """
    tried = try_fault(find(name), in_process=not fresh)
    report = tried.report
    if report is None:
        raise BadInput(f"{name} cannot be tried here: {tried.skipped}")
    print(report.summary)
    print("cause:", ", ".join(cause.name for cause in report.causes))
    tried.check()
    return report


def to_dict(tried: Tried) -> dict[str, Json]:
    """One row as plain data."""
    fault, report = tried.fault, tried.report
    return {
        "name": fault.name,
        "family": fault.family,
        "skipped": tried.skipped,
        "as_declared": tried.as_declared,
        "verdict_right": tried.verdict_right,
        "place_right": tried.place_right,
        "cause_right": tried.cause_right,
        "seconds": tried.seconds,
        "declared": {
            "verdict": fault.verdict,
            "step": fault.step,
            "phase": fault.phase,
            "causes": [list(globs) for globs in fault.causes],
        },
        "report": report.to_dict() if report is not None else None,
    }
