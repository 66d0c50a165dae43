"""The journal of a training: a line for each start, then more of those that did not go on exactly as it was."""

import time
from collections.abc import Sequence
from pathlib import Path

from dora_repro.checks.report import Verdict
from dora_repro.journal.reading import Journal, Start
from dora_repro.journal.words import listed, of_state, resumed_from
from dora_repro.printable import one_line
from dora_repro.show.answer import FAILED, MARKS
from dora_repro.show.console import as_summary, as_text
from dora_repro.show.groups import grouped_paths
from dora_repro.show.tables import table
from dora_repro.wording import counted, plural

__all__ = ["HEADS", "as_summary", "as_text", "details", "headline", "rows"]

HEADS = ("start", "began", "updates", "resumed from", "done again", "verdict")
_SOME = 8  # names of leaves that are listed


@as_text.register
def _(journal: Journal) -> str:
    return "\n".join([*headline(journal), "", table(HEADS, rows(journal)), *details(journal)])


@as_summary.register
def _(journal: Journal) -> str:
    return "\n".join(headline(journal))


def headline(journal: Journal) -> list[str]:
    """How the starts of a journal went on, in a line, and the command in another."""
    resumed = [start for start in journal.starts if start.source is not None]
    exact = sum(start.verdict is Verdict.EXACT for start in resumed)
    mark = MARKS.get(journal.verdict, FAILED)
    if not resumed:
        text = f"{counted(len(journal.starts), 'start')}, and none went on from another: there is nothing to judge yet"
    elif exact == len(resumed):
        text = f"{counted(exact, 'resume')}, {'and it is' if exact == 1 else 'all'} exact"
    else:
        text = f"{exact} of {counted(len(resumed), 'resume')} exact"
        unknown = sum(start.verdict is Verdict.INCONCLUSIVE for start in resumed)
        if unknown:
            text = f"{text}, {unknown} cannot be judged"
    anew = sum(start.source is None and start.earlier for start in journal.starts)
    if anew:
        text = f"{text}; {counted(anew, 'start')} began anew though there was a checkpoint"
    last = journal.starts[-1]
    return [f"{mark} {journal.verdict}: {text}", f"  {one_line(' '.join(last.command))}"]


def rows(journal: Journal) -> list[Sequence[str]]:
    """The cells of a line for each start."""
    return [_row(start) for start in journal.starts]


def _row(start: Start) -> Sequence[str]:
    began = "?" if start.began is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(start.began))
    updates = "none" if start.updates is None else _range(*start.updates)
    if start.source is None:
        source = "nothing: began anew" if start.earlier else "–"
    else:
        source = resumed_from(start.source)
    verdict = "–" if start.verdict is None else f"{MARKS.get(start.verdict, FAILED)} {start.verdict}"
    return str(start.number), began, updates, source, _again(start), verdict


def _again(start: Start) -> str:
    """What became of the updates that had been done before."""
    if start.source is None:
        return "–"
    equal = ""
    if start.repeated:
        equal = f"{_range(start.source.update + 1, start.source.update + start.repeated)} equal"
    if start.differs is not None:
        return f"{equal}{', ' if equal else ''}differs at {start.differs.step:,}"
    return equal or "none to compare"


def _range(first: int, last: int) -> str:
    return f"{first:,}–{last:,}" if last > first else f"{first:,}"


def details(journal: Journal) -> list[str]:
    """What is to be said of each start, beyond its line; once for those of which the same is to be said."""
    alike: dict[tuple[str, ...], list[Start]] = {}
    for start in journal.starts:
        about = tuple(_about(start))
        if about:
            alike.setdefault(about, []).append(start)
    lines: list[str] = []
    for about, starts in alike.items():
        lines += ["", _heading([start.number for start in starts]), *(f"  {line}" for line in about)]
    if journal.verdict in (Verdict.DIFFERENT, Verdict.LATENT):
        lines += ["", 'Why, and the lines that mend it: dora-repro check --run "…" on the same command.']
    return lines


def _heading(numbers: Sequence[int]) -> str:
    """`Start 2`, `Starts 2, 3 and 5`, `Starts 2–5 and 7`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    parts = [part for one in ranges for part in ([_range(one[0], one[-1])] if len(one) > 2 else map(str, one))]
    return f"{'Start' if len(numbers) == 1 else plural('Start')} {listed(parts)}"


def _about(start: Start) -> list[str]:
    lines = []
    source, state = start.source, start.state
    if source is not None and start.verdict is not Verdict.EXACT:
        if start.differs is not None:
            lines.append(f"{FAILED} first differs in phase {start.differs.phase}: {start.differs.leaf}")
        mark = FAILED if state is not None and state.lost else "⚠" if state is None or state.unknown else "✓"
        lines.append(f"{mark} {of_state(state)}")
        if state is not None:
            lines += [f"    {kind}: {_some(grouped_paths(paths))}" for kind, paths in state.lost.items()]
        if start.differs is not None and state is not None and not state.lost:
            lines.append("All that a training works with was as it was: its data, or the computation, is another one.")
    if start.moved:
        lines.append(f"It ran on something else than the start before it: {_some(start.moved)}")
    if source is None and start.earlier:
        read = f" It read {_some([one_line(Path(path).name) for path in start.reads])}." if start.reads else ""
        lines.append(f"⚠ It read no checkpoint that an earlier start had written.{read}")
    if state is not None and state.other and start.verdict is not Verdict.EXACT:
        other = _some(grouped_paths(state.other))
        lines.append(f"Further variables that are not as they were, whether that matters or not: {other}")
    if start.world > 1:
        lines.append(f"The first of {start.world} ranks is noted, and no other.")
    if start.refused:
        lines.append("It was ended by --strict.")
    if start.problem:
        lines.append(f"⚠ {start.problem}")
    return lines


def _some(paths: Sequence[str]) -> str:
    more = f", … ({len(paths) - _SOME} more)" if len(paths) > _SOME else ""
    return ", ".join(paths[:_SOME]) + more
