"""Moving averages and other copies of weights, and what such a copy said: lost, mixed up, or made anew."""

import copy

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate, Training, samples

WEIGHTS = ("model/*.weight", "model/*.bias")


class Average:
    """An exponential moving average of a model's parameters, quick at first: after u updates it keeps (1+u)/(10+u)."""

    def __init__(self, model: nn.Module, decay: float = 0.99) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for kept, new in zip(self.module.parameters(), model.parameters(), strict=True):
            kept.lerp_(new, 1 - keep)


class Averaging(Training):
    """The clean run with an average of its weights, which is saved whole."""

    def __init__(self) -> None:
        super().__init__()
        self.ema = Average(self.model)

    def after_update(self) -> None:
        super().after_update()
        self.ema.update(self.model)

    def state(self) -> dict:
        return {**super().state(), "ema": self.ema.module.state_dict(), "updates": self.ema.updates}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.ema.module.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]


@fault(
    "ema-missing",
    verdict="LATENT",
    causes=(("ema/module/*", "ema/updates"),),
    fix='self.ema.module.load_state_dict(state["ema"])',
    threads=("ai2cm/ace#349",),
)
class Missing(Averaging):
    """The average is not saved and restarts from the raw weights. Training never looks at it, so every loss is the
    same; what is evaluated and shipped at the end is another model."""

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.ema = Average(self.model)


@fault(
    "ema-counter",
    verdict="DIFFERENT",
    step=4,
    phase="epoch_end",
    causes=(("ema/updates",),),
    fix='self.ema.updates = state["updates"]',
    threads=("lightly-ai/lightly-train#892",),
)
class Counter(Averaging):
    """The average is saved, the number of its updates is a plain int that no state dict knows. Its decay warms up once
    more after a resume, and a few steps of raw weights wipe out what had been averaged."""

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])

    @torch.no_grad()
    def end_epoch(self) -> None:
        self.ema.module.eval()
        inputs, targets = samples().tensors
        self.validation_loss = nn.functional.mse_loss(self.ema.module(inputs), targets).item()


@fault(
    "ema-deepcopy",
    verdict="LATENT",
    causes=(("shadow/*",),),
    fix='self.shadow.load_state_dict(state["shadow"])',
)
class DeepCopied(Training):
    """The average is a deep copy of the model, whose parameters still ask for gradients. No gradient reaches them and
    no optimizer has them: they are memory, and to lose them changes no step of the training."""

    def __init__(self) -> None:
        super().__init__()
        self.shadow = copy.deepcopy(self.model)

    @torch.no_grad()
    def after_update(self) -> None:
        super().after_update()
        for kept, new in zip(self.shadow.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(new, 0.1)

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.shadow.load_state_dict(state["model"])


@fault(
    "ema-as-raw",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(WEIGHTS,),
    fix='{"model": self.model.state_dict(), "ema": self.ema.module.state_dict()}',
    threads=("Megvii-BaseDetection/YOLOX#1318", "ultralytics/yolov5#310", "Vchitect/Latte#55"),
)
class AsRaw(Averaging):
    """The checkpoint holds the averaged weights alone, since those are shipped, and training resumes from them. The
    loss even improves at once; but the optimizer's moments belong to other weights, and the trajectory is another."""

    def state(self) -> dict:
        return {**super().state(), "model": self.ema.module.state_dict()}


@fault(
    "ema-swap",
    verdict="DIFFERENT",
    step=3,
    phase="save",
    causes=(WEIGHTS,),
    fix="self.model.load_state_dict(raw)  # after saving",
    threads=("harubaru/waifu-diffusion#31", "atomistic-machine-learning/schnetpack#785"),
)
class Swap(Averaging):
    """To save the averaged weights they are copied into the model, and not taken out again. Training goes on from the
    average after every save, so how often one saves decides how the run goes."""

    def save(self, path: str) -> None:
        self.model.load_state_dict(self.ema.module.state_dict())
        super().save(path)


class Window(Training):
    """The clean run with a list of its latest weights, at most three, to be averaged at the end; saved whole."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: list[torch.Tensor] = []

    def after_update(self) -> None:
        super().after_update()
        self.latest.append(nn.utils.parameters_to_vector(self.model.parameters()).detach())
        del self.latest[:-3]

    def state(self) -> dict:
        return {**super().state(), "latest": self.latest}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.latest = state["latest"]


@fault(
    "avg-window-missing",
    verdict="LATENT",
    causes=(("latest/*",), ("latest",)),
    steps=5,
    save_at=3,
    fix='self.latest = state["latest"]',
)
class WindowMissing(Window):
    """The latest weights are gathered in a list that begins empty, and the list is not loaded. Training never looks at
    it; an average that is taken before it has filled up again is one of fewer weights."""

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.latest = []


@fault(
    "ema-in-a-hook",
    verdict="LATENT",
    causes=(("optimizer/step_post_hooks.0/*kept/*",),),
    fix="self.kept = kept  # and save it by that name",
)
class InAHook(Training):
    """The average is kept in the closure of a hook that the optimizer calls after each step. Nothing of the run refers
    to it, so nothing saves it, and it begins anew."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        optimizer, model = super().make_optimizer(), self.model
        kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

        @torch.no_grad()
        def average(*called: object) -> None:
            for name, parameter in model.named_parameters():
                kept[name].lerp_(parameter, 0.1)

        optimizer.register_step_post_hook(average)
        return optimizer


class WithTarget(ConstantRate):
    """The clean run with a target network, as in reinforcement learning: it is learnt from, and follows at the end of
    an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.target = copy.deepcopy(self.model).eval().requires_grad_(False)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets + 0.5 * self.target(inputs))

    def end_epoch(self) -> None:
        self.target.load_state_dict(self.model.state_dict())

    def state(self) -> dict:
        return {**super().state(), "target": self.target.state_dict()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.target.load_state_dict(state["target"])


@fault(
    "target-network-resynced",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("target/*",),),
    fix='self.target.load_state_dict(state["target"])',
    threads=("hill-a/stable-baselines#93",),
)
class TargetResynced(WithTarget):
    """A target network is a copy of the model that lags behind on purpose. It is not loaded but copied from the loaded
    model, as at the start of a run: what the model learns from is ahead of what it was."""

    def load_model(self, state: dict) -> None:
        super().load_model({**state, "target": state["model"]})


@fault(
    "pseudo-labels-remade",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("labels",),),
    fix='self.labels = state["labels"]',
)
class PseudoLabelsRemade(ConstantRate):
    """A model labels samples once, after two steps, and then learns from these labels. They are thought to be easy to
    make again, and are not saved; the loaded model has learnt since, and makes others."""

    def __init__(self) -> None:
        super().__init__()
        self.unlabelled = samples(8).tensors[0] * 2
        self.labels = torch.zeros(8, 3)

    @torch.no_grad()
    def label(self) -> None:
        self.labels = self.model.eval()(self.unlabelled)
        self.model.train()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets) + super().loss(self.unlabelled, self.labels)

    def after_update(self) -> None:
        if self.steps == 1:
            self.label()

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.label()
