"""Causes in words: what became of what was lost, and the lines that bring it back."""

import collections
import random

import pytest
import torch

import dora_repro
from dora_repro import check


def walks(out, resume=None, total=12):
    """A walk whose place is saved, and goes on before the first step; its memory and its draws are not."""
    torch.manual_seed(0)
    entry = collections.namedtuple("entry", "spot")
    model, draws = torch.nn.Linear(2, 1), random.Random(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory, place, first = [entry(torch.zeros(2))], torch.zeros(2), 0
    if resume:
        read = torch.load(resume)
        model.load_state_dict(read["model"])
        place, first = read["place"], read["first"]
    for step in range(first, total):
        place = place * 0.9 + torch.tensor([draws.random(), 1.0])
        memory.append(entry(place))
        if len(memory) < 4:
            continue
        batch = torch.stack([each.spot for each in memory[-4:]])
        loss = (model(batch) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.save({"model": model.state_dict(), "place": place, "first": step + 1}, f"{out}/{step:02d}.pt")


def test_what_is_lost_as_a_whole_comes_first_and_what_is_given_another_value_later_last_without_lines():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    report = check(dora_repro.stepwise(walks, "{out}", resumed={"resume": "{newest}"}), 7, 4)
    first, *others = report.causes
    assert first.name == "walks/memory/*" and "objects (entry) are lost" in first.how
    assert first.load == ('memory[:] = [entry(*each) for each in read["memory"]]',)
    later = {cause.name: cause for cause in others if not cause.load}
    assert [cause.name for cause in others][-len(later) :] == [*later]
    assert "given another value after loading" in later["walks/place"].advice[0]
    assert "given a value only after loading" in later["walks/batch"].advice[0]
    assert report.explanation.lines_tried.restores


def grows(out, resume=None, lost="share"):
    """An epoch's data is a share that grows, with noise of a generator of its own; one of both is in no file."""
    torch.manual_seed(0)
    rows, noise, share, first = torch.randn(16, 2), torch.Generator().manual_seed(1), 0.5, 0
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if resume:
        read = torch.load(resume)
        model.load_state_dict(read["model"])
        first, share = read["first"], read.get("share", share)
        torch.set_rng_state(read["rng"])
        if "noise" in read:
            noise.set_state(read["noise"])
    for epoch in range(first, 4):
        part = torch.utils.data.TensorDataset(rows[: int(16 * share)])
        for (batch,) in torch.utils.data.DataLoader(part, batch_size=4, shuffle=True):
            noisy = batch + torch.randn(batch.shape, generator=noise)
            optimizer.zero_grad()
            model(noisy).square().mean().backward()
            optimizer.step()
        share = min(1.0, share + 0.25)
        state = {"model": model.state_dict(), "first": epoch + 1, "rng": torch.get_rng_state()}
        state |= {"share": share} if lost != "share" else {"noise": noise.get_state()}
        torch.save(state, f"{out}/{epoch}.pt")


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("share", "What `part` is made of differs right after loading: `share`."),
        ("noise", "restore what it is made of (`noise`)."),
    ],
)
def test_what_is_made_after_loading_is_told_with_what_it_is_made_of(lost, sentence):
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    run = dora_repro.stepwise(grows, "{out}", resumed={"resume": "{newest}"}, lost=lost)
    report = check(run, steps=8, save_at=2, in_process=True)
    said = [sentence for cause in report.causes for sentence in cause.advice]
    assert any(each.endswith(sentence) for each in said), report
    assert not any("gradient" in each or "`model`" in each for each in said)
