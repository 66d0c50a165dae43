"""Why a resumed run differs, in paragraphs: the causes, the proof, how much each matters, the lines that mend it."""

from dora_repro.checks.report import Report
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.groups import grouped_paths
from dora_repro.show.sections import Wording
from dora_repro.wording import counted

FEW = 6  # causes, before the rest is counted only


def why_blocks(report: Report, wording: Wording) -> list[list[str]]:
    """Paragraphs, each a list of lines; none where nothing was explained."""
    found = report.explanation
    if found is None:
        return []
    if not found.causes:
        return [[f"Why: {found.unexplained}", *(f"  {line}" for line in _outside(found)), *_cost(found)]]
    many = len(found.causes) > 1
    causes = found.causes if wording.verbose else found.causes[:FEW]
    lines = [f"Why: {'these together' if many and found.proved else 'this'} made the difference"]
    for cause in causes:
        lines += [f"  {_named(cause, wording)}", *_size(cause, report)]
    if len(causes) < len(found.causes):
        lines.append(f"  … and {len(found.causes) - len(causes)} more")
    lines.append(f"  {found.proof}")
    if found.other:
        lines.append(f"  Enough as well: {', '.join(found.other)}")
    lines += [f"  {line}" for line in _outside(found)]
    blocks = [[*lines, *_cost(found)]]
    if mended := _mended(found):
        blocks.append(mended)
    if wording.verbose and found.trials:
        blocks.append(["Trials, what was put back and what came of it:", *trial_lines(found)])
    return blocks


def _named(cause: Cause, wording: Wording) -> str:
    name = wording.names(cause.leaves[0]) if len(cause.leaves) == 1 else f"{len(cause.leaves)} × {cause.name}"
    return f"✗ {name}" + (f": {cause.how}" if cause.how else "")


def _size(cause: Cause, report: Report) -> list[str]:
    """How far apart the runs are at the end where all is put back but this."""
    apart = cause.without
    if apart is None or apart.outcome is not Outcome.DIFFERENT or len(report.causes) < 2:
        return []
    return [f"      all put back but this: {how_far(apart)}"] if how_far(apart) else []


def how_far(result: TrialResult) -> str:
    """The sizes that a trial measured at its end; empty where it measured none."""
    words = []
    if result.parameter_distance is not None:
        words.append(f"parameters {result.parameter_distance:.1e} apart")
    if result.loss_distance is not None:
        words.append(f"loss {result.loss_distance:.1e} apart")
    return ", ".join(words)


def _outside(found: Explanation) -> list[str]:
    """What was seen beside the state: operators, draws; and where to look."""
    operator = [f"First operator that differs: {found.operator}"] if found.operator else []
    drawn = [f"Random numbers: {line}" for line in found.draws]
    return [*found.keys, *operator, *drawn, *(f"- {line}" for line in found.look_at)]


def _mended(found: Explanation) -> list[str]:
    """The lines to add, each once."""
    lines, added = [], found.lines
    for title, code in (("save", added.save), ("load", [line for _, line in added.load])):
        if code:
            lines += [f"  in {title}():", *(f"      {line}" for line in code)]
    lines += [f"  {line}" for line in dict.fromkeys(line for cause in found.causes for line in cause.advice)]
    if tried := came_of_lines(found):
        lines.append(f"  {tried}")
    return ["To mend it:", *lines] if lines else []


def came_of_lines(found: Explanation) -> str:
    """What running the lines came to, in a sentence; empty where they were not run, or gave no verdict."""
    tried = found.lines_tried
    if tried is None or (tried.outcome is Outcome.UNRESOLVED and not tried.error):
        return ""
    if tried.restores:
        return "Tried: with these lines a resumed run does what the uninterrupted one did."
    if tried.error:
        why = f"they raise {tried.error.splitlines()[0].rstrip(':.')}"
    elif tried.divergence:
        why = f"step {tried.divergence.step} still differs in phase {tried.divergence.phase}"
    else:
        why = "the state at the end still differs"
    return f"Tried: these lines are not all that it takes; {why}."


def trial_lines(found: Explanation) -> list[str]:
    """A line for each trial."""
    lines = []
    for trial in found.trials:
        result = trial.result
        if result.outcome is Outcome.UNRESOLVED:
            came = f"unresolved: {result.error}"
        elif result.restores:
            came = trial.aim
        elif result.divergence:
            came = f"differs at {result.divergence.where}"
        else:
            came = f"differs: {result.error}" if result.error else "differs at the end"
        lines.append(f"  {trial.put_back}: {came}" + (f" ({how_far(result)})" if how_far(result) else ""))
    return lines


def _cost(found: Explanation) -> list[str]:
    if not found.trials:
        return []
    early = {"interrupted": ", interrupted", "budget": ", and no more were allowed"}.get(found.stopped, "")
    return [f"  Found by {counted(len(found.trials), 'trial')} of {counted(found.steps, 'step')} together{early}"]


def harmless_line(found: Explanation, wording: Wording) -> str:
    """What was lost too."""
    return f"Lost as well, without effect: {', '.join(grouped_paths(found.harmless, wording.names))}"
