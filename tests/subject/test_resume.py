"""A complete checkpoint resumes bit for bit, from any step; and where something is lost, these tests see
it."""

from dataclasses import replace

import pytest
import torch

from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.training import TrainingRun
from tests.subject.reference import end_of, finish

EVERY_STEP = range(10)  # 3 epochs of 3 steps: 0, in the middle of each epoch, each boundary, the last


@pytest.mark.parametrize("save_at", EVERY_STEP)
def test_a_complete_checkpoint_resumes_exactly_from_every_step(differing, small, save_at):
    assert differing(replace(small, text_dora=1), save_at) == []


@pytest.mark.parametrize("save_at", [0, 2, 3, 5])
@pytest.mark.parametrize("persistent", [False, True])
def test_it_does_with_workers_too(differing, small, persistent, save_at):
    config = replace(small, workers=2, persistent_workers=persistent, epochs=2, validate=False)
    assert differing(config, save_at) == []


@pytest.mark.parametrize("save_at", [2, 3])
@pytest.mark.parametrize(
    "choices",
    [
        {"shuffle": False},
        {"dropout_mode": "study"},
        {"init": "paper"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "sgd"},
        {"scheduler": "cosine"},
        {"scheduler": "warmup", "warmup_steps": 4},
        {
            "steps_per_epoch": None,
            "validation_share": 0.99,
            "validate": False,
            "batch_size": 20,
        },  # one batch an epoch
        {
            "steps_per_epoch": None,
            "validation_share": 0.99,
            "validate": False,
            "batch_size": 7,
        },  # the last one smaller
        {"data": "synthetic", "epochs": 5, "steps_per_epoch": None},
    ],
    ids=lambda choices: ",".join(f"{name}={value}" for name, value in choices.items()),
)
def test_it_does_for_every_kind_of_training(differing, small, choices, save_at):
    assert differing(replace(small, **choices), save_at) == []


@pytest.mark.parametrize("save_at", [2, 3, 4, 6, 7])  # before, at the edges of, inside and after epoch 2
@pytest.mark.parametrize("kind", ["random-targets", "label-shuffle", "image-noise", "uniform-images"])
def test_it_does_around_a_perturbed_epoch(differing, small, kind, save_at):
    assert differing(replace(small, perturbation=kind, perturbation_start=2), save_at) == []


def test_a_run_resumed_with_workers_is_the_run_without(differing, small):
    config = replace(small, perturbation="image-noise", perturbation_start=1, perturbation_length=3)
    workers = replace(config, workers=2, persistent_workers=True)
    # The living workers' base seed is theirs alone; nothing that training does depends on it.
    assert differing(config, 4, resumed=workers) == ["data"]


@pytest.mark.parametrize("save_at", [2, 3, 6, 7, 9])
def test_early_stopping_goes_on_counting(differing, small, save_at):
    config = replace(
        small, early_stopping=2, epochs=9, learning_rate=0.3
    )  # a rate at which the loss does not fall
    assert differing(config, save_at) == []


def test_early_stopping_stops(small):
    run = TrainingRun(replace(small, early_stopping=2, epochs=9, learning_rate=0.3))
    while not run.finished:
        run.step()
    assert run.epoch < 9
    assert run.epochs_without_improvement == 2
    with pytest.raises(StopIteration, match=f"over after {run.steps_done} steps"):
        run.step()


@pytest.mark.parametrize("save_at", [1, 3])
def test_a_resumed_run_can_be_resumed(reference, small, tmp_path, save_at):
    whole = reference(small)
    first = TrainingRun(small)
    first.load(whole.path(save_at))
    steps = finish(first, 3)
    first.save(tmp_path / "again.pt")
    second = TrainingRun(small)
    second.load(tmp_path / "again.pt")
    assert steps + finish(second) == whole.steps[save_at:]
    assert end_of(second) == whole.end


def test_loading_into_a_run_that_has_trained_equals_loading_into_a_new_one(differing, reference, small):
    config = replace(small, workers=2, persistent_workers=True, epochs=2, validate=False)

    def reload(run):
        run.step()
        run.load(reference(config).path(2))

    assert differing(config, 2, spoil=reload) == []


