"""transformers' Trainer, kept in no variable of the script: patience that is lost has the Trainer's word for it."""

import subprocess
import sys

import pytest

from dora_repro.errors import MissingExtra
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import commands

SCRIPT = """
import argparse, sys, torch
from transformers import EarlyStoppingCallback, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume")
p.add_argument("--keep", action="store_true"); p.add_argument("--adapter", action="store_true")
given = p.parse_args()
samples = [{"input_ids": ids, "labels": ids} for ids in [(torch.arange(8) * (1 + i % 7) + i) % 64 for i in range(24)]]
callbacks = []
if given.adapter:
    from dora_repro.integrations.trainer import DoraReproCallback
    callbacks.append(DoraReproCallback())


def main():
    set_seed(0)
    args = TrainingArguments(
        output_dir=given.out, max_steps=8, per_device_train_batch_size=4, save_strategy="steps", save_steps=2,
        eval_strategy="steps", eval_steps=2, metric_for_best_model="eval_loss", greater_is_better=True,
        load_best_model_at_end=True, seed=0, use_cpu=True, report_to=[], disable_tqdm=True,
        restore_callback_states_from_checkpoint=given.keep,
    )
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    Trainer(
        model=GPT2LMHeadModel(config), args=args, train_dataset=samples, eval_dataset=samples[:4],
        callbacks=[EarlyStoppingCallback(2), *callbacks],
    ).train(resume_from_checkpoint=given.resume)


main()
"""


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "dora_repro.integrations.trainer", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'dora-repro\[trainer\]'"):
        __import__("dora_repro.integrations.trainer")


@pytest.fixture
def libraries():
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate: pip install 'dora-repro[trainer]'")
    pytest.importorskip("transformers", reason="the adapter is for the Trainer of transformers")


@pytest.mark.usefixtures("libraries")
def test_a_resume_with_all_restored_is_exact(tmp_path):
    run, resume = commands(tmp_path, SCRIPT, "--keep")
    report = check_script(f"{run} --keep --adapter", f"{resume} --adapter", kill_after=5)
    assert (report.summary, report.save_at) == ("EXACT", 4)


@pytest.mark.usefixtures("libraries")
def test_patience_that_is_lost_is_the_callbacks(tmp_path):
    report = check_script(*commands(tmp_path, SCRIPT), kill_after=5)
    (cause,) = report.explanation.causes
    assert cause.leaves == ("callback/EarlyStoppingCallback/early_stopping_patience_counter",)
    assert (report.divergence.step, report.explanation.proved) == (6, True)  # the reference stops, and loads its best
    assert "trainer_state.json" in cause.how and "EarlyStoppingCallback" in cause.how  # it is there, and not taken
    assert any("restore_callback_states_from_checkpoint=True" in sentence for sentence in cause.advice)


@pytest.mark.usefixtures("libraries")
def test_without_a_check_the_callback_does_nothing(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "train.py"), "--out", str(tmp_path / "out"), "--adapter"]
    assert subprocess.run(command, capture_output=True).returncode == 0
