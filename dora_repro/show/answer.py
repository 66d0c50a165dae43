"""The answer: the first lines of every report, at most ten of at most 80 columns.

The verdict; where the runs first differ; the cause, and whether it is proved; the lines that fix it, and whether they
were tried. A terminal, a page, a notebook, JUnit and a failed `assert report.passed, report` all begin with it; the
evidence for it follows (`console.py`). Pure: a report in, lines out.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.difference import LeafDifference, sizes
from dora_repro.explain.advice.fitted import is_import
from dora_repro.explain.explanation import Cause, Explanation, in_order
from dora_repro.printable import one_line
from dora_repro.show.fixes import code_lines, label, lines_verdict, sentences
from dora_repro.show.groups import Names, grouped_paths
from dora_repro.show.names import cut
from dora_repro.show.sections import resumed_steps
from dora_repro.show.why import named
from dora_repro.wording import counted

LINES, COLUMNS = 10, 80
CODE = 4  # lines of code, before the rest is counted
TITLE = 40  # characters of a report's name
MARKS = {Verdict.EXACT: "✓", Verdict.WITHIN_TOLERANCE: "✓", Verdict.INCONCLUSIVE: "⚠"}
FAILED = "✗"
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_HARD_SPACE = "\u00a0"


def answer(result: Report | Reports, names: Names = str) -> list[str]:
    """The answer of a report, or of several: at most `LINES` lines of at most `COLUMNS` characters.

    Args:
        result: the report, or the reports of several resumed runs.
        names: gives the name that is shown for a leaf's path.
    """
    headline, details = headline_and_details(result, names)
    return [*_wrapped(headline, limit=2), *details]


def headline_and_details(result: Report | Reports, names: Names = str) -> tuple[str, list[str]]:
    """The answer with its first sentence apart, not yet broken into lines.

    Args:
        result: the report, or the reports of several resumed runs.
        names: gives the name that is shown for a leaf's path.
    """
    headline = _headline_of_several(result) if isinstance(result, Reports) else _headline(result)
    room = LINES - len(_wrapped(headline, limit=2))
    if isinstance(result, Report):
        return headline, _details(result, names, room)
    worst = next((one for one in result.reports if one.verdict is result.verdict), None)
    if worst is None or worst.verdict is Verdict.EXACT:
        return headline, []
    first = _wrapped(f"The first {worst.verdict} one: {worst.title}", 2, limit=1)
    return headline, [*first, *_details(worst, names, room - len(first))]


def _headline(report: Report) -> str:
    said = {
        Verdict.EXACT: "the run is the same, bit for bit",
        Verdict.WITHIN_TOLERANCE: f"not exact but within {report.tolerance or 0:g}",
        Verdict.LATENT: f"state is lost; no effect in {counted(resumed_steps(report), 'step')}",
        Verdict.DIFFERENT: "the run is not the same",
        Verdict.INCONCLUSIVE: "no verdict can be given",
    }[report.verdict]
    mark = MARKS.get(report.verdict, FAILED)
    if report.title.startswith("resume"):  # one of several reports: `resumed at step 4`
        return f"{mark} {report.verdict}: {report.title}, {said}"
    how = "killed" if report.launched and not report.steps_done else "resumed"  # a script whose resume is not known
    where = f"{how} after step {report.save_at} of {report.steps}"
    return f"{mark} {report.verdict}: {where}, {said} ({cut(report.title, TITLE)})"


def _details(report: Report, names: Names, limit: int) -> list[str]:
    """All but the headline, in at most `limit` lines."""
    if report.verdict is Verdict.INCONCLUSIVE:
        return _why_not_decided(report, limit)
    if report.verdict is Verdict.EXACT:
        return _what_was_compared(report, names)[:limit]
    lines = [*_difference(report, names), *_cause(report, names)]
    if report.divergence is not None and report.divergence.phase == "save":
        lines.append("  Next: let save() work on copies, or undo what it changes before it returns.")
    left = limit - len(lines)
    fix = _fix(report.explanation, left) if report.explanation is not None else []
    if report.verdict is Verdict.LATENT and len(fix) < left:
        fix = [*fix, "  If this state does not matter, name it in ignore (--ignore)."]
    return [*lines, *fix]


# --- a verdict of "the same", and none at all ------------------------------------------------------------------------


def _what_was_compared(report: Report, names: Names) -> list[str]:
    what = {"load": "loaded parameters", "parameters": "final parameters"}
    words = [f"{what.get(one.name, one.name)} ({len(one.compared)})" for one in report.comparisons if one.compared]
    lines = _wrapped(f"{report.reason[:1].upper()}{report.reason[1:]}.", 2, limit=2)
    lines += _wrapped(f"Compared by bytes: {', '.join(words)}.", 2, limit=2) if words else []
    aside = report.set_aside
    if changes := [f"{names(setting.path)} ({setting.change})" for setting in report.configuration]:
        lines += _wrapped(f"Changed configuration, without effect: {', '.join(changes)}", 2, limit=2)
    for title, paths in (("Ignored, as requested", aside.ignored), ("Lost, but never read", aside.expected_loss)):
        lines += _wrapped(f"{title}: {', '.join(grouped_paths(paths, names))}", 2, limit=2) if paths else []
    return lines


def _why_not_decided(report: Report, limit: int) -> list[str]:
    reason = report.reason.split("\n", 1)[0]
    lines = _wrapped(f"Why: {reason}", 2, limit=3)
    found = report.explanation
    if found is not None and found.operator:
        lines += _wrapped(f"First nondeterministic operator: {found.operator}", 2, limit=2)
    return [*lines, *_wrapped(f"Next: {_next_step(report)}", 2, limit=limit - len(lines))]


def _next_step(report: Report) -> str:
    """What to do about an inconclusive check, in a sentence or two."""
    if report.next_step:
        return report.next_step
    if report.control.deterministic is False:
        if report.explanation is not None and report.explanation.look_at:
            return report.explanation.look_at[0]
        return (
            "make the run deterministic: seed every generator, iterate over no set, and call "
            "torch.use_deterministic_algorithms(True)."
        )
    if not report.steps_done:
        return "read how its process ended, below; where it only needs longer, raise timeout (--timeout)."
    if report.divergence is not None or report.latent:
        notes = [note for note in report.notes if note.startswith("the control")]
        repeat = "allow the control (control='auto'): it repeats both runs before one of them is accused."
        return notes[0] if notes else repeat
    return "check a run that trains after the save: at least one step, gradients that are not zero, a moving loss."


# --- where, why, and what fixes it -----------------------------------------------------------------------------------


def _difference(report: Report, names: Names) -> list[str]:
    """Where the runs first differ, and by how much; for lost state without effect, what it is."""
    found = report.divergence
    if found is None:
        lost = grouped_paths(report.latent, names)
        alone = next((each for each in report.lost if (each.path,) == report.latent), None)
        how = f": {_how(alone)}" if alone is not None else ""
        return _wrapped(f"Lost: {', '.join(lost)}{how}", 2, limit=2) if lost else []
    if found.kind == "raised":
        how = one_line(exception_of(report.error)) if report.error else "it raised"
    else:
        sized = found.difference if found.kind == "value" else None
        how = _how(sized) if sized is not None else found.how()
    where = f"  First difference: {found.where}: "
    whole = f"{where}{names(found.leaf)}"
    if how and len(whole) + len(how) + 2 <= COLUMNS:
        return [f"{whole}: {how}"]
    return [f"{where}{cut(names(found.leaf), COLUMNS - len(where))}", *_wrapped(how, 4, limit=1)]


def exception_of(traceback: str) -> str:
    """The exception of a traceback, without the further lines of its message: these may say anything."""
    lines = traceback.rstrip().split("\n")
    last = max((number for number, line in enumerate(lines) if line.startswith("  File ")), default=-1)
    return next((line for line in lines[last + 1 :] if not line.startswith("    ")), lines[-1])


def _how(found: LeafDifference) -> str:
    """How a leaf differs, its largest difference first."""
    if found.max_abs is None or found.role == "generator":
        return found.brief
    return f"{sizes(found.max_abs)[0]}, {found.brief}"


def _cause(report: Report, names: Names) -> list[str]:
    """The cause, and whether it is proved."""
    found = report.explanation
    if found is None:
        failed = report.verdict in (Verdict.DIFFERENT, Verdict.LATENT)
        return ["  Cause: not searched for"] if failed else []
    if not found.causes:
        lines = _wrapped(f"Cause: not found; {found.unexplained}", 2, limit=2)
        if found.operator:
            lines += _wrapped(f"First operator that differs: {found.operator}", 2, limit=2)
        return lines
    first, *others = found.causes
    rest = f"+ {counted(len(others), 'more part')}, the first: " if len(others) > 1 else "+ "
    lines = _named(f"  Cause ({_proved(found)}): ", first, names, limit=2)
    return [*lines, *_named(f"    {rest}", others[0], names, limit=1)] if others else lines


def _named(before: str, cause: Cause, names: Names, limit: int) -> list[str]:
    """A cause in at most `limit` lines; its name stands in the first."""
    indent = len(before) - len(before.lstrip())
    short = cut(named(cause, names), COLUMNS - len(before) - len(": …"))
    return _wrapped(f"{before.lstrip()}{short}{f': {cause.how}' if cause.how else ''}", indent, limit=limit)


def _proved(found: Explanation) -> str:
    if not found.proved:
        return "sufficient, but perhaps more than needed"
    if found.confirmation_missing:
        return f"proved; {counted(len(found.confirmation_missing), 'leaf')} not restored in the confirmation"
    return "proved"


def _fix(found: Explanation, limit: int) -> list[str]:
    """The first lines of code that fix it, with how many there are; else the first sentence of advice."""
    if limit < 1:
        return []
    code = code_lines(found)
    total = len(code)
    if total > CODE:  # imports are among all of them, below
        code = [line for line in code if not is_import(line[1])]
    if not code:
        advice = [f"Fix: {line}" for line in sentences(found)] or [f"Next: {line}" for line in found.look_at]
        return _wrapped(advice[0], 2, limit=limit) if advice else []
    verdict = lines_verdict(found) or "not tried"

    def titled(shown: int) -> list[str]:
        return _wrapped(_fix_title(shown, total, verdict), 2)

    for some in _whole_fixes(found, code):
        lines, shown = _code(found, some, limit)
        if len(titled(shown)) + len(lines) <= limit and shown == len(some):
            return [*titled(shown), *lines]
    lines, shown = _code(found, _first(_of_causes(found.causes, code)), max(1, limit - len(titled(1))))
    return [*titled(shown), *lines]


def _fix_title(shown: int, total: int, verdict: str) -> str:
    """How many lines there are, how many are shown here, and whether they were tried."""
    if shown == total:
        return f"Fix ({counted(total, 'line')}; {verdict}):"
    return f"Fix ({shown} of {counted(total, 'line')}; {verdict}):"


def _code(found: Explanation, code: list[tuple[str, str]], room: int) -> tuple[list[str], int]:
    """Lines of code as they are shown, in at most `room` lines, and how many of them are."""
    lines: list[str] = []
    shown, before = 0, ""
    wide = max((len(label(method, found)) for method, _ in code), default=0) + len(": ")
    for method, line in code:
        begin = f"{label(method, found)}:" if method != before else ""
        text = _QUOTED.sub(_kept_whole, line)
        if len(text) > COLUMNS - 12:
            text = text.partition("  # ")[0]  # a comment that is folded would read as code on its second line
        wrapped = _wrapped(f"{begin:<{wide}}{text}", 4, hang=4 + wide, limit=room)
        if lines and len(lines) + len(wrapped) > room:
            break
        lines, shown, before = [*lines, *wrapped], shown + 1, method
    return lines, shown


def _whole_fixes(found: Explanation, code: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """All lines; then those of fewer and fewer causes, each with what it saves and what it loads."""
    if len(code) <= CODE:
        yield code
    causes = in_order(found.causes)
    for count in range(len(causes), 0, -1):
        some = _of_causes(causes[:count], code)
        if 0 < len(some) <= CODE:
            yield some


def _of_causes(causes: Iterable[Cause], code: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines of code that are those of some causes."""
    causes = tuple(causes)
    save = {line for cause in causes for line in cause.save}
    load = {line for cause in causes for line in cause.load}
    return [(method, line) for method, line in code if line in (save if method == "save" else load)]


