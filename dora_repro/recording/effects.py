"""The effects of the step under way: what the hooks report, as events, each a phase and digests of leaves.

Phases are `batch`, `forward`, `backward`, `update`, and `schedule` where group options are first read after an update;
what follows the last update is `epoch_end`. When the step is over, the trained parameters that no optimizer was seen to
step are digested, and so are those that are not any more what their update made of them (`step_end`).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch

from dora_repro.contracts import Value
from dora_repro.recording.after_update import AfterUpdate
from dora_repro.recording.at_work import AtWork
from dora_repro.recording.by_hand import HandScaling, factor_of
from dora_repro.recording.events import Event, Events
from dora_repro.recording.group_options import GroupOptions, learning_rates
from dora_repro.recording.hooks import Hooks, Listeners
from dora_repro.recording.learning import Learning
from dora_repro.recording.leftovers import Leftovers
from dora_repro.recording.make_up import MakeUp
from dora_repro.recording.preparing import Preparing
from dora_repro.recording.untouched import Untouched
from dora_repro.state.digest import digest
from dora_repro.state.tree import flatten
from dora_repro.trace import STEP_END, Recorded, Step

_EXPECTED_PHASES = ("batch", "forward", "backward")


@dataclass(frozen=True)
class _Mark:
    """A moment in a step at which it may be over.

    Attributes:
        events: number of events so far.
        calls: number of calls of modules.
        gradients: number of gradients that had arrived.
        in_hand: number of batches that had been fetched for the next step.
        loss: what the last backward pass was called on.
    """

    events: int
    calls: int
    gradients: int
    in_hand: int
    loss: float | None


class StepEffects(AbstractContextManager["StepEffects"]):
    """Sees the effects of a run, one step at a time, while its context is open.

    Args:
        made_of: what the run is made of.
        loaded: whether it was loaded before.
        gradients: note the digests of gradients.
        wanted: one effect whose value is to be stored, cloned, in `kept`.
        beginning: as of `Recorder`.

    Attributes:
        made_of: as it was last looked at.
        number: the number of the step under way, or of the last one.
        kept: the value that was wanted; None until it was met.
        learning: what was trained so far.
        at_work: of a run that was loaded: what its first step worked with.
        backward_loss: what the last backward pass was called on, as a number; None where it was called on none.
        before_work: called before each outermost module, backward pass and update of the present step; None to call
            nothing. The next step begins without it.
    """

    def __init__(
        self,
        made_of: MakeUp,
        loaded: bool,
        gradients: bool,
        wanted: Recorded | None,
        beginning: Callable[[torch.nn.Module | None, Value], None],
    ):
        self.made_of = made_of
        self.number = 0
        self.kept: Value = None
        self.learning = Learning(made_of.parameters)
        self.at_work = AtWork(loaded)
        self.backward_loss: float | None = None
        self.before_work: Callable[[], None] | None = None
        self._gradients, self._wanted, self._beginning = gradients, wanted, beginning
        self._hooks = Hooks(
            Listeners(
                self._on_batch,
                self._on_output,
                self._on_loss,
                self._on_gradients,
                self._on_update,
                self._on_stepping,
                self._on_beginning,
            )
        )
        self._events = Events()
        self._preparing = Preparing()
        self._options = GroupOptions()
        self._after_update = AfterUpdate()
        self._leftovers = Leftovers()
        self._by_hand, self._factor = HandScaling(), 1.0
        self._reached: list[int] = []  # ids of the parameters that a gradient reached in this step
        self._untouched = Untouched()
        self._mark: _Mark | None = None
        self._under_way = ""  # the phase of what was begun and has not ended: nothing is noted of it yet
        self._seen: set[str] = set()

    def __enter__(self) -> "StepEffects":
        self._hooks.__enter__()
        try:
            self._watch_gradients()
        except BaseException:
            self._hooks.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)
        # Hooks refer to this object and it to them: that circle must not keep a loader's workers waiting.
        self.made_of.let_go()

    # --- what the run is made of ---------------------------------------------------------------------------------

    def meet(self) -> None:
        """Find what the run is made of by now, in the midst of a step: it has been given what it did not have."""
        self._look_anew()
        self._options.met(self.made_of.optimizers)

    def _look_anew(self) -> None:
        """Find the run's parameters, optimizers and their names, since its make-up has changed."""
        self.made_of.look()
        self._watch_gradients()

    def _watch_gradients(self) -> None:
        self._hooks.watch_gradients(self.made_of.parameters.values())

    # --- a step --------------------------------------------------------------------------------------------------

    def begin(self, number: int, in_hand: Iterable[Value]) -> None:
        """A step begins.

        Args:
            number: its number.
            in_hand: batches that had been fetched for it.
        """
        self._by_hand.begin()
        self._begin(number)
        for batch in in_hand:
            self._on_batch(batch)
        self._hooks.listening = True

    def _begin(self, number: int) -> None:
        if self.made_of.has_other_objects():  # between two steps; within one, more is compared
            self._look_anew()
        self.number = number
        self.made_of.begin_step()
        self._untouched.begin(self.made_of)
        self._options.begin(self.made_of.optimizers)
        self._after_update.begin()
        self._events = Events()
        self._preparing.begin_step()
        self._reached, self._mark, self._under_way = [], None, ""
        self._hooks.asked.clear()

    def enter(self, module: torch.nn.Module) -> None:
        """A module is being called, whose call had begun before the step did."""
        self._hooks.enter(module)

    def pause(self) -> None:
        """See nothing until the next step begins."""
        self._hooks.listening = False

    @property
    def reached(self) -> str:
        """The phase that the present step came to, for a step that raised."""
        return self._under_way or self._events.last_phase or "batch"

    @property
    def unseen(self) -> tuple[str, ...]:
        """Phases that are to be expected and were not seen in any step that is over."""
        return tuple(phase for phase in _EXPECTED_PHASES if phase not in self._seen)

    def mark(self, in_hand: int) -> None:
        """The step may be over here, as will be known later (`split`).

        Args:
            in_hand: number of batches that were fetched for the next step.
        """
        self._note_options()
        sizes = len(self._events), len(self._preparing), len(self._reached), in_hand
        self._mark = _Mark(*sizes, self.backward_loss)

    def split(self, memory: dict[str, bytes | None]) -> Step:
        """End the step where it was marked last, and begin the next one there.

        Args:
            memory: what had changed of the memory by then.

        Returns:
            The step that is over.

        Raises:
            RuntimeError: it was not marked.
        """
        mark = self._mark
        if mark is None:
            raise RuntimeError("the step was not marked: call mark() where it may be over")
        events = self._events.of_next(mark.events, mark.in_hand)
        preparing = self._preparing.of_next(mark.calls, mark.in_hand)
        reached, asked = self._reached[mark.gradients :], set(self._hooks.asked)
        del self._reached[mark.gradients :]
        step = self.finish(mark.loss, memory)
        self._begin(self.number + 1)
        self._events, self._preparing, self._reached = events, preparing, reached
        self._hooks.asked |= asked
        return step

    def finish(self, loss: Value, memory: dict[str, bytes | None], in_hand: int = 0, last: bool = False) -> Step:
        """The step that is over.

        Args:
            loss: what it gave as its loss.
            memory: what has changed of the memory.
            in_hand: number of batches that were fetched for the next step: these are left out.
            last: no step is recorded after it.
        """
        self.before_work = None
        self._events.drop_last_batches(in_hand)  # with what was done to them: they are of the next step
        if self.made_of.has_changed():
            self._look_anew()
        self._note_options()
        trained = self._trained()
        self._note_unseen_updates(trained)
        self._note_step_end(last)
        self._untouched.step_is_over(self._events, self.made_of.parameters)
        number_of_loss = _as_float(loss)
        if number_of_loss is not None and not any("loss" in event.digests for event in self._events):
            self._note(self._event("forward"), "loss", number_of_loss)
        self._note_seen()
        self.at_work.step_is_over()
        return Step(
            self.number,
            number_of_loss,
            learning_rates(self.made_of.optimizers),
            self._events.effects(),
            memory,
            *self._preparing.finished(partial(self.made_of.trains, trained)),
            self._leftovers.step_is_over(self.number, self._events.named()),
        )

    def _note_seen(self) -> None:
        """The phases of the step, and the value that was wanted where it was met."""
        for phase, event in self._events.named():
            self._seen.add(event.phase)
            for leaf, value in event.kept.items():
                if self._wanted == (self.number, phase, leaf):
                    self.kept = value

    # --- events --------------------------------------------------------------------------------------------------

    def _event(self, phase: str) -> Event:
        """The event to write into."""
        self._under_way = ""
        if phase != "batch":
            self.at_work.begins(self.made_of)
        if phase not in ("update", "schedule"):
            self._after_update.other_work_begins(self.made_of.read)
        return self._events.of(phase)

    def _note(self, event: Event, leaf: str, value: Value) -> bytes | None:
        """Add a value's digest to an event and return it; a leaf named twice in it is numbered, as phases are."""
        read = self.made_of.read.get(id(value))
        leaf = event.free_name(leaf)
        try:
            event.digests[leaf] = found = digest(value) if read is None else read()
        except TypeError:  # arrays of Python objects, whose bytes are addresses
            return None
        if self._wanted is not None and self._wanted.step == self.number and self._wanted.leaf == leaf:
            event.kept[leaf] = value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
        return found

    def _on_beginning(self, module: torch.nn.Module | None, args: Value) -> None:
        self._work_begins()
        if module is None and self._gradients:
            self._leftovers.backward_begins(self.made_of.by_id, self.made_of.held)
        self._beginning(module, args)

    def _on_stepping(self, optimizer: torch.optim.Optimizer) -> None:
        self._work_begins()
        self.at_work.optimizer_steps(self.made_of)
        self._by_hand.stepping(optimizer)
        self._leftovers.stepping(optimizer)
        self._under_way = "update"

    def _work_begins(self) -> None:
        self.at_work.begins(self.made_of)
        if self.before_work is not None:
            self.before_work()

    def _on_batch(self, batch: Value) -> None:
        self._note_options()
        self._preparing.batch()
        event = self._event("batch")
        for path, value in flatten(batch):
            self._note(event, f"batch{path}", value)

    def _on_output(self, module: torch.nn.Module, given: Value, output: Value) -> None:
        if self.made_of.is_unknown(module):  # made in this step: its gradients are to be seen
            self.meet()
        self._note_options()
        event = self._event("forward")
        name = self.made_of.name_of(module)
        noted = ((f"outputs/{name}{path}", value) for path, value in flatten(output))
        returned = {leaf: self._note(event, leaf, value) or b"" for leaf, value in noted}
        self._preparing.called(module, given, returned)

    def _on_loss(self, loss: Value) -> None:
        self._note_options()
        event = self._event("forward")
        self._factor = factor_of(loss)
        self.backward_loss = _as_float(loss[0] if isinstance(loss, (tuple, list)) and loss else loss)
        for path, value in flatten(loss):
            leaf = event.free_name(f"loss{path}")
            self._note(event, leaf, value)
            self._by_hand.loss(event, leaf, value, self._factor)
        self._under_way = "backward"

    def _on_gradients(self, arrived: list[int], scale: float) -> None:
        event = self._event("backward")
        by_id = self.made_of.by_id
        recorded: dict[str, torch.Tensor] = {}
        # No optimizer works with the gradients of what it does not have: they add up, as memory that nobody reads.
        held = self.made_of.held
        # The gradient of a watched parameter that did not arrive is left over from an earlier backward.
        unwatched = [key for key in by_id if key not in self._hooks.watched] if arrived else by_id
        for key in dict.fromkeys((*arrived, *unwatched)):
            gradient = by_id[key].grad if key in by_id else None
            if gradient is not None:
                self._reached.append(key)
                if (held and key not in held) or not self._gradients:
                    continue
                self.learning.gradient(gradient)
                unscaled = gradient if scale == 1.0 else gradient.detach() / scale  # exact: scales are powers of two
                leaf = event.free_name(f"{self.made_of.paths[key]}/grad")
                self._note(event, leaf, unscaled)
                self._leftovers.recorded(event, leaf, by_id[key])
                recorded[leaf] = by_id[key]
        self._by_hand.gradients(event, recorded, self._factor)

    def _on_update(self, optimizer: torch.optim.Optimizer) -> None:
        if self.made_of.adopt(optimizer):
            self._watch_gradients()
        event = self._event("update")
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                unnamed = f"{type(optimizer).__name__}/group.{index}.params.{position}"
                leaf = self.made_of.paths.get(id(parameter), unnamed)
                if (found := self._note(event, leaf, parameter)) is not None:
                    self._after_update.note(leaf, parameter, found)
        self._options.updated()

    def _note_options(self) -> None:
        """A `schedule` event after each update, and wherever else the group options have changed."""
        options = self._options.to_note(self.made_of.optimizers)
        if options:
            event = self._event("schedule")
            for path, value in options.items():
                self._note(event, path, value)

    # --- when the step is over -----------------------------------------------------------------------------------

    def _trained(self) -> set[int]:
        """Ids of the parameters that this step may train: those that an optimizer has, and those that a gradient
        reached. A copy of the model is neither, though it may ask for gradients; where nothing is either, the run
        trains in ways of its own, and all that ask for gradients count."""
        made_of = self.made_of
        trained = (made_of.held | {*self._reached} | self._hooks.asked) & made_of.by_id.keys() or set(made_of.by_id)
        self.learning.trained({made_of.paths[key]: made_of.by_id[key] for key in trained})
        return trained

    def _note_unseen_updates(self, trained: set[int]) -> None:
        """Digest the trained parameters that no optimizer's step was seen for, after the last backward or update.

        Those of another optimizer than that of this step count if anything happened to them: the step has no part in
        what lies there until it is set anew, as a client's copy of a model does until its turn.
        """
        seen = {leaf for event in self._events if event.phase == "update" for leaf in event.digests}
        parameters = self.made_of.parameters.items()
        rest = {
            path: parameter
            for path, parameter in parameters
            if path not in seen and id(parameter) in trained and not self._lies_still(parameter)
        }
        if not rest:
            return
        event = self._events.after_last("update", "backward")
        for path, parameter in rest.items():
            self._note(event, path, parameter)

    def _lies_still(self, parameter: torch.Tensor) -> bool:
        """Whether a parameter of an optimizer got no gradient in this step, and has not changed."""
        key = id(parameter)
        if key not in self.made_of.held or key in self._reached:
            return False
        return self._untouched.lies_still(key, self.made_of)

    def _note_step_end(self, last: bool) -> None:
        """Digest the parameters that changed after their update: an effect before the end of the epoch, or after it."""
        wanted = self._wanted is not None and self._wanted[:2] == (self.number, STEP_END)
        also = self._wanted.leaf if self._wanted is not None and wanted else None
        changed = self._after_update.changed(self.made_of.read, whole=last, also=also)
        early = all(self._after_update.changed_before(path, found) for path, (_, found) in changed.items())
        if changed:
            event = self._events.at_step_end(early)
            for path, (parameter, _) in changed.items():
                self._note(event, path, parameter)


def _as_float(loss: Value) -> float | None:
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return float(loss.detach())
    return float(loss) if isinstance(loss, (int, float)) else None
