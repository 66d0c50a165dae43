"""Why a resumed run differs, in paragraphs: the causes, the proof, how much each matters, what fixes it, the trials."""

from collections.abc import Iterable

from dora_repro.checks.report import Report
from dora_repro.explain.explanation import Cause, Explanation, TrialRecord
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.fixes import fix_block
from dora_repro.show.groups import Names, groups_of_paths, left_over
from dora_repro.show.lost import significant
from dora_repro.show.sections import Block, Wording
from dora_repro.wording import counted

FEW = 6  # causes and restored leaves, before the rest is counted only


def why_blocks(report: Report, wording: Wording) -> list[Block]:
    """The paragraphs on why the runs differ; none where nothing was explained."""
    found = report.explanation
    if found is None:
        return []
    if not found.causes:
        return [Block(f"Why: {found.unexplained}", (*_indented(_beside_state(found)), *_trials_line(found)))]
    many = len(found.causes) > 1
    causes = found.causes if wording.verbose else found.causes[:FEW]
    lines = []
    for cause in causes:
        how = f": {cause.how}" if cause.how else ""
        lines += [f"  ✗ {named(cause, wording.names)}{how}", *_effect(cause, report)]
    if len(causes) < len(found.causes):
        lines.append(f"  … and {counted(len(found.causes) - len(causes), 'more part')}")
    lines += _indented([found.proof, *_not_restored(found, wording)])
    if found.other:
        lines.append(f"  Also sufficient: {', '.join(found.other)}")
    if harmless := harmless_line(report, found, wording):
        lines.append(f"  {harmless}")
    title = f"Why: {'these together' if many and found.proved else 'this'} made the difference"
    blocks = [Block(title, (*lines, *_indented(_beside_state(found)), *_trials_line(found)))]
    if fix := fix_block(found):
        blocks.append(Block(fix[0], tuple(fix[1:])))
    if wording.verbose and found.trials:
        blocks.append(Block("Trials: what was restored, and what came of it", tuple(trial_lines(found))))
    return blocks


def named(cause: Cause, names: Names) -> str:
    """A cause by the name of its leaf, or by how many leaves there are and what their names have in common."""
    if cause.is_whole:
        return names(cause.name)
    return names(cause.leaves[0]) if len(cause.leaves) == 1 else f"{len(cause.leaves)} × {cause.name}"


def harmless_line(report: Report, found: Explanation, wording: Wording) -> str:
    """What was lost as well, and has no effect once the causes are restored; empty where that is nothing."""
    lost = {each.path for each in significant(report)}
    groups = groups_of_paths((path for path in found.harmless if path in lost), wording.names)
    shown = groups if wording.verbose else groups[:FEW]
    words = ", ".join(filter(None, (*(group.text for group in shown), left_over(groups, len(shown)))))
    return f"Also lost, without effect once the above is restored: {words}" if words else ""


def how_far(result: TrialResult) -> str:
    """The distances that a trial measured at its end; empty where it measured none."""
    words = []
    if result.parameter_distance is not None:
        words.append(f"parameters off by {result.parameter_distance:.1e}")
    if result.loss_distance is not None:
        words.append(f"loss off by {result.loss_distance:.1e}")
    return ", ".join(words)


def trial_lines(found: Explanation) -> list[str]:
    """A line for each trial."""
    lines = []
    for trial in found.trials:
        distance = f" ({how_far(trial.result)})" if how_far(trial.result) else ""
        lines.append(f"  {trial.put_back}: {trial_result(trial)}{distance}")
    return lines


def trial_result(trial: TrialRecord) -> str:
    """What came of a trial, in a few words."""
    result = trial.result
    if result.outcome is Outcome.UNRESOLVED:
        return f"unresolved: {result.error}" if result.error else "unresolved"
    if result.restores:
        return trial.aim
    if result.divergence:
        return f"differs at {result.divergence.where}"
    return f"differs: {result.error}" if result.error else "differs at the end"


def _effect(cause: Cause, report: Report) -> list[str]:
    """How far the runs are from each other at the end where all but this cause is restored."""
    without = cause.without
    if without is None or without.outcome is not Outcome.DIFFERENT or len(report.causes) < 2:
        return []
    if report.divergence is None:  # every step is the same without it: nothing is off
        return []
    return [f"    with all but this restored: {how_far(without)}"] if how_far(without) else []


def _not_restored(found: Explanation, wording: Wording) -> list[str]:
    """All leaves that the confirming process could not restore, with the reasons; the proof names the first."""
    missing = found.confirmation_missing if wording.verbose else {}
    return [f"  not restored there: {wording.names(path)}: {reason}" for path, reason in missing.items()]


def _beside_state(found: Explanation) -> list[str]:
    """What was seen beside the state: keys, operators, draws; and where to look."""
    operator = [f"First operator that differs: {found.operator}"] if found.operator else []
    drawn = [f"Random numbers: {line}" for line in found.draws]
    return [*found.keys, *operator, *drawn, *(f"- {line}" for line in found.look_at)]


def _trials_line(found: Explanation) -> list[str]:
    if not found.trials:
        return []
    early = {"interrupted": "; interrupted", "budget": "; no more were allowed"}.get(found.stopped, "")
    return [f"  Found in {counted(len(found.trials), 'trial')}, {counted(found.steps, 'step')} in all{early}"]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
