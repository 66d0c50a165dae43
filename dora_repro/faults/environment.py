"""What is no state of the run at all."""

import decimal
import os
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, Training, samples


@fault(
    "num-threads",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("flags/torch.num_threads",),),
    fix="torch.set_num_threads(2)  # the same in both",
    threads=("pytorch/pytorch#88718", "pytorch/pytorch#2201"),
)
class NumThreads(Training):
    """The resumed run has another number of threads. A long sum is cut into as many parts, and floating-point numbers
    added in another order give another last digit."""

    def __init__(self) -> None:
        torch.set_num_threads(2)
        super().__init__()
        self.long = torch.randn(1 << 20, generator=torch.Generator().manual_seed(3))  # enough to be shared out

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets) + (self.long * self.model[0].weight.mean()).sum()

    def load(self, path: str) -> None:
        super().load(path)
        torch.set_num_threads(1)


@fault(
    "decimal-precision",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("flags/decimal.prec",),),
    fix='decimal.getcontext().prec = state["precision"]',
)
class DecimalPrecision(Training):
    """A weight of the loss is computed in decimals, and in fewer digits from the second step on. How many is a setting
    of Python's decimals, which no object of the run holds: the resumed run computes in as many as at its start."""

    def __init__(self) -> None:
        decimal.getcontext().prec = 28
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.steps == 2:
            decimal.getcontext().prec = 3
        return super().loss(inputs, targets) * float(decimal.Decimal(1) / decimal.Decimal(3))


@fault(
    "cuda-atomics",
    verdict="INCONCLUSIVE",
    causes=((),),
    fix="torch.use_deterministic_algorithms(True)",
    threads=("pytorch/pytorch#56521", "pytorch/pytorch#6351"),
    needs="cuda",
)
class CudaAtomics(Training):
    """On a GPU `index_add_` adds in whatever order its threads arrive, and floating-point numbers added in another
    order give another last digit: the run is not deterministic, saved or not."""

    def make_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 512), nn.ReLU()).cuda()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        outputs = self.model(inputs.cuda()).flatten()  # BATCH * 512
        groups = torch.arange(len(outputs), device="cuda") % 3
        sums = torch.zeros(3, device="cuda").index_add_(0, groups, outputs)
        return nn.functional.mse_loss(sums, targets.sum(0).cuda())


@fault(
    "world-size",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=((), ("data/batches",)),
    fix="BATCH // world  # so that all ranks together step the same batch, and reshard what was saved",
    threads=("deepspeedai/DeepSpeed#2898", "deepspeedai/DeepSpeed#7628", "meta-pytorch/torchft#292"),
    needs="processes",
)
class WorldSize(Training):
    """The run is resumed on another number of processes. Each takes its share of the data, so the shares, and the batch
    that all of them step together, are others."""

    def make_loader(self) -> DataLoader:
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        dataset = samples()
        share = Subset(dataset, range(rank, len(dataset), world))
        return DataLoader(share, BATCH, shuffle=True, generator=self.generator)


@fault(
    "fsdp-opt",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/*/step", "optimizer/*/exp_avg", "optimizer/*/exp_avg_sq"),),
    fix="torch.distributed.checkpoint.state_dict.set_optimizer_state_dict(model, optimizer, state)",
    threads=("facebookresearch/fairscale#601", "huggingface/transformers#25849"),
    needs="processes",
)
class FsdpOptimizer(Training):
    """The optimizer of a sharded model is loaded as if it were whole. Its state fits no shard, is passed over, and
    every rank begins with empty moments."""

    def make_model(self) -> Any:
        from torch.distributed.fsdp import fully_shard

        return fully_shard(super().make_model())

    def load_optimizer(self, state: dict) -> None:
        mine = self.optimizer.state_dict()
        fits = {key: state["optimizer"]["state"][key] for key in mine["state"]}
        self.optimizer.load_state_dict({**mine, "state": fits})


@fault(
    "environment-variable",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=((),),
    fix="read it once, save it, and compare it on loading",
)
class EnvironmentVariable(Training):
    """A step reads a scale from an environment variable, which the resumed job sets otherwise. It is no state of the
    run; a check can only say that none of its state explains the difference."""

    def __init__(self) -> None:
        os.environ["TRAINING_SCALE"] = "1.0"
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs * float(os.environ["TRAINING_SCALE"]), targets)

    def load(self, path: str) -> None:
        super().load(path)
        os.environ["TRAINING_SCALE"] = "1.5"


@fault(
    "rng-unseeded",
    verdict="INCONCLUSIVE",
    causes=((),),
    fix="np.random.default_rng(self.seed)  # and save its state",
)
class Unseeded(Training):
    """Noise comes from a generator that is made without a seed in each step, so the operating system gives it one. No
    run is like another, resumed or not: a check cannot say whether the resume is right, and must not accuse it."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        noise = np.random.default_rng().normal(size=tuple(inputs.shape))
        return super().loss(inputs + 0.1 * torch.from_numpy(noise).float(), targets)
