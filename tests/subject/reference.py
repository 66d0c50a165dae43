"""What a training run goes through and ends with, by bytes, so that a resumed one can be held against it."""

import numpy as np
import torch

from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.generators import GlobalGenerators
from dora_repro.subject.parts import PROGRESS
from dora_repro.subject.training import TrainingRun

# 3 epochs of 3 steps. The text tower is left alone: it takes most of a step's time, and is like the other
# one.
SMALL = TrainingConfig(batch_size=4, steps_per_epoch=3, epochs=3, validation_share=0.01, text_dora=0)


def as_bytes(value) -> object:
    """Anything that a run holds, in a form whose == is equality of bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().cpu().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: as_bytes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_bytes(item) for item in value]
    return np.float64(value).tobytes() if isinstance(value, float) else value


def end_of(run: TrainingRun) -> dict:
    """What a run ends with, by part, and its outputs."""
    state = {
        "dora": {name: value for name, value in run.model.named_parameters() if value.requires_grad},
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler and run.scheduler.state_dict(),
        "data": run.feed.state_dict(),
        "progress": {name: getattr(run, name) for name in PROGRESS},
        "rng": GlobalGenerators().state_dict(),
        "outputs": run.outputs(),
    }
    return as_bytes(state)


def finish(run: TrainingRun, steps: int | None = None) -> list[bytes]:
    """Step until training is over, or so many steps; the bytes of all DoRA parameters after each."""
    seen = []
    while len(seen) != steps:
        try:
            run.step()
        except StopIteration:
            break
        seen.append(
            b"".join(p.detach().cpu().numpy().tobytes() for p in run.model.parameters() if p.requires_grad)
        )
    return seen


class Reference:
    """A run that was never interrupted, saved after each of its steps, 0 and the last included."""

    def __init__(self, config: TrainingConfig, folder):
        self.folder = folder
        run = TrainingRun(config)
        run.save(self.path(0))
        self.steps = []
        while seen := finish(run, 1):
            self.steps += seen
            run.save(self.path(len(self.steps)))
        self.end = end_of(run)

    def path(self, step: int):
        return self.folder / f"after{step}.pt"
