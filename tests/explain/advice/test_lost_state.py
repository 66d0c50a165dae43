"""Lines fit the form of what `save` writes: where no key can be added, they write a file of their own beside it."""

import os

import pytest
import safetensors.torch
import torch

from dora_repro.checks.checks import check


class Averaged:
    """Loses an average and a counter; a subclass says how it saves the rest."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(8, 4)
        self.seen = 0
        self.pull = torch.zeros(4)

    def step(self):
        self.seen += 1
        self.pull = self.pull * 0.9 + self.model.weight.detach()[0] * self.seen
        self.optimizer.zero_grad()
        loss = (self.model(self.inputs) - 1 + (self.pull * self.model.weight).sum()).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        torch.save(self.written(), path)

    def load(self, path):
        self.model.load_state_dict(self.weights(torch.load(path)))


class Tuple(Averaged):
    def written(self):
        return self.model.state_dict(), 3

    def weights(self, state):
        return state[0]


class Flat(Averaged):
    def written(self):
        return self.model.state_dict()

    def weights(self, state):
        return state


class Keyed(Averaged):
    def written(self):
        return {"model": self.model.state_dict()}

    def weights(self, state):
        return state["model"]


class Safetensors(Averaged):
    def save(self, path):
        safetensors.torch.save_file(self.model.state_dict(), path)

    def load(self, path):
        self.model.load_state_dict(safetensors.torch.load_file(path))


class Folder(Averaged):
    def save(self, path):
        os.makedirs(path, exist_ok=True)
        torch.save(self.model.state_dict(), f"{path}/model.pt")

    def load(self, path):
        self.model.load_state_dict(torch.load(f"{path}/model.pt"))


class Several(Averaged):
    def save(self, path):
        torch.save(self.model.state_dict(), f"{path}.model")

    def load(self, path):
        self.model.load_state_dict(torch.load(f"{path}.model"))


@pytest.mark.parametrize("factory", [Tuple, Flat, Safetensors, Folder, Several])
def test_a_file_beside_is_written_where_no_key_can_be_added(factory):
    found = check(factory, 6, 3, in_process=True).explanation
    beside = 'f"{path}/more.pt"' if factory is Folder else 'f"{path}.more"'
    assert found.lines.save[0] == "more = {}" and found.lines.save[-1] == f"torch.save(more, {beside})"
    assert found.lines.load[0] == ("", f"more = torch.load({beside})")
    assert any(line.startswith('more["seen"] = ') for line in found.lines.save)
    assert found.lines_tried.restores


def test_a_key_is_added_to_a_dict():
    found = check(Keyed, 6, 3, in_process=True).explanation
    assert any(line.startswith('state["seen"] = ') for line in found.lines.save)
    assert not any("more" in line for line in found.lines.save) and found.lines_tried.restores
