"""Checkpoints trained on the spot for a notebook to look at."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dora_repro import BadInput
from dora_repro.series.pairs import compare_series
from dora_repro.series.series import Series
from dora_repro.study import TrainingConfig
from dora_repro.subject.demo import trained, two_trained


def test_a_training_is_saved_after_each_epoch_and_threads_are_put_back(tmp_path):
    before = torch.get_num_threads()
    config = TrainingConfig(data="synthetic", epochs=2, perturbation="random-targets", perturbation_start=2)
    folder = trained(config, "run", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch1.pt", "epoch2.pt"]
    assert torch.get_num_threads() == before
    plain = trained(replace(config, perturbation="none"), "plain", tmp_path)
    assert compare_series(Series.read(plain), Series.read(folder)).first == 2


def test_given_folders_are_not_trained_again():
    config = TrainingConfig()
    assert two_trained(config, "a") == (Path("a"), None) and two_trained(config, "a", "b") == (Path("a"), Path("b"))
    with pytest.raises(BadInput, match="name the first folder as well"):
        two_trained(config, "", "b")
