"""Names that somebody else chose cannot lie: not on a terminal, not on a page, not to a parser."""

import io
import json
import re
import unicodedata

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from dora_repro import check
from dora_repro.cli import main
from dora_repro.comparison.leaves import compare
from dora_repro.printable import one_line
from dora_repro.show.console import report_text
from dora_repro.show.html import page
from dora_repro.show.junit import junit_text
from dora_repro.show.screen import fitted
from dora_repro.state.snapshot import Snapshot
from dora_repro.widgets.panel import text_html

PASSED = "✅ TEST PASSED: Checkpoint loading is reproducible!"
CHARS = (
    "\x1b]0;x\x07",
    "\0",
    "\b",
    "\x9b31m",
    "\u202e",
    "\u2067",
    "\u200b",
    "\u2028",
    "\udcff",
    f"\n{PASSED}",
    "\r\n✓ x",
)
BAD = "".join(CHARS)
SAYABLE = BAD.replace("\0", "").replace("\udcff", "")  # no class may be named with the rest
FORGED = re.compile(r"(?m)^\s*(✅|✓ x)")


class Hostile:
    """Modules, keys and classes with such names; load() brings back a part."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Module()
        self.model.layers = nn.ModuleDict({f"m{char}": nn.Linear(2, 2) for char in CHARS})
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.counts = {f"k{char}": 0 for char in CHARS}
        self.held = type(f"Odd{SAYABLE}", (), {"__module__": f"mod{SAYABLE}"})()
        self.held.count = 0
        self.lock = type(f"Lock{SAYABLE}", (), {"__slots__": ()})()
        self.text = BAD

    def step(self):
        self.counts = {key: count + 1 for key, count in self.counts.items()}
        self.held.count += 1
        self.text += "x"
        self.optimizer.zero_grad()
        loss = sum(layer(torch.randn(3, 2)).square().mean() for layer in self.model.layers.values())
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        torch.save(list(self.model.state_dict().values()), path)

    def load(self, path):
        for tensor, saved in zip(self.model.state_dict().values(), torch.load(path), strict=True):
            tensor.copy_(saved)


class Raising(Hostile):
    def load(self, path):
        raise RuntimeError(f"cannot{BAD}\n{PASSED}")


@pytest.fixture(scope="module", params=[Hostile, Raising])
def report(request):
    return check(request.param, steps=3, save_at=1, in_process=True)


FORMS = {
    "text": str,
    "all of the text": lambda report: fitted(report_text(report, verbose=True), io.StringIO()),
    "summary": lambda report: "".join(repr(report)),
    "notebook": lambda report: report._repr_html_(),
    "page": lambda report: page(report, asked={f"a{BAD}": BAD}, figures=False),
    "junit": junit_text,
    "json": lambda report: report.to_json(),
}


def lies(text: str) -> list[str]:
    """What a terminal or page would obey, hide or turn around, and lines that name a verdict that is none."""
    unseen = {
        char for char in text if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    return [*map(one_line, sorted(unseen)), *FORGED.findall(text)]


def test_a_lie_is_seen():
    assert lies(f"a{BAD}") and lies("  ✅ x") == ["✅"] and lies("a \u202e") == ["\\u202e"]
    assert lies("❌ TEST FAILED\n  fine ✅") == []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_form_of_a_report_lies(form, report):
    text = form(report)
    assert text.encode() and lies(text) == []


def test_names_are_shown_all_the_same(report):
    assert "\\u202e" in str(report)


def test_json_still_holds_what_the_names_were(report):
    assert json.loads(report.to_json())["verdict"] == "DIFFERENT"


def test_comparisons_and_their_titles_do_not_lie():
    run = Hostile()
    before = Snapshot.capture({"run": run})
    run.step()
    found = compare(before, Snapshot.capture({"run": run}), name=f"x{BAD}")
    assert len(found.differences) > len(CHARS)
    for text in (str(found), found._repr_html_()):
        assert lies(text) == [] and "\\u202e" in text


def test_widgets_do_not_lie():
    assert lies(text_html(f"a{BAD}".replace("\n", ""))) == []


@pytest.mark.parametrize("arguments", [["inspect"], ["diff", "{plain}"], ["journal"], ["notebooks", "--folder"]])
def test_names_of_files_do_not_lie(arguments, tmp_path):
    named = tmp_path / f"f{BAD.replace(chr(0), '').replace('/', '')[:40]}"
    plain = tmp_path / "plain.pt"
    torch.save({f"k{char}": torch.ones(2) for char in CHARS}, named)
    torch.save({f"k{char}": torch.zeros(2) for char in CHARS}, plain)
    given = [each.replace("{plain}", str(plain)) for each in arguments]
    for name in (str(named), f"{named}none"):
        done = CliRunner().invoke(main, [*given, name])
        assert done.exit_code in (0, 1, 2) and lies(done.output) == []
