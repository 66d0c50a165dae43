"""What fixes a resume, in words: the lines of code to add, what came of running them, and the sentences beside them."""

import re
from collections.abc import Iterable

from dora_repro.explain.advice.fitted import is_import
from dora_repro.explain.explanation import Explanation
from dora_repro.explain.trials.trial import Outcome
from dora_repro.sides.places import Place

LATE = "first step"  # where lines of load belong that need an object which is made there


def code_lines(found: Explanation) -> list[tuple[str, str]]:
    """(`save`, `load` or `LATE`, line of code) for every line to add, those of save first."""
    added = found.lines
    places = {line: LATE if line in added.late else "load" for _, line in added.load}
    of_load = sorted(((places[line], line) for _, line in added.load), key=lambda one: one[0] == LATE)
    return [*(("save", line) for line in added.save), *of_load]


def label(method: str, found: Explanation) -> str:
    """What stands before the lines of a method; a script need not have functions of these names."""
    return method if method == LATE or found.script is not None else f"{method}()"


def sentences(found: Explanation) -> list[str]:
    """The advice that is no code, each sentence once."""
    return list(dict.fromkeys(line for cause in found.causes for line in cause.advice))


def fix_block(found: Explanation) -> list[str]:
    """All that fixes it, as a paragraph; empty where there is no advice."""
    code = code_lines(found)
    lines = []
    for method, place in zip(("save", "load", LATE), (*found.lines.places, None), strict=True):
        own = [line for one, line in code if one == method]
        lines += _pasted(method, place, own) if found.script is None else _in_script(method, found, own)
    lines += [f"  {line}" for line in sentences(found)]
    if tried := lines_verdict(found):
        where = f"where {found.function}() waits for its next forward pass" if found.function else ""
        lines.append(f"  {' '.join(filter(None, ('Tried', where)))}{tried.removeprefix('tried')}.")
    return ["Fix:", *lines] if lines else []


def _in_script(method: str, found: Explanation, code: list[str]) -> list[str]:
    """Lines of code under the line of the script by which they go."""
    if not code or found.script is None:
        return []
    saves, loads = found.script
    named = found.named
    if method == "save" and named is not None and any(re.search(rf"\b{named.name}\b", line) for line in code):
        head = f"  where the checkpoint is saved, in place of {named.instead}:"
        return [head, *_indented(_with_imports_first(named.head, code, named.tail))]
    block = "at the end of the `if` there, " if found.in_block else ""
    before = [f"{block}just before {' and '.join(found.ran_before)}"] if found.ran_before else []
    words, where = ("saved", [saves]) if method == "save" else ("loaded", [loads, *before])
    shown = "; ".join(filter(None, where))
    return [f"  where the checkpoint is {words}{f' ({shown})' if shown else ''}:", *_indented(code)]


def _pasted(method: str, place: Place | None, code: list[str]) -> list[str]:
    """Lines of code under where they go, with those that give the dict a name where it has none."""
    if not code:
        return []
    if place is None or not place.where:
        return [f"  in {f'the {LATE}' if method == LATE else f'{method}()'}:", *_indented(code)]
    named = any(re.search(rf"\b{place.state}\b", line) for line in code)
    if place.tail and not named:  # a file of their own: the statement stays as it is
        return [f"  in {place.name}:", *_indented(code)]
    if not place.instead or not named:
        return [f"  in {place.name}, {place.where}:", *_indented(code)]
    head = f"  in {place.name}, in place of {place.instead}:"
    if place.tail:
        return [head, *_indented(_with_imports_first(place.head, code, place.tail))]
    return [head, *_indented(place.head), f"  and {place.where}:", *_indented(code)]


def _with_imports_first(head: Iterable[str], code: list[str], tail: Iterable[str]) -> list[str]:
    """Lines between those that give the dict a name and those that write it; what they import before all."""
    imports = [line for line in code if is_import(line)]
    return [*imports, *head, *code[len(imports) :], *tail]


def _indented(code: list[str]) -> list[str]:
    return [f"      {line}" for line in code]  # six spaces and more are code to `screen.folded`


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
