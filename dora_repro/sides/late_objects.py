"""Objects that a run makes in its first step after loading: an optimizer, a schedule, an average of the weights.

What `load()` put aside for them is applied as they are made, so right after loading they are missing and nothing is
lost. They are looked for before each piece of work that the step does, and are read or given state where the first of
them is there.
"""

from collections.abc import Callable, Iterable

from dora_repro.contracts import Run
from dora_repro.recording import Recorder
from dora_repro.state.attributes import type_name
from dora_repro.state.objects import around
from dora_repro.state.parameter_order import optimizer_of
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk

NEVER_MADE = "what holds it was not made in the first step"


class LateObjects:
    """What a run has at some paths, now and when it had been loaded.

    Args:
        run: a run that has been loaded, before its first step.
        paths: of objects that another run has and this one lacks.
    """

    def __init__(self, run: Run, paths: Iterable[str]):
        self._run, self._paths = run, tuple(paths)
        self._before = self._types()

    def _types(self) -> dict[str, str]:
        live = walk(run_roots(self._run))
        there = ((path, live.objects.get(path, live.others.get(path))) for path in self._paths)
        return {path: type_name(value) for path, value in there if value is not None}

    def made(self) -> tuple[str, ...]:
        """The paths at which there is an object by now that was not there before."""
        return tuple(path for path, name in self._types().items() if self._before.get(path) != name)

    def when_made(self, recorder: Recorder, do: Callable[[tuple[str, ...]], None]) -> None:
        """Have something done in the step that is about to be recorded, as soon as any of them is there.

        Args:
            recorder: records the run.
            do: called once, with the paths of those that are there.
        """

        def look() -> None:
            made = self.made()
            if made:
                recorder.effects.before_work = None
                do(made)
                recorder.effects.meet()

        recorder.effects.before_work = look


def may_be_late(objects: Iterable[str], loaded: Snapshot) -> tuple[str, ...]:
    """Those objects of another run that the first step of this one may make for what `load()` has put aside.

    What an optimizer holds that is there is none: a step makes it anew where it was lost.

    Args:
        objects: paths of what this run lacks.
        loaded: its state right after loading.
    """
    there = {optimizer_of(path) for path in loaded} - {""}
    return tuple(path for path in objects if around(path, there) is None)


def inside(leaves: Iterable[str], late: Iterable[str]) -> frozenset[str]:
    """Those of some leaves that lie in late objects."""
    late = tuple(late)
    return frozenset(path for path in leaves if around(path, late) is not None)
