"""DoRA magnitudes (Liu et al. 2024) that come back as they were at first, cast, untrained or along the other axis."""

import torch
from torch import nn

from dora_repro.faults.adapters import Finetuning, LoRALinear
from dora_repro.faults.gallery import fault


class DoRAFinetuning(Finetuning):
    """The clean run with magnitudes."""

    dora = True


@fault(
    "dora-mag-dropped",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/*.magnitude",),),
    fix='if "lora_" in name or "magnitude" in name',
    threads=("NVIDIA-NeMo/Megatron-Bridge#6031",),
)
class MagnitudeDropped(DoRAFinetuning):
    """Everything with `lora_` in its name is saved, as was enough for LoRA. The trained magnitudes of DoRA are left
    behind, and after resuming each row has the length that it has in the base."""

    def adapter_state(self) -> dict:
        return {name: value for name, value in super().adapter_state().items() if "lora_" in name}


@fault(
    "dora-mag-untrained",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.0/params",),),
    fix="layer.magnitude.copy_(state[…])  # in place: the optimizer holds this tensor",
    threads=("meta-pytorch/torchtune#2250",),
)
class MagnitudeUntrained(DoRAFinetuning):
    """The magnitudes are loaded as new parameters, after the optimizer was made. It steps the old ones, which no layer
    uses any more: the right values are there and stay as they are, and DoRA is LoRA from then on."""

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for index in (0, 3):
            self.model[index].magnitude = nn.Parameter(state["model"][f"{index}.magnitude"].clone())


@fault(
    "dora-mag-bf16",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/*.magnitude", "optimizer/*.magnitude/exp_avg", "optimizer/*.magnitude/exp_avg_sq"),),
    fix="# cast the base alone; magnitudes stay in fp32",
    threads=("huggingface/trl#7273",),
)
class MagnitudeInBf16(DoRAFinetuning):
    """The resume path casts to bf16 whatever is no factor of an adapter, the magnitudes among it. At a length of one,
    the steps of a small learning rate are below the rounding of bf16: updates are lost, and the magnitude stands still.
    """

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for layer in self.adapters:
            layer.magnitude.data = layer.magnitude.data.bfloat16()  # type: ignore[union-attr]  # DoRA: it has one


@fault(
    "dora-mag-axis",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/0.magnitude",),),
    fix="layer.magnitude.data = stored[:, None]  # (out, 1)",
)
class MagnitudeAxis(DoRAFinetuning):
    """Magnitudes are saved as flat vectors, and the loader lays them along the columns, as the paper writes them, where
    this layer scales rows. A square matrix takes either, so no shape is wrong."""

    def make_model(self) -> nn.Sequential:
        model = self.make_base().requires_grad_(False)
        model[0] = LoRALinear(model[0], dora=True)
        return model

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=0.05)

    def adapter_state(self) -> dict:
        state = super().adapter_state()
        return {**state, "0.magnitude": state["0.magnitude"].flatten()}

    def load_model(self, state: dict) -> None:
        self.model[0].magnitude.data = state["model"].pop("0.magnitude")[None, :]
        super().load_model(state)
