"""What a lab shows in words and tables: pure functions from a lab to text or HTML."""

from dora_repro.difference import generator_distance
from dora_repro.lab.components import GRADIENTS, Component
from dora_repro.lab.lab import Lab
from dora_repro.printable import in_html
from dora_repro.show.html import html_table
from dora_repro.wording import counted, differ

SHOWN = 12  # leaves of a component
_HANGING = "display:block; padding-left:9ch; text-indent:-9ch"  # of a line of code that goes on below itself


def summary(lab: Lab) -> str:
    """Say where both runs stand and how they differ, in a sentence or two."""
    if lab.reference is None:
        return "Nothing is built yet. Build makes two identical runs: one trains on, the other will be interrupted."
    process = lab.current
    if not process.alive:
        saved = [step for each in lab.processes for step in each.saves]
        left = f"its checkpoint of step {saved[-1]}" if saved else "nothing: it was never saved"
        return f"Killed after step {process.done}. What is left of the run: {left}."
    if process.finished:
        return f"{_comparison(lab)} The run has ended after {counted(process.done, 'step')}."
    return _comparison(lab) + _caveat(lab)


def _comparison(lab: Lab) -> str:
    process, divergence = lab.current, lab.divergence
    given = list(dict.fromkeys(name for _, name in process.transplants))
    listed = " and ".join(filter(None, (", ".join(given[:-1]), *given[-1:])))
    transplanted = f", with {listed} transplanted" if given else ""
    if divergence is not None:
        where = f"step {divergence.step}, phase {divergence.phase}, {divergence.leaf}"
        return f"✗ Resumed at step {process.start}{transplanted}: first differs at {where}."
    if not process.loaded:
        return f"Both runs have done {counted(process.done, 'step')}; {_leaves(lab)}."
    if process.done == process.start:
        names = ", ".join(each.name for each in lab.components() if each.differences and each.name != GRADIENTS)
        what = f"different from the uninterrupted run: {names}" if names else "all state is as it was"
        return f"Loaded at step {process.start}{transplanted}: {what}. No step has been done since."
    steps = counted(process.done - process.start, "step")
    return (
        f"✓ Resumed at step {process.start}{transplanted}: {steps} since, all effects byte-identical; {_leaves(lab)}."
    )


def _leaves(lab: Lab) -> str:
    leaves = sum(each.leaves for each in lab.components())
    different = leaves - sum(each.same for each in lab.components())
    if not different:
        return f"all {counted(leaves, 'leaf')} of state are identical"
    return f"{different:,} of {counted(leaves, 'leaf')} of state {differ(different, leaves)}"


def _caveat(lab: Lab) -> str:
    if lab.nondeterministic:
        names = ", ".join(lab.nondeterministic[:3])
        return f" Repeated, the run was not the same ({names}): it is nondeterministic, which no load can fix."
    if lab.not_transplanted:
        path, why = next(iter(lab.not_transplanted.items()))
        return f" Not all state could be transplanted: {path}: {why}. Transplant the batches instead: data/batches."
    return ""


def components_text(lab: Lab) -> str:
    """Return a line for each component: whether it is the same in both runs."""
    wide = max((len(each.name) for each in lab.components()), default=0)
    return "\n".join(f"{each.name:{wide}}  {counts(each)}" for each in lab.components())


def counts(component: Component) -> str:
    """Return `identical`, or how many leaves of a component differ and how many were lost."""
    if not component.differences:
        return f"identical ({component.leaves:,})"
    words = [f"{component.different:,} different"] if component.different else []
    words += [f"{component.lost:,} lost"] if component.lost else []
    return f"{', '.join(words)} of {component.leaves:,}"


def component_html(component: Component) -> str:
    """List the leaves of a component that differ, and how."""
    lines = [in_html(str(each)) for each in component.differences[:SHOWN]]
    if len(component.differences) > SHOWN:
        lines.append(f"… and {len(component.differences) - SHOWN:,} more")
    items = "".join(f"<li><code>{line}</code></li>" for line in lines)
    return f"<ul style='margin:0 0 4px 0; line-height:1.4'>{items}</ul>"


def generators_html(lab: Lab) -> str:
    """Return a table of the random number generators: how many draws both runs are apart."""
    if lab.reference is None:
        return "Nothing is built yet."
    rows = [(path, draws_text(draws)) for path, draws in lab.generators().items()]
    return html_table("", ("generator", "interrupted run, relative to the uninterrupted one"), rows)


def draws_text(draws: int | None) -> str:
    """Say how many draws a generator is ahead or behind."""
    if draws is None:
        return f"{generator_distance(None)}: no number of draws leads from one to the other"
    return generator_distance(draws) if draws else "identical"


def phases_html(lab: Lab) -> str:
    """Return a table of the phases of the last step, as far as they are shown: whether both runs did the same."""
    rows = [(phase, _phase_text(leaves)) for phase, leaves in lab.phases()]
    if not rows:
        return "This process has not done a step yet. Phase does one, and shows its first phase."
    return html_table(f"Step {lab.current.done}", ("phase", "relative to the uninterrupted run"), rows)


def _phase_text(leaves: tuple[str, ...]) -> str:
    if not leaves:
        return "byte-identical"
    more = f" and {len(leaves) - 2:,} more" if len(leaves) > 2 else ""
    return f"differs: {', '.join(leaves[:2])}{more}"


def fix_html(lab: Lab) -> str:
    """Return the lines of code that would have kept what the last load did not restore."""
    advice = lab.fixes()
    if not advice:
        loaded = bool(lab.processes) and lab.current.loaded
        return f"Nothing to fix: {'the last load restored all state' if loaded else 'nothing has been loaded yet'}."
    parts = []
    for name, each in advice.items():
        lines = [*(f"save:  {line}" for line in each.save), *(f"load:  {line}" for line in each.load)]
        code = "".join(f"<span style='{_HANGING}'>{in_html(line)}\n</span>" for line in lines)
        parts.append(f"<b>{in_html(name)}</b>")
        parts.append(f"<pre style='margin:2px 0; white-space:pre-wrap; line-height:1.4'>{code}</pre>" if lines else "")
        parts.append(f"<div style='margin-bottom:8px; line-height:1.4'>{in_html(each.sentence)}</div>")
    return "".join(parts)
