"""Ignite, whose engine is kept in no variable on the way to a step: patience that is lost is the handler's."""

import sys

import pytest

from dora_repro.errors import MissingExtra
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import commands

SCRIPT = """
import argparse
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume")
p.add_argument("--keep", action="store_true"); p.add_argument("--adapter", action="store_true")
given = p.parse_args()


def trainer_of(model, optimizer):
    def update(engine, batch):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()

    trainer = Engine(update)
    stopping = EarlyStopping(2, score_function=lambda engine: -engine.state.epoch, trainer=trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stopping)
    parts = {"trainer": trainer, "model": model, "optimizer": optimizer}
    if given.keep:
        parts["stopping"] = stopping
    saver = DiskSaver(given.out, create_dir=True, require_empty=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint(parts, saver, n_saved=None))
    if given.adapter:
        from dora_repro.integrations.ignite import attach
        attach(trainer)
    if given.resume:
        Checkpoint.load_objects(parts, torch.load(given.resume, weights_only=False))
    return trainer


def main():
    torch.manual_seed(0)
    x = torch.randn(3, 8, 6)
    model = torch.nn.Linear(6, 2)
    batches = [(one, (one.sum(1) > 0).long()) for one in x]
    trainer_of(model, torch.optim.AdamW(model.parameters(), lr=0.01)).run(batches, max_epochs=6)


main()
"""


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ignite.engine", None)
    monkeypatch.setitem(sys.modules, "ignite", None)
    monkeypatch.delitem(sys.modules, "dora_repro.integrations.ignite", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'dora-repro\[ignite\]'"):
        __import__("dora_repro.integrations.ignite")


@pytest.fixture
def library():
    pytest.importorskip("ignite", reason="the adapter is for Ignite: pip install 'dora-repro[ignite]'")


@pytest.mark.usefixtures("library")
def test_a_resume_with_all_restored_is_exact(tmp_path):
    run, resume = commands(tmp_path, SCRIPT, "--keep --adapter")
    report = check_script(f"{run} --keep --adapter", resume, kill_after=7)
    assert (report.summary, report.save_at) == ("EXACT", 6)


@pytest.mark.usefixtures("library")
def test_patience_that_is_lost_is_the_handlers(tmp_path):
    report = check_script(*commands(tmp_path, SCRIPT), kill_after=7)
    named = {leaf for cause in report.explanation.causes for leaf in cause.leaves}
    assert named and all(leaf.startswith("handler/EarlyStopping/") for leaf in named)
    assert (report.divergence.step, report.explanation.proved) == (10, True)  # the reference stopped after 9


@pytest.mark.usefixtures("library")
def test_only_an_engine_is_taken():
    from dora_repro.integrations.ignite import attach

    with pytest.raises(TypeError, match=r"expected an ignite\.engine\.Engine, got list"):
        attach([])
