"""Buffers that come back wrong: what a model computes with, that no optimizer steps."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate, samples


def validate(model: nn.Module) -> float:
    """The loss on all samples, in evaluation mode."""
    inputs, targets = samples().tensors
    model.eval()
    with torch.no_grad():
        loss = nn.functional.mse_loss(model(inputs), targets).item()
    model.train()
    return loss


class Normalised(ConstantRate):
    """With batch normalisation: in training mode each batch is normalised by itself, and running averages are kept."""

    momentum: float | None = 0.1

    def make_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, momentum=self.momentum), nn.ReLU(), nn.Linear(16, 3))

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"], strict=False)


@fault(
    "buffers-lost",
    verdict="LATENT",
    causes=(("model/1.running_mean", "model/1.running_var", "model/1.num_batches_tracked"),),
    fix='{"model": self.model.state_dict()}  # buffers as well',
    threads=("torch/nn#1165", "vlomonaco/ar1-pytorch#1"),
)
class BuffersLost(Normalised):
    """Only parameters are saved, and the running averages of batch normalisation are buffers. Training never reads
    them, so that every loss is right and the finished model is wrong wherever it is used in evaluation mode."""

    def state(self) -> dict:
        return {**super().state(), "model": dict(self.model.named_parameters())}


@fault(
    "buffers-lost-eval",
    verdict="DIFFERENT",
    step=4,
    phase="epoch_end",
    causes=(("model/1.running_mean", "model/1.running_var"),),
    steps=9,
    fix='{"model": self.model.state_dict()}  # buffers as well',
    threads=("torch/nn#1165", "vlomonaco/ar1-pytorch#1"),
)
class BuffersLostInEvaluation(BuffersLost):
    """The same loss of running averages, in a run whose learning rate falls when the validation loss does not.
    Validation reads the averages, and so what training never looked at decides how it goes on."""

    def make_scheduler(self) -> LRScheduler:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=0)

    def after_update(self) -> None:
        pass

    def end_epoch(self) -> None:
        self.scheduler.step(validate(self.model))


@fault(
    "bn-counter",
    verdict="DIFFERENT",
    step=4,
    phase="epoch_end",
    causes=(("model/1.num_batches_tracked",),),
    fix='{"model": self.model.state_dict()}  # whole, with num_batches_tracked',
)
class BatchNormCounter(Normalised):
    """A converter leaves out `num_batches_tracked`, which looks like bookkeeping. With `momentum=None` the running
    averages are plain means over all batches, and that counter is their weight: the first batch after resuming replaces
    all that was averaged."""

    momentum = None

    def state(self) -> dict:
        state = super().state()
        kept = {key: value for key, value in state["model"].items() if not key.endswith("num_batches_tracked")}
        return {**state, "model": kept}

    def end_epoch(self) -> None:
        self.validation_loss = validate(self.model)


class Quantised(nn.Module):
    """A frozen linear layer in 8 bits: codes from -127 to 127, and a scale for each row."""

    codes: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", torch.empty(weight.shape, dtype=torch.int8))  # (out, in)
        self.register_buffer("scale", torch.empty(len(weight), 1))  # (out, 1)
        self.quantise(weight)

    def quantise(self, weight: torch.Tensor) -> None:
        self.scale.copy_(weight.detach().abs().amax(dim=1, keepdim=True) / 127)
        self.codes.copy_(torch.round(weight.detach() / self.scale))

    @property
    def weight(self) -> torch.Tensor:
        return self.codes * self.scale

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.weight.T


@fault(
    "quant-state",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/0.scale",),),
    fix='{"codes": layer.codes, "scale": layer.scale}  # as they are; quantise once',
    threads=("bitsandbytes-foundation/bitsandbytes#1946", "NVIDIA/Megatron-LM#6666"),
)
class QuantisedTwice(ConstantRate):
    """A quantised base is saved as the fp16 weights it stands for and quantised again by the loader. The codes come out
    the same and the scales do not, since the greatest weight of each row was rounded: the frozen part moves."""

    def make_model(self) -> nn.Module:
        rest = nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(16, 3)
        return nn.Sequential(Quantised(nn.Linear(8, 16).weight), *rest)

    def state(self) -> dict:
        return {**super().state(), "base": self.model[0].weight.half(), "model": self.model[1:].state_dict()}

    def load_model(self, state: dict) -> None:
        self.model[0].quantise(state["base"].float())
        self.model[1:].load_state_dict(state["model"])


class Centred(nn.Module):
    """Takes a running mean of its inputs away from them, while training as well."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.mean.lerp_(inputs.mean(dim=0), 0.1)
        return inputs - self.mean


@fault(
    "buffer-not-persistent",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/0.mean",),),
    fix='self.register_buffer("mean", torch.zeros(8))  # persistent, as is the default',
)
class BufferNotPersistent(ConstantRate):
    """A buffer that changes is registered with `persistent=False`, which is meant for what can be computed again. It is
    in no state dict, so that a strict load of the whole model succeeds without it."""

    def make_model(self) -> nn.Module:
        return nn.Sequential(Centred(), super().make_model())


@fault(
    "spectral-norm-vector",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/0.parametrizations.weight.0._v",),),
    fix='{"model": self.model.state_dict()}  # its buffers are part of it',
)
class SpectralNormVector(ConstantRate):
    """Only parameters are saved. Spectral normalisation divides by an estimate of the greatest singular value, one
    power iteration better each step, and the estimate's vectors are buffers: after resuming it is poorer."""

    def make_model(self) -> nn.Module:
        model = super().make_model()
        spectral_norm(model[0])
        return model

    def state(self) -> dict:
        return {**super().state(), "model": dict(self.model.named_parameters())}

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"], strict=False)
