"""The study's perturbations: what training sees in some epochs instead of the images or the targets.

    none            as it is
    random-targets  each target is normal noise, with mean and spread of the training targets, per dimension
    label-shuffle   the targets of the training samples change places, one permutation an epoch
    image-noise     normal noise is added to each normalised image, with the standard deviation `noise`
    uniform-images  each image is one plain colour, drawn uniformly

What is drawn depends on (seed, epoch, sample) alone: each draw has a generator of its own, counter-based (Philox;
Salmon et al. 2011, SC'11), and no generator's state is changed. So a run resumed before, inside or after the window
sees what the uninterrupted run sees, with any number of workers, and the global generators never notice. (In the
study, image noise seeds the global generator anew.) The epoch comes with each sample's key, since attributes set in
the parent never reach persistent workers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dora_repro.subject.data import Samples, normalise

_SHUFFLE = 2**64 - 1  # in place of a sample's number: what is drawn once an epoch


@dataclass(frozen=True)
class Perturbation:
    """A kind of perturbation, and the epochs in which it is active.

    Attributes:
        kind: as in the table above.
        start: the first epoch, counted from 1.
        length: how many epochs.
        noise: standard deviation of "image-noise", in units of the normalised image.
        seed: of all that is drawn.
    """

    kind: str = "none"
    start: int = 1
    length: int = 1
    noise: float = 0.1
    seed: int = 0

    def active(self, epoch: int) -> bool:
        """Whether this epoch is perturbed."""
        return self.kind != "none" and self.start <= epoch < self.start + self.length

    def generator(self, epoch: int, sample: int) -> np.random.Generator:
        """The generator of one sample in one epoch, always in its first state."""
        return np.random.Generator(np.random.Philox(key=_words(self.seed, epoch), counter=_words(0, 0, 0, sample)))

    def image(self, image: Tensor, epoch: int, sample: int) -> Tensor:
        """One sample's image as an epoch sees it.  # (3, side, side) -> (3, side, side)"""
        if not self.active(epoch):
            return image
        if self.kind == "image-noise":
            drawn = self.generator(epoch, sample).standard_normal(tuple(image.shape), dtype=np.float32)
            return image + self.noise * torch.from_numpy(drawn)
        if self.kind == "uniform-images":
            colour = torch.from_numpy(self.generator(epoch, sample).random(3, dtype=np.float32))  # (3,)
            return normalise(colour[:, None, None].expand(image.shape))
        return image

    def target(self, targets: Tensor, spread: tuple[Tensor, Tensor], epoch: int, sample: int) -> Tensor:
        """One sample's target as an epoch sees it.  # (66,)

        Args:
            targets: of all training samples  # (samples, 66)
            spread: their mean and standard deviation  # (66,), (66,)
            epoch: counted from 1.
            sample: its place among the training samples.
        """
        if self.active(epoch) and self.kind == "label-shuffle":
            return targets[int(self.generator(epoch, _SHUFFLE).permutation(len(targets))[sample])]
        if self.active(epoch) and self.kind == "random-targets":
            noise = self.generator(epoch, sample).standard_normal(targets.shape[1], dtype=np.float32)
            drawn = torch.from_numpy(noise)  # (66,)
            mean, deviation = spread
            return mean + drawn * deviation
        return targets[sample]


def _words(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint64)


class Perturbed(Dataset[tuple[Tensor, Tensor]]):
    """Training samples as an epoch sees them: `self[epoch, sample]` is an image and a target.

    Args:
        samples: all samples.
        indices: which of them are the training samples, in the order of the split.
        perturbation: what an epoch sees instead.
    """

    def __init__(self, samples: Samples, indices: list[int], perturbation: Perturbation) -> None:
        self.samples = samples
        self.indices = indices
        self.perturbation = perturbation
        self.targets = samples.targets[indices]  # (training samples, 66)
        # Once, and here: workers run with one thread, and long sums depend on the number of threads.
        self.spread = (self.targets.mean(dim=0), self.targets.std(dim=0, correction=0))  # (66,), (66,)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, sample = key
        image = self.samples.image(self.indices[sample])
        return (
            self.perturbation.image(image, epoch, sample),  # (3, side, side)
            self.perturbation.target(self.targets, self.spread, epoch, sample),  # (66,)
        )
