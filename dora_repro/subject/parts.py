"""The parts of a training run that a checkpoint holds: each gives its state, and takes it back.

    dora       the trainable parameters, by model name            `TrainedParameters`
    optimizer  its state by parameter name, and its groups        `OptimizerByName`
    scheduler  its counters                                       `Schedule`
    progress   epochs and steps done, early stopping, histories   `Progress`
    data       the loader's two generators and its place          `feeding.Feed`
    rng        the global generators of Python, numpy and torch   `generators.GlobalGenerators`

A part knows one thing of a run and not the run: as in torchsnapshot it is `Stateful`, two methods, and here a third
that refuses a state before anything is changed. Files are `checkpoints.py`'s.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, no_grad, strided
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.contracts import Value
from dora_repro.errors import BadInput
from dora_repro.subject.fitting import StateDict, rehearse, rehearse_schedule, require_kind, require_numbers
from dora_repro.wording import counted

PROGRESS = (
    "epoch", "steps_done", "best_validation_loss", "epochs_without_improvement", "finished",
    "losses", "validation_losses",
)  # fmt: skip  # a list of names


class Stateful(Protocol):
    """What has a state to save."""

    def state_dict(self) -> StateDict | None:
        """The state, as plain data that later steps leave alone; None where there is nothing to have one."""

    def load_state_dict(self, state: StateDict | None) -> None:
        """Take back what `state_dict` gave."""


class Part(Stateful, Protocol):
    """A part of a checkpoint."""

    def check(self, state: StateDict | None, path: str) -> None:
        """Refuse a state that `load_state_dict` cannot take; changes nothing.

        Args:
            state: as it was read from a file: it may be anything.
            path: of the file, for the message.

        Raises:
            BadInput: it does not fit, and why.
            Exception: another one: it is no whole state at all, or torch cannot go on from it.
        """


def trained_parameters(model: Module) -> dict[str, Parameter]:
    """The parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


class TrainedParameters:
    """The trainable parameters of a model.

    Args:
        trained: these, by name.
    """

    def __init__(self, trained: Mapping[str, Parameter]) -> None:
        self.trained = trained

    def state_dict(self) -> StateDict:
        return {name: parameter.detach().cpu().clone() for name, parameter in self.trained.items()}

    def load_state_dict(self, state: StateDict | None) -> None:
        with no_grad():
            for name, tensor in (state or {}).items():
                self.trained[name].copy_(tensor)

    def check(self, state: StateDict | None, path: str) -> None:
        for name, tensor in _given(state).items():
            check_tensor(self.trained, name, tensor, path)
        if not state:
            raise BadInput(f"{path} holds no DoRA parameter at all")


class OptimizerByName:
    """An optimizer's state by parameter name, never by position, and the options of its groups.

    Args:
        optimizer: whose state it is.
        trained: the parameters that it steps, by name.
    """

    def __init__(self, optimizer: Optimizer, trained: Mapping[str, Parameter]) -> None:
        self.optimizer, self.trained = optimizer, trained
        self._names = {id(parameter): name for name, parameter in trained.items()}

    def state_dict(self) -> StateDict:
        groups = [{**group, "params": self._in_group(group)} for group in self.optimizer.param_groups]
        state = {self._names[id(parameter)]: copied(dict(kept)) for parameter, kept in self.optimizer.state.items()}
        return {"kind": type(self.optimizer).__name__, "state": state, "groups": groups}

    def load_state_dict(self, state: StateDict | None) -> None:
        """Hand the optimizer torch's form of a state, for the order of parameters that it has here."""
        self.optimizer.load_state_dict(self._of_torch(_given(state)))

    def _of_torch(self, given: StateDict) -> StateDict:
        order = [name for group in self.optimizer.param_groups for name in self._in_group(group)]
        position = {name: index for index, name in enumerate(order)}
        groups = [{**group, "params": [position[name] for name in group["params"]]} for group in given["groups"]]
        entries = {position[name]: copied(kept) for name, kept in given["state"].items()}
        return {"state": entries, "param_groups": groups}

    def check(self, state: StateDict | None, path: str) -> None:
        given, kind = _given(state), type(self.optimizer).__name__
        if given["kind"] != kind:
            raise BadInput(f"{path} holds the state of {given['kind']}, and this run has {kind}; use the same")
        names = [name for group in given["groups"] for name in group["params"]]
        if sorted(names) != sorted(self.trained) or len(given["groups"]) != len(self.optimizer.param_groups):
            raise BadInput(f"{path}: the optimizer's state is of other parameters than this model trains")
        for number, (group, own) in enumerate(zip(given["groups"], self.optimizer.param_groups, strict=True)):
            options = {option: value for option, value in group.items() if option in own and option != "params"}
            require_kind(options, {option: own[option] for option in options}, f"group {number}")
            if not all(0 <= beta < 1 for beta in group.get("betas", ())):  # as the optimizer itself, when it is made
                raise ValueError(f"group {number} has the betas {group['betas']}")
        for name, kept in given["state"].items():
            for key, value in kept.items():
                if isinstance(value, Tensor) and value.dim():
                    check_tensor({f"{name}/{key}": self.trained[name]}, f"{name}/{key}", value, path)
        rehearse(self.optimizer, self._of_torch(given))

    def _in_group(self, group: Mapping[str, Any]) -> list[str]:
        return [self._names[id(parameter)] for parameter in group["params"]]


