"""The evidence of a report, paragraph by paragraph; `test_console.py` holds it as whole strings."""

import pytest

from dora_repro.checks.report import SetAside
from dora_repro.show.evidence import evidence, first_line
from dora_repro.show.sections import Wording
from tests.show import made


def titles(report) -> list[str]:
    return [block.title for block in evidence(report, Wording())]


def test_the_paragraphs_come_in_this_order():
    assert titles(made.explained()) == [
        "quick: 3 steps without a break, against 2, save, load and 1 more",
        "Parameters right after loading (step 2)",
        "Parameters after training on (step 3)",
        "Outputs on the same input in eval mode",
        "First difference, in order of execution: step 3, phase update",
        "What was lost (5 of 7 leaves that differ right after loading):",
        "Why: these together made the difference",
        "Fix:",
        "Control: reference and resumed repeated, deterministic",
    ]


def test_a_comparison_says_what_came_of_it():
    outcomes = [block.outcome for block in evidence(made.different(), Wording()) if block.outcome]
    assert outcomes[0] == "exact by bytes" and outcomes[1].startswith("not exact; beyond the study's tolerance 1e-08")


def test_a_run_that_raised_shows_its_traceback_and_one_that_did_not_finish_its_last_words():
    assert "The resumed run raised:" in titles(made.raised())
    assert "What happened:" in titles(made.unfinished())
    assert not {"The resumed run raised:", "What happened:"} & {*titles(made.different())}


@pytest.mark.parametrize("report", made.every().values(), ids=made.every())
def test_verbose_evidence_leaves_nothing_out(report):
    short = {line for block in evidence(report, Wording()) for line in block.text.splitlines()}
    whole = {line for block in evidence(report, Wording(verbose=True)) for line in block.text.splitlines()}
    assert {line for line in short - whole if "… " not in line} == set()


def test_many_groups_are_counted():
    lost = tuple(made.missing(f"part{number}/x{number}") for number in range(20))
    blocks = {block.title: block.lines for block in evidence(made.different(lost=lost), Wording())}
    lines = blocks["What was lost (20 leaves differ right after loading):"]
    assert len(lines) == 13 and lines[-1] == "  … and 8 more leaves"


def test_what_is_left_out_of_a_list_is_counted_in_leaves():
    groups = [made.missing(f"part{number}/{name}/x{number}") for number in range(20) for name in "ab"]
    blocks = {block.title: block.lines for block in evidence(made.different(lost=tuple(groups)), Wording())}
    assert blocks["What was lost (40 leaves differ right after loading):"][-1] == "  … and 16 more leaves"


def test_leaves_that_differ_and_are_not_listed_are_counted_by_what_they_are():
    lost = tuple(made.missing(f"part{number}/x{number}") for number in range(5))
    aside = SetAside(noise=("part0/x0", "part1/x1", "elsewhere"), set_by_load=("part2/x2",))
    blocks = {block.title: block.lines for block in evidence(made.different(lost=lost, set_aside=aside), Wording())}
    lines = blocks["What was lost (2 of 5 leaves that differ right after loading):"]
    assert len(lines) == 3 and lines[-1] == "  Not listed: noise (2), set while loading (1)"


def test_a_text_is_cut_at_its_first_line_break():
    assert first_line("a\nb") == "a" == first_line("a")