def _first(code: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most `CODE` lines: as many of save() as of load(), where both have more."""
    save, load = ([line for line in code if (line[0] == "save") is saves] for saves in (True, False))
    half = max(CODE // 2, CODE - len(load))
    return [*save[:half], *load[: CODE - len(save[:half])]]


# --- several reports -------------------------------------------------------------------------------------------------


def _headline_of_several(reports: Reports) -> str:
    title = cut(reports.title, TITLE)
    if not reports.reports:
        return f"⚠ INCONCLUSIVE: nothing was resumed ({title})"
    verdict, total = reports.verdict, counted(len(reports.reports), "resumed run")
    counts = {kind: sum(one.verdict is kind for one in reports.reports) for kind in Verdict}
    said = f"{total}: {', '.join(f'{count} {kind}' for kind, count in counts.items() if count)}"
    if verdict is Verdict.EXACT:
        said = f"{total}, each the same run, bit for bit"
    return f"{MARKS.get(verdict, FAILED)} {verdict}: {said} ({title})"


# --- lines of a width ------------------------------------------------------------------------------------------------


def _wrapped(text: str, indent: int = 0, *, hang: int = 2, limit: int | None = None) -> list[str]:
    """Text in lines of at most `COLUMNS`, the second and later ones indented by `hang` more.

    Words are kept whole, but for names longer than a line, which lose their middle; where more than `limit` lines are
    needed, the last ends in an ellipsis.
    """
    first, later = " " * indent, " " * (indent + hang)
    longest = COLUMNS - len(later)
    words = " ".join(word if len(word) <= longest else cut(word, longest) for word in text.split(" "))
    wrapper = textwrap.TextWrapper(
        COLUMNS, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False,
        max_lines=limit, placeholder=" …",
    )  # fmt: skip  # a row of arguments
    return [line.replace(_HARD_SPACE, " ") for line in wrapper.wrap(words)]


def _kept_whole(text: re.Match[str]) -> str:
    """Quoted text that is not broken at its spaces."""
    return text[0].replace(" ", _HARD_SPACE)