class Schedule:
    """The counters of a learning-rate schedule.

    Args:
        scheduler: None where the run has none.
        name: of the schedule, as the run's configuration calls it.
    """

    REHEARSED = 1000  # steps: their formula is another at the first ones, and may divide by zero at a later one

    def __init__(self, scheduler: LRScheduler | None, name: str) -> None:
        self.scheduler, self.name = scheduler, name

    def state_dict(self) -> StateDict | None:
        return None if self.scheduler is None else dict(self.scheduler.state_dict())

    def load_state_dict(self, state: StateDict | None) -> None:
        if self.scheduler is not None:
            self.scheduler.load_state_dict(_given(state))

    def check(self, state: StateDict | None, path: str) -> None:
        if (state is None) != (self.scheduler is None):
            saved = "no scheduler" if state is None else "a scheduler"
            raise BadInput(f"{path} was saved with {saved}; this run has scheduler={self.name!r}; use the same")
        if self.scheduler is not None:
            require_kind(state, self.state_dict(), "scheduler")
            rehearse_schedule(self.scheduler, _given(state), self.REHEARSED)


class Progress:
    """How far training has come: the attributes of PROGRESS.

    Args:
        owner: whose attributes they are.
        batches: in an epoch.
    """

    def __init__(self, owner: Value, batches: int) -> None:
        self.owner, self.batches = owner, batches

    def state_dict(self) -> StateDict:
        return {name: copied(getattr(self.owner, name)) for name in PROGRESS}

    def load_state_dict(self, state: StateDict | None) -> None:
        given = _given(state)
        for name in PROGRESS:
            setattr(self.owner, name, copied(given[name]))

    def check(self, state: StateDict | None, path: str) -> None:
        given = _given(state)
        done = {name: given[name] for name in PROGRESS}
        for name in ("losses", "validation_losses"):
            require_numbers(done[name], name)
        plain = {name: value for name, value in done.items() if not name.endswith("losses")}
        require_kind(plain, {name: getattr(self.owner, name) for name in plain}, "progress")
        if min(done["epoch"], done["epochs_without_improvement"]) < 0:
            raise ValueError("it counts below zero")
        if not 0 <= done["steps_done"] - done["epoch"] * self.batches < self.batches:
            steps, epochs = counted(done["steps_done"], "step"), counted(done["epoch"], "epoch")
            raise BadInput(
                f"{path} has done {steps} in {epochs}, and an epoch of this run has {self.batches}; "
                "use the same data, batch_size and steps_per_epoch"
            )


def check_tensor(trained: Mapping[str, Tensor], name: str, tensor: Value, path: str) -> None:
    """Refuse a tensor that is not one of the model's, or of a different shape.

    Args:
        trained: the model's, by name.
        name: what the file calls it.
        tensor: what the file holds; it may be anything.
        path: of the file, for the message.

    Raises:
        BadInput: such a tensor.
    """
    if name not in trained:
        raise BadInput(
            f"{path} holds {name!r}, which this model does not train; "
            "is it of the same size, vision_dora and text_dora?"
        )
    wanted = tuple(trained[name].shape)
    got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    if isinstance(tensor, Tensor) and not (tensor.is_floating_point() and tensor.layout is strided):
        raise BadInput(
            f"{path}: {name} is of {tensor.dtype}, and the model's of {trained[name].dtype}; save it as that"
        )
    if got != wanted:
        raise BadInput(
            f"{path}: {name} has the shape {got}, the model's has {wanted}; is it of the same size and rank?"
        )


def copied(value: Value) -> Value:
    """Plain containers copied, tensors cloned, so that what is written cannot change while it is written."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def _given(state: StateDict | None) -> StateDict:
    """The state, where a part needs one."""
    if state is None:
        raise TypeError("None where a state belongs")
    return state
