"""Trainings without a module in training mode: a function of parameters, a model in eval mode. Each with a twin."""

import pytest

from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import TRAIN, commands

OF_PARAMETERS = """
import argparse, torch
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume"); p.add_argument("--lose")
p.add_argument("--by-hand", action="store_true")
args = p.parse_args()
torch.manual_seed(0)
x = torch.randn(32, 4)
y = x.sum(1, keepdim=True)
weights = {"first": torch.randn(4, 8, requires_grad=True), "last": torch.randn(8, 1, requires_grad=True)}


def predict(weights, x):
    return torch.tanh(x @ weights["first"]) @ weights["last"]


optimizer = torch.optim.Adam(weights.values(), lr=0.01)
start = 0
if args.resume:
    checkpoint = torch.load(args.resume)
    start = checkpoint["step"]
    with torch.no_grad():
        for name in weights:
            weights[name].copy_(checkpoint["weights"][name])
    if args.lose != "optimizer":
        optimizer.load_state_dict(checkpoint["optimizer"])
    torch.set_rng_state(checkpoint["rng"])
for step in range(start, 9):
    chosen = torch.randperm(32)[:8]
    loss = (predict(weights, x[chosen]) - y[chosen]).square().mean()
    if args.by_hand:
        for weight, gradient in zip(weights.values(), torch.autograd.grad(loss, list(weights.values()))):
            weight.grad = gradient
    else:
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()
    if (step + 1) % 3 == 0:
        state = {"weights": {name: weight.detach() for name, weight in weights.items()}, "step": step + 1}
        state |= {"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
        torch.save(state, f"{args.out}/step{step}.pt")
"""

IN_EVAL_MODE = """
import argparse, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume"); p.add_argument("--lose")
p.add_argument("--frozen-later", action="store_true")
args = p.parse_args()


class Tuning:
    def __init__(self):
        torch.manual_seed(0)
        x = torch.randn(24, 4)
        self.loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=True)
        self.other = DataLoader(TensorDataset(x[:8], x[:8].sum(1, keepdim=True)), batch_size=4)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.first, self.best = 0, None

    def load(self, state):
        self.model.load_state_dict(state["model"])
        if args.lose != "optimizer":
            self.optimizer.load_state_dict(state["optimizer"])
        self.first, self.best = state["epoch"], state["best"]
        torch.set_rng_state(state["rng"])

    def fit(self):
        for epoch in range(self.first, 3):
            self.model.train(args.frozen_later and epoch == 0)
            for x, y in self.loader:
                loss = nn.functional.mse_loss(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            if args.frozen_later:
                self.model.eval()
                self.error = sum(nn.functional.mse_loss(self.model(x), y).item() for x, y in self.other)
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best}
            torch.save({**state, "epoch": epoch + 1, "rng": torch.get_rng_state()}, f"{args.out}/epoch{epoch}.pt")


def main():
    tuning = Tuning()
    if args.resume:
        state = torch.load(args.resume)
        tuning.load(state)
    tuning.fit()


main()
"""

SAMPLES = """
import argparse, torch
from torch import nn
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume"); p.add_argument("--lose")
args = p.parse_args()
torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
critic = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 1))
of_critic, of_generator = (torch.optim.Adam(net.parameters(), 1e-2) for net in (critic, generator))
parts = {"generator": generator, "critic": critic, "of_critic": of_critic, "of_generator": of_generator}
z, first = torch.randn(4, 2), 0
if args.resume:
    state = torch.load(args.resume)
    for name, part in parts.items():
        if name != args.lose:
            part.load_state_dict(state[name])
    first = state["epoch"]
    torch.set_rng_state(state["rng"])
for epoch in range(first, 3):
    for _ in range(2):
        of_critic.zero_grad()
        fake = generator(torch.randn(4, 2))
        (critic(fake.detach()).mean() - critic(torch.randn(4, 3)).mean()).backward()
        of_critic.step()
        of_generator.zero_grad()
        (-critic(fake).mean()).backward()
        of_generator.step()
    samples = generator(z)
    with open(f"{args.out}/samples.txt", "w") as file:
        file.write(str(samples.tolist()))
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**state, "epoch": epoch + 1, "rng": torch.get_rng_state()}, f"{args.out}/epoch{epoch}.pt")
"""


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(("lost", "summary"), [("", "EXACT"), ("optimizer", "DIFFERENT: first differs at step 4")])
def test_a_function_of_parameters(tmp_path, by_hand, lost, summary):
    more = "--by-hand" * by_hand
    run, resume = commands(tmp_path, OF_PARAMETERS, f"{more} {f'--lose {lost}' * bool(lost)}")
    report = check_script(f"{run} {more}", resume, kill_after=4, explain=False)
    assert report.summary.startswith(summary)


@pytest.mark.parametrize(("lost", "summary"), [("", "EXACT"), ("optimizer", "DIFFERENT: first differs at step 4")])
def test_a_model_that_trains_in_eval_mode(tmp_path, lost, summary):
    run, resume = commands(tmp_path, IN_EVAL_MODE, f"--lose {lost}" * bool(lost))
    report = check_script(run, resume, kill_after=4, explain=False)
    assert report.summary.startswith(summary)


def test_a_resume_where_the_script_goes_over_to_eval_mode_and_has_evaluated_in_it(tmp_path):
    run, resume = commands(tmp_path, IN_EVAL_MODE, "--frozen-later")
    report = check_script(f"{run} --frozen-later", resume, kill_after=4, explain=False)
    assert (report.summary, report.save_at) == ("EXACT", 3)
    told = [{effect.phase for effect in step.effects} for step in report.reference.steps]
    assert all({"forward", "backward", "update"} <= phases for phases in told)


@pytest.mark.parametrize(
    ("lost", "summary", "cause"),
    [("", "EXACT", None), ("of_critic", "DIFFERENT: first differs at step 9", "of_critic")],
)
def test_samples_that_are_drawn_in_training_mode_before_the_save_are_of_no_step(tmp_path, lost, summary, cause):
    run, resume = commands(tmp_path, SAMPLES, f"--lose {lost}" * bool(lost))
    report = check_script(run, resume, kill_after=9)
    assert (report.summary, report.save_at) == (summary, 8) if not lost else report.summary.startswith(summary)
    if cause is not None:
        assert report.explanation.proved
        assert all(cause in leaf for leaf in report.explanation.leaves)


@pytest.mark.parametrize(("lost", "summary"), [("", "EXACT"), ("rng", "DIFFERENT: first differs at step 4")])
def test_an_update_of_zeros_before_the_checkpoint_is_read_is_no_step(tmp_path, lost, summary):
    """As DCP makes one to have the state of an optimizer: what is read after it is read before the first step."""
    of_zeros = "for p in model.parameters(): p.grad = torch.zeros_like(p)"
    text = TRAIN.replace(
        "    if args.resume:",
        f"    if args.resume:\n        {of_zeros}\n        optimizer.step(); optimizer.zero_grad()",
    )
    run, resume = commands(tmp_path, text, f"--lose {lost}" * bool(lost))
    report = check_script(run, resume, kill_after=4)
    assert report.summary.startswith(summary)
    assert "Resumed from epoch0.pt, written after step 3." in report.notes
    assert not lost or [cause.name for cause in report.causes] == ["rng/torch.cpu"]
