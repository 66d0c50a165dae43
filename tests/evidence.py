"""Evidence of sides, made of a few words: folders as a side leaves them, without one."""

from pathlib import Path

from dora_repro.difference import LeafDifference
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.result import nothing_done, write_result
from dora_repro.state.digest import digest
from dora_repro.state.forms import Form
from dora_repro.state.rebuild import Kind
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Trace
from tests.traces import trace

STEPS = [["batch x a", "forward loss b", "backward w/grad c", "update w d"]] * 4


def snapshot(leaves=None, kinds=None, forms=None, **more) -> Snapshot:
    """A snapshot by path: a value, or (value, role), or (value, role, False) for one that is kept by digest alone."""
    made = {}
    for path, said in {**(leaves or {}), **more}.items():
        value, role, kept = _told(said)
        made[path] = SavedLeaf(path, role, digest(value), value if kept else None, kept)
    of_kind = {path: Kind(name) for path, name in (kinds or {}).items()}
    of_form = {path: form if isinstance(form, Form) else Form(form) for path, form in (forms or {}).items()}
    return Snapshot(made, {}, of_kind, of_form)


def _told(said):
    return (*said, True)[:3] if type(said) is tuple and len(said) in (2, 3) else (said, "memory", True)


def side(
    folder: Path,
    steps: Trace | None = None,
    *,
    saved: Snapshot | None = None,
    loaded: Snapshot | None = None,
    end: Snapshot | None = None,
    outputs: Snapshot | None = None,
    save_at: int = 2,
    changed: tuple[LeafDifference, ...] = (),
    **result,
) -> Evidence:
    """The evidence of one side.

    Args:
        folder: where it is written.
        steps: what the side did.
        saved: its state when it saved.
        loaded: its state right after loading.
        end: its state at the end.
        outputs: its outputs after the last step.
        save_at: the step after which it saved.
        changed: what saving changed.
        result: entries of its `result.json`.
    """
    (folder / f"save-{save_at}").mkdir(parents=True, exist_ok=True)
    files = {f"save-{save_at}/before.pt": saved, "load.pt": loaded, "end.pt": end, "outputs.pt": outputs}
    for name, held in files.items():
        if held is not None:
            held.write(folder / name)
    (trace(*STEPS) if steps is None else steps).write(folder / "trace.jsonl")
    saves = {str(save_at): [fields_of(difference) for difference in changed]} if saved is not None else {}
    write_result(folder, {**nothing_done(), "saves": saves, **result})
    return Evidence(folder)


def fields_of(difference: LeafDifference) -> dict:
    names = LeafDifference.__slots__
    return {name: getattr(difference, name) for name in names}
