"""Low-rank adapters that come back incomplete, frozen, cast or on another base.

The layers are written by hand: W + scaling · B A (Hu et al. 2021), and with a magnitude, rows of that length in its
direction (Liu et al. 2024).
"""

from typing import Any

import torch
from torch import nn

from dora_repro.faults.buffers import validate
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate

FACTORS = ("model/*.lora_A", "model/*.lora_B")
RANK = 2


class LoRALinear(nn.Module):
    """A frozen linear layer with a low-rank update, and with the magnitude of DoRA if wanted."""

    def __init__(self, base: nn.Linear, alpha: float = 8.0, dora: bool = False) -> None:
        super().__init__()
        self.base, self.scaling = base, alpha / RANK
        self.add_adapter()
        self.magnitude = nn.Parameter(base.weight.detach().norm(dim=1, keepdim=True)) if dora else None  # (out, 1)

    def add_adapter(self) -> None:
        """New factors: A at random, B zero, so that the layer is still its base."""
        out_features, in_features = self.base.weight.shape
        self.lora_A = nn.Parameter(torch.randn(RANK, in_features) / RANK)  # (r, in)
        self.lora_B = nn.Parameter(torch.zeros(out_features, RANK))  # (out, r)

    def delta(self) -> torch.Tensor:
        return self.scaling * (self.lora_B @ self.lora_A)  # (out, in)

    def weight(self) -> torch.Tensor:
        weight = self.base.weight + self.delta().float()
        if self.magnitude is not None:
            weight = self.magnitude.float() * weight / weight.norm(dim=1, keepdim=True)
        return weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(inputs, self.weight(), self.base.bias)


class Finetuning(ConstantRate):
    """The clean run: the base comes from a hub and is frozen, the adapters are trained, saved and loaded."""

    dora = False

    def make_base(self) -> Any:  # a Sequential whose layers are known
        """What the hub gives: the same each time, whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(8, 3))

    def make_model(self) -> nn.Sequential:
        model = self.make_base().requires_grad_(False)
        model[0], model[3] = (LoRALinear(model[index], dora=self.dora) for index in (0, 3))
        return model

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-2)

    @property
    def adapters(self) -> tuple[LoRALinear, LoRALinear]:
        return self.model[0], self.model[3]

    def adapter_state(self) -> dict:
        return {name: p.detach() for name, p in self.model.named_parameters() if "lora_" in name or "magnitude" in name}

    def state(self) -> dict:
        return {**super().state(), "model": self.adapter_state()}

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"], strict=False)


@fault(
    "peft-frozen",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/0.lora_?/requires_grad", "model/2/training"),),
    fix="PeftModel.from_pretrained(base, path, is_trainable=True)",
    threads=("huggingface/peft#282", "huggingface/trl#6700"),
)
class Frozen(Finetuning):
    """The adapter is loaded as for inference, which is the default: frozen, and the model in evaluation mode. The head
    goes on learning, the loss falls, and the adapter stays as it is."""

    def make_model(self) -> nn.Sequential:
        model = self.make_base().requires_grad_(False)
        model[0] = LoRALinear(model[0])
        model[3].requires_grad_(True)
        return model

    def adapter_state(self) -> dict:
        return self.model.state_dict()

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.model[0].requires_grad_(False)
        self.model.eval()


@fault(
    "peft-base-thawed",
    verdict="DIFFERENT",
    step=4,
    phase="backward",
    causes=(("model/*.base.*/requires_grad",),),
    fix="base.requires_grad_(False)  # before the adapters are put on, on every path",
    threads=("Blaizzy/mlx-vlm#2178",),
)
class BaseThawed(Finetuning):
    """The path that starts a run freezes the base, and the one that resumes it does not. All of the model is trained
    from then on, many times the parameters, and the adapter no longer holds what was learnt."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=1e-2)

    def load_model(self, state: dict) -> None:
        self.model = self.make_base()
        self.model[0], self.model[3] = LoRALinear(self.model[0]), LoRALinear(self.model[3])
        self.optimizer = self.make_optimizer()
        super().load_model(state)


@fault(
    "peft-double-wrap",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=((*FACTORS, "optimizer/group.0/params"),),
    fix="# put adapters on once; load into those that are there",
    threads=("huggingface/lerobot#3459", "huggingface/diffusers#6514", "huggingface/diffusers#5840"),
)
class DoubleWrap(Finetuning):
    """Adapters are put on a model that has them. New ones take the place of those that were loaded, starting from zero,
    and the optimizer goes on with the old ones: nothing that the model computes with is trained any more."""

    def load(self, path: str) -> None:
        super().load(path)
        with torch.random.fork_rng(devices=[]):
            for layer in self.adapters:
                layer.add_adapter()


