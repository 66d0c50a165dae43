"""What a loader's batches are made of is saved, and put back before its iterator is made."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from dora_repro import check, stepwise
from dora_repro.explain.advice.data_sources import source_lines
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs


class Active(Dataset):
    def __init__(self, count=6):
        self.values, self.active, self.longest = torch.randn(40, 3), list(range(count)), 1
        self.rows = torch.arange(count)

    def __len__(self):
        return len(self.active)

    def __getitem__(self, index):
        return self.values[self.active[index] * self.longest % 40]


class Run(runs.Plain):
    def __init__(self):
        super().__init__()
        self.data = Active()
        self.weights = torch.ones(6, dtype=torch.double)
        self.generator = torch.Generator().manual_seed(0)
        self.loader = DataLoader(self.data, 2, sampler=WeightedRandomSampler(self.weights, 6, generator=self.generator))


def advised(change, sources, reaches=lambda path: True):
    run = Run()
    loaded = Snapshot.capture(run_roots(run))
    change(run)
    return source_lines(sources, Snapshot.capture(run_roots(run)), loaded, "loader", reaches)


def test_values_and_tensors_are_saved_and_put_back_before_an_iterator_is_made():
    def change(run):
        run.data.longest, run.data.active[0] = 3, 5
        run.weights[0] = 2
        run.generator.manual_seed(4)

    found = advised(change, ("data/longest", "data/active", "weights", "generator"))
    assert found.save == (
        'state["data/longest"] = self.data.longest',
        'state["data/active"] = copy.deepcopy(self.data.active)',
        'state["weights"] = self.weights.detach().clone()',
        'state["generator"] = self.generator.get_state()',
    )
    assert found.load == (
        'self.data.longest = state["data/longest"]  # before iter(self.loader)',
        'self.data.active[:] = copy.deepcopy(state["data/active"])  # before iter(self.loader)',
        'self.weights.data.copy_(state["weights"])  # before iter(self.loader)',
        'self.generator.set_state(state["generator"])  # before iter(self.loader)',
    )


def test_a_tensor_of_another_shape_is_assigned():
    found = advised(lambda run: setattr(run.data, "rows", torch.arange(9)), ("data/rows",))
    assert found.load == ('self.data.rows = state["data/rows"]  # before iter(self.loader)',)


@pytest.mark.parametrize(
    ("sources", "reaches"),
    [
        ((), True),
        (("generator",), True),  # an order that was drawn: its state by now is another one
        (("data/values", "data/longest"), True),  # samples
        (("data/gone",), True),
        (("data/longest",), False),
    ],
)
def test_what_no_line_should_save_or_reach_gets_none(sources, reaches):
    assert advised(lambda run: run.data.values.add_(1), sources, lambda path: reaches) is None


class Plain(runs.Plain):
    """A scale of the samples grows; an iterator is made after loading."""

    def __init__(self):
        super().__init__()
        self.data, self.iterator = Active(8), None
        self.loader = DataLoader(self.data, 4)
        self.net = torch.nn.Linear(3, 1)
        self.steps = torch.optim.SGD(self.net.parameters(), 0.1)

    def step(self):
        self.iterator = self.iterator or iter(self.loader)
        batch = next(self.iterator)
        self.steps.zero_grad()
        (self.net(batch) - 1).square().mean().backward()
        self.steps.step()
        if self.iterator._num_yielded == len(self.loader):
            self.iterator, self.data.active = None, [index + 5 for index in self.data.active]

    def save(self, path):
        torch.save({"net": self.net.state_dict()}, path)

    def load(self, path):
        self.net.load_state_dict(torch.load(path)["net"])


def test_where_no_iterator_is_there_the_lines_are_tried():
    report = check(Plain, 8, 4, in_process=True)
    (cause,) = report.causes
    assert cause.name == "data/active" and report.explanation.lines_tried.restores


def changes_its_data(out, resume=None, total=6):
    torch.manual_seed(0)
    model, data, first = torch.nn.Linear(3, 1), Active(8), 0
    optimizer, loader = torch.optim.SGD(model.parameters(), lr=0.1), DataLoader(data, 4)
    if resume:
        read = torch.load(resume)
        model.load_state_dict(read["model"])
        first = read["epoch"]
    for epoch in range(first, total):
        for batch in loader:
            loss = (model(batch) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        data.longest += 1
        torch.save({"model": model.state_dict(), "epoch": epoch + 1}, f"{out}/{epoch}.pt")


def test_a_function_gets_the_same_lines_which_are_not_tried():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    report = check(stepwise(changes_its_data, "{out}", resumed={"resume": "{newest}"}), 8, 4)
    (cause,) = report.causes
    assert cause.name == "data/batches" and cause.save == ('state["data/longest"] = data.longest',)
    assert cause.load == ('data.longest = read["data/longest"]  # before iter(loader)',)
    assert report.explanation.lines_tried is None
