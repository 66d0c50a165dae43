"""What a fault is, and how it gets into the gallery: a class of a run, registered with what a check of it must find.

What a check must find stands beside the defect, and follows from it by reasoning. The explanation knows nothing of it.
"""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput

Specimen = TypeVar("Specimen")  # a class of runs, or one whose `__new__` makes a run of another class

# Family -> its module, in the order of the list; each module registers its own.
FAMILIES = {
    "study": "study",
    "optimizer": "optimizer",
    "own_optimizers": "own_optimizers",
    "schedule": "schedule",
    "averages": "averages",
    "adversaries": "adversaries",
    "random_numbers": "random_numbers",
    "generators": "generators",
    "data": "data",
    "position": "position",
    "loop": "loop",
    "objects": "objects",
    "functions": "functions",
    "carried": "carried",
    "windows": "windows",
    "saving": "saving",
    "forms": "forms",
    "model": "model",
    "buffers": "buffers",
    "unregistered": "unregistered",
    "adapters": "adapters",
    "dora": "dora",
    "configuration": "configuration",
    "environment": "environment",
    "libraries": "libraries",
    "clean": "clean.objects",
    "clean_data": "clean.data",
    "clean_models": "clean.models",
    "clean_steps": "clean.steps",
    "clean_functions": "clean.functions",
    "clean_files": "clean.files",
    "clean_forms": "clean.forms",
    "clean_libraries": "clean.libraries",
}


@dataclass(frozen=True)
class Fault:
    """One defect, or one clean run that looks like one.

    Attributes:
        name: as in the catalogue of reported defects: `opt-missing`.
        family: one of `FAMILIES`.
        factory: called without arguments for each side; a class that a new interpreter can import.
        steps: the last step of the check.
        save_at: the step after which the check saves.
        lesson: what is wrong, and what a reader should learn from it.
        fix: the line that fixes it.
        verdict: the verdict that a check must find.
        step: the step of the first divergence; None where there is none.
        phase: the phase of the first divergence; None where there is none.
        causes: alternatives, each a set of globs of leaves. An explanation is right where every leaf that it names
            matches one of them, and each of them matches a leaf. An empty alternative: no captured state explains the
            difference, and the explanation must say that.
        threads: public reports of the defect, as owner/repository#number.
        needs: what it cannot run without: `cuda`, `processes`, or a package; without it, the fault is skipped.
    """

    name: str
    family: str
    factory: Factory
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
        """Whether it is a run without a defect."""
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
) -> Callable[[type[Specimen]], type[Specimen]]:
    """A decorator that puts a class of runs into the gallery; its docstring is the lesson, its module the family.

    The parameters are the attributes of `Fault`.

    Raises:
        ValueError: the name is taken.
    """

    def register(kind: type[Specimen]) -> type[Specimen]:
        if name in _REGISTERED:
            raise ValueError(f"the gallery has a fault {name!r} already")
        _REGISTERED[name] = Fault(
            name=name,
            family=_family_of(kind),
            factory=cast(Factory, kind),
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


def _family_of(kind: type) -> str:
    """The family whose module a class lies in; the module's own name where it lies elsewhere, as in a test."""
    module = kind.__module__.removeprefix("dora_repro.faults.")
    return {place: family for family, place in FAMILIES.items()}.get(module, module.rpartition(".")[2])


def every() -> dict[str, Fault]:
    """All of the gallery by name, family after family."""
    for module in FAMILIES.values():
        importlib.import_module(f"dora_repro.faults.{module}")
    order = {family: index for index, family in enumerate(FAMILIES)}
    return dict(sorted(_REGISTERED.items(), key=lambda item: order.get(item[1].family, len(order))))


def find(name: str) -> Fault:
    """One fault by its name.

    Raises:
        BadInput: no fault has that name.
    """
    known = every()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"the gallery has no fault {name!r}{hint} (dora-repro faults lists all {len(known)})")
    return known[name]
