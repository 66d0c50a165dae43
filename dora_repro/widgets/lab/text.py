"""What a lab shows, in words and tables: pure functions from a lab to text or HTML."""

import html

from dora_repro.difference import generator_distance
from dora_repro.lab.lab import Lab
from dora_repro.lab.ledger import GRADIENTS, Component

SHOWN = 12  # leaves of a component
_TABLE = "border-collapse:collapse; text-align:left"
_CELL = "padding:2px 12px 2px 0; vertical-align:top; text-align:left"


def finding(lab: Lab) -> str:
    """Where both runs stand, and what is known of how they differ, in a sentence or two."""
    if lab.reference is None:
        return "Nothing is built yet. Build makes two runs of one kind: one trains on, the other will be interrupted."
    life = lab.current
    if not life.alive:
        left = [step for each in lab.lives for step in each.saves]
        kept = f"its checkpoint of step {left[-1]}" if left else "nothing: it was never saved"
        return f"Killed after step {life.done}. What is left of the run is {kept}."
    if life.finished:
        return _places(lab) + f" The run is over after {life.done} steps."
    return _places(lab) + _noise(lab)


def _places(lab: Lab) -> str:
    life, found = lab.current, lab.divergence
    names = list(dict.fromkeys(name for _, name in life.given))
    given = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    with_it = f", with {given} transplanted" if given else ""
    if found is not None:
        return f"✗ Resumed at step {life.begun}{with_it}: first differs at {found.place}."
    apart = [each for each in lab.ledger() if each.differences]
    if not life.loaded:
        return f"Both runs have done {_steps(life.done)}; {_same(lab.ledger())}."
    if life.done == life.begun:
        names = ", ".join(each.name for each in apart if each.name != GRADIENTS)
        what = f"not as they were: {names}" if names else "all is as it was"
        return f"Loaded at step {life.begun}{with_it}: {what}. No step was done since."
    steps = _steps(life.done - life.begun)
    return (
        f"✓ Resumed at step {life.begun}{with_it}: {steps} since, every effect equal by bytes; {_same(lab.ledger())}."
    )


def _steps(count: int) -> str:
    return f"{count:,} {'step' if count == 1 else 'steps'}"


def _same(ledger: tuple[Component, ...]) -> str:
    leaves, same = sum(each.leaves for each in ledger), sum(each.same for each in ledger)
    return (
        f"all {leaves} leaves of their state are equal"
        if same == leaves
        else f"{leaves - same} of {leaves} leaves of their state differ"
    )


def _noise(lab: Lab) -> str:
    if lab.unsteady:
        names = ", ".join(lab.unsteady[:3])
        return (
            f" Done once more, it was not the same ({names}): the run is not deterministic, and no load can mend that."
        )
    if lab.failed:
        path, why = next(iter(lab.failed.items()))
        return f" Not all could be transplanted: {path}: {why}. Batches can be given instead: data/batches."
    return ""


def ledger_text(lab: Lab) -> str:
    """Component by component, as text."""
    wide = max((len(each.name) for each in lab.ledger()), default=0)
    return "\n".join(f"{each.name:{wide}}  {counted(each)}" for each in lab.ledger())


def counted(component: Component) -> str:
    """`same`, or how many leaves differ and how many were lost."""
    if not component.differences:
        return f"same ({component.leaves})"
    words = [f"{component.different} different"] if component.different else []
    words += [f"{component.lost} lost"] if component.lost else []
    return f"{', '.join(words)} of {component.leaves}"


def component_html(component: Component) -> str:
    """The leaves of a component that are not the same, with what is known of each."""
    lines = [html.escape(str(each)) for each in component.differences[:SHOWN]]
    if len(component.differences) > SHOWN:
        lines.append(f"… and {len(component.differences) - SHOWN:,} more")
    inside = "".join(f"<li><code>{line}</code></li>" for line in lines)
    return f"<ul style='margin:0 0 4px 0'>{inside}</ul>"


def generators_html(lab: Lab) -> str:
    """How many draws apart the generators of both are."""
    if lab.reference is None:
        return ""
    rows = [(path, draws_told(draws)) for path, draws in lab.generators().items()]
    return table(("generator", "of the interrupted run, beside the uninterrupted one's"), rows)


def draws_told(draws: int | None) -> str:
    if draws is None:
        return f"{generator_distance(None)}: no number of draws lies between them"
    return generator_distance(draws) if draws else "the same"


def phases_html(lab: Lab) -> str:
    """The phases of the last step, as far as they are shown: what each did, compared with the other run."""
    rows = [(phase, _apart(leaves)) for phase, leaves in lab.phases()]
    if not rows:
        return "No step of this life was done yet. Phase by phase does one, and shows its first phase."
    return f"<p>Step {lab.current.done}:</p>" + table(("phase", "beside the uninterrupted run"), rows)


def _apart(leaves: tuple[str, ...]) -> str:
    if not leaves:
        return "equal by bytes"
    more = f" and {len(leaves) - 2:,} more" if len(leaves) > 2 else ""
    return f"differs: {', '.join(leaves[:2])}{more}"


def mending_html(lab: Lab) -> str:
    """The lines of code that would have kept what the last load did not bring back."""
    found = lab.mending()
    if not found:
        where = "the last load brought all back" if lab.lives and lab.current.loaded else "nothing was loaded yet"
        return f"Nothing to mend: {where}."
    parts = []
    for name, advice in found.items():
        lines = [*(f"save:  {line}" for line in advice.save), *(f"load:  {line}" for line in advice.load)]
        code = "\n".join(lines)
        parts.append(f"<b>{html.escape(name)}</b>")
        parts.append(f"<pre style='margin:2px 0; white-space:pre-wrap'>{html.escape(code)}</pre>" if lines else "")
        parts.append(f"<div style='margin-bottom:8px'>{html.escape(advice.sentence)}</div>")
    return "".join(parts)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A small table; all that is in it is escaped."""
    head = "".join(f"<th style='{_CELL}'>{html.escape(each)}</th>" for each in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='{_CELL}'>{html.escape(each)}</td>" for each in each_row) + "</tr>"
        for each_row in rows
    )
    return f"<table style='{_TABLE}'><tr>{head}</tr>{body}</table>"
