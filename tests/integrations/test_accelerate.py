"""Accelerate: moments that are lost are those of what was prepared, where the script has it deep inside its own."""

import os
import sys

import pytest
import torch

import dora_repro
from dora_repro.errors import MissingExtra
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import commands

SCRIPT = """
import argparse, os
import torch
from accelerate import Accelerator
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume")
p.add_argument("--lose", action="store_true"); p.add_argument("--adapter", action="store_true")
given = p.parse_args()


def main():
    torch.manual_seed(0)
    x = torch.randn(6, 8, 6)
    model = torch.nn.Linear(6, 2)
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.01))
    parts = {"training": {"model": prepared[0], "optimizer": prepared[1]}}
    del prepared, model
    first = 0
    if given.resume:
        if given.lose:
            file = os.path.join(given.resume, "optimizer.bin")
            torch.save({**torch.load(file, weights_only=False), "state": {}}, file)
        accelerator.load_state(given.resume)
        first = int(given.resume[-1])
    if given.adapter:
        from dora_repro.integrations.accelerate import name
        name(accelerator)
    for step in range(first, 6):
        loss = torch.nn.functional.cross_entropy(parts["training"]["model"](x[step]), (x[step].sum(1) > 0).long())
        parts["training"]["optimizer"].zero_grad()
        accelerator.backward(loss)
        parts["training"]["optimizer"].step()
        accelerator.save_state(os.path.join(given.out, f"step{step + 1}"))


main()
"""


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "dora_repro.integrations.accelerate", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'dora-repro\[accelerate\]'"):
        __import__("dora_repro.integrations.accelerate")


@pytest.fixture
def library():
    pytest.importorskip("accelerate", reason="the adapter is for Accelerate: pip install 'dora-repro[accelerate]'")


@pytest.mark.usefixtures("library")
def test_a_resume_with_all_restored_is_exact(tmp_path):
    run, resume = commands(tmp_path, SCRIPT, "--adapter")
    report = check_script(f"{run} --adapter", resume, kill_after=3)
    assert (report.summary, report.save_at) == ("EXACT", 3)


@pytest.mark.usefixtures("library")
def test_moments_that_are_lost_are_of_what_was_prepared(tmp_path):
    report = check_script(*commands(tmp_path, SCRIPT, "--lose"), kill_after=3)
    (cause,) = report.explanation.causes
    assert all(leaf.startswith("accelerate/optimizers/0/") for leaf in cause.leaves)
    assert (report.divergence.step, report.explanation.proved) == (4, True)


def trained(out, resume=None):
    """Three epochs with a loader whose sampler is not told which one it is."""
    from accelerate import Accelerator

    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    data = torch.utils.data.TensorDataset(torch.randn(12, 6), torch.randint(2, (12,)))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    model = torch.nn.Linear(6, 2)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters()), loader)
    first = 0
    if resume:
        accelerator.load_state(resume)
        first = 1 + int(resume[-1])
    for epoch in range(first, 3):
        for inputs, labels in loader:
            accelerator.backward(torch.nn.functional.cross_entropy(model(inputs), labels))
            optimizer.step()
            optimizer.zero_grad()
        accelerator.save_state(os.path.join(out, f"epoch{epoch}"))


@pytest.mark.usefixtures("library")
def test_a_count_of_epochs_that_no_sampler_is_told_of_is_no_loss():
    report = dora_repro.check(dora_repro.stepwise(trained, "{out}", resumed={"resume": "{newest}"}), steps=6, save_at=3)
    assert report.verdict is dora_repro.Verdict.EXACT, report
    assert "trained/loader/iteration" in report.set_aside.logs


@pytest.mark.usefixtures("library")
def test_only_an_accelerator_is_taken():
    from dora_repro.integrations.accelerate import name

    with pytest.raises(TypeError, match=r"expected an accelerate\.Accelerator, got list"):
        name([])
