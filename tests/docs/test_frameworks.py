"""docs/frameworks.md: the page is what the rows say, and one row, run as its command line says, is as it stands.
"""

import copy
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from dora_repro.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
SCRIPTS = ROOT / "examples" / "frameworks"
RUN_HERE = "plain, generator", 12


@pytest.fixture(scope="module")
def script():
    """`script(name)`: a module of docs, which are scripts and in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        patch.setattr("sys.dont_write_bytecode", True)
        yield importlib.import_module


@pytest.fixture(scope="module")
def rows(script):
    return script("framework_rows")


@pytest.fixture(scope="module")
def maker(script):
    return script("make_frameworks")


@pytest.fixture
def report(rows):
    """A report that is as the row `plain` expects it within an epoch."""
    divergence = {"step": 16, "phase": "batch", "leaf": "batch/0"}
    causes = [{"name": rows.DRAWS, "how": "drawn again", "leaves": [rows.DRAWS]}]
    explanation = {"causes": causes, "proved": True}
    return {"verdict": "DIFFERENT", "reason": "", "divergence": divergence, "explanation": explanation}


def sections() -> dict[str, str]:
    """The text below each heading of a row, by the row's name."""
    parts = re.split(r"^### (.+)$", PAGE, flags=re.MULTILINE)
    return {name: text.partition("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def commands(text: str) -> list[list[str]]:
    """The command lines that are shown, in words."""
    return [shlex.split(block.replace("\\\n", " ")) for block in re.findall(r"^```\n(.+?)\n```$", text, re.S | re.M)]


def test_the_page_has_a_section_for_each_row_and_its_command_lines(rows):
    shown = sections()
    left_out = re.search(r"^Not run for this page: (.+)\.$", PAGE, re.MULTILINE)
    left = left_out[1].split("; ") if left_out else []
    names = [row.name for row in rows.ROWS]
    assert [name for name in names if name in shown] == [*shown]
    assert [name for name in names if name not in shown] == left
    for row in rows.ROWS:
        if row.name in shown:
            known = [["dora-repro", *row.check(saved)] for saved in row.at]
            assert commands(shown[row.name]) and all(command in known for command in commands(shown[row.name]))
            assert row.why in shown[row.name] and row.mends in shown[row.name]


def test_the_links_of_the_first_table_lead_to_the_sections():
    headings = {re.sub(r"[^\w-]", "", name.lower().replace(" ", "-")) for name in sections()}
    assert {*re.findall(r"\]\(#([^)]+)\)", PAGE)} == headings


def test_nothing_on_the_page_is_otherwise_than_expected(rows):
    assert "⚠" not in PAGE
    for row in rows.ROWS:
        verdicts = re.search(r"^\| verdict \| (.+) \|$", sections().get(row.name, ""), re.MULTILINE)
        if verdicts and len(found := verdicts[1].split(" | ")) == len(row.at):
            assert found == [each.verdict for each in row.at.values()]


def test_the_scripts_and_options_of_all_rows_are_there(rows):
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)
    for row, saved in rows.checks():
        words = shlex.split(row.resumed(saved))
        scripts = [word for word in words if word.endswith(".py")]
        assert all((ROOT / name).is_file() for name in scripts)
        text = (ROOT / scripts[-1]).read_text(encoding="utf-8")
        given = words[words.index(scripts[-1]) :]
        assert all(f'"{word}"' in text for word in given if word.startswith("--"))
        assert row.lost in (SCRIPTS / "planted.py").read_text(encoding="utf-8")


def test_the_examples_are_python_and_know_nothing_of_the_kit():
    found = sorted(SCRIPTS.glob("*.py"))
    assert len(found) >= 8
    for path in found:
        text = path.read_text(encoding="utf-8")
        compile(text, str(path), "exec")
        assert "dora_repro" not in text and "dora-repro" not in text


def test_a_report_that_is_not_as_expected_is_seen(rows, maker, report):
    row = rows.ROWS[0]

    def wrong(**changes) -> list[str]:
        other = copy.deepcopy(report)
        other["divergence"].update({name: changes.pop(name) for name in ("step", "phase", "leaf") if name in changes})
        return maker.unlike(row.at[15], {**other, **changes})

    assert wrong() == []
    assert wrong(verdict="EXACT") == ["the verdict is EXACT (), expected DIFFERENT"]
    assert wrong(step=17) == ["it first differs at step 17, batch, expected step 16, batch"]
    assert wrong(leaf="loss") == ["the leaf is loss, expected batch/0"]
    assert wrong(explanation=None) == ["rng/draws is not among the causes"]
    more = [*report["explanation"]["causes"], {"leaves": ["main/epoch"]}]
    assert wrong(explanation={"causes": more, "proved": True}) == ["main/epoch is among the causes"]
    assert wrong(explanation={"causes": more, "proved": False}) == []  # it says that this may be more than needed


def test_a_verdict_that_the_weights_do_not_bear_out_is_seen(script, maker, report):
    weights = script("final_weights").Weights
    assert list(maker.disagreements(report, weights(4, 1, 0.1))) == []
    assert list(maker.disagreements(report, weights(ended="none"))) == []
    assert "4 tensors" in " ".join(maker.disagreements(report, weights(4)))
    assert list(maker.disagreements({**report, "verdict": "EXACT"}, weights(4, 1, 0.1))) != []
    assert list(maker.disagreements({**report, "verdict": "EXACT"}, weights(4))) == []


def test_final_weights_are_compared_by_bytes(script, tmp_path):
    import torch

    compared = script("final_weights").compare_files
    torch.save({"a": torch.zeros(2), "b": torch.ones(1)}, tmp_path / "one.pt")
    torch.save({"a": -torch.zeros(2), "b": torch.ones(1)}, tmp_path / "other.pt")
    assert compared(tmp_path / "one.pt", tmp_path / "one.pt").equal
    apart = compared(tmp_path / "one.pt", tmp_path / "other.pt")  # -0.0 == 0.0, and the bytes differ
    assert (apart.tensors, apart.differing, apart.equal) == (2, 1, False)


def test_a_row_run_here_is_as_on_the_page(rows, maker, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, saved = RUN_HERE
    row = next(row for row in rows.ROWS if row.name == name)
    file = tmp_path / "report.json"
    CliRunner().invoke(main, [*row.check(saved), "--json", str(file)])
    assert maker.unlike(row.at[saved], json.loads(file.read_text(encoding="utf-8"))) == []
