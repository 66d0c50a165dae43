"""What is in a checkpoint, and how two files differ, as text."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby

from dora_repro.checkpoint.components import Entry
from dora_repro.checkpoint.contents import Contents
from dora_repro.comparison.leaves import Comparison
from dora_repro.contracts import Json
from dora_repro.printable import one_line
from dora_repro.trace import Divergence
from dora_repro.wording import counted, differ


def contents_text(contents: Contents, every: bool = False) -> str:
    """A checkpoint by component: entries, bytes, dtypes; then what an exact resume would lack.

    Args:
        contents: of the checkpoint.
        every: list each entry.
    """
    lines = [
        f"{one_line(contents.path)}: {contents.description} ({contents.file_format})",
        f"  {counted(len(contents.entries), 'entry')}, {size(contents.nbytes)} of tensors and arrays",
    ]
    for name, entries in contents.components.items():
        lines.append(f"{name:<10} {_component_line(entries)}")
        lines += [f"  {_entry_line(entry)}" for entry in entries] if every else []
    lines += [f"  {line}" for line in _by_number(contents, _held)]
    if contents.stubs:
        lines.append(f"Objects in the file, left unread: {', '.join(contents.stubs)}")
    lines += [f"Note: {note}" for note in contents.notes]
    return "\n".join([*lines, "", *_lacking(contents)])


def _lacking(contents: Contents) -> list[str]:
    """What an exact resume would lack; of a run, what it would from any of its checkpoints, and from some of them."""
    lines = []
    if contents.missing:
        lines.append(f"An exact resume {'from any of them ' if contents.checkpoints else ''}would lack:")
        lines += [f"✗ {lack.part}: {lack.consequence}" for lack in contents.missing]
    common = {lack.part for lack in contents.missing}

    def beyond(one: Contents) -> str:
        return ", ".join(lack.part for lack in one.missing if lack.part not in common)

    lines += [f"✗ from {line}" for line in _by_number(contents, beyond)]
    if not lines:
        lines.append(
            "✓ By its keys, all that an exact resume needs is there; only a check can tell whether it is complete."
        )
    return lines


def _held(one: Contents) -> str:
    return ", ".join(name for name in one.components if name != "other")


def _by_number(contents: Contents, words: Callable[[Contents], str]) -> list[str]:
    """A line for each stretch of a run's checkpoints that have the same words: `epoch 1–3: adapter, optimizer`."""
    found = []
    for text, group in groupby(contents.checkpoints, key=lambda checkpoint: words(checkpoint[1])):
        numbers = [number for number, _ in group]
        span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
        if text:
            found.append(f"{contents.unit} {span}: {text}")
    return found


def contents_dict(contents: Contents) -> dict[str, Json]:
    """The contents of a checkpoint as plain data."""
    return {
        "path": contents.path,
        "layout": contents.layout,
        "description": contents.description,
        "file_format": contents.file_format,
        "bytes": contents.nbytes,
        "components": {name: [entry._asdict() for entry in entries] for name, entries in contents.components.items()},
        "stubs": list(contents.stubs),
        "missing": {lack.part: lack.consequence for lack in contents.missing},
        "notes": list(contents.notes),
        "unit": contents.unit,
        "checkpoints": {
            str(number): {
                "components": {name: len(entries) for name, entries in one.components.items()},
                "missing": [lack.part for lack in one.missing],
            }
            for number, one in contents.checkpoints
        },
    }


def comparison_text(comparison: Comparison, every: bool = False, equal: Mapping[str, str] | None = None) -> str:
    """Two files leaf by leaf, `✗ path  f32[64]  3/64 (4.69 %)  max diff = …`, and a summary last.

    Args:
        comparison: of the two.
        every: list the leaves that are equal too, in their places.
        equal: a description of each leaf that is equal, as `f32[64]`.
    """
    differing: dict[str, list[str]] = {}
    for difference in comparison.differences:
        differing.setdefault(difference.path, []).append(f"✗ {difference}")
    lines = []
    for path in comparison.compared:
        if path in differing:
            lines += differing.pop(path)
        elif every:
            lines.append(f"✓ {path}  {(equal or {}).get(path, 'equal')}".rstrip())
    lines += [line for rest in differing.values() for line in rest]  # of containers, which are no leaves
    lines += [f"Note: {note}" for note in comparison.notes]
    return "\n".join([*lines, summary(comparison)])


