"""Names that somebody else chose cannot lie: not on a terminal, not on a page, not to a parser."""

import io
import json
import logging
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from traceback import FrameSummary
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner
from matplotlib import rc_context
from torch import nn

from dora_repro import check, evidence
from dora_repro.cli import main
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.journal.reading import read_journal
from dora_repro.lab import Lab
from dora_repro.printable import json_text, one_line
from dora_repro.pytest_plugin.telling import cannot, failure, place
from dora_repro.show import figures
from dora_repro.show.console import report_text
from dora_repro.show.html import page
from dora_repro.show.journal_page import journal_page
from dora_repro.show.junit import junit_text
from dora_repro.show.screen import fitted
from dora_repro.state.snapshot import Snapshot
from dora_repro.widgets.checkpoints.explorer import CheckpointExplorer
from dora_repro.widgets.differences.explorer import DifferenceExplorer
from dora_repro.widgets.evidence.panel import EvidencePanel
from dora_repro.widgets.lab.panel import LabPanel
from dora_repro.widgets.panel import Panel
from dora_repro.widgets.trace_browser import TraceBrowser
from tests.journal.journals import make, resumed, state, wrote

# Fonts lack some of these; the pages of a terminal and of a browser do not.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")

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


FORMULA = "$\\frac{$"  # matplotlib raises on one that is wrong
MARKUP = ("<script>alert(1)</script>", "</title>", "--><b>", "'\"><img src=x>", FORMULA)


def named(name: str) -> str:
    return f"{name}{BAD}{''.join(MARKUP)}"


@pytest.fixture(scope="module")
def drawn():
    """A report whose parameters have such names, with its values."""

    class Marked(Hostile):
        def __init__(self):
            super().__init__()
            self.model.layers.update({f"m{text}": nn.Linear(2, 2) for text in MARKUP if "." not in text})
            self.optimizer = torch.optim.Adam(self.model.parameters())

    return check(Marked, steps=3, save_at=1, in_process=True, values="*")


