"""Optimizers that come back as others."""

import random
from typing import Any

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate, samples

MOMENTS = ("optimizer/*/step", "optimizer/*/exp_avg", "optimizer/*/exp_avg_sq")


@fault(
    "opt-missing",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix='self.optimizer.load_state_dict(state["optimizer"])',
    threads=("NM512/dreamerv3-torch#38", "NVlabs/stylegan2-ada-pytorch#108"),
)
class Missing(ConstantRate):
    """The optimizer is saved and never loaded. Its moments begin at zero again, so the first steps after resuming are
    those of a training that has just begun: a spike of the loss."""

    def load_optimizer(self, state: dict) -> None:
        pass


@fault(
    "opt-wrong-object",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix="self.saved_optimizer = self.optimizer  # after the optimizer was made anew",
    threads=("CodefyUI/CodefyUI#147",),
)
class WrongObject(ConstantRate):
    """What is saved is an optimizer that never stepped. Another was made after the saver had got its reference, and the
    state in the file is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.saved_optimizer = self.optimizer
        self.optimizer = self.make_optimizer()

    def state(self) -> dict:
        return {**super().state(), "optimizer": self.saved_optimizer.state_dict()}


@fault(
    "opt-trainable-shift",
    verdict="DIFFERENT",
    step=4,
    phase="backward",
    # Every step count is 3: those need not be put back.
    causes=(("model/*/requires_grad", "optimizer/group.0/params", "optimizer/*/exp_avg", "optimizer/*/exp_avg_sq"),),
    fix='self.model[4].requires_grad_(False)  # before make_optimizer(); save the names with state["optimizer"]',
    threads=("allenai/allennlp#5465",),
)
class TrainableShift(ConstantRate):
    """Other layers are frozen after resuming, and as many as before. An optimizer's state goes by position, so each
    layer gets the moments of its neighbour, and nothing complains."""

    frozen = 4

    def make_model(self) -> nn.Module:  # (n, 8) -> (n, 8): layers of one shape
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Dropout(self.dropout), nn.Linear(8, 8))

    def make_optimizer(self) -> torch.optim.Optimizer:
        self.model.requires_grad_(True)
        self.model[self.frozen].requires_grad_(False)
        return torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-2)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(self.model(inputs)[:, :3], targets)

    def load_optimizer(self, state: dict) -> None:
        self.frozen = 0
        self.optimizer = self.make_optimizer()
        super().load_optimizer(state)


@fault(
    "opt-lazy-template",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix='self.optimizer.load_state_dict(state["optimizer"])  # whole, not key by key',
    threads=("KempnerInstitute/KempnerForge#115",),
)
class LazyTemplate(ConstantRate):
    """The loader fills in what the fresh optimizer has. AdamW makes its moments at the first step, so a fresh one has
    none, and none are loaded."""

    def load_optimizer(self, state: dict) -> None:
        template = self.optimizer.state_dict()
        template["state"] = {key: state["optimizer"]["state"][key] for key in template["state"]}
        self.optimizer.load_state_dict(template)


@fault(
    "opt-step-lost",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/*/step",),),
    fix='kept = {key: value for key, value in moments.items()}  # "step" with the rest',
    threads=("deepspeedai/DeepSpeed#4396",),
)
class StepLost(ConstantRate):
    """The moments are saved, the number of steps is not. Adam divides by a bias correction that depends on it, so full
    moments are taken for those of a first step."""

    def state(self) -> dict:
        state = super().state()
        moments = state["optimizer"]["state"]
        kept = {key: {**moment, "step": torch.zeros(())} for key, moment in moments.items()}
        return {**state, "optimizer": {**state["optimizer"], "state": kept}}


@fault(
    "opt-hparam-override",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.0/lr",),),
    fix="# leave the groups as load_state_dict() has set them, or write down that the rate was lowered",
    threads=("pytorch/pytorch#156846",),
)
class HparamOverride(ConstantRate):
    """The options of the configuration are written over the loaded ones. `load_state_dict` takes all options from the
    file, so scripts set theirs again after it, and undo what the run itself had changed."""

    def after_update(self) -> None:
        if self.steps == 1:
            self.optimizer.param_groups[0]["lr"] = 1e-3  # lowered by hand, as the loss was unsteady

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        self.optimizer.param_groups[0]["lr"] = 1e-2


@fault(
    "opt-rebind-wipes",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix="self.optimizer = self.make_optimizer()  # before super().load(path)",
    threads=("OpenNMT/OpenNMT-py#38",),
)
class RebindWipes(ConstantRate):
    """The optimizer is made anew after its state was loaded. That is done so that it holds the parameters of the loaded
    model, and the state goes with the old one."""

    def load(self, path: str) -> None:
        super().load(path)
        self.optimizer = self.make_optimizer()


@fault(
    "opt-alias",
    verdict="DIFFERENT",
    step=4,
    phase="update[2]",
    causes=(("optimizer_of_twin/*/step", "optimizer_of_twin/*/exp_avg", "optimizer_of_twin/*/exp_avg_sq"),),
    fix="self.optimizer_of_twin.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))",
    threads=("pytorch/pytorch#196083", "pytorch/pytorch#147288"),
)
class Alias(ConstantRate):
    """A second optimizer was loaded from the first one's live `state_dict`. They share their moments from then on, and
    each step of one spoils the other; after resuming they share them no longer. Here the uninterrupted run is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = self.make_model()
        self.optimizer_of_twin = torch.optim.AdamW(self.twin.parameters(), lr=1e-2)

    def step(self) -> float:
        if self.steps == 2:  # the twin is branched off
            self.twin.load_state_dict(self.model.state_dict())
            self.optimizer_of_twin.load_state_dict(self.optimizer.state_dict())
        loss = super().step()
        inputs, targets = samples().tensors
        self.optimizer_of_twin.zero_grad()
        nn.functional.mse_loss(self.twin(inputs), targets).backward()
        self.optimizer_of_twin.step()
        return loss

    def save(self, path: str) -> None:
        super().save(path)
        twin = {"model": self.twin.state_dict(), "optimizer": self.optimizer_of_twin.state_dict()}
        torch.save(twin, f"{path}.twin")

    def load(self, path: str) -> None:
        twin = torch.load(f"{path}.twin")
        self.twin.load_state_dict(twin["model"])
        self.optimizer_of_twin.load_state_dict(twin["optimizer"])
        super().load(path)


