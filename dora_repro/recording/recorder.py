"""The recorder: turns events of the hooks into the effects and the memory of each step.

It reads and changes nothing: no random number is drawn, and what the hooks patch is put back when it closes. Phases are
`batch`, `forward`, `backward`, `update`, and `schedule` where group options are first read after an update; what
follows the last update is `epoch_end`. When the step is over, the trained parameters that no optimizer was seen to step
are digested, and so are those that are not any more what their update made of them (`step_end`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypedDict

import torch

from dora_repro.contracts import Value
from dora_repro.recording.after_update import AfterUpdate
from dora_repro.recording.by_hand import HandScaling, factor_of
from dora_repro.recording.events import Event, Events
from dora_repro.recording.group_options import GroupOptions, digests_of
from dora_repro.recording.hooks import Hooks, Listeners
from dora_repro.recording.leftovers import Leftovers
from dora_repro.recording.make_up import MakeUp
from dora_repro.recording.memory import Memory, World
from dora_repro.recording.preparing import Preparing
from dora_repro.state.digest import digest, digest_tensor
from dora_repro.state.paths import select
from dora_repro.state.tree import flatten
from dora_repro.trace import STEP_END, Step, Trace

Values: TypeAlias = dict[int, dict[str, torch.Tensor]]
"""Step -> path -> value of a parameter."""

VALUES_LIMIT = 1 << 28  # bytes of parameters stored for all steps together

_INPUTS = 1000  # values that are read of what one module was given
_EXPECTED_PHASES = ("batch", "forward", "backward")


class Steps(Protocol):
    """All that the recorder calls of a run."""

    def step(self) -> Any:
        """Do one optimizer step; return its loss, if there is one.

        Raises:
            StopIteration: training is over.
        """


class Facts(TypedDict):
    """What distinguishes a test from an empty one.

    Attributes:
        trainable: path -> number of elements of each trainable parameter.
        gradients: whether any gradient was not zero; None where no gradient was seen.
        changed: whether any trainable parameter changed.
        values_dropped: whether the wanted values took more than `VALUES_LIMIT` bytes, so that none were stored.
    """

    trainable: dict[str, int]
    gradients: bool | None
    changed: bool
    values_dropped: bool


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
        kept: the value that was asked for; None until it was met.
        values: step -> path -> tensor on the host; the first entry is what the run began with.
        at_work: of a run that was loaded: digests of its trainable parameters and its optimizers' options by path, when
            its first step began to work on its batches; options of an optimizer that is not there yet, before it
            first steps. A `load()` that waits for that step has done its work by then.
        backward_loss: what the last backward pass was called on, as a number; None where it was called on none.
        before_work: called before each outermost module, backward pass and update of the present step; None to call
            nothing. The next step begins without it.

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
        self.kept: Value = None
        self.backward_loss: float | None = None
        self.before_work: Callable[[], None] | None = None
        self.at_work: dict[str, bytes] = {}
        self.values: Values = {}
        self._wanted = tuple(values)
        self._kept_bytes = 0
        self._done = done
        self._keep, self._beginning, self._recording = keep, beginning, recording
        self._loaded = done > 0
        self._by_hand, self._factor = HandScaling(), 1.0
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
        self._memory: Memory | World | None = None
        self._options = GroupOptions()
        self._after_update = AfterUpdate()
        self._leftovers = Leftovers()
        self._reached: list[int] = []  # ids of the parameters that a gradient reached in this step
        self._mark: _Mark | None = None
        self._until_mark: dict[str, bytes | None] = {}  # memory that had changed in this step by then
        self._preparing = Preparing()
        self._under_way = ""  # the phase of what was begun and has not ended: nothing is noted of it yet
        self._trained: dict[str, int] = {}  # path -> number of elements of what was trained in any step
        self._seen: set[str] = set()
        self._gradients: bool | None = None  # whether any gradient was not zero; None where none was seen

    def __enter__(self) -> "Recorder":
        self._hooks.__enter__()
        try:
            self._made_of = MakeUp(self.run)
            self._watch()
            self._memory = memory = Memory(self.run) if self._recording.memory else World()
            self.trace.start = dict(memory.now)
            self._first = {path: digest_tensor(parameter) for path, parameter in self._made_of.parameters.items()}
            self._keep_values()
        except BaseException:  # a run that cannot be read: nothing stays patched
            self._hooks.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)
        # Hooks and recorder refer to each other: that circle must not keep a loader's workers waiting.
        self.run = self._memory = None
        self._made_of.let_go()

    def _look_anew(self) -> None:
        """Find the run's parameters, optimizers and their names, since its make-up has changed."""
        self._made_of.look()
        self._watch()

    def meet(self) -> None:
        """Find what the run is made of by now, in the midst of a step: it has been given what it did not have."""
        self._look_anew()
        self._options.met(self._made_of.optimizers)

    def _watch(self) -> None:
        self._hooks.watch_gradients(self._made_of.parameters.values())

    # --- a step --------------------------------------------------------------------------------------------------

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
            self._hooks.listening = False
        self.finish(loss, last=last)
        return True

    def begin(self) -> Steps:
        """Begin to record a step that somebody else does: call `finish` when it is over.

        Returns:
            The run.

        Raises:
            RuntimeError: the context is not open.
        """
        if self.run is None:
            raise RuntimeError("the recorder is closed: call step() inside `with Recorder(run) as recorder:`")
        self._begin_step()
        for batch in self._in_hand():
            self._on_batch(batch)
        self._hooks.listening = True
        return self.run

    def begin_anew(self) -> None:
        """Forget what was recorded of the step that was begun: it begins now."""
        if self._memory is not None and not self.trace.steps:
            self._memory.changes()
            self.trace.start = dict(self._memory.now)
        self.begin()

    def enter(self, module: torch.nn.Module) -> None:
        """Record a module's call that had begun before the step did."""
        self._hooks.enter(module)

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimizers of the run, by path."""
        return self._made_of.optimizers

    def mark(self) -> None:
        """The step may be over here, as will be known later (`split`). It is not yet, where no step is being done."""
        if self._memory is not None:
            self._note_options()
            sizes = len(self._events), len(self._preparing), len(self._reached), len(self._in_hand())
            self._mark = _Mark(*sizes, self.backward_loss)
            self._until_mark |= self._memory.changes()

    def split(self) -> Step:
        """End a step where it was marked last, and begin the next one there.

        Returns:
            The step that is over.

        Raises:
            RuntimeError: it was not marked, or the context is not open.
        """
        mark = self._mark
        if mark is None:
            raise RuntimeError("the step was not marked: call mark() where it may be over")
        events = self._events.of_next(mark.events, mark.in_hand)
        preparing = self._preparing.of_next(mark.calls, mark.in_hand)
        reached, asked = self._reached[mark.gradients :], set(self._hooks.asked)
        del self._reached[mark.gradients :]
        step = self._finished(mark.loss, 0, self._until_mark)
        self._begin_step(by_hand=False)
        self._events, self._preparing, self._reached = events, preparing, reached
        self._hooks.asked |= asked
        return step

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
        self._hooks.listening = False
        return self._finished(loss, len(self._in_hand()), None, last)

    def _finished(self, loss: Value, in_hand: int, changes: dict[str, bytes | None] | None, last: bool = False) -> Step:
        """The step that is over, but for the batches in hand; with what its memory changed, where that is known."""
        memory = self._memory
        if memory is None:
            raise RuntimeError("the recorder is closed: call finish() inside `with Recorder(run) as recorder:`")
        self.before_work = None
        self._done += 1
        self._events.drop_last_batches(in_hand)  # with what was done to them: they are of the next step
        if self._made_of.has_changed():
            self._look_anew()
        self._note_options()
        trained = self._trained_now()
        self._note_unseen_updates(trained)
        self._note_step_end(last)
        loss = _as_float(loss)
        if loss is not None and not any("loss" in event.digests for event in self._events):
            self._note(self._event("forward"), "loss", loss)
        self._note_seen()
        self._keep_values()
        rates, effects = self._learning_rates(), self._events.effects()
        if changes is None:
            changes = {**self._until_mark, **memory.changes()}
        thrown_away = self._leftovers.step_is_over(self._done, self._events.named())
        step = Step(self._done, loss, rates, effects, changes, *self._preparing.finished(trained), thrown_away)
        self.trace.steps.append(step)
        self.trace.unseen = tuple(phase for phase in _EXPECTED_PHASES if phase not in self._seen)
        return step

    def _begin_step(self, by_hand: bool = True) -> None:
        if self._made_of.has_other_objects():  # between two steps; within one, more is compared
            self._look_anew()
        self._made_of.begin_step()
        self._options.begin(self._made_of.optimizers)
        self._after_update.begin()
        self._number = self._done + 1
        self._events = Events()
        self._preparing.begin_step()
        if by_hand:
            self._by_hand.begin()
        self._reached, self._mark, self._until_mark, self._under_way = [], None, {}, ""
        self._hooks.asked.clear()

    def _in_hand(self) -> Sequence[Value]:
        """Batches that the run was given before its step begins, where it knows of any."""
        in_hand: Callable[[], Sequence[Value]] | None = getattr(self.run, "batches_in_hand", None)
        return in_hand() if callable(in_hand) else ()

    def _keep_values(self) -> None:
        if not self._wanted:
            return
        parameters = self._made_of.parameters
        wanted = {path: parameters[path].detach() for path in select(self._wanted, parameters)}
        self._kept_bytes += sum(parameter.nbytes for parameter in wanted.values())
        if self._kept_bytes > VALUES_LIMIT:
            self._wanted, self.values = (), {}
        else:
            self.values[self._done] = {path: parameter.to("cpu", copy=True) for path, parameter in wanted.items()}

    def _note_seen(self) -> None:
        """The phases of the step, and the value that was asked for where it was met."""
        for phase, event in self._events.named():
            self._seen.add(event.phase)
            for leaf, value in event.kept.items():
                if self._keep == (self._done, phase, leaf):
                    self.kept = value

    @property
    def reached(self) -> str:
        """The phase that the present step came to, for a step that raised."""
        return self._under_way or self._events.last_phase or "batch"

    def facts(self) -> Facts:
        """What distinguishes a test from an empty one, so far."""
        parameters = self._made_of.parameters
        trainable = self._trained or {path: parameter.numel() for path, parameter in parameters.items()}
        trained = ((path, parameter) for path, parameter in parameters.items() if path in trainable)
        changed = any(digest_tensor(parameter) != self._first.get(path) for path, parameter in trained)
        dropped = self._kept_bytes > VALUES_LIMIT
        return {"trainable": trainable, "gradients": self._gradients, "changed": changed, "values_dropped": dropped}

    # --- events --------------------------------------------------------------------------------------------------

    def _event(self, phase: str) -> Event:
        """The event to write into."""
        self._under_way = ""
        if phase != "batch":
            self._note_at_work()
        if phase not in ("update", "schedule"):
            self._after_update.other_work_begins(self._made_of.read)
        return self._events.of(phase)

    def _note_at_work(self) -> None:
        if not self._loaded:
            return
        self._loaded = False
        made_of = MakeUp(self.run) if self._made_of.has_other_objects() else self._made_of  # made for this very step
        self.at_work = {path: digest_tensor(parameter) for path, parameter in made_of.parameters.items()}
        self._note_options_at_work(made_of)

    def _note_options_at_work(self, made_of: MakeUp) -> None:
        self.at_work = {**digests_of(made_of.optimizers), **self.at_work}

    def _note(self, event: Event, leaf: str, value: Value) -> bytes | None:
        """Add a value's digest to an event and return it; a leaf named twice in it is numbered, as phases are."""
        read = self._made_of.read.get(id(value))
        leaf = event.free_name(leaf)
        try:
            event.digests[leaf] = found = digest(value) if read is None else read()
        except TypeError:  # arrays of Python objects, whose bytes are addresses
            return None
        if self._keep is not None and self._keep[0] == self._number and self._keep[2] == leaf:
            event.kept[leaf] = value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
        return found

    def _on_beginning(self, module: torch.nn.Module | None, args: Value) -> None:
        self._call_before_work()
        if module is None and self._recording.gradients:
            self._leftovers.backward_begins(self._made_of.by_id, self._made_of.held)
        self._beginning(module, args)

    def _on_stepping(self, optimizer: torch.optim.Optimizer) -> None:
        self._call_before_work()
        if self.at_work and not self.trace.steps and self._made_of.has_other_objects():  # made since that was noted
            self._note_options_at_work(MakeUp(self.run))
        self._by_hand.stepping(optimizer)
        self._leftovers.stepping(optimizer)
        self._under_way = "update"

    def _call_before_work(self) -> None:
        self._note_at_work()
        if self.before_work is not None:
            self.before_work()

    def _on_batch(self, batch: Value) -> None:
        self._note_options()
        self._preparing.batch()
        event = self._event("batch")
        for path, value in flatten(batch):
            self._note(event, f"batch{path}", value)

    def _on_output(self, module: torch.nn.Module, given: Value, output: Value) -> None:
        if self._made_of.is_unknown(module):  # made in this step: its gradients are to be seen
            self.meet()
        self._note_options()
        event = self._event("forward")
        name = self._made_of.name_of(module)
        noted = ((f"outputs/{name}{path}", value) for path, value in flatten(output))
        returned = {leaf: self._note(event, leaf, value) or b"" for leaf, value in noted}
        self._preparing.called(module, _digests(given), returned)

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
        by_id = self._made_of.by_id
        recorded: dict[str, torch.Tensor] = {}
        # No optimizer works with the gradients of what it does not have: they add up, as memory that nobody reads.
        held = self._made_of.held
        # The gradient of a watched parameter that did not arrive is left over from an earlier backward.
        unwatched = [key for key in by_id if key not in self._hooks.watched] if arrived else by_id
        for key in dict.fromkeys((*arrived, *unwatched)):
            gradient = by_id[key].grad if key in by_id else None
            if gradient is not None:
                self._reached.append(key)
                if (held and key not in held) or not self._recording.gradients:
                    continue
                if not self._gradients:
                    self._gradients = bool(gradient.any())
                unscaled = gradient if scale == 1.0 else gradient.detach() / scale  # exact: scales are powers of two
                leaf = event.free_name(f"{self._made_of.paths[key]}/grad")
                self._note(event, leaf, unscaled)
                self._leftovers.recorded(event, leaf, by_id[key])
                recorded[leaf] = by_id[key]
        self._by_hand.gradients(event, recorded, self._factor)

    def _on_update(self, optimizer: torch.optim.Optimizer) -> None:
        if self._made_of.adopt(optimizer):
            self._watch()
        event = self._event("update")
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                unnamed = f"{type(optimizer).__name__}/group.{index}.params.{position}"
                leaf = self._made_of.paths.get(id(parameter), unnamed)
                if (found := self._note(event, leaf, parameter)) is not None:
                    self._after_update.note(leaf, parameter, found)
        self._options.updated()

    def _trained_now(self) -> set[int]:
        """Ids of the parameters that this step may train: those that an optimizer has, and those that a gradient
        reached. A copy of the model is neither, though it may ask for gradients; where nothing is either, the run
        trains in ways of its own, and all that ask for gradients count."""
        made_of = self._made_of
        trained = (made_of.held | {*self._reached} | self._hooks.asked) & made_of.by_id.keys() or set(made_of.by_id)
        self._trained |= {made_of.paths[key]: made_of.by_id[key].numel() for key in trained}
        return trained

    def _note_unseen_updates(self, trained: set[int]) -> None:
        """Digest the trained parameters that no optimizer's step was seen for, after the last backward or update."""
        seen = {leaf for event in self._events if event.phase == "update" for leaf in event.digests}
        parameters = self._made_of.parameters.items()
        rest = {path: parameter for path, parameter in parameters if path not in seen and id(parameter) in trained}
        if not rest:
            return
        event = self._events.after_last("update", "backward")
        for path, parameter in rest.items():
            self._note(event, path, parameter)

    def _note_step_end(self, last: bool) -> None:
        """Digest the parameters that changed after their update: an effect before the end of the epoch, or after it."""
        step, phase, leaf = self._keep or (0, "", "")
        also = leaf if (step, phase) == (self._done, STEP_END) else None
        changed = self._after_update.changed(self._made_of.read, whole=last, also=also)
        early = all(self._after_update.changed_before(path, found) for path, (_, found) in changed.items())
        if changed:
            event = self._events.at_step_end(early)
            for path, (parameter, _) in changed.items():
                self._note(event, path, parameter)

    def _note_options(self) -> None:
        """A `schedule` event after each update, and wherever else the group options have changed."""
        options = self._options.to_note(self._made_of.optimizers)
        if options:
            event = self._event("schedule")
            for path, value in options.items():
                self._note(event, path, value)

    def _learning_rates(self) -> tuple[float, ...]:
        groups = (group for optimizer in self._made_of.optimizers.values() for group in optimizer.param_groups)
        return tuple(float(group["lr"]) for group in groups if "lr" in group)


def _digests(given: Value) -> Iterator[bytes]:
    """Digests of what a module was given."""
    for _, value in islice(flatten(given), _INPUTS):
        try:
            yield digest(value)
        except TypeError:  # arrays of Python objects
            continue


def _as_float(loss: Value) -> float | None:
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return float(loss.detach())
    return float(loss) if isinstance(loss, (int, float)) else None
