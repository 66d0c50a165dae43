"""What was done with two runs, of which one is saved, killed and loaded; and how it is undone.

To undo an action, the interrupted run is put back to where it was, where that is possible; else its present process is
replayed up to there, and digests confirm that it is the same. Likewise one asks what would have been: a component that
the checkpoint had held, another checkpoint, another run.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.explain.trials.trial import DATA
from dora_repro.lab.components import component_of
from dora_repro.lab.process import Process, digests
from dora_repro.lab.script import Action
from dora_repro.scratch import ScratchFolder
from dora_repro.sides.job import CHECKPOINT
from dora_repro.state.snapshot import Snapshot
from dora_repro.wording import counted

LIMIT = 10_000  # steps


@dataclass(frozen=True)
class _State:
    """Where both runs stand after an action.

    Attributes:
        reference_steps: steps of the uninterrupted run.
        done: steps of the interrupted run.
        alive: whether its process was not killed.
        digests: path -> digest of all its state.
    """

    reference_steps: int
    done: int
    alive: bool
    digests: dict[str, bytes]


class History:
    """Two runs of one factory, and what was done with them.

    The uninterrupted run is never behind: it does whatever steps the interrupted one has done.

    Args:
        factory: builds a run: any object with `step`, `save(path)` and `load(path)`.
        steps: how many the run has.

    Attributes:
        reference: the uninterrupted run; None before it is built. It may have done more steps than `reference_steps`.
        reference_steps: steps that the uninterrupted run has done in this history.
        processes: processes that the interrupted run would have had, in order.
        actions: what was done, in order; transplants stand where they take effect, right after the load.
        nondeterministic: leaves that differed when a process was replayed: the run is not deterministic.
        not_transplanted: leaves that could not be transplanted: path -> reason.
        phases_shown: how many phases of the last step are shown; None for all.
    """

    def __init__(self, factory: Factory, steps: int = 12) -> None:
        if not 1 <= steps <= LIMIT:
            raise BadInput(f"steps={steps}: give a number from 1 to {LIMIT}")
        self._factory, self.steps = factory, steps
        self._scratch = ScratchFolder("lab")
        self._folder = self._scratch.path
        weakref.finalize(self, self._scratch.cleanup)
        self._numbered = 0  # checkpoints written: one that is saved again lies beside the first
        self._reset()

    def _reset(self) -> None:
        self.reference: Process | None = None
        self.reference_steps = 0
        self.processes: list[Process] = []
        self.actions: list[Action] = []
        self.nondeterministic: tuple[str, ...] = ()
        self.not_transplanted: dict[str, str] = {}
        self.phases_shown: int | None = None
        self._before: list[list[Action]] = []  # the actions before each thing that was done
        self._starts: list[int] = []  # where in the actions each process begins
        self._states: list[_State] = []  # after each action

    # --- what is done, and undone

    def act(self, action: Action) -> None:
        """Do a single action. Where it raises, all is as it was before.

        Raises:
            BadInput: it cannot be done now; with what to do first.
            Exception: whatever the run raises.
        """
        self._refuse(action)
        before, self.phases_shown = self.actions, None
        if action.name == "transplant":
            self._insert(action)
        else:
            self._do(action)
        self._before = [*self._before, before]

    def undo(self) -> None:
        """Undo what was done last, which for a transplant is not the last of the actions.

        Raises:
            BadInput: there is nothing to undo.
        """
        if not self.actions:
            raise BadInput("nothing was done yet that could be undone")
        before, self.phases_shown = self._before[-1], None
        self._back_to(before)
        self._before = self._before[: len(before)]

    def _back_to(self, before: list[Action]) -> None:
        if not before:
            self._reset()
        elif before != self.actions[:-1]:  # a transplant in the midst of it
            start = self._starts[-1] + 1
            self._replay_process(before[start:], self._states[:start])
        elif len(self.actions) - 1 == self._starts[-1]:
            self._undo_load()
        elif self.actions[-1].name in ("step", "both") and self._step_back():
            self._drop_last()
        else:
            self._replay_process(self.actions[self._starts[-1] + 1 : -1], self._states)

    def replay(self, factory: Factory, steps: int | None = None) -> None:
        """Do the same actions with another run, or another content of its checkpoints.

        Args:
            factory: builds the other run.
            steps: how many it has; None for as many as before.

        Raises:
            Exception: whatever the other run raises; then all is as it was before.
        """
        before, actions = dict(vars(self)), list(self.actions)
        undo_steps = self._before
        self._reset()
        self._factory, self.steps = factory, steps or self.steps
        self._before = undo_steps
        try:
            for action in actions:
                self._refuse(action)
                self._do(action)
        except Exception:
            vars(self).update(before)
            raise

    @property
    def current(self) -> Process:
        """The interrupted run's present process.

        Raises:
            BadInput: nothing is built.
        """
        if not self.processes:
            raise BadInput("nothing is built yet: build first")
        return self.processes[-1]

    @property
    def _reference(self) -> Process:
        """The uninterrupted run, once it is built."""
        if self.reference is None:
            raise BadInput("nothing is built yet: build first")
        return self.reference

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
            self._starts = [*self._starts, len(self.actions)]
        self.actions = [*self.actions, action]  # lists are replaced, never changed: earlier ones are kept for undo
        self._states = [*self._states, self._state()]

    def _refuse(self, action: Action) -> None:
        """Raise where an action cannot be done now, before anything is touched."""
        if action.name == "build":
            if self.reference is not None:
                raise BadInput("both runs are built already: reset, to build them anew")
            return
        process = self.current
        if action.name == "load":
            if not any(each.saves for each in self.processes):
                raise BadInput("nothing was saved yet: save, before you load")
        elif action.name == "transplant":
            if not process.loaded:
                raise BadInput("nothing was loaded yet: transplant what a checkpoint lacked after a load")
            if not process.alive:
                raise BadInput("the interrupted run was killed: load its checkpoint, or undo")
            self._paths(action.what)
        elif not process.alive:
            raise BadInput("the interrupted run was killed: load its checkpoint, or undo")
        if action.name in ("step", "both") and process.finished:
            done = counted(process.done, "step")
            raise BadInput(f"the run is over after {done}: undo, load, or reset and build it anew")

    def _build(self) -> None:
        reference, other = Process(self._factory, 0), Process(self._factory, 0)
        self.reference, self.processes = reference, [other]

    def _step(self) -> None:
        self.current.step()
        self._advance_reference(max(self.reference_steps, self.current.done))

    def _both(self) -> None:
        self._advance_reference(self.reference_steps + 1)
        self._step()

    def _save(self) -> None:
        self._numbered += 1
        self.current.save(self._folder / str(self._numbered) / CHECKPOINT.format(self.current.done))

    def _kill(self) -> None:
        self.current.kill()

    def _load(self) -> None:
        step, path = next(list(each.saves.items())[-1] for each in reversed(self.processes) if each.saves)
        loaded = Process(self._factory, len(self.processes), step, path)
        if self.current.alive:
            self.current.kill()
        self.processes = [*self.processes, loaded]

    def _transplant(self, name: str) -> None:
        """Put a component of the uninterrupted run in, as it was after the same step."""
        if name == DATA:
            self._run_reference(self.steps)
            self.current.feed(name, self._reference.streams)
        else:
            self.not_transplanted = self.current.transplant(name, self._paths(name), self._pair()[0])

    def _paths(self, name: str) -> list[str]:
        expected, _ = self._pair(self.current.start)
        paths = [path for path, leaf in expected.items() if name in (path, component_of(leaf))]
        if not paths and name != DATA:
            names = list(dict.fromkeys(map(component_of, expected.values())))
            raise BadInput(f"transplant: no component {name!r}: choose from {', '.join([*names, DATA])}")
        return paths

    def _advance_reference(self, steps: int) -> None:
        """Let the uninterrupted run stand after `steps` steps, or at its end where it comes to that before."""
        self._run_reference(steps)
        self.reference_steps = min(steps, self._reference.done)

    def _run_reference(self, steps: int) -> None:
        while self._reference.done < steps and not self._reference.finished:
            self._reference.step()

    # --- replaying

    def _insert(self, action: Action) -> None:
        """Transplant as if the checkpoint had held it: right after the load, and redo what came since."""
        since = self.actions[self._starts[-1] + 1 :]
        transplants = [each for each in since if each.name == "transplant"]
        actions = [*transplants, action, *since[len(transplants) :]]
        self._replay_process(actions, self._states[: self._starts[-1] + 1])

    def _replay_process(self, actions: Sequence[Action], known: Sequence[_State]) -> None:
        """Start the present process anew, and do these actions in it; where it raises, all is as it was before.

        Args:
            actions: what to do.
            known: the states after the actions of the whole history, as far as they should come out the same.
        """
        before = dict(vars(self))
        at, old = self._starts[-1], self.processes[-1]
        self.actions, self._states = self.actions[: at + 1], self._states[: at + 1]
        self.reference_steps = self._states[-1].reference_steps
        try:
            self.processes = [*self.processes[:-1], Process(self._factory, old.number, old.start, old.path)]
            for action in actions:
                self._perform(action)
                self._note(action)
        except Exception:
            vars(self).update(before)
            raise
        for now, then in zip(self._states[at:], known[at:], strict=False):
            if now != then:
                differing = (path for path, digest in now.digests.items() if then.digests.get(path) != digest)
                self.nondeterministic = tuple(differing)
                return

    def _recover(self) -> None:
        """After an action that raised in the middle: both runs as they were before it."""
        reference = Process(self._factory, 0)
        while reference.done < self.reference_steps:
            reference.step()
        self.reference = reference
        self._replay_process(self.actions[self._starts[-1] + 1 :], self._states)

    def _undo_load(self) -> None:
        self.processes = self.processes[:-1]
        self._starts = self._starts[:-1]
        self._drop_last()
        if self.actions[-1].name != "kill":  # the load had killed it
            self._replay_process(self.actions[self._starts[-1] + 1 :], self._states)

    def _step_back(self) -> bool:
        """Put the interrupted run back by its snapshot; False where that cannot be done, or is not the same."""
        if not self.current.rewind(self.current.done - 1):
            return False
        return self._state() == replace(self._states[-2], reference_steps=self.reference_steps)

    def _drop_last(self) -> None:
        self.actions, self._states = self.actions[:-1], self._states[:-1]
        self.reference_steps = self._states[-1].reference_steps

    def _state(self) -> _State:
        process = self.current
        return _State(self.reference_steps, process.done, process.alive, digests(process.snapshot))

    def _pair(self, step: int | None = None) -> tuple[Snapshot, Snapshot]:
        """The states of both after the same number of steps; the uninterrupted run's last one, where it ended."""
        step = self.current.done if step is None else step
        return self._reference.snapshots.get(step, self._reference.snapshot), self.current.snapshots[step]
