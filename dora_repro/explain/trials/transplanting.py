"""State put back: a run is built anew, loaded, and given leaves of the reference.

Where all trials run in one process (`in_process=True`), each run begins in the same global state all the same: the
generators and switches are those that the process began with; and once the run has been loaded, whatever is not as it
was in the resumed side (an unseeded generator, a counter that hangs on a class) is put back from that side's snapshot,
so that only what is tried differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dora_repro.contracts import Factory, Run
from dora_repro.explain.trials.setup import Inputs, TrialSetup
from dora_repro.explain.trials.trial import BEYOND, CONTROL, ITERATORS, LATE, LOOP
from dora_repro.recording import Recorder
from dora_repro.sides.building import build_and_load, build_and_step, inside
from dora_repro.sides.late_objects import NEVER_MADE, LateObjects
from dora_repro.sides.late_objects import inside as in_late_objects
from dora_repro.state import flags, rng
from dora_repro.state.objects import Objects
from dora_repro.state.overlay import overlaid
from dora_repro.state.parameter_order import optimizer_of, reordered
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import restore_around


@dataclass
class Progress:
    """How far a trial has come, for the result of one that raises.

    Attributes:
        steps: number of steps done.
        failed: leaves that could not be put in: path -> reason.
        when_made: what is done to the run in its first step, when its late objects are there.
    """

    steps: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    when_made: Callable[[], None] | None = None


class Transplants:
    """Makes the runs of the trials of one explanation.

    The global state at the time this is created is the one that each of them begins in.

    Args:
        factory: builds a run.
        setup: what all trials have in common.
        inputs: what they read.
    """

    def __init__(self, factory: Factory, setup: TrialSetup, inputs: Inputs) -> None:
        self._factory, self._setup = factory, setup
        self._generators, self._flags = rng.capture_world(), flags.capture_flags()
        self._loaded, self._saved = inputs.loaded, inputs.saved
        self._objects = Objects.read(Path(setup.objects)) if setup.objects else None

    def run_with(self, names: frozenset[str], progress: Progress) -> Run:
        """A run as the resumed one was after loading, with these leaves from the reference in their place.

        Args:
            names: the leaves, and what else is put back, as of `Trial.names`.
            progress: gets what could not be put in, and what is still to be done in the first step.
        """
        rng.restore_world(self._generators)
        flags.restore_flags(self._flags)
        setup, leaves = self._setup, names - BEYOND
        progress.when_made = None
        late = in_late_objects(leaves, setup.late) if LATE in names else frozenset()
        leaves -= late
        state = overlaid(self._loaded, self._saved, leaves)
        if names & {ITERATORS, CONTROL, LOOP}:
            run = build_and_step(self._factory, 1 if LOOP in names else setup.start, setup.load)
        else:
            run = build_and_load(self._factory, setup.load)
        if names & {ITERATORS, LOOP}:
            variables = inside(leaves, self._saved) if LOOP in names else ()
            wrong = restore_around(state, run_roots(run), self._objects, variables)
        else:
            paths = self._in_saved_order(run, state, leaves) or ("*",)
            wrong = state.restore(run_roots(run), paths, self._objects)
        progress.failed = {path: reason for path, reason in wrong.items() if path in leaves}
        if late:
            progress.failed |= dict.fromkeys(late, NEVER_MADE)
            progress.when_made = partial(self._put_in, run, late, progress)
        return run

    def watch_late_objects(self, run: Run, recorder: Recorder, do: Callable[[], None]) -> None:
        """Have something done in the step that is about to be recorded, as soon as a late object is there."""
        LateObjects(run, self._setup.late).when_made(recorder, lambda made: do())

    def _put_in(self, run: Run, leaves: frozenset[str], progress: Progress) -> None:
        """Put leaves into objects that are there now."""
        wrong = self._saved.restore(run_roots(run), sorted(leaves))
        progress.failed = {path: why for path, why in progress.failed.items() if path not in leaves} | wrong

    def _in_saved_order(self, run: Run, state: Snapshot, leaves: frozenset[str]) -> list[str]:
        """Put an order of parameters back that is under trial, with what was loaded by position going along.

        Returns:
            what is left to be put back: all but the moments, which are as loading in that order gives them; nothing
            where no order is under trial.
        """
        orders = leaves.intersection(reordered(self._saved, self._loaded))
        if not orders:
            return []
        self._saved.restore(run_roots(run), sorted(orders))
        inside = tuple(f"{optimizer_of(path)}/" for path in orders)
        live = Snapshot.capture(run_roots(run))
        moments = {
            path
            for snapshot in (state, live)
            for path, leaf in snapshot.items()
            if leaf.role == "moment" and path.startswith(inside) and path not in leaves
        }
        return [path for path in dict.fromkeys((*state, *state.forms, *live)) if path not in moments]