FIGURES = {
    "losses": figures.losses,
    "causes": figures.causes,
    "drift": lambda report: figures.drift_map(report.drift),
    "curves": lambda report: figures.drift_curves({named("_a"): report.drift, "b": report.drift}),
    "growth": lambda report: figures.growth({named("_a"): [(1, 1.0)]}, {named("_b"): [(1, 1.0)]}),
    "norms": lambda report: figures.norms({named("q"): [(named("_a"), [1], [1.0]), (named("b"), [1], [1.0])]}),
    "matrix": lambda report: figures.matrix_difference(torch.ones(2, 2), torch.zeros(2, 2), named("t")),
    "history": lambda report: figures.history(
        replace(report, histories={"reference": {named("h"): [1.0]}, "resumed": {named("h"): [2.0]}}), named("h")
    ),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("fonts", ["path", "none"], ids=["drawn", "text"])
def test_no_figure_lies_or_takes_a_name_for_a_formula(draw, fonts, drawn):
    file = io.StringIO()
    with rc_context({"svg.fonttype": fonts}):
        draw(drawn).savefig(file, format="svg")
    text = file.getvalue()
    root = ElementTree.fromstring(text)  # well-formed
    assert lies(text) == [] and not [tag for tag in root.iter() if tag.tag.rpartition("}")[2] in ("script", "img", "b")]


def test_names_stand_in_a_figure_as_they_are():
    figure = figures.norms({f"q{FORMULA}": [("_a", [1], [1.0]), ("$b$", [1], [1.0])]})
    assert [text.get_text() for text in figure.legends[0].texts] == [" _a", "$b$"]
    assert figure.axes[0].get_title() == f"q{FORMULA}" and not figure.axes[0].title.get_parse_math()
    curves = figures.growth({"a": [(1, 1e-3), (2, 1.0)]}, {})
    curves.canvas.draw()
    assert any("10^" in label.get_text() for label in curves.axes[0].get_yticklabels())  # numbers still are formulas
    assert all(label.get_parse_math() for label in curves.axes[0].get_yticklabels())


def test_a_page_with_figures_does_not_lie(drawn):
    text = page(drawn, asked={"run": "".join(MARKUP)})
    assert text.count("data:image/png") >= 2 and lies(text) == []
    assert "<script>alert" not in text and "<img src=x" not in text and "--><b>" not in text


# --- widgets ---------------------------------------------------------------------------------------------------------


def told_by(widget) -> dict[str, str]:
    """All texts that a widget and those in it send to a browser, by trait."""
    found = {}
    for each in (widget, *descendants(widget)):
        for name in ("value", "description", "tooltip", "placeholder", "_options_labels", "titles", "index"):
            value = getattr(each, name, None)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and text != "\u200b":  # what a widget of HTML holds where it holds nothing
                    found[f"{type(each).__name__}.{name} {len(found)}"] = text
    return found


def descendants(box):
    children = list(getattr(box, "children", ()))
    return [each for child in children for each in (child, *descendants(child))]


def checkpoints(folder):
    named_so = folder / named("run").replace("/", "").replace("\0", "")[:60]
    named_so.mkdir()
    for epoch in (1, 2):
        layers = {f"m{text}.weight".replace(".", "", 0): torch.full((2, 2), float(epoch)) for text in (*CHARS, *MARKUP)}
        torch.save(layers, named_so / f"epoch{epoch}.pt")
    return CheckpointExplorer(named_so)


WIDGETS = {
    "trace browser": lambda report, folder: TraceBrowser(report),
    "differences": lambda report, folder: DifferenceExplorer.of(report),
    "checkpoints": lambda report, folder: checkpoints(folder),
    "lab": lambda report, folder: LabPanel(Lab(Hostile, 3).play("build, step, save, kill, load, step")),
}


@pytest.mark.parametrize("make", WIDGETS.values(), ids=WIDGETS)
def test_no_widget_lies(make, drawn, tmp_path):
    panel = make(drawn, tmp_path)
    for view in panel.view._options_values if hasattr(panel, "view") else (None,):
        if view is not None:
            panel.view.value = view
        told = told_by(panel)
        assert len(told) > 3
        for trait, text in told.items():
            assert lies(text) == [] and text.encode() is not None, trait
            if trait.startswith("HTML."):
                assert not re.search(r"<(script|img|b>-)|--><b>", text), trait
    panel.close()


def test_a_panel_shows_an_error_without_lies(caplog):
    caplog.set_level(logging.CRITICAL, "dora_repro.widgets.panel")  # the log has Python's own traceback
    panel = Panel()
    with pytest.raises(ValueError, match="x"):
        panel.guarded(lambda: (_ for _ in ()).throw(ValueError(named("x"))))
    panel.summarize(named("x"))
    for text in (panel.error.value, panel.summary.value):
        assert lies(text.replace("\n", "")) == [] and "<script>" not in text
    panel.close()


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


# --- the rest: pytest, journals, series, kept evidence


def test_what_pytest_says_does_not_lie(report, tmp_path):
    unnamed = BAD.replace("\0", "")
    at = place(FrameSummary(str(tmp_path / f"t{unnamed}.py"), 3, "test", lookup_line=False), tmp_path)
    said = [
        failure(report, at, f"page{unnamed}", whole=False),
        failure(report, at, None, whole=True),
        cannot(BadInput(f"x{one_line(BAD)}"), at),
        cannot(ValueError("x" + BAD.replace("\n", " ")), at),
    ]
    for text in said:
        assert lies(text) == [] and "\\u202e" in text and text.encode() is not None


def told_of_a_journal(folder):
    about = {f"t{BAD}": f"v{BAD}", "flags": {f"f{BAD}": BAD}}
    differs = {"kind": "differs", "update": 4, "phase": f"batch{BAD}", "leaf": f"l{BAD}", "how": f"value{BAD}"}
    lost = {f"part{BAD}": [f"m{BAD}"]}
    lines = [
        resumed(1, 2, lost, [f"rng{BAD}"]), {"kind": "began", "reads": [f"x{BAD}"]}, differs,
        {"kind": "repeated", "last": 3}, {"kind": "end", "time": 1.9e9, "status": f"s{BAD}"},
        {"kind": "failed", "problem": f"full{BAD}"},
    ]  # fmt: skip
    names = {f"parameter_w{char}": "a" for char in CHARS}
    make(folder, 1, wrote(Path(f"a{SAYABLE}.pt"), 2), updates="abcd", states=[state(2, **names)], environment=about)
    make(folder, 2, *lines, updates="cx", base=2, environment={**about, f"o{BAD}": BAD})
    journal = read_journal(folder)
    return [str(journal), repr(journal), journal_page(journal), json_text(journal.to_dict())]


def told_of_a_series(folder):
    named_so = folder / named("run").replace("/", "").replace("\0", "")[:60]
    named_so.mkdir()
    for epoch in (1, 2, 3):
        layers = {f"m{text}.weight": torch.full((2, 2), float(epoch)) for text in (*CHARS, *MARKUP)}
        torch.save(layers, named_so / f"epoch{epoch}.pt")
    (named_so / f"epoch4{SAYABLE.replace('/', '')}.pt").write_bytes(b"no checkpoint")
    panel = CheckpointExplorer(named_so)
    texts = list(told_by(panel).values())
    panel.close()
    for option in ((), ("--all",), ("--json",)):
        done = CliRunner().invoke(main, ["inspect", *option, str(named_so)])
        assert done.exit_code == 0
        texts.append(done.output)
    return texts


def told_of_kept_evidence(folder):
    check(Hostile, steps=3, save_at=1, in_process=True, folder=folder / "kept")
    opened = evidence(folder / "kept")
    panel = EvidencePanel(opened)
    texts = [str(opened.result), repr(opened), *told_by(panel).values()]
    panel.close()
    return texts


OTHERS = {
    "journal": told_of_a_journal,
    "series": told_of_a_series,
    "kept evidence": told_of_kept_evidence,
}


@pytest.mark.parametrize("told", OTHERS.values(), ids=OTHERS)
def test_nothing_else_lies(told, tmp_path):
    texts = told(tmp_path)
    assert any("\\u202e" in text for text in texts)
    for text in texts:
        assert lies(text) == [] and text.encode() is not None
        assert not re.match(r"\s*<", text) or not re.search(r"<(script>alert|img src=x)|--><b>", text)
