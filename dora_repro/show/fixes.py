"""What fixes a resume, in words: the lines of code to add, what came of running them, and the sentences beside them."""

from dora_repro.explain.explanation import Explanation
from dora_repro.explain.trials.trial import Outcome


def code_lines(found: Explanation) -> list[tuple[str, str]]:
    """(`save` or `load`, line of code) for every line to add, those of save first."""
    added = found.lines
    return [*(("save", line) for line in added.save), *(("load", line) for _, line in added.load)]


def sentences(found: Explanation) -> list[str]:
    """The advice that is no code, each sentence once."""
    return list(dict.fromkeys(line for cause in found.causes for line in cause.advice))


def fix_block(found: Explanation) -> list[str]:
    """All that fixes it, as a paragraph; empty where there is no advice."""
    lines, before = [], ""
    for method, line in code_lines(found):
        lines += [f"  in {method}():"] if method != before else []
        lines.append(f"      {line}")  # six spaces and more are code to `screen.folded`
        before = method
    lines += [f"  {line}" for line in sentences(found)]
    if tried := lines_verdict(found):
        where = f"where {found.function}() waits for its next forward pass" if found.function else ""
        lines.append(f"  {' '.join(filter(None, ('Tried', where)))}{tried.removeprefix('tried')}.")
    return ["Fix:", *lines] if lines else []


def lines_verdict(found: Explanation) -> str:
    """What running the lines came to, as `tried: …`; empty where they were not run, or gave no verdict."""
    tried = found.lines_tried
    if tried is None or (tried.outcome is Outcome.UNRESOLVED and not tried.error):
        return ""
    taken = [f"`{cause.name}`" for cause in found.causes if cause.taken_from]
    beside = f", with {' and '.join(taken)} put back" if taken else ""
    if tried.restores:
        return f"tried{beside}: the resumed run then repeats the reference"
    if tried.error:
        why = f"they raise {tried.error.splitlines()[0].rstrip(':.')}"
    elif tried.divergence:
        why = f"step {tried.divergence.step} still differs in phase {tried.divergence.phase}"
    else:
        why = "the state at the end still differs"
    return f"tried{beside}: not enough, {why}"
