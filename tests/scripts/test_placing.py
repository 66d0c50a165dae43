"""After which lines of a script advised lines of load would stand."""

import pytest

from dora_repro.scripts.placing import Region, region_after, region_before_loop

SCRIPT = """import torch
if resume:
    state = torch.load(path)
    model.load(state["m"])
    print("resumed")
    start = state["epoch"]
    print("from", start)
    for key in state:
        use(state[key])
    late(state)
model.load(torch.load(path))
def read(path):
    try:
        return torch.load(path)
    except OSError:
        self.state, other = torch.load(path), 1
        use(self.state)
        done()
@decorated
def train():
    first = 1
    if first:
        while True:
            pass
def resumes(path):
    state = torch.load(path)
    for each in range(state["epoch"], 9):
        optimizer.step()
def overwrites(path):
    state = torch.load(path)
    for each in range(3):
        state = {"epoch": each}
def nests(path):
    state = torch.load(path)
    for each in range(state["epoch"], 9):
        for batch in loader:
            train(batch)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("line", "region"),
    [
        (3, Region(3, 10)),  # a loop that takes something out of it, and what follows that one, too
        (11, Region(11, 11)),
        (14, None),  # it only returns what it reads
        (16, Region(16, 17)),
        (99, None),
        (26, Region(26, 26)),  # loops of the training
        (30, Region(30, 30)),
        (34, Region(34, 34)),
    ],
)
def test_what_takes_something_out_of_the_checkpoint_comes_before(file, line, region):
    assert region_after(file, line) == region


def test_a_function_has_its_place_before_its_first_loop(file):
    assert region_before_loop(file, 19) == Region(19, 22)
    assert region_before_loop(file, 12) == Region(12, 18)