def summary(comparison: Comparison) -> str:
    """A line on a comparison: how many leaves differ, in which way, by how much at most."""
    torn = sum(one.kind == "unreadable" for one in comparison.differences)
    if torn:
        rest = replace(comparison, differences=tuple(d for d in comparison.differences if d.kind != "unreadable"))
        others = f"; of the others: {summary(rest)[2:]}" if rest.compared or rest.differences else ""
        return f"✗ {counted(torn, 'file')} could not be read{others}"
    total, wrong = len(comparison.compared), sum(one.kind != "structure" for one in comparison.differences)
    structural = len(comparison.differences) - wrong
    if not wrong and structural:
        equal = f"the bytes of {counted(total, 'leaf')} are equal"
        return f"✗ {counted(structural, 'difference')} in structure, though {equal}"
    if not wrong:
        return f"✓ Equal by bytes: {counted(total, 'leaf')}"
    counts = Counter(difference.kind for difference in comparison.differences)
    kinds = [f"{count} {_KINDS[kind]}" for kind, count in counts.items()]
    sizes = [difference.max_abs for difference in comparison.differences if difference.max_abs is not None]
    worst = f"; max diff = {max(sizes):.2e}" if sizes else ""
    within = ""
    if comparison.tolerance is not None:
        within = f"; {'within' if comparison.within_tolerance else 'beyond'} tolerance {comparison.tolerance:g}"
    return f"✗ {wrong} of {counted(total, 'leaf')} {differ(wrong, total)}: {', '.join(kinds)}{worst}{within}"


_KINDS = {
    "value": "in value", "missing": "missing", "unexpected": "unexpected",
    "dtype": "in dtype", "shape": "in shape", "type": "in type", "order": "in the order of keys",
    "structure": "in structure",
}  # fmt: skip  # a table


def trace_text(
    first: Divergence | None,
    memory: Divergence | None,
    comparison: Comparison,
    steps: tuple[int, int],
    notes: list[str],
) -> str:
    """Two traces: the first difference in order of execution, how many effects differ in each phase, and in all.

    Args:
        first: the first effect that differs, if any.
        memory: the first memory that differs, if any.
        comparison: of all effects.
        steps: the first and the last step that both have.
        notes: remarks on the comparison, a sentence each.
    """
    wrong, total = len(comparison.differences), len(comparison.compared)
    effects = counted(total, "effect")
    lines = [f"Compared steps {steps[0]}–{steps[1]}", *(f"Note: {note}" for note in notes)]
    if first is not None:
        lines.append(f"✗ First difference, in order of execution: {_place_line(first)}")
    if memory is not None:
        lines.append(f"✗ First memory that differs: {_place_line(memory)}")
    phases = Counter(tuple(difference.path.split("/", 2)[:2]) for difference in comparison.differences)
    for (step, phase), count in phases.items():
        lines.append(f"✗ step {step}, phase {phase}: {counted(count, 'effect')}")
    if wrong:
        return "\n".join([*lines, f"✗ {wrong} of {effects} {differ(wrong, total)}"])
    return "\n".join([*lines, f"✓ Equal by digest: {effects}"])


def _place_line(found: Divergence) -> str:
    how = found.how("the second")
    return f"{found.place}  {how}" if how else found.place


def size(nbytes: int) -> str:
    """Bytes in binary units: 1536 is 1.5 KiB."""
    amount, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _component_line(entries: tuple[Entry, ...]) -> str:
    dtypes = Counter(entry.dtype for entry in entries if entry.dtype)
    kinds = ", ".join(f"{count} × {dtype}" for dtype, count in dtypes.items())
    nbytes = sum(entry.nbytes for entry in entries)
    words = [
        counted(len(entries), "entry"),
        *([size(nbytes)] if nbytes else []),
        *([kinds] if kinds else []),
    ]
    return "  ".join(words)


def _entry_line(entry: Entry) -> str:
    if entry.dtype is not None:
        words = [f"{entry.dtype}[{', '.join(map(str, entry.shape or ()))}]", size(entry.nbytes)]
    else:
        words = [entry.kind if entry.shape is None else f"{entry.kind} of {entry.shape[0]}"]
    return "  ".join([entry.path, *words, *([entry.text] if entry.text else [])])
