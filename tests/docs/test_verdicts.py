"""docs/verdicts.md and docs/answer.svg: asked again in this process they say the same; and a reason that a report does
not bear out is seen."""

import copy
import importlib
import json
import re
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner

from dora_repro.cli import main
from dora_repro.show import screen

DOCS = Path(__file__).parents[2] / "docs"
ASKED_AGAIN = (
    "quick --checkpoint complete --dropout-mode study",
    "quick --checkpoint dora-only --dropout-mode study",
    "quick --checkpoint dora-only",  # the one that docs/answer.svg shows
)


@pytest.fixture(scope="module")
def script():
    """`script(name)`: a module of docs, which are scripts and in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        patch.setattr("sys.dont_write_bytecode", True)
        yield importlib.import_module


@pytest.fixture(scope="module")
def maker(script):
    return script("make_verdicts")


@pytest.fixture(scope="module")
def answer_maker(script):
    return script("make_answer")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """`asked(command)`: what it prints, and its report; each once."""
    folder = tmp_path_factory.mktemp("reports")
    known: dict[str, tuple[str, dict]] = {}

    def ask(command: str) -> tuple[str, dict]:
        if command not in known:
            file = folder / f"{len(known)}.json"
            done = CliRunner().invoke(main, [*command.split(), "--in-process", "--json", str(file)])
            known[command] = done.stdout, json.loads(file.read_text(encoding="utf-8"))
        return known[command]

    return ask


def table() -> list[str]:
    return (DOCS / "verdicts.md").read_text(encoding="utf-8").splitlines()


def without_measurements(text: str) -> list[str]:
    """Lines without what another machine measures otherwise: sizes of differences, and seconds."""
    lines = [re.sub(r"(max diff\b|max:).*", r"\1", line.rstrip()) for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("Cost:")]


def shown(picture: str) -> str:
    """The text of the picture, without the command that was typed."""
    return "\n".join(unescape(line) for line in re.findall(r">([^<>]*)</text>", picture)[1:])


@pytest.mark.parametrize("command", ASKED_AGAIN)
def test_a_row_asked_again_is_the_row_in_the_table(maker, asked, command):
    case = next(case for case in maker.cases() if case.command == command)
    _, report = asked(command)
    assert maker.misfits(case, report) == []
    assert maker.row(case, report) in table()


def test_the_table_has_a_row_for_each_command_line_and_no_other_and_each_fits_its_reason(maker):
    rows = [line for line in table() if line.startswith("| `") and not line.startswith("| `dora-repro …`")]
    assert [row.split("`")[1] for row in rows] == [case.command for case in maker.cases()]
    for case, row in zip(maker.cases(), rows, strict=True):
        reason = maker.REASONS[case.reason]
        assert f" | {reason.verdict} | " in row and row.endswith(f" | {reason.text} |")
    assert {case.reason for case in maker.cases()} == set(maker.REASONS)


def test_a_reason_that_the_report_does_not_bear_out_is_seen(maker, asked):
    case = next(case for case in maker.cases() if case.command == ASKED_AGAIN[1])
    _, right = asked(case.command)

    def wrong(**changes) -> str:
        report = copy.deepcopy(right)
        report["divergence"].update({key: changes.pop(key) for key in ("step", "phase", "leaf") if key in changes})
        return "; ".join(maker.misfits(case, {**report, **changes}))

    assert wrong() == ""
    assert wrong(verdict="EXACT").startswith("the verdict is EXACT")
    assert wrong(phase="forward") == "the phase is forward, expected update"
    assert wrong(leaf="loss").startswith("the leaf is loss, expected")
    assert wrong(step=4) == "it differs 2 steps after the save, expected 1"
    assert wrong(lost=[]) == "optimizer/*/exp_avg was not lost"
    assert wrong(divergence=None) == "there is no difference, expected one in phase update"
    assert "⚠ the phase is" in maker.row(case, {**right, "divergence": {**right["divergence"], "phase": "batch"}})
    # And where nothing may be lost: the report of one row under the reason of another.
    exact = next(case for case in maker.cases() if case.command == ASKED_AGAIN[0])
    _, report = asked(exact.command)
    lost = [{"path": "optimizer/a/exp_avg"}]
    assert maker.misfits(exact, {**report, "lost": lost}) == ["optimizer/a/exp_avg was lost"]
    differs = {**report, "divergence": right["divergence"]}
    assert maker.misfits(exact, differs) == ["there is a difference, at update of 3"]


def test_the_picture_shows_what_the_command_prints(asked, answer_maker):
    printed, _ = asked(ASKED_AGAIN[2])
    picture = shown((DOCS / "answer.svg").read_text(encoding="utf-8"))
    # The picture was made of sides in processes of their own; here all is done in one.
    in_one = "confirmed once more in the one process that all trials shared"
    printed = printed.replace(in_one, "confirmed in a fresh process")
    folded = screen.folded(printed, answer_maker.COLUMNS)
    assert without_measurements(picture) == without_measurements(folded)
    assert without_measurements(picture.replace("phase forward", "phase batch")) != without_measurements(folded)