# --- each of these sees a planted fault


def without(*parts: str) -> str:
    return "+".join(
        part for part in ("dora", "optimizer", "scheduler", "rng", "data", "progress") if part not in parts
    )


@pytest.mark.parametrize(
    ("lost", "choices", "save_at"),
    [
        ("dora", {}, 4),
        ("optimizer", {}, 4),
        ("optimizer", {"optimizer": "sgd", "momentum": 0.9}, 4),
        ("scheduler", {"scheduler": "cosine"}, 4),
        ("rng", {}, 4),
        ("data", {}, 4),
        ("data", {}, 3),
    ],
)
def test_a_lost_part_is_seen(differing, small, lost, choices, save_at):
    assert "steps" in differing(replace(small, checkpoint=without(lost), **choices), save_at)


def test_lost_progress_is_seen_in_the_counters_of_early_stopping(differing, small):
    config = replace(small, checkpoint=without("progress"))
    assert differing(config, 4) == ["progress"]


def test_a_lost_worker_seed_is_seen(differing, small):
    config = replace(small, workers=1, persistent_workers=True, epochs=2, validate=False)

    def forget(run):
        run.feed.workers_drawn = False

    assert differing(config, 3, spoil=forget) == ["data"]


def test_one_draw_too_many_is_seen(differing, small):
    assert "steps" in differing(small, 4, spoil=lambda run: torch.rand(1))
    assert "rng" in differing(replace(small, dropout_mode="study"), 4, spoil=lambda run: torch.rand(1))


def test_a_perturbation_lost_on_resume_is_seen(differing, small):
    config = replace(small, perturbation="image-noise", perturbation_start=2)
    assert "steps" in differing(config, 4, resumed=small)


# --- what the caller tells by hand


@pytest.mark.parametrize("save_at", [1, 3, 4, 6])
def test_sgd_in_a_fixed_order_needs_only_its_parameters_and_the_step_told(differing, small, save_at):
    """SGD without momentum and dropout keeps nothing but its parameters: the study's file is enough then."""
    config = replace(small, checkpoint="dora-only", optimizer="sgd", dropout=0.0, shuffle=False)
    assert not {"steps", "dora", "outputs"} & set(differing(config, save_at))


def test_without_data_a_shuffled_order_begins_anew(differing, small):
    config = replace(small, checkpoint="dora+progress", optimizer="sgd", dropout=0.0)
    assert "steps" in differing(config, 3)
    assert "steps" not in differing(replace(config, checkpoint="dora+progress+data"), 3)


def test_the_study_s_file_is_not_enough_for_adamw(differing, small):
    assert "steps" in differing(replace(small, checkpoint="dora-only", dropout=0.0), 3)


def test_a_step_told_by_hand_beyond_the_end_is_over(tmp_path):
    config = TrainingConfig(data="synthetic", epochs=2, checkpoint="dora-only")
    TrainingRun(config).save(tmp_path / "a.pt")
    run = TrainingRun(replace(config, resume_step=2))
    run.load(tmp_path / "a.pt")
    assert run.finished


@pytest.mark.parametrize(
    ("name", "told", "done"),
    [
        ("epoch2_dora_params.pth", None, (2, 6, 0)),
        ("step4.pt", None, (1, 4, 1)),
        ("a.pt", None, (0, 0, 0)),
        ("epoch2_dora_params.pth", 1, (0, 1, 1)),
        ("epoch.pt", None, (0, 0, 0)),
    ],
)
def test_the_step_is_told_by_hand_or_else_by_the_name_of_the_file(tmp_path, name, told, done):
    config = TrainingConfig(steps_per_epoch=3, epochs=4, checkpoint="dora-only", resume_step=told)
    TrainingRun(config).save(tmp_path / name)
    run = TrainingRun(config)
    run.load(tmp_path / name)
    assert (run.epoch, run.steps_done, run.step_in_epoch) == done
