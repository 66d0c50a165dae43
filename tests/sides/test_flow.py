"""Which dict reaches the file that is saved, and what holds what is read of it."""

import ast
import pickle
from dataclasses import dataclass

import pytest
import torch

from dora_repro.sides.flow import Here, goes_through, read, written
from dora_repro.sides.source import Source


def write(content, path, loudly=False):
    print("saved", loudly)
    torch.save(content, path)


def write_all(model, path):
    torch.save({"model": model.state_dict()}, path)


def fetch(path):
    content = torch.load(path)
    return content


@dataclass(frozen=True)
class Frozen:
    model: dict


class Part:
    def state_dict(self):
        out = {"kept": 1}
        out["more"] = 2
        return out

    def save(self, path):
        torch.save(self.state_dict(), path)

    def load_state_dict(self, state):
        for name, value in state.items():
            setattr(self, name, value)


class Base:
    def __init__(self):
        self.part, self.model = Part(), torch.nn.Linear(1, 1)

    def state(self):
        return {"n": 1}


class Run(Base):
    def named(self, path):
        ckpt = {"model": self.model.state_dict()}
        ckpt.update(n=1)
        torch.save(ckpt, path)

    def displayed(self, path):
        torch.save({"n": 1}, path)

    def by_helper(self, path):
        with open(path, "wb"):
            write({"n": 2}, path, loudly=True)

    def by_keyword(self, path):
        write(path=path, content={"n": 3})

    def by_method(self, path):
        torch.save(self.state(), path)

    def state(self):
        return {**super().state(), "m": 2}

    def by_super(self, path):
        pickle.dump(super().state(), path)

    def by_part(self, path):
        self.part.save(path)

    def elsewhere(self, path):
        write_all(self.model, path)

    def weights_too(self, path):
        torch.save(self.model.state_dict(), "best.pt")
        torch.save({"n": 4}, path)

    def two(self, path):
        torch.save({"n": 5}, f"{path}.a")
        torch.save({"n": 6}, f"{path}.b")

    def unknown(self, path):
        self.nowhere.save(path)

    # --- loading

    def reads(self, path):
        state = torch.load(path)
        self.n = state["n"]

    def fetches(self, path):
        self.n = fetch(path)["n"]

    def spreads(self, path):
        Frozen(**torch.load(path))

    def updates(self, path):
        state = fetch(path)
        vars(self).update(state)

    def hands_on(self, path):
        self.part.load_state_dict(torch.load(path))


def here(method):
    return Here(Source.of(getattr(Run, method)), {"self": ("", Run())})


@pytest.mark.parametrize(
    ("method", "function", "expression", "bound"),
    [
        ("named", "Run.named", "ckpt", {"self": ""}),
        ("displayed", "Run.displayed", "{'n': 1}", {"self": ""}),
        ("by_helper", "Run.by_helper", "{'n': 2}", {"self": ""}),
        ("by_keyword", "Run.by_keyword", "{'n': 3}", {"self": ""}),
        ("by_method", "Run.state", "{**super().state(), 'm': 2}", {"self": ""}),
        ("by_super", "Base.state", "{'n': 1}", {"self": ""}),
        ("by_part", "Part.state_dict", "out", {"self": "part"}),
        ("elsewhere", "write_all", "{'model': model.state_dict()}", {"model": "model"}),
        ("weights_too", "Run.weights_too", "{'n': 4}", {"self": ""}),
    ],
)
def test_what_is_saved_is_followed_to_where_it_is_built(method, function, expression, bound):
    found = written(here(method), "path")
    assert found.here.source.function.__qualname__ == function
    assert ast.unparse(found.expression) == expression
    assert {name: path for name, (path, _) in found.here.bound.items()} == bound


@pytest.mark.parametrize("method", ["two", "unknown", "reads"])
def test_of_several_files_or_none_nothing_is_said(method):
    assert written(here(method), "path") is None


@pytest.mark.parametrize(
    ("method", "expression", "every"),
    [
        ("reads", "torch.load(path)", False),
        ("fetches", "fetch(path)", False),
        ("spreads", "torch.load(path)", True),
        ("updates", "fetch(path)", True),
        ("hands_on", "torch.load(path)", True),
    ],
)
def test_what_is_read_is_known_by_its_call_and_whether_all_its_keys_are_gone_through(method, expression, every):
    at = here(method)
    found = read(at, "path")
    assert ast.unparse(found.expression) == expression and found.here == at
    assert goes_through(found.here, found.expression) is every


def tangle(self, path):
    first(path), second(path), third(path), fourth(path), fifth(path), sixth(path), seventh(path), eighth(path)


def first(path):
    tangle(None, path), second(path), third(path), fourth(path), fifth(path), sixth(path), seventh(path), eighth(path)


def second(path):
    tangle(None, path), first(path), third(path), fourth(path), fifth(path), sixth(path), seventh(path), eighth(path)


def third(path):
    tangle(None, path), first(path), second(path), fourth(path), fifth(path), sixth(path), seventh(path), eighth(path)


def fourth(path):
    tangle(None, path), first(path), second(path), third(path), fifth(path), sixth(path), seventh(path), eighth(path)


def fifth(path):
    tangle(None, path), first(path), second(path), third(path), fourth(path), sixth(path), seventh(path), eighth(path)


def sixth(path):
    tangle(None, path), first(path), second(path), third(path), fourth(path), fifth(path), seventh(path), eighth(path)


def seventh(path):
    tangle(None, path), first(path), second(path), third(path), fourth(path), fifth(path), sixth(path), eighth(path)


def eighth(path):
    tangle(None, path), first(path), second(path), third(path), fourth(path), fifth(path), sixth(path), seventh(path)


def tangle_and_read(self, path):
    tangle(self, path)
    self.state = fetch(path)


def test_functions_that_all_call_one_another_are_gone_through_once():
    """Once each, and not on the two million ways through them."""
    here = Here(Source.of(tangle))
    assert read(here) is None and written(here) is None
    found = read(Here(Source.of(tangle_and_read)))
    assert ast.unparse(found.expression) == "fetch(path)"
