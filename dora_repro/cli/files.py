"""The commands that read files: `inspect` one, `diff` two."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from dora_repro.errors import BadInput
from dora_repro.printable import json_text, named
from dora_repro.state.paths import matching, select
from dora_repro.wording import counted

if TYPE_CHECKING:
    from dora_repro.contracts import Json
    from dora_repro.trace import Divergence, Trace


@click.command(short_help="What is in a checkpoint, and what it lacks.")
@click.argument("file")
@click.option("--all", "every", is_flag=True, help="List every entry.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: str, every: bool, as_json: bool) -> None:
    """Show what is in a checkpoint FILE or folder, by component, and what an exact resume would lack.

    No code from it is run.
    """
    from dora_repro.checkpoint.contents import inspect as look
    from dora_repro.show import files

    contents = look(file)
    _say(json_text(files.contents_dict(contents)) if as_json else files.contents_text(contents, every))


@click.command(short_help="How two checkpoints, snapshots or traces differ.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--only", multiple=True, metavar="GLOB", help="Compare only these leaves; repeatable.")
@click.option("--ignore", multiple=True, metavar="GLOB", help="Leave out these leaves; repeatable.")
@click.option("--tolerance", type=float, help="Exit with 0 if all differences are within this absolute tolerance.")
@click.option("--all", "every", is_flag=True, help="List equal leaves, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(
    first: str,
    second: str,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    tolerance: float | None,
    every: bool,
    as_json: bool,
) -> None:
    """How B differs from A, leaf by leaf, by bytes: two checkpoints, two snapshots or two traces of this kit.

    Exit codes: 0 equal, 1 different, 2 bad input, or a file of the folders that cannot be read.
    """
    from dora_repro.checkpoint.reading import Leaves
    from dora_repro.checks.report import comparison_dict
    from dora_repro.comparison.checkpoints import named_alike
    from dora_repro.comparison.files import read_side
    from dora_repro.comparison.leaves import compare
    from dora_repro.trace import Trace

    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise BadInput(f"tolerance={tolerance}: give a number of 0 or more")
    wanted = Wanted(only, ignore)
    one, other = read_side(first), read_side(second)
    if isinstance(one, Trace) and isinstance(other, Trace):
        if tolerance is not None:
            raise BadInput(f"tolerance={tolerance}: traces hold digests, which are equal or not")
        _diff_traces(one, other, as_json, wanted)
        return
    if isinstance(one, Trace) or isinstance(other, Trace) or type(one) is not type(other):
        kinds = [_KINDS[type(side).__name__] for side in (one, other)]
        raise BadInput(f"{named(first)} is a {kinds[0]} and {named(second)} a {kinds[1]}: give two of a kind")
    if isinstance(one, Leaves) and isinstance(other, Leaves):
        one, other = named_alike(one, other)
    wanted.chosen([*one, *other])
    found = compare(one, other, only=only or ("*",), ignore=ignore, name="diff", tolerance=tolerance)
    if as_json:
        _say(json_text({**comparison_dict(found), "compared": len(found.compared)}))
    else:
        from dora_repro.show import files

        equal = _descriptions(one, found.compared) if every else None
        _say(files.comparison_text(found, every, equal))
    within = tolerance is not None and found.within_tolerance
    torn = any(difference.kind == "unreadable" for difference in found.differences)
    click.get_current_context().exit(2 if torn else 0 if found.equal or within else 1)


_KINDS = {"Trace": "trace", "Snapshot": "snapshot", "Leaves": "checkpoint"}


@dataclass(frozen=True)
class Wanted:
    """The leaves that a user wants to compare.

    Attributes:
        only: globs of these alone; empty for all.
        ignore: globs of those to leave out.
    """

    only: tuple[str, ...]
    ignore: tuple[str, ...]

    def chosen(self, paths: Iterable[str]) -> frozenset[str]:
        """The paths to compare. Globs that match nothing are refused: a comparison of nothing would be equal.

        Raises:
            BadInput: such a glob, or globs that leave nothing over.
        """
        known = list(dict.fromkeys(paths))
        for option, globs in (("only", self.only), ("ignore", self.ignore)):
            _require_matches(option, globs, known)
        chosen = frozenset(select(self.only or ("*",), known)).difference(select(self.ignore, known))
        if not chosen:
            raise BadInput("nothing is left to compare: the globs of ignore and only shut out every leaf")
        return chosen


def _require_matches(option: str, globs: Iterable[str], known: list[str]) -> None:
    for glob in globs:
        if not matching(glob, known):
            near = difflib.get_close_matches(glob, known, n=1, cutoff=0.3)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"{option}={glob!r} matches none of {counted(len(known), 'leaf')}{hint}")


def _diff_traces(one: "Trace", other: "Trace", as_json: bool, wanted: Wanted) -> None:
    """Two traces over the steps that both have: their effects, and beside them their memory."""
    from dora_repro.alignment.divergence import first_divergence, first_memory_divergence
    from dora_repro.comparison.leaves import compare
    from dora_repro.show import files

    numbers = [{step.number for step in trace.steps} for trace in (one, other)]
    both = sorted(numbers[0] & numbers[1])
    if not both:
        spans = " and ".join(_span(steps) for steps in numbers)
        raise BadInput(f"the traces have no step in common ({spans}): give two of one run")
    remembered = {path for trace in (one, other) for _, memory in trace.memory() for path in memory}
    effects = [f"{s.number}/{e.phase}/{e.leaf}" for trace in (one, other) for s in trace.steps for e in s.effects]
    chosen = wanted.chosen([*effects, *remembered])
    one, other = (_only(trace, chosen) for trace in (one, other))
    first = first_divergence(one, other, both[0] - 1)
    skipped = {path for path in remembered if path not in chosen}
    memory = first_memory_divergence(one, other, both[0] - 1, skipped)
    found = compare(_cut(one, both), _cut(other, both), name="diff")
    rests = (("first", numbers[0] - numbers[1]), ("second", numbers[1] - numbers[0]))
    notes = [f"only the {which} has {_span(rest)}" for which, rest in rests if rest]
    if as_json:
        places = {"first": _place(first), "first_memory": _place(memory)}
        data = {"equal": not (first or memory), "steps": [both[0], both[-1]], **places, "notes": notes}
        _say(json_text({**data, "compared": len(found.compared), "differences": [d.path for d in found.differences]}))
    else:
        _say(files.trace_text(first, memory, found, (both[0], both[-1]), notes))
    click.get_current_context().exit(1 if first or memory else 0)


def _only(trace: "Trace", chosen: frozenset[str]) -> "Trace":
    """The trace with the effects that were chosen."""
    steps = [
        replace(step, effects=tuple(e for e in step.effects if f"{step.number}/{e.phase}/{e.leaf}" in chosen))
        for step in trace.steps
    ]
    return replace(trace, steps=steps)


def _cut(trace: "Trace", numbers: Iterable[int]) -> "Trace":
    numbers = set(numbers)
    return replace(trace, steps=[step for step in trace.steps if step.number in numbers])


def _span(steps: set[int]) -> str:
    return f"steps {min(steps)}–{max(steps)}" if steps else "no steps"


def _place(found: "Divergence | None") -> "dict[str, Json] | None":
    if found is None:
        return None
    return {"step": found.step, "phase": found.phase, "leaf": found.leaf, "kind": found.kind}


def _descriptions(leaves: "Mapping[str, Any]", paths: Iterable[str]) -> dict[str, str]:
    """Dtypes and shapes of tensors, without loading them where the file has them in its index."""
    import torch

    from dora_repro.checkpoint.tensors import TensorEntry
    from dora_repro.comparison.leaves import describe

    look = getattr(leaves, "entry", leaves.get)
    found = {}
    for path in paths:
        if path not in leaves:
            found[path] = "state of a generator"
            continue
        value = look(path)
        if isinstance(value, TensorEntry):
            value = torch.empty(value.shape, dtype=value.dtype, device="meta")
        found[path] = "kept by digest" if getattr(value, "kept", True) is False else describe(value)
    return found


def _say(text: str) -> None:
    from dora_repro.show import screen

    click.echo(screen.fitted(text, sys.stdout))
