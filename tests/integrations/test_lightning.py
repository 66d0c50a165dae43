"""Lightning, kept in no variable of the script: an average that a callback loses has the callback's name."""

import sys

import pytest

from dora_repro.errors import MissingExtra
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import commands

SCRIPT = """
import argparse
import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume")
p.add_argument("--keep", action="store_true"); p.add_argument("--adapter", action="store_true")
given = p.parse_args()


class Batches:
    def __init__(self, x):
        self.all = [(one, (one.sum(1) > 0).long()) for one in x]

    def __len__(self):
        return len(self.all)

    def __iter__(self):
        return iter(self.all)


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(6, 2)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class EMA(L.Callback):
    def on_fit_start(self, trainer, module):
        if not hasattr(self, "average"):
            self.average = [p.detach().clone() for p in module.parameters()]

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(module.parameters()), 0.1)
            if batch_idx == 1:
                torch._foreach_copy_(list(module.parameters()), self.average)


class Kept(EMA):
    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


def main():
    L.seed_everything(0, verbose=False)
    x = torch.randn(4, 8, 6)
    callbacks = [ModelCheckpoint(given.out, save_top_k=-1), Kept() if given.keep else EMA()]
    if given.adapter:
        from dora_repro.integrations.lightning import DoraReproCallback
        callbacks.append(DoraReproCallback())
    L.Trainer(
        max_epochs=3, callbacks=callbacks, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Classifier(), Batches(x), ckpt_path=given.resume)


main()
"""


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "dora_repro.integrations.lightning", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'dora-repro\[lightning\]'"):
        __import__("dora_repro.integrations.lightning")


@pytest.fixture
def library():
    pytest.importorskip("lightning", reason="the adapter is for Lightning: pip install 'dora-repro[lightning]'")


@pytest.mark.usefixtures("library")
def test_a_resume_with_all_restored_is_exact(tmp_path):
    run, resume = commands(tmp_path, SCRIPT, "--keep --adapter")
    report = check_script(f"{run} --keep --adapter", resume, kill_after=5)
    assert (report.summary, report.save_at) == ("EXACT", 4)


@pytest.mark.usefixtures("library")
def test_an_average_that_is_lost_is_the_callbacks(tmp_path):
    report = check_script(*commands(tmp_path, SCRIPT), kill_after=5)
    (cause,) = report.explanation.causes
    assert {leaf.rpartition("/")[0] for leaf in cause.leaves} == {"callback/EMA/average"}
    assert (report.divergence.step, report.explanation.proved) == (6, True)  # when it is first used
    assert any("on_save_checkpoint" in sentence for sentence in cause.advice)
