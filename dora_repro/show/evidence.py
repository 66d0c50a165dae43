"""What an answer rests on, in paragraphs: what was run, the three comparisons, what was lost, why, control and cost."""

from collections.abc import Iterable, Sequence

from dora_repro.checks.report import Report, Verdict
from dora_repro.difference import LeafDifference, Setting
from dora_repro.show.groups import Group, groups_of, groups_of_paths, left_over
from dora_repro.show.lost import left_out, what_was_lost
from dora_repro.show.sections import Block, Wording, resumed_steps, section
from dora_repro.show.why import why_blocks
from dora_repro.wording import counted, differ

FEW = 12  # groups of leaves, before the rest is counted only
NAMED = 8  # leaves in a line, before the rest is counted only
TRACEBACK = 20  # its last lines
_OURS = frozenset("✓✅✗❌⚠")  # what lines of a report begin with


def evidence(report: Report, wording: Wording, about: Sequence[str] = ()) -> list[Block]:
    """The paragraphs of a report, in order.

    Args:
        report: what a check found.
        wording: how it is worded.
        about: lines on what was run.
    """
    return [
        Block(_what_was_run(report), _indented([*report.launched, *about])),
        *(section(report, comparison, wording) for comparison in report.comparisons),
        *_first_difference(report, wording),
        *_raised(report, wording),
        *_lost_blocks(report, wording),
        *_configuration(report, wording),
        *why_blocks(report, wording),
        _control_and_cost(report, wording),
    ]


def first_line(text: str) -> str:
    """A text up to its first line break."""
    return text.split("\n", 1)[0]


def _what_was_run(report: Report) -> str:
    left = report.steps - report.save_at
    if report.launched:
        rest = f", kill, resume and {left} more"
    else:
        rest = f", save, load and {left} more" if left else ", save and load"
    return f"{report.title}: {counted(report.steps, 'step')} without a break, against {report.save_at}{rest}"


# --- what is wrong, and where ----------------------------------------------------------------------------------------


def _first_difference(report: Report, wording: Wording) -> list[Block]:
    found, memory = report.divergence, report.first_memory
    if found is None:
        return []
    how = found.difference.how if found.difference is not None else found.how()
    lines = [f"  {wording.names(found.leaf)}  {how}".rstrip()]
    if memory is not None:
        lines.append(f"First memory that differs: {memory.where}")
        lines.append(f"  {wording.names(memory.leaf)}  {memory.how()}".rstrip())
    return [Block(f"First difference, in order of execution: {found.where}", tuple(lines))]


def _raised(report: Report, wording: Wording) -> list[Block]:
    """The traceback of the resumed run, or the last words of a process that did not finish."""
    blocks = []
    if report.error is not None:
        lines = report.error.rstrip().splitlines()
        shown = lines if wording.verbose else lines[-TRACEBACK:]
        cut = len(lines) - len(shown)
        more = [f"… {counted(cut, 'line')} before"] if cut else []
        blocks.append(Block("The resumed run raised:", _indented([*more, *shown])))
    last_words = report.reason.splitlines()[1:]
    if report.verdict is Verdict.INCONCLUSIVE and last_words:
        blocks.append(Block("What happened:", _indented(last_words)))
    return blocks


def _lost_blocks(report: Report, wording: Wording) -> list[Block]:
    """What save() changed, what was lost, and what of it was still lost at the end."""
    blocks = []
    if changed := report.changed_by_save:
        title = f"Changed by save() itself ({counted(len(changed), 'leaf')}):"
        blocks.append(Block(title, _leaves(groups_of(changed, wording.names), wording)))
    if lost := what_was_lost(report):
        blocks.append(_what_was_lost(report, lost, wording))
    if report.latent:
        by_path = {difference.path: difference for difference in report.lost}
        known = groups_of((by_path[path] for path in report.latent if path in by_path), wording.names)
        unknown = groups_of_paths((path for path in report.latent if path not in by_path), wording.names)
        title = f"Lost at the end, with no effect in {counted(resumed_steps(report), 'step')}:"
        blocks.append(Block(title, _leaves([*known, *unknown], wording)))
    return blocks


def _what_was_lost(report: Report, lost: list[LeafDifference], wording: Wording) -> Block:
    """What is listed as lost, of all that differs right after loading, and what the rest of that is."""
    lines = _leaves(groups_of(lost, wording.names), wording)
    rest = ", ".join(f"{reason} ({len(paths):,})" for reason, paths in left_out(report).items())
    if not rest:
        count = f"{counted(len(lost), 'leaf')} {differ(len(lost), len(lost))} right after loading"
        return Block(f"What was lost ({count}):", lines)
    count = f"{len(lost):,} of {counted(len(report.lost), 'leaf')} that differ right after loading"
    return Block(f"What was lost ({count}):", (*lines, f"  Not listed: {rest}"))


