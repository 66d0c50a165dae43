"""The story of two runs, of which one is saved, killed and loaded: what was done, and how it is taken back.

To undo an action, the interrupted run is put back to where it was, where that is possible; else its present life is
lived again up to there, and digests confirm that it is the same. Likewise one asks what would have been: a component
that the checkpoint had held, another checkpoint, another run.
"""

import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from dora_repro.errors import BadInput
from dora_repro.explain.trials.trial import DATA
from dora_repro.lab.ledger import component_of
from dora_repro.lab.process import Life, digests, forget
from dora_repro.lab.script import Action
from dora_repro.sides.job import CHECKPOINT
from dora_repro.state.snapshot import Snapshot
from dora_repro.wording import counted

LIMIT = 10_000  # steps


class Story:
    """Two runs of one factory, and what was done with them.

    The uninterrupted run is never behind: it does whatever steps the interrupted one has done.

    Args:
        factory: builds a run: any object with `step`, `save(path)` and `load(path)`.
        steps: how many the run has.

    Attributes:
        reference: the uninterrupted run; None before it is built. It may have done more steps than were told.
        told: steps that the uninterrupted run has done in this story.
        lives: of the interrupted run, one for each process that it would have been.
        history: what was done, in order; transplants stand where they take effect, right after the load.
        unsteady: leaves that came out otherwise when a life was lived again: the run is not deterministic.
        failed: leaves that could not be transplanted, and why.
        shown: how many phases of the last step are shown; None for all.
    """

    def __init__(self, factory: Callable[[], object], steps: int = 12):
        if not 1 <= steps <= LIMIT:
            raise BadInput(f"steps={steps}: give a number from 1 to {LIMIT}")
        self._factory, self.steps = factory, steps
        self._folder = Path(tempfile.mkdtemp(prefix="dora-repro-lab-"))
        weakref.finalize(self, forget, self._folder)
        self._numbered = 0  # checkpoints written: one that is saved again lies beside the first
        self._begin()

    def _begin(self) -> None:
        self.reference: Life | None = None
        self.told = 0
        self.lives: list[Life] = []
        self.history: list[Action] = []
        self.unsteady: tuple[str, ...] = ()
        self.failed: dict[str, str] = {}
        self.shown: int | None = None
        self._before: list[list[Action]] = []  # the history before each thing that was done
        self._begins: list[int] = []  # where in the history each life begins
        self._states: list[dict[str, object]] = []  # after each action

    # --- what is done, and taken back

    def act(self, action: Action) -> None:
        """Do a single action. Where it raises, all is as it was before.

        Raises:
            BadInput: it cannot be done now; with what to do first.
            Exception: whatever the run raises.
        """
        self._refuse(action)
        before, self.shown = self.history, None
        if action.name == "transplant":
            self._insert(action)
        else:
            self._do(action)
        self._before = [*self._before, before]

    def undo(self) -> None:
        """Take back what was done last, which for a transplant is not the last of the history.

        Raises:
            BadInput: there is nothing.
        """
        if not self.history:
            raise BadInput("nothing was done yet that could be undone")
        before, self.shown = self._before[-1], None
        self._back_to(before)
        self._before = self._before[: len(before)]

    def _back_to(self, before: list[Action]) -> None:
        if not before:
            self._begin()
        elif before != self.history[:-1]:  # a transplant in the midst of it
            begun = self._begins[-1] + 1
            self._live_again(before[begun:], self._states[:begun])
        elif len(self.history) - 1 == self._begins[-1]:
            self._take_load_back()
        elif self.history[-1].name in ("step", "both") and self._step_back():
            self._forget_last()
        else:
            self._live_again(self.history[self._begins[-1] + 1 : -1], self._states)

    def retell(self, factory: Callable[[], object], steps: int | None = None) -> None:
        """The same story with another run of so many steps, or another content of its checkpoints.

        Raises:
            Exception: whatever the other run raises; then all is as it was before.
        """
        before, story = dict(vars(self)), list(self.history)
        self._begin()
        self._factory, self.steps = factory, steps or self.steps
        self._before = before["_before"]
        try:
            for action in story:
                self._refuse(action)
                self._do(action)
        except Exception:
            vars(self).update(before)
            raise

    @property
    def current(self) -> Life:
        """The interrupted run's present life.

        Raises:
            BadInput: nothing is built.
        """
        if not self.lives:
            raise BadInput("nothing is built yet: build first")
        return self.lives[-1]

    # --- the actions

    def _do(self, action: Action) -> None:
        try:
            self._perform(action)
        except Exception:
            if action.name not in ("build", "load"):  # these touch nothing before all is well
                self._recover()
            raise
        self._note(action)

    def _perform(self, action: Action) -> None:
        getattr(self, f"_{action.name}")(*([action.what] if action.what else []))

    def _note(self, action: Action) -> None:
        if action.name in ("build", "load"):
            self._begins = [*self._begins, len(self.history)]
        self.history = [*self.history, action]  # lists are replaced, never changed: what was before is kept elsewhere
        self._states = [*self._states, self._state()]

    def _refuse(self, action: Action) -> None:
        """Raise where an action cannot be done now, before anything is touched."""
        if action.name == "build":
            if self.reference is not None:
                raise BadInput("both runs are built already: reset, to build them anew")
            return
        life = self.current
        if action.name == "load":
            if not any(each.saves for each in self.lives):
                raise BadInput("nothing was saved yet: save, before you load")
        elif action.name == "transplant":
            if not life.loaded:
                raise BadInput("nothing was loaded yet: what a checkpoint forgot is put back after a load")
            if not life.alive:
                raise BadInput("the interrupted run was killed: load its checkpoint, or undo")
            self._paths(action.what)
        elif not life.alive:
            raise BadInput("the interrupted run was killed: load its checkpoint, or undo")
        if action.name in ("step", "both") and life.finished:
            done = counted(life.done, "step")
            raise BadInput(f"the run is over after {done}: undo, load, or reset and build it anew")

    def _build(self) -> None:
        reference, other = Life(self._factory, 0), Life(self._factory, 0)
        self.reference, self.lives = reference, [other]

    def _step(self) -> None:
        self.current.step()
        self._tell(max(self.told, self.current.done))

    def _both(self) -> None:
        self._tell(self.told + 1)
        self._step()

    def _save(self) -> None:
        self._numbered += 1
        self.current.save(self._folder / str(self._numbered) / CHECKPOINT.format(self.current.done))

    def _kill(self) -> None:
        self.current.kill()

    def _load(self) -> None:
        step, path = next(list(life.saves.items())[-1] for life in reversed(self.lives) if life.saves)
        loaded = Life(self._factory, len(self.lives), step, path)
        if self.current.alive:
            self.current.kill()
        self.lives = [*self.lives, loaded]

    def _transplant(self, name: str) -> None:
        """Put a component of the uninterrupted run in, as it was after the same step."""
        if name == DATA:
            self._tell_ahead(self.steps)
            self.current.feed(name, self.reference.streams)
        else:
            self.failed = self.current.give(name, self._paths(name), self._pair()[0])

    def _paths(self, name: str) -> list[str]:
        expected, _ = self._pair(self.current.begun)
        paths = [path for path, leaf in expected.items() if name in (path, component_of(leaf))]
        if not paths and name != DATA:
            names = list(dict.fromkeys(map(component_of, expected.values())))
            raise BadInput(f"transplant: no component {name!r}: choose from {', '.join([*names, DATA])}")
        return paths

    def _tell(self, steps: int) -> None:
        """The uninterrupted run has done so many steps, or has come to its end before."""
        self._tell_ahead(steps)
        self.told = min(steps, self.reference.done)

    def _tell_ahead(self, steps: int) -> None:
        while self.reference.done < steps and not self.reference.finished:
            self.reference.step()

    # --- living again

    def _insert(self, action: Action) -> None:
        """As if the checkpoint had held it: it is put in right after the load, and what came since is done again."""
        since = self.history[self._begins[-1] + 1 :]
        given = [each for each in since if each.name == "transplant"]
        self._live_again([*given, action, *since[len(given) :]], self._states[: self._begins[-1] + 1])

    def _live_again(self, story: Sequence[Action], known: Sequence[dict[str, object]]) -> None:
        """Begin the present life anew, and do these actions in it; where it raises, all is as it was before.

        Args:
            known: the states after the actions of the whole history, as far as they should come out the same.
        """
        before = dict(vars(self))
        at, old = self._begins[-1], self.lives[-1]
        self.history, self._states = self.history[: at + 1], self._states[: at + 1]
        self.told = int(self._states[-1]["told"])
        try:
            self.lives = [*self.lives[:-1], Life(self._factory, old.number, old.begun, old.path)]
            for action in story:
                self._perform(action)
                self._note(action)
        except Exception:
            vars(self).update(before)
            raise
        for now, then in zip(self._states[at:], known[at:], strict=False):
            if now != then:
                self.unsteady = tuple(path for path, value in now.items() if then.get(path) != value)
                return

    def _recover(self) -> None:
        """After an action that raised in the middle: both runs as they were before it."""
        reference = Life(self._factory, 0)
        while reference.done < self.told:
            reference.step()
        self.reference = reference
        self._live_again(self.history[self._begins[-1] + 1 :], self._states)

    def _take_load_back(self) -> None:
        self.lives = self.lives[:-1]
        self._begins = self._begins[:-1]
        self._forget_last()
        if self.history[-1].name != "kill":  # the load had killed it
            self._live_again(self.history[self._begins[-1] + 1 :], self._states)

    def _step_back(self) -> bool:
        """Put the interrupted run back by its snapshot; False where that cannot be done, or is not the same."""
        return self.current.back_to(self.current.done - 1) and self._state() == {**self._states[-2], "told": self.told}

    def _forget_last(self) -> None:
        self.history, self._states = self.history[:-1], self._states[:-1]
        self.told = int(self._states[-1]["told"])

    def _state(self) -> dict[str, object]:
        """How far both runs are, and the digests of all that the interrupted one is."""
        life = self.current
        return {"told": self.told, "done": life.done, "alive": life.alive, **digests(life.now)}

    def _pair(self, step: int | None = None) -> tuple[Snapshot, Snapshot]:
        """The states of both after the same number of steps; of the uninterrupted run the last, where it ended."""
        step = self.current.done if step is None else step
        return self.reference.moments.get(step, self.reference.now), self.current.moments[step]
