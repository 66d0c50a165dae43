"""The recorder: turns events of the hooks into the effects and the memory of each step.

It reads and changes nothing: no random number is drawn, and what the hooks patch is put back when it closes. Phases are
`batch`, `forward`, `backward`, `update`, and `schedule` where group options are first read after an update; what
follows the last update is `epoch_end`. Trainable parameters that no optimizer was seen to step are digested when the
step is over.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypedDict

import torch

from dora_repro.contracts import Value
from dora_repro.recording.hooks import Hooks, Listeners
from dora_repro.recording.memory import Memory
from dora_repro.state.digest import PLAIN_SCALARS, digest, digest_tensor, reader
from dora_repro.state.leaves import Leaves
from dora_repro.state.paths import select
from dora_repro.state.snapshot import run_roots
from dora_repro.state.tree import flatten
from dora_repro.state.walk import walk
from dora_repro.trace import Effect, Step, Trace

Values: TypeAlias = dict[int, dict[str, torch.Tensor]]
"""Step -> path -> value of a parameter."""

VALUES_LIMIT = 1 << 28  # bytes of parameters stored for all steps together

_EXPECTED_PHASES = ("batch", "forward", "backward")


class Steps(Protocol):
    """All that the recorder calls of a run."""

    def step(self) -> Any:
        """Do one optimizer step; return its loss, if there is one.

        Raises:
            StopIteration: training is over.
        """


@dataclass
class _Event:
    """Something that happened in a step.

    Attributes:
        phase: not numbered yet.
        digests: leaf -> digest.
        kept: leaf -> value, of the one leaf whose value was asked for.
    """

    phase: str
    digests: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, Value] = field(default_factory=dict)


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


class Recorder(AbstractContextManager["Recorder"]):
    """Records the steps of one run object, while its context is open.

    Args:
        run: any object with `step()`; its `components()` or attributes are what is recorded.
        done: the number of steps it has done already (after `load`, the step it was saved at).
        keep: (step, phase, leaf) of one effect whose value is to be stored, cloned, in `kept`.
        values: globs of trainable parameters whose values are to be stored, cloned, at the end of every step; up to
            `VALUES_LIMIT` bytes in all, and beyond that none.

    Attributes:
        trace: what was recorded so far.
        kept: the value that was asked for; None until it was met.
        values: step -> path -> tensor on the host; the first entry is what the run began with.

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
    ):
        self.run: Steps | None = run
        self.trace = Trace()
        self.kept: Value = None
        self.values: Values = {}
        self._wanted = tuple(values)
        self._kept_bytes = 0
        self._done = done
        self._keep = keep
        self._hooks = Hooks(
            Listeners(self._on_batch, self._on_output, self._on_loss, self._on_gradients, self._on_update)
        )
        self._events: list[_Event] = []
        self._memory: Memory | None = None
        self._options: dict[str, Value] | None = None
        self._option_values: list[Value] = []
        self._seen: set[str] = set()
        self._gradients: bool | None = None  # whether any gradient was not zero; None where none was seen

    def __enter__(self) -> "Recorder":
        self._hooks.__enter__()
        try:
            self._look_anew()
            self._memory = memory = Memory(self.run)
            self.trace.start = dict(memory.now)
            self._first = {path: digest_tensor(parameter) for path, parameter in self._parameters.items()}
            self._keep_values()
        except BaseException:  # a run that cannot be read: nothing stays patched
            self._hooks.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)
        # Hooks and recorder refer to each other: that circle must not keep a loader's workers waiting.
        self.run = self._memory = None

    # --- the make-up of the run ----------------------------------------------------------------------------------

    def _look_anew(self) -> None:
        """Find the run's parameters, optimizers and their names: at first, and when its make-up has changed."""
        live = walk(run_roots(self.run))
        self._optimizers = live.optimizers
        self._parameters = trainable(live)
        self._paths = {id(parameter): path for path, parameter in self._parameters.items()}
        self._by_id = {id(parameter): parameter for parameter in self._parameters.values()}
        self._all_parameters = [p for module in live.modules.values() for p in module.parameters()]
        self._module_names = {
            id(inner): f"{path}.{name}" if name else path
            for path, root in live.modules.items()
            for name, inner in root.named_modules()
        }
        self._hooks.watch_gradients(self._parameters.values())
        self._trained = sum([parameter.requires_grad for parameter in self._all_parameters])
        self._shape = self._make_up()
        self._read = {id(parameter): reader(parameter) for parameter in self._parameters.values()}

    def _make_up(self) -> list[int]:
        """Identities of the run's objects and of its optimizers' parameters; cheap enough for every step."""
        objects = [id(value) for value in run_roots(self.run).values() if type(value) not in PLAIN_SCALARS]
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                objects += map(id, group["params"])
        return objects

    def _has_changed(self) -> bool:
        """Whether the run has other objects, or trains other parameters, than when it was last walked."""
        trained = sum([parameter.requires_grad for parameter in self._all_parameters])
        return trained != self._trained or self._make_up() != self._shape

    # --- a step --------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do one step of the run and record it; False where training is over.

        Raises:
            RuntimeError: the context is not open.
        """
        run, memory = self.run, self._memory
        if run is None or memory is None:
            raise RuntimeError("the recorder is closed: call step() inside `with Recorder(run) as recorder:`")
        if self._make_up() != self._shape:  # between two steps; within one, more is compared
            self._look_anew()
        self._events = []
        self._options = self._group_options()
        self._hooks.listening = True
        try:
            loss = run.step()
        except StopIteration:
            self.trace.finished = True
            return False
        finally:
            self._hooks.listening = False
        self._done += 1
        if self._has_changed():
            self._look_anew()
        self._note_options()
        self._note_unseen_updates()
        loss = _as_float(loss)
        if loss is not None and not any("loss" in event.digests for event in self._events):
            self._note(self._event("forward"), "loss", loss)
        effects = self._finished_effects()
        self._keep_values()
        self.trace.steps.append(Step(self._done, loss, self._learning_rates(), effects, memory.changes()))
        self.trace.unseen = tuple(phase for phase in _EXPECTED_PHASES if phase not in self._seen)
        return True

    def _keep_values(self) -> None:
        if not self._wanted:
            return
        wanted = {path: self._parameters[path].detach() for path in select(self._wanted, self._parameters)}
        self._kept_bytes += sum(parameter.nbytes for parameter in wanted.values())
        if self._kept_bytes > VALUES_LIMIT:
            self._wanted, self.values = (), {}
        else:
            self.values[self._done] = {path: parameter.to("cpu", copy=True) for path, parameter in wanted.items()}

    def _finished_effects(self) -> tuple[Effect, ...]:
        """The events of the step: those after its last update named `epoch_end`, repeated ones numbered."""
        updates = [index for index, event in enumerate(self._events) if event.phase == "update"]
        last_update = updates[-1] if updates else len(self._events)
        count: Counter[str] = Counter()
        effects = []
        for index, event in enumerate(self._events):
            phase = "epoch_end" if index > last_update and event.phase != "schedule" else event.phase
            self._seen.add(event.phase)
            count[phase] += 1
            name = phase if count[phase] == 1 else f"{phase}[{count[phase]}]"
            effects += [Effect(name, leaf, value) for leaf, value in event.digests.items()]
            for leaf, value in event.kept.items():
                if self._keep == (self._done, name, leaf):
                    self.kept = value
        return tuple(effects)

    @property
    def reached(self) -> str:
        """The phase that the present step came to, for a step that raised."""
        return self._events[-1].phase if self._events else "batch"

    def facts(self) -> Facts:
        """What distinguishes a test from an empty one, so far."""
        changed = any(digest_tensor(p) != self._first.get(path) for path, p in self._parameters.items())
        trainable = {path: parameter.numel() for path, parameter in self._parameters.items()}
        dropped = self._kept_bytes > VALUES_LIMIT
        return {"trainable": trainable, "gradients": self._gradients, "changed": changed, "values_dropped": dropped}

    # --- events --------------------------------------------------------------------------------------------------

    def _event(self, phase: str) -> _Event:
        """The event to write into: forward calls that follow each other are one, everything else is its own."""
        if not (self._events and phase == "forward" == self._events[-1].phase):
            self._events.append(_Event(phase))
        return self._events[-1]

    def _note(self, event: _Event, leaf: str, value: Value) -> None:
        """Add a value's digest to an event; a leaf named twice in it is numbered, as phases are."""
        read = self._read.get(id(value))
        if leaf in event.digests:
            number = 2
            while f"{leaf}[{number}]" in event.digests:
                number += 1
            leaf = f"{leaf}[{number}]"
        try:
            event.digests[leaf] = digest(value) if read is None else read()
        except TypeError:  # arrays of Python objects, whose bytes are addresses
            return
        if self._keep is not None and self._keep[0] == self._done + 1 and self._keep[2] == leaf:
            event.kept[leaf] = value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value

    def _on_batch(self, batch: Value) -> None:
        self._note_options()
        event = self._event("batch")
        for path, value in flatten(batch):
            self._note(event, f"batch{path}", value)

    def _on_output(self, module: torch.nn.Module, output: Value) -> None:
        self._note_options()
        event = self._event("forward")
        name = self._module_names.get(id(module), type(module).__name__)
        for path, value in flatten(output):
            self._note(event, f"outputs/{name}{path}", value)

    def _on_loss(self, loss: Value) -> None:
        self._note_options()
        event = self._event("forward")
        for path, value in flatten(loss):
            self._note(event, f"loss{path}", value)

    def _on_gradients(self, arrived: list[int]) -> None:
        event = self._event("backward")
        # The gradient of a watched parameter that did not arrive is left over from an earlier backward.
        unwatched = [key for key in self._by_id if key not in self._hooks.watched] if arrived else self._by_id
        for key in dict.fromkeys((*arrived, *unwatched)):
            gradient = self._by_id[key].grad if key in self._by_id else None
            if gradient is not None:
                if not self._gradients:
                    self._gradients = bool(gradient.any())
                self._note(event, f"{self._paths[key]}/grad", gradient)

    def _on_update(self, optimizer: torch.optim.Optimizer) -> None:
        event = self._event("update")
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                unnamed = f"{type(optimizer).__name__}/group.{index}.params.{position}"
                self._note(event, self._paths.get(id(parameter), unnamed), parameter)
        self._options = None  # to be read when something else happens, so that a schedule is seen in its place

    def _note_unseen_updates(self) -> None:
        """Digest the trainable parameters that no optimizer's step was seen for, after the last backward or update."""
        seen = {leaf for event in self._events if event.phase == "update" for leaf in event.digests}
        rest = {path: parameter for path, parameter in self._parameters.items() if path not in seen}
        if not rest:
            return
        places = [index + 1 for index, event in enumerate(self._events) if event.phase in ("backward", "update")]
        event = _Event("update")
        self._events.insert(places[-1] if places else len(self._events), event)
        for path, parameter in rest.items():
            self._note(event, path, parameter)

    def _group_options(self) -> dict[str, Value]:
        """Every option of every parameter group by path, as comparable values."""
        return {
            f"{path}/group.{index}/{option}": digest(value) if isinstance(value, torch.Tensor) else value
            for path, optimizer in self._optimizers.items()
            for index, group in enumerate(optimizer.param_groups)
            for option, value in group.items()
            if option != "params" and not callable(value)
        }

    def _note_options(self) -> None:
        """A `schedule` event after each update, and wherever else the group options have changed."""
        groups = [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]
        values = [value for group in groups for option, value in group.items() if option != "params"]
        if self._options is not None and self._same_options(values):
            return
        self._option_values = values
        now = self._group_options()
        if now != self._options:
            self._options = now
            event = self._event("schedule")
            for path, value in now.items():
                self._note(event, path, value)

    def _same_options(self, values: list[Value]) -> bool:
        """Whether these are the very same values as before, and cannot change in place."""
        before = self._option_values
        return (
            len(values) == len(before)
            and all(map(operator.is_, values, before))
            and all(type(value) in PLAIN_SCALARS or type(value) is tuple for value in values)
        )

    def _learning_rates(self) -> tuple[float, ...]:
        groups = (group for optimizer in self._optimizers.values() for group in optimizer.param_groups)
        return tuple(float(group["lr"]) for group in groups if "lr" in group)


def trainable(live: Leaves) -> dict[str, torch.Tensor]:
    """Trainable parameters by path, in the order of the optimizers, then those of no optimizer."""
    by_id = {id(leaf.value): path for path, leaf in live.items() if leaf.role == "parameter"}
    in_order: dict[str, torch.Tensor] = {}
    for path, optimizer in live.optimizers.items():
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                in_order.setdefault(by_id.get(id(parameter), f"{path}/group.{index}.params.{position}"), parameter)
    for path, leaf in live.items():
        if leaf.role == "parameter" and isinstance(leaf.value, torch.Tensor) and leaf.value.requires_grad:
            in_order.setdefault(path, leaf.value)
    return in_order


def _as_float(loss: Value) -> float | None:
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return float(loss.detach())
    return float(loss) if isinstance(loss, (int, float)) else None
