"""Perturbations do what they say, in their epochs alone, the same for any number of workers."""

from dataclasses import replace

import pytest
import torch

from dora_repro.subject.config import CHOICES, TrainingConfig
from dora_repro.subject.data import PIXEL_MEAN, PIXEL_STD
from dora_repro.subject.training import TrainingRun

KINDS = [kind for kind in CHOICES["perturbation"] if kind != "none"]
PLAIN = TrainingConfig(batch_size=200, shuffle=False, validation_share=0.88, validate=False, epochs=4)


def epochs(config: TrainingConfig, count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and targets of all training samples in each epoch, in the order of the split."""
    feed = TrainingRun(config).feed
    seen = []
    for _ in range(count):
        batches = [feed.next() for _ in range(len(feed))]
        seen.append(
            (torch.cat([images for images, _ in batches]), torch.cat([targets for _, targets in batches]))
        )
        feed.end_epoch()
    return seen


@pytest.fixture(scope="module")
def plain():
    images, targets = epochs(PLAIN, 1)[0]
    return images, targets


@pytest.fixture(scope="module")
def perturbed():
    return {
        kind: epochs(replace(PLAIN, perturbation=kind, perturbation_start=2, perturbation_length=2))
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_perturbation_is_in_force_in_its_epochs_alone(perturbed, plain, kind):
    changed = [
        not (torch.equal(images, plain[0]) and torch.equal(targets, plain[1]))
        for images, targets in perturbed[kind]
    ]
    assert changed == [False, True, True, False]
    second, third = perturbed[kind][1:3]
    assert not (
        torch.equal(second[0], third[0]) and torch.equal(second[1], third[1])
    )  # each epoch draws anew


def test_random_targets_are_noise_with_the_targets_mean_and_spread(perturbed, plain):
    images, targets = perturbed["random-targets"][1]
    assert torch.equal(images, plain[0])
    assert torch.allclose(targets.mean(dim=0), plain[1].mean(dim=0), atol=0.35)
    assert torch.allclose(targets.std(dim=0), plain[1].std(dim=0), rtol=0.25)
    together = torch.corrcoef(torch.stack([targets.flatten(), plain[1].flatten()]))[0, 1]
    means = torch.corrcoef(
        torch.stack([plain[1].mean(dim=0).expand_as(targets).flatten(), plain[1].flatten()])
    )[0, 1]
    assert float(together) < float(means)  # nothing of the sample is left, only the dimension's mean


def test_shuffled_labels_are_the_same_labels_in_other_places(perturbed, plain):
    images, targets = perturbed["label-shuffle"][1]
    assert torch.equal(images, plain[0])
    rows = sorted(map(tuple, targets.tolist()))
    assert rows == sorted(map(tuple, plain[1].tolist()))
    assert (targets == plain[1]).all(dim=1).float().mean() < 0.1


def test_image_noise_is_as_strong_as_told(perturbed, plain):
    images, targets = perturbed["image-noise"][1]
    noise = images - plain[0]
    assert torch.equal(targets, plain[1])
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 0.01
    assert not torch.equal(noise[0], noise[1])


def test_uniform_images_are_each_of_one_colour(perturbed, plain):
    images, targets = perturbed["uniform-images"][1]
    assert torch.equal(targets, plain[1])
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))
    colours = images[:, :, 0, 0] * torch.tensor(PIXEL_STD) + torch.tensor(PIXEL_MEAN)  # (n, 3)
    assert float(colours.min()) >= -1e-6 and float(colours.max()) <= 1 + 1e-6
    assert len({tuple(colour) for colour in colours.tolist()}) == len(colours)


@pytest.mark.parametrize("kind", KINDS)
def test_persistent_workers_see_the_epoch(perturbed, kind):
    config = replace(
        PLAIN,
        perturbation=kind,
        perturbation_start=2,
        perturbation_length=2,
        workers=1,
        persistent_workers=True,
    )
    for (images, targets), (expected_images, expected_targets) in zip(
        epochs(config), perturbed[kind], strict=True
    ):
        assert torch.equal(images, expected_images)
        assert torch.equal(targets, expected_targets)


@pytest.mark.parametrize("kind", KINDS)
def test_no_generator_is_drawn_from(kind):
    config = replace(PLAIN, perturbation=kind, perturbation_length=4)
    feed = TrainingRun(config).feed
    before = torch.get_rng_state()
    first = [feed.next()[1] for _ in range(len(feed))]
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    again = TrainingRun(config).feed
    assert all(torch.equal(again.next()[1], targets) for targets in first)


def test_another_seed_perturbs_otherwise(perturbed):
    config = replace(PLAIN, perturbation="random-targets", perturbation_start=2, seed=1)
    assert not torch.equal(epochs(config, 2)[1][1], perturbed["random-targets"][1][1])
