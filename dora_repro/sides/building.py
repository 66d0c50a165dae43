"""From a factory to a run that is ready for its next step: built, loaded, given another run's state."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dora_repro.contracts import Factory, Run
from dora_repro.recording import hand_overs
from dora_repro.sides.job import Transplant
from dora_repro.sides.late_objects import inside as in_late_objects
from dora_repro.state.objects import Objects
from dora_repro.state.overlay import overlaid, through_aliases
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import restore_around, suspended


def _nothing(*_: object) -> None:
    pass


def build_and_load(
    factory: Factory,
    load: Path | str | None,
    on_load: Callable[[], None] = _nothing,
    on_built: Callable[[Run], None] = _nothing,
) -> Run:
    """Build a run and, where there is a checkpoint, load it.

    Args:
        factory: builds the run. Where it has a method `resume(path)`, that one builds and loads at once.
        load: the checkpoint; None to build only.
        on_load: called before loading begins.
        on_built: called with the run that is about to load; not where `resume` calls no `load` of the factory's class.
    """
    hand_overs.install()  # threads of the run's own may read ahead as soon as it is built
    resume: Callable[[str], Run] | None = getattr(factory, "resume", None)
    if load is not None and callable(resume):
        on_load()
        with _watched_load(factory, on_built):
            return resume(str(load))
    run = factory()
    if load is not None:
        on_built(run)
        on_load()
        run.load(str(load))
    return run


@contextmanager
def _watched_load(factory: Factory, on_built: Callable[[Run], None]) -> Iterator[None]:
    """Notes when a run of the factory's class is loaded first, where the factory is a class."""
    kind: Any = factory
    real = getattr(factory, "load", None) if isinstance(factory, type) else None
    own = vars(kind).get("load") if real is not None else None
    seen = False
    if not inspect.isfunction(real) or isinstance(own, staticmethod):
        yield
        return

    @functools.wraps(real)
    def load(run: Run, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        if not seen:
            seen = True
            on_built(run)
        return real(run, *args, **kwargs)

    try:
        kind.load = load
    except (AttributeError, TypeError):  # a class that takes no attributes
        yield
        return
    try:
        yield
    finally:
        if own is None:
            del kind.load
        else:
            kind.load = own


def build_and_step(
    factory: Factory, steps: int, load: Path | str | None, on_load: Callable[[], None] = _nothing
) -> Run:
    """Build a run and do its first steps, so that it holds what they leave half done: iterators, suspended generators.

    A second run is built and loaded after it and let go, for what loading does to the process: a module's variables,
    torch's settings and the environment are then as they are where a run is resumed.

    Args:
        factory: builds the run.
        steps: number of steps to do.
        load: the checkpoint for the second run.
        on_load: called before loading begins.
    """
    hand_overs.install()
    run = factory()
    for _ in range(steps):
        run.step()
    build_and_load(factory, load, on_load)
    return run


def inside(leaves: Iterable[str], saved: Snapshot) -> list[str]:
    """Those of some leaves that are variables of functions which were suspended when a snapshot was taken."""
    within = tuple(f"{path}/" for path in suspended(saved, saved.uncaptured))
    return [path for path in leaves if path.startswith(within)]


def transplant(run: Run, given: Transplant) -> dict[str, str]:
    """Put leaves of another run into this one, but for those of objects that it makes later.

    Returns:
        path -> reason, for those that could not be put in.
    """
    saved, roots = Snapshot.read(given.state), run_roots(run)
    objects = Objects.read(given.objects) if given.objects is not None else None
    if given.around is not None:
        state = overlaid(Snapshot.read(given.around), saved, frozenset(given.leaves))
        return restore_around(state, roots, objects, inside(given.leaves, saved) if given.begun else ())
    now = frozenset(given.leaves) - in_late_objects(given.leaves, given.late)
    return through_aliases(saved, now).restore(roots, sorted(now), objects) if now else {}
