"""What a resumed script differs in, less what every script has: times, what it makes of its result, what it read."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from dora_repro.alignment.divergence import first_divergence
from dora_repro.checks.findings import Findings, compare_sides
from dora_repro.checks.report import Control
from dora_repro.comparison.leaves import compare
from dora_repro.scripts.assignment import END, FIRST
from dora_repro.scripts.resumed_alone import only_resumed, only_uninterrupted
from dora_repro.sides.evidence import Evidence
from dora_repro.state.leaves import KEPT, LOG
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace


def findings_of(
    reference: Evidence,
    resumed: Evidence,
    step: int,
    named: Container[str],
    options_loaded: Mapping[str, str] = MappingProxyType({}),
) -> Findings:
    """The differences of a resumed script.

    Args:
        reference: the uninterrupted side.
        resumed: the resumed side.
        step: the step that it goes on from.
        named: names of the objects that the script has named.
        options_loaded: digests of the options of its optimizers by path, when its loading was over.
    """
    later = _set_later(reference, step, options_loaded)
    findings = compare_sides(reference, resumed, step, len(reference.trace.steps), later)
    aside = _made_after_training(reference, resumed, findings)
    alone = tuple(_only_one(reference, resumed, findings, step, named))
    return replace(
        findings,
        end=tuple(each for each in findings.end if each.path not in aside and each.path not in alone),
        set_by_load=(*findings.set_by_load, *alone),
    )


def _set_later(reference: Evidence, step: int, options_loaded: Mapping[str, str]) -> frozenset[str]:
    """Paths of options that the resumed script had loaded as they were, and has set anew by its first step, as a rate
    that is computed from a counter: a wrong one is no loss of the option, and shows in that step."""
    last = reference.trace.step(step)
    values: dict[str, set[str]] = {}
    for effect in last.effects if last is not None else ():
        values.setdefault(effect.leaf, set()).add(effect.digest.hex())
    saved = reference.at_save(step)
    return frozenset(
        path
        for path, loaded in options_loaded.items()
        if path in saved and loaded in {saved[path].digest.hex(), *values.get(path, ())}
    )


def control_of(uninterrupted: Trace, killed: Trace, folders: tuple[Path, Path]) -> Control:
    """Whether the killed run did what the uninterrupted one had done, and what differed all the same.

    Args:
        uninterrupted: the trace of the one.
        killed: the trace of the other, which is the repeat.
        folders: where both have left the state before their first step.
    """
    found = first_divergence(uninterrupted, killed)
    begun_with = (Snapshot.read(folder / FIRST) for folder in folders)
    noise = dict.fromkeys(difference.path for difference in compare(*begun_with).differences)
    noise |= dict.fromkeys(_differing_memory(uninterrupted, killed))
    return Control(("reference",), found is None, found, tuple(noise))


def _made_after_training(reference: Evidence, resumed: Evidence, findings: Findings) -> frozenset[str]:
    """Paths that differ at the end, and did not before the last step: what a script makes of its training when it is
    over, as the time that it took. A loss would have been there before."""
    before = len(reference.trace.steps) - 1
    one, other = (
        next((dict(memory) for number, memory in trace.memory() if number == before), None)
        for trace in (reference.trace, resumed.trace)
    )
    if one is None or other is None:
        return frozenset()
    lost = {difference.path for difference in findings.lost}
    kept = (difference.path for difference in findings.end if difference.role in (*KEPT, LOG))
    return frozenset(path for path in kept if path not in lost and one.get(path) == other.get(path))


def _only_one(
    reference: Evidence, resumed: Evidence, findings: Findings, step: int, named: Container[str]
) -> Iterator[str]:
    """Paths in variables that only one of both has: the checkpoint that was read, what was built from without one."""
    loaded = resumed.loaded_or_none
    if loaded is None:
        return
    told = {*findings.set_by_load, *findings.bookkeeping}
    differing = dict.fromkeys(difference.path for difference in (*findings.end, *findings.lost))
    paths = [path for path in differing if path not in told]
    saved, end = reference.at_save(step), reference.end
    yield from only_resumed(paths, saved, end, loaded, named)
    if (resumed.folder / END).exists():
        yield from only_uninterrupted(paths, reference.trace.start, saved, end, loaded, resumed.end)


def _differing_memory(one: Trace, other: Trace) -> Iterator[str]:
    """Paths of memory that two runs of the same command had otherwise at the end of some step."""
    found: dict[str, None] = {}
    for (_, expected), (_, actual) in zip(one.memory(), other.memory(), strict=False):
        found |= dict.fromkeys(
            path for path in expected.keys() | actual.keys() if expected.get(path) != actual.get(path)
        )
    yield from found
