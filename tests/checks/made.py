"""Findings on evidence that is made of a few words."""

import torch

from dora_repro.checks.findings import compare_sides
from dora_repro.difference import LeafDifference
from tests.evidence import STEPS, side, snapshot
from tests.traces import trace

FACTS = {"trainable": {"w": 2}, "gradients": True, "changed": True, "values_dropped": False}
RESUMED = trace(*STEPS[2:], first=3)
W = torch.tensor([1.0, 2.0])
WRONG = LeafDifference("w", "value", total=2, role="parameter")


def judged(tmp_path, reference=None, resumed=None, *, steps=None, resumed_steps=RESUMED, set_later=(), **result):
    """The findings of a run whose state is `w` alone, but for what is said."""
    held = {"w": (W, "parameter")}
    reference, resumed = reference or {}, resumed or {}
    one = side(
        tmp_path / "reference",
        steps,
        saved=snapshot({**held, **reference.pop("saved", {})}, **reference.pop("saved_about", {})),
        end=snapshot({**held, **reference.pop("end", {})}, **reference.pop("end_about", {})),
        **{"facts": FACTS, "step": 4, **reference},
    )
    moments = {}
    for name in ("loaded", "end"):
        leaves, about = resumed.pop(name, {}), resumed.pop(f"{name}_about", {})
        moments[name] = None if leaves is None else snapshot({**held, **leaves}, **about)
    other = side(tmp_path / "resumed", resumed_steps, **moments, **{"facts": FACTS, "step": 4, **resumed})
    return compare_sides(one, other, 2, 4, set_later), one, other
