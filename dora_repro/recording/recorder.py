"""The recorder: the steps of a run, one after the other, into a trace of effects and memory.

It reads and changes nothing: no random number is drawn, and what the hooks patch is put back when it closes.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dora_repro.contracts import Value
from dora_repro.recording.effects import StepEffects
from dora_repro.recording.learning import Facts
from dora_repro.recording.make_up import MakeUp
from dora_repro.recording.memory import Memory, World
from dora_repro.recording.own_work import own_work
from dora_repro.recording.values import ParameterValues, Values
from dora_repro.trace import Recorded, Step, Trace


class Steps(Protocol):
    """All that the recorder calls of a run."""

    def step(self) -> Any:
        """Do one optimizer step; return its loss, if there is one.

        Raises:
            StopIteration: training is over.
        """


@dataclass(frozen=True)
class Recording:
    """How much of a run is recorded.

    Attributes:
        gradients: note the digests of gradients.
        memory: note all memory that moves; else global generators alone.
    """

    gradients: bool = True
    memory: bool = True


_ALL = Recording()


class Recorder(AbstractContextManager["Recorder"]):
    """Records the steps of one run object, while its context is open.

    Args:
        run: any object with `step()`; its `components()` or attributes are what is recorded.
        done: the number of steps it has done already (after `load`, the step it was saved at).
        keep: (step, phase, leaf) of one effect whose value is to be stored, cloned, in `kept`.
        values: globs of trainable parameters whose values are to be stored, cloned, at the end of every step; up to
            `VALUES_LIMIT` bytes in all, and beyond that none.
        beginning: called with an outermost module that is about to be called, and what it is given by position; with
            None twice before a backward pass:
            who drives no run sees there that a step is over (`begin`, `finish`).
        recording: how much is recorded.

    Attributes:
        trace: what was recorded so far.
        effects: the effects of the step under way.

    Example:
        With the class `Run` of the example of `check`::

            with dora_repro.Recorder(Run()) as recorder:
                recorder.step()
                recorder.step()
            first = recorder.trace.step(1)
            print([f"{effect.phase}: {effect.leaf}" for effect in first.effects if effect.phase == "update"])
            # ['update: model/weight', 'update: model/bias']
    """

    def __init__(
        self,
        run: Steps,
        done: int = 0,
        keep: tuple[int, str, str] | None = None,
        values: Iterable[str] = (),
        beginning: Callable[[torch.nn.Module | None, Value], None] = lambda module, args: None,
        recording: Recording = _ALL,
    ):
        self.run: Steps | None = run
        self.trace = Trace()
        self._done = done
        self._wanted = None if keep is None else Recorded(*keep)
        self._beginning, self._recording = beginning, recording
        self._values = ParameterValues(values)
        self._memory: Memory | World | None = None  # None while the context is not open
        self._until_mark: dict[str, bytes | None] = {}  # memory that had changed in this step by then
        self._closing = ExitStack()

    def __enter__(self) -> "Recorder":
        with ExitStack() as opening:  # a run that cannot be read: nothing stays patched
            made_of = MakeUp(self.run)
            gradients = self._recording.gradients
            effects = StepEffects(made_of, self._done > 0, gradients, self._wanted, self._beginning)
            self.effects = opening.enter_context(effects)
            memory = Memory(self.run) if self._recording.memory else World()
            self.trace.start = dict(memory.now)
            self._values.store(self._done, made_of.parameters)
            self._memory, self._closing = memory, opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()
        self.run = self._memory = None

    @property
    def kept(self) -> Value:
        """The value that was asked for by `keep`; None until it was met."""
        return self.effects.kept

    @property
    def values(self) -> Values:
        """Step -> path -> tensor on the host; the first entry is what the run began with."""
        return self._values.by_step

    def facts(self) -> Facts:
        """What distinguishes a test from an empty one, so far."""
        return self.effects.learning.facts(self.effects.made_of.parameters, self._values.dropped)

    def step(self, last: bool = False) -> bool:
        """Do one step of the run and record it; False where training is over.

        Args:
            last: no step is recorded after it, so that what changes after its update has to show in this one.

        Raises:
            RuntimeError: the context is not open.
        """
        run = self.begin()
        try:
            loss = run.step()
        except StopIteration:
            self.trace.finished = True
            return False
        finally:
            self.effects.pause()
        self.finish(loss, last=last)
        return True

    def begin(self) -> Steps:
        """Begin to record a step that somebody else does: call `finish` when it is over.

        Returns:
            The run.

        Raises:
            RuntimeError: the context is not open.
        """
        if self.run is None or self._memory is None:
            raise RuntimeError("the recorder is closed: call step() inside `with Recorder(run) as recorder:`")
        self._until_mark = {}
        with own_work:
            self.effects.begin(self._done + 1, self._in_hand())
        return self.run

    def begin_anew(self) -> None:
        """Forget what was recorded of the step that was begun: it begins now."""
        if self._memory is not None and not self.trace.steps:
            self._memory.changes()
            self.trace.start = dict(self._memory.now)
        self.begin()

    def mark(self) -> None:
        """The step may be over here, as will be known later (`split`). It is not yet, where no step is being done."""
        if self._memory is not None:
            self.effects.mark(len(self._in_hand()))
            self._until_mark |= self._memory.changes()

    def split(self) -> Step:
        """End a step where it was marked last, and begin the next one there.

        Returns:
            The step that is over.

        Raises:
            RuntimeError: it was not marked, or the context is not open.
        """
        self._opened("split()")
        step = self.effects.split(self._until_mark)
        self._until_mark = {}
        return self._add(step)

    def finish(self, loss: Value = None, *, last: bool = False) -> Step:
        """End a step that was begun: what has happened since is its own, but for batches in hand.

        Args:
            loss: what the step gave as its loss; where it is no number, none is recorded.
            last: as for `step`.

        Returns:
            The step, as it was added to the trace.

        Raises:
            RuntimeError: the context is not open.
        """
        memory = self._opened("finish()")
        self.effects.pause()
        with own_work:
            changes = {**self._until_mark, **memory.changes()}
            return self._add(self.effects.finish(loss, changes, len(self._in_hand()), last))

    def _opened(self, call: str) -> Memory | World:
        if self._memory is None:
            raise RuntimeError(f"the recorder is closed: call {call} inside `with Recorder(run) as recorder:`")
        return self._memory

    def _add(self, step: Step) -> Step:
        self._done = step.number
        self.trace.steps.append(step)
        self.trace.unseen = self.effects.unseen
        self._values.store(step.number, self.effects.made_of.parameters)
        return step

    def _in_hand(self) -> Sequence[Value]:
        """Batches that the run was given before its step begins, where it knows of any."""
        in_hand: Callable[[], Sequence[Value]] | None = getattr(self.run, "batches_in_hand", None)
        return in_hand() if callable(in_hand) else ()