@fault(
    "peft-keys",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(FACTORS,),
    fix='{key.removeprefix("base_model.model."): value for key, value in state["model"].items()}',
    threads=("redai-studio/Relax#262", "huggingface/peft#2699"),
)
class Keys(Finetuning):
    """Adapters are exported under the PEFT library's names, with `base_model.model.` before them, and loaded by the
    model's own. Adapter files lack the base by design, so missing keys raise nothing, and B stays zero."""

    def adapter_state(self) -> dict:
        return {f"base_model.model.{name}": value for name, value in super().adapter_state().items()}


@fault(
    "peft-extra-params",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/3.base.weight", "model/3.base.bias"),),
    fix='LoraConfig(modules_to_save=["head"])',
    threads=("Nerogar/OneTrainer#351", "huggingface/peft#1383"),
)
class ExtraParameters(Finetuning):
    """The head was thawed by hand and trained with the adapters. An adapter file holds what belongs to adapters, so the
    head comes back as the hub has it."""

    def make_model(self) -> nn.Sequential:
        model = super().make_model()
        model[3].base.requires_grad_(True)
        return model


@fault(
    "peft-bn",
    verdict="DIFFERENT",
    step=4,
    phase="epoch_end",
    causes=(("model/1.running_mean", "model/1.running_var"),),
    fix='{"buffers": dict(self.model.named_buffers())}  # beside the adapter',
    threads=("huggingface/peft#1732",),
)
class BatchNorm(Finetuning):
    """The base is frozen and yet not still: its batch normalisation goes on averaging in training mode. An adapter file
    does not have these averages, and the same adapter on the hub's base evaluates to something else."""

    def make_base(self) -> Any:
        base = super().make_base()
        base[1] = nn.BatchNorm1d(8)
        return base

    def end_epoch(self) -> None:
        self.validation_loss = validate(self.model)


@fault(
    "peft-dtype",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=((*FACTORS, "optimizer/*/exp_avg", "optimizer/*/exp_avg_sq"),),
    fix="PeftModel.from_pretrained(base, path, is_trainable=True, autocast_adapter_dtype=False)",
    threads=("huggingface/peft#2421", "huggingface/peft#1090"),
)
class AdapterType(Finetuning):
    """Adapters trained in bf16 are loaded as fp32, which is the default. Each number is as it was, and its moments are
    cast along; from the first update on nothing is rounded as before."""

    def make_model(self) -> nn.Sequential:
        model = super().make_model()
        for layer in (model[0], model[3]):
            layer.lora_A.data, layer.lora_B.data = layer.lora_A.data.bfloat16(), layer.lora_B.data.bfloat16()
        return model

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for layer in self.adapters:
            layer.lora_A.data, layer.lora_B.data = layer.lora_A.data.float(), layer.lora_B.data.float()


@fault(
    "peft-merged",
    verdict="DIFFERENT",
    step=3,
    phase="save",
    causes=(("model/*.base.weight",),),
    fix="merged = copy.deepcopy(self.model)  # merge the copy",
    threads=("huggingface/peft#3498", "huggingface/trl#2873"),
)
class Merged(Finetuning):
    """To export a whole model, each save adds the adapter to the base and takes it away again. In floating point that
    is not the same base: it moves by rounding errors with every save, so how often one saves is part of the training.
    """

    @torch.no_grad()
    def save(self, path: str) -> None:
        for layer in self.adapters:
            layer.base.weight += layer.delta()
        torch.save(self.model.state_dict(), f"{path}.merged")
        for layer in self.adapters:
            layer.base.weight -= layer.delta()
        super().save(path)


@fault(
    "peft-merged-resumed",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/*.base.weight",),),
    fix='{"model": self.model.state_dict()}  # unmerged',
    threads=("huggingface/peft#3498", "huggingface/trl#2873"),
)
class MergedResumed(Finetuning):
    """The checkpoint has the merged base and the adapter beside it, and both are loaded: the update is applied twice.
    The adapter that is trained is right to the last bit; it sits on another base."""

    def adapter_state(self) -> dict:
        state = {name: value.clone() for name, value in self.model.state_dict().items()}
        for index in (0, 3):
            state[f"{index}.base.weight"] += self.model[index].delta().detach()
        return state


@fault(
    "peft-scaling",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/*/scaling",),),
    fix='LoRALinear(layer, alpha=state["config"]["alpha"])',
)
class Scaling(Finetuning):
    """The weights of the adapter are saved and its configuration is not. `alpha` is no tensor: the resumed run builds
    the layers with the default, and the same factors make another update."""

    def make_model(self, alpha: float = 4.0) -> nn.Sequential:
        model = self.make_base().requires_grad_(False)
        model[0], model[3] = LoRALinear(model[0], alpha), LoRALinear(model[3], alpha)
        return model

    def load_model(self, state: dict) -> None:
        for layer in self.adapters:
            layer.scaling = LoRALinear(layer.base).scaling
        super().load_model(state)
