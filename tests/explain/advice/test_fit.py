"""Which of the user's functions the lines go into."""

import torch

from dora_repro import check
from dora_repro.explain.advice.fit import Fit
from dora_repro.explain.advice.lost_state import Advice
from dora_repro.show.fixes import fix_block
from dora_repro.sides.places import Place

ADVICE = Advice(('state["n"] = self.n',), ('self.n = state["n"]',))


def test_lines_fill_the_users_dict_where_it_is_built_and_read():
    fit = Fit((Place("R.save"), Place("R.load")), (Place("R.state", state="out"), Place("R.load", state="ckpt")))
    assert fit.why_apart(ADVICE) == ""
    assert fit.fitted(ADVICE, beside=False) == Advice(('out["n"] = self.n',), ('self.n = ckpt["n"]',))


def test_what_no_name_leads_to_goes_into_a_file_of_its_own():
    elsewhere = Place("write_all", roots={"model": "model"}, where="in place of helpers.py:3", instead="helpers.py:3")
    fit = Fit((Place("R.save"), Place("R.load")), (elsewhere, Place("R.load")))
    assert fit.why_apart(ADVICE) == (
        "write_all() builds what is saved (helpers.py:3), where no name leads to this. These go into a file of their "
        "own beside the checkpoint."
    )
    assert fit.why_apart(Advice(('state["m"] = self.model.state_dict()',))) == ""
    assert Fit(dicts=(None, Place("load", every_key=True))).why_apart(ADVICE).startswith("load() goes through all keys")
    assert fit.why_apart(Advice(load=ADVICE.load)) == ""


class Trainer:
    """Moments and a count are lost; its dict is saved by who holds it."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.count = 0

    def step(self):
        self.count += 1
        loss = (self.model(torch.ones(4, 3)) - self.count).square().mean()
        self.model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= 0.1 * parameter.grad
        return loss.item()

    def state_dict(self):
        out = {"model": self.model.state_dict()}
        return out

    def load(self, state):
        self.model.load_state_dict(state["model"])


class Held:
    def __init__(self):
        self.trainer = Trainer()

    def step(self):
        return self.trainer.step()

    def save(self, path):
        torch.save(self.trainer.state_dict(), path)

    def load(self, path):
        self.trainer.load(torch.load(path))


def test_the_answer_says_where_each_line_goes_and_names_what_has_no_name():
    found = check(Held, 5, 3, in_process=True).explanation
    assert found.lines_tried.restores
    first, last = Trainer.state_dict.__code__.co_firstlineno, Held.load.__code__.co_firstlineno + 1
    assert fix_block(found)[:7] == [
        "Fix:",
        f"  in state_dict(), before `return out` (test_fit.py:{first + 2}):",
        '      out["trainer/count"] = self.count',
        f"  in load(), in place of test_fit.py:{last}:",
        "      state = torch.load(path)",
        "      self.trainer.load(state)",
        f"  and at its end (after test_fit.py:{last}):",
    ]


class Gone(Trainer):
    """Saves by a helper that knows nothing of the run."""

    def save(self, file):
        write_all(self.model, file)

    def load(self, file):
        state = torch.load(file)
        self.model.load_state_dict(state["model"])


def write_all(model, path):
    torch.save({"model": model.state_dict()}, path)


def test_a_file_beside_it_is_named_by_what_the_methods_call_the_path():
    found = check(Gone, 5, 3, in_process=True).explanation
    assert found.lines.save == ("more = {}", 'more["count"] = self.count', 'torch.save(more, f"{file}.more")')
    assert next(line for _, line in found.lines.load) == 'more = torch.load(f"{file}.more")'
    assert found.lines_tried.restores and any("no name leads to this" in line for line in fix_block(found))
