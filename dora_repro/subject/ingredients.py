"""What a training run is made of, by its configuration: device, model, samples, split, optimizer, schedule.

Functions from a `TrainingConfig` to one thing each; `training.py` puts them together, and steps.
"""

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler
from torch.utils.data import random_split

from dora_repro.errors import BadInput
from dora_repro.subject.building import build
from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.data import Digits, Samples, Synthetic, Things
from dora_repro.subject.model import CLIPHBA
from dora_repro.subject.sizes import SIZES


def device_named(name: str) -> torch.device:
    """A device that a tensor can be made on.

    Raises:
        BadInput: no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        raise BadInput(f"device={name!r} cannot be used: {str(error).splitlines()[0]}; 'cpu' always can") from error
    return device


def build_model(config: TrainingConfig) -> CLIPHBA:
    """The model of a configuration, on the CPU; random weights are drawn from torch's global generator.

    Raises:
        BadInput: as `building.build`.
    """
    return build(
        SIZES[config.size],
        config.weights,
        vision_dora=config.vision_dora,
        text_dora=config.text_dora,
        rank=config.rank,
        cache_prompts=config.cache_prompts,
        prompt_tokens=config.prompt_tokens,
        alpha=config.alpha,
        dropout=config.dropout,
        dropout_mode=config.dropout_mode,
        init=config.init,
    )


def load_samples(config: TrainingConfig, side: int, batch_size: int) -> Samples:
    """The samples that a configuration names.

    Args:
        config: of the run.
        side: of the square images, in pixels.
        batch_size: how many there are of "synthetic" ones.

    Raises:
        BadInput: a folder or file that is not there or does not fit.
        MissingExtra: a package that reads them is not installed.
    """
    if config.data == "synthetic":
        return Synthetic(side, batch_size, config.seed)
    if config.data == "things" and config.images is not None and config.targets is not None:
        return Things(config.images, config.targets, side)  # a config of "things" has both
    return Digits(side)


def split(samples: Samples, config: TrainingConfig) -> tuple[list[int], list[int]]:
    """Indices of training and validation samples, by torch's `random_split` with a generator of its own.

    Raises:
        BadInput: no training sample is left.
    """
    held_out = 0 if config.data == "synthetic" else round(len(samples) * config.validation_share)
    if held_out >= len(samples):
        raise BadInput(f"validation_share={config.validation_share} leaves no training sample of {len(samples)}")
    generator = torch.Generator().manual_seed(config.seed)
    training, validation = random_split(samples, [len(samples) - held_out, held_out], generator=generator)
    return list(training.indices), list(validation.indices) if config.validate else []


def batches_per_epoch(config: TrainingConfig) -> int:
    """Optimizer steps in one epoch of a config's training, without building its model.

    Raises:
        BadInput: data that is not there, or a validation share that leaves no training sample.
    """
    size = SIZES[config.size]
    batch_size = config.batch_size or size.batch
    training, _ = split(load_samples(config, size.image, batch_size), config)
    whole = -(-len(training) // batch_size)
    return whole if config.steps_per_epoch is None else min(config.steps_per_epoch, whole)


def build_optimizer(model: CLIPHBA, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a configuration, over the parameters of a model that require a gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(trained, config.learning_rate, config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay)


def build_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> LRScheduler | None:
    """The learning-rate schedule of a configuration.

    Args:
        optimizer: whose rate it sets.
        config: of the run.
        steps: of the whole training.

    Returns:
        None for a constant rate.
    """
    if config.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if config.scheduler == "warmup":
        return LinearLR(optimizer, start_factor=1 / config.warmup_steps, total_iters=config.warmup_steps)
    return None
