"""The lab: two runs side by side, action by action, and what there is to see of them."""

from itertools import groupby

from dora_repro.alignment.divergence import first_divergence, thrown_away
from dora_repro.checks.findings import wrong_from_the_start
from dora_repro.comparison.drift import Drift
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.explain.advice.advice import Advice
from dora_repro.lab.components import Component, components, fix, generator_draws, parameters
from dora_repro.lab.history import History
from dora_repro.lab.script import Action, parse
from dora_repro.sides.side import brief_waits
from dora_repro.trace import Divergence, Recorded, unnumbered


class Lab(History):
    """Two runs of one factory, to be stepped, saved, killed, loaded, and compared at every moment.

    Args:
        factory: builds a run: any object with `step`, `save(path)` and `load(path)`.
        steps: the step at which `end` ends.
    """

    def __repr__(self) -> str:
        return f"Lab({self.script or 'nothing built'})"

    @property
    def script(self) -> str:
        """What was done, as a script that repeats it."""
        counted = ((str(action), len(list(same))) for action, same in groupby(self.actions))
        return ",".join(f"{words}*{count}" if count > 1 else words for words, count in counted)

    # --- what can be done

    def play(self, script: str) -> "Lab":
        """Do the actions of a script, one after the other.

        Raises:
            BadInput: there is no such action, or it cannot be done where it stands; those before it are done.
        """
        for action in parse(script):
            for unit in self.units(action):
                self.do(unit)
        return self

    def units(self, action: Action) -> list[Action]:
        """The single actions that one stands for: `end` once for each remaining step."""
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
                self._reset()
            elif action.name == "phase":
                self._next_phase()
            elif action.name == "end":
                if not self.current.finished:  # a run may be over earlier than `steps` says
                    self.do(Action("step"))
            else:
                self.act(action)

    def possible(self) -> set[str]:
        """The actions that can be done now; `transplant` where some component can be."""
        found = {"reset"} if self.actions else set()
        if self.actions:
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
        elif self.phases_shown is not None and self.phases_shown < len(self._all_phases()):
            found.add("phase")
        return found | ({"transplant"} if self.processes and self.current.loaded and self.current.alive else set())

    # --- what there is to see

    @property
    def divergence(self) -> Divergence | None:
        """Where the interrupted run, once loaded, first differs from the uninterrupted one, as a check says it."""
        if not self.processes or not self.current.loaded:
            return None
        process, expected = self.current, self._reference.trace
        lost = compare(*self._pair(process.start)).differences
        still = {difference.path for difference in compare(*self._pair()).differences}
        at_once = wrong_from_the_start(lost, expected, process.trace, process.start, still)
        return at_once or first_divergence(expected, process.trace, process.start)

    def components(self, step: int | None = None) -> tuple[Component, ...]:
        """Both runs after the same number of steps, component by component.

        Args:
            step: number of steps; by default as many as the interrupted run has done.
        """
        return components(*self._pair(step))

    def generators(self) -> dict[str, int | None]:
        """How many draws the interrupted run's generators are ahead of the uninterrupted one's, by path; None where no
        number of draws leads from one state to the other."""
        return generator_draws(*self._pair(), self.components())

    def fixes(self) -> dict[str, Advice]:
        """For each component that differed right after the last load: lines that would have brought it back."""
        if not self.processes or not self.current.loaded:
            return {}
        expected, _ = self._pair(self.current.start)
        return {each.name: fix(expected, each) for each in self.components(self.current.start) if each.differences}

    def drift(self) -> Drift:
        """How far the trained parameters differ after each step of the present process.

        Raises:
            BadInput: nothing is built, or the two runs have no parameter by value in common.
        """
        return Drift.between(
            parameters(self.reference.snapshots if self.reference else {}), parameters(self.current.snapshots)
        )

    def phases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(phase, leaves that differ) of the interrupted run's last step, in order, as far as phases are shown.

        Phases that are repeated one after the other (the forward passes of a validation) are one.
        """
        return self._all_phases()[: self.phases_shown]

    def _next_phase(self) -> None:
        if self.phases_shown is None or self.phases_shown >= len(self._all_phases()):
            self.do(Action("step"))
            self.phases_shown = 1
        else:
            self.phases_shown += 1

    def _all_phases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        step = self.current.trace.step(self.current.done) if self.processes else None
        if step is None:
            return ()
        other = self._reference.trace.step(step.number)
        known = {(effect.phase, effect.leaf): effect.digest for effect in other.effects} if other else {}
        found, unused = [], thrown_away(self._reference.trace, self.current.trace)
        for name, effects in groupby(step.effects, lambda effect: unnumbered(effect.phase)):
            counted = (e for e in effects if Recorded(step.number, e.phase, e.leaf) not in unused)
            differing = [e.leaf for e in counted if known.get((e.phase, e.leaf)) != e.digest]
            found.append((name, tuple(dict.fromkeys(differing))))
        return tuple(found)