@fault(
    "opt-orphaned",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.0/params",),),
    fix='self.model.load_state_dict(state["model"])  # or make the optimizer after this',
    threads=("pytorch/pytorch#102212", "pytorch/tutorials#2522"),
)
class Orphaned(ConstantRate):
    """The model's parameters are replaced by those of the file, with `assign=True`. The optimizer was made before, and
    goes on stepping tensors that no model uses any more: the loss is that of the checkpoint, for ever."""

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"], assign=True)


class Unordered(ConstantRate):
    """A run of many layers, whose parameters come in another order each time, as those of a set do in each process."""

    def unordered(self) -> list[nn.Parameter]:
        """The parameters as `set(self.model.parameters())` has them, but never twice in one order by chance."""
        parameters = list(self.model.parameters())
        random.SystemRandom().shuffle(parameters)
        return parameters

    def make_model(self) -> Any:
        layers = (layer for _ in range(12) for layer in (nn.Linear(8, 8, bias=False), nn.Tanh()))
        return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(3))  # all of one shape: nothing complains


@fault(
    "opt-set-of-parameters",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/group.0/params",),),
    fix="torch.optim.AdamW(self.model.parameters(), lr=1e-2)",
)
class SetOfParameters(Unordered):
    """The parameters are given to the optimizer as a set, which has another order in each process. As long as a run
    goes on, that changes nothing. A saved optimizer knows its parameters by position alone, so after loading most of
    them have the moments of another."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.unordered(), lr=1e-2)


@fault(
    "tensors-replaced",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.1/params",),),
    fix='self.codes.data.copy_(state["codes"])',
)
class TensorsReplaced(ConstantRate):
    """A tensor that is trained beside the model is saved, and loaded as a tensor of its own. Its values are right, and
    the optimizer goes on to step the one that the run no longer has."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        self.codes = torch.zeros(8, requires_grad=True)
        groups: list[dict[str, Any]] = [{"params": self.model.parameters()}, {"params": [self.codes]}]
        return torch.optim.AdamW(groups, lr=1e-2)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs + self.codes, targets)

    def state(self) -> dict:
        return {**super().state(), "codes": self.codes.detach()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.codes = state["codes"].clone().requires_grad_()
