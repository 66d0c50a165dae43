"""The lab: a story of two runs side by side, told action by action, and what there is to see of it."""

from itertools import groupby

from dora_repro.checks.judge import wrong_from_the_start
from dora_repro.comparison.drift import Drift
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.explain.advice.advice import Advice
from dora_repro.lab.history import Story
from dora_repro.lab.ledger import Component, components, generators, mending, parameters
from dora_repro.lab.script import Action, parse
from dora_repro.sides.side import brief_waits
from dora_repro.trace import Divergence, first_divergence


class Lab(Story):
    """Two runs of one factory, to be stepped, saved, killed, loaded, and compared at every moment.

    Args:
        factory: builds a run: any object with `step`, `save(path)` and `load(path)`.
        steps: where `end` ends.
    """

    def __repr__(self) -> str:
        return f"Lab({self.script or 'nothing built'})"

    @property
    def script(self) -> str:
        """What was done, as a script that does it again."""
        counted = ((str(action), len(list(same))) for action, same in groupby(self.history))
        return ",".join(f"{words}*{count}" if count > 1 else words for words, count in counted)

    # --- what can be done

    def play(self, script: str) -> "Lab":
        """Do the actions of a script, one after the other.

        Raises:
            BadInput: an action that is none, or cannot be done where it stands; those before it are done.
        """
        for action in parse(script):
            for unit in self.units(action):
                self.do(unit)
        return self

    def units(self, action: Action) -> list[Action]:
        """The single actions that one stands for: `end` once for each step that is left."""
        if action.name != "end":
            return [action]
        self._refuse(Action("step"))
        return [action] * (self.steps - self.current.done)

    def do(self, action: Action) -> None:
        """Do one action. Where it raises, all is as it was before.

        Raises:
            BadInput: it cannot be done now; with what to do first.
            Exception: whatever the run raises.
        """
        with brief_waits():
            if action.name == "undo":
                self.undo()
            elif action.name == "reset":
                self._begin()
            elif action.name == "phase":
                self._next_phase()
            elif action.name == "end":
                if not self.current.finished:  # a run may be over earlier than was thought
                    self.do(Action("step"))
            else:
                self.act(action)

    def possible(self) -> set[str]:
        """The actions that can be done now; `transplant` where some component can be."""
        found = {"reset"} if self.history else set()
        if self.history:
            found.add("undo")
        for name in ("build", "step", "both", "save", "kill", "load"):
            try:
                self._refuse(Action(name))
            except BadInput:
                continue
            found.add(name)
        if "step" in found:
            found.add("phase")
            found |= {"end"} if self.current.done < self.steps else set()
        elif self.shown is not None and self.shown < len(self._all_phases()):
            found.add("phase")
        return found | ({"transplant"} if self.lives and self.current.loaded and self.current.alive else set())

    # --- what there is to see

    @property
    def divergence(self) -> Divergence | None:
        """Where the interrupted run, once loaded, first differs from the uninterrupted one, as a check says it."""
        if not self.lives or not self.current.loaded:
            return None
        life, expected = self.current, self.reference.trace
        lost = compare(*self._pair(life.begun)).differences
        at_once = wrong_from_the_start(lost, expected, life.trace, life.begun, self.steps)
        return at_once or first_divergence(expected, life.trace, life.begun)

    def ledger(self, step: int | None = None) -> tuple[Component, ...]:
        """Component by component: both runs after the same number of steps, by default as many as are done."""
        return components(*self._pair(step))

    def generators(self) -> dict[str, int | None]:
        """How many draws the interrupted run's generators are ahead of the uninterrupted one's, by path; None where no
        number of draws lies between them."""
        return generators(*self._pair(), self.ledger())

    def mending(self) -> dict[str, Advice]:
        """For each component that was not as it should be right after the last load: lines that would have kept it."""
        if not self.lives or not self.current.loaded:
            return {}
        expected, _ = self._pair(self.current.begun)
        return {each.name: mending(expected, each) for each in self.ledger(self.current.begun) if each.differences}

    def drift(self) -> Drift:
        """How far the trained parameters are apart after each step of the present life.

        Raises:
            BadInput: nothing is built, or no parameter is kept by value in both.
        """
        return Drift.between(
            parameters(self.reference.moments if self.reference else {}), parameters(self.current.moments)
        )

    def phases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(phase, leaves that differ) of the last step of the interrupted run, in order, as far as they are shown.

        Phases that are repeated one after the other (the forward passes of a validation) are one.
        """
        return self._all_phases()[: self.shown]

    def _next_phase(self) -> None:
        if self.shown is None or self.shown >= len(self._all_phases()):
            self.do(Action("step"))
            self.shown = 1
        else:
            self.shown += 1

    def _all_phases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        step = self.current.trace.step(self.current.done) if self.lives else None
        if step is None:
            return ()
        other = self.reference.trace.step(step.number)
        known = {(effect.phase, effect.leaf): effect.digest for effect in other.effects} if other else {}
        found = []
        for name, effects in groupby(step.effects, lambda effect: effect.phase.partition("[")[0]):
            apart = [effect.leaf for effect in effects if known.get((effect.phase, effect.leaf)) != effect.digest]
            found.append((name, tuple(dict.fromkeys(apart))))
        return tuple(found)
