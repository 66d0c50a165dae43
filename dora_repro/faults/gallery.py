"""What a fault is, and how it gets into the gallery: a class of a run, registered with what a check of it must find.

The expectations stand beside the defect and were reasoned out from it. What explains runs knows nothing of them.
"""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from dora_repro.errors import BadInput

# In the order of the list; each module registers its own.
FAMILIES = (
    "study", "optimizer", "schedule", "averages", "random_numbers", "generators", "data", "position", "loop", "saving",
    "model",
    "buffers", "adapters", "dora", "environment", "further", "clean", "clean_data", "clean_models", "clean_steps",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One defect, or one clean run that looks like one.

    Attributes:
        name: as in the catalogue of reported defects: `opt-missing`.
        family: the module that it lies in.
        factory: called without arguments for each side; a class that a new interpreter can import.
        steps, save_at: of the check.
        lesson: what is wrong, and what a reader should learn from it.
        fix: the line that mends it.
        threads: public reports of it, as owner/repository#number.
        verdict: that a check must come to.
        step, phase: of the first divergence; None where there is none.
        causes: alternatives, each a set of globs of leaves. What is found is right where every leaf that it names
            matches one of them, and each of them matches a leaf. An empty alternative: no captured state explains it,
            and that must be said.
        needs: what it cannot run without: `cuda`, `processes`; it is skipped where that is not there.
    """

    name: str
    family: str
    factory: Callable[[], object]
    steps: int
    save_at: int
    lesson: str
    fix: str
    verdict: str
    step: int | None = None
    phase: str | None = None
    causes: tuple[tuple[str, ...], ...] = ()
    threads: tuple[str, ...] = ()
    needs: str = ""

    @property
    def clean(self) -> bool:
        return self.family.startswith("clean")


_REGISTERED: dict[str, Fault] = {}


def fault(
    name: str,
    *,
    verdict: str,
    causes: tuple[tuple[str, ...], ...] = (),
    step: int | None = None,
    phase: str | None = None,
    steps: int = 6,
    save_at: int = 3,
    fix: str = "",
    threads: tuple[str, ...] = (),
    needs: str = "",
) -> Callable[[type], type]:
    """A decorator that puts a class of runs into the gallery; its docstring is the lesson, its module the family.

    Raises:
        ValueError: the name is taken.
    """

    def register(kind: type) -> type:
        if name in _REGISTERED:
            raise ValueError(f"the gallery has a fault {name!r} already")
        _REGISTERED[name] = Fault(
            name=name,
            family=kind.__module__.rpartition(".")[2],
            factory=kind,
            steps=steps,
            save_at=save_at,
            lesson=" ".join((kind.__doc__ or "").split()),
            fix=fix,
            verdict=verdict,
            step=step,
            phase=phase,
            causes=causes,
            threads=threads,
            needs=needs,
        )
        return kind

    return register


def every() -> dict[str, Fault]:
    """All of the gallery by name, family after family."""
    for family in FAMILIES:
        importlib.import_module(f"dora_repro.faults.{family}")
    order = {family: index for index, family in enumerate(FAMILIES)}
    return dict(sorted(_REGISTERED.items(), key=lambda item: order.get(item[1].family, len(order))))


def find(name: str) -> Fault:
    """One fault by its name.

    Raises:
        BadInput: there is none of that name.
    """
    known = every()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"the gallery has no fault {name!r}{hint} (dora-repro faults lists all {len(known)})")
    return known[name]