def _configuration(report: Report, wording: Wording) -> list[Block]:
    """What the resumed run was told otherwise, each with its effect."""
    if not report.configuration:
        return []
    lines = [
        f"{wording.names(setting.path)}  {setting.change}{effect_of(setting, report)}"
        for setting in report.configuration
    ]
    count = counted(len(lines), "value")
    return [Block(f"Changed configuration ({count} that no step changes):", _listed(lines, wording))]


def effect_of(setting: Setting, report: Report) -> str:
    """What a changed setting does, as far as trials or the verdict tell; empty where neither does."""
    found = report.explanation
    if report.divergence is None:
        return f": no effect in {counted(resumed_steps(report), 'step')}" if resumed_steps(report) else ""
    if found is None or not found.causes:
        return ""
    if setting.path in found.leaves:
        return ": this alone makes the difference" if len(found.leaves) == 1 else ": part of what makes the difference"
    return "" if found.other else ": no effect by itself"


# --- what was not counted, and what it took --------------------------------------------------------------------------


def _control_and_cost(report: Report, wording: Wording) -> Block:
    lines = [*_not_counted(report, wording)]
    if report.unseen:
        lines.append(f"Phases not recorded (their differences show in the next phase): {', '.join(report.unseen)}")
    if report.uncaptured:
        kinds = [f"{wording.names(path)} ({kind})" for path, kind in report.uncaptured.items()]
        lines.append(f"Not captured: {_some(kinds, wording)}")
    lines += [f"Note: {note}" for note in report.notes]
    if wording.verbose:
        words = [f"{name} {value}" for name, value in report.environment.items() if name != "flags"]
        lines += [f"Environment: {', '.join(words)}"] if words else []
    if report.steps_done:
        cost = " + ".join(str(done) for done in report.steps_done.values())
        seconds = " + ".join(f"{seconds:.1f}" for seconds in report.seconds.values())
        took = f", {seconds} s" if wording.timed else ""
        lines.append(f"Cost: {cost} steps ({' + '.join(report.steps_done)}){took}")
    return Block(f"Control: {_control(report)}", tuple(lines))


def _not_counted(report: Report, wording: Wording) -> list[str]:
    """What differed and was not counted against the run, by reason."""
    aside, alone = report.set_aside, report.divergence is None
    steps = counted(resumed_steps(report), "step")
    reasons = [
        ("Lost, but ignored as requested", aside.ignored, alone or wording.verbose),
        (f"Lost, but never read in {steps}", aside.expected_loss, alone),
        ("Noise: also differs between two identical runs; not counted", aside.noise, True),
        ("Histories only; not counted", aside.bookkeeping, wording.verbose),
        (f"Set while loading, and no loss{'; not counted' if alone else ''}", _set_by_load(report), True),
        ("Given another value before it is read; not counted", aside.overwritten, alone),
        ("Lost, but for a library's logs and counts alone", aside.logs, alone or wording.verbose),
        ("The same entries with keys in another order, which no step showed; not counted", aside.reordered, alone),
        ("Differed after loading, equal at the end", aside.healed, wording.verbose),
    ]
    return [
        f"{title}: {_some_leaves(groups_of_paths(paths, wording.names), wording)}"
        for title, paths, listed in reasons
        if listed and paths
    ]


def _set_by_load(report: Report) -> tuple[str, ...]:
    """What marks a resume; not what the resumed run was told, nor a cause, which have paragraphs of their own."""
    elsewhere = {setting.path for setting in report.configuration}
    if report.explanation is not None:
        elsewhere.update(report.explanation.leaves)
    return tuple(path for path in report.set_aside.set_by_load if path not in elsewhere)


def _control(report: Report) -> str:
    nothing = report.launched and not report.steps_done  # no verdict came of the launches
    if not nothing and not report.control.runs and report.divergence is None and not report.latent:
        return "not needed: both runs are byte-identical"
    return str(report.control)


def _some_leaves(groups: list[Group], wording: Wording) -> str:
    shown = groups if wording.verbose else groups[:NAMED]
    return ", ".join(filter(None, (*(group.text for group in shown), left_over(groups, len(shown)))))


def _some(words: list[str], wording: Wording) -> str:
    shown = words if wording.verbose else words[:NAMED]
    more = f", … and {len(words) - len(shown)} more" if len(shown) < len(words) else ""
    return ", ".join(shown) + more


def _leaves(groups: list[Group], wording: Wording) -> tuple[str, ...]:
    """A line for each group of leaves; those that are left out are counted as leaves, as in the title."""
    shown = groups if wording.verbose else groups[:FEW]
    return _indented(filter(None, (*(group.text for group in shown), left_over(groups, len(shown)))))


def _listed(lines: list[str], wording: Wording) -> tuple[str, ...]:
    shown = lines if wording.verbose else lines[:FEW]
    more = [f"… and {len(lines) - len(shown)} more"] if len(shown) < len(lines) else []
    return _indented([*shown, *more])


def _indented(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines that somebody else wrote, set in; one that begins as a verdict of ours does is marked as quoted."""
    return tuple(f"  > {line}" if line.lstrip()[:1] in _OURS else f"  {line}" for line in lines)
